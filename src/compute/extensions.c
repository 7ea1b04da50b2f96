#include "compute/extensions.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/random.h"

/* To be raised with every change of the list or of a script. */
#define SCRIPTS_REVISION 2

enum grant { GRANT_NOTHING, GRANT_FUNCTIONS, GRANT_WRAPPER };

/*
 * Left out on purpose: file_fdw and adminpack (files of the server), pg_surgery (breaks tables), pageinspect and
 * pg_walinspect (their functions insist on a superuser or on pg_read_server_files), xml2 (external entities), plperlu,
 * plpython3u and the like (run anything as the server's user).
 */
static const struct {
	const char *name;
	enum grant grant;
} extensions[] = {
	{ "amcheck", GRANT_FUNCTIONS },
	{ "autoinc", GRANT_NOTHING },
	{ "bloom", GRANT_NOTHING },
	{ "databricks_auth", GRANT_NOTHING },
	{ "dblink", GRANT_WRAPPER },
	{ "dict_xsyn", GRANT_NOTHING },
	{ "insert_username", GRANT_NOTHING },
	{ "intagg", GRANT_NOTHING },
	{ "moddatetime", GRANT_NOTHING },
	{ "pg_buffercache", GRANT_NOTHING },
	{ "pg_freespacemap", GRANT_NOTHING },
	{ "pg_prewarm", GRANT_NOTHING },
	{ "pg_stat_statements", GRANT_FUNCTIONS },
	{ "pg_visibility", GRANT_NOTHING },
	{ "pgrowlocks", GRANT_NOTHING },
	{ "pgstattuple", GRANT_NOTHING },
	{ "postgres_fdw", GRANT_WRAPPER },
	{ "refint", GRANT_NOTHING },
	{ "sslinfo", GRANT_NOTHING },
	{ "vector", GRANT_NOTHING },
};

const char *extensions_allowed(bool shares_user)
{
	/*
	 * dblink and postgres_fdw check for a password only once they are connected. Where Postgres runs as the user whom
	 * "peer" lets in as anybody, they could open a superuser's session with start-up options of the tenant's choice.
	 */
	if (shares_user)
		return "amcheck,autoinc,bloom,databricks_auth,dict_xsyn,insert_username,intagg,moddatetime,"
		       "pg_buffercache,"
		       "pg_freespacemap,pg_prewarm,pg_stat_statements,pg_visibility,pgrowlocks,pgstattuple,"
		       "refint,sslinfo,vector";
	return "amcheck,autoinc,bloom,databricks_auth,dblink,dict_xsyn,insert_username,intagg,moddatetime,pg_"
	       "buffercache,"
	       "pg_freespacemap,pg_prewarm,pg_stat_statements,pg_visibility,pgrowlocks,pgstattuple,"
	       "postgres_fdw,refint,sslinfo,vector";
}

/*
 * The scripts run as a superuser with the extension's schema, which is the user's, in the search path: everything is looked up
 * in pg_catalog only, or a user's function of the same name would run with those rights.
 */
static const char preamble[] = "SET LOCAL search_path = pg_catalog, pg_temp;\n";

/*
 * "CREATE EXTENSION IF NOT EXISTS" of one that is there is for everybody, as in Postgres: nothing happens.
 * Whoever may create roles may have what creates them for identities. Nothing else comes into the system's databases: nobody's
 * privileges there would stand in its way, since pgextwlist does it as superuser.
 */
static const char guard[] =
        "DO $guard$\n"
        "BEGIN\n"
        "\tIF '%2$s' = 'before-create' AND EXISTS (SELECT FROM pg_extension WHERE extname = '%1$s') THEN\n"
        "\t\tRETURN;\n"
        "\tEND IF;\n"
        "\tIF NOT pg_has_role(session_user, 'databricks_superuser', 'MEMBER') AND NOT ('%1$s' = "
        "'databricks_auth'\n"
        "\t\tAND (SELECT rolcreaterole FROM pg_roles WHERE rolname = session_user)) THEN\n"
        "\t\tRAISE insufficient_privilege USING\n"
        "\t\t\tMESSAGE = 'permission denied for extensions',\n"
        "\t\t\tHINT = 'Only members of databricks_superuser can create, change or drop this extension.';\n"
        "\tEND IF;\n"
        "\tIF current_database() IN ('postgres', 'template0', 'template1') AND '%1$s' <> 'databricks_auth' "
        "THEN\n"
        "\t\tRAISE insufficient_privilege USING\n"
        "\t\t\tMESSAGE = format('permission denied for database %%I', current_database()),\n"
        "\t\t\tHINT = 'This database is the system''s: create the extension in one of your own.';\n"
        "\tEND IF;\n"
        "END $guard$;\n";

static const char grant_functions[] =
        "DO $grant$\n"
        "DECLARE\n"
        "\tf regprocedure;\n"
        "BEGIN\n"
        "\tFOR f IN SELECT d.objid FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid\n"
        "\t\tWHERE e.extname = '%1$s' AND d.refclassid = 'pg_extension'::regclass\n"
        "\t\tAND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'\n"
        "\tLOOP\n"
        "\t\tEXECUTE format('GRANT EXECUTE ON FUNCTION %%s TO databricks_superuser', f);\n"
        "\tEND LOOP;\n"
        "END $grant$;\n";

static const char grant_wrapper[] =
        "DO $grant$\n"
        "DECLARE\n"
        "\tw name;\n"
        "BEGIN\n"
        "\tFOR w IN SELECT f.fdwname FROM pg_foreign_data_wrapper f JOIN pg_depend d ON d.objid = f.oid\n"
        "\t\tJOIN pg_extension e ON d.refobjid = e.oid\n"
        "\t\tWHERE e.extname = '%1$s' AND d.refclassid = 'pg_extension'::regclass\n"
        "\t\tAND d.classid = 'pg_foreign_data_wrapper'::regclass AND d.deptype = 'e'\n"
        "\tLOOP\n"
        "\t\tEXECUTE format('GRANT USAGE ON FOREIGN DATA WRAPPER %%I TO databricks_superuser', w);\n"
        "\tEND LOOP;\n"
        "END $grant$;\n";

static status write_script(const char *folder, const char *name, const char *text, struct error *err)
{
	CLEANUP(free_text) char *path = xasprintf("%s/%s.sql", folder, name);
	return file_replace_durably(path, slice_from_text(text), 0644, err);
}

static status write_extension(const char *folder, size_t i, struct error *err)
{
	static const char *const before[] = { "before-create", "before-update", "before-drop",
		"before-comment" };
	static const char *const after[] = { "after-create", "after-update" };
	CLEANUP(free_text) char *own = xasprintf("%s/%s", folder, extensions[i].name);
	CLEANUP(buffer_done) struct buffer text = { 0 };
	status st = folder_make(own, 0755, err);
	for (size_t k = 0; k < ARRAY_LEN(before) && st == STATUS_OK; k++) {
		buffer_append_text(&text, preamble);
		buffer_printf(&text, guard, extensions[i].name, before[k]);
		st = write_script(own, before[k], text.data, err);
		buffer_consume(&text, text.len);
	}
	if (extensions[i].grant == GRANT_NOTHING)
		return st;
	buffer_append_text(&text, preamble);
	if (extensions[i].grant == GRANT_FUNCTIONS)
		buffer_printf(&text, grant_functions, extensions[i].name);
	else
		buffer_printf(&text, grant_wrapper, extensions[i].name);
	for (size_t k = 0; k < ARRAY_LEN(after) && st == STATUS_OK; k++)
		st = write_script(own, after[k], text.data, err);
	return st;
}

static status make_scripts(const char *path, struct error *err)
{
	/* Several supervisors may come here at once: each makes its own, and one rename wins. */
	char suffix[9];
	random_hex(suffix, 8);
	CLEANUP(free_text) char *fresh = xasprintf("%s.new-%s", path, suffix);
	status st = folder_make(fresh, 0755, err);
	for (size_t i = 0; i < ARRAY_LEN(extensions) && st == STATUS_OK; i++)
		st = write_extension(fresh, i, err);
	if (st == STATUS_OK && rename(fresh, path) < 0 && errno != EEXIST && errno != ENOTEMPTY)
		st = error_set(err, STATUS_IO, errno, "could not rename folder \"%s\"", fresh);
	struct error ignored;
	(void)!tree_remove(fresh, &ignored); /* of no use when another one won */
	return st;
}

status extensions_prepare_scripts(const struct data_directory *dd, char **ret_path, struct error *err)
{
	CLEANUP(free_text)
	char *path = data_directory_path(dd, "templates/extension_scripts-%d", SCRIPTS_REVISION);
	if (!file_exists(path)) {
		CLEANUP(free_text) char *templates = data_directory_path(dd, "templates");
		status st = folder_make(templates, 0711, err);
		if (st == STATUS_OK)
			st = make_scripts(path, err);
		if (st != STATUS_OK)
			return error_prefix(err, "could not prepare the extension scripts");
	}
	*ret_path = TAKE_PTR(path);
	return STATUS_OK;
}
