/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>

#include "auth/base64url.h"
#include "auth/compact_token.h"
#include "auth/web_key.h"
#include "outside_issuer.h"

#define RFC7515_PAYLOAD                                                                                      \
	"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
#define RFC7515_N                                                                                            \
	"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-" \
	"yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e" \
	"-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-"              \
	"DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
#define RFC7520_N                                                                                            \
	"n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJM" \
	"RBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-"               \
	"OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_"             \
	"vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw"
#define P256_X "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define P256_Y "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"

/* Published examples: the key, the algorithm, and the whole signed text. */
static const struct {
	const char *key;
	enum web_key_algorithm algorithm;
	const char *token;
} examples[] = {
	/* RFC 7515, appendix A.2 */
	{ "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"" RFC7515_N "\",\"e\":\"AQAB\"}]}", WEB_KEY_RS256,
	        "eyJhbGciOiJSUzI1NiJ9." RFC7515_PAYLOAD ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__"
	        "dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"
	        "O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_"
	        "nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--"
	        "xi12jzDwusC-"
	        "eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0i"
	        "g"
	        "cN_IoypGlUPQGe77Rw" },
	/* RFC 7515, appendix A.3 */
	{ "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" P256_X "\",\"y\":\"" P256_Y "\"}]}",
	        WEB_KEY_ES256,
	        "eyJhbGciOiJFUzI1NiJ9." RFC7515_PAYLOAD
	        ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q" },
	/* RFC 8037, appendix A.4 */
	{ "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_"
	  "7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"
	  "]}",
	        WEB_KEY_EDDSA,
	        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-"
	        "09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg" },
	/* RFC 7520, section 4.1 */
	{ "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"bilbo.baggins@hobbiton.example\",\"use\":\"sig\",\"n\":"
	  "\"" RFC7520_N "\",\"e\":\"AQAB\"}]}",
	        WEB_KEY_RS256,
	        "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9."
	        "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250"
	        "b"
	        "yB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlc"
	        "m"
	        "UgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4.MRjdkly7_-"
	        "oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKt"
	        "ainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-"
	        "XtL0RnltuY"
	        "v746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_"
	        "de3xyIrDa"
	        "LGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_"
	        "fcIe8u9ipH84ogoree7vjbU5y"
	        "18kDquDg" },
};

static struct web_key_set *parse(const char *text)
{
	struct web_key_set *set = NULL;
	struct error err;
	if (web_key_set_parse(slice_from_text(text), &set, &err) != STATUS_OK)
		fail_msg("%s: %s", text, err.message);
	return set;
}

static void expect_refused(const char *text, const char *message)
{
	struct web_key_set *set = NULL;
	struct error err;
	assert_int_not_equal(web_key_set_parse(slice_from_text(text), &set, &err), STATUS_OK);
	assert_null(set);
	if (!strstr(err.message, message))
		fail_msg("%s: \"%s\" is not in \"%s\"", text, message, err.message);
}

static status verify(const struct web_key_set *set, enum web_key_algorithm algorithm, const char *text)
{
	struct error err;
	struct compact_token parts;
	const struct web_key *key;
	CLEANUP(buffer_done) struct buffer signature = { 0 };
	assert_true(compact_token_split(slice_from_text(text), &parts));
	assert_true(base64url_decode(parts.signature, &signature));
	assert_int_equal(web_key_set_find(set, NULL, algorithm, &key, &err), STATUS_OK);
	return web_key_verify(key, algorithm, parts.signed_text, buffer_slice(&signature), &err);
}

static void accepts_the_examples_of_the_standards(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(examples); i++) {
		CLEANUP(web_key_set_freep) struct web_key_set *set = parse(examples[i].key);
		assert_int_equal(verify(set, examples[i].algorithm, examples[i].token), STATUS_OK);
	}
}

/* The same with one letter of the payload changed. */
static void refuses_the_examples_when_they_were_changed(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(examples); i++) {
		CLEANUP(web_key_set_freep) struct web_key_set *set = parse(examples[i].key);
		CLEANUP(free_text) char *changed = xstrdup(examples[i].token);
		char *letter = strchr(changed, '.') + 5;
		*letter = *letter == 'A' ? 'B' : 'A';
		assert_int_equal(verify(set, examples[i].algorithm, changed), STATUS_DENIED);
	}
}

/* RFC 7517, appendix A.1: of its two keys one is for encryption. */
static void takes_of_a_set_what_is_for_signatures(void **state)
{
	(void)state;
	struct error err;
	const struct web_key *key;
	CLEANUP(web_key_set_freep)
	struct web_key_set *set =
	        parse("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"
	              "\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\","
	              "\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\",\"use\":\"enc\",\"kid\":\"1\"},"
	              "{\"kty\":\"RSA\",\"n\":\"" RFC7515_N
	              "\",\"e\":\"AQAB\",\"alg\":\"RS256\",\"kid\":\"2011-04-29\"}]}");
	assert_int_equal(web_key_set_count(set), 1);
	assert_int_equal(web_key_set_find(set, "2011-04-29", WEB_KEY_RS256, &key, &err), STATUS_OK);
	assert_int_equal(web_key_set_find(set, "1", WEB_KEY_ES256, &key, &err), STATUS_NOT_FOUND);
	/* K2: it names its algorithm, and is for no other. */
	assert_int_equal(web_key_set_find(set, "2011-04-29", WEB_KEY_PS256, &key, &err), STATUS_NOT_FOUND);
}

static void checks_what_each_algorithm_signs(void **state)
{
	(void)state;
	for (enum web_key_algorithm a = WEB_KEY_RS256; a <= WEB_KEY_EDDSA; a++) {
		CLEANUP(outside_key_freep) struct outside_key *key = outside_key_make(a, "k");
		CLEANUP(outside_key_freep) struct outside_key *other = outside_key_make(a, "k");
		CLEANUP(free_text) char *text = outside_key_set(key, NULL);
		CLEANUP(web_key_set_freep) struct web_key_set *set = parse(text);
		CLEANUP(free_text) char *good = outside_token(key, "{}");
		CLEANUP(free_text) char *foreign = outside_token(other, "{}");
		assert_int_equal(verify(set, a, good), STATUS_OK);
		assert_int_equal(verify(set, a, foreign), STATUS_DENIED);
		/* PKCS #1 v1.5 and PSS are different signatures of one key. */
		if (a == WEB_KEY_RS256 || a == WEB_KEY_PS256)
			assert_int_equal(
			        verify(set, a == WEB_KEY_RS256 ? WEB_KEY_PS256 : WEB_KEY_RS256, good),
			        STATUS_DENIED);
		/* A signature that is too short, too long, empty in parts. */
		struct error err;
		const struct web_key *found;
		uint8_t bytes[600] = { 0 };
		assert_int_equal(web_key_set_find(set, "k", a, &found, &err), STATUS_OK);
		for (size_t len = 0; len < sizeof bytes; len += 8)
			assert_int_equal(web_key_verify(found, a, slice_from_text("a.b"),
			                         (struct slice){ bytes, len }, &err),
			        STATUS_DENIED);
	}
}

/* K3 */
static void never_guesses_which_key_is_meant(void **state)
{
	(void)state;
	struct error err;
	const struct web_key *key;
	CLEANUP(outside_key_freep) struct outside_key *a = outside_key_make(WEB_KEY_ES256, "a");
	CLEANUP(outside_key_freep) struct outside_key *b = outside_key_make(WEB_KEY_ES256, "b");
	CLEANUP(outside_key_freep) struct outside_key *c = outside_key_make(WEB_KEY_EDDSA, "a");
	CLEANUP(free_text) char *of_two = outside_key_set(a, b);
	CLEANUP(web_key_set_freep) struct web_key_set *two = parse(of_two);
	assert_int_equal(web_key_set_find(two, NULL, WEB_KEY_ES256, &key, &err), STATUS_CONFLICT);
	assert_int_equal(web_key_set_find(two, "a", WEB_KEY_ES256, &key, &err), STATUS_OK);
	assert_int_equal(web_key_set_find(two, "c", WEB_KEY_ES256, &key, &err), STATUS_NOT_FOUND);
	assert_int_equal(web_key_set_find(two, "a", WEB_KEY_EDDSA, &key, &err), STATUS_NOT_FOUND);
	assert_int_equal(web_key_set_find(two, "", WEB_KEY_ES256, &key, &err), STATUS_NOT_FOUND);
	/* One id for keys of two types is what RFC 7517 section 4.5 allows; for two of one type it is not. */
	CLEANUP(free_text) char *of_types = outside_key_set(a, c);
	CLEANUP(web_key_set_freep) struct web_key_set *types = parse(of_types);
	assert_int_equal(web_key_set_find(types, "a", WEB_KEY_ES256, &key, &err), STATUS_OK);
	assert_int_equal(web_key_set_find(types, NULL, WEB_KEY_EDDSA, &key, &err), STATUS_OK);
	CLEANUP(free_text) char *of_same = outside_key_set(a, a);
	CLEANUP(web_key_set_freep) struct web_key_set *same = parse(of_same);
	assert_int_equal(web_key_set_find(same, "a", WEB_KEY_ES256, &key, &err), STATUS_CONFLICT);
}

#define RSA_KEY(more) "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"" RFC7515_N "\",\"e\":\"AQAB\"" more "}]}"
#define EC_KEY(x, y, more)                                                                                   \
	"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" x "\",\"y\":\"" y "\"" more "}]}"

static void refuses_sets_without_a_good_key(void **state)
{
	(void)state;
	static const char *const useless[] = {
		"{\"keys\":[]}",
		"{\"keys\":[7,null,\"x\",[],{}]}",
		RSA_KEY(",\"use\":\"enc\""),
		RSA_KEY(",\"use\":7"),
		RSA_KEY(",\"key_ops\":[\"sign\"]"),
		RSA_KEY(",\"key_ops\":\"verify\""),
		RSA_KEY(",\"alg\":\"HS256\""),
		RSA_KEY(",\"alg\":\"none\""),
		RSA_KEY(",\"alg\":\"RSA-OAEP\""),
		RSA_KEY(",\"alg\":\"ES256\""),
		RSA_KEY(",\"alg\":7"),
		RSA_KEY(",\"kid\":7"),
		RSA_KEY(",\"kid\":\"\""),
		RSA_KEY(",\"kid\":\"a\\u0000b\""),
		/* RSA: too short, an even modulus, exponents that are none or take long, padding, no base64url */
		"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_"
		"wWJcyQoTbji9k0l8W26mPddxHmfHQp-"
		"Vaw-4qPCJrcS2mJPMEzPw\",\"e\":\"AQAB\"}]}",
		"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"" RFC7515_N "\"}]}",
		"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"" RFC7515_N "\",\"e\":\"AQ\"}]}",
		"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"" RFC7515_N "\",\"e\":\"AQAA\"}]}",
		"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"" RFC7515_N "\",\"e\":\"" RFC7515_N "\"}]}",
		"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"" RFC7515_N "==\",\"e\":\"AQAB\"}]}",
		"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"" RFC7515_N "\",\"e\":\"A+AB\"}]}",
		"{\"keys\":[{\"kty\":\"RSA\",\"n\":65537,\"e\":\"AQAB\"}]}",
		/* P-256: not on the curve, swapped, the point at nothing, another curve, a byte short */
		EC_KEY(P256_X, P256_X, ""),
		EC_KEY(P256_Y, P256_X, ""),
		EC_KEY("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", ""),
		EC_KEY("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVA", P256_Y, ""),
		"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"" P256_X "\",\"y\":\"" P256_Y "\"}]}",
		"{\"keys\":[{\"kty\":\"EC\",\"x\":\"" P256_X "\",\"y\":\"" P256_Y "\"}]}",
		"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"" P256_X "\"}]}",
		"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"}]}",
		"{\"keys\":[{\"kty\":\"oct\"}]}",
	};
	for (size_t i = 0; i < ARRAY_LEN(useless); i++)
		expect_refused(useless[i], "no key that can be used");
	static const char *const no_sets[] = { "", "{", "[]", "null", "{}", "{\"keys\":{}}",
		"{\"keys\":null}", "<html>", "{\"keys\":[]}x" };
	for (size_t i = 0; i < ARRAY_LEN(no_sets); i++)
		expect_refused(no_sets[i], "no JSON object with a list");
}

/* K4 */
static void refuses_private_and_secret_keys(void **state)
{
	(void)state;
	expect_refused(RSA_KEY(",\"d\":\"AQAB\""), "private key");
	expect_refused(EC_KEY(P256_X, P256_Y, ",\"d\":\"AQAB\""), "private key");
	expect_refused(
	        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T\"}]}",
	        "private key");
}

static void refuses_what_is_too_much(void **state)
{
	(void)state;
	CLEANUP(buffer_done) struct buffer many = { 0 }, large = { 0 };
	buffer_append_text(&many, "{\"keys\":[{}");
	for (int i = 0; i < WEB_KEYS_MAX; i++)
		buffer_append_text(&many, ",{}");
	buffer_append_text(&many, "]}");
	expect_refused(many.data, "more than 64 keys");
	buffer_append_text(&large, "{\"keys\":[");
	while (large.len < WEB_KEY_SET_MAX)
		buffer_append_text(&large, "                                ");
	buffer_append_text(&large, "]}");
	expect_refused(large.data, "longer than");
}

static void knows_no_other_algorithm(void **state)
{
	(void)state;
	static const char *const others[] = { "", "none", "None", "NONE", "HS256", "HS384", "HS512", "rs256",
		"RS256 ", "RS384", "RS512", "PS384", "ES256K", "ES384", "EDDSA", "Ed25519", "RS1", "RS2561" };
	enum web_key_algorithm algorithm;
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		assert_false(web_key_algorithm_find(slice_from_text(others[i]), &algorithm));
	assert_false(web_key_algorithm_find((struct slice){ (const uint8_t *)"RS256\0", 6 }, &algorithm));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_the_examples_of_the_standards),
		cmocka_unit_test(refuses_the_examples_when_they_were_changed),
		cmocka_unit_test(takes_of_a_set_what_is_for_signatures),
		cmocka_unit_test(checks_what_each_algorithm_signs),
		cmocka_unit_test(never_guesses_which_key_is_meant),
		cmocka_unit_test(refuses_sets_without_a_good_key),
		cmocka_unit_test(refuses_private_and_secret_keys),
		cmocka_unit_test(refuses_what_is_too_much),
		cmocka_unit_test(knows_no_other_algorithm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
