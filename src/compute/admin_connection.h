/*
 * Admin connection: libpq as cloud_admin through a compute's socket, and statements whose failure becomes an error. No
 * setting of the endpoint (time limits, read-only default) applies to it.
 *
 * Threads: one at a time per connection; calls block.
 */
#pragma once

#include <libpq-fe.h>

#include "base/base.h"
#include "base/buffer.h"

#define ADMIN_APPLICATION "tarn supervisor"

/* application: ADMIN_APPLICATION for what shall not count as activity. The caller frees with PQfinish(). */
MUST_CHECK status admin_connect(const char *socket_folder, const char *database, const char *application,
        PGconn **ret, struct error *err);

/*
 * A refusal is STATUS_EXISTS, STATUS_NOT_FOUND, STATUS_CONFLICT (something depends on it, or uses it), STATUS_INVALID or STATUS_NO_SPACE where
 * Postgres says so, else STATUS_UNAVAILABLE; the hint is the first line of its DETAIL.
 */
/* Runs a statement; *ret (may be NULL) receives its rows, to be freed with PQclear(). */
MUST_CHECK status admin_query(PGconn *connection, const char *statement, PGresult **ret, struct error *err);
/* The same with parameters $1 …, as texts. */
MUST_CHECK status admin_query_with(PGconn *connection, const char *statement, const char *const *values,
        int count, PGresult **ret, struct error *err);

/* Names become part of statements only through libpq's quoting, which knows the connection's encoding. */
MUST_CHECK status admin_append_identifier(
        PGconn *connection, struct buffer *out, const char *name, struct error *err);
/* Runs "<before><name><between><other><after>", with both names quoted; between, other and after may be NULL. */
MUST_CHECK status admin_run_on(PGconn *connection, const char *before, const char *name, const char *between,
        const char *other, const char *after, struct error *err);

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
