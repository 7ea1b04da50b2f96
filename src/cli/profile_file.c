#include "cli/profile_file.h"

#include <stdlib.h>

#include "base/buffer.h"
#include "base/file.h"
#include "cli/ini.h"

static char *find_path(void)
{
	const char *file = getenv("DATABRICKS_CONFIG_FILE"), *home = getenv("HOME");
	file = file && *file ? file : "~/.databrickscfg";
	CLEANUP(free_text)
	char *path = file[0] == '~' && file[1] == '/' ? xasprintf("%s%s", home ? home : "", file + 1)
	                                              : xstrdup(file);
	char *real = realpath(path, NULL); /* of a link, what it leads to is replaced */
	return real ? real : TAKE_PTR(path);
}

static bool is_heading(const char *line, size_t len, const char *profile)
{
	while (len > 0 && strchr(" \t\r", line[len - 1]))
		len--;
	while (len > 0 && strchr(" \t", line[0])) {
		line++;
		len--;
	}
	size_t name_len = strlen(profile);
	return len == name_len + 2 && line[0] == '[' && line[len - 1] == ']' &&
	       memcmp(line + 1, profile, name_len) == 0;
}

static bool is_any_heading(const char *line, size_t len)
{
	size_t blanks = strspn(line, " \t");
	return blanks < len && line[blanks] == '[';
}

/* The lines of all other sections. */
static void copy_others(const char *text, const char *profile, struct buffer *out)
{
	bool is_inside = false;
	while (*text) {
		size_t len = strcspn(text, "\n"), with_end = len + (text[len] == '\n');
		if (is_any_heading(text, len))
			is_inside = is_heading(text, len, profile);
		if (!is_inside)
			buffer_append(out, text, with_end);
		text += with_end;
	}
	if (out->len > 0 && out->data[out->len - 1] != '\n')
		buffer_append_text(out, "\n");
}

status profile_save(
        const char *profile, const char *host, const char *token, char **ret_path, struct error *err)
{
	for (const char *c = profile; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == ']' || *c == '[' || *c == '#' || *c == ';')
			return error_set(
			        err, STATUS_INVALID, 0, "\"%s\" cannot be the name of a profile", profile);
	/* It comes from a server, which must not write lines into the profiles of others. */
	for (const char *c = token; *c; c++)
		if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7f || *c == '#' || *c == ';')
			return error_set(err, STATUS_INVALID, 0,
			        "the server gave a token that cannot be kept in a profile");
	CLEANUP(free_text) char *path = find_path();
	CLEANUP(buffer_done) struct buffer text = { 0 }, out = { 0 };
	status st = file_exists(path) ? file_read(path, INI_TEXT_MAX, &text, err) : STATUS_OK;
	if (st != STATUS_OK)
		return st;
	copy_others(text.data ? text.data : "", profile, &out);
	buffer_printf(&out, "%s[%s]\nhost = %s\ntoken = %s\n", out.len > 0 ? "\n" : "", profile, host, token);
	st = file_replace_durably(path, buffer_slice(&out), 0600, err);
	if (st == STATUS_OK)
		*ret_path = TAKE_PTR(path);
	return st;
}
