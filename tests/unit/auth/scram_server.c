/* SCRAM server: the exchange of RFC 7677, a client of our own, and every message that is nearly right. */
#include "auth/scram_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>

#define NONCE "abcdefghijklmnopqrstuvwx"

static struct scram_verifier verifier_of(const char *password)
{
	struct scram_verifier verifier;
	struct error err;
	char text[SCRAM_VERIFIER_MAX + 1];
	assert_int_equal(scram_verifier_make(password, text, &err), STATUS_OK);
	assert_true(scram_verifier_parse(text, &verifier));
	return verifier;
}

/* ---- RFC 7677, section 3 ---- */

#define RFC_CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define RFC_SERVER_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define RFC_SALT         "W22ZaJ0SNY7soEsUEjb6gQ=="

static struct scram_verifier rfc_verifier(void)
{
	struct scram_verifier verifier = { .iterations = 4096, .salt_len = 16 };
	uint8_t salt[18];
	struct error err;
	assert_int_equal(EVP_DecodeBlock(salt, (const uint8_t *)RFC_SALT, sizeof RFC_SALT - 1), 18);
	memcpy(verifier.salt, salt, 16);
	assert_int_equal(scram_verifier_derive("pencil", &verifier, &err), STATUS_OK);
	return verifier;
}

static void test_the_exchange_of_the_rfc(void **unused)
{
	(void)unused;
	struct error err;
	struct scram_verifier verifier = rfc_verifier();
	struct scram_server *server = scram_server_create(&verifier, (struct slice){ 0 });
	CLEANUP(buffer_done) struct buffer out = { 0 };
	bool is_right = false;
	scram_server_set_nonce(server, RFC_SERVER_NONCE);
	assert_int_equal(scram_server_first(server, slice_from_text("SCRAM-SHA-256"),
	                         slice_from_text("n,,n=user,r=" RFC_CLIENT_NONCE), &out, &err),
	        STATUS_OK);
	assert_string_equal(out.data, "r=" RFC_CLIENT_NONCE RFC_SERVER_NONCE ",s=" RFC_SALT ",i=4096");
	out.len = 0;
	assert_int_equal(scram_server_final(server,
	                         slice_from_text("c=biws,r=" RFC_CLIENT_NONCE RFC_SERVER_NONCE
	                                         ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="),
	                         &is_right, &out, &err),
	        STATUS_OK);
	assert_true(is_right);
	assert_string_equal(out.data, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
	scram_server_free(server);
}

/* ---- a client ---- */

struct client {
	const char *password;
	const char *header;     /* "n,,", … */
	const char *mechanism;  /* … that it chooses */
	const char *extension;  /* ",x=y" at the end of client-first, and before the proof */
	struct slice end_point; /* what it believes to be the server's */
	const char *more;       /* behind the proof */
	char flip;              /* a byte of the proof that is not what it should be: its index + 1 */
};

static struct slice hmac(const uint8_t *key, const char *text, uint8_t out[32])
{
	unsigned len = 0;
	assert_non_null(HMAC(EVP_sha256(), key, 32, (const uint8_t *)text, strlen(text), out, &len));
	return (struct slice){ out, len };
}

static char *base64(struct slice bytes)
{
	char *text = xcalloc(1, 4 * (bytes.len / 3 + 1) + 1);
	(void)EVP_EncodeBlock((uint8_t *)text, bytes.data, (int)bytes.len);
	return text;
}

/* The client-final of a client that knows the password, for what the server said. */
static char *client_final(const struct client *client, const char *first_bare, const char *server_first)
{
	uint8_t salted[32], key[32], stored[32], signature[32], salt[64];
	const char *salt_at = strstr(server_first, ",s=") + 3, *count_at = strstr(server_first, ",i=") + 3;
	int salt_len = EVP_DecodeBlock(salt, (const uint8_t *)salt_at, (int)(count_at - 3 - salt_at));
	salt_len -= (count_at[-4] == '=') + (count_at[-5] == '=');
	assert_int_equal(PKCS5_PBKDF2_HMAC(client->password, -1, salt, salt_len, atoi(count_at), EVP_sha256(),
	                         32, salted),
	        1);
	(void)hmac(salted, "Client Key", key);
	(void)SHA256(key, 32, stored);
	CLEANUP(buffer_done) struct buffer binding = { 0 };
	buffer_append_text(&binding, client->header);
	buffer_append(&binding, client->end_point.data ? client->end_point.data : (const uint8_t *)"",
	        client->end_point.len);
	CLEANUP(free_text) char *binding_text = base64(buffer_slice(&binding));
	CLEANUP(free_text)
	char *without = xasprintf("c=%s,%.*s%s", binding_text, (int)(salt_at - 3 - server_first),
	        server_first, client->extension ? client->extension : "");
	CLEANUP(free_text) char *said = xasprintf("%s,%s,%s", first_bare, server_first, without);
	(void)hmac(stored, said, signature);
	for (size_t i = 0; i < 32; i++)
		key[i] ^= signature[i];
	if (client->flip)
		key[client->flip - 1] ^= 1;
	CLEANUP(free_text) char *proof = base64((struct slice){ key, 32 });
	return xasprintf("%s,p=%s%s", without, proof, client->more ? client->more : "");
}

static status converse(const struct client *client, const struct scram_verifier *verifier,
        struct slice end_point, bool *ret_is_right, struct error *err)
{
	struct scram_server *server = scram_server_create(verifier, end_point);
	CLEANUP(buffer_done) struct buffer first = { 0 };
	CLEANUP(buffer_done) struct buffer final = { 0 };
	CLEANUP(free_text)
	char *bare = xasprintf("n=,r=" NONCE "%s", client->extension ? client->extension : "");
	CLEANUP(free_text) char *message = xasprintf("%s%s", client->header, bare);
	*ret_is_right = false;
	status st = scram_server_first(
	        server, slice_from_text(client->mechanism), slice_from_text(message), &first, err);
	if (st == STATUS_OK) {
		CLEANUP(free_text) char *answer = client_final(client, bare, first.data);
		st = scram_server_final(server, slice_from_text(answer), ret_is_right, &final, err);
	} else {
		assert_int_equal(first.len, 0);
	}
	assert_int_equal(final.len > 0, st == STATUS_OK && *ret_is_right);
	scram_server_free(server);
	return st;
}

static void test_right_and_wrong_passwords(void **unused)
{
	(void)unused;
	struct scram_verifier verifier = verifier_of("secret");
	struct error err;
	bool is_right;
	struct client client = { .password = "secret", .header = "n,,", .mechanism = SCRAM_MECHANISM };
	assert_int_equal(converse(&client, &verifier, (struct slice){ 0 }, &is_right, &err), STATUS_OK);
	assert_true(is_right);
	client.extension = ",x=unknown,y=,Z=1";
	assert_int_equal(converse(&client, &verifier, (struct slice){ 0 }, &is_right, &err), STATUS_OK);
	assert_true(is_right);
	client.extension = NULL;
	static const char *const wrong[] = { "", "secre", "secrets", "Secret", "secret " };
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		client.password = wrong[i];
		assert_int_equal(
		        converse(&client, &verifier, (struct slice){ 0 }, &is_right, &err), STATUS_OK);
		assert_false(is_right);
	}
	client.password = "secret";
	for (char i = 1; i <= 32; i++) {
		client.flip = i;
		assert_int_equal(
		        converse(&client, &verifier, (struct slice){ 0 }, &is_right, &err), STATUS_OK);
		assert_false(is_right);
	}
}

static void test_no_password_fits_a_mock(void **unused)
{
	(void)unused;
	struct scram_verifier verifier;
	struct error err;
	bool is_right;
	char text[SCRAM_VERIFIER_MAX + 1], again[SCRAM_VERIFIER_MAX + 1];
	scram_verifier_mock(slice_from_text("key"), "app", text);
	scram_verifier_mock(slice_from_text("key"), "app", again);
	assert_string_equal(text, again);
	assert_true(scram_verifier_parse(text, &verifier));
	assert_int_equal(verifier.iterations, SCRAM_ITERATIONS);
	assert_int_equal(verifier.salt_len, SCRAM_SALT_BYTES);
	struct client client = { .password = "", .header = "n,,", .mechanism = SCRAM_MECHANISM };
	assert_int_equal(converse(&client, &verifier, (struct slice){ 0 }, &is_right, &err), STATUS_OK);
	assert_false(is_right);
	/* As long as one that is real, and another one for other names and keys. */
	char real[SCRAM_VERIFIER_MAX + 1];
	assert_int_equal(scram_verifier_make("x", real, &err), STATUS_OK);
	assert_int_equal(strlen(text), strlen(real));
	scram_verifier_mock(slice_from_text("key"), "apq", again);
	assert_string_not_equal(text, again);
	scram_verifier_mock(slice_from_text("kez"), "app", again);
	assert_string_not_equal(text, again);
}

static void check_binding(const struct client *client, struct slice end_point, status expected,
        bool expect_right, const char *message)
{
	struct scram_verifier verifier = verifier_of("secret");
	struct error err = { 0 };
	bool is_right;
	assert_int_equal(converse(client, &verifier, end_point, &is_right, &err), expected);
	assert_int_equal(is_right, expect_right);
	if (expected != STATUS_OK)
		assert_string_equal(err.message, message);
}

static void test_channel_binding(void **unused)
{
	(void)unused;
	const struct slice ours = slice_from_text("0123456789abcdef0123456789abcdef");
	const struct slice theirs = slice_from_text("0123456789abcdef0123456789abcdeg");
	const struct slice none = { 0 };
	struct client client = {
		.password = "secret", .header = "p=tls-server-end-point,,", .mechanism = SCRAM_MECHANISM_PLUS
	};
	client.end_point = ours;
	check_binding(&client, ours, STATUS_OK, true, NULL);
	client.end_point = theirs;
	check_binding(&client, ours, STATUS_DENIED, false, "SCRAM channel binding check failed");
	client.end_point = none;
	check_binding(&client, ours, STATUS_DENIED, false, "SCRAM channel binding check failed");
	/* Not offered, so not to be chosen. */
	check_binding(&client, none, STATUS_INVALID, false,
	        "client selected an invalid SASL authentication mechanism");
	client.header = "p=tls-unique,,";
	check_binding(&client, ours, STATUS_INVALID, false, "unsupported SCRAM channel-binding type");
	client.header = "n,,";
	check_binding(&client, ours, STATUS_INVALID, false, "malformed SCRAM message");
	client.header = "y,,";
	check_binding(&client, ours, STATUS_INVALID, false, "malformed SCRAM message");
	client.mechanism = SCRAM_MECHANISM;
	/* Somebody removed -PLUS from our offer. */
	check_binding(&client, ours, STATUS_DENIED, false, "SCRAM channel binding negotiation error");
	check_binding(&client, none, STATUS_OK, true, NULL);
	client.header = "n,,";
	check_binding(&client, ours, STATUS_OK, true, NULL);
	client.end_point = ours;
	check_binding(&client, ours, STATUS_INVALID, false,
	        "unexpected SCRAM channel-binding attribute in client-final-message");
	client.header = "p=tls-server-end-point,,";
	check_binding(&client, ours, STATUS_INVALID, false, "malformed SCRAM message");
}

static void test_end_point_of_a_certificate(void **unused)
{
	(void)unused;
	uint8_t hash[SCRAM_END_POINT_MAX], digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	EVP_PKEY *key = EVP_EC_gen("P-256");
	static const struct {
		const EVP_MD *(*signed_with)(void), *(*hashed_with)(void);
	} cases[] = { { NULL, NULL }, { EVP_sha256, EVP_sha256 }, { EVP_sha384, EVP_sha384 },
		{ EVP_sha1, EVP_sha256 } };
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		X509 *certificate = X509_new();
		assert_int_equal(X509_set_pubkey(certificate, key), 1);
		if (cases[i].signed_with) {
			assert_true(X509_sign(certificate, key, cases[i].signed_with()) > 0);
			assert_int_equal(X509_digest(certificate, cases[i].hashed_with(), digest, &len), 1);
		}
		assert_int_equal(scram_end_point(certificate, hash), len);
		assert_memory_equal(hash, digest, len);
		X509_free(certificate);
	}
	EVP_PKEY_free(key);
	assert_int_equal(scram_end_point(NULL, hash), 0);
}

static void check_first(
        const char *message, size_t len, status expected, const char *text, const char *detail)
{
	struct scram_verifier verifier = rfc_verifier();
	struct error err = { 0 };
	struct scram_server *server = scram_server_create(&verifier, (struct slice){ 0 });
	CLEANUP(buffer_done) struct buffer out = { 0 };
	assert_int_equal(scram_server_first(server, slice_from_text(SCRAM_MECHANISM),
	                         (struct slice){ (const uint8_t *)message, len }, &out, &err),
	        expected);
	if (expected != STATUS_OK) {
		assert_int_equal(out.len, 0);
		assert_string_equal(err.message, text);
		assert_string_equal(err.hint, detail);
	}
	scram_server_free(server);
}

static void test_client_first(void **unused)
{
	(void)unused;
	static const char bad[] = "malformed SCRAM message";
	static const struct {
		const char *message;
		status expected;
		const char *text, *detail;
	} cases[] = {
		{ "n,,n=,r=x", STATUS_OK, NULL, NULL },
		{ "y,,n=user=2Cwith=3Dmarks,r=x,e=1", STATUS_OK, NULL, NULL },
		{ "", STATUS_INVALID, bad, "The message is empty." },
		{ "n", STATUS_INVALID, bad, "Comma expected, but found character \"end of string\"." },
		{ "nn,", STATUS_INVALID, bad, "Comma expected, but found character \"n\"." },
		{ "n\x01,", STATUS_INVALID, bad, "Comma expected, but found character \"0x01\"." },
		{ "x,,n=,r=x", STATUS_INVALID, bad, "Unexpected channel-binding flag \"x\"." },
		{ "n,", STATUS_INVALID, bad,
		        "Unexpected attribute \"end of string\" in client-first-message." },
		{ "n,b=c,n=,r=x", STATUS_INVALID, bad,
		        "Unexpected attribute \"b\" in client-first-message." },
		{ "n,a=root,n=,r=x", STATUS_UNSUPPORTED,
		        "client uses authorization identity, but it is not supported", "" },
		{ "n,,m=1,n=,r=x", STATUS_UNSUPPORTED, "client requires an unsupported SCRAM extension", "" },
		{ "n,,", STATUS_INVALID, bad, "Expected attribute \"n\" but found \"end of string\"." },
		{ "n,,r=x", STATUS_INVALID, bad, "Expected attribute \"n\" but found \"r\"." },
		{ "n,,n", STATUS_INVALID, bad, "Expected character \"=\" for attribute \"n\"." },
		{ "n,,n=,", STATUS_INVALID, bad, "Expected attribute \"r\" but found \"end of string\"." },
		{ "n,,n=,r=a b", STATUS_INVALID, "non-printable characters in SCRAM nonce", "" },
		{ "n,,n=,r=\xc3\xbc", STATUS_INVALID, "non-printable characters in SCRAM nonce", "" },
		{ "n,,n=,r=x,1=2", STATUS_INVALID, bad,
		        "Attribute expected, but found invalid character \"1\"." },
		{ "n,,n=,r=x,b", STATUS_INVALID, bad, "Expected character \"=\" for attribute \"b\"." },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		check_first(cases[i].message, strlen(cases[i].message), cases[i].expected, cases[i].text,
		        cases[i].detail);
	check_first(
	        "n,,n=,r=x\0,r=y", 14, STATUS_INVALID, bad, "Message length does not match input length.");
	char large[SCRAM_MESSAGE_MAX + 2];
	memset(large, 'x', sizeof large);
	memcpy(large, "n,,n=,r=", 8);
	check_first(large, SCRAM_MESSAGE_MAX + 1, STATUS_INVALID, bad, "The message is too long.");
	check_first(large, SCRAM_MESSAGE_MAX, STATUS_OK, NULL, NULL);
}

static void test_client_final(void **unused)
{
	(void)unused;
	static const char bad[] = "malformed SCRAM message";
#define N "r=" RFC_CLIENT_NONCE RFC_SERVER_NONCE
#define P "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	static const struct {
		const char *message, *text, *detail;
	} cases[] = {
		{ "", bad, "The message is empty." },
		{ N "," P, bad, "Expected attribute \"c\" but found \"r\"." },
		{ "c=biws", bad, "Expected attribute \"r\" but found \"end of string\"." },
		{ "c=eSws," N "," P, "unexpected SCRAM channel-binding attribute in client-final-message",
		        "" },
		{ "c=biws," N, bad, "Attribute expected, but found end of string." },
		{ "c=biws," N ",x=1", bad, "Attribute expected, but found end of string." },
		{ "c=biws," N ",p=", bad, "Malformed proof in client-final-message." },
		{ "c=biws," N ",p=AAAA", bad, "Malformed proof in client-final-message." },
		{ "c=biws," N ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVR=", bad,
		        "Malformed proof in client-final-message." },
		{ "c=biws," N ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQA", bad,
		        "Malformed proof in client-final-message." },
		{ "c=biws," N ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndV==", bad,
		        "Malformed proof in client-final-message." },
		{ "c=biws," N "," P ",", bad, "Garbage found at the end of client-final-message." },
		{ "c=biws," N "," P "," P, bad, "Garbage found at the end of client-final-message." },
		{ "c=biws,r=" RFC_CLIENT_NONCE "," P, "invalid SCRAM response", "Nonce does not match." },
		{ "c=biws," N "x," P, "invalid SCRAM response", "Nonce does not match." },
		{ "c=biws,r=," P, "invalid SCRAM response", "Nonce does not match." },
	};
	struct scram_verifier verifier = rfc_verifier();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = { 0 };
		struct scram_server *server = scram_server_create(&verifier, (struct slice){ 0 });
		CLEANUP(buffer_done) struct buffer out = { 0 };
		bool is_right = false;
		scram_server_set_nonce(server, RFC_SERVER_NONCE);
		assert_int_equal(scram_server_first(server, slice_from_text(SCRAM_MECHANISM),
		                         slice_from_text("n,,n=user,r=" RFC_CLIENT_NONCE), &out, &err),
		        STATUS_OK);
		out.len = 0;
		assert_int_equal(
		        scram_server_final(server, slice_from_text(cases[i].message), &is_right, &out, &err),
		        STATUS_INVALID);
		assert_false(is_right);
		assert_int_equal(out.len, 0);
		assert_string_equal(err.message, cases[i].text);
		assert_string_equal(err.hint, cases[i].detail);
		scram_server_free(server);
	}
}

static void test_verifiers(void **unused)
{
	(void)unused;
	struct scram_verifier verifier;
	char text[SCRAM_VERIFIER_MAX + 1], again[SCRAM_VERIFIER_MAX + 1];
	struct error err;
	assert_int_equal(scram_verifier_make("pencil", text, &err), STATUS_OK);
	assert_true(scram_verifier_matches(text, "pencil"));
	assert_false(scram_verifier_matches(text, "pencil2"));
	assert_true(scram_verifier_parse(text, &verifier));
	scram_verifier_format(&verifier, again);
	assert_string_equal(text, again);
	static const char *const bad[] = {
		"",
		"md5a3556571e93b0d20722ba62be61e8c2d",
		"SCRAM-SHA-256$",
		"SCRAM-SHA-256$4096:c2FsdA==$a:b",
		"SCRAM-SHA-256$0:c2FsdA==$W22ZaJ0SNY7soEsUEjb6gW22ZaJ0SNY7soEsUEjb6gQ=:"
		"W22ZaJ0SNY7soEsUEjb6gW22ZaJ0SNY7soEsUEjb6gQ=",
		"SCRAM-SHA-256$4096:$W22ZaJ0SNY7soEsUEjb6gW22ZaJ0SNY7soEsUEjb6gQ=:"
		"W22ZaJ0SNY7soEsUEjb6gW22ZaJ0SNY7soEsUEjb6gQ=",
		"SCRAM-SHA-256$4096:c2FsdA=$W22ZaJ0SNY7soEsUEjb6gW22ZaJ0SNY7soEsUEjb6gQ=:"
		"W22ZaJ0SNY7soEsUEjb6gW22ZaJ0SNY7soEsUEjb6gQ=",
		"SCRAM-SHA-256$4096:c2FsdA==$W22ZaJ0SNY7soEsUEjb6gW22ZaJ0SNY7soEsUEjb6gQ=:"
		"W22ZaJ0SNY7soEsUEjb6gW22ZaJ0SNY7soEsUEjb6gR=",
		"SCRAM-SHA-256$4096:c2FsdA==$W22ZaJ0SNY7soEsUEjb6gW22ZaJ0SNY7soEsUEjb6gQ=",
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(scram_verifier_parse(bad[i], &verifier));
	assert_true(scram_verifier_parse(
	        "SCRAM-SHA-256$4096:c2FsdA==$W22ZaJ0SNY7soEsUEjb6gW22ZaJ0SNY7soEsUEjb6gQ=:"
	        "W22ZaJ0SNY7soEsUEjb6gW22ZaJ0SNY7soEsUEjb6gQ=",
	        &verifier));
	assert_int_equal(verifier.salt_len, 4);
	assert_memory_equal(verifier.salt, "salt", 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_exchange_of_the_rfc),
		cmocka_unit_test(test_right_and_wrong_passwords),
		cmocka_unit_test(test_no_password_fits_a_mock),
		cmocka_unit_test(test_channel_binding),
		cmocka_unit_test(test_end_point_of_a_certificate),
		cmocka_unit_test(test_client_first),
		cmocka_unit_test(test_client_final),
		cmocka_unit_test(test_verifiers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
