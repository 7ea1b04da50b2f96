/*
 * Table: aligned columns for people. A column whose cells are all empty is left out. Control characters in cells become
 * '?', so that a name cannot steer the terminal.
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"

/* The text with '?' for control characters. The caller frees. */
char *printable_copy(const char *text);

struct table {
	char **titles;
	size_t column_count;
	char **cells; /* row by row */
	size_t cell_count;
};

void table_add_column(struct table *table, const char *title); /* all columns before the first cell */
void table_add_cell(struct table *table, const char *text);
void table_write(const struct table *table, struct buffer *out);
void table_done(struct table *table);
