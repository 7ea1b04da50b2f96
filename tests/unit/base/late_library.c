/* Late library: what is there is found, what is not there is told, again and again. */
#include "base/late_library.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static double (*cosine)(double);
static void (*missing)(void);

static struct late_library library_of(const char *file, const struct late_function *functions, size_t count)
{
	return (struct late_library){ .file = file,
		.package = "libc6",
		.functions = functions,
		.count = count,
		.mutex = PTHREAD_MUTEX_INITIALIZER };
}

static void test_found(void **state)
{
	(void)state;
	const struct late_function functions[] = { { "cos", &cosine } };
	struct late_library library = library_of("libm.so.6", functions, 1);
	struct error err;
	assert_null(cosine);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(late_library_load(&library, &err), STATUS_OK);
		assert_true(cosine(0) == 1.0);
	}
}

static void test_no_such_library(void **state)
{
	(void)state;
	const struct late_function functions[] = { { "cos", &missing } };
	struct late_library library = library_of("libtarn-is-not-there.so.1", functions, 1);
	struct error err;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(late_library_load(&library, &err), STATUS_NOT_FOUND);
		assert_non_null(strstr(err.message, "libtarn-is-not-there.so.1"));
		assert_string_equal(err.hint, "Install package libc6.");
		assert_null(missing);
	}
}

static void test_no_such_function(void **state)
{
	(void)state;
	const struct late_function functions[] = { { "tarn_is_not_there", &missing } };
	struct late_library library = library_of("libm.so.6", functions, 1);
	struct error err;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(late_library_load(&library, &err), STATUS_NOT_FOUND);
		assert_non_null(strstr(err.message, "tarn_is_not_there"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found),
		cmocka_unit_test(test_no_such_library),
		cmocka_unit_test(test_no_such_function),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
