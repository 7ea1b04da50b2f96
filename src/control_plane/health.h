/*
 * Health: GET /healthz (the process lives and its loop turns) and GET /readyz (it can do what it is for), for service managers and load
 * balancers, without a token. What is told names no resource and no path.
 * Threads: the loop's.
 */
#pragma once

#include "control_plane/call.h"

struct health;

struct health *health_create(void);
struct health *health_free(struct health *health); /* NULL is fine; always NULL */

bool health_live(struct call *call);
bool health_ready(
        struct call *call); /* 200, or 503 with the same body when something that is needed is missing */
