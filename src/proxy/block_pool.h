/*
 * Block pool: fixed buffers for bytes in flight. A session takes one when bytes arrive and gives it back when they
 * have left, so idle sessions own none.
 *
 * Invariants
 *   B1  start <= end <= size; the bytes in flight are [start, end).
 *   B2  at most BLOCKS_KEPT_MAX blocks of each size are kept while nobody uses them.
 *   B3  however many clients read slowly, everybody gets a block, so that nobody waits for another one's; but when BLOCKS_LARGE_MAX are in use,
 *       the others are small. That bounds what they take: 64 MiB, and twice 16 KiB for each connection.
 * Threads: the loop's; each loop has a pool of its own.
 */
#pragma once

#include "base/base.h"

#define BLOCK_BYTES       65536u /* four TLS records, eight of Postgres' own send buffers */
#define BLOCK_SMALL_BYTES 16384u /* one TLS record; no message of a login is larger */
#define BLOCKS_LARGE_MAX  ((64u << 20) / BLOCK_BYTES)
#define BLOCKS_KEPT_MAX   32u

struct block {
	struct block *next; /* the pool's */
	size_t start, end, size;
	uint8_t bytes[];
};

struct block_pool;

struct block_pool *block_pool_create(void);
struct block_pool *block_pool_free(struct block_pool *pool); /* every block must be back; NULL is fine */

struct block *block_take(struct block_pool *pool);              /* empty; large or small */
struct block *block_take_small(struct block_pool *pool);        /* for who needs no more */
void block_give(struct block_pool *pool, struct block **block); /* leaves NULL; a NULL block is fine */
size_t block_pool_in_use(const struct block_pool *pool);        /* blocks */
size_t block_pool_bytes(const struct block_pool *pool);         /* what these take */

static inline struct slice block_slice(const struct block *block)
{
	return (struct slice){ block->bytes + block->start, block->end - block->start };
}
