/*
 * Specs: what parses keeps the limits that the rest of the supervisor relies on, and becomes a configuration in which every
 * setting is one line that begins with its name: nothing in a value can add a line or end a quote.
 */
#include <stdlib.h>

#include "compute/configuration.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool condition)
{
	if (!condition)
		abort();
}

static void check_limits(const struct spec *spec)
{
	check(spec->role_count <= SPEC_ROLES_MAX && spec->database_count <= SPEC_DATABASES_MAX);
	check(spec->setting_count <= SPEC_SETTINGS_MAX && spec->revision >= 0);
	check(spec->suspend_timeout_sec >= 0 && spec->suspend_timeout_sec <= SPEC_TIMEOUT_MAX_SEC);
	check(spec->max_cu > 0 && spec->max_cu <= SPEC_CU_MAX && spec->bin_dir[0] == '/');
	for (size_t i = 0; i < spec->role_count; i++) {
		check(spec->roles[i].name[0] && strlen(spec->roles[i].name) <= SPEC_IDENTIFIER_MAX);
		check(strcmp(spec->roles[i].name, "cloud_admin") != 0);
	}
	for (size_t i = 0; i < spec->database_count; i++)
		check(spec->databases[i].name[0] && strlen(spec->databases[i].name) <= SPEC_IDENTIFIER_MAX);
}

/* name = 'value' with no quote, backslash or control character that is not part of an escape. */
static void check_line(const char *line, size_t len)
{
	if (len == 0 || line[0] == '#')
		return;
	const char *quote = memchr(line, '\'', len);
	size_t name_len = strcspn(line, " ");
	check(name_len < len && strncmp(line + name_len, " = ", 3) == 0);
	if (!quote)
		return;
	size_t at = (size_t)(quote - line) + 1;
	while (at < len) {
		unsigned char c = (unsigned char)line[at];
		check(c >= 0x20 && c != 0x7f);
		if (c == '\'' && at + 1 == len)
			return; /* the end of the value and of the line */
		if (c == '\'' || c == '\\')
			at++; /* the first of two, or of an escape */
		at++;
	}
	abort(); /* the quote never ended */
}

static size_t check_lines(const struct buffer *text)
{
	size_t count = 0;
	for (size_t start = 0; start < text->len;) {
		const char *end = memchr(text->data + start, '\n', text->len - start);
		check(end);
		check_line(text->data + start, (size_t)(end - text->data) - start);
		start = (size_t)(end - text->data) + 1;
		count++;
	}
	return count;
}

static size_t lines_of(const struct spec *spec)
{
	const struct volume_start start = { .recovery_timeline = 2,
		.is_quiet = true,
		.has_no_replication_workers = true,
		.min_prepared_transactions = 1 };
	const struct write_brake brake = { .level = BRAKE_HARD, .commit_delay_usec = 100000 };
	const struct configuration configuration = { .spec = spec,
		.start = &start,
		.brake = &brake,
		.socket_folder = "/s",
		.archive_path = "/a b%'c",
		.scripts_folder = "/x",
		.statements_module = "/m",
		.whitelist_module = "/w",
		.system_user_name = "root" };
	CLEANUP(buffer_done) struct buffer text = { 0 };
	configuration_format_settings(&configuration, &text);
	return check_lines(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(spec_freep) struct spec *spec = NULL;
	struct error err;
	if (spec_parse((struct slice){ data, size }, &spec, &err) != STATUS_OK) {
		check(!spec && err.message[0]);
		return 0;
	}
	check_limits(spec);
	size_t with = lines_of(spec), settings = spec->setting_count;
	/* The setting for prepared transactions may replace ours. */
	struct spec bare = *spec;
	bare.setting_count = 0;
	size_t without = lines_of(&bare);
	check(with == without + settings || with + 1 == without + settings);
	return 0;
}
