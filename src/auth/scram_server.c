#include "auth/scram_server.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/objects.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"

#define NONCE_BYTES  18
#define PROOF_CHARS  44 /* of SCRAM_KEY_BYTES in base64 */
#define BINDING_TYPE "tls-server-end-point"

struct scram_server {
	struct scram_verifier verifier;
	uint8_t end_point[SCRAM_END_POINT_MAX];
	size_t end_point_len;
	char own_nonce[SCRAM_NONCE_MAX + 1];
	bool is_bound;       /* the client chose SCRAM_MECHANISM_PLUS */
	bool thinks_no_plus; /* it said "y": it could bind, and believes that we cannot */
	struct buffer client_first_bare, server_first, nonce;
};

/* What is left of a message. Attributes are "x=value", divided by commas. */
struct reader {
	const char *next, *end;
};

static status malformed(struct error *err, const char *detail)
{
	status st = error_set(err, STATUS_INVALID, 0, "malformed SCRAM message");
	error_hint(err, "%s", detail);
	return st;
}

static int peek(const struct reader *reader)
{
	return reader->next < reader->end ? (unsigned char)*reader->next : -1;
}

/* The form in which Postgres shows a byte of a message (sanitize_char). */
static const char *show(int byte, char out[8])
{
	if (byte < 0)
		return "end of string";
	(void)snprintf(out, 8, byte > 0x20 && byte < 0x7f ? "%c" : "0x%02x", (unsigned)byte);
	return out;
}

static struct slice read_value(struct reader *reader)
{
	const char *comma = memchr(reader->next, ',', (size_t)(reader->end - reader->next));
	const char *end = comma ? comma : reader->end;
	struct slice value = { (const uint8_t *)reader->next, (size_t)(end - reader->next) };
	reader->next = comma ? comma + 1 : end;
	return value;
}

static status read_attribute(struct reader *reader, char name, struct slice *ret, struct error *err)
{
	char shown[8], detail[96];
	if (peek(reader) != name) {
		(void)snprintf(detail, sizeof detail, "Expected attribute \"%c\" but found \"%s\".", name,
		        show(peek(reader), shown));
		return malformed(err, detail);
	}
	reader->next++;
	if (peek(reader) != '=') {
		(void)snprintf(detail, sizeof detail, "Expected character \"=\" for attribute \"%c\".", name);
		return malformed(err, detail);
	}
	reader->next++;
	*ret = read_value(reader);
	return STATUS_OK;
}

static status read_any_attribute(struct reader *reader, char *ret_name, struct slice *ret, struct error *err)
{
	char shown[8], detail[96];
	int name = peek(reader);
	if (name < 0)
		return malformed(err, "Attribute expected, but found end of string.");
	if (!((name >= 'A' && name <= 'Z') || (name >= 'a' && name <= 'z'))) {
		(void)snprintf(detail, sizeof detail,
		        "Attribute expected, but found invalid character \"%s\".", show(name, shown));
		return malformed(err, detail);
	}
	*ret_name = (char)name;
	return read_attribute(reader, (char)name, ret, err);
}

static status reader_start(struct slice message, struct reader *ret, struct error *err)
{
	if (message.len == 0)
		return malformed(err, "The message is empty.");
	if (message.len > SCRAM_MESSAGE_MAX)
		return malformed(err, "The message is too long.");
	if (memchr(message.data, 0, message.len))
		return malformed(err, "Message length does not match input length.");
	ret->next = (const char *)message.data;
	ret->end = ret->next + message.len;
	return STATUS_OK;
}

struct scram_server *scram_server_create(const struct scram_verifier *verifier, struct slice end_point)
{
	assert(end_point.len <= SCRAM_END_POINT_MAX);
	struct scram_server *server = xcalloc(1, sizeof *server);
	uint8_t nonce[NONCE_BYTES];
	server->verifier = *verifier;
	if (end_point.len > 0)
		memcpy(server->end_point, end_point.data, end_point.len);
	server->end_point_len = end_point.len;
	random_bytes(nonce, sizeof nonce);
	(void)EVP_EncodeBlock((uint8_t *)server->own_nonce, nonce, sizeof nonce);
	return server;
}

struct scram_server *scram_server_free(struct scram_server *server)
{
	if (!server)
		return NULL;
	buffer_done(&server->client_first_bare);
	buffer_done(&server->server_first);
	buffer_done(&server->nonce);
	OPENSSL_cleanse(server, sizeof *server);
	free(server);
	return NULL;
}

void scram_server_set_nonce(struct scram_server *server, const char *nonce)
{
	assert(strlen(nonce) <= SCRAM_NONCE_MAX);
	memcpy(server->own_nonce, nonce, strlen(nonce) + 1);
}

/* ---- client-first ---- */

static status choose(struct scram_server *server, struct slice mechanism, struct error *err)
{
	if (slice_equals_text(mechanism, SCRAM_MECHANISM_PLUS) && server->end_point_len > 0)
		server->is_bound = true;
	else if (!slice_equals_text(mechanism, SCRAM_MECHANISM))
		return error_set(
		        err, STATUS_INVALID, 0, "client selected an invalid SASL authentication mechanism");
	return STATUS_OK;
}

/* "n,", "y,", or "p=tls-server-end-point,": what the client says of channel binding. */
static status read_binding(struct scram_server *server, struct reader *reader, struct error *err)
{
	char shown[8], detail[96];
	struct slice type;
	status st;
	int flag = peek(reader);
	switch (flag) {
	case 'n':
	case 'y':
		if (server->is_bound)
			return malformed(err, "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message "
			                      "does not include "
			                      "channel binding data.");
		if (flag == 'y' && server->end_point_len > 0) {
			st = error_set(err, STATUS_DENIED, 0, "SCRAM channel binding negotiation error");
			error_hint(err, "The client supports SCRAM channel binding but thinks the server "
			                "does not.  However, this "
			                "server does support channel binding.");
			return st;
		}
		server->thinks_no_plus = flag == 'y';
		reader->next++;
		if (peek(reader) != ',') {
			(void)snprintf(detail, sizeof detail, "Comma expected, but found character \"%s\".",
			        show(peek(reader), shown));
			return malformed(err, detail);
		}
		reader->next++;
		return STATUS_OK;
	case 'p':
		if (!server->is_bound)
			return malformed(err, "The client selected SCRAM-SHA-256 without channel binding, "
			                      "but the SCRAM message "
			                      "includes channel binding data.");
		st = read_attribute(reader, 'p', &type, err);
		if (st != STATUS_OK)
			return st;
		return slice_equals_text(type, BINDING_TYPE)
		               ? STATUS_OK
		               : error_set(err, STATUS_INVALID, 0, "unsupported SCRAM channel-binding type");
	default:
		(void)snprintf(
		        detail, sizeof detail, "Unexpected channel-binding flag \"%s\".", show(flag, shown));
		return malformed(err, detail);
	}
}

static bool is_printable(struct slice nonce)
{
	for (size_t i = 0; i < nonce.len; i++) {
		if (nonce.data[i] < 0x21 || nonce.data[i] > 0x7e)
			return false;
	}
	return true;
}

static status read_client_first(struct scram_server *server, struct slice message, struct error *err)
{
	struct reader reader;
	struct slice ignored, nonce = { 0 };
	char shown[8], name, detail[96];
	status st = reader_start(message, &reader, err);
	if (st == STATUS_OK)
		st = read_binding(server, &reader, err);
	if (st != STATUS_OK)
		return st;
	if (peek(&reader) == 'a')
		return error_set(err, STATUS_UNSUPPORTED, 0,
		        "client uses authorization identity, but it is not supported");
	if (peek(&reader) != ',') {
		(void)snprintf(detail, sizeof detail, "Unexpected attribute \"%s\" in client-first-message.",
		        show(peek(&reader), shown));
		return malformed(err, detail);
	}
	reader.next++;
	buffer_append(&server->client_first_bare, reader.next, (size_t)(reader.end - reader.next));
	if (peek(&reader) == 'm')
		return error_set(
		        err, STATUS_UNSUPPORTED, 0, "client requires an unsupported SCRAM extension");
	st = read_attribute(&reader, 'n', &ignored, err);
	if (st == STATUS_OK)
		st = read_attribute(&reader, 'r', &nonce, err);
	if (st != STATUS_OK)
		return st;
	if (!is_printable(nonce))
		return error_set(err, STATUS_INVALID, 0, "non-printable characters in SCRAM nonce");
	while (st == STATUS_OK && reader.next < reader.end)
		st = read_any_attribute(&reader, &name, &ignored, err);
	if (st == STATUS_OK)
		buffer_append(&server->nonce, nonce.data, nonce.len);
	return st;
}

status scram_server_first(struct scram_server *server, struct slice mechanism, struct slice message,
        struct buffer *out, struct error *err)
{
	assert(server->server_first.len == 0);
	char salt[4 * (SCRAM_SALT_MAX / 3 + 1) + 1];
	status st = choose(server, mechanism, err);
	if (st == STATUS_OK)
		st = read_client_first(server, message, err);
	if (st != STATUS_OK)
		return st;
	buffer_append_text(&server->nonce, server->own_nonce);
	(void)EVP_EncodeBlock((uint8_t *)salt, server->verifier.salt, (int)server->verifier.salt_len);
	buffer_printf(&server->server_first, "r=%s,s=%s,i=%d", server->nonce.data, salt,
	        server->verifier.iterations);
	buffer_append(out, server->server_first.data, server->server_first.len);
	return STATUS_OK;
}

/* ---- client-final ---- */

/* What the client has to send as "c=…": in base64, the words with which it began, and of our certificate if it binds. */
static void expected_binding(const struct scram_server *server, char *out, size_t size)
{
	static const char header[] = "p=" BINDING_TYPE ",,";
	uint8_t bytes[sizeof header - 1 + SCRAM_END_POINT_MAX];
	assert(size > 4 * (sizeof bytes / 3 + 1));
	if (!server->is_bound) {
		(void)snprintf(out, size, "%s", server->thinks_no_plus ? "eSws" : "biws");
		return;
	}
	memcpy(bytes, header, sizeof header - 1);
	memcpy(bytes + sizeof header - 1, server->end_point, server->end_point_len);
	(void)EVP_EncodeBlock((uint8_t *)out, bytes, (int)(sizeof header - 1 + server->end_point_len));
}

static bool decode_proof(struct slice text, uint8_t out[SCRAM_KEY_BYTES])
{
	uint8_t bytes[PROOF_CHARS / 4 * 3];
	char again[PROOF_CHARS + 1];
	if (text.len != PROOF_CHARS || EVP_DecodeBlock(bytes, text.data, PROOF_CHARS) != SCRAM_KEY_BYTES + 1)
		return false;
	/* One text for one proof: OpenSSL lets more pass. */
	(void)EVP_EncodeBlock((uint8_t *)again, bytes, SCRAM_KEY_BYTES);
	if (memcmp(again, text.data, PROOF_CHARS) != 0)
		return false;
	memcpy(out, bytes, SCRAM_KEY_BYTES);
	return true;
}

/* *ret_without_proof: the message up to the comma before "p=". */
static status read_client_final(const struct scram_server *server, struct slice message,
        uint8_t ret_proof[SCRAM_KEY_BYTES], struct slice *ret_without_proof, struct error *err)
{
	char expected[160];
	struct reader reader;
	struct slice binding, nonce = { 0 }, value = { 0 };
	status st = reader_start(message, &reader, err);
	if (st == STATUS_OK)
		st = read_attribute(&reader, 'c', &binding, err);
	if (st != STATUS_OK)
		return st;
	expected_binding(server, expected, sizeof expected);
	if (!slice_equals_text(binding, expected))
		return server->is_bound
		               ? error_set(err, STATUS_DENIED, 0, "SCRAM channel binding check failed")
		               : error_set(err, STATUS_INVALID, 0,
		                         "unexpected SCRAM channel-binding attribute in "
		                         "client-final-message");
	st = read_attribute(&reader, 'r', &nonce, err);
	for (char name = 0; st == STATUS_OK && name != 'p';) {
		*ret_without_proof = (struct slice){ message.data,
			(size_t)((const uint8_t *)reader.next - message.data) - 1 };
		st = read_any_attribute(&reader, &name, &value, err);
	}
	if (st != STATUS_OK)
		return st;
	if (!decode_proof(value, ret_proof))
		return malformed(err, "Malformed proof in client-final-message.");
	if (reader.next < reader.end || reader.end[-1] == ',')
		return malformed(err, "Garbage found at the end of client-final-message.");
	if (nonce.len != server->nonce.len || CRYPTO_memcmp(nonce.data, server->nonce.data, nonce.len) != 0) {
		st = error_set(err, STATUS_INVALID, 0, "invalid SCRAM response");
		error_hint(err, "Nonce does not match.");
	}
	return st;
}

/* HMAC of the AuthMessage: everything that was said, but for the proof. */
static bool sign(const struct scram_server *server, const uint8_t key[SCRAM_KEY_BYTES],
        struct slice without_proof, uint8_t out[SCRAM_KEY_BYTES])
{
	CLEANUP(buffer_done) struct buffer said = { 0 };
	unsigned len = 0;
	buffer_printf(&said, "%s,%s,", server->client_first_bare.data, server->server_first.data);
	buffer_append(&said, without_proof.data, without_proof.len);
	return HMAC(EVP_sha256(), key, SCRAM_KEY_BYTES, (const uint8_t *)said.data, said.len, out, &len) &&
	       len == SCRAM_KEY_BYTES;
}

status scram_server_final(struct scram_server *server, struct slice message, bool *ret_is_right,
        struct buffer *out, struct error *err)
{
	assert(server->server_first.len > 0);
	uint8_t proof[SCRAM_KEY_BYTES], signature[SCRAM_KEY_BYTES], digest[SCRAM_KEY_BYTES];
	char text[PROOF_CHARS + 1];
	struct slice without_proof;
	unsigned len = 0;
	status st = read_client_final(server, message, proof, &without_proof, err);
	if (st != STATUS_OK)
		return st;
	if (!sign(server, server->verifier.stored_key, without_proof, signature))
		return error_set(err, STATUS_INTERNAL, 0, "could not check a SCRAM proof");
	for (size_t i = 0; i < SCRAM_KEY_BYTES; i++)
		proof[i] ^= signature[i]; /* now the ClientKey, if the proof is right */
	bool is_hashed = EVP_Digest(proof, SCRAM_KEY_BYTES, digest, &len, EVP_sha256(), NULL) == 1;
	OPENSSL_cleanse(proof, sizeof proof);
	if (!is_hashed)
		return error_set(err, STATUS_INTERNAL, 0, "could not check a SCRAM proof");
	*ret_is_right = CRYPTO_memcmp(digest, server->verifier.stored_key, SCRAM_KEY_BYTES) == 0;
	if (!*ret_is_right)
		return STATUS_OK;
	if (!sign(server, server->verifier.server_key, without_proof, signature)) {
		*ret_is_right = false;
		return error_set(err, STATUS_INTERNAL, 0, "could not sign a SCRAM answer");
	}
	(void)EVP_EncodeBlock((uint8_t *)text, signature, SCRAM_KEY_BYTES);
	buffer_printf(out, "v=%s", text);
	return STATUS_OK;
}

size_t scram_end_point(X509 *certificate, uint8_t out[SCRAM_END_POINT_MAX])
{
	int digest_nid = NID_undef, ignored;
	unsigned len = 0;
	if (!certificate || !X509_get_signature_info(certificate, &digest_nid, &ignored, NULL, NULL))
		return 0;
	/* RFC 5929: instead of MD5 and SHA-1, SHA-256. */
	const EVP_MD *digest = digest_nid == NID_md5 || digest_nid == NID_sha1 ? EVP_sha256()
	                       : digest_nid != NID_undef ? EVP_get_digestbynid(digest_nid)
	                                                 : NULL;
	if (!digest || X509_digest(certificate, digest, out, &len) != 1)
		return 0;
	return len;
}
