/* Blocks come empty, go back, and are not hoarded. */
#include "proxy/block_pool.h"

#include <setjmp.h>
#include <stdarg.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks_are_reused),
		cmocka_unit_test(test_many_blocks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
