#include "control_plane/metrics_access.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <strings.h>

#include "base/file.h"
#include "base/random.h"
#include "control_plane/identity.h"
#include "control_plane/request_limit.h"

#define TOKEN_DIGITS 32
#define TOKEN_MAX    4096

status metrics_access_prepare(const struct data_directory *dd, struct error *err)
{
	CLEANUP(free_text) char *path = data_directory_path(dd, "metrics.token");
	if (file_exists(path))
		return STATUS_OK;
	char token[TOKEN_DIGITS + 1];
	random_hex(token, TOKEN_DIGITS);
	CLEANUP(free_text) char *text = xasprintf("%s\n", token);
	return file_replace_durably(path, slice_from_text(text), 0600, err);
}

static bool is_loopback(const char *peer)
{
	struct in_addr v4;
	struct in6_addr v6;
	if (inet_pton(AF_INET, peer, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, peer, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/*
 * A page in a browser on this machine can have its own name resolve to 127.0.0.1, and then read what is answered; the browser says that
 * name as the host. So who asks without a token asks by an address or a name that is nobody else's.
 */
static bool is_own_host(const char *host)
{
	char name[INET6_ADDRSTRLEN + sizeof ".localhost"];
	if (!host)
		return true; /* HTTP/1.0: no browser */
	bool is_bracketed = host[0] == '[';
	size_t len = is_bracketed ? strcspn(++host, "]") : strcspn(host, ":");
	if (len >= sizeof name)
		return false;
	memcpy(name, host, len);
	name[len] = '\0';
	struct in_addr v4;
	struct in6_addr v6;
	return inet_pton(AF_INET, name, &v4) == 1 || inet_pton(AF_INET6, name, &v6) == 1 ||
	       strcasecmp(name, "localhost") == 0;
}

/* Read anew each time, so that the file can be replaced while control runs. */
static bool is_metrics_token(const struct data_directory *dd, const char *header)
{
	struct error err;
	CLEANUP(free_text) char *path = data_directory_path(dd, "metrics.token");
	CLEANUP(buffer_done) struct buffer text = { 0 };
	if (!header || strncasecmp(header, "Bearer ", 7) != 0 ||
	        file_read(path, TOKEN_MAX, &text, &err) != STATUS_OK || text.len == 0)
		return false;
	const char *token = header + 7 + strspn(header + 7, " ");
	size_t len = strcspn(text.data, " \r\n");
	bool is_same =
	        len >= TOKEN_DIGITS && strlen(token) == len && CRYPTO_memcmp(token, text.data, len) == 0;
	OPENSSL_cleanse(text.data, text.len);
	return is_same;
}

bool metrics_access_check(struct call *call)
{
	const struct http_request *request = call->request;
	const struct data_directory *dd = call->services->dd;
	const char *access = dd->settings.metrics_access;
	bool is_local = is_loopback(request->peer) && !request->is_forwarded && is_own_host(request->host);
	if (!request->authorization && is_local && access && strcmp(access, "loopback") == 0)
		return true;
	if (is_metrics_token(dd, request->authorization))
		return true;
	if (!identity_authenticate(call))
		return request_limit_note_bad_token(call);
	return call->caller.is_admin ||
	       api_fail(&call->error, API_DENIED,
	               "only administrators and the token in metrics.token may read this");
}
