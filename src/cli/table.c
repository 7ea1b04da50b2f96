#include "cli/table.h"

#include <assert.h>
#include <stdlib.h>

char *printable_copy(const char *text)
{
	char *copy = xstrdup(text);
	for (unsigned char *c = (unsigned char *)copy; *c; c++) {
		/* C1 controls (U+0080 to U+009F, in UTF-8 C2 80 to C2 9F) steer terminals, too. */
		bool is_c1 = c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f;
		if (*c < 0x20 || *c == 0x7f)
			*c = '?';
		if (is_c1)
			c[0] = c[1] = '?';
	}
	return copy;
}

void table_add_column(struct table *table, const char *title)
{
	assert(table->cell_count == 0);
	table->titles = xrealloc(table->titles, (table->column_count + 1) * sizeof *table->titles);
	table->titles[table->column_count++] = xstrdup(title);
}

void table_add_cell(struct table *table, const char *text)
{
	/* Grows at powers of two, which the count itself tells. */
	if ((table->cell_count & (table->cell_count - 1)) == 0)
		table->cells = xrealloc(
		        table->cells, (table->cell_count ? table->cell_count * 2 : 1) * sizeof *table->cells);
	table->cells[table->cell_count++] = printable_copy(text);
}

/* Characters, not bytes: those that do not continue a UTF-8 sequence. */
static size_t width_of(const char *text)
{
	size_t width = 0;
	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static size_t column_width(const struct table *table, size_t column)
{
	size_t width = 0;
	for (size_t i = column; i < table->cell_count; i += table->column_count) {
		size_t len = width_of(table->cells[i]);
		width = len > width ? len : width;
	}
	size_t title = width_of(table->titles[column]);
	return width == 0 && table->cell_count > 0 ? 0 : title > width ? title : width;
}

static void write_row(const struct table *table, char *const *row, const size_t *widths, struct buffer *out)
{
	size_t blanks = 0; /* owed by the columns before: none at the end of a line */
	for (size_t column = 0; column < table->column_count; column++) {
		if (widths[column] == 0)
			continue;
		if (*row[column]) {
			buffer_printf(out, "%*s%s", (int)blanks, "", row[column]);
			blanks = 0;
		}
		blanks += widths[column] - width_of(row[column]) + 2;
	}
	buffer_append_text(out, "\n");
}

void table_write(const struct table *table, struct buffer *out)
{
	size_t *widths = xcalloc(table->column_count, sizeof *widths);
	for (size_t column = 0; column < table->column_count; column++)
		widths[column] = column_width(table, column);
	write_row(table, table->titles, widths, out);
	for (size_t i = 0; i + table->column_count <= table->cell_count; i += table->column_count)
		write_row(table, table->cells + i, widths, out);
	free(widths);
}

void table_done(struct table *table)
{
	for (size_t i = 0; i < table->column_count; i++)
		free(table->titles[i]);
	for (size_t i = 0; i < table->cell_count; i++)
		free(table->cells[i]);
	free(table->titles);
	free(table->cells);
	*table = (struct table){ 0 };
}
