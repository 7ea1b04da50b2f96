#include "proxy/block_pool.h"

#include <assert.h>
#include <stdlib.h>

/* Of one size. */
struct shelf {
	struct block *kept;
	size_t kept_count, in_use;
};

struct block_pool {
	struct shelf large, small;
};

struct block_pool *block_pool_create(void)
{
	return xcalloc(1, sizeof(struct block_pool));
}

static void shelf_clear(struct shelf *shelf)
{
	assert(shelf->in_use == 0);
	while (shelf->kept) {
		struct block *block = shelf->kept;
		shelf->kept = block->next;
		free(block);
	}
}

struct block_pool *block_pool_free(struct block_pool *pool)
{
	if (!pool)
		return NULL;
	shelf_clear(&pool->large);
	shelf_clear(&pool->small);
	free(pool);
	return NULL;
}

static struct block *take(struct shelf *shelf, size_t size)
{
	struct block *block = shelf->kept;
	if (block) {
		shelf->kept = block->next;
		shelf->kept_count--;
	} else {
		/* Not zeroed: bytes that are written before they are read. */
		block = xrealloc(NULL, sizeof *block + size);
		block->size = size;
	}
	block->next = NULL;
	block->start = block->end = 0;
	shelf->in_use++;
	return block;
}

struct block *block_take_small(struct block_pool *pool)
{
	return take(&pool->small, BLOCK_SMALL_BYTES);
}

struct block *block_take(struct block_pool *pool)
{
	return pool->large.in_use < BLOCKS_LARGE_MAX ? take(&pool->large, BLOCK_BYTES)
	                                             : block_take_small(pool); /* B3 */
}

void block_give(struct block_pool *pool, struct block **block)
{
	struct block *given = TAKE_PTR(*block);
	if (!given)
		return;
	struct shelf *shelf = given->size == BLOCK_BYTES ? &pool->large : &pool->small;
	assert(shelf->in_use > 0);
	shelf->in_use--;
	if (shelf->kept_count == BLOCKS_KEPT_MAX) {
		free(given);
		return;
	}
	given->next = shelf->kept;
	shelf->kept = given;
	shelf->kept_count++;
}

size_t block_pool_in_use(const struct block_pool *pool)
{
	return pool->large.in_use + pool->small.in_use;
}

size_t block_pool_bytes(const struct block_pool *pool)
{
	return pool->large.in_use * BLOCK_BYTES + pool->small.in_use * BLOCK_SMALL_BYTES;
}
