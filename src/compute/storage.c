#include "compute/storage.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "base/mount_table.h"
#include "compute/job.h"
#include "compute/leftovers.h"
#include "compute/wal_keeper.h"

#define STORAGE_MAGIC       0x73746f72u
#define CONFLICT_RETRY_MS   50
#define DISK_FIRST_MS       1000
#define DISK_BLIND_MS       5000
#define CONFLICT_LIMIT_USEC (20 * USEC_PER_SEC) /* an old pagefs that is on its way out still syncs */

enum phase { PHASE_DOWN, PHASE_MOUNTING, PHASE_UP, PHASE_LOST, PHASE_UNMOUNTING };

struct storage {
	uint32_t magic;
	uv_loop_t *loop;
	struct storage_options options;
	struct storage_events events;
	void *owner;
	enum phase phase;
	struct volume *volume;
	char *volume_id, *bin_dir;  /* the options' are ours: specs come and go */
	struct page_process *pages; /* NULL: DOWN, or MOUNTING before it was started */
	struct wal_keeper *keeper;
	struct restore_points *points;
	uv_timer_t timer; /* conflicts while mounting; then the disk */
	uv_timer_t disk;

	/* Mounting: the process and the clearing, which reads must_spawn and is_first, may go on at the same time. */
	bool is_clearing, is_first, must_spawn;
	bool has_conflict;
	int64_t mount_begun_usec;
	bool has_failed; /* what on_down will tell */
	struct error error;

	storage_done_fn on_settled, on_suspended;
	bool is_settling;

	struct write_brake brake;
	int64_t free_bytes, total_bytes, stop_began_usec; /* wall clock */
	int64_t silent_usec;
	char archive_problem[384];

	bool is_closing, is_detaching;
	void (*on_closed)(void *owner);
	int open_handles;
};

static void spawn(struct storage *storage);
static bool look_at_disk(struct storage *storage, bool *ret_has_changed);
static void go_on_closing(struct storage *storage);

static struct storage *storage_of(void *p)
{
	struct storage *storage = p;
	assert(storage && storage->magic == STORAGE_MAGIC);
	return storage;
}

static void storage_check(const struct storage *storage)
{
	assert(storage->phase != PHASE_DOWN || !storage->pages);
	assert((storage->phase != PHASE_UP && storage->phase != PHASE_LOST &&
	               storage->phase != PHASE_UNMOUNTING) ||
	        storage->pages);
}

static struct leftovers leftovers_of(const struct storage *storage)
{
	return (struct leftovers){ .volume_id = storage->options.volume_id,
		.mount_path = volume_data_path(storage->volume),
		.log_path = storage->options.log_path,
		.socket_folder = storage->options.socket_folder,
		.pooler_log_path = storage->options.pooler_log_path };
}

/* ---- mounting ---- */

/* A1. What a dead supervisor left, or what our own dead page file system and its Postgres did. */
static status work_clear(void *input, struct error *err)
{
	struct storage *storage = storage_of(input);
	struct leftovers leftovers = leftovers_of(storage);
	status st = storage->is_first ? leftovers_end_processes(&leftovers, err) : leftovers_reap(0, err);
	/* Only while no page file system of ours is mounting there. */
	if (st == STATUS_OK && storage->must_spawn)
		st = mount_table_detach(leftovers.mount_path, err);
	return st;
}

static void down(struct storage *storage)
{
	storage->phase = PHASE_DOWN;
	if (storage->is_closing)
		go_on_closing(storage);
	else
		storage->events.on_down(storage->owner, storage->has_failed ? &storage->error : NULL);
}

static void fail_mount(struct storage *storage, const struct error *err)
{
	if (!storage->has_failed)
		storage->error = *err;
	storage->has_failed = true;
	if (storage->pages)
		page_process_kill(storage->pages); /* its end tells */
	else if (!storage->is_clearing)
		down(storage);
}

static void conflict_retry(uv_timer_t *timer)
{
	struct storage *storage = storage_of(timer->data);
	if (storage->phase == PHASE_MOUNTING && !storage->pages)
		spawn(storage);
}

static void mounted_if_done(struct storage *storage)
{
	if (storage->is_closing || storage->phase != PHASE_MOUNTING || storage->is_clearing ||
	        storage->has_failed || !storage->pages || !page_process_is_mounted(storage->pages))
		return;
	storage->phase = PHASE_UP;
	storage->is_first = false;
	storage_check(storage);
	storage->events.on_mounted(storage->owner);
}

static void clear_done(void *owner, void *input, const struct error *err)
{
	struct storage *storage = storage_of(owner);
	(void)input;
	storage->is_clearing = false;
	if (err || storage->has_failed) {
		fail_mount(storage, err);
		return;
	}
	if (storage->is_closing && !storage->pages) {
		down(storage);
		return;
	}
	if (storage->must_spawn || (storage->has_conflict && !storage->pages))
		spawn(storage);
	else
		mounted_if_done(storage);
}

static void pages_mounted(void *owner)
{
	struct storage *storage = storage_of(owner);
	mounted_if_done(storage);
}

static void pages_lost(void *owner)
{
	struct storage *storage = storage_of(owner);
	bool was_up = storage->phase == PHASE_UP;
	storage->phase = PHASE_LOST;
	restore_points_stop(storage->points);
	if (was_up && !storage->is_closing)
		storage->events.on_lost(storage->owner);
}

static void pages_silent(void *owner, int64_t silent_usec)
{
	struct storage *storage = storage_of(owner);
	if (silent_usec > 0)
		log_error("the page file system has not answered for %" PRId64 " s",
		        (int64_t)(silent_usec / USEC_PER_SEC));
	storage->silent_usec = silent_usec;
	storage->events.on_change(storage->owner);
}

static void pages_seen(void *owner)
{
	struct storage *storage = storage_of(owner);
	if (storage->phase == PHASE_UP && !storage->is_closing)
		storage->events.on_change(storage->owner);
}

static void pages_ended(void *owner, const struct error *err)
{
	struct storage *storage = storage_of(owner);
	bool was_mounting = storage->phase == PHASE_MOUNTING;
	storage->pages = NULL;
	storage->silent_usec = 0;
	if (err)
		log_error("%s", err->message);
	bool is_conflict = was_mounting && err && err->code == STATUS_CONFLICT && !storage->is_closing &&
	                   clock_monotonic_usec() - storage->mount_begun_usec < CONFLICT_LIMIT_USEC;
	if (is_conflict && !storage->has_failed) {
		/* An old one has the image: it is being killed, or syncs on its way out. */
		storage->has_conflict = true;
		if (!storage->is_clearing)
			(void)uv_timer_start(&storage->timer, conflict_retry, CONFLICT_RETRY_MS, 0);
		return;
	}
	if (err && !storage->has_failed) {
		storage->has_failed = true;
		storage->error = *err;
	}
	if (!storage->is_clearing)
		down(storage);
}

static void spawn(struct storage *storage)
{
	static const struct page_process_events events = { .on_mounted = pages_mounted,
		.on_lost = pages_lost,
		.on_silence = pages_silent,
		.on_seen = pages_seen,
		.on_end = pages_ended };
	struct page_process_command command = { .program = "/proc/self/exe",
		.data_path = storage->options.dd->path,
		.store = volume_store(storage->volume),
		.volume_id = storage->options.volume_id,
		.mount_path = volume_data_path(storage->volume) };
	struct error err;
	if (page_process_start(storage->loop, &command, &events, storage, &storage->pages, &err) != STATUS_OK)
		fail_mount(storage, &err);
}

void storage_mount(struct storage *storage)
{
	assert(storage_of(storage)->phase == PHASE_DOWN && !storage->is_clearing);
	bool is_stale = true;
	struct error err;
	storage->phase = PHASE_MOUNTING;
	storage->has_failed = storage->has_conflict = false;
	storage->mount_begun_usec = clock_monotonic_usec();
	bool has_changed;
	(void)!look_at_disk(storage, &has_changed); /* the first configuration takes it into account */
	if (mount_table_find(volume_data_path(storage->volume), &is_stale, &err) != STATUS_OK)
		log_warning("%s", err.message);
	/* On an ordinary start nothing is there: looking for old processes need not hold up the mount. */
	storage->must_spawn = is_stale || !storage->is_first;
	storage->is_clearing = true;
	job_start(storage->loop, work_clear, storage, clear_done, storage);
	if (!storage->must_spawn)
		spawn(storage);
}

/* ---- Postgres ended on a mount that is up ---- */

static void settled(struct storage *storage, const struct error *err)
{
	storage->is_settling = false;
	if (storage->is_closing && storage->phase == PHASE_DOWN)
		go_on_closing(storage);
	else if (!storage->is_closing)
		storage->on_settled(storage->owner, err);
}

static void pages_synced(void *owner, const struct error *err)
{
	settled(storage_of(owner), err);
}

static status work_reap(void *input, struct error *err)
{
	struct storage *storage = storage_of(input);
	return leftovers_reap(storage_pid(storage), err);
}

static void reaped(void *owner, void *input, const struct error *err)
{
	struct storage *storage = storage_of(owner);
	struct error lost;
	(void)input;
	if (!err && storage->pages) {
		page_process_sync(storage->pages, pages_synced, storage);
		return;
	}
	error_fill(&lost, STATUS_UNAVAILABLE, 0, "the page file system is gone");
	settled(storage, err ? err : &lost);
}

void storage_settle(struct storage *storage, storage_done_fn on_done)
{
	assert(storage_of(storage)->pages && !storage->is_settling);
	storage->is_settling = true;
	storage->on_settled = on_done;
	job_start(storage->loop, work_reap, storage, reaped, storage);
}

/* ---- the disk ---- */

static void hold_the_line(struct storage *storage, bool has_changed)
{
	bool is_stop = storage->brake.level >= BRAKE_STOP;
	restore_points_hold(storage->points, is_stop);
	if (has_changed) {
		char text[256];
		write_brake_describe(
		        &storage->brake, storage->free_bytes, storage->total_bytes, text, sizeof text);
		if (text[0])
			log_warning("%s", text);
		else
			log_info("there is enough disk space again");
		storage->events.on_brake(storage->owner);
		storage->events.on_change(storage->owner);
	}
	if (!is_stop)
		storage->stop_began_usec = 0;
	else if (storage->stop_began_usec == 0)
		storage->stop_began_usec = clock_wall_usec();
	/* Those that write since before the brake went on; in the end, all. */
	if (is_stop)
		restore_points_cancel_writers(
		        storage->points, storage->brake.level == BRAKE_HARD ? 0 : storage->stop_began_usec);
}

/* What is left for the Postgres user: root's reserve does not help it. False when it cannot be seen. */
static bool look_at_disk(struct storage *storage, bool *ret_has_changed)
{
	struct statvfs st;
	if (statvfs(volume_wal_path(storage->volume), &st) < 0) {
		log_error("could not look at free disk space: %s", strerror(errno));
		return false;
	}
	storage->free_bytes = (int64_t)(st.f_bavail * st.f_frsize);
	storage->total_bytes = (int64_t)(st.f_blocks * st.f_frsize);
	*ret_has_changed = write_brake_judge(&storage->brake, storage->free_bytes, storage->total_bytes);
	return true;
}

static void disk_due(uv_timer_t *timer)
{
	struct storage *storage = storage_of(timer->data);
	bool has_changed = false;
	int64_t wait_ms = DISK_BLIND_MS;
	if (look_at_disk(storage, &has_changed)) {
		hold_the_line(storage, has_changed);
		wait_ms =
		        write_brake_next_look_ms(&storage->brake, storage->free_bytes, storage->total_bytes);
	}
	(void)uv_timer_start(&storage->disk, disk_due, (uint64_t)wait_ms, 0);
}

static void archive_updated(void *owner, const struct error *err)
{
	struct storage *storage = storage_of(owner);
	bool had_problem = storage->archive_problem[0] != '\0';
	if (err && !had_problem)
		log_error("%s", err->message);
	(void)snprintf(
	        storage->archive_problem, sizeof storage->archive_problem, "%s", err ? err->message : "");
	if (had_problem != (err != NULL))
		storage->events.on_change(storage->owner);
	restore_points_nudge(storage->points);
}

static void points_changed(void *owner)
{
	struct storage *storage = storage_of(owner);
	if (!storage->is_closing)
		storage->events.on_change(storage->owner);
}

void storage_describe(const struct storage *storage, struct storage_report *ret)
{
	const struct restore_points_status *points = restore_points_status(storage->points);
	const struct page_look empty = { 0 };
	const struct page_look *look = storage->pages ? page_process_seen(storage->pages) : &empty;
	*ret = (struct storage_report){
		.points = points->count,
		.newest_lsn = points->newest_lsn,
		.replay_estimate_usec = points->estimate_usec,
		.point_cost_usec = points->cost_usec,
		.replay_speed_mb_s = points->speed_mb_s,
		.depth = look->depth,
		.open_pages = (int64_t)look->open_pages,
		.logical_bytes = look->logical_bytes,
	};
	/* The worst first: one line. */
	if (look->pages_bad > 0)
		(void)snprintf(ret->alarm, sizeof ret->alarm, "%" PRIu64 " damaged pages, the first: %.200s",
		        look->pages_bad, look->first_bad);
	else if (storage->silent_usec > 0)
		(void)snprintf(ret->alarm, sizeof ret->alarm,
		        "the page file system has not answered for %" PRId64 " s",
		        (int64_t)(storage->silent_usec / USEC_PER_SEC));
	else if (storage->brake.level != BRAKE_OFF)
		write_brake_describe(&storage->brake, storage->free_bytes, storage->total_bytes, ret->alarm,
		        sizeof ret->alarm);
	else if (storage->archive_problem[0])
		(void)snprintf(ret->alarm, sizeof ret->alarm, "%s", storage->archive_problem);
	else if (points->problem[0])
		(void)snprintf(ret->alarm, sizeof ret->alarm, "%s", points->problem);
}

/* ---- for the owner ---- */

struct volume *storage_volume(const struct storage *storage)
{
	return storage->volume;
}

pid_t storage_pid(const struct storage *storage)
{
	return storage->pages ? page_process_pid(storage->pages) : 0;
}

bool storage_is_up(const struct storage *storage)
{
	return storage->phase == PHASE_UP;
}

bool storage_is_down(const struct storage *storage)
{
	return storage->phase == PHASE_DOWN && !storage->is_clearing;
}

const struct write_brake *storage_brake(const struct storage *storage)
{
	return &storage->brake;
}

int64_t storage_sessions(const struct storage *storage)
{
	return restore_points_sessions(storage->points);
}

status storage_update_archive(struct storage *storage, struct error *err)
{
	return wal_keeper_update(storage->keeper, err);
}

void storage_archive_failed(struct storage *storage, const struct error *err)
{
	archive_updated(storage, err);
	wal_keeper_nudge(storage->keeper);
}

status storage_remove_locks(struct storage *storage, struct error *err)
{
	struct leftovers leftovers = leftovers_of(storage);
	return leftovers_remove_locks(&leftovers, err);
}

void storage_begin(struct storage *storage, off_t log_start)
{
	if (storage_of(storage)->phase == PHASE_UP)
		restore_points_begin(storage->points, storage->pages, log_start);
	(void)uv_timer_start(&storage->disk, disk_due, DISK_FIRST_MS, 0);
}

void storage_stop(struct storage *storage)
{
	restore_points_stop(storage_of(storage)->points);
}

void storage_ask(struct storage *storage, enum point_request request, point_answer_fn on_answer, uint64_t tag)
{
	restore_points_ask(storage_of(storage)->points, request, on_answer, storage->owner, tag);
}

static void suspended(void *owner, const struct error *err)
{
	struct storage *storage = storage_of(owner);
	storage->on_suspended(storage->owner, err);
}

void storage_suspend(struct storage *storage, storage_done_fn on_done)
{
	assert(storage_of(storage)->phase == PHASE_UP);
	storage->on_suspended = on_done;
	restore_points_suspend(storage->points, storage->pages, suspended, storage);
}

/* ---- the end ---- */

static void free_storage(struct storage *storage)
{
	volume_close(storage->volume);
	free(storage->volume_id);
	free(storage->bin_dir);
	storage->magic = 0;
	free(storage);
}

static void handle_closed(uv_handle_t *handle)
{
	struct storage *storage = storage_of(handle->data);
	if (--storage->open_handles > 0)
		return;
	void (*on_closed)(void *) = storage->on_closed;
	void *owner = storage->owner;
	free_storage(storage);
	on_closed(owner);
}

static void points_closed(void *owner)
{
	struct storage *storage = storage_of(owner);
	storage->keeper = wal_keeper_close(storage->keeper);
	uv_close((uv_handle_t *)&storage->timer, handle_closed);
	uv_close((uv_handle_t *)&storage->disk, handle_closed);
}

static status work_detach(void *input, struct error *err)
{
	struct storage *storage = storage_of(input);
	return mount_table_detach(volume_data_path(storage->volume), err);
}

static void detached(void *owner, void *input, const struct error *err)
{
	struct storage *storage = storage_of(owner);
	(void)input;
	if (err)
		log_error("%s", err->message);
	restore_points_close(storage->points, points_closed, storage);
}

/* Pagefs is gone: what a dead one left mounted goes, too. */
static void go_on_closing(struct storage *storage)
{
	if (storage->is_clearing || storage->is_settling || storage->is_detaching)
		return;
	storage->is_detaching = true;
	job_start(storage->loop, work_detach, storage, detached, storage);
}

void storage_close(struct storage *storage, void (*on_closed)(void *owner))
{
	assert(!storage_of(storage)->is_closing);
	storage->is_closing = true;
	storage->on_closed = on_closed;
	(void)uv_timer_stop(&storage->timer);
	(void)uv_timer_stop(&storage->disk);
	restore_points_stop(storage->points);
	if (storage->phase == PHASE_UP) {
		storage->phase = PHASE_UNMOUNTING;
		page_process_unmount(storage->pages);
	} else if (storage->phase == PHASE_MOUNTING && storage->pages) {
		page_process_kill(storage->pages);
	} else if (storage->phase == PHASE_DOWN ||
	           (storage->phase == PHASE_MOUNTING && !storage->is_clearing)) {
		storage->phase = PHASE_DOWN;
		go_on_closing(storage);
	}
}

status storage_open(uv_loop_t *loop, const struct storage_options *options,
        const struct storage_events *events, void *owner, struct storage **ret, struct error *err)
{
	struct storage *storage = xcalloc(1, sizeof *storage);
	*storage = (struct storage){ .magic = STORAGE_MAGIC,
		.loop = loop,
		.options = *options,
		.events = *events,
		.owner = owner,
		.is_first = true };
	storage->options.volume_id = storage->volume_id = xstrdup(options->volume_id);
	storage->options.bin_dir = storage->bin_dir = xstrdup(options->bin_dir);
	status st = volume_open(options->dd, options->volume_id, &storage->volume, err);
	if (st == STATUS_OK && volume_postgres_major(storage->volume) != options->postgres_major)
		st = error_set(err, STATUS_INVALID, 0, "volume \"%s\" is of Postgres %d, not %d",
		        options->volume_id, volume_postgres_major(storage->volume), options->postgres_major);
	if (st == STATUS_OK)
		st = wal_keeper_open(loop, volume_wal_path(storage->volume),
		        volume_archive_path(storage->volume), archive_updated, storage, &storage->keeper,
		        err);
	if (st != STATUS_OK) {
		free_storage(storage);
		return st;
	}
	const struct restore_points_options point_options = { .dd = options->dd,
		.store = volume_store(storage->volume),
		.volume_id = storage->volume_id,
		.data_path = volume_data_path(storage->volume),
		.wal_path = volume_wal_path(storage->volume),
		.archive_path = volume_archive_path(storage->volume),
		.socket_folder = options->socket_folder,
		.bin_dir = storage->bin_dir,
		.log_path = options->log_path,
		.postgres_major = options->postgres_major,
		.keeper = storage->keeper,
		.on_change = points_changed,
		.owner = storage };
	storage->points = restore_points_create(loop, &point_options);
	(void)uv_timer_init(loop, &storage->timer);
	(void)uv_timer_init(loop, &storage->disk);
	storage->timer.data = storage->disk.data = storage;
	storage->open_handles = 2;
	*ret = storage;
	storage_mount(storage);
	return STATUS_OK;
}
