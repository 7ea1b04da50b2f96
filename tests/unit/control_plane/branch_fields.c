/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "control_plane/branch_fields.h"

#include "base/clock.h"

#define NOW    (1800000000 * USEC_PER_SEC)
#define CREATE (NOW - 3600 * USEC_PER_SEC) /* the branch is an hour old */

static const struct settings limits = { .branch_ttl_max_sec = 2592000 };

/* What a spec does to a branch; false when it is refused. */
static bool apply(const char *json, const char *mask_text, struct branch_row *branch, struct api_error *error)
{
	struct branch_fields fields;
	struct update_mask mask;
	yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
	if (!doc)
		fail_msg("bad test input %s", json);
	bool is_good = branch_mask_parse(mask_text, &mask, error) &&
	               branch_fields_read(yyjson_doc_get_root(doc), &fields, error) &&
	               branch_fields_update(branch, &fields, &mask, &limits, NOW, error);
	yyjson_doc_free(doc);
	return is_good;
}

/* Checklist 10. */
static void expirations(void **state)
{
	(void)state;
	static const struct {
		const char *json;
		bool is_good;
		int64_t expire_sec; /* from NOW; 0: none */
	} cases[] = {
		{ "{\"no_expiry\":true}", true, 0 },
		{ "{\"no_expiry\":false}", false, 0 },
		{ "{\"ttl\":\"7200s\"}", true, 3600 }, /* counts from the creation */
		{ "{\"ttl\":\"3600s\"}", false, 0 },   /* over */
		{ "{\"ttl\":\"0s\"}", false, 0 },
		{ "{\"ttl\":\"-5s\"}", false, 0 },
		{ "{\"ttl\":\"2595600s\"}", true, 30 * 86400 },
		{ "{\"ttl\":\"2595601s\"}", false, 0 },
		{ "{\"ttl\":\"999999999999s\"}", false, 0 },
		{ "{\"ttl\":\"soon\"}", false, 0 },
		{ "{\"ttl\":\"7200s\",\"no_expiry\":true}", false, 0 },
		{ "{\"ttl\":\"7200s\",\"expire_time\":\"2027-01-16T00:00:00Z\"}", false, 0 },
		{ "{\"expire_time\":\"2027-01-15T08:00:01Z\"}", true, 1 },
		{ "{\"expire_time\":\"2027-01-15T10:00:01+02:00\"}", true, 1 },
		{ "{\"expire_time\":\"2027-01-15T08:00:00Z\"}", false, 0 },
		{ "{\"expire_time\":\"2027-02-14T08:00:00Z\"}", true, 30 * 86400 },
		{ "{\"expire_time\":\"2027-02-14T08:00:01Z\"}", false, 0 },
		{ "{\"expire_time\":\"tomorrow\"}", false, 0 },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct branch_row branch = { .create_usec = CREATE };
		struct api_error error;
		if (apply(cases[i].json, "spec", &branch, &error) != cases[i].is_good)
			fail_msg("%s", cases[i].json);
		assert_int_equal(branch.expire_usec,
		        cases[i].expire_sec ? NOW + cases[i].expire_sec * USEC_PER_SEC : 0);
	}
}

/* Checklist 11 and 12. */
static void masks(void **state)
{
	(void)state;
	struct api_error error;
	struct branch_row branch = { .create_usec = CREATE };
	assert_true(apply("{\"ttl\":\"7200s\"}", "spec.expiration", &branch, &error));
	assert_true(apply("{\"is_protected\":true}", "spec", &branch, &error));
	assert_int_equal(branch.expire_usec, NOW + 3600 * USEC_PER_SEC); /* kept */
	assert_true(branch.is_protected);
	assert_true(apply("{\"expire_time\":\"2027-01-16T08:00:00Z\"}", "spec.ttl", &branch, &error));
	assert_int_equal(branch.expire_usec, NOW + 86400 * USEC_PER_SEC);
	assert_true(apply("{\"no_expiry\":true}", "spec.expiration", &branch, &error));
	assert_int_equal(branch.expire_usec, 0);
	/* A Go client drops false. */
	assert_true(apply("{}", "spec.is_protected", &branch, &error));
	assert_false(branch.is_protected);
	/* Not in the mask: not changed. */
	assert_true(apply("{\"is_protected\":true,\"ttl\":\"7200s\"}", "spec.expiration", &branch, &error));
	assert_false(branch.is_protected);
	assert_false(apply("{}", "spec.source_branch", &branch, &error));
	assert_int_equal(strncmp(error.message, "Unknown field path in update_mask", 33), 0);
}

static void refused_changes_change_nothing(void **state)
{
	(void)state;
	struct api_error error;
	struct branch_row branch = { .create_usec = CREATE, .expire_usec = 5, .is_protected = false };
	assert_false(apply("{\"is_protected\":true,\"ttl\":\"1s\"}", "*", &branch, &error));
	assert_int_equal(branch.expire_usec, 5);
	assert_false(branch.is_protected);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(expirations),
		cmocka_unit_test(masks),
		cmocka_unit_test(refused_changes_change_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
