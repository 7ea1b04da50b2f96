#include "cli/postgres_commands.h"

#include "cli/command.h"
#include "cli/connection.h"

/* clang-format off: a table of texts, one thing a line */
const struct postgres_command postgres_commands[] = {
	{ .name = "create-project",
	        .verb = VERB_CREATE,
	        .flags = FLAG_JSON | FLAG_WAIT,
	        .resource = &project_resource,
	        .arguments = "PROJECT_ID",
	        .summary = "make a project: a Postgres of its own",
	        .details = "It comes with branch \"production\", its endpoint \"primary\", and database "
	                   "\"databricks_postgres\", which is yours.",
	        .examples = { "create-project shop", "create-project shop --json "
	                                             "'{\"spec\":{\"display_name\":\"Shop\",\"history_"
	                                             "retention_duration\":\"1209600s\"}}'" },
	        .next = "tarn psql --project demo" },
	{ .name = "get-project",
	        .verb = VERB_GET,
	        .resource = &project_resource,
	        .arguments = "NAME",
	        .summary = "show a project",
	        .examples = { "get-project projects/demo", "get-project projects/demo -o json" } },
	{ .name = "list-projects",
	        .verb = VERB_LIST,
	        .flags = FLAG_PAGES | FLAG_DELETED,
	        .resource = &project_resource,
	        .arguments = "",
	        .summary = "list the projects you may see",
	        .examples = { "list-projects", "list-projects --show-deleted -o json" },
	        .next = "tarn postgres list-branches projects/demo" },
	{ .name = "update-project",
	        .verb = VERB_UPDATE,
	        .flags = FLAG_JSON | FLAG_WAIT,
	        .resource = &project_resource,
	        .arguments = "NAME UPDATE_MASK",
	        .summary = "change fields of a project",
	        .examples = { "update-project projects/demo spec.display_name --json "
	                      "'{\"spec\":{\"display_name\":\"Demo\"}}'",
	                "update-project projects/demo spec.default_branch --json "
	                "'{\"spec\":{\"default_branch\":\"projects/demo/branches/dev\"}}'" } },
	{ .name = "delete-project",
	        .verb = VERB_DELETE,
	        .flags = FLAG_PURGE | FLAG_WAIT,
	        .resource = &project_resource,
	        .arguments = "NAME",
	        .summary = "delete a project with everything in it",
	        .details = "It can be undeleted for seven days (a setting of the server), unless --purge is "
	                   "given.",
	        .examples = { "delete-project projects/shop", "delete-project projects/shop --purge" },
	        .next = "tarn postgres undelete-project projects/demo" },
	{ .name = "undelete-project",
	        .verb = VERB_ACT,
	        .flags = FLAG_WAIT,
	        .resource = &project_resource,
	        .arguments = "NAME",
	        .summary = "bring a deleted project back, with all it had",
	        .details = "Not after its time is over, and not when it was purged.",
	        .examples = { "undelete-project projects/shop" },
	        .action = "undelete" },
	{ .name = "create-branch",
	        .verb = VERB_CREATE,
	        .flags = FLAG_JSON | FLAG_REPLACE | FLAG_WAIT,
	        .resource = &branch_resource,
	        .arguments = "PARENT BRANCH_ID",
	        .summary = "make a branch: a copy of another, as it is now or was",
	        .details = "Nothing is copied, whatever its size. It says when it ends: ttl, expire_time or "
	                   "no_expiry is needed. It comes with an endpoint \"primary\".",
	        .examples = { "create-branch projects/demo try --json '{\"spec\":{\"ttl\":\"86400s\"}}'",
	                "create-branch projects/demo try --json "
	                "'{\"spec\":{\"source_branch\":\"projects/demo/branches/"
	                "dev\",\"no_expiry\":true}}'" },
	        .next = "tarn psql --project demo --branch dev" },
	{ .name = "get-branch",
	        .verb = VERB_GET,
	        .resource = &branch_resource,
	        .arguments = "NAME",
	        .summary = "show a branch",
	        .examples = { "get-branch projects/demo/branches/dev" } },
	{ .name = "list-branches",
	        .verb = VERB_LIST,
	        .flags = FLAG_PAGES | FLAG_DELETED,
	        .resource = &branch_resource,
	        .arguments = "PARENT",
	        .summary = "list the branches of a project",
	        .examples = { "list-branches projects/demo", "list-branches projects/demo --show-deleted" } },
	{ .name = "update-branch",
	        .verb = VERB_UPDATE,
	        .flags = FLAG_JSON | FLAG_WAIT,
	        .resource = &branch_resource,
	        .arguments = "NAME UPDATE_MASK",
	        .summary = "change fields of a branch",
	        .examples = { "update-branch projects/demo/branches/dev spec.expiration --json "
	                      "'{\"spec\":{\"ttl\":\"604800s\"}}'",
	                "update-branch projects/demo/branches/dev spec.is_protected --json "
	                "'{\"spec\":{\"is_protected\":false}}'" } },
	{ .name = "delete-branch",
	        .verb = VERB_DELETE,
	        .flags = FLAG_PURGE | FLAG_WAIT,
	        .resource = &branch_resource,
	        .arguments = "NAME",
	        .summary = "delete a branch with its endpoints",
	        .details = "It can be undeleted for seven days (a setting of the server), unless --purge is "
	                   "given. Not while it has branches, is protected or is the default.",
	        .examples = { "delete-branch projects/demo/branches/try",
	                "delete-branch projects/demo/branches/try --purge" },
	        .next = "tarn postgres undelete-branch projects/demo/branches/dev" },
	{ .name = "undelete-branch",
	        .verb = VERB_ACT,
	        .flags = FLAG_WAIT,
	        .resource = &branch_resource,
	        .arguments = "NAME",
	        .summary = "bring a deleted branch back",
	        .details = "Not after its time is over, and not when it was purged.",
	        .examples = { "undelete-branch projects/demo/branches/try" },
	        .action = "undelete" },
	{ .name = "reset-branch",
	        .verb = VERB_ACT,
	        .flags = FLAG_WAIT,
	        .resource = &branch_resource,
	        .arguments = "NAME",
	        .summary = "make a branch what its parent is now",
	        .details = "Its own changes are gone; its connection string stays. Not for a branch that has "
	                   "branches, nor for one without a parent.",
	        .examples = { "reset-branch projects/demo/branches/dev" },
	        .action = "reset" },
	{ .name = "restore-branch",
	        .verb = VERB_ACT,
	        .flags = FLAG_JSON | FLAG_MOMENT | FLAG_WAIT,
	        .resource = &branch_resource,
	        .arguments = "NAME",
	        .summary = "take a branch back to a moment of its past",
	        .details = "What it was until now becomes a branch of its own, so nothing is lost; its "
	                   "connection string stays.",
	        .examples = { "restore-branch projects/demo/branches/dev --source-branch-time $(date -u "
	                      "+%Y-%m-%dT%H:%M:%SZ)" },
	        .next = "tarn postgres get-restore-window projects/demo/branches/dev",
	        .action = "restore" },
	{ .name = "get-restore-window",
	        .verb = VERB_GET_PART,
	        .resource = &branch_resource,
	        .arguments = "NAME",
	        .summary = "show how far back a branch can be restored or copied",
	        .examples = { "get-restore-window projects/demo/branches/dev" },
	        .action = "restore-window" },
	{ .name = "create-endpoint",
	        .verb = VERB_CREATE,
	        .flags = FLAG_JSON | FLAG_REPLACE | FLAG_WAIT,
	        .resource = &endpoint_resource,
	        .arguments = "PARENT ENDPOINT_ID",
	        .summary = "make an endpoint: an address and a compute of a branch",
	        .details = "Each branch has one ENDPOINT_TYPE_READ_WRITE from the start.",
	        .examples = { "create-endpoint projects/demo/branches/dev reader --json "
	                      "'{\"spec\":{\"endpoint_type\":\"ENDPOINT_TYPE_READ_ONLY\"}}'" } },
	{ .name = "get-endpoint",
	        .verb = VERB_GET,
	        .resource = &endpoint_resource,
	        .arguments = "NAME",
	        .summary = "show an endpoint, with its host",
	        .examples = { "get-endpoint projects/demo/branches/dev/endpoints/primary" },
	        .next = "tarn psql projects/demo/branches/dev/endpoints/primary" },
	{ .name = "list-endpoints",
	        .verb = VERB_LIST,
	        .flags = FLAG_PAGES,
	        .resource = &endpoint_resource,
	        .arguments = "PARENT",
	        .summary = "list the endpoints of a branch",
	        .examples = { "list-endpoints projects/demo/branches/dev" } },
	{ .name = "update-endpoint",
	        .verb = VERB_UPDATE,
	        .flags = FLAG_JSON | FLAG_WAIT,
	        .resource = &endpoint_resource,
	        .arguments = "NAME UPDATE_MASK",
	        .summary = "change fields of an endpoint",
	        .examples = { "update-endpoint projects/demo/branches/dev/endpoints/primary spec.suspension "
	                      "--json '{\"spec\":{\"suspend_timeout_duration\":\"300s\"}}'",
	                "update-endpoint projects/demo/branches/dev/endpoints/primary "
	                "spec.settings.pg_settings --json "
	                "'{\"spec\":{\"settings\":{\"pg_settings\":{\"work_mem\":\"8MB\"}}}}'" } },
	{ .name = "delete-endpoint",
	        .verb = VERB_DELETE,
	        .flags = FLAG_WAIT,
	        .resource = &endpoint_resource,
	        .arguments = "NAME",
	        .summary = "delete a read-only endpoint",
	        .details = "The read-write endpoint goes with its branch.",
	        .examples = { "delete-endpoint projects/demo/branches/dev/endpoints/reader" } },
	{ .name = "create-database",
	        .verb = VERB_CREATE,
	        .flags = FLAG_JSON | FLAG_REPLACE | FLAG_WAIT,
	        .resource = &database_resource,
	        .arguments = "PARENT",
	        .summary = "make a database on a branch",
	        .details = "Its owner is a role of the branch; list-roles shows them.",
	        .examples = { "create-database projects/demo/branches/dev --database-id orders --json "
	                      "'{\"spec\":{\"postgres_database\":\"orders\",\"role\":\"projects/demo/"
	                      "branches/dev/roles/app\"}}'" },
	        .next = "tarn psql projects/demo/branches/dev -- -d orders" },
	{ .name = "get-database",
	        .verb = VERB_GET,
	        .resource = &database_resource,
	        .arguments = "NAME",
	        .summary = "show a database",
	        .examples = { "get-database projects/demo/branches/dev/databases/databricks-postgres" } },
	{ .name = "list-databases",
	        .verb = VERB_LIST,
	        .flags = FLAG_PAGES,
	        .resource = &database_resource,
	        .arguments = "PARENT",
	        .summary = "list the databases of a branch",
	        .details = "Those that were made with SQL, too.",
	        .examples = { "list-databases projects/demo/branches/dev" } },
	{ .name = "update-database",
	        .verb = VERB_UPDATE,
	        .flags = FLAG_JSON | FLAG_WAIT,
	        .resource = &database_resource,
	        .arguments = "NAME UPDATE_MASK",
	        .summary = "rename a database, or give it another owner",
	        .details = "A rename ends the sessions that are in it.",
	        .examples = { "update-database projects/demo/branches/dev/databases/shop "
	                      "spec.postgres_database --json "
	                      "'{\"spec\":{\"postgres_database\":\"shop\"}}'" } },
	{ .name = "delete-database",
	        .verb = VERB_DELETE,
	        .flags = FLAG_WAIT,
	        .resource = &database_resource,
	        .arguments = "NAME",
	        .summary = "delete a database for good",
	        .details = "Sessions that are in it are ended.",
	        .examples = { "delete-database projects/demo/branches/dev/databases/shop" } },
	{ .name = "create-role",
	        .verb = VERB_CREATE,
	        .flags = FLAG_JSON | FLAG_REPLACE | FLAG_WAIT,
	        .resource = &role_resource,
	        .arguments = "PARENT",
	        .summary = "make a role on a branch",
	        .details = "The role of a user, service principal or group logs in with that identity's "
	                   "token; any other with a password, which reveal-role-password shows. It begins "
	                   "with no rights: grant them with SQL.",
	        .examples = { "create-role projects/demo/branches/dev --role-id report --json "
	                      "'{\"spec\":{\"postgres_role\":\"report\"}}'",
	                "create-role projects/demo/branches/dev --role-id report --json "
	                "'{\"spec\":{\"postgres_role\":\"report\",\"auth_method\":\"NO_LOGIN\"}}'" },
	        .next = "tarn postgres reveal-role-password projects/demo/branches/dev/roles/app" },
	{ .name = "get-role",
	        .verb = VERB_GET,
	        .resource = &role_resource,
	        .arguments = "NAME",
	        .summary = "show a role",
	        .examples = { "get-role projects/demo/branches/dev/roles/app" } },
	{ .name = "list-roles",
	        .verb = VERB_LIST,
	        .flags = FLAG_PAGES,
	        .resource = &role_resource,
	        .arguments = "PARENT",
	        .summary = "list the roles of a branch",
	        .details = "Those that were made with SQL, too.",
	        .examples = { "list-roles projects/demo/branches/dev" } },
	{ .name = "update-role",
	        .verb = VERB_UPDATE,
	        .flags = FLAG_JSON | FLAG_WAIT,
	        .resource = &role_resource,
	        .arguments = "NAME UPDATE_MASK",
	        .summary = "change the rights of a role",
	        .examples = { "update-role projects/demo/branches/dev/roles/app spec.attributes.createdb "
	                      "--json '{\"spec\":{\"attributes\":{\"createdb\":true}}}'" } },
	{ .name = "delete-role",
	        .verb = VERB_DELETE,
	        .flags = FLAG_REASSIGN | FLAG_WAIT,
	        .resource = &role_resource,
	        .arguments = "NAME",
	        .summary = "delete a role",
	        .details = "One that owns something can be deleted only when --reassign-owned-to names who "
	                   "gets it.",
	        .examples = { "delete-role projects/demo/branches/dev/roles/app",
	                "delete-role projects/demo/branches/dev/roles/app --reassign-owned-to "
	                "projects/demo/branches/dev/roles/owner" } },
	{ .name = "reveal-role-password",
	        .verb = VERB_REVEAL,
	        .resource = &role_resource,
	        .arguments = "NAME",
	        .summary = "show the password of a role that logs in with one",
	        .details = "Only those that Tarn generated: one that was set with SQL is not known to it. "
	                   "The project must allow them (spec.enable_pg_native_login).",
	        .examples = { "reveal-role-password projects/demo/branches/dev/roles/app" },
	        .action = "password" },
	{ .name = "create-snapshot",
	        .verb = VERB_CREATE,
	        .flags = FLAG_JSON | FLAG_WAIT,
	        .resource = &snapshot_resource,
	        .arguments = "PARENT SNAPSHOT_ID",
	        .summary = "keep a moment of a branch under a name",
	        .details = "It stays when the branch goes, and when the moment is too old to go back to.",
	        .examples = { "create-snapshot projects/demo friday --json "
	                      "'{\"spec\":{\"source_branch\":\"projects/demo/branches/production\"}}'" },
	        .next = "tarn postgres create-branch projects/demo of-friday --json "
	                "'{\"spec\":{\"source_snapshot\":\"projects/demo/snapshots/"
	                "friday\",\"ttl\":\"86400s\"}}'" },
	{ .name = "get-snapshot",
	        .verb = VERB_GET,
	        .resource = &snapshot_resource,
	        .arguments = "NAME",
	        .summary = "show a snapshot",
	        .examples = { "get-snapshot projects/demo/snapshots/nightly" } },
	{ .name = "list-snapshots",
	        .verb = VERB_LIST,
	        .flags = FLAG_PAGES,
	        .resource = &snapshot_resource,
	        .arguments = "PARENT",
	        .summary = "list the snapshots of a project",
	        .examples = { "list-snapshots projects/demo" } },
	{ .name = "delete-snapshot",
	        .verb = VERB_DELETE,
	        .flags = FLAG_WAIT,
	        .resource = &snapshot_resource,
	        .arguments = "NAME",
	        .summary = "delete a snapshot",
	        .details = "Branches that were made of it stay.",
	        .examples = { "delete-snapshot projects/demo/snapshots/nightly" } },
	{ .name = "get-snapshot-schedule",
	        .verb = VERB_GET,
	        .resource = &snapshot_schedule_resource,
	        .arguments = "NAME",
	        .summary = "show when snapshots of a branch are made",
	        .examples = { "get-snapshot-schedule projects/demo/branches/production/snapshot-schedule" } },
	{ .name = "update-snapshot-schedule",
	        .verb = VERB_UPDATE,
	        .flags = FLAG_JSON | FLAG_WAIT,
	        .resource = &snapshot_schedule_resource,
	        .arguments = "NAME UPDATE_MASK",
	        .summary = "say when snapshots of a branch are made, and how long they stay",
	        .details = "The list in the body takes the place of the one there was.",
	        .examples = { "update-snapshot-schedule projects/demo/branches/production/snapshot-schedule "
	                      "schedule --json "
	                      "'{\"schedule\":[{\"retention\":\"604800s\",\"daily_schedule\":{\"hour\":2}}]}"
	                      "'",
	                "update-snapshot-schedule projects/demo/branches/production/snapshot-schedule "
	                "schedule --json '{\"schedule\":[]}'" } },
	{ .name = "list-compute-instances",
	        .verb = VERB_LIST,
	        .flags = FLAG_PAGES,
	        .resource = &compute_instance_resource,
	        .arguments = "PARENT",
	        .summary = "list the computes of an endpoint",
	        .examples = { "list-compute-instances projects/demo/branches/dev/endpoints/primary" } },
	{ .name = "get-compute-instance",
	        .verb = VERB_GET,
	        .resource = &compute_instance_resource,
	        .arguments = "NAME",
	        .summary = "show one compute of an endpoint",
	        .examples = { "get-compute-instance "
	                      "projects/demo/branches/dev/endpoints/primary/compute-instances/"
	                      "ci-green-hill-12ab34cd" } },
	{ .name = "generate-database-credential",
	        .verb = VERB_CREDENTIAL,
	        .flags = FLAG_JSON | FLAG_LIFE,
	        .resource = &endpoint_resource,
	        .arguments = "ENDPOINT",
	        .summary = "get a token that is your Postgres password for an endpoint",
	        .details = "It is good for an hour unless --ttl or --expire-time says less, and is checked "
	                   "when you log in: sessions outlive it.",
	        .examples = { "generate-database-credential projects/demo/branches/dev/endpoints/primary",
	                "generate-database-credential projects/demo/branches/dev/endpoints/primary --ttl "
	                "900s" } },
	{ .name = "get-operation",
	        .verb = VERB_GET_OPERATION,
	        .arguments = "NAME",
	        .summary = "show an operation that was not waited for, by its name",
	        .details = "The name is what --no-wait printed, or what a command said when its waiting was "
	                   "ended.",
	        .examples = { "get-operation \"$(tarn postgres create-branch projects/demo try --json "
	                      "'{\"spec\":{\"ttl\":\"86400s\"}}' --no-wait -o json | sed -n 's/^ *\"name\": "
	                      "\"\\(.*operations.*\\)\".*/\\1/p')\"" } },
	{ .name = "create-catalog",
	        .verb = VERB_CREATE,
	        .flags = FLAG_JSON | FLAG_WAIT,
	        .resource = &catalog_resource,
	        .arguments = "CATALOG_ID",
	        .summary = "register a database as a catalog of the lake",
	        .examples = { "create-catalog shop --json "
	                      "'{\"spec\":{\"branch\":\"projects/demo/branches/"
	                      "production\",\"postgres_database\":\"databricks_postgres\"}}'" } },
	{ .name = "get-catalog",
	        .verb = VERB_GET,
	        .resource = &catalog_resource,
	        .arguments = "NAME",
	        .summary = "show a catalog",
	        .examples = { "get-catalog catalogs/shop" } },
	{ .name = "delete-catalog",
	        .verb = VERB_DELETE,
	        .flags = FLAG_WAIT,
	        .resource = &catalog_resource,
	        .arguments = "NAME",
	        .summary = "end the registration of a database as a catalog",
	        .details = "The database stays.",
	        .examples = { "delete-catalog catalogs/shop" } },
	{ .name = "create-synced-table",
	        .verb = VERB_CREATE,
	        .flags = FLAG_JSON | FLAG_WAIT,
	        .resource = &synced_table_resource,
	        .arguments = "SYNCED_TABLE_ID",
	        .summary = "keep a copy of a table of the lake in Postgres",
	        .examples = { "create-synced-table shop.public.trips --json "
	                      "'{\"spec\":{\"source_table_full_name\":\"main.default.trips\",\"primary_key_"
	                      "columns\":[\"id\"],\"scheduling_policy\":\"SNAPSHOT\",\"branch\":\"projects/"
	                      "demo/branches/"
	                      "production\",\"postgres_database\":\"databricks_postgres\"}}'" } },
	{ .name = "get-synced-table",
	        .verb = VERB_GET,
	        .resource = &synced_table_resource,
	        .arguments = "NAME",
	        .summary = "show a synced table",
	        .examples = { "get-synced-table synced_tables/shop.public.trips" } },
	{ .name = "delete-synced-table",
	        .verb = VERB_DELETE,
	        .flags = FLAG_WAIT,
	        .resource = &synced_table_resource,
	        .arguments = "NAME",
	        .summary = "end the synchronisation of a table",
	        .details = "The table in Postgres stays.",
	        .examples = { "delete-synced-table synced_tables/shop.public.trips" } },
	{ .name = "create-cdf-config",
	        .verb = VERB_CREATE,
	        .flags = FLAG_JSON | FLAG_WAIT,
	        .resource = &cdf_config_resource,
	        .arguments = "PARENT CATALOG SCHEMA POSTGRES_SCHEMA",
	        .summary = "write the changes of a schema to tables of the lake",
	        .details = "With --json only PARENT is an argument.",
	        .examples = { "create-cdf-config "
	                      "projects/demo/branches/production/databases/databricks-postgres main changes "
	                      "public",
	                "create-cdf-config projects/demo/branches/production/databases/databricks-postgres "
	                "--json "
	                "'{\"catalog\":\"main\",\"schema\":\"changes\",\"postgres_schema\":\"public\"}'" },
	        .body_arguments = { "catalog", "schema", "postgres_schema" } },
	{ .name = "get-cdf-config",
	        .verb = VERB_GET,
	        .resource = &cdf_config_resource,
	        .arguments = "NAME",
	        .summary = "show the configuration of a change data feed",
	        .examples = { "get-cdf-config "
	                      "projects/demo/branches/production/databases/databricks-postgres/cdf-configs/"
	                      "public" } },
	{ .name = "list-cdf-configs",
	        .verb = VERB_LIST,
	        .flags = FLAG_PAGES,
	        .resource = &cdf_config_resource,
	        .arguments = "PARENT",
	        .summary = "list the change data feeds of a database",
	        .examples = { "list-cdf-configs "
	                      "projects/demo/branches/production/databases/databricks-postgres" } },
	{ .name = "delete-cdf-config",
	        .verb = VERB_DELETE,
	        .flags = FLAG_FORCE | FLAG_WAIT,
	        .resource = &cdf_config_resource,
	        .arguments = "NAME",
	        .summary = "end a change data feed",
	        .details = "The tables in the lake stay, unless --force is given.",
	        .examples = { "delete-cdf-config "
	                      "projects/demo/branches/production/databases/databricks-postgres/cdf-configs/"
	                      "public" } },
	{ .name = "get-cdf-status",
	        .verb = VERB_GET,
	        .resource = &cdf_status_resource,
	        .arguments = "NAME",
	        .summary = "show how far the change data feed of a table is",
	        .examples = { "get-cdf-status "
	                      "projects/demo/branches/production/databases/databricks-postgres/cdf-configs/"
	                      "public/cdf-statuses/trips" } },
	{ .name = "list-cdf-statuses",
	        .verb = VERB_LIST,
	        .flags = FLAG_PAGES,
	        .resource = &cdf_status_resource,
	        .arguments = "PARENT",
	        .summary = "list how far the tables of a change data feed are",
	        .examples = { "list-cdf-statuses "
	                      "projects/demo/branches/production/databases/databricks-postgres/cdf-configs/"
	                      "public" } },
	{ .name = "create-data-api",
	        .verb = VERB_CREATE,
	        .flags = FLAG_JSON | FLAG_WAIT,
	        .resource = &data_api_resource,
	        .arguments = "PARENT",
	        .summary = "open a database to HTTP requests",
	        .examples = { "create-data-api "
	                      "projects/demo/branches/production/databases/databricks-postgres" } },
	{ .name = "get-data-api",
	        .verb = VERB_GET,
	        .resource = &data_api_resource,
	        .arguments = "NAME",
	        .summary = "show the Data API of a database",
	        .examples = { "get-data-api "
	                      "projects/demo/branches/production/databases/databricks-postgres/data-api" } },
	{ .name = "update-data-api",
	        .verb = VERB_UPDATE,
	        .flags = FLAG_JSON | FLAG_WAIT,
	        .resource = &data_api_resource,
	        .arguments = "NAME UPDATE_MASK",
	        .summary = "change the Data API of a database",
	        .details = "With mask spec and an empty spec: read the schemas anew.",
	        .examples = { "update-data-api "
	                      "projects/demo/branches/production/databases/databricks-postgres/data-api "
	                      "spec.db_max_rows --json '{\"spec\":{\"db_max_rows\":1000}}'" } },
	{ .name = "delete-data-api",
	        .verb = VERB_DELETE,
	        .flags = FLAG_WAIT,
	        .resource = &data_api_resource,
	        .arguments = "NAME",
	        .summary = "close the Data API of a database",
	        .examples = { "delete-data-api "
	                      "projects/demo/branches/production/databases/databricks-postgres/data-api" } },
};
/* clang-format on */

const size_t postgres_command_count = ARRAY_LEN(postgres_commands);

/* Which commands have which flag; the rest of the table below is for all of them. */
static const struct {
	const char *option;
	unsigned int flag;
} option_flags[] = {
	{ "json", FLAG_JSON },
	{ "replace-existing", FLAG_REPLACE },
	{ "purge", FLAG_PURGE },
	{ "force", FLAG_FORCE },
	{ "reassign-owned-to", FLAG_REASSIGN },
	{ "show-deleted", FLAG_DELETED },
	{ "page-size", FLAG_PAGES },
	{ "page-token", FLAG_PAGES },
	{ "limit", FLAG_PAGES },
	{ "no-wait", FLAG_WAIT },
	{ "timeout", FLAG_WAIT },
	{ "ttl", FLAG_LIFE },
	{ "expire-time", FLAG_LIFE },
	{ "source-branch-lsn", FLAG_MOMENT },
	{ "source-branch-time", FLAG_MOMENT },
	{ "preserve-under-branch-id", FLAG_MOMENT },
};

static const char id_options[][16] = { "database-id", "role-id", "cdf-config-id" };

const struct option postgres_options[] = {
	{ .name = "json",
	        .value = "JSON",
	        .summary = "the body: inline, @FILE, or @- for standard input",
	        .values = OPTION_VALUES_FILE },
	{ .name = "database-id",
	        .value = "ID",
	        .summary = "id of the new database (default: made of its name)" },
	{ .name = "role-id", .value = "ID", .summary = "id of the new role (default: made of its name)" },
	{ .name = "cdf-config-id", .value = "ID", .summary = "its id (default: the schema in Postgres)" },
	{ .name = "replace-existing", .is_switch = true, .summary = "if it exists, update it in place" },
	{ .name = "purge", .is_switch = true, .summary = "delete it for good now: it cannot be undeleted" },
	{ .name = "force", .is_switch = true, .summary = "drop the tables that it wrote, too" },
	{ .name = "reassign-owned-to",
	        .value = "NAME",
	        .summary = "role that gets what it owns",
	        .values = OPTION_VALUES_ROLE_NAME },
	{ .name = "show-deleted", .is_switch = true, .summary = "also those that can still be undeleted" },
	{ .name = "page-size",
	        .value = "N",
	        .summary = "how many to ask for at a time (all pages are read)" },
	{ .name = "page-token", .value = "TOKEN", .is_hidden = true },
	{ .name = "limit", .value = "N", .summary = "stop after so many" },
	{ .name = "no-wait",
	        .is_switch = true,
	        .summary = "print the operation instead of waiting for its end" },
	{ .name = "timeout",
	        .value = "DURATION",
	        .summary = "wait no longer: 30s, 5m (default 0: for ever)" },
	{ .name = "ttl", .value = "DURATION", .summary = "how long the token is good: 300s to 3600s" },
	{ .name = "expire-time", .value = "TIME", .summary = "until when it is good: 2026-08-01T10:00:00Z" },
	{ .name = "source-branch-time", .value = "TIME", .summary = "the moment: 2026-08-01T10:00:00Z" },
	{ .name = "source-branch-lsn",
	        .value = "LSN",
	        .summary = "the moment as a position in WAL: 0/1A2B3C8" },
	{ .name = "preserve-under-branch-id",
	        .value = "ID",
	        .summary = "id of the branch that keeps the present state" },
	{ .name = "name", .value = "NAME", .is_hidden = true },
	OUTPUT_OPTION,
	CONNECTION_OPTIONS,
	HELP_OPTION,
	{ 0 },
};

const struct postgres_command *postgres_command_find(const char *name)
{
	for (size_t i = 0; i < postgres_command_count; i++)
		if (strcmp(postgres_commands[i].name, name) == 0)
			return &postgres_commands[i];
	return NULL;
}

size_t postgres_command_argument_count(const struct postgres_command *command)
{
	size_t count = *command->arguments ? 1 : 0;
	for (const char *c = command->arguments; *c; c++)
		count += *c == ' ';
	return count;
}

char *postgres_command_id_option(const struct postgres_command *command)
{
	if (command->verb != VERB_CREATE || !command->resource->is_id_optional)
		return NULL;
	char *name = xstrdup(command->resource->id_query);
	for (char *c = name; *c; c++)
		if (*c == '_')
			*c = '-';
	return name;
}

bool postgres_command_has_option(const struct postgres_command *command, const struct option *option)
{
	for (size_t i = 0; i < ARRAY_LEN(option_flags); i++)
		if (strcmp(option_flags[i].option, option->name) == 0)
			return command->flags & option_flags[i].flag;
	if (strcmp(option->name, "name") == 0)
		return command->verb == VERB_CREATE || command->verb == VERB_UPDATE;
	CLEANUP(free_text) char *own_id = postgres_command_id_option(command);
	for (size_t i = 0; i < ARRAY_LEN(id_options); i++)
		if (strcmp(id_options[i], option->name) == 0)
			return own_id && strcmp(own_id, option->name) == 0;
	return true;
}
