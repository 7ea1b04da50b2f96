/*
 * Rate limit: a token bucket for each of many keys (identities, client addresses), in bounded memory.
 *
 * A bucket holds at most `burst` tokens and gains `per_sec` of them every second. When there are RATE_LIMIT_KEYS_MAX buckets, the one that
 * was not asked for longest is forgotten, which fills it; a flood of keys can do no more than that.
 * Threads: the loop's.
 */
#pragma once

#include "base/base.h"

#define RATE_LIMIT_KEYS_MAX 4096
#define RATE_LIMIT_NEWS_SEC 60
#define RATE_LIMIT_KEY_MAX  80 /* longer keys are cut */

struct rate_limit;

struct rate_limit *rate_limit_create(double per_sec, double burst);
struct rate_limit *rate_limit_free(struct rate_limit *limit); /* NULL is fine; always NULL */

/* Takes a token. 0, or how many microseconds it takes until there is one: then none is taken. */
int64_t rate_limit_take(struct rate_limit *limit, const char *key, int64_t now_usec);
/* The same without taking one. */
int64_t rate_limit_look(struct rate_limit *limit, const char *key, int64_t now_usec);
/* Should somebody be told that the key was refused? True at most once in RATE_LIMIT_NEWS_SEC: a flood of refusals is one piece of news. */
bool rate_limit_is_news(struct rate_limit *limit, const char *key, int64_t now_usec);
size_t rate_limit_keys(const struct rate_limit *limit);
