/* Branches that nobody uses: who is archived, and that every use ends it (docs/decisions/0012-archived-branches.md). */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#include "base/clock.h"
#include "control_fixture.h"
#include "control_plane/branch_archive.h"
#include "control_plane/compute_spec.h"
#include "control_plane/reconciler.h"
#include "metadata/statement.h"

#define NO_EXPIRY "{\"spec\":{\"no_expiry\":true}}"
#define DEV       "/projects/p/branches/dev"
#define ENDPOINT  DEV "/endpoints/primary"

static const char *state_of(struct control_fixture *f, const char *branch)
{
	CLEANUP(free_text) char *path = xasprintf("/projects/p/branches/%s", branch);
	call_api(f, "GET", path, NULL);
	return text_at(f, "/status/current_state");
}

static char *uid_of(struct control_fixture *f, const char *branch)
{
	CLEANUP(free_text) char *path = xasprintf("/projects/p/branches/%s/endpoints/primary", branch);
	call_api(f, "GET", path, NULL);
	return xstrdup(text_at(f, "/uid"));
}

/* All that the metadata know happened so many days ago, and everybody sleeps. */
static void grow_old(struct control_fixture *f, int days)
{
	struct error err;
	int64_t usec = days * 86400 * USEC_PER_SEC;
	assert_int_equal(
	        statement_do(f->services.md,
	                "UPDATE branch SET create_usec = create_usec - ?1, update_usec = update_usec - ?1,"
	                " state_change_usec = state_change_usec - ?1",
	                INTEGERS(usec), &err),
	        STATUS_OK);
	assert_int_equal(statement_do(f->services.md,
	                         "UPDATE endpoint SET last_active_usec = last_active_usec - ?1,"
	                         " suspended_usec = suspended_usec - ?1, started_usec = started_usec - ?1",
	                         INTEGERS(usec), &err),
	        STATUS_OK);
}

static void fall_asleep(struct control_fixture *f, const char *branch)
{
	CLEANUP(free_text) char *uid = uid_of(f, branch);
	machine_set_state(uid, FLEET_ASLEEP);
}

static int64_t ahead_usec; /* of the clock */

static bool look(struct control_fixture *f)
{
	struct error err;
	bool has_more = false;
	int64_t now = clock_wall_usec() + ahead_usec;
	assert_int_equal(branch_archive_due(&f->services, now, &has_more, &err), STATUS_OK);
	return has_more;
}

static void archive(struct control_fixture *f)
{
	(void)look(f);
	reconciler_kick(f->services.reconciler);
	(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	settle(f);
}

static void make_dev(struct control_fixture *f)
{
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "POST", "/projects/p/branches?branch_id=dev", NO_EXPIRY);
}

static void old_and_idle_ones_are_archived(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	archive(f);
	assert_string_equal(state_of(f, "dev"), "READY");
	grow_old(f, 13);
	fall_asleep(f, "dev");
	fall_asleep(f, "production");
	archive(f);
	assert_string_equal(state_of(f, "dev"), "READY"); /* a day is missing */
	grow_old(f, 2);
	archive(f);
	assert_string_equal(state_of(f, "dev"), "ARCHIVED");
	assert_false(has(f, "/status/pending_state"));
	assert_string_equal(state_of(f, "production"), "READY"); /* the default branch never is */
	assert_int_equal(f->machine->done[STEP_ARCHIVE], 1);
	call_api(f, "GET", ENDPOINT, NULL);
	assert_string_equal(text_at(f, "/status/current_state"), "IDLE");
	archive(f);
	assert_int_equal(f->machine->done[STEP_ARCHIVE], 1); /* once */
	control_fixture_crash(f);
	assert_string_equal(state_of(f, "dev"), "ARCHIVED");
}

static void who_is_awake_or_protected_stays(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	grow_old(f, 100);
	archive(f); /* its compute runs */
	assert_string_equal(state_of(f, "dev"), "READY");
	perform(f, "PATCH", DEV, "{\"spec\":{\"is_protected\":true}}");
	grow_old(f, 100);
	fall_asleep(f, "dev");
	archive(f);
	assert_string_equal(state_of(f, "dev"), "READY");
	perform(f, "PATCH", DEV "?update_mask=spec.is_protected", "{\"spec\":{}}");
	archive(f); /* a change is a use */
	assert_string_equal(state_of(f, "dev"), "READY");
	grow_old(f, 15);
	archive(f);
	assert_string_equal(state_of(f, "dev"), "ARCHIVED");
}

static void be_archived(struct control_fixture *f)
{
	grow_old(f, 30);
	fall_asleep(f, "dev");
	archive(f);
	assert_string_equal(state_of(f, "dev"), "ARCHIVED");
}

static void every_use_ends_it(void **state)
{
	struct control_fixture *f = *state;
	struct error err;
	make_dev(f);
	CLEANUP(free_text) char *uid = uid_of(f, "dev");
	CLEANUP(free_text) char *make = xasprintf("mkdir -p %s/computes/%s", f->folder, uid);
	assert_int_equal(system(make), 0);

	be_archived(f); /* a connection: what the fleet does before it starts the compute */
	assert_int_equal(compute_spec_write(&f->services, uid, &err), STATUS_OK);
	assert_string_equal(state_of(f, "dev"), "READY");
	be_archived(f);
	call_api(f, "POST", "/credentials", "{\"endpoint\":\"projects/p/branches/dev/endpoints/primary\"}");
	assert_int_equal(f->http_status, 200);
	assert_string_equal(state_of(f, "dev"), "READY");
	be_archived(f);
	perform(f, "PATCH", DEV "?update_mask=spec.expiration", "{\"spec\":{\"no_expiry\":true}}");
	assert_string_equal(state_of(f, "dev"), "READY");
	be_archived(f);
	perform(f, "PATCH", ENDPOINT "?update_mask=spec.suspension",
	        "{\"spec\":{\"suspend_timeout_duration\":\"600s\"}}");
	assert_string_equal(state_of(f, "dev"), "READY");
	be_archived(f);
	perform(f, "PATCH", "/projects/p", "{\"spec\":{\"default_branch\":\"projects/p/branches/dev\"}}");
	assert_string_equal(state_of(f, "dev"), "READY");
	grow_old(f, 30);
	archive(f);
	assert_string_equal(state_of(f, "dev"), "READY"); /* the default branch now */
	perform(f, "PATCH", "/projects/p",
	        "{\"spec\":{\"default_branch\":\"projects/p/branches/production\"}}");
	be_archived(f);
	perform(f, "POST", DEV "/reset", "{}");
	assert_string_equal(state_of(f, "dev"), "READY");
	be_archived(f);
	perform(f, "DELETE", DEV, NULL);
	assert_string_equal(state_of(f, "dev"), "DELETED");
	perform(f, "POST", DEV "/undelete", "{}");
	assert_string_equal(state_of(f, "dev"), "READY");
}

/* Children and snapshots of it are made without waking it. */
static void what_is_only_read_goes_on(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	be_archived(f);
	int opens = f->machine->done[STEP_OPEN];
	perform(f, "POST", "/projects/p/snapshots?snapshot_id=s",
	        "{\"spec\":{\"source_branch\":\"projects/p/branches/dev\"}}");
	assert_int_equal(f->machine->done[STEP_OPEN], opens);
	assert_string_equal(state_of(f, "dev"), "ARCHIVED");
	perform(f, "POST", "/projects/p/branches?branch_id=child",
	        "{\"spec\":{\"no_expiry\":true,\"source_branch\":\"projects/p/branches/dev\"}}");
	assert_int_equal(f->machine->done[STEP_OPEN], opens + 1); /* its own */
	assert_string_equal(state_of(f, "dev"), "ARCHIVED");
}

static void who_wants_it_does_not_wait(void **state)
{
	struct control_fixture *f = *state;
	struct error err;
	make_dev(f);
	CLEANUP(free_text) char *uid = uid_of(f, "dev");
	CLEANUP(free_text) char *make = xasprintf("mkdir -p %s/computes/%s", f->folder, uid);
	assert_int_equal(system(make), 0);
	f->machine->is_archiving_for_ever = true;
	for (int way = 0; way < 2; way++) {
		grow_old(f, 30);
		fall_asleep(f, "dev");
		(void)look(f);
		reconciler_kick(f->services.reconciler);
		while (f->machine->done[STEP_ARCHIVE] <= way)
			(void)uv_run(&f->loop, UV_RUN_NOWAIT);
		if (way == 0)
			assert_int_equal(compute_spec_write(&f->services, uid, &err), STATUS_OK);
		else /* an operation that would have to wait for it */
			perform(f, "PATCH", ENDPOINT "?update_mask=spec.suspension",
			        "{\"spec\":{\"suspend_timeout_duration\":\"700s\"}}");
		settle(f);
		assert_string_equal(state_of(f, "dev"), "READY");
	}
	/* Nor does the end of the process. */
	grow_old(f, 30);
	(void)look(f);
	reconciler_kick(f->services.reconciler);
	while (f->machine->done[STEP_ARCHIVE] <= 2)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	f->machine->is_archiving_for_ever = false;
	control_fixture_crash(f);
	settle(f);
	assert_string_equal(state_of(f, "dev"), "ARCHIVED");
}

static void a_failure_changes_nothing(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	grow_old(f, 30);
	fall_asleep(f, "dev");
	f->machine->fail_with[STEP_ARCHIVE] = STATUS_IO;
	f->machine->fail_times[STEP_ARCHIVE] = 1;
	archive(f);
	assert_string_equal(state_of(f, "dev"), "READY");
	ahead_usec = 61 * USEC_PER_SEC;
	archive(f);
	assert_string_equal(state_of(f, "dev"), "ARCHIVED");
}

static struct archive_failures failures_of(struct control_fixture *f, const char *branch)
{
	struct project_row project = { 0 };
	struct branch_row row;
	struct archive_failures failures;
	struct error err;
	assert_int_equal(project_row_find(f->services.md, "p", &project, &err), STATUS_OK);
	assert_int_equal(branch_row_find(f->services.md, project.id, branch, &row, &err), STATUS_OK);
	project_row_done(&project);
	assert_int_equal(branch_archive_failures(f->services.md, &row, &failures, &err), STATUS_OK);
	return failures;
}

/* After a minute, two, four, … up to a day; by what is recorded, so that a restart changes nothing. */
static void what_fails_is_tried_less_and_less(void **state)
{
	struct control_fixture *f = *state;
	make_dev(f);
	perform(f, "POST", "/projects/p/branches?branch_id=two", NO_EXPIRY);
	grow_old(f, 30);
	fall_asleep(f, "dev");
	f->machine->fail_with[STEP_ARCHIVE] = STATUS_IO;
	int64_t pause = 60 * USEC_PER_SEC;
	int archives = 0;
	for (int attempt = 1; attempt <= 14; attempt++) {
		f->machine->fail_times[STEP_ARCHIVE] = 1;
		archive(f);
		assert_string_equal(state_of(f, "dev"), "READY");
		assert_int_equal(f->machine->done[STEP_ARCHIVE], ++archives);
		struct archive_failures failures = failures_of(f, "dev");
		assert_int_equal(failures.count, attempt);
		assert_non_null(strstr(failures.reason, "scripted failure"));
		if (attempt == 1) { /* one that is pausing keeps nobody else waiting */
			fall_asleep(f, "two");
			archive(f);
			assert_string_equal(state_of(f, "two"), "ARCHIVED");
			archives++;
		}
		ahead_usec = pause - 5 * USEC_PER_SEC;
		archive(f);
		assert_int_equal(f->machine->done[STEP_ARCHIVE], archives);
		ahead_usec = pause + USEC_PER_SEC;
		pause = pause * 2 < 86400 * USEC_PER_SEC ? pause * 2 : 86400 * USEC_PER_SEC;
		if (attempt == 7)
			control_fixture_crash(f);
	}
	assert_int_equal(f->machine->fail_times[STEP_ARCHIVE], 0);
	/* Once it is used, what has been is forgotten; nor does a success leave anything. */
	perform(f, "PATCH", DEV "?update_mask=spec.expiration", "{\"spec\":{\"no_expiry\":true}}");
	assert_int_equal(failures_of(f, "dev").count, 0);
	grow_old(f, 30);
	ahead_usec = 2 * 86400 * USEC_PER_SEC;
	archive(f);
	assert_string_equal(state_of(f, "dev"), "ARCHIVED");
	assert_int_equal(failures_of(f, "dev").count, 0);
}

/* With more than the limit the longest idle ones go, however young; when none can go, there is no room. */
static void the_limit_of_unarchived_ones(void **state)
{
	struct control_fixture *f = *state;
	f->dd.settings.unarchived_branches_per_project = 3;
	make_dev(f);
	perform(f, "POST", "/projects/p/branches?branch_id=two", NO_EXPIRY);
	call_api(f, "POST", "/projects/p/branches?branch_id=three", NO_EXPIRY);
	expect_error(f, 400, "QUOTA_EXCEEDED", "the project has reached its limit of 3 unarchived branches");
	assert_non_null(strstr(text_at(f, "/message"), "unarchived_branches_per_project"));
	fall_asleep(f, "production"); /* the default branch makes no room */
	call_api(f, "POST", "/projects/p/branches?branch_id=three", NO_EXPIRY);
	expect_error(f, 400, "QUOTA_EXCEEDED", "");
	fall_asleep(f, "two");
	fall_asleep(f, "dev");
	perform(f, "POST", "/projects/p/branches?branch_id=three", NO_EXPIRY);
	archive(f);
	assert_string_equal(state_of(f, "dev"), "ARCHIVED"); /* the one that was used before the other */
	assert_string_equal(state_of(f, "two"), "READY");
	archive(f);
	assert_string_equal(state_of(f, "two"), "READY"); /* no more than needed */
	/* Whoever comes back is let in, and another goes. */
	call_api(f, "POST", "/credentials", "{\"endpoint\":\"projects/p/branches/dev/endpoints/primary\"}");
	assert_string_equal(state_of(f, "dev"), "READY");
	archive(f);
	assert_string_equal(state_of(f, "two"), "ARCHIVED");
	assert_string_equal(state_of(f, "dev"), "READY");
}

static int set_up(void **state)
{
	ahead_usec = 0;
	return control_fixture_set_up(state);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, control_fixture_tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(old_and_idle_ones_are_archived),
		TEST(who_is_awake_or_protected_stays),
		TEST(every_use_ends_it),
		TEST(what_is_only_read_goes_on),
		TEST(who_wants_it_does_not_wait),
		TEST(a_failure_changes_nothing),
		TEST(what_fails_is_tried_less_and_less),
		TEST(the_limit_of_unarchived_ones),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
