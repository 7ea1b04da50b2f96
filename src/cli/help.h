/* Help: the text of --help in one form for all commands: what, usage, arguments, flags, examples, what is often next. */
#pragma once

#include "base/base.h"
#include "base/buffer.h"
#include "cli/options.h"

struct help_line {
	const char *left, *right;
};

struct help {
	const char *what;                  /* a line without a full stop, as in lists of commands */
	const char *details;               /* more sentences; NULL: none */
	const char *usage;                 /* "tarn psql [TARGET] [FLAGS]" */
	const struct help_line *arguments; /* end with a NULL left; NULL: none */
	const struct help_line *fields;    /* of the body; as arguments */
	const struct option *options;      /* end with a NULL name */
	const char *const *examples;       /* whole command lines; end with NULL */
	const char *next;                  /* a whole command line; NULL: none */
};

void help_write(const struct help *help, struct buffer *out);

/* The word of `count` that was most likely meant, or NULL when none is near. */
const char *nearest_word(const char *word, const char *const *words, size_t count);
