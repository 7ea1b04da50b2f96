/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "cluster.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/number.h"
#include "base/program.h"
#include "compute/children.h"
#include "page_store/image.h"
#include "page_store/volume_tree.h"
#include "wal_store/wal_archive.h"

void cluster_export(const struct cluster_fixture *f, const char *id)
{
	struct error err;
	struct store *store = NULL;
	struct image *image = NULL;
	struct stat root;
	CLEANUP(free_text) char *data = data_directory_path(f->dd, "volumes/%s/data", id);
	cluster_must(tree_remove(data, &err), &err);
	cluster_must(folder_make(data, 0700, &err), &err);
	cluster_must(store_open(f->dd, PROJECT, &store, &err), &err);
	cluster_must(image_open(f->dd, store, id, &image, &err), &err);
	assert_int_equal(image_stat(image, IMAGE_ROOT, &root), 0);
	assert_int_equal(chown(data, root.st_uid, root.st_gid), 0);
	CLEANUP(close_fd) int fd = open(data, O_RDONLY | O_DIRECTORY);
	assert_true(fd >= 0);
	cluster_must(volume_tree_export(image, fd, &err), &err);
	cluster_must(image_close(image, &err), &err);
	store_close(store);
}

static struct system_user postgres_user(const struct cluster_fixture *f)
{
	struct system_user user;
	struct error err;
	cluster_must(system_user_find(f->dd->settings.postgres_user, &user, &err), &err);
	return user;
}

static void run_postgres(const struct cluster_fixture *f, const char *id, const struct volume_start *start,
        const struct system_user *user)
{
	CLEANUP(free_text) char *program = xasprintf("%s/postgres", f->installation.bin_dir);
	CLEANUP(free_text) char *data = data_directory_path(f->dd, "volumes/%s/data", id);
	CLEANUP(free_text) char *sockets = data_directory_path(f->dd, "sockets");
	CLEANUP(free_text) char *socket_setting = xasprintf("unix_socket_directories=%s", sockets);
	CLEANUP(free_text)
	char *timeline = xasprintf("recovery_target_timeline=%s", start->recovery_timeline ? "" : "latest");
	if (start->recovery_timeline) {
		free_text(&timeline);
		timeline = xasprintf("recovery_target_timeline=%u", start->recovery_timeline);
	}
	CLEANUP(free_text)
	char *prepared = xasprintf("max_prepared_transactions=%d",
	        start->recovery_timeline ? start->min_prepared_transactions : 5);
	CLEANUP(free_text) char *log = data_directory_path(f->dd, "volumes/%s.log", id);
	CLEANUP(free_text) char *hba = xasprintf("hba_file=%s/hba.conf", sockets);
	const char *const argv[] = { program, "-D", data, "-c", socket_setting, "-c",
		"listen_addresses=", "-c", timeline, "-c", prepared, "-c", "restore_command=false", "-c",
		"hot_standby=off", "-c", "wal_level=logical", "-c", hba, "-c", "track_commit_timestamp=on",
		"-c", "wal_recycle=off", "-c", "checkpoint_timeout=1h", "-c", "autovacuum=off", "-c",
		"shared_buffers=16MB", NULL };
	int log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (log_fd < 0 || dup2(log_fd, 1) < 0 || dup2(log_fd, 2) < 0 || !system_user_become(user) ||
	        prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || setpgid(0, 0) < 0)
		_exit(126);
	execv(program, (char *const *)argv);
	_exit(127);
}

static bool accepts(const struct postgres *postgres);

/* As the supervisor does it: a clone recovers as a standby that is promoted when it has replayed all there is. */
static void promote(const struct postgres *postgres)
{
	CLEANUP(free_text)
	char *pid_file = data_directory_path(postgres->f->dd, "volumes/%s/data/postmaster.pid", postgres->id);
	CLEANUP(free_text)
	char *signal_file = data_directory_path(postgres->f->dd, "volumes/%s/data/promote", postgres->id);
	CLEANUP(buffer_done) struct buffer text = { 0 };
	struct error err;
	if (file_read(pid_file, 4096, &text, &err) != STATUS_OK || !text.data ||
	        (!strstr(text.data, "starting") && !strstr(text.data, "standby")))
		return;
	int fd = open(signal_file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0 && close(fd) == 0);
	assert_int_equal(kill(postgres->pid, SIGUSR1), 0);
}

static void start_as_planned(const struct cluster_fixture *f, const char *id,
        const struct volume_start *start, struct postgres *ret)
{
	struct error err;
	struct system_user user = postgres_user(f);
	CLEANUP(free_text) char *sockets = data_directory_path(f->dd, "sockets");
	cluster_must(folder_make(sockets, 0700, &err), &err);
	assert_int_equal(chown(sockets, user.uid, user.gid), 0);
	CLEANUP(free_text) char *hba = xasprintf("%s/hba.conf", sockets);
	cluster_must(file_replace_durably(hba, slice_from_text("local all all trust\n"), 0644, &err), &err);
	*ret = (struct postgres){ .f = f };
	(void)snprintf(ret->id, sizeof ret->id, "%s", id);
	ret->pid = fork();
	assert_true(ret->pid >= 0);
	if (ret->pid == 0)
		run_postgres(f, id, start, &user);
	int64_t deadline = clock_monotonic_usec() + 30 * USEC_PER_SEC;
	while (!accepts(ret)) {
		int status_value;
		if (waitpid(ret->pid, &status_value, WNOHANG) == ret->pid ||
		        clock_monotonic_usec() > deadline) {
			CLEANUP(free_text) char *log = data_directory_path(f->dd, "volumes/%s.log", id);
			CLEANUP(buffer_done) struct buffer text = { 0 };
			(void)!file_read(log, 1 << 20, &text, &err);
			(void)fputs(text.data ? text.data : "", stderr);
			fail_msg("Postgres did not start on \"%s\"", id);
		}
		if (start->recovery_timeline != 0)
			promote(ret);
		struct timespec pause_time = { .tv_nsec = 20000000 }; /* there is no event to wait for */
		(void)nanosleep(&pause_time, NULL);
	}
}

status postgres_start_checked(
        const struct cluster_fixture *f, const char *id, struct postgres *ret, struct error *err)
{
	CLEANUP(volume_closep) struct volume *volume = NULL;
	struct volume_start start;
	cluster_must(volume_open(f->dd, id, &volume, err), err);
	cluster_must(volume_plan_start(volume, &start, err), err);
	start_as_planned(f, id, &start, ret);
	return start.recovery_timeline != 0 ? volume_check_recovery(volume, err) : STATUS_OK;
}

void postgres_start(const struct cluster_fixture *f, const char *id, struct postgres *ret)
{
	struct error err;
	cluster_must(postgres_start_checked(f, id, ret, &err), &err);
}

void cluster_start_volume(const struct cluster_fixture *f, const char *id, struct postgres *ret)
{
	cluster_make_volume(f, id);
	cluster_export(f, id);
	postgres_start(f, id, ret);
}

void postgres_stop(struct postgres *postgres)
{
	assert_int_equal(kill(postgres->pid, SIGINT), 0);
	assert_int_equal(waitpid(postgres->pid, NULL, 0), postgres->pid);
}

/* What has ended has no program. */
static void end_child(void *owner, pid_t child)
{
	const int64_t *deadline_usec = owner;
	CLEANUP(free_text) char *program = xasprintf("/proc/%d/exe", (int)child);
	char ignored;
	(void)kill(child, SIGKILL);
	while (readlink(program, &ignored, 1) >= 0) {
		assert_true(clock_monotonic_usec() < *deadline_usec);
		(void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
}

/*
 * Its children are in sessions of their own and outlive it for a moment (a checkpoint goes on to its end), and as long as they have its shared
 * memory nobody starts on that volume.
 */
void postgres_kill(struct postgres *postgres)
{
	int64_t deadline_usec = clock_monotonic_usec() + 30 * USEC_PER_SEC;
	assert_int_equal(kill(postgres->pid, SIGSTOP), 0);
	children_each(postgres->pid, end_child, &deadline_usec);
	assert_int_equal(kill(postgres->pid, SIGKILL), 0);
	assert_int_equal(waitpid(postgres->pid, NULL, 0), postgres->pid);
}

static status run_psql(
        const struct postgres *postgres, const char *sql, struct buffer *output, struct error *err)
{
	CLEANUP(free_text) char *program_path = xasprintf("%s/psql", postgres->f->installation.bin_dir);
	CLEANUP(free_text)
	char *sockets = data_directory_path(postgres->f->dd, "sockets");
	struct system_user user = postgres_user(postgres->f);
	const char *const argv[] = { program_path, "-h", sockets, "-U", "cloud_admin", "-X", "-A", "-t", "-q",
		"-v", "ON_ERROR_STOP=1", "-d", "databricks_postgres", "-f", "-", NULL };
	struct program program = { .argv = argv, .user = &user, .input = slice_from_text(sql) };
	return program_run(&program, output, err);
}

static bool accepts(const struct postgres *postgres)
{
	CLEANUP(buffer_done) struct buffer output = { 0 };
	struct error err;
	return run_psql(postgres, "SELECT pg_is_in_recovery();", &output, &err) == STATUS_OK &&
	       strcmp(output.data, "f\n") == 0;
}

char *postgres_ask(const struct postgres *postgres, const char *sql)
{
	CLEANUP(buffer_done) struct buffer output = { 0 };
	struct error err;
	cluster_must(run_psql(postgres, sql, &output, &err), &err);
	size_t len = output.len;
	while (len > 0 && output.data[len - 1] == '\n')
		len--;
	size_t start = len;
	while (start > 0 && output.data[start - 1] != '\n')
		start--;
	return xstrndup(output.data ? output.data + start : "", len - start);
}

void postgres_do(const struct postgres *postgres, const char *sql)
{
	free(postgres_ask(postgres, sql));
}

uint64_t postgres_flushed(const struct postgres *postgres)
{
	/* The commit of a transaction that has a number is flushed, and with it all before it. */
	CLEANUP(free_text)
	char *text = postgres_ask(postgres,
	        "SELECT (SELECT pg_create_restore_point('flush') WHERE pg_current_xact_id() IS NOT NULL);");
	uint64_t lsn;
	struct error err;
	size_t linked;
	assert_true(lsn_parse(slice_from_text(text), &lsn));
	CLEANUP(free_text) char *wal = data_directory_path(postgres->f->dd, "volumes/%s/wal", postgres->id);
	CLEANUP(free_text)
	char *archive = data_directory_path(postgres->f->dd, "volumes/%s/archive", postgres->id);
	cluster_must(wal_archive_update(wal, archive, &linked, &err), &err);
	return lsn;
}

struct restore_point cluster_newest_point(const struct cluster_fixture *f, const char *id)
{
	struct store *store = NULL;
	struct restore_point point;
	struct error err;
	cluster_must(store_open(f->dd, PROJECT, &store, &err), &err);
	cluster_must(restore_point_newest(store, id, &point, &err), &err);
	store_close(store);
	return point;
}

char *cluster_volume_path(const struct cluster_fixture *f, const char *name)
{
	return data_directory_path(f->dd, "volumes/%s", name);
}

bool cluster_has(const struct cluster_fixture *f, const char *name)
{
	CLEANUP(free_text) char *path = cluster_volume_path(f, name);
	return file_exists(path);
}

void cluster_destroy(const struct cluster_fixture *f, const char *id)
{
	struct error err;
	cluster_must(volume_destroy(f->dd, id, &err), &err);
}

struct image *cluster_open_image(const struct cluster_fixture *f, const char *id, struct store **store)
{
	struct image *image = NULL;
	struct error err;
	cluster_must(store_open(f->dd, PROJECT, store, &err), &err);
	cluster_must(image_open(f->dd, *store, id, &image, &err), &err);
	return image;
}

void cluster_close_image(struct image *image, struct store *store)
{
	struct error err;
	cluster_must(image_close(image, &err), &err);
	store_close(store);
}

struct control_file cluster_control(const struct cluster_fixture *f, const char *id)
{
	struct store *store = NULL;
	struct image *image = cluster_open_image(f, id, &store);
	CLEANUP(buffer_done) struct buffer bytes = { 0 };
	struct control_file control;
	struct error err;
	cluster_must(volume_tree_read(image, "global/pg_control", CONTROL_FILE_BYTES, &bytes, &err), &err);
	cluster_must(control_file_parse(buffer_slice(&bytes), &control, &err), &err);
	cluster_close_image(image, store);
	return control;
}

/* How many layers there are, the template's left out. */
size_t cluster_number(const char *command)
{
	FILE *output = popen(command, "r");
	size_t number = 0;
	assert_non_null(output);
	assert_int_equal(fscanf(output, "%zu", &number), 1);
	(void)pclose(output);
	return number;
}

size_t cluster_count(const struct cluster_fixture *f, const char *folder)
{
	CLEANUP(free_text) char *path = data_directory_path(f->dd, "stores/" PROJECT "/%s", folder);
	CLEANUP(free_text) char *command = xasprintf("ls -A %s 2>/dev/null | grep -vc '[.]lock$'", path);
	return cluster_number(command);
}

status cluster_clone(const struct cluster_fixture *f, const char *from, const char *id,
        const struct restore_point *point, uint64_t lsn, uint32_t source_timeline, uint32_t timeline,
        struct error *err)
{
	CLEANUP(free_text) char *archive = data_directory_path(f->dd, "volumes/%s/archive", from);
	struct volume_clone clone = { .store = PROJECT,
		.id = id,
		.point = point,
		.lsn = lsn,
		.archive_path = archive,
		.source_timeline = source_timeline,
		.timeline = timeline };
	return volume_clone(f->dd, &clone, err);
}
