#include "fleet_fixture.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/role_lock.h"

#define GOOD "lock say:starting say:ready serve"

static void await_ok(struct fixture *f, struct outcome *o)
{
	fixture_await(f, o);
	if (o->has_failed)
		fail_msg("%s", o->err.message);
	outcome_clear(o);
}

static void await_failure(struct fixture *f, struct outcome *o, status code, const char *text)
{
	fixture_await(f, o);
	assert_true(o->has_failed);
	assert_int_equal(o->err.code, code);
	if (!strstr(o->err.message, text))
		fail_msg("\"%s\" is not in: %s", text, o->err.message);
	outcome_clear(o);
}

static void open_ok(struct fixture *f, const char *uid)
{
	struct outcome o = { 0 };
	fixture_open(f, uid, &o);
	await_ok(f, &o);
}

static void suspend_ok(struct fixture *f, const char *uid)
{
	struct outcome o = { 0 };
	fixture_suspend(f, uid, &o);
	await_ok(f, &o);
	assert_int_equal(fleet_look(f->fleet, uid)->state, FLEET_ASLEEP);
}

static void opens_and_suspends_and_opens_again(void **state)
{
	struct fixture *f = *state;
	fixture_script(f, "ep-a", GOOD);
	for (int round = 1; round <= 3; round++) {
		open_ok(f, "ep-a");
		fixture_changes(f, "ep-a:starting ep-a:running ");
		const struct fleet_member *seen = fleet_look(f->fleet, "ep-a");
		assert_int_equal(seen->state, FLEET_RUNNING);
		assert_true(seen->pid > 0 && seen->postgres_pid == seen->pid);
		assert_int_equal(seen->last_active_usec, 1767323045000000);
		assert_true(seen->timing.prepare_ms == 1.5 && seen->timing.postgres_ms == 20);
		assert_true(seen->timing.start_ms > 0);
		suspend_ok(f, "ep-a");
		fixture_changes(f, "ep-a:stopping ep-a:asleep ");
		assert_int_equal(seen->pid, 0);
		assert_int_equal(fixture_starts(f, "ep-a"), round);
		assert_int_equal(f->spec_writes, round);
	}
}

static void many_opens_start_it_once(void **state)
{
	struct fixture *f = *state;
	struct outcome outcomes[50] = { 0 };
	fixture_script(f, "ep-a", "lock say:starting wait:30 say:ready serve");
	for (size_t i = 0; i < ARRAY_LEN(outcomes); i++)
		fixture_open(f, "ep-a", &outcomes[i]);
	for (size_t i = 0; i < ARRAY_LEN(outcomes); i++)
		await_ok(f, &outcomes[i]);
	assert_int_equal(fixture_starts(f, "ep-a"), 1);
	open_ok(f, "ep-a"); /* at once: it runs */
	assert_int_equal(fixture_starts(f, "ep-a"), 1);
}

static void the_folders_are_made_for_it(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct stat st;
	fixture_script(f, "ep-a", GOOD);
	CLEANUP(free_text) char *folder = data_directory_path(&f->dd, "computes/ep-a");
	CLEANUP(free_text) char *socket_dir = fleet_socket_dir(f->fleet, "ep-a");
	assert_int_equal(stat(folder, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0711);
	assert_int_equal(stat(socket_dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(
	        fleet_register(f->fleet, "ep-a", true, &err), STATUS_OK); /* known already: nothing happens */
	assert_int_equal(fleet_look(f->fleet, "ep-a")->state, FLEET_ASLEEP);
	static const char *const bad[] = { "", "..", "a/b", "a b", "a.b", "ep-\n" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(fleet_register(f->fleet, bad[i], false, &err), STATUS_INVALID);
	char long_uid[FLEET_UID_MAX + 2];
	memset(long_uid, 'a', sizeof long_uid - 1);
	long_uid[sizeof long_uid - 1] = '\0';
	assert_int_equal(fleet_register(f->fleet, long_uid, false, &err), STATUS_INVALID);
	assert_int_equal(fleet_register(f->fleet, long_uid + 1, false, &err), STATUS_OK);
}

/* The child must not hold what is ours: a lock or a socket that it keeps open would outlive control. */
static void the_child_gets_three_descriptors_and_a_session(void **state)
{
	struct fixture *f = *state;
	int leaky = dup(STDERR_FILENO); /* not close-on-exec, as a library may leave it */
	sigset_t usr1, before;
	(void)sigemptyset(&usr1);
	(void)sigaddset(&usr1, SIGUSR1);
	assert_int_equal(sigprocmask(SIG_BLOCK, &usr1, &before), 0);
	void (*old_handler)(int) = signal(SIGPIPE, SIG_IGN);
	(void)setenv("TARN_READY_FD", "7", 1);
	(void)setenv("TARN_LISTEN_FD", "8", 1);
	fixture_script(f, "ep-a", "facts " GOOD);
	open_ok(f, "ep-a");
	CLEANUP(free_text) char *facts = fixture_read(f, "ep-a", "facts");
	assert_string_equal(facts,
	        "fd 0\nfd 1\nfd 2\nfd 3\nlisten 3 ready none leader 1\nusr1_blocked 0 pipe_ignored 0\n");
	(void)unsetenv("TARN_READY_FD");
	(void)unsetenv("TARN_LISTEN_FD");
	(void)signal(SIGPIPE, old_handler);
	assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
	(void)close(leaky);
}

static void three_deaths_answer_with_the_reason(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 }, second = { 0 };
	fixture_script(f, "ep-a",
	        "lock say:starting pglog:LOG:_hello pglog:12:00_[7]_FATAL:__the_disk_is_made_of_cheese "
	        "pglog:LOG:_bye exit:3\n"
	        "lock say:starting pglog:12:00_[7]_FATAL:__the_disk_is_made_of_cheese exit:3\n"
	        "pglog:12:00_[7]_FATAL:__the_disk_is_made_of_cheese exit:3\n" GOOD);
	fixture_write(f, "ep-a", "postgres.log", "FATAL: an old story\n");
	fixture_open(f, "ep-a", &o);
	fixture_open(f, "ep-a", &second);
	await_failure(f, &o, STATUS_UNAVAILABLE,
	        "could not start the compute: its supervisor ended with exit code 3: FATAL:  the disk is "
	        "made of cheese");
	await_failure(f, &second, STATUS_UNAVAILABLE, "made of cheese");
	assert_int_equal(fixture_starts(f, "ep-a"), 3);
	fixture_changes(f, "ep-a:starting ep-a:asleep ");
	open_ok(f, "ep-a"); /* the next open tries again */
	assert_int_equal(fixture_starts(f, "ep-a"), 4);
}

static void the_last_line_of_its_own_log_helps_too(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 };
	fixture_script(f, "ep-a", "log:first log:libxyz.so:_cannot_open_shared_object exit:127");
	fixture_write(f, "ep-a", "postgres.log", "FATAL: an old story\n");
	fixture_open(f, "ep-a", &o);
	await_failure(f, &o, STATUS_UNAVAILABLE, "exit code 127: libxyz.so: cannot open shared object");
}

static void two_deaths_are_survived(void **state)
{
	struct fixture *f = *state;
	fixture_script(f, "ep-a", "exit:1\nkill\n" GOOD);
	open_ok(f, "ep-a");
	assert_int_equal(fixture_starts(f, "ep-a"), 3);
}

static void failed_is_not_tried_again(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 };
	fixture_script(f, "ep-a",
	        "lock say:starting reason:volume_is_broken file:failed say:failed exit:1\n"
	        "lock reason:broken_still file:failed exit:1\n"
	        "lock say:starting file:stopped say:stopped exit:0\n");
	fixture_open(f, "ep-a", &o);
	await_failure(f, &o, STATUS_UNAVAILABLE, "could not start the compute: volume is broken");
	assert_int_equal(fixture_starts(f, "ep-a"), 1);
	fixture_open(f, "ep-a", &o); /* said in the file only */
	await_failure(f, &o, STATUS_UNAVAILABLE, "broken still");
	assert_int_equal(fixture_starts(f, "ep-a"), 2);
	fixture_open(f, "ep-a", &o); /* "stopped" without ever being ready must not loop for ever */
	await_failure(f, &o, STATUS_UNAVAILABLE, "stopped before it was ready");
	assert_int_equal(fixture_starts(f, "ep-a"), 5);
}

static void a_crash_of_a_running_one_heals_by_itself(void **state)
{
	struct fixture *f = *state;
	fixture_script(f, "ep-a", GOOD);
	open_ok(f, "ep-a");
	pid_t first = fleet_look(f->fleet, "ep-a")->pid;
	assert_int_equal(kill(first, SIGKILL), 0);
	fixture_await_state(f, "ep-a", FLEET_STARTING);
	struct outcome o = { 0 };
	fixture_open(f, "ep-a", &o); /* an open in between waits */
	await_ok(f, &o);
	assert_int_not_equal(fleet_look(f->fleet, "ep-a")->pid, first);
	assert_int_equal(fixture_starts(f, "ep-a"), 2);
	fixture_changes(f, "ep-a:starting ep-a:running ep-a:starting ep-a:running ");
}

static void a_crash_with_nobody_waiting_gives_up_quietly(void **state)
{
	struct fixture *f = *state;
	fixture_script(f, "ep-a", GOOD "\nexit:1");
	open_ok(f, "ep-a");
	assert_int_equal(kill(fleet_look(f->fleet, "ep-a")->pid, SIGKILL), 0);
	fixture_await_state(f, "ep-a", FLEET_STARTING);
	fixture_await_state(f, "ep-a", FLEET_ASLEEP);
	assert_int_equal(fixture_starts(f, "ep-a"), 1 + FLEET_START_ATTEMPTS);
}

static void an_open_during_stopping_starts_it_again(void **state)
{
	struct fixture *f = *state;
	struct outcome suspend = { 0 }, o = { 0 };
	fixture_script(f, "ep-a",
	        "lock say:ready until:go say:suspending until:end file:stopped say:stopped exit:0\n" GOOD);
	open_ok(f, "ep-a");
	fixture_write(f, "ep-a", "go", "");
	fixture_await_state(f, "ep-a", FLEET_STOPPING);
	fixture_open(f, "ep-a", &o);
	fixture_suspend(f, "ep-a", &suspend);
	fixture_turn(f);
	assert_int_equal(o.calls + suspend.calls, 0);
	fixture_write(f, "ep-a", "end", "");
	await_ok(f, &suspend);
	await_ok(f, &o);
	assert_int_equal(fixture_starts(f, "ep-a"), 2);
	fixture_changes(
	        f, "ep-a:starting ep-a:running ep-a:stopping ep-a:asleep ep-a:starting ep-a:running ");
}

/* F4 even when the suspension itself goes wrong. */
static void an_open_survives_a_suspension_that_fails(void **state)
{
	struct fixture *f = *state;
	static const char *const ends[] = { "kill", "reason:no_space file:failed say:failed exit:1" };
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		const char *uid = i ? "ep-b" : "ep-a";
		struct outcome o = { 0 };
		CLEANUP(free_text)
		char *script =
		        xasprintf("lock say:ready until:go say:suspending until:end %s\n" GOOD, ends[i]);
		fixture_script(f, uid, script);
		open_ok(f, uid);
		fixture_write(f, uid, "go", "");
		fixture_await_state(f, uid, FLEET_STOPPING);
		fixture_open(f, uid, &o);
		fixture_write(f, uid, "end", "");
		await_ok(f, &o);
		assert_int_equal(fixture_starts(f, uid), 2);
	}
}

static void suspends_by_itself(void **state)
{
	struct fixture *f = *state;
	fixture_script(f, "ep-a",
	        "lock say:ready until:go reason:inactive say:suspending file:stopped say:stopped exit:0");
	open_ok(f, "ep-a");
	fixture_write(f, "ep-a", "go", "");
	fixture_await_state(f, "ep-a", FLEET_ASLEEP);
	assert_int_equal(fixture_starts(f, "ep-a"), 1);
	suspend_ok(f, "ep-a"); /* asleep: done at once */
}

static void a_suspend_during_the_start(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 }, suspend = { 0 };
	fixture_script(f, "ep-a", "lock say:starting serve\n" GOOD);
	fixture_open(f, "ep-a", &o);
	fixture_await_state(f, "ep-a", FLEET_STARTING);
	fixture_suspend(f, "ep-a", &suspend);
	await_ok(f, &suspend);
	await_ok(f, &o); /* the open was not forgotten: it is started again */
	assert_int_equal(fixture_starts(f, "ep-a"), 2);
}

static void a_suspend_during_the_back_off(void **state)
{
	struct fixture *f = *state;
	fixture_script(f, "ep-a", GOOD "\nexit:1");
	open_ok(f, "ep-a");
	assert_int_equal(kill(fleet_look(f->fleet, "ep-a")->pid, SIGKILL), 0);
	while (fixture_starts(f, "ep-a") < 2 || fleet_look(f->fleet, "ep-a")->pid != 0)
		fixture_turn(f); /* until the first new start has failed as well */
	suspend_ok(f, "ep-a");
	assert_int_equal(fixture_starts(f, "ep-a"), 2);
	fixture_changes(f, "ep-a:starting ep-a:running ep-a:starting ep-a:asleep ");
}

static void a_new_control_adopts(void **state)
{
	struct fixture *f = *state;
	struct error err;
	fixture_script(f, "ep-a", GOOD);
	fixture_script(f, "ep-b", "lock say:starting wait:50 say:ready serve");
	open_ok(f, "ep-a");
	struct outcome o = { 0 };
	fixture_open(f, "ep-b", &o);
	fixture_await_file(f, "ep-b", "supervisor.lock");
	pid_t pid = fleet_look(f->fleet, "ep-a")->pid;
	fixture_new_fleet(f);
	await_failure(f, &o, STATUS_UNAVAILABLE, "ending"); /* F2: called all the same */
	assert_int_equal(fleet_register(f->fleet, "ep-a", false, &err), STATUS_OK);
	assert_int_equal(fleet_register(f->fleet, "ep-b", false, &err), STATUS_OK);
	assert_int_equal(fleet_look(f->fleet, "ep-a")->state, FLEET_STARTING); /* not asleep for a moment */
	assert_int_equal(fleet_forget(f->fleet, "ep-a", &err), STATUS_CONFLICT);
	open_ok(f, "ep-a");
	open_ok(f, "ep-b");
	assert_int_equal(fleet_look(f->fleet, "ep-a")->pid, pid);
	assert_int_equal(fixture_starts(f, "ep-a"), 1);
	assert_int_equal(fixture_starts(f, "ep-b"), 1);
	suspend_ok(f, "ep-a");
	assert_int_equal(kill(fleet_look(f->fleet, "ep-b")->pid, SIGKILL), 0);
	fixture_await_state(f, "ep-b", FLEET_STARTING);
	open_ok(f, "ep-b");
	assert_int_equal(fixture_starts(f, "ep-b"), 2);
}

/* A control that died right after the start: the supervisor has no lock yet, only the socket it was born with. */
static void adopts_one_that_has_no_lock_yet(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct outcome o = { 0 };
	fixture_script(f, "ep-a", "until:go " GOOD);
	fixture_open(f, "ep-a", &o);
	fixture_await_file(f, "ep-a", "starts");
	fixture_new_fleet(f);
	await_failure(f, &o, STATUS_UNAVAILABLE, "ending");
	assert_int_equal(fleet_register(f->fleet, "ep-a", true, &err), STATUS_OK);
	fixture_open(f, "ep-a", &o);
	fixture_turn(f);
	fixture_write(f, "ep-a", "go", "");
	await_ok(f, &o);
	assert_int_equal(fixture_starts(f, "ep-a"), 1);
}

static void what_was_running_is_started_again(void **state)
{
	struct fixture *f = *state;
	struct error err;
	fixture_script(f, "ep-died", GOOD);
	fixture_script(f, "ep-stopped", GOOD);
	fixture_script(f, "ep-slept", GOOD);
	fixture_write(f, "ep-stopped", "last_exit.json", "{\"state\":\"stopped\",\"reason\":\"inactive\"}");
	fixture_new_fleet(f);
	assert_int_equal(fleet_register(f->fleet, "ep-died", true, &err), STATUS_OK);
	assert_int_equal(fleet_register(f->fleet, "ep-stopped", true, &err), STATUS_OK);
	assert_int_equal(fleet_register(f->fleet, "ep-slept", false, &err), STATUS_OK);
	fixture_await_state(f, "ep-died", FLEET_RUNNING);
	fixture_changes(f, "ep-died:starting ep-died:running ");
	assert_int_equal(fixture_starts(f, "ep-stopped"), 0);
	assert_int_equal(fixture_starts(f, "ep-slept"), 0);
	/* An old farewell must not be taken for one of the supervisor that is started now. */
	open_ok(f, "ep-stopped");
	assert_int_equal(kill(fleet_look(f->fleet, "ep-stopped")->pid, SIGKILL), 0);
	fixture_await_state(f, "ep-stopped", FLEET_STARTING);
	open_ok(f, "ep-stopped");
}

static void garbage_closes_the_channel_and_it_is_tried_again(void **state)
{
	struct fixture *f = *state;
	fixture_script(f, "ep-a",
	        "lock heard raw:{\"state\":\"dancing\"} wait:20 heard raw:}{ wait:20 heard raw:[] wait:20 "
	        "say:ready serve");
	open_ok(f, "ep-a");
	assert_int_equal(fixture_starts(f, "ep-a"), 1);
}

static void a_lost_connection_is_made_again(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 };
	fixture_script(f, "ep-a", "lock say:ready until:go drop serve");
	open_ok(f, "ep-a");
	pid_t pid = fleet_look(f->fleet, "ep-a")->pid;
	fixture_write(f, "ep-a", "go", "");
	fixture_suspend(
	        f, "ep-a", &o); /* may be lost with the old connection: it is said again on the new one */
	await_ok(f, &o);
	assert_int_equal(fixture_starts(f, "ep-a"), 1);
	assert_true(pid > 0);
}

static void a_silent_one_is_killed_and_the_reason_is_told(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 };
	fleet_set_patience(f->fleet, 100);
	fixture_script(f, "ep-a", "lock silent serve\n" GOOD);
	fixture_open(f, "ep-a", &o);
	await_failure(f, &o, STATUS_UNAVAILABLE, "its supervisor did not say anything after its start");
	assert_int_equal(fixture_starts(f, "ep-a"), 1);
	open_ok(f, "ep-a");
}

static void one_that_says_farewell_but_stays_is_killed(void **state)
{
	struct fixture *f = *state;
	fleet_set_patience(f->fleet, 100);
	fixture_script(f, "ep-a", "lock say:ready until:go file:stopped say:stopped serve\n" GOOD);
	open_ok(f, "ep-a");
	fixture_write(f, "ep-a", "go", "");
	fixture_await_state(f, "ep-a", FLEET_ASLEEP);
	open_ok(f, "ep-a");
}

/* It may be serving clients, so it is not killed; but whoever waits is told. */
static void an_adopted_one_that_refuses_is_told_about(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct outcome o = { 0 };
	fixture_script(f, "ep-a", "lock say:ready until:go deaf drop facts until:never\n" GOOD);
	open_ok(f, "ep-a");
	pid_t pid = fleet_look(f->fleet, "ep-a")->pid;
	fixture_write(f, "ep-a", "go", "");
	fixture_await_file(f, "ep-a", "facts");
	fixture_new_fleet(f);
	fleet_set_patience(f->fleet, 150);
	assert_int_equal(fleet_register(f->fleet, "ep-a", true, &err), STATUS_OK);
	fixture_open(f, "ep-a", &o);
	await_failure(f, &o, STATUS_UNAVAILABLE, "runs but does not answer");
	assert_int_equal(kill(pid, 0), 0);
	fleet_set_patience(f->fleet, 30000);
	assert_int_equal(kill(pid, SIGKILL), 0);
	fixture_await_state(f, "ep-a", FLEET_RUNNING);
	assert_int_equal(fixture_starts(f, "ep-a"), 2);
}

static void no_spec_no_start(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 };
	fixture_script(f, "ep-a", GOOD);
	f->spec_failure = "endpoint \"x\" is disabled";
	fixture_open(f, "ep-a", &o);
	await_failure(f, &o, STATUS_DENIED, "endpoint \"x\" is disabled");
	assert_int_equal(fixture_starts(f, "ep-a"), 0);
	assert_int_equal(f->spec_writes, 1);
	fixture_changes(f, "ep-a:starting ep-a:asleep ");
	f->spec_failure = NULL;
	open_ok(f, "ep-a");
}

static void a_binary_that_is_missing_is_named(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct outcome o = { 0 };
	struct fleet *old = f->fleet;
	assert_int_equal(
	        fleet_create(&f->loop, &f->dd, "/nowhere/tarn", &f->events, f, &f->fleet, &err), STATUS_OK);
	fleet_abandon(old);
	fixture_script(f, "ep-a", GOOD);
	fixture_open(f, "ep-a", &o);
	await_failure(f, &o, STATUS_IO, "\"/nowhere/tarn\"");
}

static void applies_when_it_runs_and_when_it_sleeps(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 }, second = { 0 };
	fixture_script(f, "ep-a", GOOD "\nlock say:ready refuse_apply serve");
	fixture_apply(f, "ep-a", &o);
	await_ok(f, &o); /* asleep: at once, the next start reads the spec */
	assert_int_equal(f->spec_writes, 0);
	open_ok(f, "ep-a");
	f->revision = 7;
	fixture_apply(f, "ep-a", &o);
	fixture_apply(f, "ep-a", &second);
	await_ok(f, &o);
	await_ok(f, &second);
	assert_int_equal(f->spec_writes, 2); /* one for the start, one for both */
	f->spec_failure = "no such endpoint";
	fixture_apply(f, "ep-a", &o);
	await_failure(f, &o, STATUS_DENIED, "no such endpoint");
	f->spec_failure = NULL;
	suspend_ok(f, "ep-a");
	open_ok(f, "ep-a");
	f->revision = 8;
	fixture_apply(f, "ep-a", &o);
	await_failure(f, &o, STATUS_CONFLICT, "could not apply its settings: role \"x\" is odd");
	/* Settings alone leave the revision as it is: that it was reached long ago must not hide the refusal. */
	f->revision = 0;
	fixture_apply(f, "ep-a", &o);
	await_failure(f, &o, STATUS_CONFLICT, "role \"x\" is odd");
}

static void an_apply_during_the_start_waits_for_it(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 }, apply = { 0 };
	fixture_script(f, "ep-a", "lock say:starting until:go say:ready serve");
	fixture_open(f, "ep-a", &o);
	fixture_await_state(f, "ep-a", FLEET_STARTING);
	f->revision = 3;
	fixture_apply(f, "ep-a", &apply);
	fixture_turn(f);
	assert_int_equal(apply.calls, 0);
	fixture_write(f, "ep-a", "go", "");
	await_ok(f, &o);
	await_ok(f, &apply);
}

static void forgets_only_who_sleeps(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct outcome o = { 0 }, suspend = { .forgets = true };
	fixture_script(f, "ep-a", GOOD);
	open_ok(f, "ep-a");
	assert_int_equal(fleet_forget(f->fleet, "ep-a", &err), STATUS_CONFLICT);
	assert_int_equal(fleet_forget(f->fleet, "ep-x", &err), STATUS_NOT_FOUND);
	/* A deletion: suspend, then forget from inside the callback. An open that came in between does not win. */
	fixture_suspend(f, "ep-a", &suspend);
	fixture_await_state(f, "ep-a", FLEET_STOPPING);
	fixture_open(f, "ep-a", &o);
	fixture_await(f, &suspend);
	assert_int_equal(suspend.forget_status, STATUS_OK);
	outcome_clear(&suspend);
	await_failure(f, &o, STATUS_NOT_FOUND, "has been deleted");
	assert_null(fleet_look(f->fleet, "ep-a"));
	CLEANUP(free_text) char *folder = data_directory_path(&f->dd, "computes/ep-a");
	assert_false(file_exists(folder));
	fixture_open(f, "ep-a", &o);
	await_failure(f, &o, STATUS_NOT_FOUND, "not known");
	fixture_script(f, "ep-a", GOOD); /* the same name again is a new one */
	open_ok(f, "ep-a");
}

static void forgets_from_inside_on_change(void **state)
{
	struct fixture *f = *state;
	struct outcome o = { 0 };
	fixture_script(f, "ep-a", GOOD);
	open_ok(f, "ep-a");
	f->forget_when_asleep = (char[]){ "ep-a" };
	fixture_suspend(f, "ep-a", &o);
	await_failure(f, &o, STATUS_NOT_FOUND,
	        "has been deleted"); /* it does not exist any more: the caller is told so */
	assert_null(fleet_look(f->fleet, "ep-a"));
}

static void count_one(void *arg, const struct fleet_member *member)
{
	struct buffer *uids = arg;
	buffer_printf(uids, "%s ", member->uid);
}

static void shuts_down_all(void **state)
{
	struct fixture *f = *state;
	struct outcome running = { 0 }, starting = { 0 }, down = { .fixture = f }, late = { 0 };
	CLEANUP(buffer_done) struct buffer uids = { 0 };
	fixture_script(f, "ep-c", GOOD);
	fixture_script(f, "ep-a", GOOD);
	fixture_script(f, "ep-b", "lock say:starting serve");
	fixture_script(f, "ep-d", GOOD "\nexit:1");
	fleet_each(f->fleet, count_one, &uids);
	assert_string_equal(uids.data, "ep-a ep-b ep-c ep-d ");
	open_ok(f, "ep-a");
	open_ok(f, "ep-d");
	assert_int_equal(kill(fleet_look(f->fleet, "ep-d")->pid, SIGKILL), 0);
	fixture_await_state(f, "ep-d", FLEET_STARTING);
	fixture_open(f, "ep-b", &starting);
	fixture_await_state(f, "ep-b", FLEET_STARTING);
	assert_false(fleet_is_shutting_down(f->fleet));
	fleet_shut_down(f->fleet, outcome_done, &down);
	assert_true(fleet_is_shutting_down(f->fleet));
	fixture_open(f, "ep-c", &late);
	await_failure(f, &late, STATUS_UNAVAILABLE, "shutting down");
	await_failure(f, &starting, STATUS_UNAVAILABLE, "shutting down");
	fixture_await(f, &down);
	assert_null(down.uid);
	assert_false(down.has_failed);
	outcome_clear(&down);
	static const char *const all[] = { "ep-a", "ep-b", "ep-c", "ep-d" };
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		assert_int_equal(fleet_look(f->fleet, all[i])->state, FLEET_ASLEEP);
	assert_int_equal(fixture_starts(f, "ep-c"), 0);
	down.fixture = f;
	fleet_shut_down(f->fleet, outcome_done, &down); /* again: done at once */
	fixture_await(f, &down);
	outcome_clear(&down);
	outcome_clear(&running);
}

/* One that a dead control left is found while the new one shuts down: it must not be left running. */
static void shuts_down_what_it_has_just_found(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct outcome down = { .fixture = f };
	fixture_script(f, "ep-a", GOOD);
	fixture_script(f, "ep-b", GOOD);
	open_ok(f, "ep-a");
	open_ok(f, "ep-b");
	fixture_new_fleet(f);
	assert_int_equal(fleet_register(f->fleet, "ep-a", true, &err), STATUS_OK);
	fleet_shut_down(f->fleet, outcome_done, &down);
	assert_int_equal(fleet_register(f->fleet, "ep-b", true, &err), STATUS_OK);
	fixture_await(f, &down);
	outcome_clear(&down);
	CLEANUP(free_text) char *last_words = fixture_read(f, "ep-a", "last_exit.json");
	assert_non_null(strstr(last_words, "\"stopped\""));
	CLEANUP(free_text) char *other_words = fixture_read(f, "ep-b", "last_exit.json");
	assert_non_null(strstr(other_words, "\"stopped\""));
}

static void two_supervisors_never_hold_one_endpoint(void **state)
{
	struct fixture *f = *state;
	struct error err;
	/* Somebody holds the lock and does not listen: nothing is started beside it (F1). */
	fixture_script(f, "ep-a", GOOD);
	CLEANUP(free_text) char *path = data_directory_path(&f->dd, "computes/ep-a/supervisor.lock");
	struct role_lock *lock;
	assert_int_equal(role_lock_take(path, "{\"pid\":0}", &lock, &err), STATUS_OK);
	fleet_set_patience(f->fleet, 150);
	struct outcome o = { 0 };
	fixture_open(f, "ep-a", &o);
	await_failure(f, &o, STATUS_UNAVAILABLE, "runs but does not answer");
	assert_int_equal(fixture_starts(f, "ep-a"), 0);
	role_lock_free(lock);
	fleet_set_patience(f->fleet, 30000);
	fixture_await_state(f, "ep-a", FLEET_RUNNING);
	assert_int_equal(fixture_starts(f, "ep-a"), 1);
}

static void a_large_log_is_put_aside(void **state)
{
	struct fixture *f = *state;
	fixture_script(f, "ep-a", "log:hello " GOOD);
	CLEANUP(free_text) char *path = data_directory_path(&f->dd, "computes/ep-a/supervisor.log");
	fixture_write(f, "ep-a", "supervisor.log", "old\n");
	assert_int_equal(truncate(path, (1 << 20) + 1), 0);
	open_ok(f, "ep-a");
	CLEANUP(free_text) char *log = fixture_read(f, "ep-a", "supervisor.log");
	CLEANUP(free_text) char *old = fixture_read(f, "ep-a", "supervisor.log.1");
	assert_string_equal(log, "hello\n");
	assert_non_null(strstr(old, "old\n"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

/* Thousands of them sleep on one machine: none has a descriptor, and little memory. */
static void an_endpoint_that_sleeps_is_small(void **state)
{
	struct fixture *f = *state;
	enum { COUNT = 300, BYTES_MAX = 3072 };
	struct error err;
	assert_int_equal(fleet_register(f->fleet, "ep-first", false, &err), STATUS_OK);
	fixture_turn(f);
	int descriptors = count_descriptors();
	size_t before = mallinfo2().uordblks;
	for (int i = 0; i < COUNT; i++) {
		char uid[32];
		(void)snprintf(uid, sizeof uid, "ep-%d", i);
		assert_int_equal(fleet_register(f->fleet, uid, false, &err), STATUS_OK);
	}
	for (int i = 0; i < 10; i++)
		fixture_turn(f);
	size_t after =
	        mallinfo2().uordblks; /* 0 under the sanitizers, which have an allocator of their own */
	assert_int_equal(count_descriptors(), descriptors);
	if (after > before)
		assert_in_range((after - before) / COUNT, 1, BYTES_MAX);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(an_endpoint_that_sleeps_is_small),
		TEST(opens_and_suspends_and_opens_again),
		TEST(many_opens_start_it_once),
		TEST(the_folders_are_made_for_it),
		TEST(the_child_gets_three_descriptors_and_a_session),
		TEST(three_deaths_answer_with_the_reason),
		TEST(the_last_line_of_its_own_log_helps_too),
		TEST(two_deaths_are_survived),
		TEST(failed_is_not_tried_again),
		TEST(a_crash_of_a_running_one_heals_by_itself),
		TEST(a_crash_with_nobody_waiting_gives_up_quietly),
		TEST(an_open_during_stopping_starts_it_again),
		TEST(an_open_survives_a_suspension_that_fails),
		TEST(suspends_by_itself),
		TEST(a_suspend_during_the_start),
		TEST(a_suspend_during_the_back_off),
		TEST(a_new_control_adopts),
		TEST(adopts_one_that_has_no_lock_yet),
		TEST(what_was_running_is_started_again),
		TEST(garbage_closes_the_channel_and_it_is_tried_again),
		TEST(a_lost_connection_is_made_again),
		TEST(a_silent_one_is_killed_and_the_reason_is_told),
		TEST(one_that_says_farewell_but_stays_is_killed),
		TEST(an_adopted_one_that_refuses_is_told_about),
		TEST(no_spec_no_start),
		TEST(a_binary_that_is_missing_is_named),
		TEST(applies_when_it_runs_and_when_it_sleeps),
		TEST(an_apply_during_the_start_waits_for_it),
		TEST(forgets_only_who_sleeps),
		TEST(forgets_from_inside_on_change),
		TEST(shuts_down_all),
		TEST(shuts_down_what_it_has_just_found),
		TEST(two_supervisors_never_hold_one_endpoint),
		TEST(a_large_log_is_put_aside),
	};
	if (getenv("TARN_TEST_ONLY"))
		cmocka_set_test_filter(getenv("TARN_TEST_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
