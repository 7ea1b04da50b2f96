/*
 * Psql reach: whether anybody listens where psql is about to connect, waited for a little while: a proxy that is being restarted is back within
 * seconds. Once the connection stands nothing is tried again, so no statement runs twice.
 */
#pragma once

#include "base/base.h"

/* At most `attempts` times (1 or more), with pauses of 1, 2, 4 … 10 s; says on stderr that it tries again. */
MUST_CHECK status psql_reach(const char *host, int port, int64_t attempts, struct error *err);
