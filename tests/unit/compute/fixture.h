/* Supervisors on the cluster fixture. Every wait has a limit and ends by an event. */
#pragma once

#include <libpq-fe.h>
#include <sys/types.h>

#include "../page_store/cluster_fixture.h"
#include "base/base.h"
#include "base/buffer.h"

#define must cluster_must

struct supervised {
	const struct cluster_fixture *fixture;
	char uid[64];
	pid_t pid;
	int fd; /* its socket, connected */
	struct buffer in;
	char *line; /* the last state line that was read */
};

struct spec_text {
	const char *uid, *volume;
	int revision;            /* 0 means 1 */
	int suspend_timeout_sec; /* 0: none */
	const char *settings;    /* members, without braces; NULL: none */
	const char
	        *more; /* more members of the spec, beginning with a comma; NULL: an admin and its database */
};

void spec_write(const struct cluster_fixture *f, const struct spec_text *spec);
/* Starts `tarn compute` (its own program in TEST_SUPERVISOR) with a socket made before, and connects. */
struct supervised supervised_start(const struct cluster_fixture *f, const char *uid);
/* Reads state lines until one has this state, within 60 seconds; returns s->line. */
const char *supervised_wait(struct supervised *s, const char *state);
/* The next line, whatever it says; NULL when the connection was closed. */
const char *supervised_next(struct supervised *s, int timeout_ms);
void supervised_order(struct supervised *s, const char *order);
/* Asks for a "point" or a "flush"; returns the answer's line, within 60 seconds. */
const char *supervised_ask(struct supervised *s, const char *what, int id);
/* Waits for the process's end; returns its exit status as of waitpid(). Closes the connection. */
int supervised_end(struct supervised *s);
/* suspend, "stopped", exit code 0 */
void supervised_stop(struct supervised *s);
void supervised_kill(struct supervised *s);            /* SIGKILL */
pid_t supervised_postgres(const struct supervised *s); /* of the last line */
pid_t supervised_pagefs(const struct supervised *s);

/* For tests of one compute that is ready: endpoint "ep-NAME" on volume "br-NAME". *state is the cluster's; NULL where that is skipped. */
int one_compute_set_up(void **state, const char *name, struct supervised *ret);
int one_compute_tear_down(void **state, struct supervised *s);

PGconn *supervised_connect(const struct supervised *s, const char *user);
char *supervised_socket(const struct supervised *s); /* folder; caller frees */
/* The last result; the product itself has no use for PQexec(), which waits for ever. */
PGresult *execute(PGconn *connection, const char *statement);
/* One value of one row; the statement must succeed. Caller frees. */
char *value_of(PGconn *connection, const char *statement);
void run(PGconn *connection, const char *statement);
