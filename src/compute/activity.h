/*
 * Activity: is somebody using the compute, and if not, since when? One look is one small query on one connection that is kept
 * open; the decision is a pure function of what was seen.
 *
 * What counts as use: a query or an open transaction of any client, also one that waits for its client ("idle in
 * transaction"), and so a running copy for a branch; a replication connection; a worker of a subscription; a vacuum. Clients
 * that only stay connected do not count.
 */
#pragma once

#include "base/base.h"

/* What one look saw. */
struct activity_sight {
	bool is_busy;
	int64_t last_change_usec; /* wall clock: newest start or end of anything of a client that is here; 0: none is */
	int64_t sessions_begun; /* ever, those of the looks not counted; grows also when one left again */
	int64_t clients;        /* connected now, ours not counted */
	bool has_subscriptions; /* that are enabled */
	int64_t pooled_ended;   /* ever, idle connections of the pooler that it has closed (pooler.h, P4) */
	int64_t pooled_queries; /* ever, that went through it */
};

/* What is remembered between looks. */
struct activity {
	int64_t last_active_usec; /* wall clock */
	int64_t sessions_begun, clients;
	int64_t pooled_ended, pooled_queries;
	int64_t pooled_credit; /* of those that ended, how many have not been missed among the clients yet */
	bool has_looked;
};

enum activity_verdict { ACTIVITY_STAY, ACTIVITY_SUSPEND };

/* The compute became ready now. */
void activity_begin(struct activity *activity, int64_t now_usec);

/*
 * Takes a sight in, tells whether to suspend now. timeout_usec 0: never. A client that left since the last look
 * counts as active now, because what it did last cannot be seen any more; but not a connection of the pooler that was
 * idle, if nothing went through the pooler since. A clock that was set back delays a suspension, at most by one timeout.
 */
enum activity_verdict activity_judge(struct activity *activity, const struct activity_sight *sight,
        int64_t timeout_usec, int64_t now_usec);

/* How long to wait before the next look: often enough to be about right, and never for nothing. */
int64_t activity_next_look_usec(const struct activity *activity, int64_t timeout_usec, int64_t now_usec);

/* Is a client connected now, whatever it does? Blocks. */
MUST_CHECK status activity_has_clients(const char *socket_folder, bool *ret, struct error *err);

struct activity_monitor;
struct activity_monitor *activity_monitor_create(const char *socket_folder);
struct activity_monitor *activity_monitor_free(struct activity_monitor *monitor);
/* Blocks; connects first when it has no connection. After a failure the next look connects anew. */
MUST_CHECK status activity_look(
        struct activity_monitor *monitor, struct activity_sight *ret, struct error *err);
