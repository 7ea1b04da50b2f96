/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "auth/base64url.h"

static const struct {
	const char *bytes, *text;
} pairs[] = {
	/* RFC 4648 section 10, without padding */
	{ "", "" },
	{ "f", "Zg" },
	{ "fo", "Zm8" },
	{ "foo", "Zm9v" },
	{ "foob", "Zm9vYg" },
	{ "fooba", "Zm9vYmE" },
	{ "foobar", "Zm9vYmFy" },
	{ "\xfb\xff\xfe", "-__-" },
};

static void known_pairs(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		CLEANUP(buffer_done) struct buffer text = { 0 }, bytes = { 0 };
		base64url_encode(slice_from_text(pairs[i].bytes), &text);
		assert_true(slice_equals_text(buffer_slice(&text), pairs[i].text));
		assert_true(base64url_decode(slice_from_text(pairs[i].text), &bytes));
		assert_true(slice_equals_text(buffer_slice(&bytes), pairs[i].bytes));
	}
}

/* Two texts for the same bytes would make one token look like two. */
static void anything_else_is_refused(void **state)
{
	static const char *const wrong[] = { "Z", "Zg==", "Zg=", "Zh", "Zm9", "Zm8=", "Zm9vY", "Zm9+", "Zm9/",
		"Zm 9v", "Zm9v\n", " Zm9v", "Zm9v.", "Z\x80\x80v" };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		CLEANUP(buffer_done) struct buffer bytes = { 0 };
		buffer_append_text(&bytes, "before");
		assert_false(base64url_decode(slice_from_text(wrong[i]), &bytes));
		assert_true(slice_equals_text(buffer_slice(&bytes), "before"));
	}
	CLEANUP(buffer_done) struct buffer bytes = { 0 };
	assert_false(base64url_decode((struct slice){ (const uint8_t *)"Zm\0v", 4 }, &bytes));
}

static void every_byte_survives(void **state)
{
	(void)state;
	uint8_t all[257];
	for (size_t i = 0; i < sizeof all; i++)
		all[i] = (uint8_t)i;
	for (size_t len = 0; len <= sizeof all; len++) {
		CLEANUP(buffer_done) struct buffer text = { 0 }, bytes = { 0 };
		base64url_encode((struct slice){ all, len }, &text);
		assert_true(base64url_decode(buffer_slice(&text), &bytes));
		assert_int_equal(bytes.len, len);
		if (len > 0)
			assert_memory_equal(bytes.data, all, len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_pairs),
		cmocka_unit_test(anything_else_is_refused),
		cmocka_unit_test(every_byte_survives),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
