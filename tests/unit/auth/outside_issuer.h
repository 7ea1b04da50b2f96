/* Outside issuer: keys made for a test, as an issuer publishes them, and tokens signed with them. Ends the process when OpenSSL refuses. */
#pragma once

#include "auth/web_key.h"
#include "base/base.h"
#include "base/buffer.h"

struct outside_key;

/* id NULL: it has none. */
struct outside_key *outside_key_make(enum web_key_algorithm algorithm, const char *id);
struct outside_key *outside_key_free(struct outside_key *key);
static inline void outside_key_freep(struct outside_key **key)
{
	*key = outside_key_free(*key);
}
/* One JSON Web Key; `more` is put in front of its members: "\"use\":\"sig\",". Caller frees. */
char *outside_key_json(const struct outside_key *key, const char *more);
/* {"keys":[…]} of one or two (NULL: none). Caller frees. */
char *outside_key_set(const struct outside_key *a, const struct outside_key *b);

/* header "." payload "." signature, with a header of any text. Caller frees. */
char *outside_token_with(const struct outside_key *key, const char *header, const char *payload);
/* With the header that fits the key. */
char *outside_token(const struct outside_key *key, const char *payload);
