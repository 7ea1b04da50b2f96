/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>

#include "auth/base64url.h"
#include "auth/federated_token.h"
#include "base/clock.h"
#include "outside_issuer.h"

#define NOW_SEC 1800000000ll
#define NOW     (NOW_SEC * USEC_PER_SEC)
#define ISSUER  "https://idp.example.com"
#define CLAIMS                                                                                               \
	"\"iss\":\"" ISSUER                                                                                  \
	"\",\"aud\":\"tarn\",\"sub\":\"ann@example.com\",\"iat\":1799999990,\"exp\":1800000300"

static const char *const audiences[] = { "other", "tarn" };
static const struct federated_terms terms = {
	.issuer = ISSUER, .audiences = audiences, .audience_count = 2, .subject_claim = "sub"
};

/* An ES256 key of the id "k" and what its issuer publishes: made once, it takes time. */
static struct outside_key *key;
static struct web_key_set *keys;

static int make_keys(void **state)
{
	(void)state;
	struct error err;
	key = outside_key_make(WEB_KEY_ES256, "k");
	CLEANUP(free_text) char *text = outside_key_set(key, NULL);
	return web_key_set_parse(slice_from_text(text), &keys, &err) == STATUS_OK ? 0 : 1;
}

static int drop_keys(void **state)
{
	(void)state;
	key = outside_key_free(key);
	keys = web_key_set_free(keys);
	return 0;
}

/* All three steps. */
static status use(const char *text, const struct federated_terms *trusted, int64_t now,
        struct federated_claims *ret, struct error *err)
{
	CLEANUP(federated_token_done) struct federated_token token = { 0 };
	status st = federated_token_read(slice_from_text(text), &token, err);
	if (st == STATUS_OK)
		st = federated_token_prove(&token, keys, err);
	return st == STATUS_OK ? federated_token_check(&token, trusted, now, ret, err) : st;
}

/* F3: no message repeats what the token says. */
static void expect_silence(const struct error *err, const char *text)
{
	CLEANUP(free_text) char *copy = xstrdup(text);
	for (char *part = strtok(copy, "."); part; part = strtok(NULL, "."))
		assert_null(strstr(err->message, part));
	assert_null(strstr(err->message, "ann@example.com"));
	assert_null(strstr(err->message, "idp.example.com"));
}

static void expect_refused(const char *text, const char *message)
{
	struct federated_claims claims;
	struct error err;
	status st = use(text, &terms, NOW, &claims, &err);
	assert_int_not_equal(st, STATUS_OK);
	if (!strstr(err.message, message))
		fail_msg("%s: \"%s\" is not in \"%s\"", text, message, err.message);
	expect_silence(&err, text);
}

static void expect_payload_refused(const char *payload, const char *message)
{
	CLEANUP(free_text) char *text = outside_token(key, payload);
	expect_refused(text, message);
}

static void expect_header_refused(const char *header, const char *message)
{
	CLEANUP(free_text) char *text = outside_token_with(key, header, "{" CLAIMS "}");
	expect_refused(text, message);
}

static struct federated_claims expect_accepted(const char *payload, const struct federated_terms *trusted)
{
	CLEANUP(free_text) char *text = outside_token(key, payload);
	struct federated_claims claims = { 0 };
	struct error err;
	if (use(text, trusted, NOW, &claims, &err) != STATUS_OK)
		fail_msg("%s: %s", payload, err.message);
	return claims;
}

static void tells_the_subject_and_the_end(void **state)
{
	(void)state;
	struct federated_claims claims = expect_accepted("{" CLAIMS "}", &terms);
	assert_string_equal(claims.subject, "ann@example.com");
	assert_int_equal(claims.expires_usec, (NOW_SEC + 300) * USEC_PER_SEC);
}

static void takes_any_of_several_audiences(void **state)
{
	(void)state;
	(void)expect_accepted("{\"iss\":\"" ISSUER
	                      "\",\"aud\":[\"x\",7,\"other\"],\"sub\":\"a\",\"exp\":1800000300}",
	        &terms);
	static const char *const wrong[] = { "\"Tarn\"", "\"tar\"", "\"tarn \"", "\"tarn\\u0000\"", "[]",
		"[\"x\",\"y\"]", "[[\"tarn\"]]", "{\"tarn\":1}", "null", "7" };
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		CLEANUP(free_text)
		char *payload = xasprintf(
		        "{\"iss\":\"" ISSUER "\",\"aud\":%s,\"sub\":\"a\",\"exp\":1800000300}", wrong[i]);
		expect_payload_refused(payload, "audience");
	}
	expect_payload_refused("{\"iss\":\"" ISSUER "\",\"sub\":\"a\",\"exp\":1800000300}", "audience");
}

static void wants_exactly_its_issuer(void **state)
{
	(void)state;
	static const char *const wrong[] = { ISSUER "/", "https://IDP.example.com", "http://idp.example.com",
		ISSUER ".evil.example" };
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		CLEANUP(free_text)
		char *payload = xasprintf(
		        "{\"iss\":\"%s\",\"aud\":\"tarn\",\"sub\":\"a\",\"exp\":1800000300}", wrong[i]);
		expect_payload_refused(payload, "issuer");
	}
	static const char *const none[] = { "{\"aud\":\"tarn\",\"sub\":\"a\",\"exp\":1800000300}",
		"{\"iss\":7,\"aud\":\"tarn\",\"sub\":\"a\",\"exp\":1800000300}",
		"{\"iss\":\"\",\"aud\":\"tarn\",\"sub\":\"a\",\"exp\":1800000300}",
		"{\"iss\":\"a\\nb\",\"aud\":\"tarn\",\"sub\":\"a\",\"exp\":1800000300}",
		"{\"iss\":\"a\\u0000\",\"aud\":\"tarn\",\"sub\":\"a\",\"exp\":1800000300}" };
	for (size_t i = 0; i < ARRAY_LEN(none); i++)
		expect_payload_refused(none[i], "who issued it");
}

#define TIMES(times) "{\"iss\":\"" ISSUER "\",\"aud\":\"tarn\",\"sub\":\"a\"" times "}"

static void knows_the_time(void **state)
{
	(void)state;
	/* A minute of difference between two clocks is forgiven, and not more. */
	(void)expect_accepted(TIMES(",\"exp\":1799999941"), &terms);
	expect_payload_refused(TIMES(",\"exp\":1799999940"), "expired at 2027-01-15T07:59:00Z");
	(void)expect_accepted(TIMES(",\"exp\":1800000300,\"nbf\":1800000060,\"iat\":1800000060"), &terms);
	expect_payload_refused(TIMES(",\"exp\":1800000300,\"nbf\":1800000061"), "not valid yet");
	expect_payload_refused(TIMES(",\"exp\":1800000300,\"iat\":1800000061"), "in the future");
	/* Fractions are allowed, nonsense is not. */
	struct federated_claims claims = expect_accepted(TIMES(",\"exp\":1800000300.75"), &terms);
	assert_int_equal(claims.expires_usec, (NOW_SEC + 300) * USEC_PER_SEC);
	static const char *const ends[] = { "", ",\"exp\":null", ",\"exp\":\"1800000300\"", ",\"exp\":-1",
		",\"exp\":1e300", ",\"exp\":253402300800", ",\"exp\":99999999999999999999", ",\"exp\":true",
		",\"exp\":[1800000300]" };
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		CLEANUP(free_text)
		char *payload =
		        xasprintf("{\"iss\":\"" ISSUER "\",\"aud\":\"tarn\",\"sub\":\"a\"%s}", ends[i]);
		expect_payload_refused(payload, "when it expires");
	}
	expect_payload_refused(TIMES(",\"exp\":1800000300,\"nbf\":\"now\""), "not valid yet");
	expect_payload_refused(TIMES(",\"exp\":1800000300,\"iat\":{}"), "in the future");
}

static void finds_the_subject_in_the_claim_that_is_meant(void **state)
{
	(void)state;
	struct federated_terms by_name = terms, one = terms;
	by_name.subject_claim = "preferred_username";
	struct federated_claims claims =
	        expect_accepted("{" CLAIMS ",\"preferred_username\":\"ann\"}", &by_name);
	assert_string_equal(claims.subject, "ann");
	one.subject = "ann@example.com";
	(void)expect_accepted("{" CLAIMS "}", &one);

	struct error err;
	CLEANUP(free_text) char *usual = outside_token(key, "{" CLAIMS "}");
	assert_int_equal(use(usual, &by_name, NOW, &claims, &err), STATUS_DENIED);
	static const char *const others[] = { "Ann@example.com", "ann@example.co", "ann@example.com " };
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		one.subject = others[i];
		assert_int_equal(use(usual, &one, NOW, &claims, &err), STATUS_DENIED);
		assert_non_null(strstr(err.message, "another subject"));
	}
	static const char *const none[] = { "null", "7", "\"\"", "\"a\\nb\"", "\"a\\u0000b\"", "[\"a\"]",
		"true" };
	for (size_t i = 0; i < ARRAY_LEN(none); i++) {
		CLEANUP(free_text)
		char *payload = xasprintf(
		        "{\"iss\":\"" ISSUER "\",\"aud\":\"tarn\",\"exp\":1800000300,\"sub\":%s}", none[i]);
		expect_payload_refused(payload, "no subject");
	}
}

static void wants_addresses_that_were_verified(void **state)
{
	(void)state;
	struct federated_terms by_mail = terms;
	struct federated_claims claims;
	struct error err;
	by_mail.subject_claim = "email";
	(void)expect_accepted("{" CLAIMS ",\"email\":\"ann@example.com\"}", &by_mail);
	(void)expect_accepted("{" CLAIMS ",\"email\":\"ann@example.com\",\"email_verified\":true}", &by_mail);
	(void)expect_accepted(
	        "{" CLAIMS ",\"email\":\"ann@example.com\",\"email_verified\":\"true\"}", &by_mail);
	static const char *const not [] = { "false", "\"false\"", "null", "0", "1" };
	for (size_t i = 0; i < ARRAY_LEN(not ); i++) {
		CLEANUP(free_text)
		char *payload = xasprintf(
		        "{" CLAIMS ",\"email\":\"ann@example.com\",\"email_verified\":%s}", not [i]);
		CLEANUP(free_text) char *text = outside_token(key, payload);
		assert_int_equal(use(text, &by_mail, NOW, &claims, &err), STATUS_DENIED);
		assert_non_null(strstr(err.message, "verified"));
	}
	/* Only where the address is what counts. */
	(void)expect_accepted("{" CLAIMS ",\"email\":\"x@example.com\",\"email_verified\":false}", &terms);
}

static void refuses_every_other_algorithm(void **state)
{
	(void)state;
	static const char *const headers[] = { "{\"kid\":\"k\"}", "{\"alg\":\"none\",\"kid\":\"k\"}",
		"{\"alg\":\"None\",\"kid\":\"k\"}", "{\"alg\":\"HS256\",\"kid\":\"k\"}", "{\"alg\":\"\"}",
		"{\"alg\":null}", "{\"alg\":[\"ES256\"]}", "{\"alg\":\"ES384\",\"kid\":\"k\"}",
		"{\"alg\":\"ES256\\u0000\",\"kid\":\"k\"}" };
	for (size_t i = 0; i < ARRAY_LEN(headers); i++)
		expect_header_refused(headers[i], "not signed with");
	/* Of another type than the key: there is no such key. */
	expect_header_refused("{\"alg\":\"RS256\",\"kid\":\"k\"}", "no RS256 key");
	expect_header_refused("{\"alg\":\"EdDSA\",\"kid\":\"k\"}", "no EdDSA key");
}

/* The classic: the public key as the secret of an HMAC, and no signature at all. */
static void refuses_tokens_that_nobody_signed(void **state)
{
	(void)state;
	CLEANUP(buffer_done) struct buffer text = { 0 };
	base64url_encode(slice_from_text("{\"alg\":\"none\"}"), &text);
	buffer_append_text(&text, ".");
	base64url_encode(slice_from_text("{" CLAIMS "}"), &text);
	buffer_append_text(&text, ".");
	expect_refused(text.data, "no signed JSON Web Token");
	buffer_append_text(&text, "AA");
	expect_refused(text.data, "not signed with");
	CLEANUP(outside_key_freep) struct outside_key *other = outside_key_make(WEB_KEY_ES256, "k");
	CLEANUP(free_text) char *foreign = outside_token(other, "{" CLAIMS "}");
	expect_refused(foreign, "not by the issuer's key");
}

/* F2: a token that brings its own key. */
static void ignores_keys_in_the_token(void **state)
{
	(void)state;
	CLEANUP(outside_key_freep) struct outside_key *own = outside_key_make(WEB_KEY_ES256, NULL);
	CLEANUP(free_text) char *jwk = outside_key_json(own, "");
	CLEANUP(free_text)
	char *header = xasprintf("{\"alg\":\"ES256\",\"jwk\":%s,\"jku\":\"https://evil.example/jwks\"}", jwk);
	CLEANUP(free_text) char *text = outside_token_with(own, header, "{" CLAIMS "}");
	expect_refused(text, "not by the issuer's key");
}

static void looks_at_the_rest_of_the_header(void **state)
{
	(void)state;
	expect_header_refused("{\"alg\":\"ES256\",\"kid\":\"k\",\"crit\":[\"b64\"],\"b64\":false}", "crit");
	expect_header_refused("{\"alg\":\"ES256\",\"kid\":\"k\",\"crit\":[]}", "crit");
	static const char *const types[] = { "\"logout+jwt\"", "\"dpop+jwt\"", "\"secevent+jwt\"", "7",
		"null" };
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		CLEANUP(free_text)
		char *header = xasprintf("{\"alg\":\"ES256\",\"kid\":\"k\",\"typ\":%s}", types[i]);
		expect_header_refused(header, "typ");
	}
	static const char *const ids[] = { "7", "null", "\"\"", "\"k\\u0000\"", "\"k\\n\"" };
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		CLEANUP(free_text) char *header = xasprintf("{\"alg\":\"ES256\",\"kid\":%s}", ids[i]);
		expect_header_refused(header, "kid");
	}
	expect_header_refused("{\"alg\":\"ES256\",\"kid\":\"K\"}", "no ES256 key");
	static const char *const good[] = { "{\"alg\":\"ES256\"}", "{\"alg\":\"ES256\",\"typ\":\"jwt\"}",
		"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k\"}",
		"{\"typ\":\"application/at+JWT\",\"alg\":\"ES256\",\"x5t\":\"AA\"}" };
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct federated_claims claims;
		struct error err;
		CLEANUP(free_text) char *text = outside_token_with(key, good[i], "{" CLAIMS "}");
		assert_int_equal(use(text, &terms, NOW, &claims, &err), STATUS_OK);
	}
}

/* Two readers of one text must not see two things. */
static void refuses_what_has_two_meanings(void **state)
{
	(void)state;
	expect_payload_refused("{" CLAIMS ",\"sub\":\"admin@localhost\"}", "no signed JSON Web Token");
	expect_payload_refused("{\"sub\":\"x\"," CLAIMS "}", "no signed JSON Web Token");
	expect_payload_refused("{" CLAIMS ",\"s\\u0075b\":\"x\"}", "no signed JSON Web Token");
	expect_header_refused(
	        "{\"alg\":\"ES256\",\"alg\":\"none\",\"kid\":\"k\"}", "no signed JSON Web Token");
	CLEANUP(free_text) char *good = outside_token(key, "{" CLAIMS "}");
	CLEANUP(free_text) char *padded = xasprintf("%s=", good);
	expect_refused(padded, "signature");
	CLEANUP(free_text) char *longer = xasprintf("%s.e30", good);
	expect_refused(longer, "signature");
}

static void refuses_what_is_no_token(void **state)
{
	(void)state;
	static const char *const texts[] = { "", ".", "..", "...", "a.b.c", "dapi0123456789", "e30.e30",
		"e30.e30.", "e30..e30", ".e30.e30", "e30.W10.e30", "W10.e30.e30", "bnVsbA.e30.AA",
		"e30.e30.e30.e30.e30" };
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct federated_token token = { 0 };
		struct error err;
		assert_int_equal(
		        federated_token_read(slice_from_text(texts[i]), &token, &err), STATUS_INVALID);
		assert_null(token.claims);
	}
	CLEANUP(buffer_done) struct buffer large = { 0 };
	buffer_append_text(&large, "{" CLAIMS ",\"groups\":\"");
	while (large.len < FEDERATED_TOKEN_MAX)
		buffer_append_text(&large, "0123456789abcdef");
	buffer_append_text(&large, "\"}");
	expect_payload_refused(large.data, "longer than");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_the_subject_and_the_end),
		cmocka_unit_test(takes_any_of_several_audiences),
		cmocka_unit_test(wants_exactly_its_issuer),
		cmocka_unit_test(knows_the_time),
		cmocka_unit_test(finds_the_subject_in_the_claim_that_is_meant),
		cmocka_unit_test(wants_addresses_that_were_verified),
		cmocka_unit_test(refuses_every_other_algorithm),
		cmocka_unit_test(refuses_tokens_that_nobody_signed),
		cmocka_unit_test(ignores_keys_in_the_token),
		cmocka_unit_test(looks_at_the_rest_of_the_header),
		cmocka_unit_test(refuses_what_has_two_meanings),
		cmocka_unit_test(refuses_what_is_no_token),
	};
	return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
