#include "metadata/statement.h"

#include <sqlite3.h>
#include <stdio.h>

#include "metadata/metadata_internal.h"

status statement_open(struct metadata *md, const char *sql, struct statement *ret, struct error *err)
{
	struct sqlite3_stmt *handle = NULL;
	int code = sqlite3_prepare_v2(md->db, sql, -1, &handle, NULL);
	if (code != SQLITE_OK)
		return metadata_failure(md, code, err, "prepare a statement");
	*ret = (struct statement){ .md = md, .handle = handle, .next_parameter = 1 };
	return STATUS_OK;
}

void statement_done(struct statement *st)
{
	(void)sqlite3_finalize(st->handle);
	st->handle = NULL;
}

static void statement_note(struct statement *st, int code)
{
	if (code != SQLITE_OK && st->bind_code == SQLITE_OK)
		st->bind_code = code;
}

void statement_bind_integer(struct statement *st, int64_t value)
{
	statement_note(st, sqlite3_bind_int64(st->handle, st->next_parameter++, value));
}

void statement_bind_real(struct statement *st, double value)
{
	statement_note(st, sqlite3_bind_double(st->handle, st->next_parameter++, value));
}

void statement_bind_text(struct statement *st, const char *text)
{
	statement_note(st, sqlite3_bind_text(st->handle, st->next_parameter++, text, -1, SQLITE_STATIC));
}

void statement_bind_null(struct statement *st)
{
	statement_note(st, sqlite3_bind_null(st->handle, st->next_parameter++));
}

void statement_bind_optional(struct statement *st, int64_t value)
{
	if (value != 0)
		statement_bind_integer(st, value);
	else
		statement_bind_null(st);
}

status statement_next(struct statement *st, struct error *err)
{
	int code = st->bind_code != SQLITE_OK ? st->bind_code : sqlite3_step(st->handle);
	st->next_column = 0;
	if (code == SQLITE_ROW)
		return STATUS_OK;
	if (code == SQLITE_DONE)
		return STATUS_NOT_FOUND;
	return metadata_failure(st->md, code, err, "run a statement");
}

status statement_run(struct statement *st, struct error *err)
{
	status code;
	do
		code = statement_next(st, err);
	while (code == STATUS_OK);
	return code == STATUS_NOT_FOUND ? STATUS_OK : code;
}

status statement_open_for(struct metadata *md, const char *sql, const int64_t *values, size_t count,
        struct statement *ret, struct error *err)
{
	status code = statement_open(md, sql, ret, err);
	for (size_t i = 0; code == STATUS_OK && i < count; i++)
		statement_bind_integer(ret, values[i]);
	return code;
}

status statement_do(
        struct metadata *md, const char *sql, const int64_t *values, size_t count, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open_for(md, sql, values, count, &st, err);
	return code == STATUS_OK ? statement_run(&st, err) : code;
}

status statement_next_integer(struct statement *st, int64_t *ret_id, struct error *err)
{
	status code = statement_next(st, err);
	if (code == STATUS_OK)
		*ret_id = statement_integer(st);
	return code;
}

status statement_ask(struct metadata *md, const char *sql, const int64_t *values, size_t count, int64_t *ret,
        struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = statement_open_for(md, sql, values, count, &st, err);
	return code == STATUS_OK ? statement_next_integer(&st, ret, err) : code;
}

int64_t statement_integer(struct statement *st)
{
	return sqlite3_column_int64(st->handle, st->next_column++);
}

double statement_real(struct statement *st)
{
	return sqlite3_column_double(st->handle, st->next_column++);
}

void statement_text(struct statement *st, char *out, size_t size)
{
	const unsigned char *text = sqlite3_column_text(st->handle, st->next_column++);
	(void)snprintf(out, size, "%s", text ? (const char *)text : "");
}

char *statement_text_copy(struct statement *st)
{
	const unsigned char *text = sqlite3_column_text(st->handle, st->next_column++);
	return text ? xstrdup((const char *)text) : NULL;
}
