/*
 * Buffer pool: large buffers for answers, used again: the C library would give one of this size back to the kernel each time, and get it
 * back as zeroed pages.
 * Threads: any. It keeps as many as were in use at once.
 */
#pragma once

#include "base/base.h"

struct buffer_pool;

struct buffer_pool *buffer_pool_new(size_t bytes_max);
struct buffer_pool *buffer_pool_free(
        struct buffer_pool *pool); /* all buffers must have been given back; NULL is fine */

/* `bytes` <= bytes_max. The content is whatever was there. */
void *buffer_pool_take(struct buffer_pool *pool, size_t bytes);
void buffer_pool_give_back(struct buffer_pool *pool, void *buffer);
