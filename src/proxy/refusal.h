/*
 * Refusal: why a client does not get its session, in the words it will read. All SQLSTATEs and texts of the proxy are
 * in this file's .c, one function each.
 *
 * Clients decide by the text whether to try again: `databricks psql` gives up when it reads "does not exist" or
 * "authentication failed", and tries again otherwise (rest-api.md section 9). So these words stand in permanent
 * refusals and nowhere else: a reason of a failed start that contains them is left out.
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"

/* Why, as it is counted and logged; refusal_reason_name() has the words. */
enum refusal_reason {
	REFUSAL_AUTHENTICATION, /* a wrong token or password */
	REFUSAL_PERMISSION,     /* a role that may not log in, or not that way */
	REFUSAL_ADDRESS,        /* one that may not come */
	REFUSAL_LIMIT,          /* too many connections */
	REFUSAL_FAILURES,       /* too many failed logins */
	REFUSAL_UNKNOWN,        /* there is no such endpoint */
	REFUSAL_DISABLED,
	REFUSAL_NOT_READY, /* the compute did not start in time, or not at all; or Tarn stops */
	REFUSAL_PROTOCOL,  /* no TLS, or not the protocol, or something that the pooler does not take */
	REFUSAL_TIMEOUT,   /* of the login */
	REFUSAL_POSTGRES,  /* Postgres has refused, in its own words */
	REFUSAL_ABANDONED, /* the client went before it was let in, or a TLS handshake failed */
	REFUSAL_INTERNAL,
	REFUSAL_REASONS,
};
const char *refusal_reason_name(enum refusal_reason reason); /* "authentication" */

struct refusal {
	enum refusal_reason reason;
	const char *sqlstate; /* a literal */
	char message[512];
	char detail[512]; /* may be empty */
	char hint[512];   /* may be empty */
};

void refusal_tls_required(struct refusal *ret);
void refusal_protocol(struct refusal *ret, const struct error *err); /* what startup_… said */
void refusal_stuffed(struct refusal *ret, bool is_tls); /* plain bytes behind a request for TLS, or for GSS */
void refusal_no_alpn(struct refusal *ret);
/* The last places are kept for endpoints with few connections (is_kept), or all are taken. */
void refusal_too_many(struct refusal *ret, uint64_t max, bool is_kept);
void refusal_address(struct refusal *ret, const char *why); /* as control says it */
void refusal_busy(struct refusal *ret);                     /* more wait for a start than control keeps */
void refusal_endpoint_full(struct refusal *ret, const char *endpoint_name, uint64_t max, bool is_pooled);
void refusal_project_full(struct refusal *ret, const char *endpoint_name, uint64_t max);
void refusal_two_endpoints(struct refusal *ret, const char *server_name_uid, struct slice option);
void refusal_bad_endpoint(struct refusal *ret, struct slice name);
/* `asked` is the uid or the address that control does not know. */
void refusal_unknown_endpoint(struct refusal *ret, const char *asked, bool is_address);
void refusal_no_read_only_host(struct refusal *ret, const char *uid);
void refusal_disabled(struct refusal *ret, const char *endpoint_name);
void refusal_user(struct refusal *ret, struct slice user); /* cloud_admin */
void refusal_user_too_long(struct refusal *ret);
void refusal_password(struct refusal *ret, struct slice user, const char *reason, const char *endpoint_name);
/* A password of Postgres, in Postgres' words, which are the same whether the role exists or not. */
void refusal_native_password(struct refusal *ret, struct slice user);
void refusal_native_off(struct refusal *ret, struct slice user, const char *endpoint_name);
void refusal_no_login(struct refusal *ret, struct slice user);    /* told to who knows its password */
void refusal_scram(struct refusal *ret, const struct error *err); /* what scram_server_… said */
void refusal_failures(struct refusal *ret, struct slice user, int64_t seconds); /* too many; passes */
void refusal_no_password(struct refusal *ret); /* another message came in its place */
void refusal_login_timeout(struct refusal *ret);
void refusal_start_failed(struct refusal *ret, const char *reason, const char *hint);
void refusal_not_ready(struct refusal *ret, const char *reason); /* may work when tried again */
/* What control or a compute has said, as it said it; sqlstate is not a literal then, but outlives *ret. */
void refusal_told(struct refusal *ret, const char *sqlstate, const char *message, const char *more);
/* What the pooler cannot do; endpoint_uid: where it can be done. */
void refusal_pooled_replication(struct refusal *ret, const char *endpoint_uid);
void refusal_pooled_name(
        struct refusal *ret, const char *kind, struct slice name, const char *endpoint_uid); /* reserved */
void refusal_pooled_too_long(struct refusal *ret);
void refusal_pooler_gone(struct refusal *ret); /* to a session that was at rest */
void refusal_shutting_down(struct refusal *ret);
void refusal_internal(struct refusal *ret, const char *reason);

/* As an ErrorResponse. */
void refusal_append(struct buffer *out, const struct refusal *refusal);
