/*
 * Who may read /metrics: whoever is on this machine, unless settings.metrics_access is "token" or somebody in between says that he speaks for
 * another; with a token, the one in DIR/metrics.token, which can do nothing else, or any administrator's.
 * Threads: the loop's.
 */
#pragma once

#include "control_plane/call.h"

/* At start: makes DIR/metrics.token unless it is there. */
MUST_CHECK status metrics_access_prepare(const struct data_directory *dd, struct error *err);
/* False after having filled call->error. */
bool metrics_access_check(struct call *call);
