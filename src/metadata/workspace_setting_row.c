#include "metadata/workspace_setting_row.h"

#include "metadata/statement.h"

status workspace_setting_row_get(struct metadata *md, const char *name, char **ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, "SELECT value FROM workspace_setting WHERE name = ?", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, name);
	code = statement_next(&st, err);
	if (code == STATUS_OK || code == STATUS_NOT_FOUND)
		*ret = code == STATUS_OK ? statement_text_copy(&st) : NULL;
	return code == STATUS_NOT_FOUND ? STATUS_OK : code;
}

status workspace_setting_row_set(struct metadata *md, const char *name, const char *value, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "INSERT INTO workspace_setting(name, value) VALUES (?, ?)"
	        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, name);
	statement_bind_text(&st, value);
	return statement_run(&st, err);
}
