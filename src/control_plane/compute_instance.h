/*
 * Compute instance: the REST calls on the computes behind an endpoint (rest-api.md 3.11). Without groups each endpoint has exactly one, whose id is
 * made of the endpoint's uid: "ci-calm-lake-1a2b3c4d" of "ep-calm-lake-1a2b3c4d".
 */
#pragma once

#include "control_plane/call.h"

bool compute_instance_list(struct call *call);
bool compute_instance_get(struct call *call);
