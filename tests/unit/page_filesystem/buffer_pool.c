#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* wants the four above */

#include <pthread.h>
#include <string.h>

#include "page_filesystem/buffer_pool.h"

static void test_buffers_are_used_again(void **state)
{
	(void)state;
	struct buffer_pool *pool = buffer_pool_new(10000);
	void *one = buffer_pool_take(pool, 10000), *two = buffer_pool_take(pool, 1);
	assert_ptr_not_equal(one, two);
	assert_int_equal((uintptr_t)one % 4096, 0);
	memset(one, 1, 10000);
	memset(two, 2, 10000);
	buffer_pool_give_back(pool, one);
	assert_ptr_equal(buffer_pool_take(pool, 5), one);
	buffer_pool_give_back(pool, one);
	buffer_pool_give_back(pool, two);
	assert_null(buffer_pool_free(pool));
	assert_null(buffer_pool_free(NULL));
}

static void *work(void *p)
{
	for (int i = 0; i < 20000; i++) {
		unsigned char *bytes = buffer_pool_take(p, 64);
		memset(bytes, i & 255, 64);
		for (int k = 0; k < 64; k++)
			if (bytes[k] != (i & 255))
				return p; /* somebody else has it, too */
		buffer_pool_give_back(p, bytes);
	}
	return NULL;
}

static void test_threads_never_share_a_buffer(void **state)
{
	(void)state;
	struct buffer_pool *pool = buffer_pool_new(64);
	pthread_t threads[4];
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, pool), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		void *result = NULL;
		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_null(result);
	}
	(void)buffer_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buffers_are_used_again),
		cmocka_unit_test(test_threads_never_share_a_buffer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
