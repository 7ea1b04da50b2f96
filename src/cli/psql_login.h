/* Psql login: where `tarn psql` connects to, as whom, and with which password (rest-api.md section 7). */
#pragma once

#include "cli/psql_target.h"

struct psql_login {
	char *host, *user, *token;
};

MUST_CHECK status psql_login_get(
        struct rest *rest, const struct psql_target *target, struct psql_login *ret, struct error *err);
void psql_login_done(struct psql_login *login);
