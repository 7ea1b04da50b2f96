#include "proxy/block_pool.h"

#include <assert.h>
#include <stdlib.h>

struct block_pool {
	struct block *kept;
	size_t kept_count, in_use;
};

struct block_pool *block_pool_create(void)
{
	return xcalloc(1, sizeof(struct block_pool));
}

struct block_pool *block_pool_free(struct block_pool *pool)
{
	if (!pool)
		return NULL;
	assert(pool->in_use == 0);
	while (pool->kept) {
		struct block *block = pool->kept;
		pool->kept = block->next;
		free(block);
	}
	free(pool);
	return NULL;
}

struct block *block_take(struct block_pool *pool)
{
	struct block *block = pool->kept;
	if (block) {
		pool->kept = block->next;
		pool->kept_count--;
	} else {
		block = xrealloc(
		        NULL, sizeof *block); /* not zeroed: 64 KiB that are written before they are read */
	}
	block->next = NULL;
	block->start = block->end = 0;
	pool->in_use++;
	return block;
}

void block_give(struct block_pool *pool, struct block **block)
{
	struct block *given = TAKE_PTR(*block);
	if (!given)
		return;
	assert(pool->in_use > 0);
	pool->in_use--;
	if (pool->kept_count == BLOCKS_KEPT_MAX) {
		free(given);
		return;
	}
	given->next = pool->kept;
	pool->kept = given;
	pool->kept_count++;
}

size_t block_pool_in_use(const struct block_pool *pool)
{
	return pool->in_use;
}
