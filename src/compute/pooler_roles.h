/*
 * Pooler roles: which role of Postgres each user name of the pooler means.
 *
 * Pools are kept by name, and PgBouncer opens a connection to Postgres by name whenever it wants one. So a name must not come to mean another role
 * while clients of the first one are there: who is let in is remembered with the role's oid, and compared again and again.
 *
 * Threads: one at a time; what takes a connection blocks.
 */
#pragma once

#include <libpq-fe.h>

#include "base/base.h"
#include "base/buffer.h"
#include "compute/pooler_console.h"

struct pooler_role {
	char *name;
	uint32_t known;  /* oid of the role that its clients were let in as; 0: nobody has been */
	uint32_t found;  /* as Postgres said last; 0: there is no role of that name */
	bool may_log_in; /* the same */
};

struct pooler_roles {
	struct pooler_role *list;
	size_t count;
};
void pooler_roles_done(struct pooler_roles *roles); /* for CLEANUP */

/* The entry of that name, made if there is none. Entries move when one is made. */
struct pooler_role *pooler_roles_enter(struct pooler_roles *roles, const char *name);
const struct pooler_role *pooler_roles_find(
        const struct pooler_roles *roles, const char *name); /* NULL: none */

/* Removes those that nobody has been let in as. */
void pooler_roles_tidy(struct pooler_roles *roles);

/* Asks Postgres for all of them: `found` and `may_log_in`. */
MUST_CHECK status pooler_roles_ask(PGconn *admin, struct pooler_roles *roles, struct error *err);

/* Ends those connections of the pooler whose role has another name by now, or is gone. */
MUST_CHECK status pooler_roles_end_servers(
        PGconn *admin, const struct pooler_server *servers, size_t count, struct error *err);

/* Adds an element to the text of an array as Postgres reads it; finish it with "}". */
void pooler_roles_append_element(struct buffer *array, const char *text);
