/*
 * Admin connection: libpq as cloud_admin through a compute's socket, and statements whose failure becomes an error. No
 * setting of the endpoint (time limits, read-only default) applies to it.
 *
 * Threads: one at a time per connection; calls block.
 */
#pragma once

#include <libpq-fe.h>

#include "base/base.h"

#define ADMIN_APPLICATION "tarn supervisor"

/* application: ADMIN_APPLICATION for what shall not count as activity. The caller frees with PQfinish(). */
MUST_CHECK status admin_connect(const char *socket_folder, const char *database, const char *application,
        PGconn **ret, struct error *err);

/* Runs a statement; *ret (may be NULL) receives its rows, to be freed with PQclear(). */
MUST_CHECK status admin_query(PGconn *connection, const char *statement, PGresult **ret, struct error *err);
/* The same with parameters $1 …, as texts. */
MUST_CHECK status admin_query_with(PGconn *connection, const char *statement, const char *const *values,
        int count, PGresult **ret, struct error *err);

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
