#include "proxy/refusal.h"

#include <stdarg.h>
#include <stdio.h>

#include "pgwire/message.h"

#define ERRCODE_PROTOCOL_VIOLATION    "08P01"
#define ERRCODE_NOT_SUPPORTED         "0A000"
#define ERRCODE_INVALID_AUTHORIZATION "28000"
#define ERRCODE_INVALID_PASSWORD      "28P01"
#define ERRCODE_INVALID_CATALOG_NAME  "3D000"
#define ERRCODE_TOO_MANY_CONNECTIONS  "53300"
#define ERRCODE_NOT_IN_REQUIRED_STATE "55000"
#define ERRCODE_ADMIN_SHUTDOWN        "57P01"
#define ERRCODE_CANNOT_CONNECT_NOW    "57P03"
#define ERRCODE_QUERY_CANCELED        "57014"
#define ERRCODE_INTERNAL              "XX000"

/* Text of a client goes into the message as it came, but for what would end the text or forge a line. */
static void print_slice(char *out, size_t size, struct slice text)
{
	size_t n = text.len < size - 1 ? text.len : size - 1;
	for (size_t i = 0; i < n; i++)
		out[i] = text.data[i] < 0x20 || text.data[i] == 0x7f ? '?' : (char)text.data[i];
	out[n] = '\0';
}

const char *refusal_reason_name(enum refusal_reason reason)
{
	static const char *const names[REFUSAL_REASONS] = {
		[REFUSAL_AUTHENTICATION] = "authentication",
		[REFUSAL_PERMISSION] = "permission",
		[REFUSAL_ADDRESS] = "address",
		[REFUSAL_LIMIT] = "limit",
		[REFUSAL_FAILURES] = "failures",
		[REFUSAL_UNKNOWN] = "unknown_endpoint",
		[REFUSAL_DISABLED] = "disabled",
		[REFUSAL_NOT_READY] = "not_ready",
		[REFUSAL_PROTOCOL] = "protocol",
		[REFUSAL_TIMEOUT] = "timeout",
		[REFUSAL_POSTGRES] = "postgres",
		[REFUSAL_ABANDONED] = "abandoned",
		[REFUSAL_INTERNAL] = "internal",
	};
	return names[reason];
}

PRINTF_LIKE(4)
static void refuse(
        struct refusal *ret, enum refusal_reason reason, const char *sqlstate, const char *fmt, ...)
{
	*ret = (struct refusal){ .reason = reason, .sqlstate = sqlstate };
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(ret->message, sizeof ret->message, fmt, args);
	va_end(args);
}

PRINTF_LIKE(2) static void hint(struct refusal *ret, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(ret->hint, sizeof ret->hint, fmt, args);
	va_end(args);
}

void refusal_tls_required(struct refusal *ret)
{
	refuse(ret, REFUSAL_PROTOCOL, ERRCODE_INVALID_AUTHORIZATION, "connection requires TLS");
	hint(ret, "Connect with sslmode=require, or sslmode=verify-full and the file that \"tarn env\" names "
	          "in "
	          "PGSSLROOTCERT.");
}

void refusal_protocol(struct refusal *ret, const struct error *err)
{
	const char *sqlstate = err->code == STATUS_UNSUPPORTED ? ERRCODE_NOT_SUPPORTED
	                       : err->code == STATUS_DENIED    ? ERRCODE_INVALID_AUTHORIZATION
	                                                       : ERRCODE_PROTOCOL_VIOLATION;
	refuse(ret, REFUSAL_PROTOCOL, sqlstate, "%s", err->message);
}

void refusal_stuffed(struct refusal *ret, bool is_tls)
{
	refuse(ret, REFUSAL_PROTOCOL, ERRCODE_PROTOCOL_VIOLATION,
	        "received unencrypted data after %s request", is_tls ? "SSL" : "GSSAPI encryption");
	(void)snprintf(ret->detail, sizeof ret->detail,
	        "This could be either a client-software bug or evidence of an attempted man-in-the-middle "
	        "attack.");
}

void refusal_no_alpn(struct refusal *ret)
{
	refuse(ret, REFUSAL_PROTOCOL, ERRCODE_PROTOCOL_VIOLATION,
	        "received direct TLS connection request without ALPN protocol negotiation extension");
	hint(ret, "A client that begins with TLS must offer the protocol \"postgresql\" by ALPN.");
}

void refusal_too_many(struct refusal *ret, uint64_t max, bool is_kept)
{
	refuse(ret, REFUSAL_LIMIT, ERRCODE_TOO_MANY_CONNECTIONS,
	        "too many connections to the proxy: the limit is %llu", (unsigned long long)max);
	if (is_kept)
		(void)snprintf(ret->detail, sizeof ret->detail,
		        "The last places are kept for endpoints with few connections.");
	hint(ret, "Close connections that are not needed, or raise the limit of open files (ulimit -n) of "
	          "\"tarn up\".");
}

void refusal_address(struct refusal *ret, const char *why)
{
	refuse(ret, REFUSAL_ADDRESS, ERRCODE_INVALID_AUTHORIZATION, "%s", why);
	hint(ret, "An administrator can change them: tarn auth ip-access-lists.");
}

void refusal_busy(struct refusal *ret)
{
	refuse(ret, REFUSAL_LIMIT, ERRCODE_TOO_MANY_CONNECTIONS,
	        "too many connections wait for computes to start");
	hint(ret, "Try again in a moment.");
}

void refusal_endpoint_full(struct refusal *ret, const char *endpoint_name, uint64_t max, bool is_pooled)
{
	refuse(ret, REFUSAL_LIMIT, ERRCODE_TOO_MANY_CONNECTIONS,
	        "too many connections to %sendpoint \"%s\": the limit is %llu",
	        is_pooled ? "the pooler of " : "", endpoint_name, (unsigned long long)max);
	if (is_pooled)
		hint(ret, "Close connections that are not needed. The limit is \"pooler_clients\" of \"tarn "
		          "up --set\".");
	else
		hint(ret, "Close connections that are not needed, connect through the pooler (host "
		          "\"…-pooler\"), or raise "
		          "spec.autoscaling_limit_max_cu of the endpoint, which the limit follows.");
}

/* "projects/p" of an endpoint's name. */
static int project_len(const char *endpoint_name)
{
	const char *branches = strstr(endpoint_name, "/branches/");
	return branches ? (int)(branches - endpoint_name) : (int)strlen(endpoint_name);
}

void refusal_project_full(struct refusal *ret, const char *endpoint_name, uint64_t max)
{
	refuse(ret, REFUSAL_LIMIT, ERRCODE_TOO_MANY_CONNECTIONS,
	        "too many connections to the endpoints of \"%.*s\": the limit is %llu",
	        project_len(endpoint_name), endpoint_name, (unsigned long long)max);
	hint(ret, "Close connections that are not needed. The limit is \"connections_per_project\" of \"tarn "
	          "up "
	          "--set\".");
}

void refusal_two_endpoints(struct refusal *ret, const char *server_name_uid, struct slice option)
{
	char text[80];
	print_slice(text, sizeof text, option);
	refuse(ret, REFUSAL_PROTOCOL, ERRCODE_PROTOCOL_VIOLATION,
	        "host name and options name different endpoints: \"%s\" and \"%s\"", server_name_uid, text);
	hint(ret, "Leave options=endpoint=… out when the host name says which endpoint is meant.");
}

void refusal_bad_endpoint(struct refusal *ret, struct slice name)
{
	char text[80];
	print_slice(text, sizeof text, name);
	refuse(ret, REFUSAL_UNKNOWN, ERRCODE_INVALID_CATALOG_NAME, "endpoint \"%s\" does not exist", text);
	hint(ret, "The uid of an endpoint begins with \"ep-\"; see status.hosts.host of \"tarn postgres "
	          "get-endpoint\".");
}

void refusal_unknown_endpoint(struct refusal *ret, const char *asked, bool is_address)
{
	if (is_address) {
		refuse(ret, REFUSAL_UNKNOWN, ERRCODE_INVALID_CATALOG_NAME,
		        "endpoint with address %s does not exist", asked);
		hint(ret, "Connect to the host in status.hosts.host of \"tarn postgres get-endpoint\", or "
		          "say which "
		          "endpoint is meant with options=endpoint=UID.");
	} else {
		refuse(ret, REFUSAL_UNKNOWN, ERRCODE_INVALID_CATALOG_NAME, "endpoint \"%s\" does not exist",
		        asked);
		hint(ret, "It may have been deleted; \"tarn postgres list-endpoints\" shows those that are "
		          "there.");
	}
}

void refusal_no_read_only_host(struct refusal *ret, const char *uid)
{
	refuse(ret, REFUSAL_UNKNOWN, ERRCODE_INVALID_CATALOG_NAME,
	        "read-only host of endpoint \"%s\" does not exist", uid);
	hint(ret, "It is a read-write endpoint without readable secondaries: connect to status.hosts.host.");
}

void refusal_disabled(struct refusal *ret, const char *endpoint_name)
{
	refuse(ret, REFUSAL_DISABLED, ERRCODE_NOT_IN_REQUIRED_STATE, "endpoint \"%s\" is disabled",
	        endpoint_name);
	hint(ret,
	        "Enable it: tarn postgres update-endpoint %s spec.disabled --json "
	        "'{\"spec\":{\"disabled\":false}}'",
	        endpoint_name);
}

void refusal_user(struct refusal *ret, struct slice user)
{
	char text[80];
	print_slice(text, sizeof text, user);
	refuse(ret, REFUSAL_PERMISSION, ERRCODE_INVALID_AUTHORIZATION,
	        "role \"%s\" is not permitted to log in through the proxy", text);
}

void refusal_user_too_long(struct refusal *ret)
{
	refuse(ret, REFUSAL_PERMISSION, ERRCODE_INVALID_AUTHORIZATION, "user name is longer than 63 bytes");
}

void refusal_password(struct refusal *ret, struct slice user, const char *reason, const char *endpoint_name)
{
	char text[80];
	print_slice(text, sizeof text, user);
	refuse(ret, REFUSAL_AUTHENTICATION, ERRCODE_INVALID_PASSWORD,
	        "password authentication failed for user \"%s\"", text);
	(void)snprintf(ret->detail, sizeof ret->detail, "%s", reason);
	hint(ret,
	        "The password is a database token. Get a new one: tarn postgres generate-database-credential "
	        "%s",
	        endpoint_name);
}

void refusal_native_password(struct refusal *ret, struct slice user)
{
	char text[80];
	print_slice(text, sizeof text, user);
	refuse(ret, REFUSAL_AUTHENTICATION, ERRCODE_INVALID_PASSWORD,
	        "password authentication failed for user \"%s\"", text);
}

void refusal_native_off(struct refusal *ret, struct slice user, const char *endpoint_name)
{
	char text[80];
	print_slice(text, sizeof text, user);
	int len = project_len(endpoint_name);
	refuse(ret, REFUSAL_PERMISSION, ERRCODE_INVALID_AUTHORIZATION,
	        "user \"%s\" cannot log in with a password: native login is switched off for %.*s", text, len,
	        endpoint_name);
	hint(ret,
	        "Switch it on: tarn postgres update-project %.*s spec.enable_pg_native_login --json "
	        "'{\"spec\":{\"enable_pg_native_login\":true}}'. Identities log in with a database token.",
	        len, endpoint_name);
}

void refusal_no_login(struct refusal *ret, struct slice user)
{
	char text[80];
	print_slice(text, sizeof text, user);
	refuse(ret, REFUSAL_PERMISSION, ERRCODE_INVALID_AUTHORIZATION,
	        "role \"%s\" is not permitted to log in", text);
}

void refusal_scram(struct refusal *ret, const struct error *err)
{
	if (err->code == STATUS_INTERNAL) {
		refusal_internal(ret, err->message);
		return;
	}
	refusal_protocol(ret, err);
	(void)snprintf(ret->detail, sizeof ret->detail, "%s", err->hint);
}

void refusal_failures(struct refusal *ret, struct slice user, int64_t seconds)
{
	char text[80];
	print_slice(text, sizeof text, user);
	refuse(ret, REFUSAL_FAILURES, ERRCODE_TOO_MANY_CONNECTIONS,
	        "too many failed logins of user \"%s\" from this address", text);
	hint(ret, "Try again in %lld s. The limit is \"failures_per_min\" of \"tarn up --set\".",
	        (long long)seconds);
}

void refusal_no_password(struct refusal *ret)
{
	refuse(ret, REFUSAL_PROTOCOL, ERRCODE_PROTOCOL_VIOLATION, "expected a password message");
}

void refusal_login_timeout(struct refusal *ret)
{
	refuse(ret, REFUSAL_TIMEOUT, ERRCODE_QUERY_CANCELED, "canceling authentication due to timeout");
}

static bool has_permanent_words(const char *reason)
{
	return strcasestr(reason, "does not exist") || strcasestr(reason, "authentication failed");
}

void refusal_start_failed(struct refusal *ret, const char *reason, const char *more)
{
	bool may_say = reason[0] && !has_permanent_words(reason);
	refuse(ret, REFUSAL_NOT_READY, ERRCODE_CANNOT_CONNECT_NOW,
	        "the database system could not be started: %s", may_say ? reason : "see its log");
	hint(ret, "%s",
	        more[0] && !has_permanent_words(more)
	                ? more
	                : "Its log is computes/<endpoint uid>/postgres.log in Tarn's data directory.");
}

void refusal_not_ready(struct refusal *ret, const char *reason)
{
	refuse(ret, REFUSAL_NOT_READY, ERRCODE_CANNOT_CONNECT_NOW, "the database system is not ready: %s",
	        has_permanent_words(reason) ? "see the log of tarn" : reason);
	hint(ret, "Try again in a moment; \"tarn status\" shows what runs.");
}

void refusal_told(struct refusal *ret, const char *sqlstate, const char *message, const char *more)
{
	enum refusal_reason reason = strcmp(sqlstate, ERRCODE_CANNOT_CONNECT_NOW) == 0 ? REFUSAL_NOT_READY
	                             : strcmp(sqlstate, ERRCODE_INVALID_AUTHORIZATION) == 0
	                                     ? REFUSAL_PERMISSION
	                                     : REFUSAL_PROTOCOL;
	refuse(ret, reason, sqlstate, "%s", message);
	hint(ret, "%s", more);
}

static void hint_direct(struct refusal *ret, const char *endpoint_uid)
{
	hint(ret,
	        "Connect past the pooler: the host without \"-pooler\", which is status.hosts.host of "
	        "endpoint %s.",
	        endpoint_uid);
}

void refusal_pooled_replication(struct refusal *ret, const char *endpoint_uid)
{
	refuse(ret, REFUSAL_PROTOCOL, ERRCODE_NOT_SUPPORTED,
	        "the pooler does not take replication connections");
	hint_direct(ret, endpoint_uid);
}

void refusal_pooled_name(struct refusal *ret, const char *kind, struct slice name, const char *endpoint_uid)
{
	char text[80];
	print_slice(text, sizeof text, name);
	refuse(ret, REFUSAL_PROTOCOL, ERRCODE_NOT_SUPPORTED,
	        "%s \"%s\" cannot be reached through the pooler: the name is reserved there", kind, text);
	hint_direct(ret, endpoint_uid);
}

void refusal_pooled_too_long(struct refusal *ret)
{
	refuse(ret, REFUSAL_PROTOCOL, ERRCODE_INVALID_CATALOG_NAME, "database name is longer than 63 bytes");
}

void refusal_pooler_gone(struct refusal *ret)
{
	refuse(ret, REFUSAL_NOT_READY, ERRCODE_ADMIN_SHUTDOWN,
	        "terminating connection because the compute was suspended or its pooler ended");
	hint(ret, "Connect again: that starts it.");
}

void refusal_shutting_down(struct refusal *ret)
{
	refuse(ret, REFUSAL_NOT_READY, ERRCODE_CANNOT_CONNECT_NOW, "Tarn is shutting down");
}

void refusal_internal(struct refusal *ret, const char *reason)
{
	refuse(ret, REFUSAL_INTERNAL, ERRCODE_INTERNAL, "%s", reason);
	hint(ret, "This is a mistake of Tarn or of the compute's configuration; the log of the proxy has "
	          "more.");
}

void refusal_append(struct buffer *out, const struct refusal *refusal)
{
	const struct message_error error = { .sqlstate = refusal->sqlstate,
		.message = refusal->message,
		.detail = refusal->detail,
		.hint = refusal->hint };
	message_append_fatal(out, &error);
}
