#include "metadata/permission_row.h"

static const char *const levels[] = {
	[PERMISSION_NONE] = "",
	[PERMISSION_CAN_USE] = "CAN_USE",
	[PERMISSION_CAN_MANAGE] = "CAN_MANAGE",
};

const char *permission_level_text(enum permission_level level)
{
	return levels[level];
}

bool permission_level_parse(const char *text, enum permission_level *ret)
{
	for (size_t i = PERMISSION_CAN_USE; i < ARRAY_LEN(levels); i++) {
		if (strcmp(text, levels[i]) == 0) {
			*ret = (enum permission_level)i;
			return true;
		}
	}
	return false;
}

status permission_row_set(struct metadata *md, int64_t project, int64_t identity, enum permission_level level,
        struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open_for(md,
	        "INSERT INTO permission(project, identity, level) VALUES (?, ?, ?)"
	        " ON CONFLICT (project, identity) DO UPDATE SET level = excluded.level",
	        INTEGERS(project, identity), &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, levels[level]);
	return statement_run(&st, err);
}

status permission_row_remove_all(struct metadata *md, int64_t project, struct error *err)
{
	return statement_do(md, "DELETE FROM permission WHERE project = ?", INTEGERS(project), err);
}

status permission_row_list(struct metadata *md, int64_t project, struct statement *ret, struct error *err)
{
	return statement_open_for(md,
	        "SELECT level, identity FROM permission WHERE project = ? ORDER BY identity",
	        INTEGERS(project), ret, err);
}

status permission_row_next(struct statement *st, struct permission_row *ret, struct error *err)
{
	status code = statement_next(st, err);
	if (code != STATUS_OK)
		return code;
	struct permission_row row = { 0 };
	char level[16];
	statement_text(st, level, sizeof level);
	(void)permission_level_parse(level, &row.level);
	code = identity_row_get(st->md, statement_integer(st), &row.identity, err);
	if (code == STATUS_OK)
		*ret = row;
	return code;
}

status permission_row_level(
        struct metadata *md, int64_t project, int64_t identity, enum permission_level *ret, struct error *err)
{
	int64_t level = 0;
	status code = statement_ask(md,
	        "SELECT coalesce(max(CASE level WHEN 'CAN_MANAGE' THEN 2 ELSE 1 END), 0) FROM permission"
	        " WHERE project = ?1 AND (identity = ?2 OR identity IN"
	        " (SELECT group_id FROM membership WHERE member = ?2))",
	        INTEGERS(project, identity), &level, err);
	if (code == STATUS_OK)
		*ret = (enum permission_level)level;
	return code;
}
