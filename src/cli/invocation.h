/* Invocation: one `tarn postgres COMMAND …` as it was typed, checked as far as that goes without a server. */
#pragma once

#include "base/base.h"
#include "base/buffer.h"
#include "cli/command.h"
#include "cli/postgres_commands.h"

struct invocation {
	const struct postgres_command *command;
	struct options options; /* parsed with postgres_options; the first positional is the command's name */
	enum output_form form;
	const char *name; /* of the resource, or of the parent; "" for none */
	const char *id;   /* of a resource to create; NULL: the server makes one, or there is none */
	const char *update_mask;
	char *body; /* JSON text, NULL: none */
	int64_t timeout_usec;
	int64_t limit; /* 0: all */
};

/*
 * Fills the rest from `command` and `options`. Every failure is a mistake in usage. Lines for what is odd but no mistake
 * are appended to *warnings.
 */
MUST_CHECK status invocation_check(struct invocation *invocation, struct buffer *warnings, struct error *err);
void invocation_done(struct invocation *invocation);
