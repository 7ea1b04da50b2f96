/* Up settings: the flags of `tarn up` that change settings of the data directory. */
#pragma once

#include "base/base.h"
#include "cli/options.h"
#include "data_directory/data_directory.h"

#define UP_SETTINGS_OPTIONS                                                                                  \
	{ .name = "api", .summary = "where the REST API listens: ADDR:PORT" },                               \
	        { .name = "pg-port", .summary = "port of Postgres" },                                        \
	        { .name = "pg-address", .summary = "with a domain: addresses where Postgres listens" },      \
	        { .name = "domain", .summary = "endpoints are hosts below this name" },                      \
	        { .name = "tls-certificate",                                                                 \
		        .summary = "file of a certificate for hosts below the domain" },                     \
	        { .name = "tls-key", .summary = "file of its key" },                                         \
	        { .name = "tls-root", .summary = "file that clients verify it with" },                       \
	        { .name = "postgres-user", .summary = "system user that Postgres runs as" },                 \
	{                                                                                                    \
		.name = "set", .summary = "a limit: NAME=VALUE"                                              \
	}

/* Fills only what was given; STATUS_INVALID for a mistake in usage. Release with up_settings_done(). */
MUST_CHECK status up_settings_parse(
        const struct options *options, struct settings *changes, struct error *err);
void up_settings_done(struct settings *changes);
