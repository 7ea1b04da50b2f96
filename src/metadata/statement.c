#include "metadata/statement.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "metadata/metadata_internal.h"

/* FNV-1a */
static size_t chain_of(const char *sql)
{
	uint64_t hash = UINT64_C(14695981039346656037);
	for (const char *c = sql; *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
	return (size_t)((hash ^ hash >> 32) % IDLE_CHAINS);
}

/* SQL is constant text (metadata/README.md), so there are only as many statements as are written down, times how deep they nest. */
static struct sqlite3_stmt *take_idle(struct metadata *md, const char *sql)
{
	struct idle_statement *idle;
	LIST_FOREACH (idle, &md->idle[chain_of(sql)], link)
		if (strcmp(sqlite3_sql(idle->handle), sql) == 0)
			break;
	if (!idle) {
		md->numbers.prepared++;
		return NULL;
	}
	struct sqlite3_stmt *handle = idle->handle;
	LIST_REMOVE(idle, link);
	free(idle);
	return handle;
}

void statements_forget(struct metadata *md)
{
	for (size_t i = 0; i < IDLE_CHAINS; i++) {
		while (!LIST_EMPTY(&md->idle[i])) {
			struct idle_statement *idle = LIST_FIRST(&md->idle[i]);
			(void)sqlite3_finalize(idle->handle);
			LIST_REMOVE(idle, link);
			free(idle);
		}
	}
}

status statement_open(struct metadata *md, const char *sql, struct statement *ret, struct error *err)
{
	md->numbers.opened++;
	struct sqlite3_stmt *handle = take_idle(md, sql);
	int code = handle ? SQLITE_OK
	                  : sqlite3_prepare_v3(md->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &handle, NULL);
	if (code != SQLITE_OK)
		return metadata_failure(md, code, err, "prepare a statement");
	*ret = (struct statement){ .md = md, .handle = handle, .next_parameter = 1 };
	return STATUS_OK;
}

void statement_done(struct statement *st)
{
	if (!st->handle)
		return;
	struct metadata *md = st->md;
	(void)sqlite3_reset(st->handle); /* says again what its last step said */
	(void)sqlite3_clear_bindings(st->handle);
	md->numbers.full_scan_steps +=
	        (uint64_t)sqlite3_stmt_status(st->handle, SQLITE_STMTSTATUS_FULLSCAN_STEP, 1);
	struct idle_statement *idle = xcalloc(1, sizeof *idle);
	idle->handle = st->handle;
	LIST_INSERT_HEAD(&md->idle[chain_of(sqlite3_sql(st->handle))], idle, link);
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
