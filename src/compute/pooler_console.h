/*
 * Pooler console: PgBouncer's administration, as "cloud_admin", whom the proxy lets nobody be. No call takes longer than POOLER_CONSOLE_MS: one
 * that does is a failure, and the connection is of no use any more.
 *
 * Threads: one at a time per connection; calls block.
 */
#pragma once

#include <libpq-fe.h>

#include "base/base.h"
#include "compute/pooler_sight.h"

#define POOLER_CONSOLE_MS   5000
#define POOLER_CONSOLE_ROLE "cloud_admin"
#define POOLER_CONSOLE_DB   "pgbouncer"

/* The caller frees with PQfinish(). */
MUST_CHECK status pooler_console_open(const char *socket_folder, PGconn **ret, struct error *err);
MUST_CHECK status pooler_console_look(PGconn *console, struct pooler_sight *ret, struct error *err);
/* Reads its files again. */
MUST_CHECK status pooler_console_reload(PGconn *console, struct error *err);
/* Ends the clients that are logged in as that user. STATUS_UNSUPPORTED: before 1.24 there is no way to. */
MUST_CHECK status pooler_console_end_clients(PGconn *console, const char *user, struct error *err);
