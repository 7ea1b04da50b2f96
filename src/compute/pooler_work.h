/*
 * Pooler work: what a pooler does that blocks. It asks Postgres which roles there are, writes what PgBouncer reads, and talks to its console.
 *
 * Threads: jobs call it, one at a time; the loop leaves all of it alone meanwhile.
 */
#pragma once

#include <libpq-fe.h>

#include "base/base.h"
#include "base/system_user.h"
#include "compute/pooler.h"
#include "compute/pooler_program.h"
#include "compute/pooler_roles.h"
#include "compute/pooler_sight.h"

#define POOLER_SOCKET ".s.PGSQL.5432" /* in socket_folder */

struct pooler_work {
	/* Does not change. */
	char *postgres_socket_folder, *socket_folder, *ini_path, *users_path, *log_path;
	struct system_user postgres_user, user;
	bool has_user; /* else Postgres was started without trusting one */
	int64_t clients_max, wait_sec;
	/* Set before each job. */
	struct pooler_postgres postgres;
	bool is_running;     /* PgBouncer, and it is the same process for the whole job */
	bool must_reconnect; /* it is another Postgres than before */
	/* What jobs find. */
	struct pooler_program program;
	bool has_program;
	struct pooler_roles roles;
	int64_t clients;      /* that the configuration allows */
	int64_t sessions;     /* that were begun on Postgres */
	bool has_hung_up;     /* PgBouncer did not do as it was told */
	bool must_start_anew; /* there is no other way to end somebody's clients */
	struct pooler_sight sight;
	bool has_sight;
	/* Their own. */
	PGconn *admin, *console;
};

/* Copies what it needs. */
void pooler_work_init(struct pooler_work *work, const struct pooler_options *options);
void pooler_work_done(struct pooler_work *work);

/*
 * Finds out what the names mean now (roles), and makes PgBouncer know those that are roles which may log in; it reads its files again if it runs, else
 * they are there for its start. STATUS_UNSUPPORTED: there can be no pooler here, the hint says what to do.
 */
MUST_CHECK status pooler_work_let_in(
        struct pooler_work *work, const char *const *names, size_t count, struct error *err);
/* Looks at PgBouncer (sight), and whether the names that were let in are still the same roles (P2 in pooler.h). */
MUST_CHECK status pooler_work_look(struct pooler_work *work, struct error *err);
