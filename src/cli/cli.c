#include "cli/cli.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include "cli/command.h"
#include "cli/completion.h"
#include "cli/connection.h"
#include "cli/help.h"
#include "cli/postgres.h"

static const struct command *const commands[] = {
	&up_command,
	&down_command,
	&status_command,
	&audit_command,
	&doctor_command,
	&env_command,
	&psql_command,
	&postgres_command,
	&auth_command,
	&completion_command,
	NULL,
};

/* Those that the real CLI has for every command, and that so may stand in front of it. */
static const struct option global_options[] = { OUTPUT_OPTION, CONNECTION_OPTIONS, { 0 } };

static void print_line(const char *head, const char *text, const char *more)
{
	const char *stop = strchr(".?!", text[strlen(text) - 1]) ? "" : ".";
	CLEANUP(free_text)
	char *line = *more ? xasprintf("%s%s%s %s", head, text, stop, more) : xasprintf("%s%s", head, text);
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	(void)fprintf(stderr, "%s\n", line);
}

int print_failure(const struct error *err)
{
	print_line("Error: ", err->message, err->hint);
	return EXIT_FAILED;
}

int print_usage_failure(const struct error *err, const char *command)
{
	CLEANUP(free_text) char *more = xasprintf("See: tarn help%s%s", *command ? " " : "", command);
	print_line("Error: ", err->message, more);
	return EXIT_USAGE;
}

int usage_failure(const char *command, const char *fmt, ...)
{
	struct error err = { .code = STATUS_INVALID };
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(err.message, sizeof err.message, fmt, args);
	va_end(args);
	return print_usage_failure(&err, command);
}

void print_help(const struct command *command)
{
	CLEANUP(buffer_done) struct buffer out = { 0 };
	if (command->text)
		help_write(command->text, &out);
	(void)fputs(command->help ? command->help : out.data, stdout);
}

bool command_begin(const struct command *command, int argc, char **argv, const struct option *known,
        struct options *options, int *ret_code)
{
	struct error err;
	if (options_parse(argc, argv, known, options, &err) != STATUS_OK) {
		*ret_code = print_usage_failure(&err, command->name);
		return false;
	}
	if (option_is_on(options, "help")) {
		print_help(command);
		options_done(options);
		*ret_code = 0;
		return false;
	}
	return true;
}

status output_form_parse(const struct options *options, enum output_form *ret, struct error *err)
{
	const char *value = option_value(options, "output");
	if (value && strcmp(value, "text") != 0 && strcmp(value, "json") != 0)
		return error_set(
		        err, STATUS_INVALID, 0, "flag \"--output\" is text or json, not \"%s\"", value);
	*ret = value && strcmp(value, "json") == 0 ? OUTPUT_JSON : OUTPUT_TEXT;
	return STATUS_OK;
}

static void print_overview(FILE *to)
{
	(void)fputs("Tarn: serverless Postgres on your own machines.\n\nUsage: tarn COMMAND "
	            "[ARGUMENTS]\n\nCommands:\n",
	        to);
	for (size_t i = 0; commands[i]; i++)
		(void)fprintf(to, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
	(void)fputs("  help       explain a command: tarn help COMMAND\n"
	            "\n"
	            "First steps:\n"
	            "  tarn up                                  start Tarn here; keep it running, go on in "
	            "another terminal\n"
	            "  tarn postgres create-project demo        make a Postgres\n"
	            "  tarn psql --project demo                 connect to it\n"
	            "  eval \"$(tarn env)\"                       let other clients and SDKs find it\n",
	        to);
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; commands[i]; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

static int unknown_command(const char *name)
{
	const char *names[ARRAY_LEN(commands)];
	size_t count = 0;
	for (; commands[count]; count++)
		names[count] = commands[count]->name;
	const char *meant = nearest_word(name, names, count);
	return meant ? usage_failure("", "unknown command \"%s\"; did you mean \"%s\"?", name, meant)
	             : usage_failure("", "unknown command \"%s\"", name);
}

static int help(int argc, char **argv)
{
	if (argc < 2) {
		print_overview(stdout);
		return 0;
	}
	const struct command *command = find_command(argv[1]);
	if (!command)
		return unknown_command(argv[1]);
	if (command == &postgres_command)
		return postgres_help(argc > 2 ? argv[2] : NULL);
	if (command == &auth_command) {
		auth_help();
		return 0;
	}
	print_help(command);
	return 0;
}

/* A full disk or a closed pipe behind stdout must not look like success to a script. */
static int finish(int code)
{
	if (fflush(stdout) != 0 && code == 0) {
		const struct error err = { .code = STATUS_IO, .message = "could not write the output" };
		return print_failure(&err);
	}
	return code;
}

int cli_main(int argc, char **argv, const struct cli_services *services)
{
	if (argc < 2) {
		print_overview(stderr);
		return EXIT_USAGE;
	}
	const char *name = argv[1];
	for (const struct cli_role *role = services->roles; role->name; role++)
		if (strcmp(role->name, name) == 0)
			return role->run(argc - 1, argv + 1);

	(void)signal(SIGPIPE, SIG_IGN); /* a peer that went away is an error to report, not our end */
	if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
		(void)puts("tarn " TARN_VERSION);
		return finish(0);
	}
	if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		return finish(help(argc - 1, argv + 1));
	if (strcmp(name, "__complete") == 0)
		return finish(completion_answer(commands, argc - 1, argv + 1));
	int leading = options_leading(argc - 1, argv + 1, global_options);
	if (leading == argc - 1)
		return usage_failure("", "missing command; usage: tarn COMMAND [ARGUMENTS]");
	options_move_behind_command(leading, argv + 1);
	const struct command *command = find_command(argv[1]);
	if (!command)
		return unknown_command(argv[1]);
	return finish(command->run(services, argc - 1, argv + 1));
}
