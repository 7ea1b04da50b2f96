/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "cli/options.h"
#include "base/clock.h"

static const struct option known[] = {
	{ .name = "json" },
	{ .name = "purge", .is_switch = true },
	{ .name = "output", .letter = 'o' },
	{ .name = "help", .letter = 'h', .is_switch = true },
	{ 0 },
};

#define PARSE(options, err, ...)                                                                             \
	options_parse((int)ARRAY_LEN(((const char *[]){ "cmd", __VA_ARGS__ })),                              \
	        (char **)(uintptr_t)((const char *[]){ "cmd", __VA_ARGS__ }), known, (options), (err))

static void flags_and_positionals_mix(void **state)
{
	(void)state;
	CLEANUP(options_done) struct options options = { 0 };
	struct error err;
	assert_int_equal(PARSE(&options, &err, "a", "--json", "{}", "b", "--purge", "-o", "json", "-", "--",
	                         "-x", "--json"),
	        STATUS_OK);
	assert_int_equal(options.positional_count, 3);
	assert_string_equal(options.positionals[0], "a");
	assert_string_equal(options.positionals[1], "b");
	assert_string_equal(options.positionals[2], "-");
	assert_string_equal(option_value(&options, "json"), "{}");
	assert_string_equal(option_value(&options, "output"), "json");
	assert_true(option_is_on(&options, "purge"));
	assert_false(option_is_on(&options, "help"));
	assert_null(option_value(&options, "help"));
	assert_int_equal(options.rest_count, 2);
	assert_string_equal(options.rest[0], "-x");
	assert_string_equal(options.rest[1], "--json");
}

static void spellings_of_a_value(void **state)
{
	(void)state;
	CLEANUP(options_done) struct options options = { 0 };
	struct error err;
	assert_int_equal(PARSE(&options, &err, "--json=a=b", "--json=", "-ojson", "-o=text", "--purge=false"),
	        STATUS_OK);
	assert_string_equal(options.uses[0].value, "a=b");
	assert_string_equal(option_value(&options, "json"), ""); /* the last one wins */
	assert_string_equal(options.uses[2].value, "json");
	assert_string_equal(option_value(&options, "output"), "text");
	assert_false(option_is_on(&options, "purge"));
}

/* A value may look like a flag: `--json --purge` is somebody's odd JSON, not a switch. */
static void value_that_looks_like_a_flag(void **state)
{
	(void)state;
	CLEANUP(options_done) struct options options = { 0 };
	struct error err;
	assert_int_equal(PARSE(&options, &err, "--json", "--purge"), STATUS_OK);
	assert_string_equal(option_value(&options, "json"), "--purge");
	assert_false(option_is_on(&options, "purge"));
}

static void mistakes(void **state)
{
	(void)state;
	struct options options = { 0 };
	struct error err;
	assert_int_equal(PARSE(&options, &err, "--jso", "x"), STATUS_INVALID);
	assert_non_null(strstr(err.message, "\"--jso\""));
	assert_int_equal(PARSE(&options, &err, "--jsonx"), STATUS_INVALID);
	assert_int_equal(PARSE(&options, &err, "-x"), STATUS_INVALID);
	assert_int_equal(PARSE(&options, &err, "-hx"), STATUS_INVALID);
	assert_int_equal(PARSE(&options, &err, "--json"), STATUS_INVALID);
	assert_non_null(strstr(err.message, "needs a value"));
	assert_int_equal(PARSE(&options, &err, "--purge=maybe"), STATUS_INVALID);
	assert_null(options.uses);
}

static void counting_positionals(void **state)
{
	(void)state;
	CLEANUP(options_done) struct options options = { 0 };
	struct error err;
	assert_int_equal(PARSE(&options, &err, "a", "b"), STATUS_OK);
	assert_int_equal(options_count(&options, 2, 2, "u", &err), STATUS_OK);
	assert_int_equal(options_count(&options, 3, 3, "u", &err), STATUS_INVALID);
	assert_int_equal(options_count(&options, 0, 1, "u", &err), STATUS_INVALID);
	assert_non_null(strstr(err.message, "\"b\""));
}

static void durations(void **state)
{
	static const struct {
		const char *text;
		int64_t usec;
	} good[] = { { "0", 0 }, { "0s", 0 }, { "30s", 30 * USEC_PER_SEC }, { "1m30s", 90 * USEC_PER_SEC },
		{ "250ms", 250000 }, { "1.5h", 5400 * USEC_PER_SEC }, { "0.5s", 500000 }, { "5us", 5 },
		{ "87600h", 87600 * 3600 * USEC_PER_SEC } };
	static const char *const bad[] = { "", "5", "s", "-5s", "5 s", "5s ", "5d", "1.2.3s", ".s", "5sx",
		"+5s", "87601h", "87600h1s", "99999999999999999999s", "0x5s" };
	(void)state;
	struct error err;
	int64_t usec = 0;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(duration_parse("timeout", good[i].text, &usec, &err), STATUS_OK);
		assert_true(usec == good[i].usec);
	}
	usec = -7;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (duration_parse("timeout", bad[i], &usec, &err) != STATUS_INVALID)
			fail_msg("\"%s\" was accepted", bad[i]);
		assert_true(usec == -7);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flags_and_positionals_mix),
		cmocka_unit_test(spellings_of_a_value),
		cmocka_unit_test(value_that_looks_like_a_flag),
		cmocka_unit_test(mistakes),
		cmocka_unit_test(counting_positionals),
		cmocka_unit_test(durations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
