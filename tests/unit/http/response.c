/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "http/response.h"

#include <yyjson.h>

#define TRACE "0123456789abcdef0123456789abcdef"

static void error_has_the_shape_that_clients_parse(void **state)
{
	(void)state;
	CLEANUP(http_response_done) struct http_response r = { 0 };
	http_response_set_error(&r, 400, "BAD_REQUEST", "no \"way\" \xff", "MANAGED_BY_PARENT", TRACE);
	assert_int_equal(r.status, 400);
	yyjson_doc *doc = yyjson_read(r.body, r.body_len, 0);
	yyjson_val *root = yyjson_doc_get_root(doc);
	assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "error_code")), "BAD_REQUEST");
	assert_string_equal(
	        yyjson_get_str(yyjson_obj_get(root, "message")), "no \"way\" ? [TraceId: " TRACE "]");
	yyjson_val *details = yyjson_obj_get(root, "details");
	assert_int_equal(yyjson_arr_size(details), 2);
	size_t i, count;
	yyjson_val *detail;
	/* The JS SDK throws the whole body away when one of them lacks it. */
	yyjson_arr_foreach(details, i, count, detail)
	        assert_true(yyjson_is_obj(yyjson_obj_get(detail, "metadata")));
	assert_string_equal(yyjson_get_str(yyjson_ptr_get(root, "/details/0/@type")),
	        "type.googleapis.com/google.rpc.ErrorInfo");
	assert_string_equal(yyjson_get_str(yyjson_ptr_get(root, "/details/0/metadata/declarative_context")),
	        "MANAGED_BY_PARENT");
	assert_string_equal(yyjson_get_str(yyjson_ptr_get(root, "/details/1/serving_data")), "");
	assert_int_equal(yyjson_get_len(yyjson_ptr_get(root, "/details/1/request_id")), 36);
	yyjson_doc_free(doc);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(error_has_the_shape_that_clients_parse),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
