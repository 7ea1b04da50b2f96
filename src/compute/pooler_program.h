/*
 * Pooler program: the PgBouncer of this machine, and the system user it runs as.
 *
 * Looked for at TARN_PGBOUNCER (the program's path), in /usr/sbin, /usr/bin, /usr/local/bin and /usr/local/sbin, and in the set-up script's cache
 * (TARN_CACHE, /var/cache/tarn, ~/.cache/tarn: pgbouncer/current/bin). The first one that is new enough is taken.
 *
 * PgBouncer runs as a user of its own where Tarn is root's: Postgres trusts whoever connects as that user to be any role (configuration.h), which
 * no Postgres' own user may be, since what tenants run in Postgres (dblink, postgres_fdw) connects as that.
 */
#pragma once

#include "base/base.h"
#include "base/system_user.h"

/* Prepared statements of the protocol in transaction mode came with 1.21. */
#define POOLER_VERSION_OLDEST_MINOR 21
#define POOLER_USER                 "tarn-pooler"

struct pooler_program {
	char path[256];
	char version[32]; /* "1.24.1" */
	int minor;        /* 24 */
};

/* Runs `pgbouncer --version`: blocks. STATUS_NOT_FOUND, STATUS_UNSUPPORTED when there are old ones only; the hint says what to do. */
MUST_CHECK status pooler_program_find(struct pooler_program *ret, struct error *err);
/* "PgBouncer 1.24.1\n…" */
MUST_CHECK bool pooler_program_parse_version(const char *text, struct pooler_program *ret);

/* The user beside Postgres' own; that itself where Postgres shares ours. STATUS_NOT_FOUND with a hint when there is none. */
MUST_CHECK status pooler_user_find(
        const struct system_user *postgres_user, struct system_user *ret, struct error *err);
