/*
 * Connection: which API to talk to, and as whom. It is found as the `databricks` CLI finds it, with the data directory of this machine beside:
 *
 *   --data DIR         the API of that data directory, as its administrator; nothing else is looked at
 *   --profile NAME     a section of ~/.databrickscfg (DATABRICKS_CONFIG_FILE); the environment fills what it does not say, but its auth_type
 *   the environment    DATABRICKS_HOST, _TOKEN, _CLIENT_ID, _CLIENT_SECRET, _OIDC_TOKEN_ENV, _OIDC_TOKEN_FILEPATH, _AUTH_TYPE; the profile in
 *                      DATABRICKS_CONFIG_PROFILE, if there is one, fills what is missing
 *   nothing of these   the data directory at its default place, so that all works right after `tarn up`; where there is none, the profile that
 *                      default_profile in [__settings__] names, or [DEFAULT]
 *
 * A token (pat) and a client's id and secret (oauth-m2m) at once are a mistake, unless auth_type says which. Where there is neither, the token of an
 * outside issuer is what one logs in with: in the variable DATABRICKS_OIDC_TOKEN or the one that is named (env-oidc), or in a file (file-oidc).
 */
#pragma once

#include "base/base.h"
#include "cli/ini.h"
#include "cli/options.h"
#include "data_directory/data_directory.h"

struct connection {
	char *url;                       /* "http://127.0.0.1:8080", no slash at the end */
	char *token;                     /* NULL: it is got with the two below (client_login.h) */
	char *client_id, *client_secret; /* NULL: a token is there, or one of an outside issuer is shown */
	char *outside_token_variable,
	        *outside_token_file; /* where that is, looked up when it is needed; NULL: there is none. client_id may go with it */
	char *origin; /* for people: "host and token from DATABRICKS_HOST, DATABRICKS_TOKEN"; no secrets */
	char *root_certificate; /* file to check database servers against; NULL when none is known */
	int pg_port;
};

#define CONNECTION_OPTIONS                                                                                   \
	{ .name = "data",                                                                                    \
		.value = "DIR",                                                                              \
		.summary = "talk to the Tarn of this data directory",                                        \
		.values = OPTION_VALUES_FOLDER },                                                            \
	        { .name = "profile",                                                                         \
		        .letter = 'p',                                                                       \
		        .value = "NAME",                                                                     \
		        .summary = "profile of ~/.databrickscfg to use",                                     \
		        .values = OPTION_VALUES_PROFILE },                                                   \
	{                                                                                                    \
		.name = "debug", .is_switch = true, .summary = "print every HTTP request, without secrets"   \
	}

/* "pat", "oauth-m2m", "env-oidc", "file-oidc". */
const char *connection_auth_type(const struct connection *connection);
MUST_CHECK status connection_find(const struct options *options, struct connection *ret, struct error *err);
void connection_done(struct connection *connection);

/* The file with the profiles, read; STATUS_NOT_FOUND when there is none. *ret_path is to be freed. */
MUST_CHECK status profiles_read(struct ini *ret, char **ret_path, struct error *err);
#define PROFILES_SETTINGS "__settings__" /* the one section that is no profile */

/* Where the API of this data directory is for clients on this machine. The caller frees. */
char *local_api_url(const struct settings *settings);
/*
 * What libpq is told to check the database servers of this data directory with: a file, or "system" where they have a certificate
 * that the system trusts. The caller frees.
 */
char *database_root_certificate(const struct data_directory *dd);
/* The token in admin.token. The caller frees. */
MUST_CHECK status admin_token_read(const struct data_directory *dd, char **ret, struct error *err);
/* The data directory named by --data, or the default one. */
MUST_CHECK status local_data_directory(
        const struct options *options, struct data_directory **ret, struct error *err);
