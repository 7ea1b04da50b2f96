/* Pooler sight: what one look at PgBouncer sees (pooler_console.h). */
#pragma once

#include <stdlib.h>
#include <sys/types.h>

#include "base/base.h"

#define POOLER_USER_NAME_MAX 63 /* bytes of a role's name */

/* Of all pools together. */
struct pooler_counts {
	int64_t clients;                      /* that are logged in; those that wait are among them */
	int64_t waiting;                      /* for a connection to Postgres */
	int64_t longest_wait_usec;            /* of one that still waits */
	int64_t servers_active, servers_idle; /* connections to Postgres */
	int64_t transactions, queries, wait_usec, received_bytes, sent_bytes; /* since it was started */
};

/* A connection to Postgres. */
struct pooler_server {
	pid_t pid; /* of the backend */
	char user[POOLER_USER_NAME_MAX + 1];
};

struct pooler_sight {
	struct pooler_counts counts;
	struct pooler_server *servers;
	size_t server_count;
};

static inline void pooler_sight_done(struct pooler_sight *sight) /* for CLEANUP */
{
	free(sight->servers);
	*sight = (struct pooler_sight){ 0 };
}
