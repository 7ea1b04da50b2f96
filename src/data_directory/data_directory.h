/*
 * Data directory: where one Tarn keeps everything, what is where, and its settings.
 * docs/formats/data_directory.md has the layout. Every role opens it by path and derives all other paths from
 * here.
 */
#pragma once

#include "base/base.h"

/* Unix socket paths end at 107 bytes, and ours add up to 45 behind the directory. */
#define DATA_DIRECTORY_PATH_MAX 60
#define DATA_DIRECTORY_VERSION  1

struct settings {
	char *api_address; /* "127.0.0.1" */
	int api_port;      /* 8080 */
	int pg_port;       /* 5432 */
	char *pg_address;  /* with a domain: IP addresses to listen on, separated by commas; NULL: all */
	char *domain; /* NULL: every endpoint is a loopback address; else hosts are <endpoint uid>.<domain> */
	/* With a domain: PEM files of a certificate for hosts below it and of its key; NULL: signed by our authority. */
	char *tls_certificate, *tls_key;
	char *tls_root;      /* PEM file that clients verify it with; NULL: what their system trusts */
	char *postgres_user; /* system user Postgres runs as; NULL: the user who runs Tarn (who is not root)
	                      */
	char *admin_login;   /* "admin@localhost": identity of the token in admin.token */
	char *workspace_id;  /* numeric text, 16 digits */
	/* Limits; the documented defaults are the service's (rest-api.md section 4), tests lower them. */
	int64_t suspend_timeout_min_sec, suspend_timeout_max_sec; /* 60, 604800 */
	int64_t projects;                                         /* 1000 */
	int64_t branches_per_project;                             /* 500 */
	int64_t unarchived_branches_per_project; /* 10: when there are more, the longest idle ones are archived */
	int64_t root_branches_per_project;       /* 3: the first one, and those made of snapshots */
	int64_t protected_branches_per_project;         /* 1 */
	int64_t connections_per_project;                /* 20000: of clients, to all its endpoints */
	int64_t active_computes_per_project;            /* 20, that of the default branch not counted */
	int64_t roles_per_branch, databases_per_branch; /* 500 */
	int64_t snapshots_per_project;                  /* 10; scheduled ones are not counted */
	int64_t branch_ttl_max_sec;                     /* 2592000: 30 days */
	int64_t history_retention_min_sec, history_retention_max_sec; /* 172800, 3024000 */
	int64_t cu_max, autoscale_cu_max, autoscale_cu_spread;        /* 112, 64, 16 */
	int64_t archive_age_sec, archive_idle_sec; /* 1209600: a branch so old and so long idle is archived */
	int64_t housekeeping_interval_sec; /* 300: how often restore points are thinned and space is measured */
	int64_t polling_requests_per_sec; /* 2000: base/idle_states.h */
	int64_t audit_file_mb;            /* 64: a file of the audit trail ends when it is as large */
	int64_t audit_total_mb;           /* 4096: the oldest go when all are larger */
	int64_t audit_retention_days;     /* 365: and when they are older */
	int64_t requests_per_sec; /* 500: of one identity to the REST API, on average; five times that at once */
	int64_t failures_per_min;  /* 60: failed logins and bad tokens of one client address, then 429 */
	int64_t idle_session_sec;  /* 86400: a session of Postgres without a byte for so long is ended */
	int64_t silent_client_sec; /* 60: when its machine has not answered for so long, a client is gone */
	int64_t pooler_clients;    /* 10000: of one endpoint through its pooler */
	int64_t pooler_wait_sec;   /* 120: in the queue for one of its connections */
	int64_t metrics_endpoints; /* 1000: so many endpoints at most have numbers of their own in /metrics */
	char *metrics_access;      /* "loopback": from this machine without a token; "token": never */
	int64_t deleted_retention_sec; /* 604800: how long a soft-deleted project or branch can be undeleted
	                                  */
};

/* The limit of that name, which `tarn up --set NAME=VALUE` changes; NULL: there is none. */
int64_t *settings_find_limit(struct settings *settings, struct slice name);

struct data_directory {
	char *path; /* absolute, no trailing slash */
	struct settings settings;
};

/* $TARN_DATA if set, else "/var/lib/tarn" for root, "$HOME/.tarn" for others. Caller frees. */
char *data_directory_default(void);

/*
 * First run: creates the folder, keys, the admin's token and settings.json; later runs: checks them and takes
 * over what `changes` sets (NULL or 0 fields mean: keep). Idempotent and safe to repeat after a crash at any
 * point. Errors say what to do: path too long, not writable, not reachable for settings.postgres_user, made
 * by a newer Tarn.
 */
MUST_CHECK status data_directory_initialise(
        const char *path, const struct settings *changes, struct error *err);
/* STATUS_NOT_FOUND when nothing was initialised there. */
MUST_CHECK status data_directory_open(const char *path, struct data_directory **ret, struct error *err);
struct data_directory *data_directory_free(struct data_directory *dd);
static inline void data_directory_freep(struct data_directory **dd)
{
	*dd = data_directory_free(*dd);
}

/* "DIR/" + the formatted rest; the caller frees. */
PRINTF_LIKE(2) char *data_directory_path(const struct data_directory *dd, const char *fmt, ...);
