/*
 * Statement: one SQL statement with its values bound and its columns read in order, first to last, so that a
 * query reads like the list of its fields.
 *
 * Failures of bind are kept and reported by the next step (style: ask a writer once, at the end).
 */
#pragma once

#include "base/base.h"
#include "metadata/metadata.h"

struct sqlite3_stmt;

struct statement {
	struct metadata *md;
	struct sqlite3_stmt *handle;
	int next_parameter, next_column;
	int bind_code; /* first failure of a bind */
};

MUST_CHECK status statement_open(
        struct metadata *md, const char *sql, struct statement *ret, struct error *err);
void statement_done(struct statement *st); /* for CLEANUP */

void statement_bind_integer(struct statement *st, int64_t value);
void statement_bind_real(struct statement *st, double value);
void statement_bind_text(
        struct statement *st, const char *text); /* NULL binds NULL; borrowed until statement_done */
void statement_bind_null(struct statement *st);
/* Zero stands for NULL: times and references that may be missing. */
void statement_bind_optional(struct statement *st, int64_t value);

/* The usual statement has whole numbers for its first parameters: INTEGERS(project, after_id). */
#define INTEGERS(...) (const int64_t[]){ __VA_ARGS__ }, ARRAY_LEN(((const int64_t[]){ __VA_ARGS__ }))
MUST_CHECK status statement_open_for(struct metadata *md, const char *sql, const int64_t *values,
        size_t count, struct statement *ret, struct error *err);
/* To its end at once. */
MUST_CHECK status statement_do(
        struct metadata *md, const char *sql, const int64_t *values, size_t count, struct error *err);
/* The one number that it asks for. STATUS_NOT_FOUND as statement_next(). */
MUST_CHECK status statement_ask(struct metadata *md, const char *sql, const int64_t *values, size_t count,
        int64_t *ret, struct error *err);
/* Of an open INSERT … RETURNING id, bound. */
MUST_CHECK status statement_next_integer(struct statement *st, int64_t *ret_id, struct error *err);

/* STATUS_OK with a row, STATUS_NOT_FOUND when there is none (any more); err is then not filled. */
MUST_CHECK status statement_next(struct statement *st, struct error *err);
/* For statements without rows. STATUS_EXISTS when a unique index refuses. */
MUST_CHECK status statement_run(struct statement *st, struct error *err);

int64_t statement_integer(struct statement *st); /* NULL reads as 0 */
double statement_real(struct statement *st);
/* Copies at most size - 1 bytes; NULL reads as "". */
void statement_text(struct statement *st, char *out, size_t size);
char *statement_text_copy(struct statement *st); /* NULL stays NULL; caller frees */

/* Rows changed by the last statement run. */
int64_t metadata_changes(const struct metadata *md);
