#include "cli/ini.h"

#include <stdlib.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static char *trim(char *text)
{
	while (is_blank(*text))
		text++;
	size_t len = strlen(text);
	while (len > 0 && is_blank(text[len - 1]))
		text[--len] = '\0';
	return text;
}

/* A secret may have a # in it: only one behind a blank begins a comment. */
static void cut_comment(char *text)
{
	for (char *c = text; *c; c++) {
		if ((*c == '#' || *c == ';') && c > text && is_blank(c[-1])) {
			*c = '\0';
			return;
		}
	}
}

/* `text` begins behind the delimiter. */
static char *take_value(char *text)
{
	text = trim(text);
	char quote = *text;
	if (quote == '"' || quote == '\'' || quote == '`') {
		char *end = strchr(text + 1, quote);
		char *behind = end ? trim(end + 1) : NULL;
		if (end && (*behind == '\0' || *behind == '#' || *behind == ';')) {
			*end = '\0';
			return text + 1;
		}
	}
	if (*text == '#' || *text == ';')
		*text = '\0';
	cut_comment(text);
	return trim(text);
}

static void add_entry(
        struct ini *ini, const char *section, const char *key, const char *value, unsigned int line)
{
	/* Grows at powers of two, which the count itself tells. */
	if ((ini->count & (ini->count - 1)) == 0)
		ini->entries =
		        xrealloc(ini->entries, (ini->count ? ini->count * 2 : 1) * sizeof *ini->entries);
	ini->entries[ini->count++] =
	        (struct ini_entry){ .section = section, .key = key, .value = value, .line = line };
}

static status take_section(
        const char *path, char *line, unsigned int number, const char **section, struct error *err)
{
	char *end = strchr(line, ']');
	char *behind = end ? trim(end + 1) : NULL;
	if (!end || (*behind != '\0' && *behind != '#' && *behind != ';'))
		return error_set(err, STATUS_INVALID, 0, "file \"%s\", line %u: a section is written [NAME]",
		        path, number);
	*end = '\0';
	char *name = trim(line + 1);
	if (*name == '\0')
		return error_set(err, STATUS_INVALID, 0, "file \"%s\", line %u: the section has no name",
		        path, number);
	*section = name;
	return STATUS_OK;
}

static status take_line(struct ini *ini, const char *path, char *line, unsigned int number,
        const char **section, struct error *err)
{
	for (const char *c = line; *c; c++)
		if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f)
			return error_set(err, STATUS_INVALID, 0,
			        "file \"%s\", line %u has a control character", path, number);
	line = trim(line);
	if (*line == '\0' || *line == '#' || *line == ';')
		return STATUS_OK;
	if (*line == '[') {
		status st = take_section(path, line, number, section, err);
		if (st == STATUS_OK)
			add_entry(ini, *section, NULL, NULL, number);
		return st;
	}
	size_t key_len = strcspn(line, "=:");
	/* Never the line itself in the message: it may be half of a secret. */
	if (line[key_len] == '\0')
		return error_set(err, STATUS_INVALID, 0,
		        "file \"%s\", line %u is no \"key = value\" and no [SECTION]", path, number);
	line[key_len] = '\0';
	char *key = trim(line);
	if (*key == '\0')
		return error_set(err, STATUS_INVALID, 0, "file \"%s\", line %u has no key", path, number);
	add_entry(ini, *section, key, take_value(line + key_len + 1), number);
	return STATUS_OK;
}

status ini_parse(const char *path, struct slice text, struct ini *ret, struct error *err)
{
	static const char default_section[] = "DEFAULT";
	if (text.len > INI_TEXT_MAX)
		return error_set(
		        err, STATUS_LIMIT, 0, "file \"%s\" is longer than %u bytes", path, INI_TEXT_MAX);
	const char *nul = text.len > 0 ? memchr(text.data, '\0', text.len) : NULL;
	CLEANUP(ini_done)
	struct ini ini = { .text = xstrndup(text.len > 0 ? (const char *)text.data : "", text.len) };
	const char *section = default_section;
	char *rest = ini.text, *line;
	if (strncmp(rest, "\xef\xbb\xbf", 3) == 0)
		rest += 3; /* what editors on Windows put in front */
	for (unsigned int number = 1; (line = strsep(&rest, "\n")); number++) {
		size_t len = strlen(line);
		if (nul && !rest) /* the copy ends at the NUL */
			return error_set(err, STATUS_INVALID, 0,
			        "file \"%s\", line %u has a control character", path, number);
		if (len > 0 && line[len - 1] == '\r')
			line[len - 1] = '\0';
		status st = take_line(&ini, path, line, number, &section, err);
		if (st != STATUS_OK)
			return st;
	}
	*ret = ini;
	ini = (struct ini){ 0 };
	return STATUS_OK;
}

void ini_done(struct ini *ini)
{
	free(ini->text);
	free(ini->entries);
	*ini = (struct ini){ 0 };
}

bool ini_has_section(const struct ini *ini, const char *section)
{
	for (size_t i = 0; i < ini->count; i++)
		if (strcmp(ini->entries[i].section, section) == 0)
			return true;
	return false;
}

const char *ini_value(const struct ini *ini, const char *section, const char *key)
{
	for (size_t i = ini->count; i > 0; i--) {
		const struct ini_entry *entry = &ini->entries[i - 1];
		if (entry->key && strcmp(entry->key, key) == 0 && strcmp(entry->section, section) == 0)
			return *entry->value ? entry->value : NULL;
	}
	return NULL;
}
