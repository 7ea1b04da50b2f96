#include "metadata/schema.h"

#include "base/base.h"

/*
 * Times are microseconds since 1970 (UTC), durations microseconds, switches 0 or 1. A time that may be
 * missing is NULL. is_purged: the user gave the name free (purge); the row lives on until its files are gone.
 */
static const char version_1[] =
        "CREATE TABLE counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;"

        "CREATE TABLE identity("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " login TEXT NOT NULL UNIQUE,"
        " kind TEXT NOT NULL CHECK (kind IN ('USER', 'SERVICE_PRINCIPAL')),"
        " display_name TEXT NOT NULL,"
        " is_admin INTEGER NOT NULL,"
        " create_usec INTEGER NOT NULL) STRICT;"

        "CREATE TABLE api_token("
        " hash TEXT PRIMARY KEY,"
        " identity INTEGER NOT NULL REFERENCES identity(id) ON DELETE CASCADE,"
        " source TEXT NOT NULL,"
        " create_usec INTEGER NOT NULL) STRICT;"

        "CREATE TABLE project("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " project_id TEXT NOT NULL,"
        " uid TEXT NOT NULL UNIQUE,"
        " owner TEXT NOT NULL,"
        " create_usec INTEGER NOT NULL,"
        " update_usec INTEGER NOT NULL,"
        " delete_usec INTEGER,"
        " purge_usec INTEGER,"
        " is_purged INTEGER NOT NULL DEFAULT 0,"
        " display_name TEXT NOT NULL,"
        " pg_version INTEGER NOT NULL,"
        " history_retention_usec INTEGER NOT NULL,"
        " min_cu REAL NOT NULL,"
        " max_cu REAL NOT NULL,"
        " suspend_usec INTEGER,"
        " pg_settings TEXT NOT NULL,"
        " enable_pg_native_login INTEGER NOT NULL,"
        " default_branch_uid TEXT NOT NULL,"
        " custom_tags TEXT NOT NULL,"
        " budget_policy_id TEXT,"
        " compute_provisioner TEXT,"
        " next_timeline INTEGER NOT NULL) STRICT;"
        "CREATE UNIQUE INDEX project_name ON project(project_id) WHERE is_purged = 0;"
        "CREATE INDEX project_purge ON project(purge_usec) WHERE purge_usec IS NOT NULL;"

        "CREATE TABLE branch("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " project INTEGER NOT NULL REFERENCES project(id) ON DELETE CASCADE,"
        " branch_id TEXT NOT NULL,"
        " uid TEXT NOT NULL UNIQUE,"
        " create_usec INTEGER NOT NULL,"
        " update_usec INTEGER NOT NULL,"
        " delete_usec INTEGER,"
        " purge_usec INTEGER,"
        " is_purged INTEGER NOT NULL DEFAULT 0,"
        " is_protected INTEGER NOT NULL,"
        " expire_usec INTEGER,"
        " is_ready INTEGER NOT NULL,"
        " state_change_usec INTEGER NOT NULL,"
        " source INTEGER,"
        " source_branch_id TEXT,"
        " source_lsn INTEGER,"
        " source_usec INTEGER,"
        " timeline INTEGER NOT NULL,"
        " revision INTEGER NOT NULL,"
        " logical_size INTEGER NOT NULL DEFAULT 0) STRICT;"
        "CREATE UNIQUE INDEX branch_name ON branch(project, branch_id) WHERE is_purged = 0;"
        "CREATE INDEX branch_source ON branch(source) WHERE source IS NOT NULL;"
        "CREATE INDEX branch_expire ON branch(expire_usec) WHERE expire_usec IS NOT NULL;"
        "CREATE INDEX branch_purge ON branch(purge_usec) WHERE purge_usec IS NOT NULL;"

        "CREATE TABLE endpoint("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " branch INTEGER NOT NULL REFERENCES branch(id) ON DELETE CASCADE,"
        " endpoint_id TEXT NOT NULL,"
        " uid TEXT NOT NULL UNIQUE,"
        " create_usec INTEGER NOT NULL,"
        " update_usec INTEGER NOT NULL,"
        " is_read_only INTEGER NOT NULL,"
        " min_cu REAL NOT NULL,"
        " max_cu REAL NOT NULL,"
        " suspend_usec INTEGER,"
        " is_disabled INTEGER NOT NULL,"
        " pg_settings TEXT NOT NULL,"
        " address TEXT NOT NULL UNIQUE,"
        " was_running INTEGER NOT NULL DEFAULT 0,"
        " last_active_usec INTEGER,"
        " UNIQUE (branch, endpoint_id)) STRICT;"

        "CREATE TABLE role("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " branch INTEGER NOT NULL REFERENCES branch(id) ON DELETE CASCADE,"
        " role_id TEXT NOT NULL,"
        " create_usec INTEGER NOT NULL,"
        " update_usec INTEGER NOT NULL,"
        " postgres_role TEXT NOT NULL,"
        " identity_type TEXT NOT NULL,"
        " auth_method TEXT NOT NULL,"
        " createdb INTEGER NOT NULL,"
        " createrole INTEGER NOT NULL,"
        " bypassrls INTEGER NOT NULL,"
        " is_superuser_member INTEGER NOT NULL,"
        " UNIQUE (branch, role_id),"
        " UNIQUE (branch, postgres_role)) STRICT;"

        "CREATE TABLE database("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " branch INTEGER NOT NULL REFERENCES branch(id) ON DELETE CASCADE,"
        " database_id TEXT NOT NULL,"
        " create_usec INTEGER NOT NULL,"
        " update_usec INTEGER NOT NULL,"
        " postgres_database TEXT NOT NULL,"
        " role_id TEXT NOT NULL,"
        " UNIQUE (branch, database_id),"
        " UNIQUE (branch, postgres_database)) STRICT;"

        /* No foreign keys: an operation outlives what it was about. */
        "CREATE TABLE operation("
        " seq INTEGER PRIMARY KEY AUTOINCREMENT,"
        " id TEXT NOT NULL UNIQUE,"
        " resource TEXT NOT NULL,"
        " kind TEXT NOT NULL,"
        " actor TEXT NOT NULL,"
        " project INTEGER NOT NULL,"
        " branch INTEGER,"
        " source_branch INTEGER,"
        " endpoint INTEGER,"
        " step TEXT NOT NULL,"
        " undo TEXT,"
        " create_usec INTEGER NOT NULL,"
        " finish_usec INTEGER,"
        " response TEXT,"
        " error TEXT,"
        " CHECK ((finish_usec IS NULL) = (response IS NULL AND error IS NULL)),"
        " CHECK (response IS NULL OR error IS NULL)) STRICT;"
        "CREATE INDEX operation_open ON operation(seq) WHERE finish_usec IS NULL;"
        "CREATE INDEX operation_finished ON operation(finish_usec) WHERE finish_usec IS NOT NULL;";

/*
 * The page store: a branch's volume has a name of its own, because a reset or restore makes a new one. A volume was cloned from another
 * (origin_volume, at origin_lsn; NULL: made from a template, or from a snapshot), which is where its older history is.
 */
static const char version_2[] =
        "ALTER TABLE branch ADD COLUMN volume_id TEXT NOT NULL DEFAULT '';"
        "ALTER TABLE branch ADD COLUMN next_volume INTEGER NOT NULL DEFAULT 1;"
        "ALTER TABLE branch ADD COLUMN origin_volume TEXT;"
        "ALTER TABLE branch ADD COLUMN origin_lsn INTEGER;"
        "ALTER TABLE branch ADD COLUMN source_snapshot TEXT;"
        "ALTER TABLE branch ADD COLUMN is_resetting INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE branch ADD COLUMN own_bytes INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE branch ADD COLUMN shared_bytes INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE branch ADD COLUMN history_bytes INTEGER NOT NULL DEFAULT 0;"
        "UPDATE branch SET volume_id = uid;"
        "CREATE UNIQUE INDEX branch_volume ON branch(volume_id);"
        "ALTER TABLE project ADD COLUMN storage_bytes INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE operation ADD COLUMN snapshot INTEGER;"
        "ALTER TABLE operation ADD COLUMN plan TEXT;"

        "CREATE TABLE snapshot("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " project INTEGER NOT NULL REFERENCES project(id) ON DELETE CASCADE,"
        " snapshot_id TEXT NOT NULL,"
        " uid TEXT NOT NULL UNIQUE,"
        " create_usec INTEGER NOT NULL,"
        " source INTEGER NOT NULL,"
        " source_branch_id TEXT NOT NULL,"
        " source_lsn INTEGER,"
        " source_usec INTEGER,"
        " expire_usec INTEGER,"
        " is_ready INTEGER NOT NULL,"
        " is_purged INTEGER NOT NULL DEFAULT 0,"
        " is_scheduled INTEGER NOT NULL DEFAULT 0,"
        " revision INTEGER NOT NULL,"
        " full_size INTEGER NOT NULL DEFAULT 0) STRICT;"
        "CREATE UNIQUE INDEX snapshot_name ON snapshot(project, snapshot_id) WHERE is_purged = 0;"
        "CREATE INDEX snapshot_expire ON snapshot(expire_usec) WHERE expire_usec IS NOT NULL;"

        /* The roles and databases of a branch, as they were when the snapshot was made. */
        "CREATE TABLE snapshot_role("
        " snapshot INTEGER NOT NULL REFERENCES snapshot(id) ON DELETE CASCADE,"
        " role_id TEXT NOT NULL,"
        " postgres_role TEXT NOT NULL,"
        " identity_type TEXT NOT NULL,"
        " auth_method TEXT NOT NULL,"
        " createdb INTEGER NOT NULL,"
        " createrole INTEGER NOT NULL,"
        " bypassrls INTEGER NOT NULL,"
        " is_superuser_member INTEGER NOT NULL,"
        " UNIQUE (snapshot, role_id)) STRICT;"
        "CREATE TABLE snapshot_database("
        " snapshot INTEGER NOT NULL REFERENCES snapshot(id) ON DELETE CASCADE,"
        " database_id TEXT NOT NULL,"
        " postgres_database TEXT NOT NULL,"
        " role_id TEXT NOT NULL,"
        " UNIQUE (snapshot, database_id)) STRICT;";

/*
 * Roles and databases through the API: Postgres is the truth about them, a row is what it said last (oid 0: not yet), and keeps what Postgres
 * does not: ids, times, and the password that we made (sealed; it is the role's only while verifier is what Postgres has). is_pending: its
 * create operation is open. inventory_stamp: the last file of a sleeping compute (compute/inventory.h) that was taken over.
 */
static const char version_roles[] =
        "ALTER TABLE role ADD COLUMN oid INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE role ADD COLUMN is_pending INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE role ADD COLUMN verifier TEXT NOT NULL DEFAULT '';"
        "ALTER TABLE role ADD COLUMN sealed_password TEXT NOT NULL DEFAULT '';"
        "ALTER TABLE database ADD COLUMN oid INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE database ADD COLUMN is_pending INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE snapshot_role ADD COLUMN oid INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE snapshot_role ADD COLUMN verifier TEXT NOT NULL DEFAULT '';"
        "ALTER TABLE snapshot_role ADD COLUMN sealed_password TEXT NOT NULL DEFAULT '';"
        "ALTER TABLE snapshot_database ADD COLUMN oid INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE branch ADD COLUMN inventory_stamp INTEGER NOT NULL DEFAULT 0;";

/*
 * Identities: users, service principals and groups share one table, because they share one space of names: each of them can be a Postgres role,
 * and a group that had the name of a user would let its members log in as him. Names are compared without case (ASCII).
 * Everybody who is no group is a member of "users"; being a member of "admins" is what makes an administrator.
 */
static const char version_identities[] =
        "ALTER TABLE api_token RENAME TO api_token_2;"
        "ALTER TABLE identity RENAME TO identity_2;"
        "CREATE TABLE identity("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " kind TEXT NOT NULL CHECK (kind IN ('USER', 'SERVICE_PRINCIPAL', 'GROUP')),"
        " login TEXT NOT NULL UNIQUE COLLATE NOCASE,"
        " display_name TEXT NOT NULL,"
        " external_id TEXT,"
        " is_active INTEGER NOT NULL,"
        " create_usec INTEGER NOT NULL) STRICT;"
        "INSERT INTO identity(id, kind, login, display_name, is_active, create_usec)"
        " SELECT id, kind, login, display_name, 1, create_usec FROM identity_2 ORDER BY id;"
        "INSERT INTO identity(kind, login, display_name, is_active, create_usec)"
        " VALUES ('GROUP', 'admins', 'admins', 1, 0), ('GROUP', 'users', 'users', 1, 0);"

        "CREATE TABLE group_member("
        " group_id INTEGER NOT NULL REFERENCES identity(id) ON DELETE CASCADE,"
        " member INTEGER NOT NULL REFERENCES identity(id) ON DELETE CASCADE,"
        " PRIMARY KEY (group_id, member)) STRICT, WITHOUT ROWID;"
        "CREATE INDEX group_member_member ON group_member(member);"
        "INSERT INTO group_member(group_id, member)"
        " SELECT (SELECT id FROM identity WHERE login = 'admins'), id FROM identity_2 WHERE is_admin;"
        "CREATE VIEW membership(group_id, member) AS"
        " SELECT group_id, member FROM group_member UNION ALL"
        " SELECT g.id, i.id FROM identity g, identity i"
        " WHERE g.kind = 'GROUP' AND g.login = 'users' AND i.kind <> 'GROUP';"

        "CREATE TABLE permission("
        " project INTEGER NOT NULL REFERENCES project(id) ON DELETE CASCADE,"
        " identity INTEGER NOT NULL REFERENCES identity(id) ON DELETE CASCADE,"
        " level TEXT NOT NULL CHECK (level IN ('CAN_USE', 'CAN_MANAGE')),"
        " PRIMARY KEY (project, identity)) STRICT, WITHOUT ROWID;"
        "CREATE INDEX permission_identity ON permission(identity);"

        "CREATE TABLE client_secret("
        " id TEXT PRIMARY KEY,"
        " hash TEXT NOT NULL UNIQUE,"
        " identity INTEGER NOT NULL REFERENCES identity(id) ON DELETE CASCADE,"
        " create_usec INTEGER NOT NULL,"
        " expire_usec INTEGER NOT NULL) STRICT;"
        "CREATE INDEX client_secret_identity ON client_secret(identity);"

        /* What a user's sign-in through OAuth led to; goes with all its tokens when it is revoked. */
        "CREATE TABLE oauth_session("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " identity INTEGER NOT NULL REFERENCES identity(id) ON DELETE CASCADE,"
        " client TEXT NOT NULL,"
        " create_usec INTEGER NOT NULL,"
        " expire_usec INTEGER NOT NULL) STRICT;"
        "CREATE INDEX oauth_session_identity ON oauth_session(identity);"
        "CREATE TABLE refresh_token("
        " hash TEXT PRIMARY KEY,"
        " session INTEGER NOT NULL REFERENCES oauth_session(id) ON DELETE CASCADE,"
        " is_used INTEGER NOT NULL DEFAULT 0,"
        " expire_usec INTEGER NOT NULL) STRICT;"
        "CREATE INDEX refresh_token_session ON refresh_token(session);"
        "CREATE TABLE authorization_code("
        " hash TEXT PRIMARY KEY,"
        " identity INTEGER NOT NULL REFERENCES identity(id) ON DELETE CASCADE,"
        " client TEXT NOT NULL,"
        " redirect_uri TEXT NOT NULL,"
        " challenge TEXT NOT NULL,"
        " is_offline INTEGER NOT NULL,"
        " session INTEGER REFERENCES oauth_session(id) ON DELETE CASCADE,"
        " expire_usec INTEGER NOT NULL) STRICT;"
        "CREATE INDEX authorization_code_session ON authorization_code(session);"
        "CREATE INDEX authorization_code_identity ON authorization_code(identity);"

        "CREATE TABLE api_token("
        " id TEXT PRIMARY KEY,"
        " hash TEXT NOT NULL UNIQUE,"
        " identity INTEGER NOT NULL REFERENCES identity(id) ON DELETE CASCADE,"
        " kind TEXT NOT NULL CHECK (kind IN ('ADMIN_FILE', 'PERSONAL', 'ACCESS', 'SIGN_IN')),"
        " comment TEXT NOT NULL DEFAULT '',"
        " secret TEXT REFERENCES client_secret(id) ON DELETE CASCADE,"
        " session INTEGER REFERENCES oauth_session(id) ON DELETE CASCADE,"
        " create_usec INTEGER NOT NULL,"
        " expire_usec INTEGER) STRICT;"
        "CREATE INDEX api_token_identity ON api_token(identity);"
        "CREATE INDEX api_token_secret ON api_token(secret) WHERE secret IS NOT NULL;"
        "CREATE INDEX api_token_session ON api_token(session) WHERE session IS NOT NULL;"
        "CREATE INDEX api_token_expire ON api_token(expire_usec) WHERE expire_usec IS NOT NULL;"
        "INSERT INTO api_token(id, hash, identity, kind, create_usec)"
        " SELECT lower(hex(randomblob(16))), hash, identity, 'ADMIN_FILE', create_usec FROM api_token_2;"
        "DROP TABLE api_token_2;"
        "DROP TABLE identity_2;";

/*
 * Names of the older instances API. A branch made through it is an instance of its own; `production` of a project has a row only when
 * its name has capital letters, which the project's id cannot have. Names are free again once the branch or its project is purged.
 */
static const char version_instances[] =
        "CREATE TABLE instance("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " branch INTEGER NOT NULL UNIQUE REFERENCES branch(id) ON DELETE CASCADE,"
        " name TEXT NOT NULL COLLATE NOCASE,"
        " uid TEXT NOT NULL,"
        " creator TEXT NOT NULL,"
        " parent_lsn INTEGER,"
        " parent_usec INTEGER,"
        " custom_tags TEXT NOT NULL,"
        " usage_policy_id TEXT) STRICT;"
        "CREATE INDEX instance_name ON instance(name);"
        "CREATE INDEX instance_uid ON instance(uid);";

/*
 * The life of branches: archive_usec: when it became ARCHIVED. A schedule's firings up to considered_usec are done, the next one is at next_usec.
 */
static const char version_life[] = "ALTER TABLE endpoint ADD COLUMN started_usec INTEGER;"
                                   "ALTER TABLE endpoint ADD COLUMN suspended_usec INTEGER;"
                                   "ALTER TABLE branch ADD COLUMN archive_usec INTEGER;"
                                   "CREATE TABLE snapshot_schedule("
                                   " branch INTEGER PRIMARY KEY REFERENCES branch(id) ON DELETE CASCADE,"
                                   " cadences TEXT NOT NULL,"
                                   " considered_usec INTEGER NOT NULL,"
                                   " next_usec INTEGER NOT NULL) STRICT;"
                                   "CREATE INDEX snapshot_schedule_next ON snapshot_schedule(next_usec);";

/* With many projects no list, round of the housekeeper, or removal may go over all rows. */
static const char version_indexes[] =
        "CREATE INDEX branch_of_project ON branch(project);"
        "CREATE INDEX snapshot_of_project ON snapshot(project);"
        "CREATE INDEX operation_of_endpoint ON operation(endpoint) WHERE endpoint IS NOT NULL;";

/* A session goes with the personal token that it was signed in with, so that revoking the one is revoking what was made with it. */
static const char version_sign_in[] =
        "ALTER TABLE oauth_session ADD COLUMN sign_in_token TEXT REFERENCES api_token(id) ON DELETE CASCADE;"
        "ALTER TABLE authorization_code ADD COLUMN sign_in_token TEXT REFERENCES api_token(id) ON DELETE "
        "CASCADE;"
        "CREATE INDEX oauth_session_token ON oauth_session(sign_in_token) WHERE sign_in_token IS NOT NULL;"
        "CREATE INDEX authorization_code_token ON authorization_code(sign_in_token) WHERE sign_in_token IS "
        "NOT NULL;";

/* Until when a role's password is good (rolvaliduntil): passwords are checked without Postgres. */
static const char version_native_login[] =
        "ALTER TABLE role ADD COLUMN valid_until_usec INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE snapshot_role ADD COLUMN valid_until_usec INTEGER NOT NULL DEFAULT 0;";

/*
 * Trust in outside issuers; principal NULL: for everybody. What was got by a policy goes with it. `audiences` is a JSON list, other texts are NULL
 * when they are not set.
 */
static const char version_federation[] =
        "CREATE TABLE federation_policy("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " uid TEXT NOT NULL UNIQUE,"
        " principal INTEGER REFERENCES identity(id) ON DELETE CASCADE,"
        " policy_id TEXT NOT NULL,"
        " description TEXT,"
        " issuer TEXT NOT NULL,"
        " audiences TEXT NOT NULL,"
        " subject TEXT,"
        " subject_claim TEXT,"
        " jwks_uri TEXT,"
        " jwks_json TEXT,"
        " create_usec INTEGER NOT NULL,"
        " update_usec INTEGER NOT NULL) STRICT;"
        "CREATE UNIQUE INDEX federation_policy_name ON federation_policy(ifnull(principal, 0), policy_id);"
        "CREATE INDEX federation_policy_principal ON federation_policy(principal);"
        "ALTER TABLE api_token ADD COLUMN federation_policy INTEGER REFERENCES federation_policy(id) "
        "ON DELETE CASCADE;"
        "CREATE INDEX api_token_policy ON api_token(federation_policy) WHERE federation_policy IS NOT NULL;";

/* From which addresses one may come (workspace API): `addresses` is a JSON list; who made a list may be gone. */
static const char version_ip_access[] = "CREATE TABLE ip_access_list("
                                        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
                                        " list_id TEXT NOT NULL UNIQUE,"
                                        " label TEXT NOT NULL,"
                                        " is_block INTEGER NOT NULL,"
                                        " is_enabled INTEGER NOT NULL,"
                                        " addresses TEXT NOT NULL,"
                                        " create_usec INTEGER NOT NULL,"
                                        " created_by INTEGER NOT NULL,"
                                        " update_usec INTEGER NOT NULL,"
                                        " updated_by INTEGER NOT NULL) STRICT;"
                                        "CREATE TABLE workspace_setting("
                                        " name TEXT PRIMARY KEY,"
                                        " value TEXT NOT NULL) STRICT;";

const char *const schema_migrations[] = { version_1, version_2, version_roles, version_identities,
	version_instances, version_life, version_indexes, version_sign_in, version_native_login,
	version_federation, version_ip_access };
const size_t schema_version = ARRAY_LEN(schema_migrations);
