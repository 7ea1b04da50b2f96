#include "auth/basic.h"

#include <openssl/crypto.h>
#include <strings.h>

#include "auth/base64url.h"

#define SCHEME_LEN  6
#define ENCODED_MAX ((2 * BASIC_TEXT_MAX + 1 + 2) / 3 * 4)

bool basic_is_announced(const char *header)
{
	return header && strncasecmp(header, "Basic ", SCHEME_LEN) == 0;
}

/* Standard base64 with its padding, as the base64url that our decoder is strict about. */
static bool decode(const char *text, struct buffer *out)
{
	char copy[ENCODED_MAX + 1];
	size_t len = strlen(text);
	if (len == 0 || len > ENCODED_MAX || len % 4 != 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '-' || text[i] == '_')
			return false;
		copy[i] = text[i] == '+' ? '-' : text[i];
		if (text[i] == '/')
			copy[i] = '_';
	}
	for (int padding = 0; padding < 2 && text[len - 1] == '='; padding++)
		len--;
	bool is_good = base64url_decode((struct slice){ (const uint8_t *)copy, len }, out);
	OPENSSL_cleanse(copy, sizeof copy);
	return is_good;
}

static bool take(const char *text, size_t len, char out[BASIC_TEXT_MAX + 1])
{
	if (len > BASIC_TEXT_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return false;
	if (len > 0)
		memcpy(out, text, len);
	out[len] = '\0';
	return true;
}

bool basic_parse(const char *header, struct basic_credential *ret)
{
	if (!basic_is_announced(header))
		return false;
	struct buffer text = { 0 };
	const char *encoded = header + SCHEME_LEN;
	encoded += strspn(encoded, " ");
	bool is_good = decode(encoded, &text);
	const char *colon = is_good && text.len > 0 ? memchr(text.data, ':', text.len) : NULL;
	is_good = colon && take(text.data, (size_t)(colon - text.data), ret->id) &&
	          take(colon + 1, text.len - (size_t)(colon + 1 - text.data), ret->secret);
	if (text.data)
		OPENSSL_cleanse(text.data, text.len);
	buffer_done(&text);
	return is_good;
}

void basic_done(struct basic_credential *credential)
{
	OPENSSL_cleanse(credential, sizeof *credential);
}
