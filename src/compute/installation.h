/*
 * Installation: a stock Postgres found on this machine. Looked for in the colon-separated folders of
 * TARN_POSTGRES, in /usr/lib/postgresql/<major>/bin, in the set-up script's cache (TARN_CACHE, /var/cache/tarn,
 * ~/.cache/tarn: postgresql/<major>/bin), and in /usr/local/pgsql/bin. 16, 17 and 18 are accepted, the newest
 * minor of each wins.
 */
#pragma once

#include "base/base.h"

#define INSTALLATIONS_MAX      16
#define POSTGRES_MAJOR_DEFAULT 17

struct installation {
	int major;
	char version[32];                         /* "17.11" */
	char bin_dir[256];                        /* has postgres, initdb, pg_resetwal, pg_waldump */
	bool has_vector, has_extension_whitelist; /* pgvector, pgextwlist */
	bool has_databricks_auth; /* our extension, put there by tools/install_databricks_auth */
	bool is_accepted;         /* 16, 17 or 18 and complete */
	char problem[128];        /* why not; empty when accepted */
};

/* Fills at most INSTALLATIONS_MAX; returns how many. Runs `postgres --version` once per folder. */
size_t installation_scan(struct installation out[INSTALLATIONS_MAX]);
/* The accepted one of that major version. STATUS_NOT_FOUND with a message that lists what there is. */
MUST_CHECK status installation_find(int major, struct installation *ret, struct error *err);

/*
 * Is the server module `name` ("vector") installed beside bin_dir? ret_path (size bytes), if not NULL, receives its absolute
 * path, as shared_preload_libraries takes it.
 */
bool installation_library(const char *bin_dir, const char *name, char *ret_path, size_t size);
