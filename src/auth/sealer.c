#include "auth/sealer.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>

#include "auth/base64url.h"
#include "auth/private_key.h"
#include "base/file.h"
#include "base/random.h"

#define KEY_BYTES   32
#define NONCE_BYTES 12
#define TAG_BYTES   16

struct sealer {
	uint8_t key[KEY_BYTES];
};

status sealer_open(const char *path, struct sealer **ret, struct error *err)
{
	CLEANUP(sealer_freep) struct sealer *sealer = xcalloc(1, sizeof *sealer);
	CLEANUP(buffer_done) struct buffer content = { 0 };
	status st = file_read(path, KEY_BYTES + 1, &content, err);
	if (st == STATUS_NOT_FOUND) {
		random_bytes(sealer->key, KEY_BYTES);
		st = file_replace_durably(path, (struct slice){ sealer->key, KEY_BYTES }, 0600, err);
	} else if (st == STATUS_LIMIT || (st == STATUS_OK && content.len != KEY_BYTES)) {
		st = error_set(
		        err, STATUS_CORRUPT, 0, "key file \"%s\" does not have %d bytes", path, KEY_BYTES);
		error_hint(err,
		        "Restore it from a backup; without it generated passwords cannot be shown again.");
	} else if (st == STATUS_OK) {
		memcpy(sealer->key, content.data, KEY_BYTES);
		OPENSSL_cleanse(content.data, content.len);
	}
	if (st == STATUS_OK)
		*ret = TAKE_PTR(sealer);
	return st;
}

struct sealer *sealer_free(struct sealer *sealer)
{
	if (sealer)
		OPENSSL_cleanse(sealer, sizeof *sealer);
	free(sealer);
	return NULL;
}

static void free_context(EVP_CIPHER_CTX **context)
{
	EVP_CIPHER_CTX_free(*context);
}

status sealer_seal(const struct sealer *sealer, const char *context, struct slice secret, struct buffer *out,
        struct error *err)
{
	uint8_t bytes[NONCE_BYTES + SEALER_SECRET_MAX + TAG_BYTES];
	if (secret.len == 0 || secret.len > SEALER_SECRET_MAX)
		return error_set(
		        err, STATUS_LIMIT, 0, "a secret to be sealed has 1 to %d bytes", SEALER_SECRET_MAX);
	CLEANUP(free_context) EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	int len = 0, end = 0;
	random_bytes(bytes, NONCE_BYTES);
	uint8_t *body = bytes + NONCE_BYTES;
	if (!cipher || EVP_EncryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, sealer->key, bytes) != 1 ||
	        EVP_EncryptUpdate(cipher, NULL, &len, (const uint8_t *)context, (int)strlen(context)) != 1 ||
	        EVP_EncryptUpdate(cipher, body, &len, secret.data, (int)secret.len) != 1 ||
	        EVP_EncryptFinal_ex(cipher, body + len, &end) != 1 ||
	        EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, body + len + end) != 1)
		return openssl_failed(err, "seal a secret");
	base64url_encode((struct slice){ bytes, NONCE_BYTES + (size_t)(len + end) + TAG_BYTES }, out);
	return STATUS_OK;
}

status sealer_unseal(const struct sealer *sealer, const char *context, struct slice sealed,
        struct buffer *out, struct error *err)
{
	CLEANUP(buffer_done) struct buffer bytes = { 0 };
	uint8_t secret[SEALER_SECRET_MAX + TAG_BYTES];
	int len = 0, end = 0;
	if (!base64url_decode(sealed, &bytes) || bytes.len <= NONCE_BYTES + TAG_BYTES ||
	        bytes.len > NONCE_BYTES + SEALER_SECRET_MAX + TAG_BYTES)
		return error_set(err, STATUS_DENIED, 0, "the sealed secret is not one");
	uint8_t *nonce = (uint8_t *)bytes.data, *body = nonce + NONCE_BYTES;
	int body_len = (int)(bytes.len - NONCE_BYTES - TAG_BYTES);
	CLEANUP(free_context) EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	if (!cipher || EVP_DecryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, sealer->key, nonce) != 1 ||
	        EVP_DecryptUpdate(cipher, NULL, &len, (const uint8_t *)context, (int)strlen(context)) != 1 ||
	        EVP_DecryptUpdate(cipher, secret, &len, body, body_len) != 1 ||
	        EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, body + body_len) != 1 ||
	        EVP_DecryptFinal_ex(cipher, secret + len, &end) != 1) {
		(void)!openssl_failed(err, "unseal a secret");
		OPENSSL_cleanse(secret, sizeof secret);
		return error_set(err, STATUS_DENIED, 0, "the sealed secret is of another key or owner");
	}
	buffer_append(out, secret, (size_t)(len + end));
	OPENSSL_cleanse(secret, sizeof secret);
	return STATUS_OK;
}

void sealer_derive(const struct sealer *sealer, const char *purpose, uint8_t out[SEALER_DERIVED_BYTES])
{
	unsigned len = 0;
	CLEANUP(free_text) char *text = xasprintf("derived secret: %s", purpose);
	/* The same key seals by AES-GCM; nothing that one of the two shows says anything about the other. */
	if (!HMAC(EVP_sha256(), sealer->key, KEY_BYTES, (const uint8_t *)text, strlen(text), out, &len))
		random_bytes(out, SEALER_DERIVED_BYTES); /* not always the same, and never known */
}
