#include "page_filesystem/pagefs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/log.h"
#include "data_directory/data_directory.h"
#include "page_filesystem/housekeeping.h"
#include "page_filesystem/mount.h"
#include "page_filesystem/operations.h"
#include "page_filesystem/process_setup.h"
#include "page_filesystem/supervisor_link.h"
#include "page_store/image.h"
#include "page_store/store.h"

#define EXIT_FAILED 1
#define EXIT_USAGE  2
#define LINK_FD     3
#define JOBS_MAX    256u
/* A fold cannot be interrupted, and somebody may have a file open: the way out does not wait for them. Nothing is lost. */
#define STOP_PATIENCE_USEC    (USEC_PER_SEC / 4)
#define SESSION_PATIENCE_USEC (2 * USEC_PER_SEC)

struct arguments {
	const char *data, *store, *volume, *mount;
};

/*
 * STARTING -> SERVING -> ENDING -> ENDED, by pagefs_serve(), pagefs_end(), end_done(). ENDING begins with waiting for the jobs that run; the
 * last one starts end_work(): nothing else touches the image from then on but the session's workers, until they have gone.
 */
enum pagefs_state { PAGEFS_STARTING, PAGEFS_SERVING, PAGEFS_ENDING, PAGEFS_ENDED };

struct pagefs {
	enum pagefs_state state;
	struct arguments arguments;
	struct data_directory *dd;
	struct store *store;
	struct image *image;
	struct operations *operations;
	struct mount *mount;
	struct housekeeping *housekeeping;

	uv_loop_t loop;
	uv_signal_t signals[3];
	size_t signal_count;
	uv_async_t news; /* one of the two below */
	bool has_async;
	atomic_bool session_has_ended; /* the session's thread, as its last act */
	atomic_int broken_errno;       /* the housekeeper, or a worker */
	struct supervisor_link *link;  /* NULL: run by hand, or closed */
	size_t jobs;

	pthread_t session;
	bool has_session;

	uv_work_t end_work;
	int64_t unmount_id;
	bool is_unmount_asked;
	bool is_busy; /* somebody still uses the image: only the end of the process ends that */
	bool is_lost; /* the mount went away by itself */
	status end_status;
	struct error end_error;
};

/* ---- the end ---- */

static void *serve(void *p)
{
	struct pagefs *pagefs = p;
	struct error err;
	if (mount_serve(pagefs->mount, &err) != STATUS_OK)
		log_error("%s", err.message);
	atomic_store(&pagefs->session_has_ended, true);
	(void)uv_async_send(&pagefs->news);
	return NULL;
}

static bool join_session(struct pagefs *pagefs)
{
	if (!pagefs->has_session)
		return true;
	int64_t until = clock_wall_usec() + SESSION_PATIENCE_USEC;
	struct timespec deadline = { .tv_sec = until / USEC_PER_SEC, .tv_nsec = until % USEC_PER_SEC * 1000 };
	if (pthread_timedjoin_np(pagefs->session, NULL, &deadline) != 0)
		return false;
	pagefs->has_session = false;
	return true;
}

static void keep_first(struct pagefs *pagefs, status st, const struct error *err)
{
	if (st == STATUS_OK || pagefs->end_status != STATUS_OK)
		return;
	pagefs->end_status = st;
	pagefs->end_error = *err;
}

/* On a work thread. Whatever fails, the rest is done: the volume is as a crash would leave it at worst. */
static void end_work(uv_work_t *work)
{
	struct pagefs *pagefs = work->data;
	struct error err;
	bool is_alone = housekeeping_stop(pagefs->housekeeping, STOP_PATIENCE_USEC);
	if (!pagefs->is_lost)
		keep_first(pagefs, mount_detach(pagefs->mount, &err), &err);
	if (!join_session(pagefs)) {
		log_warning("somebody still has files of the volume open");
		is_alone = false;
	}
	if (is_alone) {
		pagefs->housekeeping = housekeeping_free(pagefs->housekeeping);
		keep_first(pagefs, image_close(TAKE_PTR(pagefs->image), &err), &err);
	} else {
		pagefs->is_busy = true;
		int rc = image_sync_all(pagefs->image);
		if (rc < 0)
			keep_first(pagefs,
			        error_set(&err, STATUS_IO, -rc, "could not sync volume \"%s\"",
			                pagefs->arguments.volume),
			        &err);
	}
}

static void end_done(uv_work_t *work, int ignored)
{
	struct pagefs *pagefs = work->data;
	(void)ignored;
	pagefs->state = PAGEFS_ENDED;
	if (pagefs->end_status != STATUS_OK)
		log_error("%s", pagefs->end_error.message);
	if (pagefs->link) {
		if (pagefs->is_unmount_asked && pagefs->end_status == STATUS_OK)
			supervisor_link_answer_done(pagefs->link, pagefs->unmount_id);
		else if (pagefs->is_unmount_asked)
			supervisor_link_answer_error(pagefs->link, pagefs->unmount_id, &pagefs->end_error);
		supervisor_link_finish(pagefs->link);
	}
	for (size_t i = 0; i < pagefs->signal_count; i++)
		uv_close((uv_handle_t *)&pagefs->signals[i], NULL);
	uv_close((uv_handle_t *)&pagefs->news, NULL);
}

static void continue_ending(struct pagefs *pagefs)
{
	if (pagefs->state != PAGEFS_ENDING || pagefs->jobs > 0)
		return;
	pagefs->end_work.data = pagefs;
	int rc = uv_queue_work(&pagefs->loop, &pagefs->end_work, end_work, end_done);
	assert(rc == 0);
	(void)rc;
}

static void pagefs_end(struct pagefs *pagefs, const char *why)
{
	if (pagefs->state != PAGEFS_SERVING)
		return;
	log_info("volume \"%s\": unmounting, %s", pagefs->arguments.volume, why);
	pagefs->state = PAGEFS_ENDING;
	continue_ending(pagefs);
}

static void on_signal(uv_signal_t *handle, int number)
{
	(void)number;
	pagefs_end(handle->data, "as a signal asks");
}

/* Ends with a failure that nobody asked for. */
static void fail(struct pagefs *pagefs, const struct error *err, const char *why)
{
	keep_first(pagefs, err->code, err);
	if (pagefs->link)
		supervisor_link_say_failed(pagefs->link, err);
	pagefs_end(pagefs, why);
}

static void on_news(uv_async_t *handle)
{
	struct pagefs *pagefs = handle->data;
	struct error err;
	if (pagefs->state != PAGEFS_SERVING)
		return;
	int broken_errno = atomic_load(&pagefs->broken_errno);
	if (atomic_load(&pagefs->session_has_ended)) {
		pagefs->is_lost = true;
		error_fill(&err, STATUS_UNAVAILABLE, 0, "volume \"%s\" was unmounted by somebody else",
		        pagefs->arguments.volume);
		fail(pagefs, &err, "since somebody else did");
	} else if (broken_errno != 0) {
		/* Mounted anew it is as of the last sync that went well, which is all that anybody was promised. */
		error_fill(&err, STATUS_IO, broken_errno, "could not write volume \"%s\" to the disk",
		        pagefs->arguments.volume);
		fail(pagefs, &err, "since nothing becomes durable any more");
	}
}

static void on_broken(void *owner, int broken_errno)
{
	struct pagefs *pagefs = owner;
	atomic_store(&pagefs->broken_errno, broken_errno);
	(void)uv_async_send(&pagefs->news);
}

/* ---- requests of the supervisor ---- */

struct job {
	uv_work_t work;
	struct pagefs *pagefs;
	struct link_request request;
	struct image_cut cut;
	struct link_look look;
	status status;
	struct error err;
};

static void job_work(uv_work_t *work)
{
	struct job *job = work->data;
	struct pagefs *pagefs = job->pagefs;
	int rc;
	switch (job->request.action) {
	case LINK_CUT:
		job->status = image_cut(pagefs->image, &job->cut, &job->err);
		break;
	case LINK_SYNC:
		rc = image_sync_all(pagefs->image);
		if (rc < 0)
			job->status = error_set(&job->err, STATUS_IO, -rc, "could not sync volume \"%s\"",
			        pagefs->arguments.volume);
		break;
	case LINK_LOOK:
		image_look(pagefs->image, &job->look.usage);
		job->look.housekeeping = housekeeping_look(pagefs->housekeeping);
		job->look.count = operations_count(pagefs->operations);
		break;
	case LINK_UNMOUNT:
	case LINK_UNKNOWN:
		break;
	}
}

static void job_done(uv_work_t *work, int ignored)
{
	struct job *job = work->data;
	struct pagefs *pagefs = job->pagefs;
	(void)ignored;
	if (job->status != STATUS_OK)
		log_error("%s", job->err.message);
	if (pagefs->link && job->status != STATUS_OK)
		supervisor_link_answer_error(pagefs->link, job->request.id, &job->err);
	else if (pagefs->link && job->request.action == LINK_CUT)
		supervisor_link_answer_cut(pagefs->link, job->request.id, &job->cut);
	else if (pagefs->link && job->request.action == LINK_LOOK)
		supervisor_link_answer_look(pagefs->link, job->request.id, &job->look);
	else if (pagefs->link)
		supervisor_link_answer_done(pagefs->link, job->request.id);
	free(job->cut.layers);
	free(job);
	pagefs->jobs--;
	continue_ending(pagefs);
}

static void refuse(struct pagefs *pagefs, int64_t id, status code, const char *why)
{
	struct error err;
	error_fill(&err, code, 0, "%s", why);
	supervisor_link_answer_error(pagefs->link, id, &err);
}

static void on_request(void *owner, const struct link_request *request)
{
	struct pagefs *pagefs = owner;
	if (pagefs->state != PAGEFS_SERVING) {
		refuse(pagefs, request->id, STATUS_CONFLICT, "the volume is being unmounted");
	} else if (request->action == LINK_UNMOUNT) {
		pagefs->is_unmount_asked = true;
		pagefs->unmount_id = request->id;
		pagefs_end(pagefs, "as the supervisor asks");
	} else if (pagefs->jobs >= JOBS_MAX) {
		refuse(pagefs, request->id, STATUS_LIMIT, "too many requests at a time");
	} else {
		struct job *job = xcalloc(1, sizeof *job);
		job->pagefs = pagefs;
		job->request = *request;
		job->work.data = job;
		pagefs->jobs++;
		int rc = uv_queue_work(&pagefs->loop, &job->work, job_work, job_done);
		assert(rc == 0);
		(void)rc;
	}
}

static void on_link_close(void *owner, const char *reason)
{
	struct pagefs *pagefs = owner;
	pagefs->link = NULL;
	if (pagefs->state == PAGEFS_SERVING)
		log_info("the supervisor's line has ended: %s", reason);
	pagefs_end(pagefs, "since nobody steers it any more");
}

/* ---- the start ---- */

static status watch(struct pagefs *pagefs, struct error *err)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };
	int rc = uv_async_init(&pagefs->loop, &pagefs->news, on_news);
	pagefs->news.data = pagefs;
	pagefs->has_async = rc == 0;
	for (size_t i = 0; i < ARRAY_LEN(numbers) && rc == 0; i++) {
		rc = uv_signal_init(&pagefs->loop, &pagefs->signals[i]);
		if (rc < 0)
			break;
		pagefs->signals[i].data = pagefs;
		pagefs->signal_count = i + 1;
		rc = uv_signal_start(&pagefs->signals[i], on_signal, numbers[i]);
	}
	return rc < 0 ? error_set(err, STATUS_IO, -rc, "could not watch signals") : STATUS_OK;
}

/* The image first: its lock says that nobody alive is at the mount point. */
static status open_and_mount(struct pagefs *pagefs, struct error *err)
{
	const struct arguments *arguments = &pagefs->arguments;
	status st = data_directory_open(arguments->data, &pagefs->dd, err);
	if (st == STATUS_OK)
		st = store_open(pagefs->dd, arguments->store, &pagefs->store, err);
	if (st == STATUS_OK)
		st = image_open(pagefs->dd, pagefs->store, arguments->volume, &pagefs->image, err);
	if (st != STATUS_OK)
		return st;
	pagefs->operations = operations_new(
	        pagefs->image, pagefs->dd->settings.polling_requests_per_sec, on_broken, pagefs);
	return mount_open(arguments->mount, pagefs->operations, &pagefs->mount, err);
}

static status pagefs_serve(struct pagefs *pagefs, struct error *err)
{
	status st = open_and_mount(pagefs, err);
	if (st == STATUS_OK)
		st = watch(pagefs, err);
	if (st == STATUS_OK)
		st = housekeeping_start(
		        pagefs->image, pagefs->operations, on_broken, pagefs, &pagefs->housekeeping, err);
	if (st != STATUS_OK)
		return st;
	int rc = pthread_create(&pagefs->session, NULL, serve, pagefs);
	if (rc != 0)
		return error_set(err, STATUS_IO, rc, "could not start the file system's thread");
	pagefs->has_session = true;
	pagefs->state = PAGEFS_SERVING;
	if (pagefs->link)
		supervisor_link_say_mounted(pagefs->link);
	log_info("volume \"%s\": mounted at \"%s\"", pagefs->arguments.volume, pagefs->arguments.mount);
	return STATUS_OK;
}

/* After a start that failed: what is there is taken down, and the loop has nothing left but the last words. */
static void give_up(struct pagefs *pagefs, const struct error *why)
{
	struct error err;
	log_error("%s", why->message);
	if (*why->hint)
		log_error("%s", why->hint);
	if (pagefs->link) {
		supervisor_link_say_failed(pagefs->link, why);
		supervisor_link_finish(pagefs->link);
	}
	for (size_t i = 0; i < pagefs->signal_count; i++)
		uv_close((uv_handle_t *)&pagefs->signals[i], NULL);
	if (pagefs->has_async)
		uv_close((uv_handle_t *)&pagefs->news, NULL);
	if (pagefs->housekeeping && housekeeping_stop(pagefs->housekeeping, SESSION_PATIENCE_USEC))
		pagefs->housekeeping = housekeeping_free(pagefs->housekeeping);
	pagefs->mount = mount_free(pagefs->mount);
	pagefs->is_busy = pagefs->housekeeping != NULL;
	if (pagefs->image && !pagefs->is_busy && image_close(TAKE_PTR(pagefs->image), &err) != STATUS_OK)
		log_error("%s", err.message);
}

static bool is_socket(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

static status open_link(struct pagefs *pagefs, struct error *err)
{
	static const struct supervisor_link_events events = { .on_request = on_request,
		.on_close = on_link_close };
	(void)fcntl(LINK_FD, F_SETFD, FD_CLOEXEC);
	return supervisor_link_open(&pagefs->loop, LINK_FD, &events, pagefs, &pagefs->link, err);
}

static int pagefs_run(struct pagefs *pagefs, bool has_link)
{
	struct error err;
	int rc = uv_loop_init(&pagefs->loop);
	status st = rc < 0 ? error_set(&err, STATUS_IO, -rc, "could not make an event loop") : STATUS_OK;
	if (st == STATUS_OK && has_link)
		st = open_link(pagefs, &err);
	if (st == STATUS_OK)
		st = pagefs_serve(pagefs, &err);
	if (st != STATUS_OK)
		give_up(pagefs, &err);
	if (rc == 0)
		(void)uv_run(&pagefs->loop, UV_RUN_DEFAULT);
	if (pagefs->is_busy)
		_exit(pagefs->end_status == STATUS_OK && st == STATUS_OK ? 0 : EXIT_FAILED);
	pagefs->mount = mount_free(pagefs->mount);
	pagefs->operations = operations_free(pagefs->operations);
	pagefs->store = store_close(pagefs->store);
	pagefs->dd = data_directory_free(pagefs->dd);
	if (rc == 0) {
		rc = uv_loop_close(&pagefs->loop);
		assert(rc == 0);
	}
	return pagefs->end_status == STATUS_OK && st == STATUS_OK ? 0 : EXIT_FAILED;
}

static bool parse_arguments(int argc, char **argv, struct arguments *ret)
{
	static const struct option options[] = { { "data", required_argument, NULL, 'd' },
		{ "store", required_argument, NULL, 's' }, { "volume", required_argument, NULL, 'v' },
		{ "mount", required_argument, NULL, 'm' }, { 0 } };
	struct arguments arguments = { 0 };
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 'd')
			arguments.data = optarg;
		else if (c == 's')
			arguments.store = optarg;
		else if (c == 'v')
			arguments.volume = optarg;
		else if (c == 'm')
			arguments.mount = optarg;
		else
			return false;
	}
	*ret = arguments;
	return arguments.data && arguments.store && arguments.volume && arguments.mount &&
	       *arguments.mount == '/' && *arguments.data == '/' && optind == argc;
}

int pagefs_main(int argc, char **argv)
{
	struct pagefs pagefs = { .state = PAGEFS_STARTING };
	log_set_role("pagefs");
	if (!parse_arguments(argc, argv, &pagefs.arguments)) {
		(void)fprintf(stderr,
		        "usage: tarn pagefs --data DIR --store STORE --volume ID --mount PATH\n"
		        "       (absolute paths; descriptor 3, if a socket, is the supervisor's line)\n");
		return EXIT_USAGE;
	}
	bool has_link = is_socket(LINK_FD);
	process_setup(has_link);
	return pagefs_run(&pagefs, has_link);
}
