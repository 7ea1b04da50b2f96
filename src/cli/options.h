/*
 * Options: what stands behind a command's name. Flags and positionals may be mixed, `--flag value` and `--flag=value`
 * are the same, `-o json` and `-ojson` too, and everything behind `--` is no flag. That is how the grammar we share with
 * the `databricks` CLI reads command lines; getopt_long() differs (it takes abbreviations, and has one global state).
 */
#pragma once

#include "base/base.h"

/* What the value of a flag may be completed from (completion.h). */
enum option_values {
	OPTION_VALUES_ANY, /* nobody knows */
	OPTION_VALUES_FILE,
	OPTION_VALUES_FOLDER,
	OPTION_VALUES_OUTPUT,  /* text, json */
	OPTION_VALUES_PROFILE, /* of ~/.databrickscfg */
	OPTION_VALUES_PROJECT_ID,
	OPTION_VALUES_BRANCH_ID,   /* of --project */
	OPTION_VALUES_ENDPOINT_ID, /* of --project and --branch */
	OPTION_VALUES_ROLE_NAME,
};

struct option {
	const char *name; /* without "--" */
	char letter;      /* 0: none */
	bool is_switch;   /* takes no value, but "--purge=false" is understood */
	bool is_hidden;   /* understood, but not in help texts and completions */
	enum option_values values;
	const char *value,
	        *summary; /* for the help text: "DIR", and a line; NULL where the command has a text of its own */
};

struct options {
	const struct option *known; /* ends with a NULL name */
	struct option_use {
		const char *name;
		const char *value; /* "true" or "false" for a switch */
	} * uses;
	size_t use_count;
	const char **positionals;
	size_t positional_count;
	const char **rest; /* behind "--" */
	size_t rest_count;
};

/* Borrows argv (argv[0] is skipped) and `known`. Every failure is STATUS_INVALID and a mistake in usage. */
MUST_CHECK status options_parse(
        int argc, char **argv, const struct option *known, struct options *ret, struct error *err);
void options_done(struct options *options);

const char *option_value(
        const struct options *options, const char *name); /* the last one wins; NULL: not given */
bool option_is_on(const struct options *options, const char *name);
/* How many of the first words are flags of `known` with their values: `tarn -p NAME postgres …`. */
int options_leading(int argc, char **argv, const struct option *known);
/* Puts the word behind `leading` flags in front of them. */
void options_move_behind_command(int leading, char **argv);
/* STATUS_INVALID unless their number is within [min, max]; `usage` is named in the message. */
MUST_CHECK status options_count(
        const struct options *options, size_t min, size_t max, const char *usage, struct error *err);

/* "90s", "1m30s", "250ms", "1.5h" and "0", as Go writes durations. STATUS_INVALID names the flag. */
MUST_CHECK status duration_parse(const char *flag, const char *text, int64_t *ret_usec, struct error *err);
