/* `tarn audit`: reads the audit trail of a data directory (docs/formats/audit.md), whether anything runs or not. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/command.h"
#include "cli/connection.h"
#include "cli/rest.h"
#include "cli/table.h"

#define DEFAULT_SINCE "24h"
#define NAME_STEM_LEN 15 /* "20261130T081018": when the file was begun */
#define VERSION       1

struct filter {
	int64_t since_usec, until_usec;
	const char *login; /* NULL: all */
	bool only_refused;
};

struct output {
	enum output_form form;
	struct table table;
	size_t torn; /* lines that are no JSON */
};

/* A moment, or a duration back from now. */
static status parse_time(const char *flag, const char *text, int64_t *ret_usec, struct error *err)
{
	int64_t ago = 0;
	if (clock_parse_timestamp(slice_from_text(text), ret_usec))
		return STATUS_OK;
	if (duration_parse(flag, text, &ago, err) != STATUS_OK)
		return error_set(err, STATUS_INVALID, 0,
		        "flag \"--%s\" is a time like 2026-11-30T08:00:00Z or a duration back from now like "
		        "90m, not \"%s\"",
		        flag, text);
	*ret_usec = clock_wall_usec() - ago;
	return STATUS_OK;
}

static const char *member(yyjson_val *line, const char *name)
{
	const char *text = yyjson_get_str(yyjson_obj_get(line, name));
	return text ? text : "";
}

/* The pages of OAuth answer in a form of their own, without our codes. */
static bool is_refused(yyjson_val *line)
{
	return yyjson_obj_get(line, "error_code") || yyjson_get_int(yyjson_obj_get(line, "status")) >= 400;
}

static bool is_wanted(yyjson_val *line, const struct filter *filter)
{
	int64_t time_usec;
	return yyjson_is_obj(line) && yyjson_get_int(yyjson_obj_get(line, "version")) == VERSION &&
	       clock_parse_timestamp(slice_from_text(member(line, "time")), &time_usec) &&
	       time_usec >= filter->since_usec && time_usec <= filter->until_usec &&
	       (!filter->login || strcmp(member(line, "login"), filter->login) == 0) &&
	       (!filter->only_refused || is_refused(line));
}

/* What a create is about stands in its parameters. */
static char *resource_text(yyjson_val *line)
{
	yyjson_val *parameters = yyjson_obj_get(line, "parameters"), *key, *value;
	CLEANUP(buffer_done) struct buffer text = { 0 };
	size_t i, count;
	buffer_append_text(&text, member(line, "resource"));
	yyjson_obj_foreach(parameters, i, count, key, value)
	{
		if (yyjson_is_str(value))
			buffer_printf(&text, " %s=%s", yyjson_get_str(key), yyjson_get_str(value));
	}
	return xstrdup(text.data);
}

static char *result_text(yyjson_val *line)
{
	const char *code = member(line, "error_code"), *result = member(line, "result");
	if (strcmp(member(line, "event"), "lost") == 0)
		return xasprintf(
		        "%lld lines are lost", (long long)yyjson_get_sint(yyjson_obj_get(line, "lines")));
	if (*code || *result)
		return xstrdup(*code ? code : result);
	return is_refused(line) ? xasprintf("HTTP %d", yyjson_get_int(yyjson_obj_get(line, "status")))
	                        : xstrdup("ok");
}

static void add_row(struct table *table, yyjson_val *line)
{
	CLEANUP(free_text) char *resource = resource_text(line);
	CLEANUP(free_text) char *result = result_text(line);
	bool is_call = strcmp(member(line, "event"), "call") == 0;
	table_add_cell(table, member(line, "time"));
	table_add_cell(table, member(line, "login"));
	table_add_cell(table, member(line, "address"));
	table_add_cell(table, is_call ? member(line, "method") : member(line, "kind"));
	table_add_cell(table, resource);
	table_add_cell(table, result);
}

static void take_line(struct output *output, const struct filter *filter, const char *text, size_t len)
{
	CLEANUP(json_free) yyjson_doc *doc = yyjson_read(text, len, 0);
	if (!doc) {
		output->torn++;
		return;
	}
	if (!is_wanted(yyjson_doc_get_root(doc), filter))
		return;
	if (output->form == OUTPUT_JSON)
		(void)printf("%.*s\n", (int)len, text);
	else
		add_row(&output->table, yyjson_doc_get_root(doc));
}

static status read_file(
        const char *path, const struct filter *filter, struct output *output, struct error *err)
{
	FILE *file = fopen(path, "re");
	if (!file) /* it may have been removed meanwhile: its time was up */
		return errno == ENOENT
		               ? STATUS_OK
		               : error_set(err, STATUS_IO, errno, "could not open audit file \"%s\"", path);
	char *line = NULL;
	size_t capacity = 0;
	for (ssize_t len; (len = getline(&line, &capacity, file)) > 0;) {
		if (line[len - 1] != '\n')
			continue; /* being written, or torn: the next start ends it */
		take_line(output, filter, line, (size_t)len - 1);
	}
	bool has_failed = ferror(file) != 0;
	int saved = errno;
	free(line);
	(void)fclose(file);
	return has_failed ? error_set(err, STATUS_IO, saved, "could not read audit file \"%s\"", path)
	                  : STATUS_OK;
}

static int is_trail(const struct dirent *entry)
{
	const char *suffix = strrchr(entry->d_name, '.');
	return entry->d_name[0] >= '0' && entry->d_name[0] <= '9' && suffix && strcmp(suffix, ".jsonl") == 0;
}

/* Files that end before `since` are not opened: the next one was begun before it. */
static status read_trail(const struct data_directory *dd, const struct filter *filter, struct output *output,
        struct error *err)
{
	CLEANUP(free_text) char *folder = data_directory_path(dd, "audit");
	char since[NAME_STEM_LEN + 1];
	time_t seconds = (time_t)(filter->since_usec / USEC_PER_SEC);
	struct tm parts;
	(void)gmtime_r(&seconds, &parts);
	(void)strftime(since, sizeof since, "%Y%m%dT%H%M%S", &parts);
	struct dirent **entries = NULL;
	int count = scandir(folder, &entries, is_trail, alphasort);
	if (count < 0 && errno == ENOENT)
		return STATUS_OK; /* nothing has ever run here */
	if (count < 0)
		return error_set(err, STATUS_IO, errno, "could not read folder \"%s\"", folder);
	status st = STATUS_OK;
	for (int i = 0; i < count; i++) {
		bool is_before = i + 1 < count && strncmp(entries[i + 1]->d_name, since, NAME_STEM_LEN) < 0;
		CLEANUP(free_text) char *path = xasprintf("%s/%s", folder, entries[i]->d_name);
		if (st == STATUS_OK && !is_before)
			st = read_file(path, filter, output, err);
	}
	for (int i = 0; i < count; i++)
		free(entries[i]);
	free(entries);
	return st;
}

static status parse_filter(const struct options *options, struct filter *ret, struct error *err)
{
	const char *since = option_value(options, "since"), *until = option_value(options, "until");
	struct filter filter = { .until_usec = INT64_MAX,
		.login = option_value(options, "login"),
		.only_refused = option_is_on(options, "refused") };
	status st = parse_time("since", since ? since : DEFAULT_SINCE, &filter.since_usec, err);
	if (st == STATUS_OK && until)
		st = parse_time("until", until, &filter.until_usec, err);
	*ret = filter;
	return st;
}

static void print_table(const struct table *table)
{
	CLEANUP(buffer_done) struct buffer out = { 0 };
	if (table->cell_count > 0)
		table_write(table, &out);
	(void)fputs(out.data ? out.data : "nothing was audited in that time\n", stdout);
}

static const struct option known[] = {
	DATA_OPTION,
	{ .name = "since", .summary = "from then on: a time, or how long ago" },
	{ .name = "until", .summary = "up to then" },
	{ .name = "login", .summary = "only what this identity did" },
	{ .name = "refused", .is_switch = true, .summary = "only what was refused or failed" },
	OUTPUT_OPTION,
	HELP_OPTION,
	{ 0 },
};

static int audit_main(const struct cli_services *services, int argc, char **argv)
{
	(void)services;
	static const char *const titles[] = { "TIME", "LOGIN", "ADDRESS", "WHAT", "RESOURCE", "RESULT" };
	CLEANUP(options_done) struct options options = { 0 };
	CLEANUP(data_directory_freep) struct data_directory *dd = NULL;
	struct error err;
	struct filter filter;
	struct output output = { 0 };
	int code = 0;
	if (!command_begin(&audit_command, argc, argv, known, &options, &code))
		return code;
	if (options_count(&options, 0, 0, "tarn audit [--since TIME] [-o json]", &err) != STATUS_OK ||
	        output_form_parse(&options, &output.form, &err) != STATUS_OK ||
	        parse_filter(&options, &filter, &err) != STATUS_OK)
		return print_usage_failure(&err, "audit");
	if (local_data_directory(&options, &dd, &err) != STATUS_OK)
		return print_failure(&err);
	for (size_t i = 0; i < ARRAY_LEN(titles); i++)
		table_add_column(&output.table, titles[i]);
	status st = read_trail(dd, &filter, &output, &err);
	if (output.form == OUTPUT_TEXT)
		print_table(&output.table);
	table_done(&output.table);
	if (output.torn > 0)
		(void)fprintf(stderr, "%zu lines could not be read: torn by a crash\n", output.torn);
	return st == STATUS_OK ? 0 : print_failure(&err);
}

const struct command audit_command = {
	.name = "audit",
	.summary = "show who changed what, or tried to",
	.help = "Usage: tarn audit [--since TIME] [--until TIME] [--login NAME] [--refused] [-o json] "
	        "[--data DIR]\n"
	        "\n"
	        "Shows the audit trail of a data directory, oldest first: every call of the REST API that "
	        "changed something or gave\n"
	        "out a secret, every one that was refused because of who made it, and how operations ended. "
	        "It is read from the\n"
	        "files in DIR/audit, so it works while nothing runs, and only for who may read them.\n"
	        "\n"
	        "Flags:\n"
	        "  --since TIME       from then on: 2026-11-30T08:00:00Z, or how long ago: 90m (default: "
	        "24h)\n"
	        "  --until TIME       up to then\n"
	        "  --login NAME       only what this identity did; \"system\" for expiry and purges\n"
	        "  --refused          only what was refused or failed\n"
	        "  -o, --output json  the lines as they are, one JSON object each\n"
	        "  --data DIR         data directory (default: /var/lib/tarn for root, ~/.tarn for others)\n"
	        "\n"
	        "Examples:\n"
	        "  tarn audit --since 1h\n"
	        "  tarn audit --refused --since 168h -o json\n",
	.run = audit_main,
	.options = known,
};
