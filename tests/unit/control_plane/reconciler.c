/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#include "base/clock.h"
#include "control_fixture.h"
#include "control_plane/compute_spec.h"
#include "control_plane/operation.h"
#include "control_plane/reconciler.h"

#define NO_EXPIRY "{\"spec\":{\"no_expiry\":true}}"

static void run_some(struct control_fixture *f, int turns)
{
	for (int i = 0; i < turns; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
}

static void only_touching_work_waits(void **state)
{
	(void)state;
	const struct operation_row create = { .kind = "PROJECT_CREATE", .project = 1, .branch = 1 };
	const struct operation_row clone_a = {
		.kind = "BRANCH_CREATE", .project = 1, .branch = 2, .source_branch = 1
	};
	const struct operation_row clone_b = {
		.kind = "BRANCH_CREATE", .project = 1, .branch = 3, .source_branch = 1
	};
	const struct operation_row grandchild = {
		.kind = "BRANCH_CREATE", .project = 1, .branch = 4, .source_branch = 2
	};
	const struct operation_row update_source = { .kind = "ENDPOINT_UPDATE", .project = 1, .branch = 1 };
	const struct operation_row update_child = { .kind = "ENDPOINT_UPDATE", .project = 1, .branch = 2 };
	const struct operation_row purge = { .kind = "PROJECT_PURGE", .project = 1 };
	const struct operation_row elsewhere = { .kind = "PROJECT_PURGE", .project = 2 };
	assert_true(operation_must_wait(&clone_a, &create));
	assert_false(operation_must_wait(&clone_b, &clone_a)); /* two clones of one source go side by side */
	assert_true(operation_must_wait(&grandchild, &clone_a));
	assert_true(operation_must_wait(&update_source, &clone_a)); /* not while it is being copied */
	assert_true(operation_must_wait(&clone_a, &update_source));
	assert_true(operation_must_wait(&update_child, &clone_a));
	assert_false(operation_must_wait(&update_child, &clone_b));
	assert_true(operation_must_wait(&purge, &update_child));
	assert_true(operation_must_wait(&update_child, &purge));
	assert_false(operation_must_wait(&elsewhere, &purge));
}

/* At any moment of a create the process may go; the next one carries it to the same end, with nothing twice. */
static void a_project_survives_a_crash_after_every_turn(void **state)
{
	struct control_fixture *f = *state;
	for (int turns = 0; turns < 12; turns++) {
		CLEANUP(free_text) char *name = begin_operation(f, "POST", "/projects?project_id=p", NULL);
		run_some(f, turns);
		control_fixture_crash(f);
		finish_operation(f, name);
		assert_true(has(f, "/response"));
		assert_int_equal(machine_volume_count(), 1);
		assert_int_equal(machine_compute_count(), 1);
		perform(f, "DELETE", "/projects/p?purge=true", NULL);
		assert_int_equal(machine_volume_count(), 0);
	}
}

static void a_branch_survives_a_crash_after_every_turn(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	for (int turns = 0; turns < 20; turns++) {
		CLEANUP(free_text)
		char *name = begin_operation(f, "POST", "/projects/p/branches?branch_id=dev", NO_EXPIRY);
		run_some(f, turns);
		control_fixture_crash(f);
		finish_operation(f, name);
		assert_string_equal(text_at(f, "/response/status/source_branch_lsn"), "0/3000120");
		assert_int_equal(machine_volume_count(), 2);
		assert_int_equal(machine_compute_count(), 2);
		call_api(f, "GET", "/projects/p/branches/dev/roles", NULL);
		assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "roles")), 1);
		CLEANUP(free_text)
		char *purge = begin_operation(f, "DELETE", "/projects/p/branches/dev?purge=true", NULL);
		run_some(f, turns);
		control_fixture_crash(f);
		finish_operation(f, purge);
		assert_true(has(f, "/response"));
		assert_int_equal(machine_volume_count(), 1);
		assert_int_equal(machine_compute_count(), 1);
	}
}

/* The clone is made, its position is not recorded: it must be made anew, or its source_branch_lsn would be a guess. */
static void a_clone_without_a_record_is_made_anew(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	f->machine->is_holding_clones = true;
	CLEANUP(free_text)
	char *name = begin_operation(f, "POST", "/projects/p/branches?branch_id=dev", NO_EXPIRY);
	int64_t deadline = clock_monotonic_usec() + 20 * USEC_PER_SEC;
	while (machine_volume_count() < 2) {
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
		assert_true(clock_monotonic_usec() < deadline);
	}
	control_fixture_crash(f); /* the worker has made it, the loop has not heard of it */
	finish_operation(f, name);
	assert_true(has(f, "/response"));
	assert_int_equal(f->machine->done[STEP_CLONE], 2);
	assert_int_equal(machine_volume_count(), 2);
}

static void a_failed_create_leaves_nothing(void **state)
{
	struct control_fixture *f = *state;
	static const struct {
		enum machine_step step;
		status code;
		const char *error_code;
	} cases[] = {
		{ STEP_TEMPLATE, STATUS_NO_SPACE, "RESOURCE_EXHAUSTED" },
		{ STEP_VOLUME_CREATE, STATUS_NO_SPACE, "RESOURCE_EXHAUSTED" },
		{ STEP_VOLUME_CREATE, STATUS_IO, "IO_ERROR" },
		{ STEP_REGISTER, STATUS_NO_SPACE, "RESOURCE_EXHAUSTED" },
		{ STEP_OPEN, STATUS_UNAVAILABLE, "UNAVAILABLE" },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		f->machine->fail_with[cases[i].step] = cases[i].code;
		f->machine->fail_times[cases[i].step] = 1;
		CLEANUP(free_text) char *name = begin_operation(f, "POST", "/projects?project_id=p", NULL);
		finish_operation(f, name);
		assert_string_equal(text_at(f, "/error/error_code"), cases[i].error_code);
		assert_int_equal(strncmp(text_at(f, "/error/message"), "scripted failure", 16), 0);
		assert_false(has(f, "/response"));
		assert_int_equal(machine_volume_count(), 0);
		assert_int_equal(machine_compute_count(), 0);
		call_api(f, "GET", "/projects/p", NULL);
		expect_error(f, 404, "NOT_FOUND", "project id not found");
	}
	perform(f, "POST", "/projects?project_id=p", NULL);
}

static void a_failed_branch_leaves_its_source_alone(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	static const enum machine_step steps[] = { STEP_CLONE, STEP_REGISTER, STEP_OPEN };
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		f->machine->fail_with[steps[i]] = STATUS_NO_SPACE;
		f->machine->fail_times[steps[i]] = 1;
		CLEANUP(free_text)
		char *name = begin_operation(f, "POST", "/projects/p/branches?branch_id=dev", NO_EXPIRY);
		finish_operation(f, name);
		assert_string_equal(text_at(f, "/error/error_code"), "RESOURCE_EXHAUSTED");
		assert_int_equal(machine_volume_count(), 1);
		assert_int_equal(machine_compute_count(), 1);
		call_api(f, "GET", "/projects/p/branches", NULL);
		assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "branches")), 1);
	}
	perform(f, "POST", "/projects/p/branches?branch_id=dev", NO_EXPIRY);
}

static void cleaning_up_is_patient(void **state)
{
	struct control_fixture *f = *state;
	f->machine->fail_with[STEP_OPEN] = STATUS_UNAVAILABLE;
	f->machine->fail_times[STEP_OPEN] = 1;
	f->machine->fail_with[STEP_FORGET] = STATUS_CONFLICT;
	f->machine->fail_times[STEP_FORGET] = 2;
	f->machine->fail_with[STEP_DESTROY] = STATUS_CONFLICT;
	f->machine->fail_times[STEP_DESTROY] = 2;
	CLEANUP(free_text) char *name = begin_operation(f, "POST", "/projects?project_id=p", NULL);
	finish_operation(f, name);
	assert_string_equal(
	        text_at(f, "/error/error_code"), "UNAVAILABLE"); /* the first failure is the one to tell */
	assert_int_equal(machine_volume_count(), 0);
	assert_int_equal(machine_compute_count(), 0);
}

static void a_failed_purge_is_taken_up_by_the_next_start(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	f->machine->fail_with[STEP_DESTROY] = STATUS_IO;
	f->machine->fail_times[STEP_DESTROY] = 1;
	CLEANUP(free_text) char *name = begin_operation(f, "DELETE", "/projects/p?purge=true", NULL);
	finish_operation(f, name); /* tried again by itself */
	assert_true(has(f, "/response"));
	assert_int_equal(machine_volume_count(), 0);
}

/* Mutations of one branch go in order; none of them is refused because another is under way. */
static void one_branch_is_a_queue(void **state)
{
	struct control_fixture *f = *state;
	f->machine->is_holding = true;
	CLEANUP(free_text) char *create = begin_operation(f, "POST", "/projects?project_id=p", NULL);
	CLEANUP(free_text)
	char *branch = begin_operation(f, "POST", "/projects/p/branches?branch_id=dev", NO_EXPIRY);
	CLEANUP(free_text)
	char *update = begin_operation(f, "PATCH",
	        "/projects/p/branches/dev/endpoints/primary?update_mask=spec.disabled",
	        "{\"spec\":{\"disabled\":true}}");
	CLEANUP(free_text)
	char *remove = begin_operation(f, "DELETE", "/projects/p/branches/dev?purge=true", NULL);
	run_some(f, 20);
	CLEANUP(free_text) char *path = xasprintf("/%s", branch);
	call_api(f, "GET", path, NULL);
	assert_true(yyjson_is_false(yyjson_obj_get(f->json, "done")));
	assert_int_equal(f->machine->done[STEP_CLONE], 0);
	machine_release();
	finish_operation(f, create);
	assert_true(has(f, "/response"));
	finish_operation(f, remove);
	assert_true(has(f, "/response"));
	/* It was purged before its turn: it is not made any more, and that is said. */
	finish_operation(f, branch);
	assert_string_equal(text_at(f, "/error/error_code"), "ABORTED");
	finish_operation(f, update);
	assert_int_equal(machine_volume_count(), 1);
	assert_int_equal(machine_compute_count(), 1);
}

/* Left desired, they would keep the endpoint from starting ever again. */
static void refused_settings_do_not_stay(void **state)
{
	struct control_fixture *f = *state;
#define E               "/projects/p/branches/production/endpoints/primary"
#define SETTINGS(value) "{\"spec\":{\"settings\":{\"pg_settings\":{\"work_mem\":\"" value "\"}}}}"
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "PATCH", E, SETTINGS("8MB"));
	f->machine->fail_with[STEP_APPLY] = STATUS_CONFLICT;
	f->machine->fail_times[STEP_APPLY] = 1;
	CLEANUP(free_text) char *name = begin_operation(f, "PATCH", E, SETTINGS("abc"));
	control_fixture_crash(f);
	finish_operation(f, name);
	assert_string_equal(text_at(f, "/error/error_code"), "ABORTED");
	call_api(f, "GET", E, NULL);
	assert_string_equal(text_at(f, "/status/settings/pg_settings/work_mem"), "8MB");
	assert_int_equal(f->machine->done[STEP_APPLY], 3); /* told the old ones again */

	/* A later change is not taken back with the one that failed. */
	f->machine->fail_times[STEP_APPLY] = 1;
	CLEANUP(free_text) char *bad = begin_operation(f, "PATCH", E, SETTINGS("abc"));
	CLEANUP(free_text) char *good = begin_operation(f, "PATCH", E, SETTINGS("9MB"));
	finish_operation(f, good);
	assert_true(has(f, "/response"));
	finish_operation(f, bad);
	assert_true(has(f, "/error"));
	call_api(f, "GET", E, NULL);
	assert_string_equal(text_at(f, "/status/settings/pg_settings/work_mem"), "9MB");
}

/* `tarn down` in the middle of a create: it goes on at the next start instead of failing. */
static void shutting_down_fails_nothing(void **state)
{
	struct control_fixture *f = *state;
	f->machine->is_holding = true;
	CLEANUP(free_text) char *name = begin_operation(f, "POST", "/projects?project_id=p", NULL);
	run_some(f, 50);
	f->machine->is_shutting_down = true;
	f->machine->fail_with[STEP_OPEN] = STATUS_UNAVAILABLE;
	machine_release();
	run_some(f, 20);
	CLEANUP(free_text) char *path = xasprintf("/%s", name);
	call_api(f, "GET", path, NULL);
	assert_true(yyjson_is_false(yyjson_obj_get(f->json, "done")));
	f->machine->is_shutting_down = false;
	control_fixture_crash(f);
	finish_operation(f, name);
	assert_true(has(f, "/response"));
}

static void expired_branches_are_deleted_softly(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	int64_t begin = clock_monotonic_usec();
	perform(f, "POST", "/projects/p/branches?branch_id=dev", "{\"spec\":{\"ttl\":\"1s\"}}");
	assert_true(has(f, "/status/expire_time"));
	call_api(f, "POST", "/projects/p/branches?branch_id=child",
	        "{\"spec\":{\"no_expiry\":true,\"source_branch\":\"projects/p/branches/dev\"}}");
	expect_error(f, 400, "BAD_REQUEST", "branch 'dev' has an expiration");
	do {
		(void)uv_run(&f->loop, UV_RUN_ONCE); /* the reaper's timer is what it waits for */
		call_api(f, "GET", "/projects/p/branches/dev", NULL);
	} while (strcmp(text_at(f, "/status/current_state"), "DELETED") != 0 &&
	         clock_monotonic_usec() - begin < 20 * USEC_PER_SEC);
	assert_string_equal(text_at(f, "/status/current_state"), "DELETED");
	assert_true(clock_monotonic_usec() - begin >= USEC_PER_SEC - 50000);
	settle(f);
	assert_int_equal(machine_state("nobody"), FLEET_ASLEEP);
	assert_int_equal(machine_volume_count(), 2); /* it can still be undeleted */
	perform(f, "POST", "/projects/p/branches/dev/undelete", "{}");
	assert_false(has(f, "/status/expire_time"));
}

static void what_was_deleted_long_ago_is_purged(void **state)
{
	struct control_fixture *f = *state;
	f->dd.settings.deleted_retention_sec = 1;
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "POST", "/projects?project_id=q", NULL);
	perform(f, "POST", "/projects/p/branches?branch_id=dev", NO_EXPIRY);
	perform(f, "DELETE", "/projects/p/branches/dev", NULL);
	perform(f, "DELETE", "/projects/q", NULL);
	int64_t begin = clock_monotonic_usec();
	while (machine_volume_count() > 1 && clock_monotonic_usec() - begin < 20 * USEC_PER_SEC)
		(void)uv_run(&f->loop, UV_RUN_ONCE);
	settle(f);
	assert_int_equal(machine_volume_count(), 1);
	call_api(f, "GET", "/projects?show_deleted=true", NULL);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "projects")), 1);
	call_api(f, "GET", "/projects/p/branches?show_deleted=true", NULL);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "branches")), 1);
}

static void a_new_project_s_compute_is_told_its_roles(void **state)
{
	struct control_fixture *f = *state;
	struct error err;
	f->machine->is_holding = true;
	free(begin_operation(f, "POST", "/projects?project_id=p", NULL));
	call_api(f, "GET", "/projects/p/branches/production/endpoints/primary", NULL);
	CLEANUP(free_text) char *uid = xstrdup(text_at(f, "/uid"));
	CLEANUP(free_text) char *make = xasprintf("mkdir -p %s/computes/%s", f->folder, uid);
	assert_int_equal(system(make), 0);
	assert_int_equal(compute_spec_write(&f->services, uid, &err), STATUS_OK);
	CLEANUP(free_text) char *path = xasprintf("%s/computes/%s/spec.json", f->folder, uid);
	yyjson_doc *spec = yyjson_read_file(path, 0, NULL, NULL);
	yyjson_val *root = yyjson_doc_get_root(spec);
	assert_string_equal(yyjson_get_str(yyjson_ptr_get(root, "/roles/0/name")), "alice@example.com");
	assert_string_equal(yyjson_get_str(yyjson_ptr_get(root, "/databases/0/owner")), "alice@example.com");
	yyjson_doc_free(spec);
}

static void a_compute_is_told_what_it_shall_be(void **state)
{
	struct control_fixture *f = *state;
	struct error err;
	perform(f, "POST", "/projects?project_id=p",
	        "{\"spec\":{\"default_endpoint_settings\":{\"pg_settings\":{\"work_mem\":\"8MB\"}}}}");
	call_api(f, "GET", "/projects/p/branches/production/endpoints/primary", NULL);
	CLEANUP(free_text) char *uid = xstrdup(text_at(f, "/uid"));
	CLEANUP(free_text) char *make = xasprintf("mkdir -p %s/computes/%s", f->folder, uid);
	assert_int_equal(system(make), 0);
	assert_int_equal(compute_spec_write(&f->services, uid, &err), STATUS_OK);
	CLEANUP(free_text) char *path = xasprintf("%s/computes/%s/spec.json", f->folder, uid);
	yyjson_doc *spec = yyjson_read_file(path, 0, NULL, NULL);
	yyjson_val *root = yyjson_doc_get_root(spec);
	assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "endpoint_name")),
	        "projects/p/branches/production/endpoints/primary");
	assert_string_equal(yyjson_get_str(yyjson_ptr_get(root, "/settings/work_mem")), "8MB");
	assert_int_equal(yyjson_get_int(yyjson_obj_get(root, "suspend_timeout_sec")), 86400);
	assert_int_equal(yyjson_get_int(yyjson_obj_get(root, "revision")), 1);
	/* What it began with it has; from then on Postgres is the truth. */
	assert_null(yyjson_ptr_get(root, "/roles/0"));
	assert_null(yyjson_ptr_get(root, "/databases/0"));
	yyjson_doc_free(spec);

	perform(f, "PATCH", "/projects/p/branches/production/endpoints/primary?update_mask=spec.disabled",
	        "{\"spec\":{\"disabled\":true}}");
	assert_int_equal(compute_spec_write(&f->services, uid, &err), STATUS_DENIED);
	perform(f, "DELETE", "/projects/p", NULL);
	assert_int_equal(compute_spec_write(&f->services, uid, &err), STATUS_NOT_FOUND);
	assert_int_equal(compute_spec_write(&f->services, "ep-unknown", &err), STATUS_NOT_FOUND);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, control_fixture_set_up, control_fixture_tear_down)
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_touching_work_waits),
		TEST(a_project_survives_a_crash_after_every_turn),
		TEST(a_branch_survives_a_crash_after_every_turn),
		TEST(a_clone_without_a_record_is_made_anew),
		TEST(a_failed_create_leaves_nothing),
		TEST(a_failed_branch_leaves_its_source_alone),
		TEST(cleaning_up_is_patient),
		TEST(a_failed_purge_is_taken_up_by_the_next_start),
		TEST(one_branch_is_a_queue),
		TEST(refused_settings_do_not_stay),
		TEST(shutting_down_fails_nothing),
		TEST(expired_branches_are_deleted_softly),
		TEST(what_was_deleted_long_ago_is_purged),
		TEST(a_new_project_s_compute_is_told_its_roles),
		TEST(a_compute_is_told_what_it_shall_be),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
