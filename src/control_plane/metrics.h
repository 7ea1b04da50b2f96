/*
 * Metrics: what has been counted since control started, and what can be counted now, in Prometheus' text format 0.0.4 (docs/operations.md lists
 * the names). Labels come from closed sets only: routes as patterns, kinds of operations, states; and the ids of endpoints that
 * are in use (endpoint_traffic.h). No name that a user chose for a role or database is one.
 * Threads: the loop's.
 */
#pragma once

#include "base/base.h"
#include "control_plane/call.h"
#include "control_plane/services.h"
#include "http/router.h"

struct metrics;

struct metrics *metrics_create(void);
struct metrics *metrics_free(struct metrics *metrics); /* NULL is fine; always NULL */

/* All take NULL for metrics (tests). */

/* A call was answered. route NULL: none fits. method may be anything. */
void metrics_note_call(struct metrics *metrics, const struct http_route *route, const char *method,
        int http_status, int64_t took_usec);
void metrics_note_operation(struct metrics *metrics, const char *kind, bool has_failed, int64_t took_usec);
/* A compute has got ready; a start that failed for good. */
void metrics_note_wake(struct metrics *metrics, double start_ms);
void metrics_note_failed_wake(struct metrics *metrics);

/* GET /metrics. */
bool metrics_get(struct call *call);
