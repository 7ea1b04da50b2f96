/* Reset, restore, snapshots, and sources that sleep: through whole calls, over crashes at every turn. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#include "base/clock.h"
#include "control_fixture.h"
#include "control_plane/clone_plan.h"
#include "control_plane/reconciler.h"
#include "metadata/branch_row.h"
#include "metadata/snapshot_row.h"

#define NO_EXPIRY     "{\"spec\":{\"no_expiry\":true}}"
#define PRODUCTION    "/projects/p/branches/production"
#define DEV           "/projects/p/branches/dev"
#define AT_LSN        "{\"source_branch_lsn\":\"0/3000000\"}"
#define OF_PRODUCTION "{\"spec\":{\"source_branch\":\"projects/p/branches/production\"}}"

static void run_some(struct control_fixture *f, int turns)
{
	for (int i = 0; i < turns; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
}

static void make_dev(struct control_fixture *f)
{
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "POST", "/projects/p/branches?branch_id=dev", NO_EXPIRY);
}

static struct branch_row row_of(struct control_fixture *f, const char *branch_id)
{
	struct branch_row row;
	struct error err;
	CLEANUP(project_row_done) struct project_row project = { 0 };
	assert_int_equal(project_row_find(f->services.md, "p", &project, &err), STATUS_OK);
	assert_int_equal(branch_row_find(f->services.md, project.id, branch_id, &row, &err), STATUS_OK);
	return row;
}

static char *endpoint_uid(struct control_fixture *f, const char *branch)
{
	CLEANUP(free_text) char *path = xasprintf("/projects/p/branches/%s/endpoints/primary", branch);
	call_api(f, "GET", path, NULL);
	return xstrdup(text_at(f, "/uid"));
}

static void expect_state(struct control_fixture *f, const char *branch, const char *state)
{
	CLEANUP(free_text) char *path = xasprintf("/projects/p/branches/%s", branch);
	call_api(f, "GET", path, NULL);
	assert_string_equal(text_at(f, "/status/current_state"), state);
}

static int64_t branch_rows(struct control_fixture *f)
{
	int64_t count = 0;
	struct error err;
	CLEANUP(statement_done) struct statement st = { 0 };
	assert_int_equal(statement_open(f->services.md, "SELECT count(*) FROM branch", &st, &err), STATUS_OK);
	assert_int_equal(statement_next(&st, &err), STATUS_OK);
	count = statement_integer(&st);
	return count;
}

/* ---- reset ---- */

static void a_reset_changes_the_volume_and_nothing_else(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	struct branch_row before = row_of(f, "dev");
	CLEANUP(free_text) char *uid = endpoint_uid(f, "dev");
	assert_string_equal(before.volume_id, before.uid);
	CLEANUP(free_text) char *name = begin_operation(f, "POST", DEV "/reset", "{}");
	expect_state(f, "dev", "RESETTING");
	assert_string_equal(text_at(f, "/status/pending_state"), "READY");
	finish_operation(f, name);
	assert_string_equal(text_at(f, "/response/name"), "projects/p/branches/dev");
	assert_false(has(f, "/response/status/pending_state"));
	assert_string_equal(text_at(f, "/metadata/@type"),
	        "type.googleapis.com/databricks.postgres.v1.BranchOperationMetadata");

	struct branch_row after = row_of(f, "dev");
	CLEANUP(free_text) char *expected = xasprintf("%s-1", before.uid);
	assert_string_equal(after.volume_id, expected);
	assert_string_equal(after.uid, before.uid);
	assert_true(after.timeline > before.timeline && after.timeline % 2 == 0);
	assert_true(machine_has_volume(after.volume_id));
	assert_false(machine_has_volume(before.volume_id));
	assert_int_equal(machine_volume_count(), 2);
	assert_int_equal(machine_state(uid), FLEET_RUNNING); /* as it was before */
	CLEANUP(free_text) char *same = endpoint_uid(f, "dev");
	assert_string_equal(same, uid);
	assert_int_equal(branch_rows(f), 2);
	perform(f, "POST", DEV "/reset", NULL); /* and again, with another volume */
	assert_int_equal(machine_volume_count(), 2);
	assert_int_equal(row_of(f, "dev").next_volume, 3);
}

static void a_sleeping_branch_stays_asleep(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	CLEANUP(free_text) char *uid = endpoint_uid(f, "dev");
	machine_set_state(uid, FLEET_ASLEEP);
	int opens = f->machine->done[STEP_OPEN];
	perform(f, "POST", DEV "/reset", NULL);
	assert_int_equal(machine_state(uid), FLEET_ASLEEP);
	perform(f, "POST", DEV "/restore", AT_LSN);
	assert_int_equal(machine_state(uid), FLEET_ASLEEP);
	assert_int_equal(
	        f->machine->done[STEP_OPEN], opens + 2); /* to see that it opens, and what is in it */
	/* Unless somebody has begun to use it. */
	f->machine->has_clients = true;
	perform(f, "POST", DEV "/restore", AT_LSN);
	assert_int_equal(machine_state(uid), FLEET_RUNNING);
	/* Nobody can of a disabled one; and it is not held back by how many may run. */
	perform(f, "PATCH", DEV "/endpoints/primary?update_mask=spec.disabled",
	        "{\"spec\":{\"disabled\":true}}");
	assert_int_equal(machine_state(uid), FLEET_ASLEEP);
	perform(f, "POST", DEV "/restore", AT_LSN);
	assert_int_equal(machine_state(uid), FLEET_ASLEEP);
	assert_false(reconciler_needs(f->services.reconciler, uid));
}

static size_t role_count(struct control_fixture *f, const char *branch)
{
	CLEANUP(free_text) char *path = xasprintf("/projects/p/branches/%s/roles", branch);
	call_api(f, "GET", path, NULL);
	return yyjson_arr_size(yyjson_obj_get(f->json, "roles"));
}

/* The restored one those of then, from Postgres; the one that keeps the old state those that the supervisor left of it. */
static void a_sleeping_branch_shows_the_roles_that_it_has_now(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	CLEANUP(free_text) char *uid = endpoint_uid(f, "dev");
	machine_set_state(uid, FLEET_ASLEEP);
	(void)machine_add_role("then");
	perform(f, "POST", DEV "/restore",
	        "{\"source_branch_lsn\":\"0/3000000\",\"preserve_under_branch_id\":\"kept\"}");
	assert_int_equal(role_count(f, "dev"), 2);
	assert_int_equal(role_count(f, "kept"), 1);

	struct branch_row row = row_of(f, "dev");
	(void)machine_add_role("left");
	machine_leave_inventory(row.volume_id, INT64_C(4000000000000000));
	perform(f, "POST", DEV "/reset", NULL);
	assert_int_equal(role_count(f, "dev"), 3);
	row = row_of(f, "dev");
	(void)machine_add_role("late");
	machine_leave_inventory(row.volume_id, INT64_C(4000000000000001));
	perform(f, "POST", DEV "/restore",
	        "{\"source_branch_lsn\":\"0/3000000\",\"preserve_under_branch_id\":\"kept2\"}");
	assert_int_equal(role_count(f, "kept2"), 4);
}

/* What does not open is put back, also when nobody would have opened it for long. */
static void a_sleeping_branch_that_does_not_open_is_as_it_was(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	CLEANUP(free_text) char *uid = endpoint_uid(f, "dev");
	machine_set_state(uid, FLEET_ASLEEP);
	struct branch_row before = row_of(f, "dev");
	f->machine->fail_with[STEP_OPEN] = STATUS_CORRUPT;
	f->machine->fail_times[STEP_OPEN] = 1;
	CLEANUP(free_text) char *name = begin_operation(f, "POST", DEV "/restore", AT_LSN);
	finish_operation(f, name);
	assert_string_equal(text_at(f, "/error/error_code"), "DATA_LOSS");
	settle(f);
	assert_string_equal(row_of(f, "dev").volume_id, before.volume_id);
	assert_int_equal(machine_state(uid), FLEET_ASLEEP);
	assert_int_equal(machine_volume_count(), 2);
	assert_int_equal(branch_rows(f), 2);
}

static void a_sleeping_branch_sleeps_after_a_crash_at_every_turn(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	CLEANUP(free_text) char *uid = endpoint_uid(f, "dev");
	machine_set_state(uid, FLEET_ASLEEP);
	for (int turns = 0; turns < 30; turns++) {
		CLEANUP(free_text) char *name = begin_operation(f, "POST", DEV "/reset", NULL);
		run_some(f, turns);
		control_fixture_crash(f);
		finish_operation(f, name);
		assert_true(has(f, "/response"));
		settle(f);
		assert_int_equal(machine_state(uid), FLEET_ASLEEP);
		assert_int_equal(machine_volume_count(), 2);
		assert_false(reconciler_needs(f->services.reconciler, uid));
	}
}

static void what_cannot_be_reset(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	call_api(f, "POST", PRODUCTION "/reset", NULL);
	expect_error(f, 400, "BAD_REQUEST", "branch 'production' has no parent");
	call_api(f, "POST", "/projects/p/branches/nope/reset", NULL);
	expect_error(f, 404, "NOT_FOUND", "branch id not found");
	perform(f, "POST", "/projects/p/branches?branch_id=leaf",
	        "{\"spec\":{\"no_expiry\":true,\"source_branch\":\"projects/p/branches/dev\"}}");
	call_api(f, "POST", DEV "/reset", NULL);
	expect_error(f, 400, "BAD_REQUEST", "cannot reset a branch that has children");
	perform(f, "PATCH", "/projects/p/branches/leaf?update_mask=spec.is_protected",
	        "{\"spec\":{\"is_protected\":true}}");
	call_api(f, "POST", "/projects/p/branches/leaf/reset", NULL);
	expect_error(f, 400, "BAD_REQUEST", "branch 'leaf' is protected");
}

static void a_reset_survives_a_crash_after_every_turn(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	for (int turns = 0; turns < 30; turns++) {
		CLEANUP(free_text) char *name = begin_operation(f, "POST", DEV "/reset", NULL);
		run_some(f, turns);
		control_fixture_crash(f);
		finish_operation(f, name);
		assert_true(has(f, "/response"));
		settle(f);
		assert_int_equal(machine_volume_count(), 2);
		assert_int_equal(machine_compute_count(), 2);
		assert_int_equal(branch_rows(f), 2);
		assert_true(machine_has_volume(row_of(f, "dev").volume_id));
	}
}

static void a_failed_reset_leaves_the_branch_as_it_was(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	CLEANUP(free_text) char *uid = endpoint_uid(f, "dev");
	struct branch_row before = row_of(f, "dev");
	static const enum machine_step steps[] = { STEP_POINT, STEP_CLONE, STEP_SUSPEND, STEP_OPEN };
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		f->machine->fail_with[steps[i]] = STATUS_NO_SPACE;
		f->machine->fail_times[steps[i]] = 1;
		CLEANUP(free_text) char *name = begin_operation(f, "POST", DEV "/reset", NULL);
		finish_operation(f, name);
		assert_string_equal(text_at(f, "/error/error_code"), "RESOURCE_EXHAUSTED");
		settle(f);
		struct branch_row after = row_of(f, "dev");
		assert_string_equal(after.volume_id, before.volume_id);
		assert_string_equal(after.origin_volume, before.origin_volume);
		assert_int_equal(after.timeline, before.timeline);
		assert_int_equal(after.source_usec, before.source_usec);
		assert_false(after.is_resetting);
		assert_true(machine_has_volume(before.volume_id));
		assert_int_equal(machine_volume_count(), 2);
		assert_int_equal(branch_rows(f), 2);
		expect_state(f, "dev", "READY");
		if (steps[i] == STEP_OPEN) /* the old state was opened again */
			assert_int_equal(machine_state(uid), FLEET_RUNNING);
		machine_set_state(uid, FLEET_RUNNING);
	}
	call_api(f, "GET", DEV "/roles", NULL);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "roles")), 1);
	perform(f, "POST", DEV "/reset", NULL);
}

/* A crash while the failed new state is being taken back. */
static void an_undone_reset_survives_crashes(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	struct branch_row before = row_of(f, "dev");
	for (int turns = 4; turns < 24; turns++) {
		f->machine->fail_with[STEP_OPEN] = STATUS_CORRUPT;
		f->machine->fail_times[STEP_OPEN] = 1;
		CLEANUP(free_text) char *name = begin_operation(f, "POST", DEV "/reset", NULL);
		run_some(f, turns);
		bool had_failed = f->machine->fail_times[STEP_OPEN] == 0;
		control_fixture_crash(f);
		if (had_failed)
			f->machine->fail_times[STEP_OPEN] = 1; /* it fails again when tried again */
		finish_operation(f, name);
		settle(f);
		bool is_done = has(f, "/response");
		f->machine->fail_times[STEP_OPEN] = 0;
		struct branch_row after = row_of(f, "dev");
		assert_int_equal(machine_volume_count(), 2);
		assert_int_equal(branch_rows(f), 2);
		assert_true(machine_has_volume(after.volume_id));
		assert_false(after.is_resetting);
		if (!is_done)
			assert_string_equal(after.volume_id, before.volume_id);
		before = after;
	}
}

static void an_old_volume_that_stays_is_purged_at_the_next_start(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	f->machine->fail_with[STEP_DESTROY] = STATUS_IO;
	f->machine->fail_times[STEP_DESTROY] = 20;
	perform(f, "POST", DEV "/reset", NULL);
	assert_int_equal(machine_volume_count(), 3);
	assert_int_equal(branch_rows(f), 3);
	call_api(f, "GET", "/projects/p/branches?show_deleted=true", NULL);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "branches")), 2); /* nobody sees it */
	control_fixture_crash(f);
	int64_t deadline = clock_monotonic_usec() + 20 * USEC_PER_SEC;
	while (branch_rows(f) > 2 && clock_monotonic_usec() < deadline)
		(void)uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(machine_volume_count(), 2);
	assert_int_equal(branch_rows(f), 2);
}

/* ---- restore ---- */

static void a_restore_keeps_the_old_state_as_a_branch(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	struct branch_row before = row_of(f, "production");
	CLEANUP(free_text) char *uid = endpoint_uid(f, "production");
	perform(f, "POST", PRODUCTION "/restore", AT_LSN);
	assert_string_equal(text_at(f, "/name"), "projects/p/branches/production");
	assert_string_equal(text_at(f, "/kept_branch"), "projects/p/branches/production-before-restore-1");
	assert_int_equal(f->machine->cloned_lsn, 0x3000000);
	assert_int_equal(f->machine->done[STEP_FLUSH], 1); /* WAL is enough: the branch itself is not cut */
	struct branch_row after = row_of(f, "production"), kept = row_of(f, "production-before-restore-1");
	assert_string_equal(kept.volume_id, before.volume_id);
	assert_string_not_equal(after.volume_id, before.volume_id);
	assert_string_equal(after.origin_volume, before.volume_id);
	assert_string_not_equal(kept.uid, after.uid);
	assert_int_equal(machine_volume_count(), 3);
	assert_int_equal(machine_compute_count(), 3);
	assert_int_equal(machine_state(uid), FLEET_RUNNING);
	expect_state(f, "production-before-restore-1", "READY");
	assert_string_equal(text_at(f, "/status/source_branch"), "projects/p/branches/production");
	CLEANUP(free_text) char *kept_uid = endpoint_uid(f, "production-before-restore-1");
	assert_string_not_equal(kept_uid, uid);
	assert_int_equal(machine_state(kept_uid), FLEET_ASLEEP);
	call_api(f, "GET", "/projects/p/branches/production-before-restore-1/roles", NULL);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "roles")), 1);
	/* A branch in the history before the restore is looked for in the old volume as well. */
	perform(f, "POST", "/projects/p/branches?branch_id=past",
	        "{\"spec\":{\"no_expiry\":true,\"source_branch_lsn\":\"0/2800000\"}}");
	assert_int_equal(f->machine->lineage_count, 2);
	/* It can be deleted, though it was a root. */
	perform(f, "DELETE", "/projects/p/branches/production-before-restore-1?purge=true", NULL);
	assert_false(machine_has_volume(before.volume_id));
	perform(f, "POST", PRODUCTION "/restore",
	        "{\"source_branch_time\":\"2026-01-01T00:00:00Z\",\"preserve_under_branch_id\":\"kept\"}");
	assert_string_equal(text_at(f, "/kept_branch"), "projects/p/branches/kept");
}

static void what_cannot_be_restored(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	static const struct {
		const char *body;
		int http_status;
		const char *code, *message;
	} cases[] = {
		{ "{}", 400, "INVALID_PARAMETER_VALUE", "Field 'source_branch_lsn' or 'source_branch_time'" },
		{ "{\"source_branch_lsn\":\"0/1\"}", 400, "INVALID_PARAMETER_VALUE", "outside the window" },
		{ "{\"source_branch_lsn\":\"x\"}", 400, "INVALID_PARAMETER_VALUE",
		        "Field 'source_branch_lsn'" },
		{ "{\"source_branch_lsn\":\"0/3000000\",\"source_branch_time\":\"2026-01-01T00:00:00Z\"}",
		        400, "INVALID_PARAMETER_VALUE", "Fields " },
		{ "{\"source_branch_lsn\":\"0/3000000\",\"preserve_under_branch_id\":\"dev\"}", 409,
		        "ALREADY_EXISTS", "branch with such id" },
		{ "{\"source_branch_lsn\":\"0/3000000\",\"preserve_under_branch_id\":\"No\"}", 400,
		        "INVALID_PARAMETER_VALUE", "Field preserve_under_branch_id" },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		call_api(f, "POST", PRODUCTION "/restore", cases[i].body);
		expect_error(f, cases[i].http_status, cases[i].code, cases[i].message);
	}
	expect_state(f, "production", "READY");
	/* The fixture's limit is five branches. */
	perform(f, "POST", "/projects/p/branches?branch_id=b3", NO_EXPIRY);
	perform(f, "POST", "/projects/p/branches?branch_id=b4", NO_EXPIRY);
	perform(f, "POST", "/projects/p/branches?branch_id=b5", NO_EXPIRY);
	call_api(f, "POST", PRODUCTION "/restore", AT_LSN);
	expect_error(f, 400, "QUOTA_EXCEEDED", "the project has reached its limit");
}

static void a_long_name_is_shortened(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	perform(f, "POST",
	        "/projects/p/"
	        "branches?branch_id=b23456789-123456789-123456789-123456789-123456789-123456789-12",
	        NO_EXPIRY);
	perform(f, "POST",
	        "/projects/p/branches/b23456789-123456789-123456789-123456789-123456789-123456789-12/restore",
	        AT_LSN);
	assert_string_equal(text_at(f, "/kept_branch"),
	        "projects/p/branches/b23456789-123456789-123456789-123456789-123456-before-restore-1");
}

static void a_restore_survives_a_crash_after_every_turn(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	for (int turns = 0; turns < 30; turns++) {
		CLEANUP(free_text)
		char *name = begin_operation(f, "POST", DEV "/restore",
		        "{\"source_branch_lsn\":\"0/3000000\",\"preserve_under_branch_id\":\"kept\"}");
		run_some(f, turns);
		control_fixture_crash(f);
		finish_operation(f, name);
		assert_string_equal(text_at(f, "/response/kept_branch"), "projects/p/branches/kept");
		settle(f);
		assert_int_equal(machine_volume_count(), 3);
		assert_true(machine_has_volume(row_of(f, "dev").volume_id));
		assert_true(machine_has_volume(row_of(f, "kept").volume_id));
		expect_state(f, "kept", "READY");
		perform(f, "DELETE", "/projects/p/branches/kept?purge=true", NULL);
		assert_int_equal(machine_volume_count(), 2);
		assert_int_equal(branch_rows(f), 2);
	}
}

static void a_failed_restore_leaves_no_branch(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	struct branch_row before = row_of(f, "dev");
	static const enum machine_step steps[] = { STEP_FLUSH, STEP_CLONE, STEP_OPEN };
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		f->machine->fail_with[steps[i]] = STATUS_INVALID;
		f->machine->fail_times[steps[i]] = 1;
		CLEANUP(free_text) char *name = begin_operation(f, "POST", DEV "/restore", AT_LSN);
		finish_operation(f, name);
		assert_string_equal(text_at(f, "/error/error_code"), "INVALID_PARAMETER_VALUE");
		settle(f);
		assert_string_equal(row_of(f, "dev").volume_id, before.volume_id);
		assert_int_equal(machine_volume_count(), 2);
		assert_int_equal(branch_rows(f), 2);
		expect_state(f, "dev", "READY");
	}
}

/* ---- where a source ends ---- */

static void a_source_that_went_to_sleep_cleanly_is_not_started(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	CLEANUP(free_text) char *uid = endpoint_uid(f, "production");
	machine_set_state(uid, FLEET_ASLEEP);
	int opens = f->machine->done[STEP_OPEN];
	perform(f, "POST", "/projects/p/branches?branch_id=dev", NO_EXPIRY);
	assert_int_equal(f->machine->done[STEP_OPEN], opens + 1); /* the branch itself */
	assert_int_equal(machine_state(uid), FLEET_ASLEEP);
	assert_int_equal(f->machine->done[STEP_POINT], 0);
	f->machine->is_unclean = true;
	perform(f, "POST", "/projects/p/branches?branch_id=dev2", NO_EXPIRY);
	assert_int_equal(machine_state(uid), FLEET_RUNNING);
	assert_int_equal(f->machine->done[STEP_POINT], 1);
}

#define DISABLED "{\"spec\":{\"disabled\":true}}"

static void disable_unclean_production(struct control_fixture *f, char **ret_uid)
{
	perform(f, "POST", "/projects?project_id=p", NULL);
	*ret_uid = endpoint_uid(f, "production");
	perform(f, "PATCH", PRODUCTION "/endpoints/primary?update_mask=spec.disabled", DISABLED);
	assert_int_equal(machine_state(*ret_uid), FLEET_ASLEEP);
	f->machine->is_unclean = true;
}

/* Several clones of one disabled source: none takes it away from another, and the last one lets it sleep. */
static void clones_of_a_disabled_source_do_not_disturb_each_other(void **state)
{
	struct control_fixture *f = *state;
	CLEANUP(free_text) char *uid = NULL;
	disable_unclean_production(f, &uid);
	char *names[3];
	for (int i = 0; i < 3; i++) {
		CLEANUP(free_text) char *path = xasprintf("/projects/p/branches?branch_id=b%d", i);
		names[i] = begin_operation(f, "POST", path, NO_EXPIRY);
	}
	for (int i = 0; i < 3; i++) {
		finish_operation(f, names[i]);
		if (!has(f, "/response"))
			fail_msg("%s", text_at(f, "/error/message"));
		free(names[i]);
	}
	settle(f);
	assert_int_equal(machine_state(uid), FLEET_ASLEEP);
	assert_false(reconciler_needs(f->services.reconciler, uid));
}

static void a_disabled_source_sleeps_again_whatever_happens(void **state)
{
	struct control_fixture *f = *state;
	CLEANUP(free_text) char *uid = NULL;
	disable_unclean_production(f, &uid);
	for (int turns = 0; turns < 24; turns++) {
		CLEANUP(free_text)
		char *name = begin_operation(f, "POST", "/projects/p/branches?branch_id=dev", NO_EXPIRY);
		run_some(f, turns);
		control_fixture_crash(f);
		finish_operation(f, name);
		assert_true(has(f, "/response"));
		settle(f);
		assert_int_equal(machine_state(uid), FLEET_ASLEEP);
		perform(f, "DELETE", DEV "?purge=true", NULL);
	}
	f->machine->fail_with[STEP_CLONE] = STATUS_IO;
	f->machine->fail_times[STEP_CLONE] = 1;
	CLEANUP(free_text)
	char *failing = begin_operation(f, "POST", "/projects/p/branches?branch_id=dev", NO_EXPIRY);
	finish_operation(f, failing);
	assert_true(has(f, "/error"));
	assert_int_equal(machine_state(uid), FLEET_ASLEEP);
	f->machine->fail_times[STEP_KEEP] = 1;
	f->machine->fail_with[STEP_KEEP] = STATUS_IO;
	CLEANUP(free_text)
	char *snapshot = begin_operation(f, "POST", "/projects/p/snapshots?snapshot_id=s", OF_PRODUCTION);
	finish_operation(f, snapshot);
	assert_true(has(f, "/error"));
	assert_int_equal(machine_state(uid), FLEET_ASLEEP);
}

/* ---- snapshots ---- */

static void snapshots_are_made_listed_and_removed(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	CLEANUP(free_text)
	char *name = begin_operation(f, "POST", "/projects/p/snapshots?snapshot_id=s", OF_PRODUCTION);
	assert_int_equal(strncmp(name, "projects/p/snapshots/s/operations/", 34), 0);
	finish_operation(f, name);
	assert_string_equal(text_at(f, "/metadata/@type"),
	        "type.googleapis.com/databricks.postgres.v1.SnapshotOperationMetadata");
	assert_string_equal(text_at(f, "/response/name"), "projects/p/snapshots/s");
	call_api(f, "GET", "/projects/p/snapshots/s", NULL);
	assert_string_equal(text_at(f, "/snapshot_id"), "s");
	assert_string_equal(text_at(f, "/status/source_branch"), "projects/p/branches/production");
	assert_string_equal(text_at(f, "/status/source_branch_lsn"), "0/3000120");
	assert_true(yyjson_is_true(yyjson_ptr_get(f->json, "/status/no_expiry")));
	assert_int_equal(yyjson_get_int(yyjson_ptr_get(f->json, "/status/full_size_bytes")), 4096);
	assert_int_equal(machine_snapshot_count(), 1);
	call_api(f, "POST", "/projects/p/snapshots?snapshot_id=s", OF_PRODUCTION);
	expect_error(f, 409, "ALREADY_EXISTS", "snapshot with such id already exists");
	perform(f, "POST", "/projects/p/snapshots?snapshot_id=t",
	        "{\"spec\":{\"source_branch\":\"projects/p/branches/production\",\"source_branch_lsn\":\"0/"
	        "3000000\",\"ttl\":\"3600s\"}}");
	assert_true(has(f, "/status/expire_time"));
	assert_false(has(f, "/status/no_expiry"));
	assert_int_equal(f->machine->done[STEP_FLUSH], 1);
	call_api(f, "GET", "/projects/p/snapshots?page_size=1", NULL);
	assert_string_equal(text_at(f, "/snapshots/0/snapshot_id"), "s");
	assert_true(has(f, "/next_page_token"));
	perform(f, "DELETE", "/projects/p/snapshots/s", NULL);
	call_api(f, "GET", "/projects/p/snapshots/s", NULL);
	expect_error(f, 404, "NOT_FOUND", "snapshot id not found");
	assert_int_equal(machine_snapshot_count(), 1);
	perform(f, "POST", "/projects/p/snapshots?snapshot_id=s", OF_PRODUCTION); /* the name is free */
	perform(f, "DELETE", "/projects/p?purge=true", NULL);
	assert_int_equal(machine_snapshot_count(), 0);
	assert_int_equal(f->machine->done[STEP_DESTROY_STORE], 1);
}

static void a_branch_of_a_snapshot_outlives_all_it_came_from(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	perform(f, "POST", "/projects/p/snapshots?snapshot_id=s",
	        "{\"spec\":{\"source_branch\":\"projects/p/branches/dev\"}}");
	perform(f, "DELETE", DEV "?purge=true", NULL);
	int points = f->machine->done[STEP_POINT];
	perform(f, "POST", "/projects/p/branches?branch_id=back",
	        "{\"spec\":{\"no_expiry\":true,\"source_snapshot\":\"projects/p/snapshots/s\"}}");
	assert_string_equal(text_at(f, "/status/source_snapshot"), "projects/p/snapshots/s");
	assert_false(has(f, "/status/source_branch"));
	assert_int_equal(f->machine->done[STEP_POINT], points);
	call_api(f, "GET", "/projects/p/branches/back/roles/alice", NULL);
	assert_string_equal(text_at(f, "/name"), "projects/p/branches/back/roles/alice");
	call_api(f, "GET", "/projects/p/branches/back/databases/databricks-postgres", NULL);
	assert_string_equal(text_at(f, "/status/role"), "projects/p/branches/back/roles/alice");
	perform(f, "DELETE", "/projects/p/snapshots/s", NULL);
	call_api(f, "POST", "/projects/p/branches/back/reset", NULL);
	expect_error(f, 400, "BAD_REQUEST", "branch 'back' has no parent");
	perform(f, "POST", "/projects/p/branches/back/restore", AT_LSN);
	perform(f, "DELETE", "/projects/p/branches/back?purge=true", NULL); /* not a root */
}

static void snapshot_specs_that_are_refused(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
#define HERE "{\"source_branch\":\"projects/p/branches/production\","
	static const char *const specs[] = { "{}", "{\"source_branch\":\"nonsense\"}",
		"{\"source_branch\":\"projects/q/branches/production\"}",
		HERE "\"source_branch_lsn\":\"0/1\"}", HERE "\"ttl\":\"0s\"}",
		HERE "\"expire_time\":\"2020-01-01T00:00:00Z\"}", HERE "\"ttl\":\"60s\",\"no_expiry\":true}",
		HERE "\"no_expiry\":false}" };
	for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
		CLEANUP(free_text) char *body = xasprintf("{\"spec\":%s}", specs[i]);
		call_api(f, "POST", "/projects/p/snapshots?snapshot_id=s", body);
		expect_error(f, 400, "INVALID_PARAMETER_VALUE", "");
	}
	call_api(f, "POST", "/projects/p/snapshots", OF_PRODUCTION);
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field 'snapshot_id' is required");
	static const char *const more[] = { "\"source_branch\":\"projects/p/branches/dev\"",
		"\"source_branch_lsn\":\"0/3000000\"", "\"source_branch_time\":\"2026-01-01T00:00:00Z\"" };
	perform(f, "POST", "/projects/p/snapshots?snapshot_id=s", OF_PRODUCTION);
	for (size_t i = 0; i < ARRAY_LEN(more); i++) {
		CLEANUP(free_text)
		char *body = xasprintf(
		        "{\"spec\":{\"no_expiry\":true,\"source_snapshot\":\"projects/p/snapshots/s\",%s}}",
		        more[i]);
		call_api(f, "POST", "/projects/p/branches?branch_id=x", body);
		expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field 'spec.source_snapshot' excludes");
	}
	for (int i = 1; i < 10; i++) {
		CLEANUP(free_text) char *path = xasprintf("/projects/p/snapshots?snapshot_id=s%d", i);
		perform(f, "POST", path, OF_PRODUCTION);
	}
	call_api(f, "POST", "/projects/p/snapshots?snapshot_id=one-more", OF_PRODUCTION);
	expect_error(f, 400, "QUOTA_EXCEEDED", "the project has reached its limit of 10 snapshots");
}

static void snapshots_survive_crashes_and_failures(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	for (int turns = 0; turns < 12; turns++) {
		CLEANUP(free_text)
		char *name = begin_operation(f, "POST", "/projects/p/snapshots?snapshot_id=s", OF_PRODUCTION);
		run_some(f, turns);
		control_fixture_crash(f);
		finish_operation(f, name);
		assert_true(has(f, "/response"));
		assert_int_equal(machine_snapshot_count(), 1);
		CLEANUP(free_text)
		char *remove = begin_operation(f, "DELETE", "/projects/p/snapshots/s", NULL);
		run_some(f, turns);
		control_fixture_crash(f);
		finish_operation(f, remove);
		assert_true(has(f, "/response"));
		assert_int_equal(machine_snapshot_count(), 0);
	}
	f->machine->fail_with[STEP_KEEP] = STATUS_NO_SPACE;
	f->machine->fail_times[STEP_KEEP] = 1;
	CLEANUP(free_text)
	char *failing = begin_operation(f, "POST", "/projects/p/snapshots?snapshot_id=s", OF_PRODUCTION);
	finish_operation(f, failing);
	assert_string_equal(text_at(f, "/error/error_code"), "RESOURCE_EXHAUSTED");
	call_api(f, "GET", "/projects/p/snapshots/s", NULL);
	expect_error(f, 404, "NOT_FOUND", "");
}

static void expired_snapshots_go(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "POST", "/projects/p/snapshots?snapshot_id=s",
	        "{\"spec\":{\"source_branch\":\"projects/p/branches/production\",\"ttl\":\"1s\"}}");
	int64_t begin = clock_monotonic_usec();
	while (machine_snapshot_count() > 0 && clock_monotonic_usec() - begin < 20 * USEC_PER_SEC)
		(void)uv_run(&f->loop, UV_RUN_ONCE);
	settle(f);
	assert_int_equal(machine_snapshot_count(), 0);
	call_api(f, "GET", "/projects/p/snapshots/s", NULL);
	expect_error(f, 404, "NOT_FOUND", "");
}

/* ---- undelete ---- */

static void an_undelete_obeys_the_rules_of_today(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
#define CHILD "{\"spec\":{\"no_expiry\":true,\"source_branch\":\"projects/p/branches/dev\"}}"
	perform(f, "POST", "/projects/p/branches?branch_id=leaf", CHILD);
	perform(f, "DELETE", "/projects/p/branches/leaf", NULL);
	perform(f, "PATCH", DEV "?update_mask=spec.expiration", "{\"spec\":{\"ttl\":\"86400s\"}}");
	call_api(f, "POST", "/projects/p/branches/leaf/undelete", NULL);
	expect_error(f, 400, "BAD_REQUEST", "branch 'dev' has an expiration");
	perform(f, "PATCH", DEV "?update_mask=spec.expiration", NO_EXPIRY);
	perform(f, "DELETE", DEV, NULL);
	call_api(f, "POST", "/projects/p/branches/leaf/undelete", NULL);
	expect_error(f, 400, "BAD_REQUEST", "the parent of branch 'leaf', 'dev', is deleted");
	perform(f, "POST", DEV "/undelete", NULL);
	perform(f, "POST", "/projects/p/branches/leaf/undelete", NULL);
	expect_state(f, "leaf", "READY");
	/* The parent is gone for good: the branch has all it needs. */
	perform(f, "DELETE", "/projects/p/branches/leaf", NULL);
	perform(f, "DELETE", DEV "?purge=true", NULL);
	perform(f, "POST", "/projects/p/branches/leaf/undelete", NULL);
}

static void the_window_is_shown(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	call_api(f, "GET", DEV "/restore-window", NULL);
	assert_int_equal(f->http_status, 200);
	assert_string_equal(text_at(f, "/name"), "projects/p/branches/dev/restore-window");
	assert_string_equal(text_at(f, "/earliest/lsn"), "0/2000000");
	assert_string_equal(text_at(f, "/latest/time"), "2027-01-15T08:00:00Z");
}

static void plans_are_read_as_they_were_written(void **state)
{
	(void)state;
	struct error err;
	static const struct clone_plan plans[] = {
		{ .volume = "br-a", .timeline = 2 },
		{ .moment = { .kind = MOMENT_LSN, .lsn = UINT64_MAX - 1 },
		        .volume = "br-a-1",
		        .timeline = 4 },
		{ .moment = { .kind = MOMENT_TIME, .time_usec = 1800000000000001 }, .old_volume = "br-a" },
		{ .moment = { .kind = MOMENT_SNAPSHOT, .snapshot = "0-1", .snapshot_row = 7 },
		        .kept_branch = "kept",
		        .was_running = true },
	};
	for (size_t i = 0; i < ARRAY_LEN(plans); i++) {
		struct clone_plan back;
		CLEANUP(free_text) char *text = clone_plan_format(&plans[i]);
		assert_int_equal(clone_plan_parse(text, &back, &err), STATUS_OK);
		assert_int_equal(back.moment.kind, plans[i].moment.kind);
		assert_true(back.moment.lsn == plans[i].moment.lsn);
		assert_int_equal(back.moment.time_usec, plans[i].moment.time_usec);
		assert_string_equal(back.moment.snapshot, plans[i].moment.snapshot);
		assert_int_equal(back.moment.snapshot_row, plans[i].moment.snapshot_row);
		assert_string_equal(back.volume, plans[i].volume);
		assert_int_equal(back.timeline, plans[i].timeline);
		assert_string_equal(back.old_volume, plans[i].old_volume);
		assert_string_equal(back.kept_branch, plans[i].kept_branch);
		assert_int_equal(back.was_running, plans[i].was_running);
	}
#define REST "\"old_volume\":\"\",\"kept_branch\":\"\",\"was_running\":false}"
	static const char *const bad[] = { NULL, "", "[]", "{}", "{\"moment\":\"x\"}",
		"{\"moment\":\"lsn\",\"lsn\":\"z\",\"volume\":\"\",\"timeline\":2," REST,
		"{\"moment\":\"head\",\"volume\":\"\",\"timeline\":-2," REST,
		"{\"moment\":\"head\",\"timeline\":2," REST };
	struct clone_plan untouched = { .timeline = 99 };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(clone_plan_parse(bad[i], &untouched, &err), STATUS_CORRUPT);
	assert_int_equal(untouched.timeline, 99);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, control_fixture_set_up, control_fixture_tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(a_reset_changes_the_volume_and_nothing_else),
		TEST(a_sleeping_branch_stays_asleep),
		TEST(a_sleeping_branch_shows_the_roles_that_it_has_now),
		TEST(a_sleeping_branch_that_does_not_open_is_as_it_was),
		TEST(a_sleeping_branch_sleeps_after_a_crash_at_every_turn),
		TEST(what_cannot_be_reset),
		TEST(a_reset_survives_a_crash_after_every_turn),
		TEST(a_failed_reset_leaves_the_branch_as_it_was),
		TEST(an_undone_reset_survives_crashes),
		TEST(an_old_volume_that_stays_is_purged_at_the_next_start),
		TEST(a_restore_keeps_the_old_state_as_a_branch),
		TEST(what_cannot_be_restored),
		TEST(a_long_name_is_shortened),
		TEST(a_restore_survives_a_crash_after_every_turn),
		TEST(a_failed_restore_leaves_no_branch),
		TEST(a_source_that_went_to_sleep_cleanly_is_not_started),
		TEST(clones_of_a_disabled_source_do_not_disturb_each_other),
		TEST(a_disabled_source_sleeps_again_whatever_happens),
		TEST(snapshots_are_made_listed_and_removed),
		TEST(a_branch_of_a_snapshot_outlives_all_it_came_from),
		TEST(snapshot_specs_that_are_refused),
		TEST(snapshots_survive_crashes_and_failures),
		TEST(expired_snapshots_go),
		TEST(an_undelete_obeys_the_rules_of_today),
		TEST(the_window_is_shown),
		cmocka_unit_test(plans_are_read_as_they_were_written),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
