/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "control_plane/page_token.h"

static bool read_page(const char *uri, const char *list, struct page *page, struct api_error *error)
{
	struct error err;
	CLEANUP(http_request_done) struct http_request r = { 0 };
	assert_int_equal(http_request_parse_uri(&r, uri, &err), STATUS_OK);
	return page_read(&r, list, true, PAGE_SIZE_MAX, page, error);
}

static void sizes_are_defaulted_and_coerced(void **state)
{
	(void)state;
	struct page page;
	struct api_error error;
	assert_true(read_page("/x", "l", &page, &error) && page.size == PAGE_SIZE_DEFAULT);
	assert_true(read_page("/x?page_size=0", "l", &page, &error) && page.size == PAGE_SIZE_DEFAULT);
	assert_true(read_page("/x?page_size=7", "l", &page, &error) && page.size == 7);
	assert_true(read_page("/x?page_size=99999999", "l", &page, &error) && page.size == PAGE_SIZE_MAX);
	assert_false(read_page("/x?page_size=-1", "l", &page, &error));
	assert_int_equal(error.code, API_INVALID_PARAMETER);
	assert_false(read_page("/x?page_size=many", "l", &page, &error));
	assert_false(read_page("/x?page_size=99999999999999999999", "l", &page, &error));
	assert_false(read_page("/x?show_deleted=yes", "l", &page, &error));
	assert_true(read_page("/x?show_deleted=true", "l", &page, &error) && page.with_deleted);
}

static void a_token_opens_its_own_list_only(void **state)
{
	(void)state;
	char token[PAGE_TOKEN_LEN + 1];
	page_token_make("branches of 12", false, 345, token);
	assert_int_equal(strlen(token), PAGE_TOKEN_LEN);
	struct page page;
	struct api_error error;
	CLEANUP(free_text) char *uri = xasprintf("/x?page_token=%s", token);
	assert_true(read_page(uri, "branches of 12", &page, &error));
	assert_int_equal(page.after_id, 345);
	assert_false(read_page(uri, "branches of 13", &page, &error));
	CLEANUP(free_text) char *deleted = xasprintf("/x?show_deleted=true&page_token=%s", token);
	assert_false(read_page(deleted, "branches of 12", &page, &error));
	/* Any other text is refused. */
	for (size_t i = 0; i < PAGE_TOKEN_LEN; i++) {
		CLEANUP(free_text) char *tampered = xasprintf("/x?page_token=%s", token);
		char *c = tampered + strlen("/x?page_token=") + i;
		*c = *c == '0' ? '1' : '0';
		assert_false(read_page(tampered, "branches of 12", &page, &error));
	}
	assert_false(read_page("/x?page_token=1", "branches of 12", &page, &error));
	assert_false(read_page(
	        "/x?page_token=ffffffffffffffff-0000000000000000", "branches of 12", &page, &error));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_defaulted_and_coerced),
		cmocka_unit_test(a_token_opens_its_own_list_only),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
