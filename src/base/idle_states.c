#include "base/idle_states.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define DEVICE    "/dev/cpu_dma_latency"
#define HOLD_USEC (USEC_PER_SEC / 2)

struct idle_states {
	int64_t batch_usec;    /* a batch in so little time is much to do; 0: nothing ever is */
	pthread_mutex_t mutex; /* for what follows */
	int64_t last_usec;     /* when the last batch was full */
	int64_t busy_until_usec;
	int fd;
	bool is_forbidden;
};

struct idle_states *idle_states_new(int64_t requests_per_sec)
{
	struct idle_states *states = xcalloc(1, sizeof *states);
	states->batch_usec = IDLE_STATES_BATCH * USEC_PER_SEC / requests_per_sec;
	states->fd = -1;
	(void)pthread_mutex_init(&states->mutex, NULL);
	return states;
}

struct idle_states *idle_states_free(struct idle_states *states)
{
	if (!states)
		return NULL;
	close_fd(&states->fd);
	(void)pthread_mutex_destroy(&states->mutex);
	free(states);
	return NULL;
}

/* With the mutex. */
static void hold(struct idle_states *states, int64_t now_usec)
{
	states->busy_until_usec = now_usec + HOLD_USEC;
	if (states->fd >= 0 || states->is_forbidden || states->batch_usec == 0)
		return;
	int32_t latency_usec = 0;
	states->fd = open(DEVICE, O_WRONLY | O_CLOEXEC);
	if (states->fd >= 0 && write(states->fd, &latency_usec, sizeof latency_usec) == sizeof latency_usec)
		return;
	log_info("processors may sleep under load, requests take longer: %s: %s", DEVICE, strerror(errno));
	states->is_forbidden = true;
	close_fd(&states->fd);
}

void idle_states_begin(struct idle_states *states, int64_t now_usec)
{
	(void)pthread_mutex_lock(&states->mutex);
	hold(states, now_usec);
	(void)pthread_mutex_unlock(&states->mutex);
}

void idle_states_note(struct idle_states *states, int64_t now_usec)
{
	(void)pthread_mutex_lock(&states->mutex);
	int64_t took_usec = now_usec - states->last_usec;
	states->last_usec = now_usec;
	if (took_usec <= states->batch_usec)
		hold(states, now_usec);
	(void)pthread_mutex_unlock(&states->mutex);
}

void idle_states_look(struct idle_states *states, int64_t now_usec)
{
	(void)pthread_mutex_lock(&states->mutex);
	if (states->fd >= 0 && now_usec > states->busy_until_usec)
		close_fd(&states->fd);
	(void)pthread_mutex_unlock(&states->mutex);
}

bool idle_states_are_held(struct idle_states *states)
{
	(void)pthread_mutex_lock(&states->mutex);
	bool is_held = states->fd >= 0;
	(void)pthread_mutex_unlock(&states->mutex);
	return is_held;
}

bool idle_states_are_wanted(struct idle_states *states, int64_t now_usec)
{
	(void)pthread_mutex_lock(&states->mutex);
	bool are_wanted = states->batch_usec > 0 && now_usec <= states->busy_until_usec;
	(void)pthread_mutex_unlock(&states->mutex);
	return are_wanted;
}
