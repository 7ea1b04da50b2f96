/* Federation policy fields: what a policy may say, how a request says it, and how it looks in answers. */
#pragma once

#include <yyjson.h>

#include "control_plane/api_error.h"
#include "metadata/federation_policy_row.h"

/* What the request wants to call it; NULL or "": an id is made up. */
bool federation_policy_take_id(const char *id, struct federation_policy_row *policy, struct api_error *error);

/*
 * Takes what the body (NULL: empty) says over into the policy, and checks the whole of it. `mask` NULL: a new policy, of which the body says everything;
 * "": a PATCH without update_mask, which changes what the body has; else its update_mask. After a failure the policy is no good.
 */
bool federation_policy_apply(
        yyjson_val *body, const char *mask, struct federation_policy_row *policy, struct api_error *error);

/* `name` is the policy's (federation_policy_name). */
yyjson_mut_val *federation_policy_to_json(
        yyjson_mut_doc *doc, const char *name, const struct federation_policy_row *policy);
