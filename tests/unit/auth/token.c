/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/base64url.h"
#include "auth/private_key.h"
#include "auth/token.h"
#include "base/clock.h"
#include "base/file.h"

#define NOW (1800000000ll * USEC_PER_SEC)

struct fixture {
	char folder[32];
	char *path;
	struct token_key *key;
	EVP_PKEY *pair; /* the same key, to sign what token_mint() would not */
};

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);
	struct error err;
	strcpy(f->folder, "/tmp/tarn-unit-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	f->path = xasprintf("%s/token.key", f->folder);
	assert_int_equal(token_key_create(f->path, &err), STATUS_OK);
	assert_int_equal(token_key_load(f->path, &f->key, &err), STATUS_OK);
	assert_int_equal(private_key_read(f->path, &f->pair, &err), STATUS_OK);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	struct error err;
	EVP_PKEY_free(f->pair);
	token_key_free(f->key);
	assert_int_equal(tree_remove(f->folder, &err), STATUS_OK);
	free(f->path);
	free(f);
	return 0;
}

static struct token_claims good_claims(void)
{
	struct token_claims claims = {
		.login = "alice@example.com", .endpoints = { "ep-calm-lake-1a2b3c4d" }, .endpoint_count = 1
	};
	claims.issued_usec = NOW;
	claims.expires_usec = NOW + 3600 * USEC_PER_SEC;
	return claims;
}

/* Header and payload as given, signed with the right key: only the check under test can refuse it. */
static void sign(const struct fixture *f, const char *header, struct slice payload, struct buffer *out)
{
	base64url_encode(slice_from_text(header), out);
	buffer_append_text(out, ".");
	base64url_encode(payload, out);
	uint8_t signature[1024];
	size_t len = sizeof signature;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, f->pair), 1);
	assert_int_equal(EVP_DigestSign(ctx, signature, &len, (const uint8_t *)out->data, out->len), 1);
	EVP_MD_CTX_free(ctx);
	buffer_append_text(out, ".");
	base64url_encode((struct slice){ signature, len }, out);
}

#define RS256 "{\"alg\":\"RS256\",\"typ\":\"JWT\"}"
#define GOOD_PAYLOAD                                                                                         \
	"{\"iss\":\"tarn\",\"sub\":\"alice@example.com\",\"endpoint\":\"ep-a\",\"iat\":1800000000,"          \
	"\"exp\":1800003600}"

static void assert_refused(const struct fixture *f, struct slice token, const char *why)
{
	struct token_claims claims, before;
	struct error err;
	memset(&claims, 0x55, sizeof claims);
	memcpy(&before, &claims, sizeof claims);
	assert_int_equal(token_verify(f->key, token, NOW, &claims, &err), STATUS_DENIED);
	assert_memory_equal(&claims, &before, sizeof claims);
	if (why && !strstr(err.message, why))
		fail_msg("expected \"%s\" in \"%s\"", why, err.message);
}

static void assert_payload_refused(const struct fixture *f, const char *payload, const char *why)
{
	CLEANUP(buffer_done) struct buffer token = { 0 };
	sign(f, RS256, slice_from_text(payload), &token);
	assert_refused(f, buffer_slice(&token), why);
}

static void minted_token_comes_back(void **state)
{
	const struct fixture *f = *state;
	const struct token_claims claims = good_claims();
	CLEANUP(buffer_done) struct buffer token = { 0 };
	struct token_claims got;
	struct error err;
	assert_int_equal(token_mint(f->key, &claims, &token, &err), STATUS_OK);
	assert_int_equal(token_verify(f->key, buffer_slice(&token), NOW, &got, &err), STATUS_OK);
	assert_string_equal(got.login, claims.login);
	assert_int_equal(got.endpoint_count, 1);
	assert_string_equal(got.endpoints[0], claims.endpoints[0]);
	assert_true(got.issued_usec == claims.issued_usec && got.expires_usec == claims.expires_usec);
}

static void a_token_may_open_several_endpoints(void **state)
{
	const struct fixture *f = *state;
	struct token_claims claims = good_claims(), got;
	CLEANUP(buffer_done) struct buffer token = { 0 };
	struct error err;
	strcpy(claims.endpoints[1], "ep-b");
	strcpy(claims.endpoints[2], "ep-c");
	claims.endpoint_count = 3;
	assert_int_equal(token_mint(f->key, &claims, &token, &err), STATUS_OK);
	assert_int_equal(token_verify(f->key, buffer_slice(&token), NOW, &got, &err), STATUS_OK);
	assert_int_equal(got.endpoint_count, 3);
	assert_true(token_claims_name(&got, "ep-calm-lake-1a2b3c4d"));
	assert_true(token_claims_name(&got, "ep-b") && token_claims_name(&got, "ep-c"));
	assert_false(token_claims_name(&got, "ep-") || token_claims_name(&got, "ep-bb") ||
	             token_claims_name(&got, ""));
#define WITH(list)                                                                                           \
	"{\"iss\":\"tarn\",\"sub\":\"a\",\"endpoint\":" list ",\"iat\":1800000000,\"exp\":1800003600}"
	static const char *const bad[] = { WITH("[]"), WITH("[1]"), WITH("[\"ep-a\",\"\"]"),
		WITH("[\"ep-a\",[\"ep-b\"]]"), WITH("[\"ep-a\",\"ep b\"]"), WITH("[null]"),
		WITH("{\"a\":\"ep-a\"}") };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_payload_refused(f, bad[i], "\"endpoint\"");
	CLEANUP(buffer_done) struct buffer many = { 0 };
	buffer_append_text(&many, "{\"iss\":\"tarn\",\"sub\":\"a\",\"endpoint\":[");
	for (int i = 0; i <= TOKEN_ENDPOINTS_MAX; i++)
		buffer_append_text(&many, i > 0 ? ",\"ep-a\"" : "\"ep-a\"");
	buffer_append_text(&many, "],\"iat\":1800000000,\"exp\":1800003600}");
	assert_payload_refused(f, many.data, "\"endpoint\"");
}

static void no_two_tokens_are_the_same(void **state)
{
	const struct fixture *f = *state;
	const struct token_claims claims = good_claims();
	CLEANUP(buffer_done) struct buffer one = { 0 }, two = { 0 };
	struct error err;
	assert_int_equal(token_mint(f->key, &claims, &one, &err), STATUS_OK);
	assert_int_equal(token_mint(f->key, &claims, &two, &err), STATUS_OK);
	assert_string_not_equal(one.data, two.data);
}

static void it_ends_with_its_last_second(void **state)
{
	const struct fixture *f = *state;
	const struct token_claims claims = good_claims();
	CLEANUP(buffer_done) struct buffer token = { 0 };
	struct token_claims got;
	struct error err;
	assert_int_equal(token_mint(f->key, &claims, &token, &err), STATUS_OK);
	assert_int_equal(
	        token_verify(f->key, buffer_slice(&token), claims.expires_usec - 1, &got, &err), STATUS_OK);
	assert_int_equal(
	        token_verify(f->key, buffer_slice(&token), claims.expires_usec, &got, &err), STATUS_DENIED);
	assert_non_null(strstr(err.message, "token expired at 2027-01-15T09:00:00Z"));
}

/* Every single character matters: changed to any other, the token is refused. */
static void changed_anywhere_it_is_refused(void **state)
{
	const struct fixture *f = *state;
	const struct token_claims claims = good_claims();
	static const char others[] = "Ab9-_.=~ ";
	CLEANUP(buffer_done) struct buffer token = { 0 };
	struct error err;
	assert_int_equal(token_mint(f->key, &claims, &token, &err), STATUS_OK);
	for (size_t i = 0; i < token.len; i++) {
		char original = token.data[i];
		for (size_t k = 0; k < sizeof others; k++) { /* the NUL at the end, too */
			if (others[k] == original)
				continue;
			token.data[i] = others[k];
			assert_refused(f, buffer_slice(&token), NULL);
		}
		token.data[i] = original;
	}
	for (size_t len = 0; len < token.len; len++)
		assert_refused(f, (struct slice){ (const uint8_t *)token.data, len }, NULL);
	buffer_append_text(&token, "A");
	assert_refused(f, buffer_slice(&token), NULL);
}

static void another_key_is_refused(void **state)
{
	const struct fixture *f = *state;
	const struct token_claims claims = good_claims();
	CLEANUP(free_text) char *path = xasprintf("%s/other.key", f->folder);
	CLEANUP(token_key_freep) struct token_key *other = NULL;
	CLEANUP(buffer_done) struct buffer token = { 0 };
	struct error err;
	assert_int_equal(token_key_create(path, &err), STATUS_OK);
	assert_int_equal(token_key_load(path, &other, &err), STATUS_OK);
	assert_int_equal(token_mint(other, &claims, &token, &err), STATUS_OK);
	assert_refused(f, buffer_slice(&token), "no valid signature");
	assert_int_equal(unlink(path), 0);
}

/* The key decides the algorithm (RFC 8725 section 3.1), whatever the header says. */
static void other_algorithms_are_refused(void **state)
{
	static const char *const headers[] = { "{\"alg\":\"none\"}", "{\"alg\":\"HS256\"}",
		"{\"alg\":\"RS512\"}", "{\"alg\":\"PS256\"}", "{\"alg\":\"rs256\"}",
		"{\"alg\":\"RS256\\u0000\"}", "{\"alg\":256}", "{}", "{\"typ\":\"JWT\"}", "{\"alg\":null}",
		"{\"alg\":[\"RS256\"]}" };
	const struct fixture *f = *state;
	for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
		CLEANUP(buffer_done) struct buffer token = { 0 };
		sign(f, headers[i], slice_from_text(GOOD_PAYLOAD), &token);
		assert_refused(f, buffer_slice(&token), "RS256");
	}
	CLEANUP(buffer_done) struct buffer unsigned_token = { 0 };
	base64url_encode(slice_from_text("{\"alg\":\"none\"}"), &unsigned_token);
	buffer_append_text(&unsigned_token, ".");
	base64url_encode(slice_from_text(GOOD_PAYLOAD), &unsigned_token);
	buffer_append_text(&unsigned_token, ".");
	assert_refused(f, buffer_slice(&unsigned_token), "malformed");

	CLEANUP(buffer_done) struct buffer critical = { 0 };
	sign(f, "{\"alg\":\"RS256\",\"crit\":[\"b64\"],\"b64\":false}", slice_from_text(GOOD_PAYLOAD),
	        &critical);
	assert_refused(f, buffer_slice(&critical), "extension");
}

/* The classic confusion: the public key used as the secret of an HMAC. */
static void hmac_with_the_public_key_is_refused(void **state)
{
	const struct fixture *f = *state;
	uint8_t *public_key = NULL, signature[EVP_MAX_MD_SIZE];
	unsigned int len = 0;
	int key_len = i2d_PUBKEY(f->pair, &public_key);
	static const char *const headers[] = { "{\"alg\":\"HS256\"}", RS256 };
	for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
		CLEANUP(buffer_done) struct buffer token = { 0 };
		base64url_encode(slice_from_text(headers[i]), &token);
		buffer_append_text(&token, ".");
		base64url_encode(slice_from_text(GOOD_PAYLOAD), &token);
		assert_non_null(HMAC(EVP_sha256(), public_key, key_len, (const uint8_t *)token.data,
		        token.len, signature, &len));
		buffer_append_text(&token, ".");
		base64url_encode((struct slice){ signature, len }, &token);
		assert_refused(f, buffer_slice(&token), NULL);
	}
	OPENSSL_free(public_key);
}

static void hand_signed_payload_is_accepted(void **state)
{
	/* The counterpart of all the refusals below: their tokens are refused for what differs from this one. */
	const struct fixture *f = *state;
	CLEANUP(buffer_done) struct buffer token = { 0 };
	struct token_claims got;
	struct error err;
	sign(f, RS256, slice_from_text(GOOD_PAYLOAD), &token);
	assert_int_equal(token_verify(f->key, buffer_slice(&token), NOW, &got, &err), STATUS_OK);
	assert_string_equal(got.login, "alice@example.com");
}

static void bad_claims_are_refused(void **state)
{
	const struct fixture *f = *state;
#define TIMES "\"iat\":1800000000,\"exp\":1800003600"
	assert_payload_refused(f, "[]", "malformed");
	assert_payload_refused(f, "", "malformed");
	assert_payload_refused(f, "{\"iss\":\"tarn\"", "malformed");
	assert_payload_refused(f, "{\"sub\":\"a\",\"endpoint\":\"ep-a\"," TIMES "}", "issuer");
	assert_payload_refused(
	        f, "{\"iss\":\"other\",\"sub\":\"a\",\"endpoint\":\"ep-a\"," TIMES "}", "issuer");
	assert_payload_refused(f, "{\"iss\":\"tarn\",\"endpoint\":\"ep-a\"," TIMES "}", "\"sub\"");
	assert_payload_refused(f, "{\"iss\":\"tarn\",\"sub\":1,\"endpoint\":\"ep-a\"," TIMES "}", "\"sub\"");
	assert_payload_refused(
	        f, "{\"iss\":\"tarn\",\"sub\":\"\",\"endpoint\":\"ep-a\"," TIMES "}", "\"sub\"");
	assert_payload_refused(
	        f, "{\"iss\":\"tarn\",\"sub\":\"a\\u0000b\",\"endpoint\":\"ep-a\"," TIMES "}", "\"sub\"");
	assert_payload_refused(
	        f, "{\"iss\":\"tarn\",\"sub\":\"a\\nb\",\"endpoint\":\"ep-a\"," TIMES "}", "\"sub\"");
	assert_payload_refused(
	        f, "{\"iss\":\"tarn\",\"sub\":\"a\\u007fb\",\"endpoint\":\"ep-a\"," TIMES "}", "\"sub\"");
	assert_payload_refused(f, "{\"iss\":\"tarn\",\"sub\":\"a\"," TIMES "}", "\"endpoint\"");
	assert_payload_refused(
	        f, "{\"iss\":\"tarn\",\"sub\":\"a\",\"endpoint\":\"\"," TIMES "}", "\"endpoint\"");
	assert_payload_refused(
	        f, "{\"iss\":\"tarn\",\"sub\":\"a\",\"endpoint\":\"../x\"," TIMES "}", "\"endpoint\"");
	assert_payload_refused(
	        f, "{\"iss\":\"tarn\",\"sub\":\"a\",\"endpoint\":\"ep-a\\u0000\"," TIMES "}", "\"endpoint\"");
#undef TIMES
#define WHO "{\"iss\":\"tarn\",\"sub\":\"a\",\"endpoint\":\"ep-a\","
	assert_payload_refused(f, WHO "\"iat\":1800000000}", "times");
	assert_payload_refused(f, WHO "\"exp\":1800003600}", "times");
	assert_payload_refused(f, WHO "\"iat\":1800000000,\"exp\":\"1800003600\"}", "times");
	assert_payload_refused(f, WHO "\"iat\":1800000000,\"exp\":1800003600.5}", "times");
	assert_payload_refused(f, WHO "\"iat\":-5,\"exp\":1800003600}", "times");
	assert_payload_refused(f, WHO "\"iat\":1800003600,\"exp\":1800003600}", "times");
	/* would overflow when turned into microseconds */
	assert_payload_refused(f, WHO "\"iat\":1800000000,\"exp\":9223372036854775807}", "times");
	assert_payload_refused(f, WHO "\"iat\":1800000000,\"exp\":18446744073709551615}", "times");
#undef WHO
}

static void invalid_utf8_is_refused(void **state)
{
	assert_payload_refused(*state,
	        "{\"iss\":\"tarn\",\"sub\":\"a\xff\",\"endpoint\":\"ep-a\",\"iat\":1800000000,\"exp\":"
	        "1800003600}",
	        "malformed");
}

static void too_long_is_refused(void **state)
{
	const struct fixture *f = *state;
	CLEANUP(buffer_done) struct buffer payload = { 0 }, token = { 0 };
	buffer_append_text(&payload, "{\"pad\":\"");
	for (int i = 0; i < 3000; i++)
		buffer_append_text(&payload, "x");
	buffer_append_text(&payload, "\",");
	buffer_append_text(&payload, &GOOD_PAYLOAD[1]);
	sign(f, RS256, buffer_slice(&payload), &token);
	assert_true(token.len > TOKEN_MAX_BYTES);
	assert_refused(f, buffer_slice(&token), "longer than 4096");
	assert_refused(f, (struct slice){ 0 }, "malformed");
}

static void minting_refuses_what_verifying_would(void **state)
{
	const struct fixture *f = *state;
	CLEANUP(buffer_done) struct buffer token = { 0 };
	struct error err;
	struct token_claims claims = good_claims();
	strcpy(claims.login, "a\nb");
	assert_int_equal(token_mint(f->key, &claims, &token, &err), STATUS_INVALID);
	strcpy(claims.login, "a\xff");
	assert_int_equal(token_mint(f->key, &claims, &token, &err), STATUS_INVALID);
	strcpy(claims.login, "");
	assert_int_equal(token_mint(f->key, &claims, &token, &err), STATUS_INVALID);
	claims = good_claims();
	strcpy(claims.endpoints[0], "ep a");
	assert_int_equal(token_mint(f->key, &claims, &token, &err), STATUS_INVALID);
	claims = good_claims();
	claims.endpoint_count = 0;
	assert_int_equal(token_mint(f->key, &claims, &token, &err), STATUS_INVALID);
	claims.endpoint_count = TOKEN_ENDPOINTS_MAX + 1;
	assert_int_equal(token_mint(f->key, &claims, &token, &err), STATUS_INVALID);
	claims = good_claims();
	claims.expires_usec = claims.issued_usec;
	assert_int_equal(token_mint(f->key, &claims, &token, &err), STATUS_INVALID);
	assert_int_equal(token.len, 0);
}

static void the_longest_claims_fit(void **state)
{
	const struct fixture *f = *state;
	CLEANUP(buffer_done) struct buffer token = { 0 };
	struct token_claims claims = good_claims(), got;
	struct error err;
	memset(claims.login, '"', TOKEN_LOGIN_MAX); /* escaped in JSON, so even longer there */
	claims.login[TOKEN_LOGIN_MAX] = '\0';
	claims.endpoint_count = TOKEN_ENDPOINTS_MAX;
	for (size_t i = 0; i < TOKEN_ENDPOINTS_MAX; i++) {
		memset(claims.endpoints[i], 'e', TOKEN_ENDPOINT_MAX);
		claims.endpoints[i][TOKEN_ENDPOINT_MAX] = '\0';
	}
	assert_int_equal(token_mint(f->key, &claims, &token, &err), STATUS_OK);
	assert_int_equal(token_verify(f->key, buffer_slice(&token), NOW, &got, &err), STATUS_OK);
	assert_string_equal(got.login, claims.login);
}

static void key_files(void **state)
{
	const struct fixture *f = *state;
	struct error err;
	struct token_key *key = NULL;
	struct stat st;
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(token_key_create(f->path, &err), STATUS_EXISTS);

	CLEANUP(free_text) char *path = xasprintf("%s/wrong.key", f->folder);
	assert_int_equal(token_key_load(path, &key, &err), STATUS_NOT_FOUND);
	assert_int_equal(file_replace_durably(path, slice_from_text("no key\n"), 0600, &err), STATUS_OK);
	assert_int_equal(token_key_load(path, &key, &err), STATUS_CORRUPT);

	/* An RSA key that is too short, and a key of another kind. */
	EVP_PKEY *weak[] = { EVP_RSA_gen(1024), EVP_EC_gen("P-256") };
	for (size_t i = 0; i < ARRAY_LEN(weak); i++) {
		assert_int_equal(unlink(path), 0);
		assert_int_equal(private_key_write(path, weak[i], &err), STATUS_OK);
		assert_int_equal(token_key_load(path, &key, &err), STATUS_CORRUPT);
		EVP_PKEY_free(weak[i]);
	}
	assert_int_equal(unlink(path), 0);
	assert_null(key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(minted_token_comes_back),
		cmocka_unit_test(a_token_may_open_several_endpoints),
		cmocka_unit_test(no_two_tokens_are_the_same),
		cmocka_unit_test(it_ends_with_its_last_second),
		cmocka_unit_test(changed_anywhere_it_is_refused),
		cmocka_unit_test(another_key_is_refused),
		cmocka_unit_test(other_algorithms_are_refused),
		cmocka_unit_test(hmac_with_the_public_key_is_refused),
		cmocka_unit_test(hand_signed_payload_is_accepted),
		cmocka_unit_test(bad_claims_are_refused),
		cmocka_unit_test(invalid_utf8_is_refused),
		cmocka_unit_test(too_long_is_refused),
		cmocka_unit_test(minting_refuses_what_verifying_would),
		cmocka_unit_test(the_longest_claims_fit),
		cmocka_unit_test(key_files),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
