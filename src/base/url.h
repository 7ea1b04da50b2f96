/*
 * URL: where an http or https server is, as a person or another program says it, taken apart strictly. What can be read in two ways (user names,
 * blanks, backslashes, hosts that are no names) is refused, so that a check made here is about the server that is connected to later.
 * Threads: any.
 */
#pragma once

#include "base/base.h"

#define URL_MAX      1024
#define URL_HOST_MAX 253

struct url {
	bool is_https;
	char host[URL_HOST_MAX + 1]; /* as written; an IPv6 address without its brackets */
	int port;
	bool is_loopback; /* the host is "localhost" or an address of this machine's own: 127.0.0.0/8, ::1 */
	bool has_query;
};

/* STATUS_INVALID; the message goes on after the name of what it is: "must begin with https://". A fragment ("#…") is refused. */
MUST_CHECK status url_parse(const char *text, struct url *ret, struct error *err);
