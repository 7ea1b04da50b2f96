/* Blocks come empty, go back, and are not hoarded. */
#include "proxy/block_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_blocks_are_reused(void **unused)
{
	(void)unused;
	struct block_pool *pool = block_pool_create();
	struct block *block = block_take(pool), *first = block;
	block->start = 3;
	block->end = 10;
	assert_int_equal(block_slice(block).len, 7);
	assert_int_equal(block_pool_in_use(pool), 1);
	block_give(pool, &block);
	assert_null(block);
	assert_int_equal(block_pool_in_use(pool), 0);
	block = block_take(pool);
	assert_ptr_equal(block, first);
	assert_int_equal(block->start, 0);
	assert_int_equal(block->end, 0);
	block_give(pool, &block);
	block_give(pool, &block); /* NULL is fine */
	block_pool_free(pool);
}

static void test_many_blocks(void **unused)
{
	(void)unused;
	struct block_pool *pool = block_pool_create();
	struct block *blocks[BLOCKS_KEPT_MAX * 2];
	for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
		blocks[i] = block_take(pool);
	assert_int_equal(block_pool_in_use(pool), ARRAY_LEN(blocks));
	for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
		block_give(
		        pool, &blocks[i]); /* the address sanitizer sees what would be lost or freed twice */
	assert_int_equal(block_pool_in_use(pool), 0);
	block_pool_free(pool);
}

/* B3: everybody gets a block, and from some number on a small one. */
static void test_a_crowd_gets_small_blocks(void **unused)
{
	(void)unused;
	enum { CROWD = 10000 };
	struct block_pool *pool = block_pool_create();
	struct block **blocks = xcalloc(CROWD, sizeof(struct block *));
	for (size_t i = 0; i < CROWD; i++) {
		blocks[i] = block_take(pool);
		assert_int_equal(blocks[i]->size, i < BLOCKS_LARGE_MAX ? BLOCK_BYTES : BLOCK_SMALL_BYTES);
	}
	assert_int_equal(block_pool_in_use(pool), CROWD);
	assert_true(block_pool_bytes(pool) <= (64u << 20) + CROWD * BLOCK_SMALL_BYTES);
	/* A large one that comes back goes to the next who asks. */
	block_give(pool, &blocks[0]);
	blocks[0] = block_take(pool);
	assert_int_equal(blocks[0]->size, BLOCK_BYTES);
	struct block *small = block_take_small(pool);
	assert_int_equal(small->size, BLOCK_SMALL_BYTES);
	block_give(pool, &small);
	for (size_t i = 0; i < CROWD; i++)
		block_give(pool, &blocks[i]);
	assert_int_equal(block_pool_bytes(pool), 0);
	free(blocks);
	block_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks_are_reused),
		cmocka_unit_test(test_many_blocks),
		cmocka_unit_test(test_a_crowd_gets_small_blocks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
