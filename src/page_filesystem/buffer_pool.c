#include "page_filesystem/buffer_pool.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#define ALIGNMENT 4096u

struct spare {
	struct spare *next;
};

struct buffer_pool {
	pthread_mutex_t mutex;
	struct spare *spares;
	size_t bytes_max;
	size_t in_use;
};

struct buffer_pool *buffer_pool_new(size_t bytes_max)
{
	struct buffer_pool *pool = xcalloc(1, sizeof *pool);
	pool->bytes_max = (bytes_max + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	(void)pthread_mutex_init(&pool->mutex, NULL);
	return pool;
}

struct buffer_pool *buffer_pool_free(struct buffer_pool *pool)
{
	if (!pool)
		return NULL;
	assert(pool->in_use == 0);
	for (struct spare *spare; (spare = pool->spares);) {
		pool->spares = spare->next;
		free(spare);
	}
	(void)pthread_mutex_destroy(&pool->mutex);
	free(pool);
	return NULL;
}

void *buffer_pool_take(struct buffer_pool *pool, size_t bytes)
{
	assert(bytes <= pool->bytes_max);
	(void)bytes;
	(void)pthread_mutex_lock(&pool->mutex);
	struct spare *spare = pool->spares;
	if (spare)
		pool->spares = spare->next;
	pool->in_use++;
	(void)pthread_mutex_unlock(&pool->mutex);
	if (spare)
		return spare;
	void *buffer = aligned_alloc(ALIGNMENT, pool->bytes_max);
	if (!buffer)
		abort(); /* as xcalloc(): the role is started anew */
	return buffer;
}

/* The one given back last is the first to be taken: its memory is likely to be in a cache. */
void buffer_pool_give_back(struct buffer_pool *pool, void *buffer)
{
	struct spare *spare = buffer;
	(void)pthread_mutex_lock(&pool->mutex);
	assert(pool->in_use > 0);
	pool->in_use--;
	spare->next = pool->spares;
	pool->spares = spare;
	(void)pthread_mutex_unlock(&pool->mutex);
}
