/*
 * Block pool: fixed buffers for bytes in flight. A session takes one when bytes arrive and gives it back when they
 * have left, so idle sessions own none.
 *
 * Invariants
 *   B1  start <= end <= BLOCK_BYTES; the bytes in flight are [start, end).
 *   B2  at most BLOCKS_KEPT_MAX blocks are kept while nobody uses them.
 * Threads: the loop's; each loop has a pool of its own.
 */
#pragma once

#include "base/base.h"

#define BLOCK_BYTES     65536u /* four TLS records, eight of Postgres' own send buffers */
#define BLOCKS_KEPT_MAX 32u

struct block {
	struct block *next; /* the pool's */
	size_t start, end;
	uint8_t bytes[BLOCK_BYTES];
};

struct block_pool;

struct block_pool *block_pool_create(void);
struct block_pool *block_pool_free(struct block_pool *pool); /* every block must be back; NULL is fine */

struct block *block_take(struct block_pool *pool);              /* empty */
void block_give(struct block_pool *pool, struct block **block); /* leaves NULL; a NULL block is fine */
size_t block_pool_in_use(const struct block_pool *pool);

static inline struct slice block_slice(const struct block *block)
{
	return (struct slice){ block->bytes + block->start, block->end - block->start };
}
