/*
 * Configuration: the three files a compute's Postgres reads. They are in computes/UID, which Postgres can read but not
 * write, and outside PGDATA, so that a volume carries nothing of the endpoint it ran on.
 *
 * What Tarn relies on stands behind the user's settings in the file (the last one wins); the names of the files and all
 * that decides who can connect are also on the command line (postgres_process.c), which beats every file.
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"
#include "base/system_user.h"
#include "compute/spec.h"
#include "compute/write_brake.h"

struct configuration {
	const struct spec *spec;
	const struct volume_start *start;
	const struct write_brake *brake;
	const char *archive_path;
	const char *socket_folder;
	const char *scripts_folder;    /* of extensions.h */
	const char *statements_module; /* path of pg_stat_statements, NULL when not installed */
	const char *whitelist_module;  /* path of pgextwlist, NULL when not installed */
	const char *system_user_name;  /* who runs Tarn: may connect as anybody */
	const char *
	        pooler_user_name; /* may connect as anybody but cloud_admin; NULL: there is no such user beside the former */
	bool has_locked_memory; /* as much as it likes (postgres_process.h) */
	bool shares_user;       /* Postgres runs as that user, too: a tenant's way back in must be closed */
};

/* From the maximum CU: 104 at 0.5, 209 at 1, 419 at 2, …, at most 4000 (rest-api.md 4.4). */
int configuration_max_connections(double max_cu);
/*
 * Of these, what clients can have: superuser_reserved_connections stay free for superusers, and as long as we are connected ourselves (supervisor,
 * control), these connections are among the others.
 */
int configuration_client_connections(double max_cu);

void configuration_format_settings(const struct configuration *configuration, struct buffer *out);
void configuration_format_hba(const struct configuration *configuration, struct buffer *out);
void configuration_format_ident(const struct configuration *configuration, struct buffer *out);

/* 'it''s', as postgresql.conf wants it: one line whatever the value has in it. */
void configuration_quote(const char *value, struct buffer *out);

/* The same for the shell: one word, in single quotes. */
void configuration_quote_word(const char *text, struct buffer *out);

/* Writes folder/{postgresql,hba,ident}.conf, readable for the Postgres user. Not durable: made anew at every start. */
MUST_CHECK status configuration_write(const struct configuration *configuration, const char *folder,
        const struct system_user *user, struct error *err);
