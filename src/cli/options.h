/*
 * Options: what stands behind a command's name. Flags and positionals may be mixed, `--flag value` and `--flag=value`
 * are the same, `-o json` and `-ojson` too, and everything behind `--` is no flag. That is how the grammar we share with
 * the `databricks` CLI reads command lines; getopt_long() differs (it takes abbreviations, and has one global state).
 */
#pragma once

#include "base/base.h"

struct option {
	const char *name; /* without "--" */
	char letter;      /* 0: none */
	bool is_switch;   /* takes no value, but "--purge=false" is understood */
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
/* STATUS_INVALID unless their number is within [min, max]; `usage` is named in the message. */
MUST_CHECK status options_count(
        const struct options *options, size_t min, size_t max, const char *usage, struct error *err);

/* "90s", "1m30s", "250ms", "1.5h" and "0", as Go writes durations. STATUS_INVALID names the flag. */
MUST_CHECK status duration_parse(const char *flag, const char *text, int64_t *ret_usec, struct error *err);
