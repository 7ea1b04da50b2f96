/*
 * Traffic report: tells control what has been counted, for its /metrics (docs/architecture.md, "control.sock"). Every TRAFFIC_REPORT_MS, when
 * something has changed; as totals, so that a report may get lost or come twice; all of it again to a control that knows nothing yet.
 *
 * Invariants
 *   P1  one report is on its way at a time; what changes meanwhile is in the next one.
 *   P2  an entry is forgotten only after control has answered for it (traffic.h, T1).
 * Threads: the loop's.
 */
#pragma once

#include <uv.h>

#include "base/base.h"
#include "proxy/control_link.h"
#include "proxy/traffic.h"

#define TRAFFIC_REPORT_MS        5000u
#define TRAFFIC_REPORT_ENDPOINTS 200u /* a report is one line; more follow at once */

/* The process as it is, for people who watch it. */
struct proxy_gauges {
	uint64_t sessions;        /* connections of clients, in whatever state */
	uint64_t logging_in;      /* of those: not let in yet */
	uint64_t connections_max; /* how many may be let in */
	uint64_t buffer_bytes;    /* for what is in flight */
};

struct traffic_report;
/* Before a report: takes over what the relays have counted, and says how things are. */
typedef void (*traffic_look_fn)(void *owner, struct proxy_gauges *ret);

/* Borrows all. */
struct traffic_report *traffic_report_open(uv_loop_t *loop, struct traffic *traffic,
        struct control_link *control, traffic_look_fn look, void *owner);
void traffic_report_close(struct traffic_report *report); /* frees itself from the loop; NULL is fine */
