/* Credential: POST /credentials mints a database token, the Postgres password of the caller (rest-api.md 3.14). */
#pragma once

#include "control_plane/call.h"

bool credential_create(struct call *call);
