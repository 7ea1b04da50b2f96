/* Command: one `tarn NAME`, its help text and its code. One pair of files per command, listed in cli.c. */
#pragma once

#include "base/base.h"
#include "cli/cli.h"
#include "cli/help.h"
#include "cli/options.h"

struct command {
	const char *name;
	const char *summary; /* one line, for the list of commands */
	const char *help; /* usage, flags, examples; NULL: it is in `text`, or the command prints its own */
	const struct help *text;
	/* argv[0] is the name. Returns the exit code. */
	int (*run)(const struct cli_services *services, int argc, char **argv);
	/* For completions: its flags, ending with a NULL name, and words for its first argument, ending with NULL. Either may be NULL. */
	const struct option *options;
	const char *const *words;
};

extern const struct command up_command, down_command, status_command, audit_command, doctor_command,
        env_command, psql_command, postgres_command, auth_command;

void auth_help(void);

/* On stdout. */
void print_help(const struct command *command);
/* One line on stderr: "Error: " message ". " hint; control characters become '?'. Returns EXIT_FAILED. */
int print_failure(const struct error *err);
/* The same for a mistake in the command line, with where to read on. Returns EXIT_USAGE. */
int print_usage_failure(const struct error *err, const char *command);
PRINTF_LIKE(2) int usage_failure(const char *command, const char *fmt, ...);

/*
 * Parses and answers --help (which `known` must have, see HELP_OPTION). True: go on, with *options to be released;
 * false: return *ret_code.
 */
MUST_CHECK bool command_begin(const struct command *command, int argc, char **argv,
        const struct option *known, struct options *options, int *ret_code);

#define HELP_OPTION                                                                                          \
	{                                                                                                    \
		.name = "help", .letter = 'h', .is_switch = true, .summary = "explain the command"           \
	}
#define DATA_OPTION                                                                                          \
	{                                                                                                    \
		.name = "data", .value = "DIR", .values = OPTION_VALUES_FOLDER,                              \
		.summary = "data directory (default: /var/lib/tarn for root, ~/.tarn for others)"            \
	}
#define OUTPUT_OPTION                                                                                        \
	{                                                                                                    \
		.name = "output", .letter = 'o', .value = "text|json", .values = OPTION_VALUES_OUTPUT,       \
		.summary = "form of the output (default: text on a terminal, else json)"                     \
	}

enum output_form { OUTPUT_TEXT, OUTPUT_JSON };
/* The value of -o / --output; STATUS_INVALID when it is another word. */
MUST_CHECK status output_form_parse(const struct options *options, enum output_form *ret, struct error *err);
