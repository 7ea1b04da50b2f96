#include "control_plane/issuer_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "auth/api_token.h"
#include "auth/issuer_document.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rate_limit.h"
#include "http/download.h"
#include "http/server.h"

#define SOURCES_MAX      256 /* the one that was used longest ago makes room */
#define FETCHES_MAX      8
#define FETCH_BURST      5
#define FETCH_EVERY_SEC  30
#define FETCH_TIMEOUT_MS 5000l /* of each of the two documents */
#define WAITERS_MAX      256   /* requests that are held for one fetch */

struct waiter {
	LIST_ENTRY(waiter) link;
	struct http_hold *hold;
};

struct source {
	TAILQ_ENTRY(source) link; /* the one that was used last is first */
	char *issuer, *keys_url;  /* keys_url NULL: its document says it */
	char hash[API_TOKEN_HASH_LEN + 1];
	struct web_key_set *keys; /* NULL: none, or too old */
	int64_t fetch_usec;       /* by keys->clock: when they came */
	int64_t attempt_usec; /* monotonic, as begin_usec of requests: when the last fetch ended, however; 0: none has */
	struct error problem; /* of the last fetch that failed */
	struct fetch *fetch;  /* on its way */
	LIST_HEAD(, waiter) waiters;
	size_t waiter_count;
};

/* Its thread has `issuer`, `keys_url`, `is_stopped` and the results; the rest is the loop's. */
struct fetch {
	struct issuer_keys *owner;
	struct source *source;
	uv_thread_t thread;
	uv_async_t ended;
	char *issuer, *keys_url;
	atomic_bool is_stopped;
	status st;
	struct error problem;
	struct web_key_set *keys;
	LIST_ENTRY(fetch) link;
};

struct issuer_keys {
	struct services *services;
	int64_t (*clock)(void);
	TAILQ_HEAD(sources, source) sources;
	size_t source_count;
	LIST_HEAD(, fetch) fetches;
	size_t fetch_count;
	struct rate_limit *rate; /* K2 */
	bool is_closing;
};

struct issuer_keys *issuer_keys_create(struct services *services, int64_t (*clock)(void))
{
	struct issuer_keys *keys = xcalloc(1, sizeof *keys);
	keys->services = services;
	keys->clock = clock;
	keys->rate = rate_limit_create(1.0 / FETCH_EVERY_SEC, FETCH_BURST);
	TAILQ_INIT(&keys->sources);
	LIST_INIT(&keys->fetches);
	services->issuer_keys = keys;
	return keys;
}

/* ---- Sources ---- */

static void release_waiters(struct source *source)
{
	struct waiter *waiter;
	while ((waiter = LIST_FIRST(&source->waiters))) {
		struct http_hold *hold = waiter->hold;
		LIST_REMOVE(waiter, link);
		free(waiter);
		source->waiter_count--;
		http_release(hold); /* answers it, which may use the source */
	}
}

static void forget_source(struct issuer_keys *keys, struct source *source)
{
	TAILQ_REMOVE(&keys->sources, source, link);
	keys->source_count--;
	web_key_set_free(source->keys);
	free(source->issuer);
	free(source->keys_url);
	free(source);
}

/* One that nobody waits for makes room. False: there is none. */
static bool make_room(struct issuer_keys *keys)
{
	struct source *source;
	if (keys->source_count < SOURCES_MAX)
		return true;
	TAILQ_FOREACH_REVERSE(source, &keys->sources, sources, link)
	{
		if (!source->fetch) {
			forget_source(keys, source);
			return true;
		}
	}
	return false;
}

static struct source *find_source(struct issuer_keys *keys, const char *issuer, const char *keys_url)
{
	char hash[API_TOKEN_HASH_LEN + 1];
	struct source *source;
	CLEANUP(free_text) char *both = xasprintf("%s\n%s", issuer, keys_url ? keys_url : "");
	api_token_hash(slice_from_text(both), hash);
	TAILQ_FOREACH (source, &keys->sources, link)
		if (strcmp(source->hash, hash) == 0)
			break;
	if (source) {
		TAILQ_REMOVE(&keys->sources, source, link);
	} else {
		if (!make_room(keys))
			return NULL;
		source = xcalloc(1, sizeof *source);
		source->issuer = xstrdup(issuer);
		source->keys_url = keys_url ? xstrdup(keys_url) : NULL;
		memcpy(source->hash, hash, sizeof hash);
		LIST_INIT(&source->waiters);
		keys->source_count++;
	}
	TAILQ_INSERT_HEAD(&keys->sources, source, link);
	return source;
}

/* ---- Fetching ---- */

static status get_keys_url(struct fetch *fetch)
{
	static const struct download_limits limits = { .bytes = ISSUER_DOCUMENT_MAX,
		.timeout_ms = FETCH_TIMEOUT_MS };
	CLEANUP(buffer_done) struct buffer text = { 0 };
	CLEANUP(free_text) char *url = issuer_document_url(fetch->issuer);
	status st = download(url, &limits, &fetch->is_stopped, &text, &fetch->problem);
	if (st != STATUS_OK)
		return st;
	st = issuer_document_parse(buffer_slice(&text), fetch->issuer, &fetch->keys_url, &fetch->problem);
	return st == STATUS_OK ? st : error_prefix(&fetch->problem, "\"%s\"", url);
}

static status get_keys(struct fetch *fetch)
{
	static const struct download_limits limits = { .bytes = WEB_KEY_SET_MAX,
		.timeout_ms = FETCH_TIMEOUT_MS };
	CLEANUP(buffer_done) struct buffer text = { 0 };
	status st = download(fetch->keys_url, &limits, &fetch->is_stopped, &text, &fetch->problem);
	if (st != STATUS_OK)
		return st;
	st = web_key_set_parse(buffer_slice(&text), &fetch->keys, &fetch->problem);
	return st == STATUS_OK ? st : error_prefix(&fetch->problem, "\"%s\"", fetch->keys_url);
}

/* In a thread of its own. */
static void run(void *arg)
{
	struct fetch *fetch = arg;
	fetch->st = fetch->keys_url ? STATUS_OK : get_keys_url(fetch);
	if (fetch->st == STATUS_OK)
		fetch->st = get_keys(fetch);
	(void)uv_async_send(&fetch->ended);
}

static void free_when_done(struct issuer_keys *keys)
{
	if (!keys->is_closing || keys->fetch_count > 0)
		return;
	while (!TAILQ_EMPTY(&keys->sources))
		forget_source(keys, TAILQ_FIRST(&keys->sources));
	rate_limit_free(keys->rate);
	free(keys);
}

static void on_closed(uv_handle_t *handle)
{
	struct fetch *fetch = handle->data;
	struct issuer_keys *keys = fetch->owner;
	keys->fetch_count--;
	free(fetch->issuer);
	free(fetch->keys_url);
	web_key_set_free(fetch->keys);
	free(fetch);
	free_when_done(keys);
}

static void on_ended(uv_async_t *handle)
{
	struct fetch *fetch = handle->data;
	struct source *source = fetch->source;
	(void)uv_thread_join(&fetch->thread);
	LIST_REMOVE(fetch, link);
	source->fetch = NULL;
	source->attempt_usec = clock_monotonic_usec();
	if (fetch->st == STATUS_OK) {
		web_key_set_free(source->keys);
		source->keys = TAKE_PTR(fetch->keys);
		source->fetch_usec = fetch->owner->clock();
		log_info("issuer \"%s\": %zu keys", source->issuer, web_key_set_count(source->keys));
	} else {
		source->problem = fetch->problem;
		if (!fetch->owner->is_closing)
			log_warning("issuer \"%s\": %s", source->issuer, fetch->problem.message);
	}
	uv_close((uv_handle_t *)handle, on_closed);
	release_waiters(source);
}

/* False with err filled when that may not be now. */
static bool start(struct issuer_keys *keys, struct source *source, struct error *err)
{
	int64_t wait = keys->fetch_count >= FETCHES_MAX
	                       ? USEC_PER_SEC
	                       : rate_limit_take(keys->rate, source->hash, keys->clock());
	if (wait > 0) {
		error_fill(err, STATUS_UNAVAILABLE, 0, "%s; asked again in %lld s at the earliest",
		        source->problem.message[0] ? source->problem.message : "too many keys are asked for",
		        (long long)((wait + USEC_PER_SEC - 1) / USEC_PER_SEC));
		return false;
	}
	struct fetch *fetch = xcalloc(1, sizeof *fetch);
	fetch->owner = keys;
	fetch->source = source;
	fetch->issuer = xstrdup(source->issuer);
	fetch->keys_url = source->keys_url ? xstrdup(source->keys_url) : NULL;
	fetch->ended.data = fetch;
	(void)uv_async_init(keys->services->loop, &fetch->ended, on_ended);
	keys->fetch_count++;
	int rc = uv_thread_create(&fetch->thread, run, fetch);
	if (rc != 0) {
		uv_close((uv_handle_t *)&fetch->ended, on_closed);
		error_fill(err, STATUS_UNAVAILABLE, 0, "could not start a thread: %s", uv_strerror(rc));
		return false;
	}
	LIST_INSERT_HEAD(&keys->fetches, fetch, link);
	source->fetch = fetch;
	return true;
}

void issuer_keys_close(struct issuer_keys *keys)
{
	struct fetch *fetch;
	struct source *source;
	if (!keys)
		return;
	keys->is_closing = true;
	TAILQ_FOREACH (source, &keys->sources, link)
		release_waiters(source); /* the server is closed: nothing comes of it */
	LIST_FOREACH (fetch, &keys->fetches, link)
		atomic_store(&fetch->is_stopped, true);
	free_when_done(keys);
}

/* ---- Asking ---- */

/* True when the request is held until the fetch has ended. */
static bool hold(struct call *call, struct source *source)
{
	if (!http_can_hold(call->request) || source->waiter_count >= WAITERS_MAX)
		return false;
	struct waiter *waiter = xcalloc(1, sizeof *waiter);
	waiter->hold = http_hold(call->request);
	LIST_INSERT_HEAD(&source->waiters, waiter, link);
	source->waiter_count++;
	call->is_held = true;
	return true;
}

static bool has_key(const struct source *source, const char *key_id, enum web_key_algorithm algorithm)
{
	const struct web_key *key;
	struct error ignored;
	return source->keys &&
	       web_key_set_find(source->keys, key_id, algorithm, &key, &ignored) != STATUS_NOT_FOUND;
}

enum issuer_keys_answer issuer_keys_find(struct call *call, const char *issuer, const char *keys_url,
        const char *key_id, enum web_key_algorithm algorithm, const struct web_key_set **ret,
        struct error *err)
{
	struct issuer_keys *keys = call->services->issuer_keys;
	struct source *source = find_source(keys, issuer, keys_url);
	if (!source) {
		error_fill(err, STATUS_LIMIT, 0, "the keys of too many issuers are being asked for");
		return ISSUER_KEYS_UNAVAILABLE;
	}
	int64_t age = keys->clock() - source->fetch_usec;
	if (source->keys && age >= ISSUER_KEYS_LIFE_SEC * USEC_PER_SEC) /* K3 */
		source->keys = web_key_set_free(source->keys);
	bool is_enough = has_key(source, key_id, algorithm) && age < ISSUER_KEYS_FRESH_SEC * USEC_PER_SEC;
	bool was_asked =
	        source->attempt_usec != 0 && source->attempt_usec >= call->request->begin_usec; /* K4 */
	error_fill(err, STATUS_UNAVAILABLE, 0, "%s", source->problem.message);
	if (!is_enough && !was_asked && (source->fetch || start(keys, source, err))) {
		if (hold(call, source))
			return ISSUER_KEYS_HELD;
		error_fill(err, STATUS_UNAVAILABLE, 0, "its keys are being fetched");
	}
	*ret = source->keys;
	return source->keys ? ISSUER_KEYS_READY : ISSUER_KEYS_UNAVAILABLE;
}
