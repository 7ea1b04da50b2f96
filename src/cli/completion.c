#include "cli/completion.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/completion_scripts.h"
#include "cli/connection.h"
#include "cli/postgres_commands.h"
#include "cli/rest.h"

#define ANSWER_TIMEOUT_MS 500l
#define WORDS_MAX         200

/* One line of a shell, and the answer for it. */
struct line {
	const struct command *const *commands;
	const struct option *known; /* of the command */
	struct options options;     /* what stands before the cursor, without the command's name */
	const char *current;        /* the word at the cursor, as far as it is typed */
	const char *prefix;         /* of each candidate, but not of `current`: "--profile=" */
	const char *how;
	struct buffer candidates;
};

static bool is_harmless(const char *text)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.@+~/,";
	return *text != '\0' && text[strspn(text, plain)] == '\0' && *text != '~';
}

static void add(struct line *line, const char *word, const char *summary)
{
	if (!is_harmless(word) || strncmp(word, line->current, strlen(line->current)) != 0)
		return;
	buffer_printf(&line->candidates, "%s%s%s%s\n", line->prefix, word, summary ? "\t" : "",
	        summary ? summary : "");
}

/* The API's list at a path such as "projects/demo/branches"; NULL: there is none, for whatever reason. */
static yyjson_doc *fetch_list(const struct line *line, const char *path)
{
	CLEANUP(connection_done) struct connection connection = { 0 };
	CLEANUP(rest_freep) struct rest *rest = NULL;
	CLEANUP(buffer_done) struct buffer url = { 0 };
	struct error ignored;
	yyjson_doc *doc = NULL;
	if (connection_find(&line->options, &connection, &ignored) != STATUS_OK ||
	        rest_open(&connection, false, &rest, &ignored) != STATUS_OK)
		return NULL;
	rest_set_timeout(rest, ANSWER_TIMEOUT_MS);
	buffer_append_text(&url, API_PREFIX);
	path_append_name(&url, path);
	return rest_call(rest, "GET", url.data, NULL, &doc, &ignored) == STATUS_OK ? doc : NULL;
}

/* Calls `take` with the id of each element; `path` ends with the collection. */
static void for_each_id(struct line *line, const char *path,
        void (*take)(struct line *line, const char *id, void *arg), void *arg)
{
	CLEANUP(json_free) yyjson_doc *doc = fetch_list(line, path);
	CLEANUP(free_text) char *member = xstrdup(resource_id(path));
	for (char *c = member; *c; c++)
		if (*c == '-')
			*c = '_';
	yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(doc), member), *one;
	size_t i, count;
	yyjson_arr_foreach(list, i, count, one) take(line, resource_id(json_text(one, "name")), arg);
}

static void take_id(struct line *line, const char *id, void *arg)
{
	(void)arg;
	add(line, id, NULL);
}

struct name_part {
	char *before;      /* "projects/demo/branches/" */
	const char *form;  /* what comes behind the id: "/endpoints/ENDPOINT", or "" */
	bool is_whole_too; /* the name may end here */
};

/* "projects/demo/branches/dev", and as much behind it as is certain: "/endpoints/". */
static void take_name(struct line *line, const char *id, void *arg)
{
	const struct name_part *part = arg;
	size_t certain = 0;
	if (*part->form) {
		size_t literal = 1 + strcspn(part->form + 1, "/");
		certain = part->form[literal] == '/' ? literal + 1 : literal;
		if (part->form[literal] == '/')
			line->how = ":partial";
	}
	CLEANUP(free_text) char *name = xasprintf("%s%s%.*s", part->before, id, (int)certain, part->form);
	if (part->is_whole_too && *part->form) {
		CLEANUP(free_text) char *shorter = xasprintf("%s%s", part->before, id);
		add(line, shorter, NULL);
	}
	add(line, name, NULL);
}

static bool is_id(const char *form)
{
	return form[0] >= 'A' && form[0] <= 'Z';
}

/* A name of a form: what is typed is followed part by part, then the server is asked for the ids that may come. */
static void complete_name(struct line *line, const char *form, bool is_whole_too)
{
	const char *typed = line->current;
	CLEANUP(buffer_done) struct buffer before = { 0 };
	buffer_append_text(&before, "");
	for (;;) {
		size_t form_len = strcspn(form, "/"), typed_len = strcspn(typed, "/");
		bool is_typed_last = typed[typed_len] == '\0';
		if (is_id(form) && is_typed_last)
			break;
		if (!is_id(form) && (typed_len > form_len || strncmp(form, typed, typed_len) != 0 ||
		                            (!is_typed_last && typed_len != form_len)))
			return; /* no such name */
		if (!is_typed_last && form[form_len] == '\0')
			return; /* too long */
		buffer_append(&before, is_id(form) ? typed : form, is_id(form) ? typed_len : form_len);
		if (form[form_len] == '\0') {
			add(line, before.data, NULL);
			return;
		}
		buffer_append_text(&before, "/");
		form += form_len + 1;
		if (is_typed_last)
			break; /* "projec": what it begins is certain, and the ids behind it can be asked for at once */
		typed += typed_len + 1;
	}
	CLEANUP(free_text) char *path = xstrndup(before.data, before.len > 0 ? before.len - 1 : 0);
	struct name_part part = {
		.before = before.data, .form = form + strcspn(form, "/"), .is_whole_too = is_whole_too
	};
	for_each_id(line, path, take_name, &part);
}

static void complete_ids(struct line *line, const char *project, const char *branch, const char *collection)
{
	if ((!project && strcmp(collection, "projects") != 0) ||
	        (!branch && strcmp(collection, "endpoints") == 0))
		return;
	CLEANUP(free_text)
	char *path = strcmp(collection, "projects") == 0 ? xstrdup("projects")
	             : strcmp(collection, "branches") == 0
	                     ? xasprintf("projects/%s/branches", project)
	                     : xasprintf("projects/%s/branches/%s/endpoints", project, branch);
	for_each_id(line, path, take_id, NULL);
}

static void complete_profiles(struct line *line)
{
	CLEANUP(ini_done) struct ini ini = { 0 };
	CLEANUP(free_text) char *path = NULL;
	struct error ignored;
	if (profiles_read(&ini, &path, &ignored) != STATUS_OK)
		return;
	for (size_t i = 0; i < ini.count; i++)
		if (!ini.entries[i].key && strcmp(ini.entries[i].section, PROFILES_SETTINGS) != 0)
			add(line, ini.entries[i].section, NULL);
}

static void complete_value(struct line *line, const struct option *option)
{
	const char *project = option_value(&line->options, "project"),
	           *branch = option_value(&line->options, "branch");
	switch (option->values) {
	case OPTION_VALUES_FILE:
		if (*line->current == '@') {
			line->how = ":files";
			break;
		}
		line->how = ":partial";
		add(line, "@", "a file");
		break;
	case OPTION_VALUES_FOLDER:
		line->how = ":folders";
		break;
	case OPTION_VALUES_OUTPUT:
		add(line, "json", "for programs");
		add(line, "text", "for people");
		break;
	case OPTION_VALUES_PROFILE:
		complete_profiles(line);
		break;
	case OPTION_VALUES_PROJECT_ID:
		complete_ids(line, project, branch, "projects");
		break;
	case OPTION_VALUES_BRANCH_ID:
		complete_ids(line, project, branch, "branches");
		break;
	case OPTION_VALUES_ENDPOINT_ID:
		complete_ids(line, project, branch, "endpoints");
		break;
	case OPTION_VALUES_ROLE_NAME:
		complete_name(line, role_resource.name_form, false);
		break;
	case OPTION_VALUES_ANY:
		break;
	}
}

static void complete_flags(struct line *line, const struct postgres_command *command)
{
	for (const struct option *option = line->known; option && option->name; option++) {
		if (option->is_hidden || (command && !postgres_command_has_option(command, option)))
			continue;
		CLEANUP(free_text) char *flag = xasprintf("--%s", option->name);
		add(line, flag, option->summary);
	}
}

/* The last word of "spec.ttl,spec.is_pro". */
static void complete_mask(struct line *line, const struct resource_field *fields)
{
	const char *comma = strrchr(line->current, ',');
	size_t done = comma ? (size_t)(comma + 1 - line->current) : 0;
	for (; fields && fields->path; fields++) {
		if (!(fields->use & (FIELD_UPDATE | FIELD_MASK)))
			continue;
		CLEANUP(free_text) char *mask = xasprintf("%.*s%s", (int)done, line->current, fields->path);
		add(line, mask, fields->summary);
	}
}

/* The n-th argument, from 0. */
static void complete_argument(struct line *line, const struct postgres_command *command, size_t n)
{
	const char *word = command->arguments;
	for (; n > 0 && *word; n--) {
		word += strcspn(word, " ");
		word += *word == ' ';
	}
	size_t len = strcspn(word, " ");
	if (len == 0 || !command->resource)
		return;
	if (strncmp(word, "NAME", len) == 0 || strncmp(word, "ENDPOINT", len) == 0)
		complete_name(line, command->resource->name_form, false);
	else if (strncmp(word, "PARENT", len) == 0)
		complete_name(line, command->resource->parent_form, false);
	else if (strncmp(word, "UPDATE_MASK", len) == 0)
		complete_mask(line, command->resource->fields);
}

static void complete_postgres(struct line *line)
{
	const struct options *options = &line->options;
	const struct postgres_command *command =
	        options->positional_count > 0 ? postgres_command_find(options->positionals[0]) : NULL;
	if (*line->current == '-')
		complete_flags(line, command);
	else if (command)
		complete_argument(line, command, options->positional_count - 1);
	for (size_t i = 0;
	        options->positional_count == 0 && *line->current != '-' && i < postgres_command_count; i++)
		add(line, postgres_commands[i].name, postgres_commands[i].summary);
}

static void complete_commands(struct line *line)
{
	for (size_t i = 0; line->commands[i]; i++)
		add(line, line->commands[i]->name, line->commands[i]->summary);
	add(line, "help", "explain a command");
	add(line, "version", "print the version");
}

static const struct command *find(const struct line *line, const char *name)
{
	for (size_t i = 0; line->commands[i]; i++)
		if (strcmp(line->commands[i]->name, name) == 0)
			return line->commands[i];
	return NULL;
}

static void complete_help(struct line *line, int argc, char **argv)
{
	if (argc == 1)
		complete_commands(line);
	else if (argc == 2 && strcmp(argv[1], "postgres") == 0)
		for (size_t i = 0; i < postgres_command_count; i++)
			add(line, postgres_commands[i].name, postgres_commands[i].summary);
}

/* The flag whose value the cursor is at: it is the last word, or stands in front of the "=" of this one. NULL: none. */
static const struct option *find_open_flag(struct line *line, int *argc, char **argv)
{
	const char *equals = line->current[0] == '-' ? strchr(line->current, '=') : NULL;
	const char *text = equals ? line->current : *argc > 1 ? argv[*argc - 1] : "";
	if (strlen(text) < 2 || text[0] != '-' || !line->known)
		return NULL;
	size_t len = equals ? (size_t)(equals - text) : strlen(text);
	for (const struct option *option = line->known; option->name; option++) {
		bool is_long = text[1] == '-' && len == strlen(option->name) + 2 &&
		               strncmp(text + 2, option->name, len - 2) == 0;
		bool is_letter = text[1] != '-' && len == 2 && option->letter == text[1];
		if (option->is_switch || (!is_long && !is_letter))
			continue;
		if (equals)
			line->current = equals + 1;
		else
			(*argc)--;
		return option;
	}
	return NULL;
}

static bool is_behind_dashes(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--") == 0)
			return true;
	return false;
}

/* argv[0] is the command; all words stand in front of the cursor. */
static void complete_command(struct line *line, int argc, char **argv)
{
	if (strcmp(argv[0], "help") == 0)
		complete_help(line, argc, argv);
	const struct command *command = find(line, argv[0]);
	if (!command || !command->options)
		return;
	if (is_behind_dashes(argc, argv)) {
		line->how = ":files"; /* another program's */
		return;
	}
	line->known = command->options;
	const char *whole = line->current;
	const struct option *open = find_open_flag(line, &argc, argv);
	CLEANUP(free_text) char *prefix = xstrndup(whole, (size_t)(line->current - whole));
	struct error ignored;
	if (options_parse(argc, argv, line->known, &line->options, &ignored) != STATUS_OK)
		return;
	line->prefix = prefix;
	if (open)
		complete_value(line, open);
	else if (strcmp(command->name, "postgres") == 0)
		complete_postgres(line);
	else if (*line->current == '-')
		complete_flags(line, NULL);
	else if (strcmp(command->name, "psql") == 0 && line->options.positional_count == 0)
		complete_name(line, endpoint_resource.name_form, true);
	for (size_t i = 0;
	        !open && command->words && command->words[i] && line->options.positional_count == 0; i++)
		add(line, command->words[i], NULL);
	line->prefix = "";
	options_done(&line->options);
}

/*
 * bash breaks words at "=" and "@": "--json", "=@", "body.json". Here they are as if a blank stood in the place of the "=", and the "@" in
 * front of its word; that one is put together in *joined.
 */
static int mend_words(int argc, char **argv, char **words, char **joined)
{
	int count = 0;
	for (int i = 1; i < argc && count < WORDS_MAX; i++) {
		bool is_behind_flag = count > 0 && strncmp(words[count - 1], "--", 2) == 0;
		if (is_behind_flag && strcmp(argv[i], "=") == 0) {
			if (i + 1 == argc)
				words[count++] = argv[i] + 1; /* "": nothing of the value is typed yet */
		} else if (is_behind_flag && (strcmp(argv[i], "@") == 0 || strcmp(argv[i], "=@") == 0) &&
		           i + 1 < argc) {
			free_text(joined);
			*joined = xasprintf("@%s", argv[++i]);
			words[count++] = *joined;
		} else {
			words[count++] = argv[i];
		}
	}
	return count;
}

int completion_answer(const struct command *const *commands, int argc, char **argv)
{
	static const struct option global_options[] = { OUTPUT_OPTION, CONNECTION_OPTIONS, HELP_OPTION,
		{ 0 } };
	char *words[WORDS_MAX + 1] = { NULL };
	CLEANUP(free_text) char *joined = NULL;
	int count = mend_words(argc, argv, words, &joined);
	struct line line = { .commands = commands,
		.known = global_options,
		.current = count > 0 ? words[count - 1] : "",
		.prefix = "",
		.how = ":words" };
	int before = count > 0 ? count - 1 : 0; /* words in front of the cursor */
	int leading = options_leading(before, words, global_options);
	if (leading < before) {
		options_move_behind_command(leading, words);
		complete_command(&line, before, words);
	} else if (*line.current == '-') {
		complete_flags(&line, NULL);
	} else {
		complete_commands(&line);
	}
	(void)printf("%s\n%s", line.how, line.candidates.data ? line.candidates.data : "");
	buffer_done(&line.candidates);
	return 0;
}

static const char *const shells[] = { "bash", "zsh", "fish", NULL };

static const struct option options_known[] = { HELP_OPTION, { 0 } };

static int completion_main(const struct cli_services *services, int argc, char **argv)
{
	(void)services;
	CLEANUP(options_done) struct options options = { 0 };
	struct error err;
	int code = 0;
	if (!command_begin(&completion_command, argc, argv, options_known, &options, &code))
		return code;
	if (options_count(&options, 1, 1, "tarn completion bash|zsh|fish", &err) != STATUS_OK)
		return print_usage_failure(&err, "completion");
	const char *script = completion_script(options.positionals[0]);
	if (!script)
		return usage_failure("completion",
		        "there is no completion for shell \"%s\": bash, zsh and fish have one",
		        options.positionals[0]);
	(void)fputs(script, stdout);
	return 0;
}

const struct command completion_command = {
	.name = "completion",
	.summary = "let your shell complete commands, flags and names",
	.help = "Let your shell complete commands, flags, and the names of projects, branches and endpoints. "
	        "Prints a script for "
	        "the\n"
	        "shell. Names come from the server that the command line names; one that does not answer at "
	        "once has none.\n"
	        "\n"
	        "Usage:\n"
	        "  tarn completion bash|zsh|fish\n"
	        "\n"
	        "Arguments:\n"
	        "  bash|zsh|fish  your shell\n"
	        "\n"
	        "Flags:\n"
	        "  -h, --help     explain the command\n"
	        "\n"
	        "Examples:\n"
	        "  source <(tarn completion bash)\n"
	        "  tarn completion fish\n"
	        "\n"
	        "For ever: put `source <(tarn completion bash)` into ~/.bashrc, the same with zsh into "
	        "~/.zshrc behind compinit, or\n"
	        "the output for fish into ~/.config/fish/completions/tarn.fish.\n",
	.run = completion_main,
	.options = options_known,
	.words = shells,
};
