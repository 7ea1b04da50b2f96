/*
 * Installation: a stock Postgres found on this machine. Looked for in /usr/lib/postgresql/<major>/bin, the set-up script's
 * cache (TARN_CACHE, /var/cache/tarn, ~/.cache/tarn: postgresql/<major>/bin), /usr/local/pgsql/bin, and the
 * colon-separated folders of TARN_POSTGRES. 16, 17 and 18 are accepted, the newest minor of each wins.
 */
#pragma once

#include "base/base.h"

#define INSTALLATIONS_MAX      16
#define POSTGRES_MAJOR_DEFAULT 17

struct installation {
	int major;
	char version[32];  /* "17.11" */
	char bin_dir[256]; /* has postgres, initdb, pg_resetwal */
	bool has_vector, has_extension_whitelist; /* pgvector, pgextwlist */
	bool is_accepted; /* 16, 17 or 18 and complete */
	char problem[128]; /* why not; empty when accepted */
};

/* Fills at most INSTALLATIONS_MAX; returns how many. Runs `postgres --version` once per folder. */
size_t installation_scan(struct installation out[INSTALLATIONS_MAX]);
/* The accepted one of that major version. STATUS_NOT_FOUND with a message that lists what there is. */
MUST_CHECK status installation_find(int major, struct installation *ret, struct error *err);
