/*
 * Tokens of outside issuers: one that the issuer did not sign is never accepted, and what is accepted keeps the promises of federated_token.h.
 * The first byte of the input says what is done with the rest.
 */
#include <stdlib.h>

#include "auth/base64url.h"
#include "auth/federated_token.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "outside_issuer.h"

#define NOW    (1800000000ll * USEC_PER_SEC)
#define CLAIMS "{\"iss\":\"https://idp.example.com\",\"aud\":\"tarn\",\"sub\":\"ann\",\"exp\":1800000300}"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Made once per process; a key in the repository would look like a secret to everybody who finds it. */
static struct outside_key *key;
static struct web_key_set *keys;
static char *good;

static const char *const audiences[] = { "tarn" };
static const struct federated_terms terms = { .issuer = "https://idp.example.com",
	.audiences = audiences,
	.audience_count = 1,
	.subject_claim = "sub" };

static void prepare(void)
{
	struct error err;
	if (key)
		return;
	key = outside_key_make(WEB_KEY_ES256, "k");
	CLEANUP(free_text) char *text = outside_key_set(key, NULL);
	good = outside_token(key, CLAIMS);
	if (web_key_set_parse(slice_from_text(text), &keys, &err) != STATUS_OK)
		abort();
}

/* True when it was proven; then *ret_is_accepted says whether it also says what it must. */
static bool is_proven(struct slice text, bool *ret_is_accepted)
{
	struct error err;
	struct federated_claims claims = { 0 };
	CLEANUP(federated_token_done) struct federated_token token = { 0 };
	*ret_is_accepted = false;
	status st = federated_token_read(text, &token, &err);
	if (st == STATUS_INVALID)
		return false;
	if (st != STATUS_OK || token.issuer[0] == '\0' || strlen(token.key_id) > WEB_KEY_ID_MAX)
		abort();
	st = federated_token_prove(&token, keys, &err);
	if (st == STATUS_NOT_FOUND || st == STATUS_DENIED)
		return false;
	if (st != STATUS_OK)
		abort();
	st = federated_token_check(&token, &terms, NOW, &claims, &err);
	*ret_is_accepted = st == STATUS_OK;
	if (st == STATUS_DENIED)
		return true;
	if (st != STATUS_OK || strcmp(token.issuer, terms.issuer) != 0 || claims.subject[0] == '\0' ||
	        claims.expires_usec + FEDERATED_LEEWAY_SEC * USEC_PER_SEC <= NOW ||
	        utf8_valid_prefix(slice_from_text(claims.subject)) != strlen(claims.subject))
		abort();
	for (const char *c = claims.subject; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			abort();
	return true;
}

/* Nobody can guess a signature: whatever differs from the good token is refused. */
static void check_foreign(struct slice text)
{
	bool is_accepted, is_good = slice_equals_text(text, good);
	if (is_proven(text, &is_accepted) != is_good || is_accepted != is_good)
		abort();
}

/* Triples of position and change, applied to the good token. */
static void check_mutation(struct slice script)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	buffer_append_text(&text, good);
	for (size_t i = 0; i + 3 <= script.len; i += 3) {
		size_t at = ((size_t)script.data[i] << 8 | script.data[i + 1]) % text.len;
		text.data[at] = (char)(text.data[at] ^ script.data[i + 2]);
	}
	check_foreign(buffer_slice(&text));
}

/* What the issuer might sign: a header or a payload of the fuzzer's. Only texts, as outside_token() takes them. */
static void check_signed(struct slice part, bool is_header)
{
	bool is_accepted;
	CLEANUP(free_text) char *text = xstrndup(part.data, part.len);
	CLEANUP(free_text)
	char *token = is_header ? outside_token_with(key, text, CLAIMS) : outside_token(key, text);
	(void)is_proven(slice_from_text(token), &is_accepted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	prepare();
	if (size == 0)
		return 0;
	struct slice rest = { data + 1, size - 1 };
	switch (data[0] % 4) {
	case 0:
		check_foreign(rest);
		break;
	case 1:
		check_mutation(rest);
		break;
	default:
		check_signed(rest, data[0] % 4 == 2);
		break;
	}
	return 0;
}
