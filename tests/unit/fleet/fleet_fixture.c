#include "fleet_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define PATIENCE_SEC 30

int count_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	assert_non_null(folder);
	int count = -1; /* the folder's own */
	for (struct dirent *entry; (entry = readdir(folder));)
		count += entry->d_name[0] != '.';
	(void)closedir(folder);
	return count;
}

static void look_again(uv_timer_t *timer)
{
	(void)timer;
}

/* A ticker ends each turn after a few milliseconds: what is awaited may be a file, or have come before the loop slept. */
void fixture_turn(struct fixture *f)
{
	int64_t now = clock_monotonic_usec();
	if (f->turns_since_usec == 0)
		f->turns_since_usec = now;
	if (now - f->turns_since_usec > PATIENCE_SEC * USEC_PER_SEC) {
		print_error("waited %d s in vain\n", PATIENCE_SEC);
		abort(); /* not fail(): what is left of this test would hang the next one */
	}
	(void)uv_run(&f->loop, UV_RUN_ONCE);
}

static status write_spec(void *owner, const char *uid, struct error *err)
{
	struct fixture *f = owner;
	assert_false(f->is_in_call);
	f->spec_writes++;
	if (f->spec_failure)
		return error_set(err, STATUS_DENIED, 0, "%s", f->spec_failure);
	CLEANUP(free_text) char *spec = xasprintf("{\"version\":1,\"revision\":%d}", f->revision);
	CLEANUP(free_text) char *revision = xasprintf("%d", f->revision);
	fixture_write(f, uid, "revision", revision);
	fixture_write(f, uid, "spec.json", spec);
	return STATUS_OK;
}

static void on_change(void *owner, const struct fleet_member *member)
{
	struct fixture *f = owner;
	struct error err;
	assert_false(f->is_in_call);
	buffer_printf(&f->changes, "%s:%s ", member->uid, fleet_state_name(member->state));
	if (f->forget_when_asleep && member->state == FLEET_ASLEEP &&
	        strcmp(f->forget_when_asleep, member->uid) == 0)
		assert_int_equal(fleet_forget(f->fleet, f->forget_when_asleep, &err), STATUS_OK);
}

static void create_fleet(struct fixture *f)
{
	struct error err;
	const char *binary = getenv("TARN_TEST_SUPERVISOR");
	assert_non_null(binary);
	assert_int_equal(fleet_create(&f->loop, &f->dd, binary, &f->events, f, &f->fleet, &err), STATUS_OK);
}

int fixture_set_up(void **state)
{
	struct error err;
	struct fixture *f = xcalloc(1, sizeof *f);
	/* The first loop of a process opens descriptors that libuv never closes. */
	assert_int_equal(uv_loop_init(&f->loop), 0);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	f->descriptors = count_descriptors();
	f->revision = 1;
	f->events = (struct fleet_events){ .write_spec = write_spec, .on_change = on_change };
	char path[] = "/tmp/tarn-unit-fleet-XXXXXX";
	assert_non_null(mkdtemp(path));
	f->dd.path = xstrdup(path);
	CLEANUP(free_text) char *computes = data_directory_path(&f->dd, "computes");
	CLEANUP(free_text) char *run = data_directory_path(&f->dd, "run");
	assert_int_equal(folder_make(computes, 0711, &err), STATUS_OK);
	assert_int_equal(folder_make(run, 0700, &err), STATUS_OK);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	(void)uv_timer_init(&f->loop, &f->ticker);
	(void)uv_timer_start(&f->ticker, look_again, 2, 2);
	create_fleet(f);
	*state = f;
	return 0;
}

static void suspend_one(void *arg, const struct fleet_member *member)
{
	/* Scripted ones may be stubborn; the tests are through with them. */
	(void)arg;
	if (member->pid > 0)
		(void)kill(member->pid, SIGKILL);
}

static void ignore_done(void *arg, const char *uid, const struct error *err)
{
	(void)uid, (void)err;
	*(bool *)arg = true;
}

int fixture_tear_down(void **state)
{
	struct fixture *f = *state;
	struct error err;
	bool is_down = false;
	f->spec_failure = NULL;
	fleet_shut_down(f->fleet, ignore_done, &is_down);
	fleet_each(f->fleet, suspend_one, NULL);
	while (!is_down)
		fixture_turn(f);
	fleet_abandon(f->fleet);
	uv_close((uv_handle_t *)&f->ticker, NULL);
	(void)uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* every child was waited for */
	assert_int_equal(errno, ECHILD);
	assert_int_equal(count_descriptors(), f->descriptors);
	assert_int_equal(tree_remove(f->dd.path, &err), STATUS_OK);
	buffer_done(&f->changes);
	free(f->dd.path);
	free(f);
	return 0;
}

void fixture_write(struct fixture *f, const char *uid, const char *name, const char *text)
{
	struct error err;
	CLEANUP(free_text) char *path = data_directory_path(&f->dd, "computes/%s/%s", uid, name);
	assert_int_equal(file_replace_durably(path, slice_from_text(text), 0600, &err), STATUS_OK);
}

char *fixture_read(struct fixture *f, const char *uid, const char *name)
{
	struct error err;
	struct buffer content = { 0 };
	CLEANUP(free_text) char *path = data_directory_path(&f->dd, "computes/%s/%s", uid, name);
	buffer_append_text(&content, "");
	status st = file_read(path, 1 << 22, &content, &err);
	assert_true(st == STATUS_OK || st == STATUS_NOT_FOUND);
	return content.data;
}

int fixture_starts(struct fixture *f, const char *uid)
{
	CLEANUP(free_text) char *starts = fixture_read(f, uid, "starts");
	return (int)strlen(starts) / 2;
}

void fixture_script(struct fixture *f, const char *uid, const char *script)
{
	struct error err;
	assert_int_equal(fleet_register(f->fleet, uid, false, &err), STATUS_OK);
	fixture_write(f, uid, "script", script);
}

void fixture_new_fleet(struct fixture *f)
{
	fleet_abandon(f->fleet);
	create_fleet(f);
}

void fixture_changes(struct fixture *f, const char *expected)
{
	assert_string_equal(f->changes.data ? f->changes.data : "", expected);
	f->changes.len = 0;
	if (f->changes.data)
		f->changes.data[0] = '\0';
}

void outcome_clear(struct outcome *outcome)
{
	free(outcome->uid);
	*outcome = (struct outcome){ 0 };
}

void outcome_done(void *arg, const char *uid, const struct error *err)
{
	struct outcome *outcome = arg;
	assert_false(outcome->fixture && outcome->fixture->is_in_call); /* F2 */
	outcome->calls++;
	outcome->uid = uid ? xstrdup(uid) : NULL;
	outcome->has_failed = err != NULL;
	if (err)
		outcome->err = *err;
	if (outcome->forgets)
		outcome->forget_status = fleet_forget(outcome->fixture->fleet, uid, &outcome->err);
}

static void point_done(void *arg, const char *uid, const struct fleet_point *point, const struct error *err)
{
	struct outcome *outcome = arg;
	assert_true((point == NULL) == (err != NULL));
	outcome_done(arg, uid, err);
	if (point)
		outcome->point = *point;
}

#define CALL(name, done)                                                                                     \
	void fixture_##name(struct fixture *f, const char *uid, struct outcome *outcome)                     \
	{                                                                                                    \
		bool forgets = outcome->forgets;                                                             \
		outcome_clear(outcome);                                                                      \
		outcome->fixture = f;                                                                        \
		outcome->forgets = forgets;                                                                  \
		f->is_in_call = true;                                                                        \
		fleet_##name(f->fleet, uid, done, outcome);                                                  \
		f->is_in_call = false;                                                                       \
	}

CALL(open, outcome_done)
CALL(suspend, outcome_done)
CALL(apply, outcome_done)
CALL(point, point_done)
CALL(flush, point_done)

void fixture_pool(struct fixture *f, const char *uid, const char *role, struct outcome *outcome)
{
	outcome->fixture = f;
	f->is_in_call = true;
	fleet_pool(f->fleet, uid, role, outcome_done, outcome);
	f->is_in_call = false;
}

void fixture_await(struct fixture *f, struct outcome *outcome)
{
	while (outcome->calls == 0)
		fixture_turn(f);
	assert_int_equal(outcome->calls, 1);
}

void fixture_await_state(struct fixture *f, const char *uid, enum fleet_state state)
{
	while (fleet_look(f->fleet, uid)->state != state)
		fixture_turn(f);
}

void fixture_await_file(struct fixture *f, const char *uid, const char *name)
{
	CLEANUP(free_text) char *path = data_directory_path(&f->dd, "computes/%s/%s", uid, name);
	while (!file_exists(path))
		fixture_turn(f);
}
