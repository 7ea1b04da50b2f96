#include "base/condition.h"

#include "base/clock.h"

void condition_init(pthread_cond_t *condition)
{
	pthread_condattr_t monotonic;
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(condition, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
}

struct timespec condition_deadline(int64_t usec)
{
	int64_t at = clock_monotonic_usec() + usec;
	return (struct timespec){ .tv_sec = at / USEC_PER_SEC, .tv_nsec = at % USEC_PER_SEC * 1000 };
}
