/* Admission: each limit is named when it is reached, and nobody takes the last places. */
#include "proxy/admission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct endpoint endpoint(const char *uid, const char *project, uint64_t max, uint64_t project_max)
{
	struct endpoint made = { .connections_max = max, .project_connections_max = project_max };
	(void)snprintf(made.uid, sizeof made.uid, "%s", uid);
	(void)snprintf(made.project, sizeof made.project, "%s", project);
	(void)snprintf(made.name, sizeof made.name, "projects/%s/branches/b/endpoints/%s", project, uid);
	return made;
}

static void check_refused(struct admission *admission, struct endpoint at, const char *message)
{
	struct admission_place place = { 0 };
	struct refusal refusal;
	assert_false(admission_enter(admission, &at, false, &place, &refusal));
	assert_string_equal(refusal.sqlstate, "53300");
	assert_string_equal(refusal.message, message);
	assert_int_equal(refusal.reason, REFUSAL_LIMIT);
	assert_null(place.admission);
}

static void enter(struct admission *admission, struct endpoint at, struct admission_place *place)
{
	struct refusal refusal;
	assert_true(admission_enter(admission, &at, false, place, &refusal));
}

static void test_endpoint_and_project(void **unused)
{
	(void)unused;
	struct admission *admission = admission_create(1000);
	struct admission_place places[6] = { 0 };
	for (int i = 0; i < 3; i++)
		enter(admission, endpoint("ep-a", "p", 3, 5), &places[i]);
	check_refused(admission, endpoint("ep-a", "p", 3, 5),
	        "too many connections to endpoint \"projects/p/branches/b/endpoints/ep-a\": the limit is 3");
	for (int i = 3; i < 5; i++)
		enter(admission, endpoint("ep-b", "p", 3, 5), &places[i]);
	check_refused(admission, endpoint("ep-b", "p", 3, 5),
	        "too many connections to the endpoints of \"projects/p\": the limit is 5");
	enter(admission, endpoint("ep-c", "q", 3, 5), &places[5]);
	/* One goes, one comes. */
	admission_leave(&places[0]);
	admission_leave(&places[0]);
	enter(admission, endpoint("ep-a", "p", 3, 5), &places[0]);
	/* A larger limit is in effect at once. */
	check_refused(admission, endpoint("ep-b", "p", 3, 5),
	        "too many connections to the endpoints of \"projects/p\": the limit is 5");
	struct admission_place more = { 0 };
	enter(admission, endpoint("ep-b", "p", 3, 6), &more);
	admission_leave(&more);
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		admission_leave(&places[i]);
	assert_int_equal(admission_count(admission), 0);
	admission_free(admission);
}

static void test_the_pooler_has_a_limit_of_its_own(void **unused)
{
	(void)unused;
	struct admission *admission = admission_create(100);
	struct admission_place direct = { 0 }, pooled[2] = { 0 }, none = { 0 };
	struct endpoint at = endpoint("ep-a", "p", 1, 4);
	struct refusal refusal;
	at.pooled_connections_max = 2;
	enter(admission, at, &direct);
	for (size_t i = 0; i < ARRAY_LEN(pooled); i++)
		assert_true(admission_enter(admission, &at, true, &pooled[i], &refusal));
	assert_false(admission_enter(admission, &at, true, &none, &refusal));
	assert_string_equal(refusal.message, "too many connections to the pooler of endpoint "
	                                     "\"projects/p/branches/b/endpoints/ep-a\": the limit is 2");
	assert_false(admission_enter(admission, &at, false, &none, &refusal));
	at.project_connections_max = 3; /* both kinds count there */
	assert_false(admission_enter(admission, &at, true, &none, &refusal));
	admission_leave(&direct);
	for (size_t i = 0; i < ARRAY_LEN(pooled); i++)
		admission_leave(&pooled[i]);
	admission_free(admission);
}

static void test_without_limits(void **unused)
{
	(void)unused;
	struct admission *admission = admission_create(100);
	struct admission_place places[50] = { 0 };
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		enter(admission, endpoint("ep-a", "", 0, 0), &places[i]); /* an older control says none */
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		admission_leave(&places[i]);
	admission_free(admission);
}

/* However many endpoints are full of connections, another one still gets some. */
static void test_the_last_places(void **unused)
{
	(void)unused;
	enum { ALL = 800, KEPT = ALL / 8 };
	struct admission *admission = admission_create(ALL);
	struct admission_place *places = xcalloc(ALL, sizeof *places);
	size_t count = 0;
	for (; count < (ALL - KEPT) / 2; count++)
		enter(admission, endpoint("ep-a", "p", 0, 0), &places[count]);
	for (; count < ALL - KEPT; count++)
		enter(admission, endpoint("ep-b", "q", 0, 0), &places[count]);
	check_refused(admission, endpoint("ep-a", "p", 0, 0),
	        "too many connections to the proxy: the limit is 800");
	check_refused(admission, endpoint("ep-b", "q", 0, 0),
	        "too many connections to the proxy: the limit is 800");
	char uid[32];
	for (int e = 0; count < ALL; e++) {
		(void)snprintf(uid, sizeof uid, "ep-small-%d", e);
		for (unsigned i = 0; i < ADMISSION_FEW && count < ALL; i++)
			enter(admission, endpoint(uid, uid, 0, 0), &places[count++]);
	}
	check_refused(admission, endpoint("ep-new", "r", 0, 0),
	        "too many connections to the proxy: the limit is 800");
	for (size_t i = 0; i < ALL; i++)
		admission_leave(&places[i]);
	free(places);
	admission_free(admission);
}

/* Where there are hardly any descriptors, all can still be used. */
static void test_very_few(void **unused)
{
	(void)unused;
	struct admission *admission = admission_create(3);
	struct admission_place places[3] = { 0 };
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		enter(admission, endpoint("ep-a", "p", 0, 0), &places[i]);
	check_refused(
	        admission, endpoint("ep-b", "p", 0, 0), "too many connections to the proxy: the limit is 3");
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		admission_leave(&places[i]);
	admission_free(admission);
	assert_null(admission_free(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_endpoint_and_project),
		cmocka_unit_test(test_the_pooler_has_a_limit_of_its_own),
		cmocka_unit_test(test_without_limits),
		cmocka_unit_test(test_the_last_places),
		cmocka_unit_test(test_very_few),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
