/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "control_plane/update_mask.h"

enum { A = 1, B = 2, C = 4 };

static const struct update_path paths[] = {
	{ .path = "spec", .fields = A | B | C, .keeps_absent = true },
	{ .path = "*", .fields = A | B | C, .is_all = true },
	{ .path = "spec.a", .fields = A },
	{ .path = "spec.group", .fields = B | C },
	{ .path = "spec.group.b", .fields = B },
	{ .path = "initial" },
};

static bool parse(const char *text, struct update_mask *mask)
{
	struct api_error error;
	bool is_good = update_mask_parse(text, paths, ARRAY_LEN(paths), mask, &error);
	if (!is_good)
		assert_int_equal(error.code, API_INVALID_PARAMETER);
	return is_good;
}

static void absent_means_spec(void **state)
{
	(void)state;
	static const char *const texts[] = { NULL, "", "spec", " spec ", "spec,spec", "initial,spec" };
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct update_mask mask;
		assert_true(parse(texts[i], &mask));
		assert_int_equal(mask.fields, 0);
		assert_int_equal(mask.present, A | B | C);
		assert_true(update_mask_has(&mask, A, true));
		assert_false(update_mask_has(&mask, A, false)); /* keeps its value */
	}
}

static void leaves_reset_what_is_absent(void **state)
{
	(void)state;
	struct update_mask mask;
	assert_true(parse("spec.a", &mask));
	assert_true(update_mask_has(&mask, A, false));
	assert_false(update_mask_has(&mask, B, true));
	assert_true(parse("spec.group.b,spec.a", &mask));
	assert_true(update_mask_has(&mask, B, false));
	assert_false(update_mask_has(&mask, C, true));
	assert_true(parse("*", &mask));
	assert_true(mask.is_all && update_mask_has(&mask, C, false));
}

/* The direct engine may send a struct and its own child. */
static void a_struct_and_its_child_are_their_union(void **state)
{
	(void)state;
	struct update_mask mask;
	assert_true(parse("spec.group,spec.group.b", &mask));
	assert_int_equal(mask.fields, B | C);
	assert_true(parse("spec,spec.a", &mask));
	assert_true(update_mask_has(&mask, A, false));
	assert_false(update_mask_has(&mask, B, false));
	assert_true(update_mask_has(&mask, B, true));
}

static void unknown_paths_are_named(void **state)
{
	(void)state;
	static const char *const bad[] = { "spec.x", "spec.a,", ",", "Spec", "spec.a.b", "name", "spec;spec",
		"spec.group.*" };
	struct update_mask mask = { .fields = 99 };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(parse(bad[i], &mask));
	assert_int_equal(mask.fields, 99);
	struct api_error error;
	assert_false(update_mask_parse("spec.a,spec.x", paths, ARRAY_LEN(paths), &mask, &error));
	assert_string_equal(error.message, "Unknown field path in update_mask: 'spec.x'");
}

static void it_is_bounded(void **state)
{
	(void)state;
	char text[UPDATE_MASK_TEXT_MAX + 2];
	memset(text, 'a', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	struct update_mask mask;
	assert_false(parse(text, &mask));
	char many[UPDATE_MASK_PATHS_MAX * 7 + 8] = "spec.a";
	for (int i = 1; i < UPDATE_MASK_PATHS_MAX; i++)
		strcat(many, ",spec.a");
	assert_true(parse(many, &mask));
	strcat(many, ",spec.a");
	assert_false(parse(many, &mask));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(absent_means_spec),
		cmocka_unit_test(leaves_reset_what_is_absent),
		cmocka_unit_test(a_struct_and_its_child_are_their_union),
		cmocka_unit_test(unknown_paths_are_named),
		cmocka_unit_test(it_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
