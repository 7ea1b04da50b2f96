/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "control_plane/instance_fields.h"
#include "base/clock.h"
#include "control_plane/resource_name.h"

static void names_are_ids_with_capitals(void **state)
{
	(void)state;
	char longest[RESOURCE_ID_MAX + 2], id[RESOURCE_ID_MAX + 1];
	memset(longest, 'A', RESOURCE_ID_MAX);
	longest[RESOURCE_ID_MAX] = '\0';
	static const char *const good[][2] = { { "my-app", "my-app" }, { "My-App", "my-app" }, { "A", "a" },
		{ "a1", "a1" }, { "DB-2-Prod", "db-2-prod" }, { "a--b", "a--b" } };
	static const char *const bad[] = { "", "1a", "-a", "a-", "a_b", "a.b", "a/b", "a b", "\xc3\x84",
		"a\n", "projects/p" };
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_true(instance_name_is_valid(good[i][0]));
		instance_id(good[i][0], id);
		assert_string_equal(id, good[i][1]);
		assert_true(resource_id_is_valid(id));
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(instance_name_is_valid(bad[i]));
	assert_true(instance_name_is_valid(longest));
	instance_id(longest, id);
	assert_true(resource_id_is_valid(id));
	longest[RESOURCE_ID_MAX] = 'a';
	longest[RESOURCE_ID_MAX + 1] = '\0';
	assert_false(instance_name_is_valid(longest));
}

static void capacities_are_sizes(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		double cu;
	} sizes[] = { { "CU_1", 8 }, { "CU_2", 16 }, { "CU_4", 32 }, { "CU_8", 64 } };
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		assert_true(instance_capacity_cu(sizes[i].name) == sizes[i].cu);
		assert_string_equal(instance_capacity(sizes[i].cu), sizes[i].name);
	}
	static const char *const bad[] = { "", "CU_3", "cu_1", "CU_16", "CU_1 ", "1" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_true(instance_capacity_cu(bad[i]) == 0);
	/* Sizes of today that no capacity has. */
	assert_string_equal(instance_capacity(0.5), "CU_1");
	assert_string_equal(instance_capacity(9), "CU_2");
	assert_string_equal(instance_capacity(17), "CU_4");
	assert_string_equal(instance_capacity(33), "CU_8");
	assert_string_equal(instance_capacity(112), "CU_8");
}

static void retention_is_whole_days(void **state)
{
	(void)state;
	assert_int_equal(instance_retention_days(604800 * USEC_PER_SEC), 7);
	assert_int_equal(instance_retention_days(259199 * USEC_PER_SEC), 2);
	assert_int_equal(instance_retention_days(3024000 * USEC_PER_SEC), 35);
}

static void masks(void **state)
{
	(void)state;
	struct update_mask mask;
	struct api_error error;
	static const char *const carried[] = { NULL, "", "*", "*,name" };
	for (size_t i = 0; i < ARRAY_LEN(carried); i++) {
		assert_true(instance_mask_parse(carried[i], &mask, &error));
		assert_true(update_mask_has(&mask, INSTANCE_STOPPED, true));
		assert_false(update_mask_has(&mask, INSTANCE_STOPPED, false));
	}
	/* What Terraform sends with every change. */
	assert_true(instance_mask_parse("capacity,custom_tags,enable_pg_native_login,enable_readable_"
	                                "secondaries,node_count,retention_window_in_days,stopped,"
	                                "usage_policy_id",
	        &mask, &error));
	assert_true(update_mask_has(&mask, INSTANCE_STOPPED, false));
	assert_true(update_mask_has(&mask, INSTANCE_USAGE_POLICY, false));
	assert_true(instance_mask_parse("stopped", &mask, &error));
	assert_false(update_mask_has(&mask, INSTANCE_CAPACITY, true));
	static const char *const bad[] = { "spec", "effective_stopped", "uid", "state", "stopped,",
		"parent_instance_ref", "Stopped" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_false(instance_mask_parse(bad[i], &mask, &error));
		assert_int_equal(strncmp(error.message, "Unknown field path in update_mask", 33), 0);
	}
}

static void expect_refused(const char *json, enum api_code code, const char *message)
{
	yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
	assert_non_null(doc);
	CLEANUP(instance_fields_done) struct instance_fields fields = { 0 };
	struct instance_origin origin;
	struct api_error error = { 0 };
	if (instance_fields_read(yyjson_doc_get_root(doc), &fields, &error) &&
	        instance_origin_read(yyjson_doc_get_root(doc), &origin, &error))
		fail_msg("accepted: %s", json);
	if (error.code != code || strncmp(error.message, message, strlen(message)) != 0)
		fail_msg("%s: %d \"%s\"", json, error.code, error.message);
	yyjson_doc_free(doc);
}

static void requests_are_checked(void **state)
{
	(void)state;
	static const struct {
		const char *json;
		enum api_code code;
		const char *message;
	} bad[] = {
		{ "{\"name\":1}", API_INVALID_PARAMETER, "Field 'name' must be a string" },
		{ "{\"capacity\":\"CU_3\"}", API_INVALID_PARAMETER, "Field 'capacity' must be CU_1" },
		{ "{\"capacity\":2}", API_INVALID_PARAMETER, "Field 'capacity'" },
		{ "{\"node_count\":2}", API_NOT_IMPLEMENTED, "Field 'node_count'" },
		{ "{\"node_count\":4}", API_INVALID_PARAMETER, "Field 'node_count' must be between 1 and 3" },
		{ "{\"node_count\":-1}", API_INVALID_PARAMETER, "Field 'node_count' must be between" },
		{ "{\"enable_readable_secondaries\":true}", API_INVALID_PARAMETER,
		        "Field 'enable_readable_secondaries' needs" },
		{ "{\"retention_window_in_days\":1}", API_INVALID_PARAMETER,
		        "Field 'retention_window_in_days' must be between 2 and 35" },
		{ "{\"retention_window_in_days\":36}", API_INVALID_PARAMETER,
		        "Field 'retention_window_in_days'" },
		{ "{\"stopped\":\"yes\"}", API_INVALID_PARAMETER, "Field 'stopped'" },
		{ "{\"custom_tags\":[1]}", API_INVALID_PARAMETER, "Field 'custom_tags'" },
		{ "{\"custom_tags\":[{\"value\":\"x\"}]}", API_INVALID_PARAMETER,
		        "Field 'custom_tags.key' is required" },
		{ "{\"pg_version\":\"PG_VERSION_X\"}", API_INVALID_PARAMETER, "Field 'pg_version'" },
		{ "{\"parent_instance_ref\":{\"lsn\":\"0/1\"}}", API_INVALID_PARAMETER,
		        "Field 'parent_instance_ref.name' is required" },
		{ "{\"parent_instance_ref\":{\"name\":\"p\",\"lsn\":\"x\"}}", API_INVALID_PARAMETER,
		        "Field 'parent_instance_ref.lsn' must be an LSN" },
		{ "{\"parent_instance_ref\":{\"name\":\"p\",\"lsn\":\"0/0\"}}", API_INVALID_PARAMETER,
		        "Field 'parent_instance_ref.lsn' must be an LSN" },
		{ "{\"parent_instance_ref\":{\"name\":\"p\",\"branch_time\":\"today\"}}",
		        API_INVALID_PARAMETER, "Field 'parent_instance_ref.branch_time'" },
		{ "{\"parent_instance_ref\":\"p\"}", API_INVALID_PARAMETER, "Field 'parent_instance_ref'" },
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		expect_refused(bad[i].json, bad[i].code, bad[i].message);
	/* Zeroes of older clients, and what answers carry, mean nothing. */
	static const char good[] =
	        "{\"name\":\"a\",\"capacity\":\"\",\"node_count\":0,\"retention_window_in_days\":0,"
	        "\"enable_readable_secondaries\":false,\"parent_instance_ref\":{},\"pg_version\":\"PG_"
	        "VERSION_17\","
	        "\"uid\":5,\"state\":\"NONSENSE\",\"effective_node_count\":9}";
	yyjson_doc *doc = yyjson_read(good, sizeof good - 1, 0);
	CLEANUP(instance_fields_done) struct instance_fields fields = { 0 };
	struct instance_origin origin;
	struct api_error error;
	assert_true(instance_fields_read(yyjson_doc_get_root(doc), &fields, &error));
	assert_true(instance_origin_read(yyjson_doc_get_root(doc), &origin, &error));
	assert_false(fields.capacity.is_set || fields.node_count.is_set || fields.retention_days.is_set ||
	             origin.has_parent);
	assert_int_equal(origin.pg_version.value, 17);
	yyjson_doc_free(doc);
	assert_true(instance_fields_read(NULL, &fields, &error));
	assert_true(instance_origin_read(NULL, &origin, &error));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_ids_with_capitals),
		cmocka_unit_test(capacities_are_sizes),
		cmocka_unit_test(retention_is_whole_days),
		cmocka_unit_test(masks),
		cmocka_unit_test(requests_are_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
