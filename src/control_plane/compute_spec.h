/* Compute spec: computes/UID/spec.json, what a compute shall be (docs/architecture.md). */
#pragma once

#include "base/base.h"
#include "control_plane/services.h"

/*
 * Writes it durably, unless it says the same already (an ordinary wake must not wait for a disk). Refuses for an endpoint
 * that is gone (STATUS_NOT_FOUND) or disabled (STATUS_DENIED), unless a branch is being made of it.
 */
MUST_CHECK status compute_spec_write(const struct services *services, const char *uid, struct error *err);
