#include "http/download.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/url.h"
#include "http/libcurl.h"

#define CONNECT_TIMEOUT_MS 3000l

struct transfer {
	const struct download_limits *limits;
	const atomic_bool *is_stopped;
	struct buffer *out;
	bool is_loopback; /* D2: the URL says so */
	bool is_address_refused, is_too_long;
	char problem[CURL_ERROR_SIZE];
};

/* ---- What libcurl asks while it works ---- */

static bool v4_is_allowed(uint32_t address, bool is_loopback)
{
	uint8_t first = (uint8_t)(address >> 24);
	if (first == 127)
		return is_loopback;
	return first != 0 && first < 224 && address >> 16 != 0xa9fe; /* 169.254.0.0/16 */
}

static bool v6_is_allowed(const struct in6_addr *address, bool is_loopback)
{
	if (IN6_IS_ADDR_V4MAPPED(address)) {
		uint32_t v4;
		memcpy(&v4, &address->s6_addr[12], sizeof v4);
		return v4_is_allowed(ntohl(v4), is_loopback);
	}
	if (IN6_IS_ADDR_LOOPBACK(address))
		return is_loopback;
	return !IN6_IS_ADDR_UNSPECIFIED(address) && !IN6_IS_ADDR_LINKLOCAL(address) &&
	       !IN6_IS_ADDR_MULTICAST(address) && !IN6_IS_ADDR_V4COMPAT(address);
}

static bool address_is_allowed(const struct sockaddr *address, bool is_loopback)
{
	const void *any = address;
	if (address->sa_family == AF_INET)
		return v4_is_allowed(ntohl(((const struct sockaddr_in *)any)->sin_addr.s_addr), is_loopback);
	return address->sa_family == AF_INET6 &&
	       v6_is_allowed(&((const struct sockaddr_in6 *)any)->sin6_addr, is_loopback);
}

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct transfer *transfer = arg;
	(void)purpose;
	if (!address_is_allowed(&address->addr, transfer->is_loopback)) {
		transfer->is_address_refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t take(char *bytes, size_t size, size_t count, void *arg)
{
	struct transfer *transfer = arg;
	size_t len = size * count;
	if (len > transfer->limits->bytes - transfer->out->len) {
		transfer->is_too_long = true;
		return 0; /* curl ends the transfer */
	}
	buffer_append(transfer->out, bytes, len);
	return len;
}

static int look_whether_to_stop(
        void *arg, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now)
{
	const struct transfer *transfer = arg;
	(void)total, (void)now, (void)up_total, (void)up_now;
	return atomic_load(transfer->is_stopped) ? 1 : 0;
}

/* ---- One transfer ---- */

/* Once in the process; it need not be undone. */
static void start_libcurl(void)
{
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void set_up(CURL *curl, const char *url, bool is_https, struct transfer *transfer)
{
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, is_https ? "https" : "http"); /* D1 */
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1l);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2l);
	/* As the curl command does it: an authority of the company's own, for this process only. */
	const char *authorities = getenv("SSL_CERT_FILE");
	if (authorities && *authorities)
		curl_easy_setopt(curl, CURLOPT_CAINFO, authorities);
	curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket); /* D2 */
	curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, transfer);
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0l); /* D3 */
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1l);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take); /* D4 */
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, transfer->limits->timeout_ms);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0l);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, look_whether_to_stop);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, transfer);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1l); /* there are other threads */
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "tarn/" TARN_VERSION);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, transfer->problem);
}

static status failure(const struct transfer *transfer, CURLcode code, const char *url, struct error *err)
{
	if (transfer->is_too_long)
		return error_set(err, STATUS_LIMIT, 0, "\"%s\" is longer than %zu bytes", url,
		        transfer->limits->bytes);
	if (transfer->is_address_refused)
		return error_set(err, STATUS_UNAVAILABLE, 0,
		        "could not get \"%s\": its host has an address that is not connected to (of this "
		        "machine or link)",
		        url);
	return error_set(err, STATUS_UNAVAILABLE, 0, "could not get \"%s\": %s", url,
	        transfer->problem[0] ? transfer->problem : curl_easy_strerror(code));
}

static status perform(CURL *curl, const char *url, struct transfer *transfer, struct error *err)
{
	long http_status = 0;
	CURLcode code = curl_easy_perform(curl);
	if (code != CURLE_OK)
		return failure(transfer, code, url, err);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &http_status);
	if (http_status >= 300 && http_status < 400)
		return error_set(err, STATUS_UNAVAILABLE, 0,
		        "could not get \"%s\": it sends elsewhere (HTTP status %ld), which is not followed",
		        url, http_status);
	if (http_status != 200)
		return error_set(err, STATUS_UNAVAILABLE, 0, "could not get \"%s\": HTTP status %ld", url,
		        http_status);
	return STATUS_OK;
}

status download(const char *url, const struct download_limits *limits, const atomic_bool *is_stopped,
        struct buffer *out, struct error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	CLEANUP(buffer_done) struct buffer text = { 0 };
	struct transfer transfer = { .limits = limits, .is_stopped = is_stopped, .out = &text };
	struct url parsed;
	status st = url_parse(url, &parsed, err);
	if (st != STATUS_OK)
		return error_prefix(err, "URL \"%.200s\"", url);
	if (!parsed.is_https && !parsed.is_loopback)
		return error_set(err, STATUS_INVALID, 0, "URL \"%s\" must begin with https://", url);
	transfer.is_loopback = parsed.is_loopback;
	st = libcurl_load(err);
	if (st != STATUS_OK)
		return st;
	(void)pthread_once(&once, start_libcurl);
	CURL *curl = curl_easy_init();
	if (!curl)
		return error_set(err, STATUS_INTERNAL, 0, "could not start libcurl");
	set_up(curl, url, parsed.is_https, &transfer);
	st = perform(curl, url, &transfer, err);
	curl_easy_cleanup(curl);
	if (st == STATUS_OK)
		buffer_append(out, text.data, text.len);
	return st;
}
