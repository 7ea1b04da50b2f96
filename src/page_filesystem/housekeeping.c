#include "page_filesystem/housekeeping.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/condition.h"
#include "base/log.h"

#define TICK_USEC       (USEC_PER_SEC / 4)
#define IDLE_REQUESTS   100u /* in a tick: so few leave the disk and a processor free */
#define DEPTH_MUST_FOLD 12u  /* beyond it a fold goes on under load too */
#define FOLD_LOOK_EVERY_USEC                                                                                 \
	(60 * USEC_PER_SEC) /* restore points are thinned by others: a fold may have become possible */
#define FAILURE_PAUSE_USEC (60 * USEC_PER_SEC)
#define SCRUB_PAGES        32u /* a step: 256 KiB, at most 1 MB/s */
#define SCRUB_CPU_SHARE    500 /* one part in so many of a processor */
#define SCRUB_ROUND_USEC   (24 * 3600 * USEC_PER_SEC)

struct housekeeping {
	struct image *image;
	struct operations *operations;
	housekeeping_broken_fn on_broken;
	void *owner;
	pthread_t thread;
	pthread_mutex_t mutex; /* for what follows */
	pthread_cond_t changed;
	bool shall_stop, has_ended;
	struct housekeeping_report report;

	/* the thread's own */
	uint64_t requests_seen;
	bool is_broken;
	size_t depth_done; /* at which there was nothing to fold */
	int64_t next_fold_usec, next_scrub_usec, round_began_usec;
};

/* False: it shall stop. */
static bool wait_a_tick(struct housekeeping *hk)
{
	struct timespec deadline = condition_deadline(TICK_USEC);
	(void)pthread_mutex_lock(&hk->mutex);
	while (!hk->shall_stop && pthread_cond_timedwait(&hk->changed, &hk->mutex, &deadline) == 0)
		;
	bool goes_on = !hk->shall_stop;
	(void)pthread_mutex_unlock(&hk->mutex);
	return goes_on;
}

static bool shall_stop(struct housekeeping *hk)
{
	(void)pthread_mutex_lock(&hk->mutex);
	bool stop = hk->shall_stop;
	(void)pthread_mutex_unlock(&hk->mutex);
	return stop;
}

static void note_failure(struct housekeeping *hk, const char *what, const struct error *err)
{
	log_warning("%s: %s", what, err->message);
	(void)pthread_mutex_lock(&hk->mutex);
	(void)snprintf(hk->report.error, sizeof hk->report.error, "%s: %.200s", what, err->message);
	(void)pthread_mutex_unlock(&hk->mutex);
}

static bool is_idle(struct housekeeping *hk)
{
	struct operations_count count = operations_count(hk->operations);
	uint64_t requests = count.reads + count.writes + count.syncs + count.others;
	bool idle = requests - hk->requests_seen < IDLE_REQUESTS;
	hk->requests_seen = requests;
	return idle;
}

/* One step under load, as many as there are when nobody is disturbed. */
static void fold(struct housekeeping *hk)
{
	struct image_usage usage;
	image_look(hk->image, &usage);
	if (usage.broken_errno != 0 && !hk->is_broken)
		hk->on_broken(hk->owner, usage.broken_errno);
	hk->is_broken = usage.broken_errno != 0;
	if (hk->is_broken)
		return;
	bool idle = is_idle(hk);
	int64_t now = clock_monotonic_usec();
	if ((usage.depth == hk->depth_done && now < hk->next_fold_usec) ||
	        (!idle && usage.depth < DEPTH_MUST_FOLD))
		return;
	struct error err;
	bool is_done = false;
	status st = image_fold_step(hk->image, &is_done, &err);
	if (st != STATUS_OK) {
		note_failure(hk, "could not fold layers", &err);
		hk->depth_done = usage.depth;
		hk->next_fold_usec = now + FAILURE_PAUSE_USEC;
		return;
	}
	if (is_done) {
		hk->depth_done = usage.depth;
		hk->next_fold_usec = now + FOLD_LOOK_EVERY_USEC;
		return;
	}
	hk->depth_done = 0;
	(void)pthread_mutex_lock(&hk->mutex);
	hk->report.folds++;
	hk->report.error[0] = '\0';
	(void)pthread_mutex_unlock(&hk->mutex);
}

static int64_t thread_cpu_usec(void)
{
	struct timespec used = { 0 };
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return used.tv_sec * USEC_PER_SEC + used.tv_nsec / 1000;
}

static void scrub(struct housekeeping *hk)
{
	int64_t now = clock_monotonic_usec(), cpu = thread_cpu_usec();
	if (now < hk->next_scrub_usec)
		return;
	struct image_scrub found = { 0 };
	struct error err;
	status st = image_scrub_step(hk->image, SCRUB_PAGES, &found, &err);
	if (st != STATUS_OK) {
		note_failure(hk, "could not check the layers", &err);
		hk->next_scrub_usec = now + FAILURE_PAUSE_USEC;
		return;
	}
	hk->next_scrub_usec = now + (thread_cpu_usec() - cpu) * SCRUB_CPU_SHARE;
	if (found.is_round_over) {
		int64_t next = hk->round_began_usec + SCRUB_ROUND_USEC;
		hk->next_scrub_usec = next > now ? next : now;
		hk->round_began_usec = hk->next_scrub_usec;
	}
	if (found.pages_bad > 0)
		log_error("%llu damaged pages: %s", (unsigned long long)found.pages_bad, found.first_bad);
	(void)pthread_mutex_lock(&hk->mutex);
	hk->report.pages_checked += found.pages_checked;
	if (found.pages_bad > 0 && hk->report.pages_bad == 0)
		(void)snprintf(hk->report.first_bad, sizeof hk->report.first_bad, "%s", found.first_bad);
	hk->report.pages_bad += found.pages_bad;
	(void)pthread_mutex_unlock(&hk->mutex);
}

static void *housekeeping_run(void *p)
{
	struct housekeeping *hk = p;
	while (wait_a_tick(hk)) {
		operations_tick(hk->operations);
		fold(hk);
		if (!shall_stop(hk))
			scrub(hk);
	}
	(void)pthread_mutex_lock(&hk->mutex);
	hk->has_ended = true;
	(void)pthread_cond_broadcast(&hk->changed);
	(void)pthread_mutex_unlock(&hk->mutex);
	return NULL;
}

status housekeeping_start(struct image *image, struct operations *operations,
        housekeeping_broken_fn on_broken, void *owner, struct housekeeping **ret, struct error *err)
{
	struct housekeeping *hk = xcalloc(1, sizeof *hk);
	hk->image = image;
	hk->operations = operations;
	hk->on_broken = on_broken;
	hk->owner = owner;
	hk->round_began_usec = clock_monotonic_usec();
	(void)pthread_mutex_init(&hk->mutex, NULL);
	condition_init(&hk->changed);
	int rc = pthread_create(&hk->thread, NULL, housekeeping_run, hk);
	if (rc != 0) {
		(void)pthread_cond_destroy(&hk->changed);
		(void)pthread_mutex_destroy(&hk->mutex);
		free(hk);
		return error_set(err, STATUS_IO, rc, "could not start the housekeeping thread");
	}
	*ret = hk;
	return STATUS_OK;
}

struct housekeeping_report housekeeping_look(struct housekeeping *hk)
{
	(void)pthread_mutex_lock(&hk->mutex);
	struct housekeeping_report report = hk->report;
	(void)pthread_mutex_unlock(&hk->mutex);
	return report;
}

bool housekeeping_stop(struct housekeeping *hk, int64_t patience_usec)
{
	struct timespec deadline = condition_deadline(patience_usec);
	(void)pthread_mutex_lock(&hk->mutex);
	hk->shall_stop = true;
	(void)pthread_cond_broadcast(&hk->changed);
	while (!hk->has_ended && pthread_cond_timedwait(&hk->changed, &hk->mutex, &deadline) == 0)
		;
	bool has_ended = hk->has_ended;
	(void)pthread_mutex_unlock(&hk->mutex);
	return has_ended;
}

struct housekeeping *housekeeping_free(struct housekeeping *hk)
{
	if (!hk)
		return NULL;
	(void)pthread_join(hk->thread, NULL);
	(void)pthread_cond_destroy(&hk->changed);
	(void)pthread_mutex_destroy(&hk->mutex);
	free(hk);
	return NULL;
}
