/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "auth/api_token.h"

static void generated_tokens_have_the_form_and_differ(void **state)
{
	(void)state;
	char one[API_TOKEN_LEN + 1], two[API_TOKEN_LEN + 1];
	api_token_generate(one);
	api_token_generate(two);
	assert_int_equal(strlen(one), API_TOKEN_LEN);
	assert_memory_equal(one, "dapi", 4);
	assert_int_equal(strspn(one + 4, "0123456789abcdef"), API_TOKEN_LEN - 4);
	assert_string_not_equal(one, two);
}

static void hash_is_sha256(void **state)
{
	(void)state;
	char hash[API_TOKEN_HASH_LEN + 1];
	api_token_hash(slice_from_text("abc"), hash); /* FIPS 180-2 */
	assert_string_equal(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	api_token_hash((struct slice){ 0 }, hash);
	assert_string_equal(hash, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	api_token_hash((struct slice){ (const uint8_t *)"abc\0", 4 }, hash);
	assert_string_not_equal(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void secrets_compare_whole(void **state)
{
	(void)state;
	assert_true(secrets_equal(slice_from_text("secret"), slice_from_text("secret")));
	assert_true(secrets_equal((struct slice){ 0 }, slice_from_text("")));
	assert_false(secrets_equal(slice_from_text("secret"), slice_from_text("secres")));
	assert_false(secrets_equal(slice_from_text("secret"), slice_from_text("secre")));
	assert_false(secrets_equal(slice_from_text("secret"), slice_from_text("Secret")));
	assert_false(secrets_equal((struct slice){ 0 }, slice_from_text("s")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(generated_tokens_have_the_form_and_differ),
		cmocka_unit_test(hash_is_sha256),
		cmocka_unit_test(secrets_compare_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
