#include "page_filesystem/workers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/condition.h"
#include "base/log.h"

/* Between two pages of a load Postgres computes for some 30 us. */
#define LOOK_USEC 50
/* An answered write that took so long: the disk is behind, and answers would hold up everybody. For a while none is given early. */
#define SLOW_USEC     1000
#define CAUTION_USEC  (USEC_PER_SEC / 10)
#define CAUTION_TIMES 20 /* as long as it took, if that is more */
/* Requests of more bytes are handed over: others go on meanwhile. */
#define SHORT_WRITE_BYTES (128u << 10)
/* So many ticks of the relief without a request, and it sleeps. */
#define QUIET_TICKS 50
/* How often the load of the processors is looked at, and how much of the time since somebody may have waited for one. */
#define PRESSURE_USEC    (USEC_PER_SEC / 10)
#define PRESSURE_PERCENT 25
#define PRESSURE_PATH    "/proc/pressure/cpu"

/*
 * What the leader does, with a number that every request has for itself: whoever changes it knows that it is still the same request.
 *
 *   READING ─▶ SERVING ─▶ READING      the next number
 *                 │ └───▶ ANSWERED ─▶ READING      K2
 *                 └─────▶ HANDED      by itself or by the relief: it leads no more
 */
enum phase { READING, SERVING, ANSWERED, HANDED };
#define PHASE_MASK UINT64_C(3)

struct worker {
	struct workers *workers;
	pthread_t thread;
	pthread_cond_t wake;
	struct worker *below; /* in the stack of those that rest */
	struct fuse_buf request;
	uint64_t turn; /* of the request it serves */
	bool leads;
};

struct workers {
	struct fuse_session *session; /* borrowed, as the operations are */
	struct operations *operations;
	int fd;

	pthread_mutex_t mutex;
	struct worker *all[WORKERS_MAX];
	size_t count;
	struct worker *resting;
	bool is_vacant, has_ended, has_warned;
	int failure; /* 0, or why it ended */

	_Alignas(64) _Atomic uint64_t turn; /* of the leader: number and phase */

	/* The leader's, whoever that is. */
	_Alignas(64) int64_t look_until_usec;
	int64_t answered_usec;
	_Atomic int64_t cautious_until_usec;

	pthread_t relief;
	pthread_cond_t relief_wake;
	atomic_bool relief_sleeps, may_look;
	bool has_processors; /* more than the one that the leader would look on */
	int pressure_fd;
	int64_t pressure_looked_usec, pressure_usec;
};

static _Thread_local struct worker *self;

static enum phase phase_of(uint64_t turn)
{
	return (enum phase)(turn & PHASE_MASK);
}

static uint64_t with_phase(uint64_t turn, enum phase phase)
{
	return (turn & ~PHASE_MASK) | (uint64_t)phase;
}

static void *work(void *p);

/* ---- who leads ---- */

static int start_thread(pthread_t *ret, void *(*run)(void *), void *owner)
{
	/* Signals are the main thread's. */
	sigset_t all, before;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(ret, NULL, run, owner);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

/* With the mutex. One more, which leads from the beginning. */
static bool add_leader(struct workers *workers)
{
	if (workers->count == WORKERS_MAX)
		return false;
	struct worker *worker = xcalloc(1, sizeof *worker);
	worker->workers = workers;
	worker->leads = true;
	(void)pthread_cond_init(&worker->wake, NULL);
	int rc = start_thread(&worker->thread, work, worker);
	if (rc != 0) {
		if (!workers->has_warned)
			log_warning("could not start another thread for requests: %s", strerror(rc));
		workers->has_warned = true;
		(void)pthread_cond_destroy(&worker->wake);
		free(worker);
		return false;
	}
	workers->all[workers->count++] = worker;
	return true;
}

/* Nobody leads: somebody shall. False: there is nobody, the lead is vacant. */
static bool appoint(struct workers *workers)
{
	bool is_led = true;
	(void)pthread_mutex_lock(&workers->mutex);
	struct worker *next = workers->resting;
	if (next) {
		workers->resting = next->below;
		next->leads = true;
		(void)pthread_cond_signal(&next->wake);
	} else if (!workers->has_ended && !add_leader(workers)) {
		workers->is_vacant = true;
		is_led = false;
	}
	(void)pthread_mutex_unlock(&workers->mutex);
	return is_led;
}

/* Until the worker leads; false: it is over. */
static bool rest(struct worker *worker)
{
	struct workers *workers = worker->workers;
	(void)pthread_mutex_lock(&workers->mutex);
	if (!worker->leads && workers->is_vacant) {
		workers->is_vacant = false;
		worker->leads = true;
	} else if (!worker->leads) {
		worker->below = workers->resting;
		workers->resting = worker;
	}
	while (!worker->leads && !workers->has_ended)
		(void)pthread_cond_wait(&worker->wake, &workers->mutex);
	bool goes_on = !workers->has_ended;
	(void)pthread_mutex_unlock(&workers->mutex);
	return goes_on;
}

static void end(struct workers *workers, int failure)
{
	(void)pthread_mutex_lock(&workers->mutex);
	if (!workers->has_ended)
		workers->failure = failure;
	workers->has_ended = true;
	for (size_t i = 0; i < workers->count; i++)
		(void)pthread_cond_signal(&workers->all[i]->wake);
	(void)pthread_cond_signal(&workers->relief_wake);
	(void)pthread_mutex_unlock(&workers->mutex);
}

/* What the leader does changes from SERVING, if it still leads and serves that request. */
static bool change_phase(struct workers *workers, uint64_t turn, enum phase to)
{
	uint64_t expected = with_phase(turn, SERVING);
	return atomic_compare_exchange_strong(&workers->turn, &expected, with_phase(turn, to));
}

void workers_hand_over(void)
{
	struct worker *worker = self;
	if (!worker || !worker->leads)
		return;
	worker->leads = false;
	/* Else it was relieved already. */
	if (change_phase(worker->workers, worker->turn, HANDED))
		(void)appoint(worker->workers);
}

bool workers_may_answer(void)
{
	struct worker *worker = self;
	if (!worker || !worker->leads)
		return false;
	struct workers *workers = worker->workers;
	int64_t now = clock_monotonic_usec();
	if (now < atomic_load_explicit(&workers->cautious_until_usec, memory_order_relaxed) ||
	        !change_phase(workers, worker->turn, ANSWERED))
		return false;
	workers->answered_usec = now;
	return true;
}

/* ---- reading and serving ---- */

/* Is it over at once, as a rule? What is not in this list may wait for the disk. */
static bool is_short(const struct fuse_buf *request)
{
	const struct fuse_in_header *header = request->mem;
	switch (header->opcode) {
	case FUSE_WRITE:
		return header->len <= SHORT_WRITE_BYTES;
	case FUSE_GETATTR:
	case FUSE_LOOKUP:
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return true;
	default:
		return false;
	}
}

/* Bytes of the request; 0 or a negative errno: there will be no more. */
static int read_request(struct worker *worker)
{
	struct workers *workers = worker->workers;
	for (;;) {
		int n = fuse_session_receive_buf(workers->session, &worker->request);
		if (n == -EINTR)
			continue;
		if (n != -EAGAIN || fuse_session_exited(workers->session))
			return fuse_session_exited(workers->session) ? 0 : n;
		if (atomic_load_explicit(&workers->may_look, memory_order_relaxed) &&
		        clock_monotonic_usec() < workers->look_until_usec)
			continue;
		struct pollfd device = { .fd = workers->fd, .events = POLLIN };
		(void)poll(&device, 1, -1);
	}
}

static void serve(struct worker *worker)
{
	struct workers *workers = worker->workers;
	worker->turn = with_phase(atomic_load(&workers->turn) + PHASE_MASK + 1, SERVING);
	atomic_store(&workers->turn, worker->turn);
	if (atomic_load(&workers->relief_sleeps)) {
		(void)pthread_mutex_lock(&workers->mutex);
		(void)pthread_cond_signal(&workers->relief_wake);
		(void)pthread_mutex_unlock(&workers->mutex);
	}
	if (!is_short(&worker->request))
		workers_hand_over();
	fuse_session_process_buf(workers->session, &worker->request);
	if (!worker->leads)
		return;
	if (change_phase(workers, worker->turn, READING)) {
		workers->look_until_usec = clock_monotonic_usec() + LOOK_USEC;
	} else if (atomic_load(&workers->turn) == with_phase(worker->turn, ANSWERED)) {
		int64_t now = clock_monotonic_usec();
		workers->look_until_usec = now + LOOK_USEC;
		int64_t took = now - workers->answered_usec;
		if (took > SLOW_USEC)
			atomic_store_explicit(&workers->cautious_until_usec,
			        now + (took * CAUTION_TIMES > CAUTION_USEC ? took * CAUTION_TIMES
			                                                   : CAUTION_USEC),
			        memory_order_relaxed);
		atomic_store(&workers->turn, with_phase(worker->turn, READING));
	} else {
		worker->leads = false; /* relieved */
	}
}

static void *work(void *p)
{
	struct worker *worker = p;
	struct workers *workers = worker->workers;
	self = worker;
	while (rest(worker)) {
		while (worker->leads) {
			int n = read_request(worker);
			if (n <= 0) {
				/* ENODEV: unmounted */
				end(workers, n == -ENODEV ? 0 : -n);
				return NULL;
			}
			serve(worker);
		}
	}
	return NULL;
}

/* ---- the relief ---- */

/* How long anybody waited for a processor, since the machine was started; -1: the kernel does not tell. */
static int64_t read_pressure(int fd)
{
	char text[256];
	ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof text - 1, 0);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=4711\nfull …" (Documentation/accounting/psi.rst) */
	const char *total = strstr(text, "total=");
	return total ? (int64_t)strtoll(total + strlen("total="), NULL, 10) : -1;
}

static void look_at_pressure(struct workers *workers)
{
	int64_t now = clock_monotonic_usec(), passed = now - workers->pressure_looked_usec;
	if (passed < PRESSURE_USEC)
		return;
	int64_t pressure = read_pressure(workers->pressure_fd), waited = pressure - workers->pressure_usec;
	workers->pressure_looked_usec = now;
	workers->pressure_usec = pressure;
	/* The first look, and one after a rest, say nothing of now. */
	bool is_told = pressure >= 0 && passed < 2 * PRESSURE_USEC;
	atomic_store(&workers->may_look, is_told && workers->has_processors &&
	                                         waited * 100 < passed * PRESSURE_PERCENT &&
	                                         operations_are_many(workers->operations));
}

static void *relieve(void *p)
{
	struct workers *workers = p;
	uint64_t seen = 0;
	unsigned quiet = 0;
	(void)pthread_mutex_lock(&workers->mutex);
	while (!workers->has_ended) {
		if (quiet < QUIET_TICKS) {
			struct timespec tick = condition_deadline(RELIEF_MSEC * 1000);
			(void)pthread_cond_timedwait(&workers->relief_wake, &workers->mutex, &tick);
		} else {
			atomic_store(&workers->may_look, false);
			atomic_store(&workers->relief_sleeps, true);
			/* Who serves from now on sees that we sleep. */
			if (atomic_load(&workers->turn) == seen)
				(void)pthread_cond_wait(&workers->relief_wake, &workers->mutex);
			atomic_store(&workers->relief_sleeps, false);
			quiet = 0;
		}
		(void)pthread_mutex_unlock(&workers->mutex);
		uint64_t turn = atomic_load(&workers->turn);
		bool is_same = turn == seen;
		if (is_same && phase_of(turn) == SERVING && change_phase(workers, turn, HANDED))
			(void)appoint(workers);
		quiet = is_same && phase_of(turn) != SERVING && phase_of(turn) != ANSWERED ? quiet + 1 : 0;
		seen = turn;
		look_at_pressure(workers);
		(void)pthread_mutex_lock(&workers->mutex);
	}
	(void)pthread_mutex_unlock(&workers->mutex);
	return NULL;
}

/* ---- all of it ---- */

static struct workers *workers_new(struct fuse_session *session, struct operations *operations)
{
	struct workers *workers = aligned_alloc(64, sizeof *workers);
	if (!workers)
		abort();
	memset(workers, 0, sizeof *workers);
	workers->session = session;
	workers->operations = operations;
	workers->fd = fuse_session_fd(session);
	workers->pressure_fd = open(PRESSURE_PATH, O_RDONLY | O_CLOEXEC);
	cpu_set_t processors;
	workers->has_processors =
	        sched_getaffinity(0, sizeof processors, &processors) == 0 && CPU_COUNT(&processors) > 1;
	workers->turn = READING;
	(void)pthread_mutex_init(&workers->mutex, NULL);
	condition_init(&workers->relief_wake);
	return workers;
}

static void workers_freep(struct workers **ret)
{
	struct workers *workers = *ret;
	for (size_t i = 0; i < workers->count; i++) {
		(void)pthread_cond_destroy(&workers->all[i]->wake);
		free(workers->all[i]->request.mem);
		free(workers->all[i]);
	}
	(void)pthread_cond_destroy(&workers->relief_wake);
	(void)pthread_mutex_destroy(&workers->mutex);
	close_fd(&workers->pressure_fd);
	free(workers);
}

status workers_serve(struct fuse_session *session, struct operations *operations, struct error *err)
{
	CLEANUP(workers_freep) struct workers *workers = workers_new(session, operations);
	int flags = fcntl(workers->fd, F_GETFL);
	if (flags < 0 || fcntl(workers->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return error_set(err, STATUS_IO, errno, "could not set up the file system's device");
	int rc = start_thread(&workers->relief, relieve, workers);
	if (rc != 0)
		return error_set(err, STATUS_IO, rc, "could not start the file system's threads");
	if (!appoint(workers))
		end(workers, EAGAIN);
	(void)pthread_join(workers->relief, NULL);
	/* Nobody is added after the end. */
	for (size_t i = 0; i < workers->count; i++)
		(void)pthread_join(workers->all[i]->thread, NULL);
	return workers->failure ? error_set(err, STATUS_IO, workers->failure,
	                                  "could not read requests from the file system's device")
	                        : STATUS_OK;
}
