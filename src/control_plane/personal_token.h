/*
 * Personal tokens: bearer tokens that people and service principals make for themselves (/api/2.0/token), what administrators see and revoke of all
 * of them (/api/2.0/token-management), and one-time sign-in codes for users. The token itself is in the answer of its creation and nowhere
 * else.
 */
#pragma once

#include "control_plane/call.h"

bool personal_token_create(struct call *call);
bool personal_token_list(struct call *call);
bool personal_token_delete(struct call *call);

/* For administrators. */
bool token_management_list(struct call *call); /* ?created_by_username= */
bool token_management_get(struct call *call);
bool token_management_delete(struct call *call);
bool token_management_create(struct call *call); /* on behalf of a service principal */

/* POST /api/2.0/preview/scim/v2/Users/{id}/sign-in-code: a code for the sign-in page; an older one stops working. */
bool sign_in_code_create(struct call *call);
