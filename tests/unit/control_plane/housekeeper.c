/* Housekeeping: rounds of retention and measuring, soon after a change and never at the cost of operations; space on a real disk. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "control_plane/housekeeper.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "control_fixture.h"
#include "control_plane/disk_space.h"
#include "metadata/statement.h"

static void await_round(struct control_fixture *f, int rounds)
{
	int64_t deadline = clock_monotonic_usec() + 40 * USEC_PER_SEC;
	while (f->machine->done[STEP_RETENTION] < rounds) {
		(void)uv_run(&f->loop, UV_RUN_ONCE);
		assert_true(clock_monotonic_usec() < deadline);
	}
	for (int i = 0; i < 50; i++) {
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
		(void)usleep(1000);
	}
}

/* Rounds a second apart go by. */
static void settle_rounds(struct control_fixture *f)
{
	int64_t end = clock_monotonic_usec() + 3 * USEC_PER_SEC;
	while (clock_monotonic_usec() < end) {
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
		(void)usleep(1000);
	}
}

static const char *volume_of(struct control_fixture *f, const char *branch)
{
	CLEANUP(free_text) char *path = xasprintf("/projects/p/branches/%s", branch);
	call_api(f, "GET", path, NULL);
	return text_at(f, "/uid"); /* no reset has given it another */
}

static void a_round_thins_and_measures(void **state)
{
	struct control_fixture *f = *state;
	f->dd.settings.housekeeping_interval_sec = 1;
	(void)housekeeper_create(&f->services);
	perform(f, "POST", "/projects?project_id=p",
	        "{\"spec\":{\"history_retention_duration\":\"172800s\"}}");
	/* Something to be found below the project's store. */
	call_api(f, "GET", "/projects/p", NULL);
	CLEANUP(free_text)
	char *make = xasprintf("mkdir -p %s/stores/%s && head -c 300000 /dev/urandom > %s/stores/%s/x",
	        f->folder, text_at(f, "/uid"), f->folder, text_at(f, "/uid"));
	assert_int_equal(system(make), 0);
	await_round(f, 1);
	assert_int_equal(f->machine->window_usec, 172800 * USEC_PER_SEC);
	call_api(f, "GET", "/projects/p/branches/production", NULL);
	assert_int_equal(yyjson_get_int(yyjson_ptr_get(f->json, "/status/logical_size_bytes")), 4096);
	call_api(f, "GET", "/projects/p", NULL);
	int64_t bytes = yyjson_get_sint(yyjson_ptr_get(f->json, "/status/synthetic_storage_size_bytes"));
	assert_in_range(bytes, 300000, 400000);

	/* A failing volume does not keep others from being looked after; a new window counts at once. */
	perform(f, "POST", "/projects/p/branches?branch_id=dev", "{\"spec\":{\"no_expiry\":true}}");
	f->machine->fail_with[STEP_RETENTION] = STATUS_CORRUPT;
	f->machine->fail_times[STEP_RETENTION] = 1;
	perform(f, "PATCH", "/projects/p?update_mask=spec.history_retention_duration",
	        "{\"spec\":{\"history_retention_duration\":\"259200s\"}}");
	await_round(f, 3);
	settle_rounds(f);
	assert_int_equal(f->machine->window_usec, 259200 * USEC_PER_SEC);
	/* What nothing has happened to costs nothing; a file more in a volume does. */
	CLEANUP(free_text)
	char *volume = xasprintf("mkdir -p %s/volumes/%s/wal", f->folder, volume_of(f, "dev"));
	assert_int_equal(system(volume), 0);
	settle_rounds(f);
	int rounds = f->machine->done[STEP_RETENTION];
	settle_rounds(f);
	assert_int_equal(f->machine->done[STEP_RETENTION], rounds);
	CLEANUP(free_text)
	char *touch = xasprintf("touch %s/volumes/%s/wal/1", f->folder, volume_of(f, "dev"));
	assert_int_equal(system(touch), 0);
	await_round(f, rounds + 2);
	housekeeper_close(f->services.housekeeper);
	f->services.housekeeper = NULL;
}

static int64_t integer_at(struct control_fixture *f, const char *path, const char *pointer)
{
	call_api(f, "GET", path, NULL);
	return yyjson_get_sint(yyjson_ptr_get(f->json, pointer));
}

static int64_t logical_size(struct control_fixture *f)
{
	return integer_at(f, "/projects/p/branches/production", "/status/logical_size_bytes");
}

static void await_logical_size(struct control_fixture *f, int64_t bytes)
{
	int64_t deadline = clock_monotonic_usec() + 30 * USEC_PER_SEC;
	while (logical_size(f) != bytes) {
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
		(void)usleep(1000);
		assert_true(clock_monotonic_usec() < deadline);
	}
}

static void what_a_running_compute_writes_is_measured_in_between(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	call_api(f, "GET", "/projects/p/branches/production/endpoints/primary", NULL);
	CLEANUP(free_text) char *uid = xstrdup(text_at(f, "/uid"));
	struct fleet_member member = { .uid = uid,
		.state = FLEET_RUNNING,
		.storage = { .is_known = true, .logical_bytes = 0, .open_pages = 0 } };
	(void)housekeeper_create(&f->services);
	housekeeper_look(f->services.housekeeper);
	await_round(f, 1);
	assert_int_equal(logical_size(f), 4096);
	int64_t before = integer_at(f, "/projects/p", "/status/synthetic_storage_size_bytes");
	int rounds = f->machine->done[STEP_RETENTION];

	housekeeper_note(f->services.housekeeper, &member); /* it has not looked yet: that is no size */
	member.storage = (struct fleet_storage){ .is_known = true, .logical_bytes = 9000, .open_pages = 7 };
	f->machine->more_bytes = 5000;
	housekeeper_note(f->services.housekeeper, &member);
	await_logical_size(f, 9000);
	assert_int_equal(integer_at(f, "/projects/p", "/status/synthetic_storage_size_bytes"), before + 5000);
	assert_int_equal(f->machine->done[STEP_RETENTION], rounds); /* that is all that was done */

	/* A whole round takes what is newer than the last restore point, too, and nothing measured meanwhile is lost. */
	CLEANUP(free_text)
	char *make = xasprintf("mkdir -p %s/volumes/%s/wal", f->folder, volume_of(f, "production"));
	assert_int_equal(system(make), 0);
	housekeeper_look(f->services.housekeeper);
	await_round(f, rounds + 1);
	assert_int_equal(logical_size(f), 9000);
	/* Asleep, it is the restore point again that tells. */
	member.state = FLEET_ASLEEP;
	housekeeper_note(f->services.housekeeper, &member);
	CLEANUP(free_text)
	char *touch = xasprintf("touch %s/volumes/%s/wal/1", f->folder, volume_of(f, "production"));
	assert_int_equal(system(touch), 0);
	housekeeper_look(f->services.housekeeper);
	await_logical_size(f, 4096);
	housekeeper_close(f->services.housekeeper);
	f->services.housekeeper = NULL;
}

static char *endpoint_of(struct control_fixture *f, const char *branch)
{
	CLEANUP(free_text) char *path = xasprintf("/projects/p/branches/%s/endpoints/primary", branch);
	call_api(f, "GET", path, NULL);
	return xstrdup(text_at(f, "/uid"));
}

static void await_step(struct control_fixture *f, enum machine_step step, int times)
{
	int64_t deadline = clock_monotonic_usec() + 40 * USEC_PER_SEC;
	while (f->machine->done[step] < times) {
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
		assert_true(clock_monotonic_usec() < deadline);
	}
}

static void note_start(struct control_fixture *f, char *uid)
{
	const struct fleet_member member = { .uid = uid, .state = FLEET_STARTING };
	housekeeper_note(f->services.housekeeper, &member);
}

/* Retention has taken points of an archived branch, whose layers can be folded again: nobody waits for that, whenever he comes. */
static void who_wants_an_archived_branch_is_not_overheard(void **state)
{
	struct control_fixture *f = *state;
	struct error err;
	perform(f, "POST", "/projects?project_id=p", NULL);
	perform(f, "POST", "/projects/p/branches?branch_id=dev", "{\"spec\":{\"no_expiry\":true}}");
	CLEANUP(free_text) char *dev = endpoint_of(f, "dev");
	CLEANUP(free_text) char *production = endpoint_of(f, "production");
	machine_set_state(dev, FLEET_ASLEEP);
	assert_int_equal(statement_do(f->services.md,
	                         "UPDATE branch SET archive_usec = 1 WHERE branch_id = 'dev'", NULL, 0, &err),
	        STATUS_OK);
	f->machine->points_removed = 1;
	f->machine->is_archiving_for_ever = f->machine->is_retention_waiting = true;
	(void)housekeeper_create(&f->services);
	housekeeper_look(f->services.housekeeper);

	/* Before the folding has begun; and it is not begun any more. */
	await_step(f, STEP_RETENTION, 1);
	note_start(f, dev);
	f->machine->is_retention_waiting = false;
	await_round(f, 2);
	assert_int_equal(f->machine->done[STEP_ARCHIVE], 0);

	/* While it is under way; another one's start is none of its business. */
	housekeeper_look(f->services.housekeeper);
	CLEANUP(free_text)
	char *touch = xasprintf("mkdir -p %s/volumes/%s/wal", f->folder, volume_of(f, "dev"));
	assert_int_equal(system(touch), 0);
	await_step(f, STEP_ARCHIVE, 1);
	note_start(f, production);
	for (int i = 0; i < 50; i++) {
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
		(void)usleep(1000);
	}
	f->machine->is_archiving_for_ever = false;
	await_round(f, 4);
	assert_int_equal(f->machine->archives_cut, 0);
	f->machine->is_archiving_for_ever = true;
	CLEANUP(free_text)
	char *again = xasprintf("touch %s/volumes/%s/wal/1", f->folder, volume_of(f, "dev"));
	assert_int_equal(system(again), 0);
	housekeeper_look(f->services.housekeeper);
	await_step(f, STEP_ARCHIVE, 2);
	note_start(f, dev);
	await_round(f, 6);
	assert_int_equal(f->machine->archives_cut, 1);

	/* One that is awake when the round begins is left alone. */
	machine_set_state(dev, FLEET_RUNNING);
	CLEANUP(free_text)
	char *more = xasprintf("touch %s/volumes/%s/wal/2", f->folder, volume_of(f, "dev"));
	assert_int_equal(system(more), 0);
	housekeeper_look(f->services.housekeeper);
	await_round(f, 8);
	assert_int_equal(f->machine->done[STEP_ARCHIVE], 2);
	housekeeper_close(f->services.housekeeper);
	f->services.housekeeper = NULL;
}

static void closing_during_a_round_waits_for_nobody(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=p", NULL);
	(void)housekeeper_create(&f->services);
	housekeeper_look(f->services.housekeeper);
	await_round(f, 1);
	housekeeper_look(f->services.housekeeper);
	housekeeper_close(f->services.housekeeper);
	f->services.housekeeper = NULL;
}

static void files_count_once_however_many_names_they_have(void **state)
{
	(void)state;
	char folder[] = "/tmp/tarn-unit-XXXXXX";
	assert_non_null(mkdtemp(folder));
	struct data_directory dd = { .path = folder };
	CLEANUP(free_text)
	char *make = xasprintf(
	        "cd %s && mkdir -p stores/s/snapshots/x volumes/v/wal volumes/v/archive volumes/v/data/base "
	        "&&"
	        " head -c 1000000 /dev/urandom > volumes/v/wal/1 && ln volumes/v/wal/1 volumes/v/archive/1 &&"
	        " ln volumes/v/wal/1 stores/s/snapshots/x/1 && head -c 500000 /dev/urandom > stores/s/layer "
	        "&&"
	        " truncate -s 9000000 stores/s/hole && head -c 700000 /dev/urandom > volumes/v/data/base/1 &&"
	        " ln -s / volumes/v/wal/link",
	        folder);
	assert_int_equal(system(make), 0);
	CLEANUP(disk_space_freep) struct disk_space *space = disk_space_new();
	disk_space_add_store(space, &dd, "s");
	assert_in_range(disk_space_total(space), 1500000, 1600000);
	disk_space_add_volume(space, &dd, "v");
	assert_in_range(disk_space_total(space), 1500000, 1600000); /* the same file, and nothing of data/ */
	disk_space_add_volume(space, &dd, "not-there");
	struct error err;
	assert_int_equal(tree_remove(folder, &err), STATUS_OK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, control_fixture_set_up, control_fixture_tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(a_round_thins_and_measures),
		TEST(what_a_running_compute_writes_is_measured_in_between),
		TEST(who_wants_an_archived_branch_is_not_overheard),
		TEST(closing_during_a_round_waits_for_nobody),
		cmocka_unit_test(files_count_once_however_many_names_they_have),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
