/*
 * Connection: which API to talk to, with which token. The first of these that is there decides:
 *   --data DIR                              the API of that data directory
 *   --profile NAME                          a section of ~/.databrickscfg (or DATABRICKS_CONFIG_FILE)
 *   DATABRICKS_HOST and DATABRICKS_TOKEN
 *   DATABRICKS_CONFIG_PROFILE               as --profile
 *   the data directory at its default place, so that everything works right after `tarn up`
 */
#pragma once

#include "base/base.h"
#include "cli/options.h"
#include "data_directory/data_directory.h"

struct connection {
	char *url; /* "http://127.0.0.1:8080", no slash at the end */
	char *token;
	char *root_certificate; /* file to check database servers against; NULL when none is known */
	int pg_port;
};

#define CONNECTION_OPTIONS                                                                                   \
	{ .name = "data" }, { .name = "profile", .letter = 'p' },                                            \
	{                                                                                                    \
		.name = "debug", .is_switch = true                                                           \
	}

MUST_CHECK status connection_find(const struct options *options, struct connection *ret, struct error *err);
void connection_done(struct connection *connection);

/* Where the API of this data directory is for clients on this machine. The caller frees. */
char *local_api_url(const struct settings *settings);
/* The token in admin.token. The caller frees. */
MUST_CHECK status admin_token_read(const struct data_directory *dd, char **ret, struct error *err);
/* The data directory named by --data, or the default one. */
MUST_CHECK status local_data_directory(
        const struct options *options, struct data_directory **ret, struct error *err);
