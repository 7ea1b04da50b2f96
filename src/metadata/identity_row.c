#include "metadata/identity_row.h"

#include <stdio.h>

#define ADMINS "(SELECT id FROM identity WHERE kind = 'GROUP' AND login = '" GROUP_ADMINS "')"
#define SELECT                                                                                               \
	"SELECT i.id, i.kind, i.login, i.display_name, i.external_id, i.is_active,"                          \
	" EXISTS (SELECT 1 FROM group_member m WHERE m.member = i.id AND m.group_id = " ADMINS "),"          \
	" i.create_usec FROM identity i "
/* ?2: the attribute, ?3: the comparison; the numbers are those of the enums. */
#define ATTRIBUTE                                                                                            \
	"(CASE ?2 WHEN 1 THEN cast(i.id AS TEXT) WHEN 2 THEN i.login WHEN 3 THEN i.display_name"             \
	" WHEN 4 THEN coalesce(i.external_id, '') ELSE '' END)"
#define FILTER                                                                                               \
	"WHERE i.kind = ?1 AND CASE WHEN ?2 = 0 THEN 1"                                                      \
	" WHEN ?3 = 0 THEN lower(" ATTRIBUTE ") = lower(?4) WHEN ?3 = 1 THEN lower(" ATTRIBUTE               \
	") <> lower(?4) WHEN ?3 = 2 THEN instr(lower(" ATTRIBUTE "), lower(?4)) > 0"                         \
	" ELSE instr(lower(" ATTRIBUTE "), lower(?4)) = 1 END "

static const char *const kinds[] = {
	[IDENTITY_USER] = "USER",
	[IDENTITY_SERVICE_PRINCIPAL] = "SERVICE_PRINCIPAL",
	[IDENTITY_GROUP] = "GROUP",
};

const char *identity_kind_text(enum identity_kind kind)
{
	return kinds[kind];
}

static void bind_external_id(struct statement *st, const struct identity_row *row)
{
	statement_bind_text(st, row->external_id[0] ? row->external_id : NULL);
}

status identity_row_insert(struct metadata *md, struct identity_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "INSERT INTO identity(kind, login, display_name, external_id, is_active, create_usec)"
	        " VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, kinds[row->kind]);
	statement_bind_text(&st, row->login);
	statement_bind_text(&st, row->display_name);
	bind_external_id(&st, row);
	statement_bind_integer(&st, row->is_active);
	statement_bind_integer(&st, row->create_usec);
	return statement_next_integer(&st, &row->id, err);
}

status identity_row_update(struct metadata *md, const struct identity_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md,
	        "UPDATE identity SET (login, display_name, external_id, is_active) = (?, ?, ?, ?) WHERE id = "
	        "?",
	        &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, row->login);
	statement_bind_text(&st, row->display_name);
	bind_external_id(&st, row);
	statement_bind_integer(&st, row->is_active);
	statement_bind_integer(&st, row->id);
	return statement_run(&st, err);
}

status identity_row_remove(struct metadata *md, int64_t id, struct error *err)
{
	return statement_do(md, "DELETE FROM identity WHERE id = ?", INTEGERS(id), err);
}

status identity_row_next(struct statement *st, struct identity_row *ret, struct error *err)
{
	status code = statement_next(st, err);
	if (code != STATUS_OK)
		return code;
	struct identity_row row = { .id = statement_integer(st) };
	char kind[24];
	statement_text(st, kind, sizeof kind);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strcmp(kind, kinds[i]) == 0)
			row.kind = (enum identity_kind)i;
	row.is_service_principal = row.kind == IDENTITY_SERVICE_PRINCIPAL;
	statement_text(st, row.login, sizeof row.login);
	statement_text(st, row.display_name, sizeof row.display_name);
	statement_text(st, row.external_id, sizeof row.external_id);
	row.is_active = statement_integer(st) != 0;
	row.is_admin = statement_integer(st) != 0;
	row.create_usec = statement_integer(st);
	*ret = row;
	return STATUS_OK;
}

status identity_row_find(struct metadata *md, enum identity_kind kind, const char *login,
        struct identity_row *ret, struct error *err)
{
	static const char *const nouns[] = {
		[IDENTITY_USER] = "user",
		[IDENTITY_SERVICE_PRINCIPAL] = "service principal",
		[IDENTITY_GROUP] = "group",
	};
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, SELECT "WHERE i.kind = ? AND i.login = ? COLLATE NOCASE", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, kinds[kind]);
	statement_bind_text(&st, login);
	code = identity_row_next(&st, ret, err);
	return code == STATUS_NOT_FOUND
	               ? error_set(err, code, 0, "there is no %s '%.200s'", nouns[kind], login)
	               : code;
}

status identity_row_get(struct metadata *md, int64_t id, struct identity_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open_for(md, SELECT "WHERE i.id = ?", INTEGERS(id), &st, err);
	if (code == STATUS_OK)
		code = identity_row_next(&st, ret, err);
	return code == STATUS_NOT_FOUND ? error_set(err, code, 0, "there is no identity of that id") : code;
}

status identity_row_find_exactly(
        struct metadata *md, const char *login, struct identity_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, SELECT "WHERE i.login = ? COLLATE BINARY", &st, err);
	if (code != STATUS_OK)
		return code;
	statement_bind_text(&st, login);
	code = identity_row_next(&st, ret, err);
	return code == STATUS_NOT_FOUND ? error_set(err, code, 0, "there is no identity '%.200s'", login)
	                                : code;
}

static void bind_filter(struct statement *st, enum identity_kind kind, const struct identity_filter *filter)
{
	statement_bind_text(st, kinds[kind]);
	statement_bind_integer(st, filter->attribute);
	statement_bind_integer(st, filter->comparison);
	statement_bind_text(st, filter->value);
}

status identity_row_list(struct metadata *md, enum identity_kind kind, const struct identity_filter *filter,
        int64_t offset, int64_t limit, struct statement *ret, struct error *err)
{
	status code = statement_open(md, SELECT FILTER "ORDER BY i.id LIMIT ?5 OFFSET ?6", ret, err);
	if (code != STATUS_OK)
		return code;
	bind_filter(ret, kind, filter);
	statement_bind_integer(ret, limit);
	statement_bind_integer(ret, offset);
	return STATUS_OK;
}

status identity_row_count(struct metadata *md, enum identity_kind kind, const struct identity_filter *filter,
        int64_t *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open(md, "SELECT count(*) FROM identity i " FILTER, &st, err);
	if (code != STATUS_OK)
		return code;
	bind_filter(&st, kind, filter);
	return statement_next_integer(&st, ret, err);
}

status identity_row_ensure_admin(
        struct metadata *md, const char *login, int64_t now_usec, int64_t *ret_id, struct error *err)
{
	struct identity_row row;
	status code = identity_row_find(md, IDENTITY_USER, login, &row, err);
	if (code == STATUS_NOT_FOUND) {
		row = (struct identity_row){
			.kind = IDENTITY_USER, .is_active = true, .create_usec = now_usec
		};
		(void)snprintf(row.login, sizeof row.login, "%s", login);
		(void)snprintf(row.display_name, sizeof row.display_name, "%s", login);
		code = identity_row_insert(md, &row, err);
	} else if (code == STATUS_OK && !row.is_active) {
		row.is_active = true;
		code = identity_row_update(md, &row, err);
	}
	struct identity_row admins;
	if (code == STATUS_OK)
		code = identity_row_find(md, IDENTITY_GROUP, GROUP_ADMINS, &admins, err);
	if (code == STATUS_OK)
		code = group_add_member(md, admins.id, row.id, err);
	if (code == STATUS_OK)
		*ret_id = row.id;
	return code;
}

status group_add_member(struct metadata *md, int64_t group, int64_t member, struct error *err)
{
	return statement_do(md,
	        "INSERT INTO group_member(group_id, member) VALUES (?, ?) ON CONFLICT DO NOTHING",
	        INTEGERS(group, member), err);
}

status group_remove_member(struct metadata *md, int64_t group, int64_t member, struct error *err)
{
	return statement_do(md, "DELETE FROM group_member WHERE group_id = ? AND member = ?",
	        INTEGERS(group, member), err);
}

status group_remove_all(struct metadata *md, int64_t group, struct error *err)
{
	return statement_do(md, "DELETE FROM group_member WHERE group_id = ?", INTEGERS(group), err);
}

status group_list_members(struct metadata *md, int64_t group, struct statement *ret, struct error *err)
{
	return statement_open_for(md,
	        SELECT "WHERE i.id IN (SELECT member FROM membership WHERE group_id = ?) ORDER BY i.id",
	        INTEGERS(group), ret, err);
}

status group_list_of(struct metadata *md, int64_t member, struct statement *ret, struct error *err)
{
	return statement_open_for(md,
	        SELECT "WHERE i.id IN (SELECT group_id FROM group_member WHERE member = ?) ORDER BY i.id",
	        INTEGERS(member), ret, err);
}

status group_has_member(struct metadata *md, int64_t group, int64_t member, bool *ret, struct error *err)
{
	int64_t count = 0;
	status code = statement_ask(md, "SELECT count(*) FROM membership WHERE group_id = ? AND member = ?",
	        INTEGERS(group, member), &count, err);
	if (code == STATUS_OK)
		*ret = count > 0;
	return code;
}
