/*
 * Key sets of outside issuers: a set that is accepted has keys that can be asked, each for the algorithms of its type only, and none of them takes
 * a signature of zeros for its own. (Some points of Ed25519 do for one message in four: an issuer that publishes such a key lets everybody sign,
 * as one does that publishes its private key.)
 */
#include <stdlib.h>

#include "auth/web_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_key(const struct web_key *key, enum web_key_algorithm algorithm)
{
	static const uint8_t zeros[64];
	struct error err;
	status st = web_key_verify(
	        key, algorithm, slice_from_text("a.b"), (struct slice){ zeros, sizeof zeros }, &err);
	if (st != STATUS_DENIED && !(st == STATUS_OK && algorithm == WEB_KEY_EDDSA))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err;
	CLEANUP(web_key_set_freep) struct web_key_set *set = NULL;
	status st = web_key_set_parse((struct slice){ data, size }, &set, &err);
	if ((st == STATUS_OK) != (set != NULL) ||
	        (st != STATUS_OK && st != STATUS_INVALID && st != STATUS_LIMIT))
		abort();
	if (!set)
		return 0;
	if (web_key_set_count(set) == 0 || web_key_set_count(set) > WEB_KEYS_MAX)
		abort();
	for (enum web_key_algorithm a = WEB_KEY_RS256; a <= WEB_KEY_EDDSA; a++) {
		const struct web_key *key = NULL;
		st = web_key_set_find(set, NULL, a, &key, &err);
		if (st == STATUS_OK)
			check_key(key, a);
		else if (st != STATUS_NOT_FOUND && st != STATUS_CONFLICT)
			abort();
	}
	return 0;
}
