/*
 * Catalog change: one change of a role or database of a running compute, as the API asks for it. Only what is named changes; what somebody
 * did by SQL meanwhile stays (docs/decisions/0014-postgres-is-the-truth-about-roles.md).
 *
 * A change may be done and its answer lost: Postgres, the connection or we may die just then. So the transaction that makes one also notes, in Postgres, for which
 * `operation` (a comment on cloud_admin): for that operation it is not made again, whatever somebody has made of it by SQL since. operation NULL: of a
 * branch that nobody is in yet; what is there already counts as done. What no transaction can make is found again by its oid: a database gets one that was chosen
 * before, and what is dropped is named by it (job_catalog.c). One change of a compute at a time; catalog_end_attempts() before a first look.
 *
 * Failures have the codes of admin_connection.h. Names are checked here against those of the system, whatever the caller did. Threads: any; blocks
 * on Postgres.
 */
#pragma once

#include "base/base.h"
#include "compute/inventory.h"

/* Which members of a wish are meant. */
#define ROLE_LOGIN      1u
#define ROLE_CREATEDB   2u
#define ROLE_CREATEROLE 4u
#define ROLE_BYPASSRLS  8u
#define ROLE_MEMBERSHIP 16u
#define ROLE_IDENTITY   32u
#define ROLE_PASSWORD   64u
#define ROLE_ALL        127u

struct role_wish {
	const char *name;
	enum inventory_identity identity;
	bool login, createdb, createrole, bypassrls, is_superuser_member;
	const char *verifier; /* NULL: no password */
};

/* Makes it what the wish says in every respect, whether it is there or not. Over a connection to "postgres" whose system objects are there. */
struct pg_conn;
struct identity_mark;
MUST_CHECK status catalog_put_role(
        struct pg_conn *connection, const struct role_wish *wish, struct error *err);
/*
 * What the roles of an older branch stand for (inventory.lacks_markers) is noted in it, with all else that is missing. Before a role is created, or another identity
 * given to one: after that a role without a marker stands for nobody.
 */
MUST_CHECK status catalog_mark_identities(
        const char *socket_folder, const struct identity_mark *marks, size_t mark_count, struct error *err);
/* Ends the sessions that an earlier attempt may have left behind: it comes to nothing any more, or it has been made by now. */
MUST_CHECK status catalog_end_attempts(const char *socket_folder, struct error *err);
MUST_CHECK status catalog_create_role(
        const char *socket_folder, const struct role_wish *wish, const char *operation, struct error *err);
MUST_CHECK status catalog_alter_role(const char *socket_folder, const struct role_wish *wish, unsigned fields,
        const char *operation, struct error *err);
/* Its objects in all databases go to reassign_to first (NULL: then it may own none). */
MUST_CHECK status catalog_drop_role(
        const char *socket_folder, const char *name, const char *reassign_to, struct error *err);

/* oid: the one it gets, not the system's (OIDS_MIN to OIDS_MAX is free for this). 0: any, and one that is there counts as done, when the owner is right. */
#define OIDS_MIN (INT64_C(1) << 30)
#define OIDS_MAX ((INT64_C(1) << 31) - 1)
MUST_CHECK status catalog_create_database(
        const char *socket_folder, const char *name, const char *owner, int64_t oid, struct error *err);
/* new_name and owner: NULL keeps it. Both or nothing. Sessions of a database that is renamed are ended. */
MUST_CHECK status catalog_alter_database(const char *socket_folder, const char *name, const char *new_name,
        const char *owner, const char *operation, struct error *err);
/* With all sessions in it; one that is gone already is fine. */
MUST_CHECK status catalog_drop_database(const char *socket_folder, const char *name, struct error *err);
