/*
 * Postmaster file: data/postmaster.pid, where Postgres says who runs and how far it is. Lines of it (see Postgres'
 * utils/pidfile.h): 1 process id, 8 status, padded with blanks.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

enum postmaster_state {
	POSTMASTER_UNKNOWN, /* no or half a file, or that of another process */
	POSTMASTER_STARTING,
	POSTMASTER_RECOVERING, /* "standby": up, but in recovery, and with hot_standby=off nobody gets in */
	POSTMASTER_READY,      /* accepts connections; with hot_standby=off this means writes */
	POSTMASTER_STOPPING,
};

#define POSTMASTER_FILE "postmaster.pid"

/* What does the text say about the postmaster with this process id? Bytes that make no sense mean UNKNOWN. */
enum postmaster_state postmaster_file_parse(struct slice text, pid_t pid);
enum postmaster_state postmaster_file_read(const char *data_path, pid_t pid);

/*
 * Asks a standby to become a primary when it has replayed all the WAL there is: CheckPromoteSignal() in Postgres' xlogrecovery.c. The postmaster
 * wants SIGUSR1 after it; before it has started its start-up process it removes the file, so both are to be repeated.
 */
MUST_CHECK status postmaster_file_ask_promotion(const char *data_path, struct error *err);
void postmaster_file_forget_promotion(const char *data_path); /* when it is promoted; best effort */
