#include "cli/help.h"

#include <stdlib.h>

#define LINE_WIDTH 100
#define LEFT_MAX   34 /* a longer left side has its explanation on the next line */
#define WORD_MAX   64

static size_t width_of(const char *text, size_t len)
{
	size_t width = 0;
	for (size_t i = 0; i < len; i++)
		width += ((unsigned char)text[i] & 0xc0) != 0x80;
	return width;
}

/* Words until the line is full; the first line continues at `column`, the others begin at `indent`. */
static void write_wrapped(const char *text, size_t column, size_t indent, struct buffer *out)
{
	bool is_first = true;
	while (*text) {
		size_t len = strcspn(text, " "), width = width_of(text, len);
		if (!is_first && column + 1 + width > LINE_WIDTH) {
			buffer_printf(out, "\n%*s", (int)indent, "");
			column = indent;
		} else if (!is_first) {
			buffer_append_text(out, " ");
			column++;
		}
		buffer_append(out, text, len);
		column += width;
		is_first = false;
		text += len + (text[len] == ' ');
	}
	buffer_append_text(out, "\n");
}

static void write_line(const char *left, const char *right, size_t left_width, struct buffer *out)
{
	size_t width = width_of(left, strlen(left)), indent = 2 + left_width + 2;
	buffer_printf(out, "  %s", left);
	if (width > left_width)
		buffer_printf(out, "\n%*s", (int)indent, "");
	else
		buffer_printf(out, "%*s", (int)(left_width - width + 2), "");
	write_wrapped(right, indent, indent, out);
}

static void write_lines(const char *title, const struct help_line *lines, struct buffer *out)
{
	if (!lines || !lines->left)
		return;
	size_t left_width = 0;
	for (const struct help_line *line = lines; line->left; line++) {
		size_t width = width_of(line->left, strlen(line->left));
		if (width > left_width && width <= LEFT_MAX)
			left_width = width;
	}
	if (left_width == 0)
		left_width = LEFT_MAX;
	buffer_printf(out, "\n%s:\n", title);
	for (; lines->left; lines++)
		write_line(lines->left, lines->right, left_width, out);
}

static void write_options(const struct option *options, struct buffer *out)
{
	size_t count = 0;
	while (options[count].name)
		count++;
	struct help_line *lines = xcalloc(count + 1, sizeof *lines);
	char **names = xcalloc(count + 1, sizeof *names);
	size_t used = 0;
	for (size_t i = 0; i < count; i++) {
		const struct option *option = &options[i];
		if (option->is_hidden)
			continue;
		char letter[] = "-x, ";
		letter[1] = option->letter;
		names[used] = xasprintf("%s--%s%s%s", option->letter ? letter : "    ", option->name,
		        option->value ? " " : "", option->value ? option->value : "");
		lines[used] = (struct help_line){ names[used], option->summary ? option->summary : "" };
		used++;
	}
	write_lines("Flags", lines, out);
	for (size_t i = 0; i < used; i++)
		free(names[i]);
	free(names);
	free(lines);
}

void help_write(const struct help *help, struct buffer *out)
{
	CLEANUP(free_text)
	char *first = xasprintf("%c%s.%s%s",
	        help->what[0] >= 'a' && help->what[0] <= 'z' ? help->what[0] - 'a' + 'A' : help->what[0],
	        help->what + 1, help->details ? " " : "", help->details ? help->details : "");
	write_wrapped(first, 0, 0, out);
	buffer_printf(out, "\nUsage:\n  %s\n", help->usage);
	write_lines("Arguments", help->arguments, out);
	write_lines("Fields of the body (--json)", help->fields, out);
	if (help->options)
		write_options(help->options, out);
	if (help->examples && help->examples[0]) {
		buffer_append_text(out, help->examples[1] ? "\nExamples:\n" : "\nExample:\n");
		for (size_t i = 0; help->examples[i]; i++)
			buffer_printf(out, "  %s\n", help->examples[i]);
	}
	if (help->next)
		buffer_printf(out, "\nOften next:\n  %s\n", help->next);
}

/* How many letters must be put in, taken out or changed to come from one word to the other. */
static size_t distance(const char *a, const char *b)
{
	size_t row[WORD_MAX + 1], len = strlen(b);
	if (len > WORD_MAX || strlen(a) > WORD_MAX)
		return WORD_MAX;
	for (size_t k = 0; k <= len; k++)
		row[k] = k;
	for (size_t i = 0; a[i]; i++) {
		size_t diagonal = row[0];
		row[0] = i + 1;
		for (size_t k = 0; k < len; k++) {
			size_t best = diagonal + (a[i] != b[k]);
			if (row[k] + 1 < best)
				best = row[k] + 1;
			if (row[k + 1] + 1 < best)
				best = row[k + 1] + 1;
			diagonal = row[k + 1];
			row[k + 1] = best;
		}
	}
	return row[len];
}

const char *nearest_word(const char *word, const char *const *words, size_t count)
{
	const char *nearest = NULL;
	size_t least = strlen(word) / 3 + 1; /* further away it is another word */
	for (size_t i = 0; i < count; i++) {
		size_t far = distance(word, words[i]);
		if (far < least) {
			least = far;
			nearest = words[i];
		}
	}
	return nearest;
}
