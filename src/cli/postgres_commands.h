/*
 * Postgres commands: the table of `tarn postgres COMMAND`. Names, arguments and flags are those of `databricks postgres` (rest-api.md section 9), and
 * ours beside them. What each does with the API is postgres.c; what people read about it is here.
 */
#pragma once

#include "cli/options.h"
#include "cli/resource.h"

enum verb {
	VERB_CREATE,
	VERB_GET,
	VERB_GET_PART, /* GET NAME/action */
	VERB_LIST,
	VERB_UPDATE,
	VERB_DELETE,
	VERB_ACT,    /* POST NAME/action answers an operation */
	VERB_REVEAL, /* POST NAME/action answers what was asked for */
	VERB_GET_OPERATION,
	VERB_CREDENTIAL,
};

/* Flags a command may have beside the common ones. */
enum {
	FLAG_JSON = 1,
	FLAG_REPLACE = 2,
	FLAG_PURGE = 4,
	FLAG_DELETED = 8,
	FLAG_PAGES = 16,
	FLAG_WAIT = 32,
	FLAG_LIFE = 64,
	FLAG_MOMENT = 128,
	FLAG_REASSIGN = 256,
	FLAG_FORCE = 512,
};

struct postgres_command {
	const char *name;
	enum verb verb;
	unsigned int flags;
	const struct resource *resource; /* NULL: get-operation */
	const char *arguments;           /* "PARENT BRANCH_ID" */
	const char *summary;             /* one line, without a full stop */
	const char *details;             /* more, or NULL */
	const char *examples
	        [2]; /* without "tarn postgres "; each works as typed where there is a project "demo" with all it names */
	const char *next; /* a whole command line that is often the next; NULL: none */
	const char *action;
	const char *body_arguments[3]; /* members of the body that arguments give when there is no --json */
};

extern const struct postgres_command postgres_commands[];
extern const size_t postgres_command_count;
/* NULL: there is none. */
const struct postgres_command *postgres_command_find(const char *name);
size_t postgres_command_argument_count(const struct postgres_command *command);

/* Every flag of any of them; ends with a NULL name. */
extern const struct option postgres_options[];
bool postgres_command_has_option(const struct postgres_command *command, const struct option *option);
/* "branch-id", the flag that gives an optional id of a new resource; NULL: it has none. The caller frees. */
char *postgres_command_id_option(const struct postgres_command *command);
