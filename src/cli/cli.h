/*
 * Command line: every `tarn …` that a person types, and the dispatch to the roles.
 *
 * The CLI talks REST and knows nothing of Postgres or of the roles' code: what it needs of them main.c hands in.
 */
#pragma once

#include "base/base.h"

/* A Postgres installation as `tarn doctor` lists it. */
struct cli_installation {
	char version[32]; /* "17.11" */
	char bin_dir[256];
	char remark[160]; /* what it has, or why it is not used */
	bool is_accepted;
};

struct cli_services {
	/* `tarn NAME …` for the roles; ends with a NULL name. argv[0] is the name. */
	const struct cli_role {
		const char *name;
		int (*run)(int argc, char **argv);
	} * roles;
	/* Fills at most `max`; returns how many. */
	size_t (*list_installations)(struct cli_installation *out, size_t max);
	/*
	 * The PgBouncer that the pooler is made of, "1.24.1 in /usr/sbin/pgbouncer"; and the system user it runs as beside Postgres' own, of that
	 * name (NULL: ourselves).
	 */
	status (*describe_pooler)(char *out, size_t size, struct error *err);
	status (*check_pooler_user)(const char *postgres_user, struct error *err);
};

#define EXIT_FAILED 1
#define EXIT_USAGE  2

/* Returns the exit code: 0, EXIT_FAILED, EXIT_USAGE. `services` is borrowed for the call. */
int cli_main(int argc, char **argv, const struct cli_services *services);
