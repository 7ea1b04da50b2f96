/*
 * Endpoint traffic: what proxies have counted of connections to Postgres (docs/architecture.md, "control.sock", report), added up for /metrics
 * and `tarn status`.
 *
 * Invariants
 *   N1  a counter never gets smaller while control runs: what is told is a total of one life; when another life of the same endpoint begins (the
 *       proxy was restarted, or had forgotten it), it is added to what was before.
 *   N2  at most `max` endpoints have numbers of their own: the one without connections that was told of longest ago makes room. What all
 *       have together is in the total, which nothing is taken from.
 *   N3  a report is input like any other: one that is malformed changes nothing.
 *   N4  when a proxy's connection ends, the connections that it told of are no more.
 * Threads: the loop's.
 */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "base/buffer.h"
#include "metadata/metadata.h"

struct endpoint_traffic;

struct endpoint_traffic *endpoint_traffic_create(size_t max);
struct endpoint_traffic *endpoint_traffic_free(
        struct endpoint_traffic *traffic); /* NULL is fine; always NULL */

/* reporter: the connection that it came over. False: malformed. */
bool endpoint_traffic_take(struct endpoint_traffic *traffic, uint64_t reporter, yyjson_val *report);
/* The connection has ended. */
void endpoint_traffic_end(struct endpoint_traffic *traffic, uint64_t reporter);

/* Connections that endpoint has now, those that wait for its start included. */
uint64_t endpoint_traffic_connections(const struct endpoint_traffic *traffic, const char *uid);
/* Appends the metrics. Endpoints that are gone from the metadata are forgotten. */
void endpoint_traffic_write(struct endpoint_traffic *traffic, struct metadata *md, struct buffer *out);
