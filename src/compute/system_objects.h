/*
 * System objects: what every branch has in its Postgres besides what initdb makes, so that tenants have the rights they are promised and no
 * more: the roles that mark what another role stands for, and system views that cannot be written through. New branches have them from the
 * template, older ones get them by system_objects_ensure().
 *
 * A role is that of a user, a service principal or a group by being a member of databricks_identity_user, …_service_principal or …_group, granted by
 * cloud_admin without ADMIN, INHERIT and SET. Nobody else has ADMIN on these.
 *
 * Threads: any; blocks on Postgres.
 */
#pragma once

#include <libpq-fe.h>

#include "base/base.h"

/* To be raised with every change of what follows. */
#define SYSTEM_OBJECTS_REVISION "1"

/* Single statements, to be run as superuser: once for all databases; in each database; last, the note that it was done. All can be repeated. */
extern const char system_objects_shared[], system_objects_in_database[], system_objects_note[];

/*
 * Makes what is missing; connection: cloud_admin to "postgres". One question when the note says that nothing is. Databases that let nobody in
 * are opened for a moment. On failure, or after a crash, it can be called again.
 */
MUST_CHECK status system_objects_ensure(PGconn *connection, struct error *err);
