/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "control_plane/cadence.h"

#include <stdlib.h>

#include "base/clock.h"

static int64_t at(const char *text)
{
	int64_t usec = 0;
	if (!clock_parse_timestamp(slice_from_text(text), &usec))
		fail_msg("bad test input %s", text);
	return usec;
}

static bool read_list(const char *json, struct cadence_list *ret, struct api_error *error)
{
	yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
	if (!doc)
		fail_msg("bad test input %s", json);
	bool is_good = cadence_list_read(yyjson_doc_get_root(doc), ret, error);
	yyjson_doc_free(doc);
	return is_good;
}

#define DAILY(h)                                                                                             \
	{                                                                                                    \
		.kind = CADENCE_DAILY, .hour = (h)                                                           \
	}
#define WEEKLY(d, h)                                                                                         \
	{                                                                                                    \
		.kind = CADENCE_WEEKLY, .day = (d), .hour = (h)                                              \
	}
#define MONTHLY(d, h)                                                                                        \
	{                                                                                                    \
		.kind = CADENCE_MONTHLY, .day = (d), .hour = (h)                                             \
	}

static void the_next_firing(void **state)
{
	(void)state;
	static const struct {
		struct cadence cadence;
		const char *after, *next;
	} cases[] = {
		{ DAILY(3), "2026-11-30T00:00:00Z", "2026-11-30T03:00:00Z" },
		{ DAILY(3), "2026-11-30T02:59:59.999999Z", "2026-11-30T03:00:00Z" },
		{ DAILY(3), "2026-11-30T03:00:00Z", "2026-12-01T03:00:00Z" }, /* after, not at */
		{ DAILY(0), "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z" },
		{ DAILY(23), "2028-02-28T23:30:00Z", "2028-02-29T23:00:00Z" },
		/* 2026-11-30 is a Monday. */
		{ WEEKLY(0, 5), "2026-11-30T04:00:00Z", "2026-11-30T05:00:00Z" },
		{ WEEKLY(0, 5), "2026-11-30T05:00:00Z", "2026-12-07T05:00:00Z" },
		{ WEEKLY(6, 0), "2026-11-30T05:00:00Z", "2026-12-06T00:00:00Z" },
		{ WEEKLY(6, 23), "2026-12-06T22:00:00Z", "2026-12-06T23:00:00Z" },
		{ WEEKLY(3, 0), "1970-01-01T00:00:00Z", "1970-01-08T00:00:00Z" },
		{ MONTHLY(1, 0), "2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z" },
		{ MONTHLY(30, 12), "2026-11-30T11:00:00Z", "2026-11-30T12:00:00Z" },
		{ MONTHLY(31, 12), "2026-11-30T11:00:00Z", "2026-11-30T12:00:00Z" }, /* clamped */
		{ MONTHLY(31, 12), "2026-11-30T12:00:00Z", "2026-12-31T12:00:00Z" },
		{ MONTHLY(31, 0), "2027-01-31T00:00:00Z", "2027-02-28T00:00:00Z" },
		{ MONTHLY(31, 0), "2028-01-31T00:00:00Z", "2028-02-29T00:00:00Z" },
		{ MONTHLY(29, 0), "2027-02-28T00:00:00Z", "2027-03-29T00:00:00Z" },
		{ MONTHLY(15, 7), "2026-12-15T08:00:00Z", "2027-01-15T07:00:00Z" },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[CLOCK_TEXT_MAX];
		clock_format_timestamp(cadence_next(&cases[i].cadence, at(cases[i].after)), text);
		if (strcmp(text, cases[i].next) != 0)
			fail_msg("after %s: expected %s, got %s", cases[i].after, cases[i].next, text);
	}
}

/* Whatever the moment: the next firing is later, fits the cadence, and there is none in between. */
static void firings_follow_each_other(void **state)
{
	(void)state;
	for (int kind = CADENCE_DAILY; kind <= CADENCE_MONTHLY; kind++) {
		struct cadence cadence = { .kind = (enum cadence_kind)kind, .hour = 7, .day = 6 };
		if (kind == CADENCE_MONTHLY)
			cadence.day = 31;
		int64_t moment = at("2026-01-01T00:00:00Z"), longest = kind == CADENCE_DAILY    ? 1
		                                                       : kind == CADENCE_WEEKLY ? 7
		                                                                                : 31;
		for (int i = 0; i < 400; i++) {
			int64_t next = cadence_next(&cadence, moment);
			assert_true(next > moment);
			assert_true(next - moment <= (longest * 86400) * USEC_PER_SEC);
			assert_int_equal(next % (86400 * USEC_PER_SEC), 7 * 3600 * USEC_PER_SEC);
			assert_int_equal(cadence_next(&cadence, (moment + next) / 2), next);
			assert_int_equal(cadence_next(&cadence, next - 1), next);
			moment = next;
		}
	}
}

/* Together they are one, kept for the longest; missed ones are together with those of now. */
static void what_fires_together_is_one(void **state)
{
	(void)state;
	struct cadence_list list = { .count = 3,
		.cadences = { { .kind = CADENCE_DAILY, .retention_usec = 10 },
		        { .kind = CADENCE_WEEKLY, .day = 6, .retention_usec = 30 },
		        { .kind = CADENCE_MONTHLY, .day = 1, .retention_usec = 20 } } };
	assert_int_equal(
	        cadence_list_fired(&list, at("2026-11-30T00:00:00Z"), at("2026-11-30T23:00:00Z")), 0);
	assert_int_equal(
	        cadence_list_fired(&list, at("2026-11-29T12:00:00Z"), at("2026-11-30T00:00:00Z")), 10);
	assert_int_equal(
	        cadence_list_fired(&list, at("2026-11-30T00:00:00Z"), at("2026-12-01T00:00:00Z")), 20);
	assert_int_equal(
	        cadence_list_fired(&list, at("2026-11-30T00:00:00Z"), at("2026-12-20T00:00:00Z")), 30);
	assert_int_equal(cadence_list_next(&list, at("2026-11-30T00:00:00Z")), at("2026-12-01T00:00:00Z"));
	list.count = 0;
	assert_int_equal(cadence_list_fired(&list, 0, INT64_MAX), 0);
	assert_int_equal(cadence_list_next(&list, 0), INT64_MAX);
}

static void what_is_accepted_is_shown_again(void **state)
{
	(void)state;
	static const char *const lists[] = {
		"[]",
		"[{\"retention\":\"3600s\",\"daily_schedule\":{\"hour\":0}}]",
		("[{\"retention\":\"604800s\",\"weekly_schedule\":{\"day_of_week\":\"SUNDAY\",\"hour\":23}},"
		 "{\"retention\":\"315360000s\",\"monthly_schedule\":{\"day\":31,\"hour\":12}}]"),
	};
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		struct cadence_list list;
		struct api_error error;
		assert_true(read_list(lists[i], &list, &error));
		yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
		yyjson_mut_doc_set_root(doc, cadence_list_to_json(doc, &list));
		CLEANUP(free_text) char *again = yyjson_mut_write(doc, 0, NULL);
		yyjson_mut_doc_free(doc);
		assert_string_equal(again, lists[i]);
	}
	struct cadence_list list;
	struct api_error error;
	assert_true(read_list("[{\"retention\":\"3600s\",\"daily_schedule\":{}}]", &list, &error));
	assert_int_equal(list.cadences[0].hour, 0);
}

static void mistakes_are_named(void **state)
{
	(void)state;
	static const struct {
		const char *list, *message;
	} cases[] = {
		{ "[5]", "Field 'schedule[0]' must be an object." },
		{ "[{\"daily_schedule\":{}}]", "Field 'schedule[0].retention' is required" },
		{ "[{\"retention\":\"3599s\",\"daily_schedule\":{}}]", "Field 'schedule[0].retention'" },
		{ "[{\"retention\":\"315360001s\",\"daily_schedule\":{}}]", "Field 'schedule[0].retention'" },
		{ "[{\"retention\":3600,\"daily_schedule\":{}}]",
		        "Field 'schedule[0].retention' must be a string" },
		{ "[{\"retention\":\"3600s\"}]", "Field 'schedule[0]': exactly one of" },
		{ "[{\"retention\":\"3600s\",\"daily_schedule\":{},\"monthly_schedule\":{\"day\":1}}]",
		        "Field 'schedule[0]': exactly one of" },
		{ "[{\"retention\":\"3600s\",\"daily_schedule\":{\"hour\":24}}]",
		        "Field 'schedule[0].daily_schedule.hour' must be between 0 and 23." },
		{ "[{\"retention\":\"3600s\",\"daily_schedule\":{\"hour\":-1}}]",
		        "Field 'schedule[0].daily_schedule.hour'" },
		{ "[{\"retention\":\"3600s\",\"daily_schedule\":{}},{\"retention\":\"3600s\",\"weekly_"
		  "schedule\":{}}]",
		        "Field 'schedule[1].weekly_schedule.day_of_week' must be MONDAY to SUNDAY." },
		{ "[{\"retention\":\"3600s\",\"weekly_schedule\":{\"day_of_week\":\"monday\"}}]",
		        "Field 'schedule[0].weekly_schedule.day_of_week'" },
		{ "[{\"retention\":\"3600s\",\"monthly_schedule\":{}}]",
		        "Field 'schedule[0].monthly_schedule.day' must be between 1 and 31." },
		{ "[{\"retention\":\"3600s\",\"monthly_schedule\":{\"day\":32}}]",
		        "Field 'schedule[0].monthly_schedule.day'" },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct cadence_list list;
		struct api_error error = { 0 };
		if (read_list(cases[i].list, &list, &error))
			fail_msg("%s was accepted", cases[i].list);
		if (strncmp(error.message, cases[i].message, strlen(cases[i].message)) != 0)
			fail_msg("%s: %s", cases[i].list, error.message);
	}
	CLEANUP(free_text) char *many = xstrdup("[{}");
	for (int i = 0; i < CADENCES_MAX; i++) {
		char *longer = xasprintf("%s,{}", many);
		free(many);
		many = longer;
	}
	CLEANUP(free_text) char *list_text = xasprintf("%s]", many);
	struct cadence_list list;
	struct api_error error = { 0 };
	assert_false(read_list(list_text, &list, &error));
	assert_string_equal(error.message, "Field 'schedule' has more than 32 cadences.");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_next_firing),
		cmocka_unit_test(firings_follow_each_other),
		cmocka_unit_test(what_fires_together_is_one),
		cmocka_unit_test(what_is_accepted_is_shown_again),
		cmocka_unit_test(mistakes_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
