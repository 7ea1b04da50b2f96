/*
 * Admin connection: libpq as cloud_admin through a compute's socket, and statements whose failure becomes an error. No
 * setting of the endpoint (time limits, read-only default) applies to it.
 *
 * Threads: one at a time per connection; calls block, but not for ever on a Postgres that does not answer (it may have been stopped, or its disk may
 * hang): then the connection is broken off, every later call on it fails, and Postgres gives the statement up within seconds of noticing.
 */
#pragma once

#include <libpq-fe.h>

#include "base/base.h"
#include "base/buffer.h"
#include "base/clock.h"

#define ADMIN_APPLICATION "tarn supervisor"
/* One that changes roles or databases (catalog_change.h). Whoever looks for ours looks for names that begin with ADMIN_APPLICATION. */
#define CHANGE_APPLICATION ADMIN_APPLICATION ", change"

/* For a statement whose work does not grow with anything that is a tenant's; locks of others are waited for ten seconds. */
#define ADMIN_PATIENCE (30 * USEC_PER_SEC)
/* For one that copies, writes or removes files, or goes over all that somebody owns. */
#define ADMIN_LONG_PATIENCE (600 * USEC_PER_SEC)

/* application: one of these for what shall not count as activity. The caller frees with PQfinish(). */
MUST_CHECK status admin_connect(const char *socket_folder, const char *database, const char *application,
        PGconn **ret, struct error *err);

/*
 * A refusal is STATUS_EXISTS, STATUS_NOT_FOUND, STATUS_CONFLICT (something depends on it, or uses it), STATUS_INVALID or STATUS_NO_SPACE where
 * Postgres says so, else STATUS_UNAVAILABLE; the hint is the first line of its DETAIL. No answer in time is STATUS_UNAVAILABLE with sys_errno
 * ETIMEDOUT: whether the statement has been done is not known then.
 */
/* Runs a statement; *ret (may be NULL) receives its rows, to be freed with PQclear(). */
MUST_CHECK status admin_query(PGconn *connection, const char *statement, PGresult **ret, struct error *err);
MUST_CHECK status admin_query_within(
        PGconn *connection, int64_t patience_usec, const char *statement, PGresult **ret, struct error *err);
/* The same with parameters $1 …, as texts. */
MUST_CHECK status admin_query_with(PGconn *connection, const char *statement, const char *const *values,
        int count, PGresult **ret, struct error *err);

/* Names become part of statements only through libpq's quoting, which knows the connection's encoding. */
MUST_CHECK status admin_append_identifier(
        PGconn *connection, struct buffer *out, const char *name, struct error *err);
/* Runs "<before><name><between><other><after>", with both names quoted; between, other and after may be NULL. */
MUST_CHECK status admin_run_on(PGconn *connection, const char *before, const char *name, const char *between,
        const char *other, const char *after, struct error *err);
MUST_CHECK status admin_run_on_within(PGconn *connection, int64_t patience_usec, const char *before,
        const char *name, const char *between, const char *other, const char *after, struct error *err);

static inline void admin_disconnect(PGconn **connection)
{
	PQfinish(*connection);
	*connection = NULL;
}

static inline void admin_clear(PGresult **result)
{
	PQclear(*result);
	*result = NULL;
}
