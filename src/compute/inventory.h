/*
 * Inventory: the roles and databases of a cluster as Postgres has them, of one moment. Those of the system are left out: cloud_admin and what
 * begins with "pg_" or "databricks_" among the roles; postgres, the templates and what is being dropped among the databases.
 *
 * What a role stands for is a membership in a marker role (system_objects.h): it branches and restores with the data, and a tenant cannot
 * forge it. A branch of an older version has none, and lacks_markers, until system_objects_ensure() has been there. As a file (docs/formats/volume.md) it is what the supervisor leaves when it suspends: nothing changes while Postgres sleeps.
 *
 * Threads: any; taking one blocks on Postgres.
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"
#include "page_store/volume.h"

#define INVENTORY_VERSION     1
#define INVENTORY_ITEMS_MAX   5000 /* of each kind; what is beyond is not in it */
#define INVENTORY_MAX_BYTES   (4u << 20)
#define POSTGRES_NAME_MAX     63 /* bytes */
#define POSTGRES_VERIFIER_MAX 255

enum inventory_identity { INVENTORY_PLAIN, INVENTORY_USER, INVENTORY_SERVICE_PRINCIPAL, INVENTORY_GROUP };

struct inventory_role {
	int64_t oid;
	char name[POSTGRES_NAME_MAX + 1];
	enum inventory_identity identity;
	bool login, createdb, createrole, bypassrls;
	bool is_superuser_member;                 /* of databricks_superuser, directly */
	char verifier[POSTGRES_VERIFIER_MAX + 1]; /* rolpassword; empty: no password */
	int64_t valid_until_usec;                 /* rolvaliduntil, of the password; 0: for ever */
};

struct inventory_database {
	int64_t oid;
	char name[POSTGRES_NAME_MAX + 1];
	char owner[POSTGRES_NAME_MAX + 1];
};

struct inventory {
	struct inventory_role *roles; /* by oid */
	size_t role_count;
	struct inventory_database *databases; /* by oid */
	size_t database_count;
	bool lacks_markers; /* from before there were any: a role without one may stand for somebody all the same */
};
void inventory_done(struct inventory *inventory); /* for CLEANUP */

MUST_CHECK status inventory_take(const char *socket_folder, struct inventory *ret, struct error *err);

/*
 * A connection that is kept to take one inventory after another: connecting costs some twenty times as much as asking. One thread at a time. It
 * connects when it has to, again when Postgres has been restarted; between inventories it holds no snapshot.
 */
struct inventory_session;
struct inventory_session *inventory_session_create(const char *socket_folder);
struct inventory_session *inventory_session_free(
        struct inventory_session *session); /* NULL is fine; always NULL */
MUST_CHECK status inventory_session_take(
        struct inventory_session *session, struct inventory *ret, struct error *err);

/* Is it a name that tenants cannot have? */
static inline bool inventory_role_is_reserved(const char *name)
{
	return strcmp(name, "cloud_admin") == 0 || strncmp(name, "pg_", 3) == 0 ||
	       strncmp(name, "databricks_", 11) == 0 || strcmp(name, "public") == 0 ||
	       strcmp(name, "none") == 0;
}
static inline bool inventory_database_is_reserved(const char *name)
{
	return strcmp(name, "postgres") == 0 || strncmp(name, "template", 8) == 0;
}

/* The file: durable, readable by its owner only. `stamp` is another one each time. */
struct inventory_file {
	char volume_id[VOLUME_ID_MAX + 1];
	int64_t stamp;
	struct inventory inventory;
};
void inventory_file_done(struct inventory_file *file); /* for CLEANUP */
void inventory_format(const struct inventory_file *file, struct buffer *out);
MUST_CHECK status inventory_parse(struct slice text, struct inventory_file *ret, struct error *err);
MUST_CHECK status inventory_write(const char *path, const struct inventory_file *file, struct error *err);
MUST_CHECK status inventory_read(const char *path, struct inventory_file *ret, struct error *err);
