/* Psql target: which endpoint `tarn psql` shall connect to, and how it is found when the user names only a part of it. */
#pragma once

#include "cli/options.h"
#include "cli/rest.h"

struct psql_target {
	char *project, *branch, *endpoint; /* ids; NULL: to be found out */
	char *instance; /* a name of the older API; NULL: a project is meant, or an instance to be found out */
	bool is_instance;
};

/* From a target path and flags, which must agree. STATUS_INVALID for a mistake in usage. */
MUST_CHECK status psql_target_parse(
        const struct options *options, struct psql_target *ret, struct error *err);
void psql_target_done(struct psql_target *target);

/* *ret is the endpoint's resource, or the instance's. Asks on the terminal where there is a choice. */
MUST_CHECK status psql_target_resolve(
        const struct psql_target *target, struct rest *rest, yyjson_doc **ret, struct error *err);
