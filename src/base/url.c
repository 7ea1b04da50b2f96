#include "base/url.h"

#include <arpa/inet.h>
#include <strings.h>

#include "base/number.h"

#define LETTERS_AND_DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define PATH_CHARACTERS    LETTERS_AND_DIGITS "-._~!$&'()*+,;=:@/" /* RFC 3986, section 3.3, without "%" */

static bool take_scheme(const char **pos, bool *ret_is_https)
{
	static const char https[] = "https://", http[] = "http://";
	*ret_is_https = strncmp(*pos, https, sizeof https - 1) == 0;
	if (!*ret_is_https && strncmp(*pos, http, sizeof http - 1) != 0)
		return false;
	*pos += *ret_is_https ? sizeof https - 1 : sizeof http - 1;
	return true;
}

/* "[::1]" or a name or an IPv4 address. */
static bool take_host(const char **pos, struct url *url)
{
	struct in6_addr v6;
	bool is_v6 = **pos == '[';
	const char *text = *pos + is_v6;
	size_t len = strspn(text, is_v6 ? "0123456789abcdefABCDEF:." : LETTERS_AND_DIGITS "-._");
	if (len == 0 || len > URL_HOST_MAX || (is_v6 && text[len] != ']'))
		return false;
	memcpy(url->host, text, len);
	url->host[len] = '\0';
	*pos = text + len + is_v6;
	return is_v6 ? inet_pton(AF_INET6, url->host, &v6) == 1 : text[0] != '.' && text[0] != '-';
}

static bool take_port(const char **pos, struct url *url)
{
	int64_t port = url->is_https ? 443 : 80;
	if (**pos == ':') {
		const char *text = *pos + 1;
		size_t len = strspn(text, "0123456789");
		if (!number_parse((struct slice){ (const uint8_t *)text, len }, 1, 65535, &port))
			return false;
		*pos = text + len;
	}
	url->port = (int)port;
	return **pos == '\0' || **pos == '/' || **pos == '?' || **pos == '#';
}

/* Characters that may stand there, and "%" with two hex digits. Leaves *pos at the first other one. */
static void skip_text(const char **pos, const char *characters)
{
	for (;;) {
		*pos += strspn(*pos, characters);
		if (**pos != '%' || strspn(*pos + 1, "0123456789abcdefABCDEF") < 2)
			return;
		*pos += 3;
	}
}

static bool is_loopback(const char *host)
{
	struct in_addr v4;
	struct in6_addr v6;
	if (strcasecmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

status url_parse(const char *text, struct url *ret, struct error *err)
{
	struct url url = { 0 };
	const char *pos = text;
	if (strlen(text) > URL_MAX)
		return error_set(err, STATUS_INVALID, 0, "must have at most %d bytes", URL_MAX);
	if (!take_scheme(&pos, &url.is_https))
		return error_set(err, STATUS_INVALID, 0, "must begin with https://");
	if (!take_host(&pos, &url))
		return error_set(
		        err, STATUS_INVALID, 0, "must have a host name or an address behind the scheme");
	if (!take_port(&pos, &url))
		return error_set(err, STATUS_INVALID, 0,
		        "must have a path or nothing behind its host and port, and no user name");
	skip_text(&pos, PATH_CHARACTERS);
	url.has_query = *pos == '?';
	if (url.has_query)
		skip_text(&pos, PATH_CHARACTERS "?");
	if (*pos == '#')
		return error_set(err, STATUS_INVALID, 0, "must have no fragment (\"#\")");
	if (*pos != '\0')
		return error_set(err, STATUS_INVALID, 0,
		        "has a character that must be percent-encoded, at byte %zu",
		        (size_t)(pos - text) + 1);
	url.is_loopback = is_loopback(url.host);
	*ret = url;
	return STATUS_OK;
}
