/* SCIM JSON: how users, service principals and groups look (RFC 7643), in GET, in lists and as Me. */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "metadata/identity_row.h"

/* With its groups, or its members. NULL: *err is filled. */
yyjson_mut_val *scim_to_json(
        struct metadata *md, yyjson_mut_doc *doc, const struct identity_row *row, struct error *err);
/* As Me is answered: a service principal looks like a user then. */
yyjson_mut_val *scim_me_to_json(
        struct metadata *md, yyjson_mut_doc *doc, const struct identity_row *row, struct error *err);

/* "Users", "ServicePrincipals", "Groups". */
const char *scim_collection(enum identity_kind kind);
