#include "compute/wal_keeper.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "compute/job.h"
#include "wal_store/wal_archive.h"

#define KEEPER_MAGIC 0x6b656570u
#define RETRY_MS     1000

struct wal_keeper {
	uint32_t magic;
	uv_loop_t *loop;
	uv_poll_t poll;
	uv_timer_t retry;
	uv_mutex_t mutex; /* one update at a time; is_closed is read under it */
	int inotify;
	char *wal_path, *archive_path;
	wal_keeper_fn on_update;
	void *owner;
	bool is_closed, is_job_running, must_update;
	int open_handles;
};

static struct wal_keeper *keeper_of(void *p)
{
	struct wal_keeper *keeper = p;
	assert(keeper && keeper->magic == KEEPER_MAGIC);
	return keeper;
}

static void free_if_done(struct wal_keeper *keeper)
{
	if (keeper->open_handles > 0 || keeper->is_job_running)
		return;
	close_fd(&keeper->inotify);
	uv_mutex_destroy(&keeper->mutex);
	free(keeper->wal_path);
	free(keeper->archive_path);
	keeper->magic = 0;
	free(keeper);
}

status wal_keeper_update(struct wal_keeper *keeper, struct error *err)
{
	size_t linked;
	uv_mutex_lock(&keeper_of(keeper)->mutex);
	status st = wal_archive_update(keeper->wal_path, keeper->archive_path, &linked, err);
	uv_mutex_unlock(&keeper->mutex);
	return st == STATUS_OK ? STATUS_OK : error_prefix(err, "could not keep WAL in the archive");
}

static status work_update(void *input, struct error *err)
{
	struct wal_keeper *keeper = keeper_of(input);
	uv_mutex_lock(&keeper->mutex);
	bool is_closed = keeper->is_closed;
	uv_mutex_unlock(&keeper->mutex);
	return is_closed ? STATUS_OK : wal_keeper_update(keeper, err);
}

static void start_update(struct wal_keeper *keeper);

static void retry_due(uv_timer_t *timer)
{
	start_update(keeper_of(timer->data));
}

static void update_done(void *owner, void *input, const struct error *err)
{
	struct wal_keeper *keeper = keeper_of(owner);
	(void)input;
	keeper->is_job_running = false;
	if (keeper->is_closed) {
		free_if_done(keeper);
		return;
	}
	keeper->on_update(keeper->owner, err);
	if (keeper->is_closed)
		return;
	if (err)
		(void)uv_timer_start(&keeper->retry, retry_due, RETRY_MS, 0);
	else if (keeper->must_update)
		start_update(keeper);
}

static void start_update(struct wal_keeper *keeper)
{
	if (keeper->is_job_running) {
		keeper->must_update = true; /* what came meanwhile may have been missed */
		return;
	}
	keeper->must_update = false;
	keeper->is_job_running = true;
	job_start(keeper->loop, work_update, keeper, update_done, keeper);
}

void wal_keeper_nudge(struct wal_keeper *keeper)
{
	start_update(keeper_of(keeper));
}

/* Of the names only xlogtemp.PID is none to keep; the archive knows which ones are. */
static void folder_changed(uv_poll_t *poll, int poll_status, int events)
{
	struct wal_keeper *keeper = keeper_of(poll->data);
	(void)poll_status, (void)events;
	union {
		struct inotify_event event;
		char bytes[64 * (sizeof(struct inotify_event) + NAME_MAX + 1)];
	} batch;
	bool is_news = false;
	for (ssize_t n; (n = read(keeper->inotify, batch.bytes, sizeof batch.bytes)) > 0;) {
		for (size_t at = 0; at < (size_t)n;) {
			const struct inotify_event *event =
			        (const struct inotify_event *)(const void *)(batch.bytes + at);
			is_news = is_news || event->len == 0 || strncmp(event->name, "xlogtemp.", 9) != 0;
			at += sizeof *event + event->len;
		}
	}
	if (is_news)
		start_update(keeper);
}

status wal_keeper_open(uv_loop_t *loop, const char *wal_path, const char *archive_path,
        wal_keeper_fn on_update, void *owner, struct wal_keeper **ret, struct error *err)
{
	/* An inotify of its own: libuv's would wake us for every write to a segment, which is every commit. */
	CLEANUP(close_fd) int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fd < 0 || inotify_add_watch(fd, wal_path, IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) < 0)
		return error_set(err, STATUS_IO, errno, "could not watch folder \"%s\"", wal_path);
	struct wal_keeper *keeper = xcalloc(1, sizeof *keeper);
	*keeper = (struct wal_keeper){
		.magic = KEEPER_MAGIC, .loop = loop, .inotify = fd, .on_update = on_update, .owner = owner
	};
	int rc = uv_poll_init(loop, &keeper->poll, fd);
	if (rc < 0) {
		free(keeper);
		return error_set(err, STATUS_IO, -rc, "could not watch folder \"%s\"", wal_path);
	}
	(void)TAKE_FD(fd);
	(void)uv_timer_init(loop, &keeper->retry);
	rc = uv_mutex_init(&keeper->mutex);
	assert(rc == 0);
	keeper->poll.data = keeper->retry.data = keeper;
	keeper->open_handles = 2;
	keeper->wal_path = xstrdup(wal_path);
	keeper->archive_path = xstrdup(archive_path);
	rc = uv_poll_start(&keeper->poll, UV_READABLE, folder_changed);
	if (rc < 0) {
		wal_keeper_close(keeper);
		return error_set(err, STATUS_IO, -rc, "could not watch folder \"%s\"", wal_path);
	}
	*ret = keeper;
	return STATUS_OK;
}

static void handle_closed(uv_handle_t *handle)
{
	struct wal_keeper *keeper = keeper_of(handle->data);
	keeper->open_handles--;
	free_if_done(keeper);
}

struct wal_keeper *wal_keeper_close(struct wal_keeper *keeper)
{
	if (!keeper)
		return NULL;
	uv_mutex_lock(&keeper_of(keeper)->mutex);
	keeper->is_closed = true;
	uv_mutex_unlock(&keeper->mutex);
	uv_close((uv_handle_t *)&keeper->poll, handle_closed);
	uv_close((uv_handle_t *)&keeper->retry, handle_closed);
	return NULL;
}
