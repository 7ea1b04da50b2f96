/* Identity: who calls, by bearer token, and GET /api/2.0/preview/scim/v2/Me (rest-api.md 6.3). */
#pragma once

#include "control_plane/call.h"
#include "control_plane/identity_name.h"

/* Fills call->caller from the Authorization header. */
bool identity_authenticate(struct call *call);
bool identity_me(struct call *call);

/* At start: the administrator of settings.admin_login has the token in DIR/admin.token. */
MUST_CHECK status identity_take_over_admin(
        struct metadata *md, const struct data_directory *dd, int64_t now_usec, struct error *err);
