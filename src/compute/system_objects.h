/*
 * System objects: what every branch has in its Postgres besides what initdb makes, so that tenants have the rights they are promised and no
 * more: the roles that mark what another role stands for, and system views that cannot be written through. New branches have them from the
 * template, older ones get them by system_objects_ensure().
 *
 * A role is that of a user, a service principal or a group by being a member of databricks_identity_user, …_service_principal or …_group, granted by
 * cloud_admin without ADMIN, INHERIT and SET. Nobody else has ADMIN on these. What roles of an older branch stand for only the metadata know: they get
 * their markers in the transaction that notes that there are markers, so that one without the other is never seen.
 *
 * Threads: any; blocks on Postgres.
 */
#pragma once

#include "base/base.h"
#include "compute/inventory.h"

/* To be raised with every change of what follows. */
#define SYSTEM_OBJECTS_REVISION "1"

#define SYSTEM_OBJECTS_NOTE "administrators of this branch; system objects, revision "
/* Which of them a branch has, as a number: 0 is none. */
#define SYSTEM_OBJECTS_REVISION_SQL                                                                          \
	"coalesce((SELECT substring(shobj_description(oid, 'pg_authid') FROM '" SYSTEM_OBJECTS_NOTE          \
	"(\\d+)$')::int FROM pg_roles WHERE rolname = 'databricks_superuser'), 0)"

/* NULL: INVENTORY_PLAIN has none. */
const char *system_objects_marker(enum inventory_identity identity);

/* Single statements, to be run as superuser: once for all databases; in each database; last, the note that it was done. All can be repeated. */
extern const char system_objects_shared[], system_objects_in_database[], system_objects_note[];

/* What a role of a branch without markers stands for. */
struct identity_mark {
	int64_t oid; /* 0: only its name is known */
	char name[POSTGRES_NAME_MAX + 1];
	enum inventory_identity identity;
};

/*
 * Makes what is missing; connection: cloud_admin to "postgres". One question when the note says that nothing is: then the marks are not looked at
 * either, somebody else was first. Databases that let nobody in are opened for a moment. A role that is gone, or the system's, gets no marker. On failure, or
 * after a crash, it can be called again.
 */
struct pg_conn;
MUST_CHECK status system_objects_ensure(
        struct pg_conn *connection, const struct identity_mark *marks, size_t mark_count, struct error *err);
