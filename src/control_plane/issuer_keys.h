/*
 * Issuer keys: the public keys of outside issuers, fetched from where they are published and kept for a while.
 *
 * Invariants
 *   K1  nothing waits for an issuer but the requests that need its keys: each fetch has a thread of its own, FETCHES_MAX at a time, one for each issuer,
 *       and the requests are held meanwhile.
 *   K2  only issuers and addresses of federation policies are fetched from, as http/download.h allows it. A caller without a token can make a fetch
 *       happen but not where to, and not often: FETCH_BURST at once and one every FETCH_EVERY_SEC after that, for each issuer, also of those that fail.
 *   K3  keys are asked for again when they are FRESH_SEC old, or when they lack the one that a token names (the issuer has changed its keys). An issuer
 *       that does not answer then does not lock anybody out at once: what it said last counts until it is LIFE_SEC old, and not longer.
 *   K4  a request causes or waits for at most one fetch of an issuer.
 * Threads: the loop's; a fetch shares nothing with it but its own copies. Nothing is on disk: after a crash keys are fetched again.
 */
#pragma once

#include "auth/web_key.h"
#include "control_plane/call.h"

#define ISSUER_KEYS_FRESH_SEC (10 * 60)
#define ISSUER_KEYS_LIFE_SEC  (60 * 60)

struct issuer_keys;

/* services->issuer_keys is set to it. `clock` is clock_monotonic_usec(), or a test's in its place: how old keys are. */
struct issuer_keys *issuer_keys_create(struct services *services, int64_t (*clock)(void));
/* After the server is closed; NULL is fine. Frees itself from the loop when the last fetch has ended. */
void issuer_keys_close(struct issuer_keys *keys);

enum issuer_keys_answer {
	ISSUER_KEYS_READY,
	ISSUER_KEYS_HELD, /* the request will come again: call->is_held is set */
	ISSUER_KEYS_UNAVAILABLE,
};

/*
 * The keys of an issuer, for a token that names `key_id` (NULL: none) and the algorithm. keys_url NULL: where the issuer's own document says they are.
 * READY: *ret is borrowed until the next return to the loop. It may still lack that key; then the issuer does. UNAVAILABLE: err says why, for the log; for
 * callers it says too much.
 */
enum issuer_keys_answer issuer_keys_find(struct call *call, const char *issuer, const char *keys_url,
        const char *key_id, enum web_key_algorithm algorithm, const struct web_key_set **ret,
        struct error *err);
