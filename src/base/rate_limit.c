#include "base/rate_limit.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/random.h"

#define CHAINS 1024

struct bucket {
	TAILQ_ENTRY(bucket) age; /* the one used last at the end */
	LIST_ENTRY(bucket) chain;
	double tokens;
	int64_t filled_usec; /* when tokens was right */
	int64_t news_usec;   /* not before; 0: at once */
	char key[RATE_LIMIT_KEY_MAX + 1];
};

struct rate_limit {
	double per_sec, burst;
	uint64_t seed; /* who knows the hash could put all keys into one chain */
	size_t count;
	TAILQ_HEAD(bucket_ages, bucket) ages;
	LIST_HEAD(bucket_chain, bucket) chains[CHAINS];
};

struct rate_limit *rate_limit_create(double per_sec, double burst)
{
	struct rate_limit *limit = xcalloc(1, sizeof *limit);
	limit->per_sec = per_sec;
	limit->burst = burst;
	limit->seed = random_u64();
	TAILQ_INIT(&limit->ages);
	for (size_t i = 0; i < CHAINS; i++)
		LIST_INIT(&limit->chains[i]);
	return limit;
}

static void forget(struct rate_limit *limit, struct bucket *bucket)
{
	TAILQ_REMOVE(&limit->ages, bucket, age);
	LIST_REMOVE(bucket, chain);
	limit->count--;
	free(bucket);
}

struct rate_limit *rate_limit_free(struct rate_limit *limit)
{
	if (!limit)
		return NULL;
	while (!TAILQ_EMPTY(&limit->ages))
		forget(limit, TAILQ_FIRST(&limit->ages));
	free(limit);
	return NULL;
}

/* FNV-1a, begun with a secret. */
static struct bucket_chain *chain_of(struct rate_limit *limit, const char *key)
{
	uint64_t hash = limit->seed;
	for (const char *c = key; *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
	return &limit->chains[(hash ^ hash >> 32) % CHAINS];
}

/* As full as it is now. */
static struct bucket *find(struct rate_limit *limit, const char *text, int64_t now_usec)
{
	char key[RATE_LIMIT_KEY_MAX + 1];
	(void)snprintf(key, sizeof key, "%s", text);
	struct bucket_chain *chain = chain_of(limit, key);
	struct bucket *bucket;
	LIST_FOREACH (bucket, chain, chain)
		if (strcmp(bucket->key, key) == 0)
			break;
	if (!bucket) {
		if (limit->count == RATE_LIMIT_KEYS_MAX)
			forget(limit, TAILQ_FIRST(&limit->ages));
		bucket = xcalloc(1, sizeof *bucket);
		memcpy(bucket->key, key, sizeof key);
		bucket->tokens = limit->burst;
		LIST_INSERT_HEAD(chain, bucket, chain);
		limit->count++;
	} else {
		TAILQ_REMOVE(&limit->ages, bucket, age);
		double gained =
		        (double)(now_usec - bucket->filled_usec) / (double)USEC_PER_SEC * limit->per_sec;
		if (gained > 0)
			bucket->tokens = bucket->tokens + gained < limit->burst ? bucket->tokens + gained
			                                                        : limit->burst;
	}
	TAILQ_INSERT_TAIL(&limit->ages, bucket, age);
	bucket->filled_usec = now_usec;
	return bucket;
}

static int64_t wait_usec(const struct rate_limit *limit, const struct bucket *bucket)
{
	return bucket->tokens >= 1
	               ? 0
	               : 1 + (int64_t)((1 - bucket->tokens) / limit->per_sec * (double)USEC_PER_SEC);
}

int64_t rate_limit_take(struct rate_limit *limit, const char *key, int64_t now_usec)
{
	struct bucket *bucket = find(limit, key, now_usec);
	int64_t wait = wait_usec(limit, bucket);
	if (wait == 0)
		bucket->tokens -= 1;
	return wait;
}

int64_t rate_limit_look(struct rate_limit *limit, const char *key, int64_t now_usec)
{
	return wait_usec(limit, find(limit, key, now_usec));
}

bool rate_limit_is_news(struct rate_limit *limit, const char *key, int64_t now_usec)
{
	struct bucket *bucket = find(limit, key, now_usec);
	if (bucket->news_usec > now_usec)
		return false;
	bucket->news_usec = now_usec + RATE_LIMIT_NEWS_SEC * USEC_PER_SEC;
	return true;
}

size_t rate_limit_keys(const struct rate_limit *limit)
{
	return limit->count;
}
