/* Instance credential: a database token for one or several instances of the older API. */
#pragma once

#include "control_plane/call.h"

bool instance_credential_create(struct call *call);
