#include "control_plane/audit_trail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

#define SYNC_DELAY_MS 1000
#define DAY_MS        (24 * 3600 * 1000ll)
#define BACKLOG_MAX   (256u << 10)
#define NAME_SIZE     30 /* "20261130T081018.123456Z.jsonl" */
#define MIB           (INT64_C(1) << 20)

struct file_entry {
	char name[NAME_SIZE];
	int64_t begin_usec, bytes;
};

struct audit_trail {
	uv_loop_t *loop;
	const struct data_directory *dd;
	char *folder;
	uv_timer_t sync_timer, day_timer;
	uv_work_t work;
	int fd, sync_fd;
	int64_t begin_usec, bytes; /* of the current file */
	int64_t older_bytes;       /* of all others */
	struct buffer backlog;     /* what could not be written yet */
	uint64_t lines, lost, lost_untold;
	struct error trouble; /* code STATUS_OK: none */
	bool is_syncing, is_closing, has_unsynced;
	int handles_open;
};

static void name_make(int64_t usec, char name[NAME_SIZE])
{
	time_t seconds = (time_t)(usec / USEC_PER_SEC);
	struct tm parts;
	(void)gmtime_r(&seconds, &parts);
	(void)strftime(name, NAME_SIZE, "%Y%m%dT%H%M%S.000000Z.jsonl", &parts);
	int64_t fraction = usec % USEC_PER_SEC;
	for (size_t i = 21; i > 15; i--, fraction /= 10)
		name[i] = (char)('0' + fraction % 10);
}

/* The moment in a name that name_make() made; false for any other name. */
static bool name_parse(const char *name, int64_t *ret_usec)
{
	static const char form[] = "00000000T000000.000000Z.jsonl";
	if (strlen(name) != strlen(form))
		return false;
	for (size_t i = 0; form[i]; i++)
		if (form[i] == '0' ? name[i] < '0' || name[i] > '9' : name[i] != form[i])
			return false;
	struct tm parts = { 0 };
	const char *rest = strptime(name, "%Y%m%dT%H%M%S", &parts);
	if (!rest || *rest != '.')
		return false;
	*ret_usec = (int64_t)timegm(&parts) * USEC_PER_SEC + strtol(rest + 1, NULL, 10);
	return true;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct file_entry *)a)->name, ((const struct file_entry *)b)->name);
}

/* All files of the trail, oldest first. The caller frees. */
static status list_files(const char *folder, struct file_entry **ret, size_t *ret_count, struct error *err)
{
	CLEANUP(close_listing) DIR *dir = opendir(folder);
	if (!dir)
		return error_set(err, STATUS_IO, errno, "could not read folder \"%s\"", folder);
	struct file_entry *files = NULL;
	size_t count = 0;
	for (const struct dirent *entry; (entry = readdir(dir));) {
		struct file_entry file = { 0 };
		struct stat st;
		if (!name_parse(entry->d_name, &file.begin_usec) ||
		        fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		memcpy(file.name, entry->d_name, strlen(entry->d_name) + 1);
		file.bytes = st.st_size;
		files = xrealloc(files, (count + 1) * sizeof *files);
		files[count++] = file;
	}
	if (count > 0)
		qsort(files, count, sizeof *files, by_name);
	*ret = files;
	*ret_count = count;
	return STATUS_OK;
}

/* A3. `files` are all, the last one is the current one. */
static void remove_old(struct audit_trail *trail)
{
	const struct settings *settings = &trail->dd->settings;
	int64_t oldest = clock_wall_usec() - settings->audit_retention_days * 86400 * USEC_PER_SEC;
	struct file_entry *files = NULL;
	size_t count = 0;
	struct error err;
	if (list_files(trail->folder, &files, &count, &err) != STATUS_OK) {
		log_warning("could not look for old audit files: %s", err.message);
		return;
	}
	int64_t total = 0;
	for (size_t i = 0; i < count; i++)
		total += files[i].bytes;
	size_t i = 0;
	for (; i + 1 < count; i++) {
		/* Everything in it was written before the next one was begun. */
		bool is_old = files[i + 1].begin_usec < oldest;
		if (!is_old && total <= settings->audit_total_mb * MIB)
			break;
		CLEANUP(free_text) char *path = xasprintf("%s/%s", trail->folder, files[i].name);
		if (unlink(path) < 0 && errno != ENOENT) {
			log_warning("could not remove old audit file \"%s\": %s", path, strerror(errno));
			break;
		}
		total -= files[i].bytes;
		log_info("audit file \"%s\" removed: %s", files[i].name,
		        is_old ? "older than the setting audit_retention_days"
		               : "all together are larger than the setting audit_total_mb");
	}
	trail->older_bytes = total - (count > 0 ? files[count - 1].bytes : 0);
	free(files);
}

static status open_file(struct audit_trail *trail, int64_t begin_usec, struct error *err)
{
	char name[NAME_SIZE];
	name_make(begin_usec, name);
	CLEANUP(free_text) char *path = xasprintf("%s/%s", trail->folder, name);
	CLEANUP(close_fd) int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(err, STATUS_IO, errno, "could not open audit file \"%s\"", path);
	char last = '\n';
	if (st.st_size > 0 && pread(fd, &last, 1, st.st_size - 1) == 1 && last != '\n')
		buffer_append_text(&trail->backlog, "\n"); /* A4 */
	close_fd(&trail->fd);
	trail->fd = TAKE_FD(fd);
	trail->begin_usec = begin_usec;
	trail->bytes = st.st_size;
	struct error problem;
	if (folder_sync(trail->folder, &problem) != STATUS_OK)
		log_warning("%s", problem.message);
	return STATUS_OK;
}

/* Later than every other, whatever the clock says. */
static int64_t next_begin(const struct audit_trail *trail)
{
	int64_t now = clock_wall_usec();
	return now > trail->begin_usec ? now : trail->begin_usec + 1;
}

static status open_newest(struct audit_trail *trail, struct error *err)
{
	struct file_entry *files = NULL;
	size_t count = 0;
	status st = folder_make(trail->folder, 0700, err);
	if (st == STATUS_OK)
		st = list_files(trail->folder, &files, &count, err);
	if (st != STATUS_OK)
		return st;
	int64_t begin_usec = count > 0 ? files[count - 1].begin_usec : next_begin(trail);
	free(files);
	return open_file(trail, begin_usec, err);
}

static void schedule_sync(struct audit_trail *trail);

/* What waits is written as far as it goes; the rest stays, in its order. */
static void write_backlog(struct audit_trail *trail)
{
	struct error err = { 0 };
	while (trail->backlog.len > 0) {
		ssize_t n = write(trail->fd, trail->backlog.data, trail->backlog.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			error_fill(&err, STATUS_IO, n < 0 ? errno : ENOSPC,
			        "could not write to the audit trail");
			break;
		}
		trail->bytes += n;
		trail->has_unsynced = true;
		buffer_consume(&trail->backlog, (size_t)n);
	}
	if (err.code != STATUS_OK && trail->trouble.code == STATUS_OK)
		log_error("%s; its lines wait in memory, up to %u KiB", err.message, BACKLOG_MAX >> 10);
	else if (err.code == STATUS_OK && trail->trouble.code != STATUS_OK)
		log_info("the audit trail is written again; %llu of its lines are lost",
		        (unsigned long long)trail->lost);
	trail->trouble = err;
	schedule_sync(trail);
}

static void rotate_if_full(struct audit_trail *trail)
{
	struct error err;
	if (trail->bytes < trail->dd->settings.audit_file_mb * MIB || trail->backlog.len > 0 ||
	        trail->is_syncing)
		return;
	if (trail->has_unsynced && fdatasync(trail->fd) < 0)
		log_warning("could not sync the audit trail: %s", strerror(errno));
	if (open_file(trail, next_begin(trail), &err) != STATUS_OK) {
		log_warning("%s; the old one goes on", err.message);
		return;
	}
	trail->has_unsynced = false;
	remove_old(trail);
}

static void note_lost(struct audit_trail *trail)
{
	if (trail->lost_untold == 0)
		return;
	char now[CLOCK_TEXT_MAX];
	clock_format_timestamp(clock_wall_usec(), now);
	buffer_printf(&trail->backlog, "{\"version\":1,\"time\":\"%s\",\"event\":\"lost\",\"lines\":%llu}\n",
	        now, (unsigned long long)trail->lost_untold);
	trail->lost_untold = 0;
}

void audit_trail_append(struct audit_trail *trail, struct slice line)
{
	if (!trail)
		return;
	if (trail->backlog.len > 0)
		write_backlog(trail);
	if (trail->backlog.len + line.len > BACKLOG_MAX) {
		trail->lost++;
		trail->lost_untold++;
		return;
	}
	if (trail->backlog.len == 0)
		note_lost(trail);
	buffer_append(&trail->backlog, line.data, line.len);
	buffer_append_text(&trail->backlog, "\n");
	trail->lines++;
	if (trail->trouble.code == STATUS_OK || trail->backlog.len == line.len + 1)
		write_backlog(trail);
	rotate_if_full(trail);
}

/* ---- syncing ---- */

static void free_when_closed(struct audit_trail *trail)
{
	if (trail->handles_open > 0 || trail->is_syncing)
		return;
	close_fd(&trail->fd);
	buffer_done(&trail->backlog);
	free(trail->folder);
	free(trail);
}

/* In a worker thread. */
static void work(uv_work_t *request)
{
	struct audit_trail *trail = request->data;
	if (fdatasync(trail->sync_fd) < 0)
		log_warning("could not sync the audit trail: %s", strerror(errno));
}

static void after_work(uv_work_t *request, int code)
{
	(void)code;
	struct audit_trail *trail = request->data;
	trail->is_syncing = false;
	if (trail->is_closing)
		free_when_closed(trail);
	else
		schedule_sync(trail);
}

static void on_sync_timer(uv_timer_t *timer)
{
	struct audit_trail *trail = timer->data;
	if (trail->backlog.len > 0)
		write_backlog(trail);
	if (!trail->has_unsynced)
		return;
	trail->has_unsynced = false;
	trail->is_syncing = true;
	trail->sync_fd = trail->fd; /* not exchanged before after_work() */
	(void)uv_queue_work(trail->loop, &trail->work, work, after_work);
}

/* The timer runs only while there is something to sync or to write. */
static void schedule_sync(struct audit_trail *trail)
{
	if ((trail->has_unsynced || trail->backlog.len > 0) && !trail->is_syncing && !trail->is_closing &&
	        !uv_is_active((uv_handle_t *)&trail->sync_timer))
		(void)uv_timer_start(&trail->sync_timer, on_sync_timer, SYNC_DELAY_MS, 0);
}

static void on_day(uv_timer_t *timer)
{
	remove_old(timer->data);
}

/* ---- for the owner ---- */

status audit_trail_open(
        uv_loop_t *loop, const struct data_directory *dd, struct audit_trail **ret, struct error *err)
{
	struct audit_trail *trail = xcalloc(1, sizeof *trail);
	*trail = (struct audit_trail){ .loop = loop, .dd = dd, .fd = -1, .handles_open = 2 };
	trail->folder = data_directory_path(dd, "audit");
	status st = open_newest(trail, err);
	if (st != STATUS_OK) {
		free(trail->folder);
		free(trail);
		return st;
	}
	(void)uv_timer_init(loop, &trail->sync_timer);
	(void)uv_timer_init(loop, &trail->day_timer);
	trail->sync_timer.data = trail->day_timer.data = trail->work.data = trail;
	(void)uv_timer_start(&trail->day_timer, on_day, DAY_MS, DAY_MS);
	remove_old(trail);
	*ret = trail;
	return STATUS_OK;
}

void audit_trail_look(const struct audit_trail *trail, struct audit_trail_numbers *ret)
{
	*ret = (struct audit_trail_numbers){ 0 };
	if (!trail)
		return;
	ret->lines = trail->lines;
	ret->lost = trail->lost;
	ret->bytes = trail->older_bytes + trail->bytes;
	if (trail->trouble.code != STATUS_OK)
		(void)snprintf(ret->trouble, sizeof ret->trouble, "%.*s", (int)sizeof ret->trouble - 1,
		        trail->trouble.message);
}

static void on_closed(uv_handle_t *handle)
{
	struct audit_trail *trail = handle->data;
	trail->handles_open--;
	free_when_closed(trail);
}

void audit_trail_close(struct audit_trail *trail)
{
	if (!trail)
		return;
	if (trail->backlog.len > 0)
		write_backlog(trail);
	if (trail->has_unsynced && fdatasync(trail->fd) < 0)
		log_warning("could not sync the audit trail: %s", strerror(errno));
	trail->is_closing = true;
	uv_close((uv_handle_t *)&trail->sync_timer, on_closed);
	uv_close((uv_handle_t *)&trail->day_timer, on_closed);
}
