/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../compute/fixture.h"
#include "base/file.h"
#include "page_store/control_file.h"
#include "page_store/file_copy.h"
#include "page_store/volume.h"
#include "page_store/volume_record.h"

static char *volume_path(const struct fixture *f, const char *name)
{
	return data_directory_path(f->dd, "volumes/%s", name);
}

static bool has(const struct fixture *f, const char *name)
{
	CLEANUP(free_text) char *path = volume_path(f, name);
	return file_exists(path);
}

static status create(const struct fixture *f, const char *id, struct error *err)
{
	return volume_create(
	        f->dd, id, f->template_path, f->installation.bin_dir, f->installation.major, err);
}

static struct control_file control_of(const struct fixture *f, const char *id)
{
	CLEANUP(free_text) char *data = xasprintf("%s/volumes/%s/data", f->dd->path, id);
	CLEANUP(close_fd) int fd = -1;
	struct control_file control;
	struct error err;
	must(folder_open(data, &fd, &err), &err);
	must(control_file_read(fd, &control, &err), &err);
	return control;
}

static void a_new_one_is_whole_and_unique(void **state)
{
	struct fixture *f = fixture_of(state);
	struct error err;
	must(create(f, "br-a", &err), &err);
	must(create(f, "br-b", &err), &err);
	assert_int_equal(create(f, "br-a", &err), STATUS_EXISTS);
	struct control_file a = control_of(f, "br-a"), b = control_of(f, "br-b");
	assert_true(a.system_identifier != b.system_identifier);
	assert_int_equal(a.state, CONTROL_SHUT_DOWN);
	assert_false(has(f, "br-a.new"));
	/* V6: what Postgres can write in is only data/ and wal/. */
	struct stat st;
	CLEANUP(free_text) char *path = volume_path(f, "br-a");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, geteuid());
	int64_t bytes = 0;
	must(volume_space(f->dd, "br-a", &bytes, &err), &err);
	assert_in_range(bytes, 20 << 20, 200 << 20);
	assert_int_equal(volume_space(f->dd, "br-none", &bytes, &err), STATUS_NOT_FOUND);
	must(volume_destroy(f->dd, "br-a", &err), &err);
	must(volume_destroy(f->dd, "br-b", &err), &err);
	must(volume_destroy(f->dd, "br-b", &err), &err);
	assert_false(has(f, "br-a") || has(f, "br-a.dead"));
}

static void names_cannot_lead_astray(void **state)
{
	struct fixture *f = fixture_of(state);
	static const char *const names[] = { "", ".", "..", "../x", "a/b", "a.new", "A", "-a", "a b",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct error err;
		struct volume *volume;
		int64_t bytes;
		assert_int_equal(create(f, names[i], &err), STATUS_INVALID);
		assert_int_equal(volume_open(f->dd, names[i], &volume, &err), STATUS_INVALID);
		assert_int_equal(volume_destroy(f->dd, names[i], &err), STATUS_INVALID);
		assert_int_equal(volume_space(f->dd, names[i], &bytes, &err), STATUS_INVALID);
		assert_int_equal(volume_clone_begin(f->dd, "br-a", names[i], &err), STATUS_INVALID);
		assert_int_equal(volume_clone_begin(f->dd, names[i], "br-a", &err), STATUS_INVALID);
	}
}

/* Counts the complete volumes that a sweep tells of. */
static void count_volume(void *owner, const char *id)
{
	(void)id;
	if (owner)
		++*(int *)owner;
}

static void one_user_at_a_time(void **state)
{
	struct fixture *f = fixture_of(state);
	struct error err;
	struct volume *volume = NULL, *second = NULL;
	must(create(f, "br-a", &err), &err);
	must(volume_open(f->dd, "br-a", &volume, &err), &err);
	assert_int_equal(volume_postgres_major(volume), f->installation.major);
	assert_int_equal(volume_recovery_timeline(volume), 0);
	assert_int_equal(volume_open(f->dd, "br-a", &second, &err), STATUS_CONFLICT);
	assert_int_equal(volume_destroy(f->dd, "br-a", &err), STATUS_CONFLICT);
	must(volume_sweep(f->dd, count_volume, NULL, &err), &err);
	assert_true(has(f, "br-a"));

	must(volume_set_applied_revision(volume, 41, &err), &err);
	volume = volume_close(volume);
	must(volume_open(f->dd, "br-a", &volume, &err), &err);
	assert_int_equal(volume_applied_revision(volume), 41);
	volume_close(volume);
	must(volume_destroy(f->dd, "br-a", &err), &err);
	assert_int_equal(volume_open(f->dd, "br-a", &volume, &err), STATUS_NOT_FOUND);
}

/* A holder that is killed lets go: the kernel drops the lease. */
static void a_dead_user_holds_nothing(void **state)
{
	struct fixture *f = fixture_of(state);
	struct error err;
	struct volume *volume = NULL;
	int ends[2];
	char byte;
	must(create(f, "br-a", &err), &err);
	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		if (volume_open(f->dd, "br-a", &volume, &err) != STATUS_OK || write(ends[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	assert_int_equal(read(ends[0], &byte, 1), 1);
	assert_int_equal(volume_open(f->dd, "br-a", &volume, &err), STATUS_CONFLICT);
	(void)kill(child, SIGKILL);
	(void)waitpid(child, NULL, 0);
	must(volume_open(f->dd, "br-a", &volume, &err), &err);
	volume_close(volume);
	(void)close(ends[0]), (void)close(ends[1]);
	must(volume_destroy(f->dd, "br-a", &err), &err);
}

static void a_damaged_record_is_refused(void **state)
{
	struct fixture *f = fixture_of(state);
	struct error err;
	struct volume *volume = NULL;
	must(create(f, "br-a", &err), &err);
	CLEANUP(free_text) char *path = xasprintf("%s/volumes/br-a", f->dd->path);
	struct volume_record record;
	must(volume_record_read(path, &record, &err), &err);
	memcpy(record.id, "br-other", 9);
	must(volume_record_write(path, &record, &err), &err);
	assert_int_equal(volume_open(f->dd, "br-a", &volume, &err), STATUS_CORRUPT);
	CLEANUP(free_text) char *file = xasprintf("%s/volume.json", path);
	assert_int_equal(truncate(file, 20), 0);
	assert_int_equal(volume_open(f->dd, "br-a", &volume, &err), STATUS_CORRUPT);
	must(volume_destroy(f->dd, "br-a", &err), &err);
}

/* Kills volume_create() at many moments: the volume is there and good, or not there; what is left is swept away. */
static void killed_in_the_middle(void **state)
{
	struct fixture *f = fixture_of(state);
	struct error err;
	int completed = 0, cut = 0;
	for (int round = 0; round < 9; round++) {
		pid_t child = fork();
		if (child == 0)
			_exit(create(f, "br-k", &err) == STATUS_OK ? 0 : 1);
		struct timespec pause_time = { .tv_nsec = 15000000L * round * round };
		(void)nanosleep(&pause_time, NULL); /* the moment is the subject of the test */
		(void)kill(child, SIGKILL);
		int exit_status;
		assert_int_equal(waitpid(child, &exit_status, 0), child);
		assert_true(WIFSIGNALED(exit_status) || WEXITSTATUS(exit_status) == 0);
		bool was_completed = has(f, "br-k");
		completed += was_completed;
		cut += has(f, "br-k.new");
		if (was_completed) {
			struct volume *volume = NULL;
			must(volume_open(f->dd, "br-k", &volume, &err), &err);
			volume_close(volume);
			assert_int_equal(control_of(f, "br-k").state, CONTROL_SHUT_DOWN);
		}
		must(volume_sweep(f->dd, count_volume, NULL, &err), &err);
		assert_int_equal(has(f, "br-k"), was_completed); /* a complete volume is never swept away */
		must(volume_destroy(f->dd, "br-k", &err), &err);
		assert_false(has(f, "br-k") || has(f, "br-k.new") || has(f, "br-k.dead"));
	}
	print_message("%d completed, %d cut off\n", completed, cut);
	assert_true(cut > 0);
	must(create(f, "br-k", &err), &err);
	must(volume_destroy(f->dd, "br-k", &err), &err);
}

/* Guards against this: an older metadata.db put back made the sweep delete the newest databases. */
static void the_sweep_takes_only_remains(void **state)
{
	struct fixture *f = fixture_of(state);
	struct error err;
	must(create(f, "br-a", &err), &err);
	static const char *const remains[] = { "br-y.new", "br-z.dead", "br-a.new" };
	for (size_t i = 0; i < ARRAY_LEN(remains); i++) {
		CLEANUP(free_text) char *folder = volume_path(f, remains[i]);
		CLEANUP(free_text) char *inside = xasprintf("%s/data", folder);
		must(folder_make(folder, 0700, &err), &err);
		must(folder_make(inside, 0700, &err), &err);
	}
	CLEANUP(free_text) char *foreign = volume_path(f, "Not.Ours");
	must(folder_make(foreign, 0700, &err), &err);
	int complete = 0;
	must(volume_sweep(f->dd, count_volume, &complete, &err), &err);
	assert_int_equal(complete, 1);
	for (size_t i = 0; i < ARRAY_LEN(remains); i++)
		assert_false(has(f, remains[i]));
	assert_true(has(f, "br-a") && has(f, "Not.Ours"));
	must(tree_remove(foreign, &err), &err);
	must(volume_destroy(f->dd, "br-a", &err), &err);
}

/* volumes/ on a file system that is too small for a second one. */
static void a_full_disk_leaves_nothing_behind(void **state)
{
	struct fixture *f = fixture_of(state);
	CLEANUP(free_text) char *volumes = data_directory_path(f->dd, "volumes");
	if (mount("tarn-unit", volumes, "tmpfs", 0, "size=60m,mode=0711") < 0) {
		print_message("skipped: cannot mount a small disk: %s\n", strerror(errno));
		skip();
	}
	struct error first = { 0 }, second = { 0 }, clone = { 0 }, err;
	status st_first = create(f, "br-a", &first);
	status st_second = create(f, "br-b", &second);
	status st_clone = volume_clone_begin(f->dd, "br-a", "br-c", &clone);
	bool is_clean = !has(f, "br-b") && !has(f, "br-b.new") && !has(f, "br-c.new");
	/* A disk so full that nothing fits: pg_resetwal is the one that fails. */
	CLEANUP(free_text) char *ballast = xasprintf("%s/ballast", volumes);
	must(volume_destroy(f->dd, "br-a", &err), &err);
	CLEANUP(close_fd) int fd = open(ballast, O_WRONLY | O_CREAT, 0600);
	int filled = posix_fallocate(fd, 0, 25 << 20);
	struct error late = { 0 };
	status st_late = create(f, "br-d", &late);
	bool is_clean_late = !has(f, "br-d") && !has(f, "br-d.new");
	assert_int_equal(umount2(volumes, MNT_DETACH), 0);

	must(st_first, &first);
	assert_int_equal(st_second, STATUS_NO_SPACE);
	assert_non_null(strstr(second.message, "br-b"));
	assert_int_equal(st_clone, STATUS_NO_SPACE);
	assert_true(is_clean);
	assert_int_equal(filled, 0);
	assert_int_equal(st_late, STATUS_NO_SPACE);
	assert_true(is_clean_late);
}

/* ---- a clone's files, without a running parent ---- */

static void add(const struct fixture *f, const char *name, const char *content)
{
	CLEANUP(free_text) char *path = xasprintf("%s/volumes/br-a/%s", f->dd->path, name);
	struct error err;
	must(file_replace_durably(path, slice_from_text(content), 0600, &err), &err);
}

static bool clone_has(const struct fixture *f, const char *name)
{
	CLEANUP(free_text) char *path = xasprintf("%s/volumes/br-c/%s", f->dd->path, name);
	return file_exists(path);
}

static struct restore_point point_of(const struct fixture *f)
{
	struct control_file control = control_of(f, "br-a");
	struct restore_point point = { .parent_id = "br-a",
		.redo_lsn = control.redo_lsn,
		.end_lsn = control.redo_lsn + 100,
		.parent_timeline = 1,
		.timeline = 4,
		.wal_segment_size = control.wal_segment_size,
		.postgres_major = 17 };
	return point;
}

static void a_clone_has_what_recovery_needs_and_no_more(void **state)
{
	static char label[] = "START WAL LOCATION: 0/0\n";
	struct fixture *f = fixture_of(state);
	struct error err;
	must(create(f, "br-a", &err), &err);
	static const char *const left_out[] = { "data/postmaster.pid", "data/postmaster.opts",
		"data/backup_manifest", "data/base/1/t3_16384", "data/base/1/t3_16384_fsm.1",
		"data/base/1/pg_internal.init.77", "data/base/pgsql_tmp", "data/pg_replslot/slot",
		"data/pg_notify/0000", "data/pg_stat_tmp/x", "data/standby.signal", "data/base/1/99999",
		"data/base/1/99999_fsm", "data/base/1/99999.1" };
	for (size_t i = 0; i < ARRAY_LEN(left_out); i++)
		add(f, left_out[i], "x");
	static const char *const kept[] = { "data/base/1/99999_init", "data/base/1/99998",
		"data/base/1/99998_vm", "data/global/pg_control", "data/PG_VERSION", "data/pg_replslot",
		"data/pg_stat_tmp" };
	add(f, kept[0], "x");
	add(f, kept[1], "x");
	add(f, kept[2], "x");

	struct restore_point point = point_of(f);
	point.backup_label = label;
	point.needs_hygiene = true;
	must(volume_clone_begin(f->dd, "br-a", "br-c", &err), &err);
	assert_false(has(f, "br-c"));
	must(volume_clone_finish(f->dd, "br-c", &point, &err), &err);
	assert_true(has(f, "br-c") && !has(f, "br-c.new"));
	for (size_t i = 0; i < ARRAY_LEN(left_out); i++)
		if (clone_has(f, left_out[i]))
			fail_msg("the clone has \"%s\"", left_out[i]);
	for (size_t i = 0; i < ARRAY_LEN(kept); i++)
		if (!clone_has(f, kept[i]))
			fail_msg("the clone lacks \"%s\"", kept[i]);
	assert_true(clone_has(f, "data/backup_label") && clone_has(f, "data/recovery.signal"));

	CLEANUP(buffer_done) struct buffer history = { 0 };
	CLEANUP(free_text) char *path = xasprintf("%s/volumes/br-c/wal/00000004.history", f->dd->path);
	must(file_read(path, 1000, &history, &err), &err);
	CLEANUP(free_text)
	char *expected = xasprintf(
	        "1\t%X/%X\tbranch of br-a\n", (unsigned)(point.end_lsn >> 32), (unsigned)point.end_lsn);
	assert_string_equal(history.data, expected);

	assert_int_equal(volume_clone_begin(f->dd, "br-a", "br-c", &err), STATUS_EXISTS);
	struct volume *volume = NULL;
	struct volume_start start;
	must(volume_open(f->dd, "br-c", &volume, &err), &err);
	must(volume_plan_start(volume, &start, &err), &err);
	assert_int_equal(start.recovery_timeline, 4);
	assert_true(start.is_quiet);

	/* Postgres removed the signal, and was killed before it had a timeline of its own. */
	CLEANUP(free_text) char *signal_path = xasprintf("%s/volumes/br-c/data/recovery.signal", f->dd->path);
	CLEANUP(free_text) char *half = xasprintf("%s/volumes/br-c/wal/00000005.history", f->dd->path);
	assert_int_equal(unlink(signal_path), 0);
	must(file_replace_durably(half, slice_from_text("x"), 0600, &err), &err);
	must(volume_plan_start(volume, &start, &err), &err);
	assert_int_equal(start.recovery_timeline, 4);
	assert_true(file_exists(signal_path));
	assert_false(file_exists(half));
	must(volume_set_hygiene_done(volume, &err), &err);
	must(volume_plan_start(volume, &start, &err), &err);
	assert_false(start.is_quiet);
	volume_close(volume);
	must(volume_destroy(f->dd, "br-c", &err), &err);
	must(volume_destroy(f->dd, "br-a", &err), &err);
}

static void not_a_byte_behind_the_end_is_kept(void **state)
{
	static char label[] = "label\n";
	struct fixture *f = fixture_of(state);
	struct error err;
	must(create(f, "br-a", &err), &err);
	struct restore_point point = point_of(f);
	point.backup_label = label;
	CLEANUP(free_text) char *wal = xasprintf("%s/volumes/br-a/wal", f->dd->path);
	CLEANUP(free_text) char *name = NULL;
	DIR *folder = opendir(wal);
	for (struct dirent *item; (item = readdir(folder));)
		if (strlen(item->d_name) == 24)
			name = xstrdup(item->d_name);
	(void)closedir(folder);
	CLEANUP(free_text) char *from = xasprintf("%s/%s", wal, name);
	CLEANUP(close_fd) int fd = open(from, O_RDWR);
	uint64_t end = point.end_lsn % point.wal_segment_size;
	assert_int_equal(pwrite(fd, "before", 6, (off_t)end - 6), 6);
	assert_int_equal(pwrite(fd, "behind", 6, (off_t)end), 6);
	assert_int_equal(pwrite(fd, "last", 4, (off_t)point.wal_segment_size - 4), 4);

	must(volume_clone_begin(f->dd, "br-a", "br-c", &err), &err);
	must(volume_clone_finish(f->dd, "br-c", &point, &err), &err);
	CLEANUP(free_text) char *to = xasprintf("%s/volumes/br-c/wal/%s", f->dd->path, name);
	CLEANUP(buffer_done) struct buffer segment = { 0 };
	must(file_read(to, 64 << 20, &segment, &err), &err);
	assert_int_equal(segment.len, point.wal_segment_size);
	assert_memory_equal(segment.data + end - 6, "before", 6);
	for (size_t i = end; i < segment.len; i++)
		assert_int_equal(segment.data[i], 0);
	must(volume_destroy(f->dd, "br-c", &err), &err);
	must(volume_destroy(f->dd, "br-a", &err), &err);
}

static void wrong_restore_points_are_refused(void **state)
{
	static char label[] = "label\n";
	struct fixture *f = fixture_of(state);
	struct error err;
	must(create(f, "br-a", &err), &err);
	struct restore_point good = point_of(f);
	good.backup_label = label;
	struct restore_point bad[7];
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		bad[i] = good;
	bad[0].timeline = 5;                         /* odd: could be another branch's own */
	bad[1].timeline = 0;                         /* not newer than the parent's */
	bad[2].end_lsn = bad[2].redo_lsn;            /* nothing to replay: not consistent */
	bad[3].wal_segment_size = 8u << 20;          /* not the parent's */
	bad[4].end_lsn += 2 * good.wal_segment_size; /* WAL that is not there */
	bad[5].parent_timeline = 3;                  /* has no history file */
	memcpy(bad[6].parent_id, "../a", 5);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		must(volume_clone_begin(f->dd, "br-a", "br-c", &err), &err);
		if (volume_clone_finish(f->dd, "br-c", &bad[i], &err) == STATUS_OK)
			fail_msg("restore point %zu was accepted", i);
		assert_false(has(f, "br-c") || has(f, "br-c.new"));
	}
	assert_int_equal(volume_clone_finish(f->dd, "br-c", &good, &err), STATUS_NOT_FOUND); /* never begun */
	must(volume_clone_begin(f->dd, "br-a", "br-c", &err), &err);
	volume_clone_abort(f->dd, "br-c");
	assert_false(has(f, "br-c.new"));
	must(volume_destroy(f->dd, "br-a", &err), &err);
}

static void tablespaces_are_refused(void **state)
{
	struct fixture *f = fixture_of(state);
	struct error err;
	must(create(f, "br-a", &err), &err);
	CLEANUP(free_text) char *link = xasprintf("%s/volumes/br-a/data/pg_tblspc/16400", f->dd->path);
	assert_int_equal(symlink("/tmp", link), 0);
	assert_int_equal(volume_clone_begin(f->dd, "br-a", "br-c", &err), STATUS_UNSUPPORTED);
	assert_non_null(strstr(err.message, "tablespace"));
	assert_false(has(f, "br-c.new"));
	must(volume_destroy(f->dd, "br-a", &err), &err);
	assert_int_equal(volume_clone_begin(f->dd, "br-a", "br-c", &err), STATUS_NOT_FOUND); /* no parent */
	assert_false(has(f, "br-c.new"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_one_is_whole_and_unique),
		cmocka_unit_test(names_cannot_lead_astray),
		cmocka_unit_test(one_user_at_a_time),
		cmocka_unit_test(a_dead_user_holds_nothing),
		cmocka_unit_test(a_damaged_record_is_refused),
		cmocka_unit_test(killed_in_the_middle),
		cmocka_unit_test(the_sweep_takes_only_remains),
		cmocka_unit_test(a_full_disk_leaves_nothing_behind),
		cmocka_unit_test(a_clone_has_what_recovery_needs_and_no_more),
		cmocka_unit_test(not_a_byte_behind_the_end_is_kept),
		cmocka_unit_test(wrong_restore_points_are_refused),
		cmocka_unit_test(tablespaces_are_refused),
	};
	return cmocka_run_group_tests(tests, fixture_set_up, fixture_tear_down);
}
