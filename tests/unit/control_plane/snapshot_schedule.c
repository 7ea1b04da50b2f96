/* Schedules of snapshots (rest-api.md 3.13): whole calls and firings, with the schedule's clock turned back in the metadata. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#include "base/clock.h"
#include "control_fixture.h"
#include "control_plane/reaper.h"
#include "metadata/statement.h"

#define NAME      "projects/p/branches/production/snapshot-schedule"
#define PATH      "/" NAME
#define DAILY     "{\"schedule\":[{\"retention\":\"7200s\",\"daily_schedule\":{\"hour\":5}}]}"
#define DAILY_OUT "[{\"retention\":\"7200s\",\"daily_schedule\":{\"hour\":5}}]"
#define BOTH                                                                                                 \
	"{\"schedule\":[{\"retention\":\"7200s\",\"daily_schedule\":{\"hour\":5}},"                          \
	"{\"retention\":\"86400s\",\"daily_schedule\":{\"hour\":5}}]}"

static void expect_schedule(const struct control_fixture *f, yyjson_val *object, const char *expected)
{
	assert_string_equal(yyjson_get_str(yyjson_obj_get(object, "name")), NAME);
	CLEANUP(free_text) char *text = yyjson_val_write(yyjson_obj_get(object, "schedule"), 0, NULL);
	if (expected)
		assert_string_equal(text, expected);
	else
		assert_null(yyjson_obj_get(object, "schedule"));
	(void)f;
}

static void a_schedule_is_set_and_seen(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	call_api(f, "GET", PATH, NULL);
	assert_int_equal(f->http_status, 200);
	expect_schedule(f, f->json, NULL);

	CLEANUP(free_text) char *name = begin_operation(f, "PATCH", PATH "?update_mask=schedule", DAILY);
	assert_int_equal(strncmp(name, NAME "/operations/", strlen(NAME "/operations/")), 0);
	finish_operation(f, name);
	assert_string_equal(text_at(f, "/metadata/@type"),
	        "type.googleapis.com/databricks.postgres.v1.SnapshotScheduleOperationMetadata");
	expect_schedule(f, yyjson_obj_get(f->json, "response"), DAILY_OUT);
	call_api(f, "GET", PATH, NULL);
	expect_schedule(f, f->json, DAILY_OUT);

	perform(f, "PATCH", PATH, "{}"); /* without a mask: what is there */
	call_api(f, "GET", PATH, NULL);
	expect_schedule(f, f->json, DAILY_OUT);
	call_api(f, "PATCH", PATH "?update_mask=spec.schedule", DAILY);
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Unknown field path in update_mask");
	call_api(f, "PATCH", PATH, "{\"schedule\":[{}]}");
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field 'schedule[0].retention'");
	call_api(f, "PATCH", PATH, "{\"schedule\":{}}");
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field 'schedule' must be a list");
	perform(f, "PATCH", PATH "?update_mask=*", "{}");
	call_api(f, "GET", PATH, NULL);
	expect_schedule(f, f->json, NULL);
	perform(f, "PATCH", PATH, DAILY);
	perform(f, "PATCH", PATH "?update_mask=schedule", "{\"schedule\":[]}");
	call_api(f, "GET", PATH, NULL);
	expect_schedule(f, f->json, NULL);

	call_api(f, "GET", "/projects/p/branches/none/snapshot-schedule", NULL);
	expect_error(f, 404, "NOT_FOUND", "branch id not found");
	call_api(f, "PATCH", "/projects/none/branches/production/snapshot-schedule", DAILY);
	expect_error(f, 404, "NOT_FOUND", "project id not found");
}

/* As if it had last been looked at so long ago. */
static void turn_back(struct control_fixture *f, int64_t sec)
{
	struct error err;
	int64_t past = clock_wall_usec() - sec * USEC_PER_SEC;
	assert_int_equal(statement_do(f->services.md,
	                         "UPDATE snapshot_schedule SET considered_usec = ?1, next_usec = ?1 + 1",
	                         INTEGERS(past), &err),
	        STATUS_OK);
	reaper_look(f->services.reaper);
	for (int i = 0; i < 3; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	settle(f);
}

static size_t count_snapshots(struct control_fixture *f)
{
	call_api(f, "GET", "/projects/p/snapshots", NULL);
	return yyjson_arr_size(yyjson_obj_get(f->json, "snapshots"));
}

static int64_t life_sec(const struct control_fixture *f)
{
	int64_t created = 0, expires = 0;
	assert_true(clock_parse_timestamp(slice_from_text(text_at(f, "/snapshots/0/create_time")), &created));
	assert_true(clock_parse_timestamp(
	        slice_from_text(text_at(f, "/snapshots/0/status/expire_time")), &expires));
	return (expires - created) / USEC_PER_SEC;
}

static void missed_firings_are_made_up_for_once(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "PATCH", PATH, BOTH);
	assert_int_equal(count_snapshots(f), 0); /* the first is in the future */
	turn_back(f, 10 * 86400);
	assert_int_equal(count_snapshots(f), 1);
	assert_int_equal(life_sec(f), 86400); /* the longer of the two */
	assert_string_equal(
	        text_at(f, "/snapshots/0/status/source_branch"), "projects/p/branches/production");
	assert_int_equal(strncmp(text_at(f, "/snapshots/0/snapshot_id"), "production-20", 13), 0);
	assert_true(has(f, "/snapshots/0/status/full_size_bytes"));
	reaper_look(f->services.reaper);
	settle(f);
	assert_int_equal(count_snapshots(f), 1);
	/* Another one in the same minute has another name; a crash in between loses none and makes none twice. */
	control_fixture_crash(f);
	turn_back(f, 2 * 86400);
	control_fixture_crash(f);
	settle(f);
	assert_int_equal(count_snapshots(f), 2);
	assert_string_not_equal(
	        text_at(f, "/snapshots/0/snapshot_id"), text_at(f, "/snapshots/1/snapshot_id"));
}

static void nobody_is_woken(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "PATCH", PATH, DAILY);
	call_api(f, "GET", "/projects/p/branches/production/endpoints/primary", NULL);
	CLEANUP(free_text) char *uid = xstrdup(text_at(f, "/uid"));
	machine_set_state(uid, FLEET_ASLEEP);
	int opens = f->machine->done[STEP_OPEN];
	turn_back(f, 2 * 86400);
	turn_back(f, 2 * 86400);
	assert_int_equal(count_snapshots(f), 2);
	assert_int_equal(f->machine->done[STEP_OPEN], opens);
	assert_int_equal(machine_state(uid), FLEET_ASLEEP);
}

static void scheduled_ones_are_beside_the_limit_and_expire(void **state)
{
	struct control_fixture *f = *state;
	struct error err;
	f->dd.settings.snapshots_per_project = 1;
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "POST", "/projects/p/snapshots?snapshot_id=mine",
	        "{\"spec\":{\"source_branch\":\"projects/p/branches/production\"}}");
	perform(f, "PATCH", PATH, DAILY);
	turn_back(f, 2 * 86400);
	turn_back(f, 2 * 86400);
	assert_int_equal(count_snapshots(f), 3);
	assert_int_equal(statement_do(f->services.md,
	                         "UPDATE snapshot SET expire_usec = 1 WHERE is_scheduled = 1", NULL, 0, &err),
	        STATUS_OK);
	reaper_look(f->services.reaper);
	for (int i = 0; i < 3; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	settle(f);
	assert_int_equal(count_snapshots(f), 1);
	assert_string_equal(text_at(f, "/snapshots/0/snapshot_id"), "mine");
}

static void a_deleted_branch_has_none(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "POST", "/projects/p/branches?branch_id=dev", "{\"spec\":{\"no_expiry\":true}}");
	perform(f, "PATCH", "/projects/p/branches/dev/snapshot-schedule", DAILY);
	perform(f, "DELETE", "/projects/p/branches/dev", NULL);
	turn_back(f, 3 * 86400);
	assert_int_equal(count_snapshots(f), 0);
	perform(f, "POST", "/projects/p/branches/dev/undelete", "{}");
	settle(f); /* it is back, and its schedule with it: what was missed is made up for */
	assert_int_equal(count_snapshots(f), 1);
	perform(f, "DELETE", "/projects/p/branches/dev?purge=true", NULL);
	struct error err;
	int64_t count = 1;
	assert_int_equal(statement_ask(f->services.md, "SELECT count(*) FROM snapshot_schedule", NULL, 0,
	                         &count, &err),
	        STATUS_OK);
	assert_int_equal(count, 0);
	assert_int_equal(count_snapshots(f), 1); /* snapshots outlive their branch */
}

static void one_that_cannot_be_made_is_no_obstacle(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "PATCH", PATH, DAILY);
	f->machine->fail_with[STEP_KEEP] = STATUS_NO_SPACE;
	f->machine->fail_times[STEP_KEEP] = 1;
	turn_back(f, 2 * 86400);
	assert_int_equal(count_snapshots(f), 0);
	turn_back(f, 2 * 86400);
	assert_int_equal(count_snapshots(f), 1);
	assert_int_equal(machine_snapshot_count(), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, control_fixture_set_up, control_fixture_tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(a_schedule_is_set_and_seen),
		TEST(missed_firings_are_made_up_for_once),
		TEST(nobody_is_woken),
		TEST(scheduled_ones_are_beside_the_limit_and_expire),
		TEST(a_deleted_branch_has_none),
		TEST(one_that_cannot_be_made_is_no_obstacle),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
