/*
 * Pooler configuration: the two files that PgBouncer reads, pooler.ini and pooler_users. They are in computes/UID, where PgBouncer can read but not
 * write them. There is no password and no hash in them: who is let in is the proxy's affair, which alone can enter the folder of
 * PgBouncer's socket; the users are names, those that were found to be roles.
 *
 * Sizes. Postgres' max_connections, less what it keeps for superusers (us), less a tenth, but at least POOLER_ROOM_MIN, for connections that go
 * past the pooler: so many a database's pools may have together, and any one of them alone, since an idle connection of another role
 * makes room (PgBouncer "evicts" it).
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"

#define POOLER_IDLE_SEC     60 /* then a connection to Postgres that nobody uses is closed */
#define POOLER_ROOM_MIN     5
#define POOLER_SUPERUSER    3   /* superuser_reserved_connections, which nobody can change */
#define POOLER_PREPARED_MAX 200 /* per connection to Postgres; the least recently used one goes */
/* Descriptors that PgBouncer needs besides clients and servers: its log, its sockets, libevent, the administrator. */
#define POOLER_DESCRIPTORS_OWN 40

struct pooler_configuration {
	const char *postgres_socket_folder, *socket_folder; /* absolute; the latter is PgBouncer's own */
	const char *users_path;
	int postgres_major;
	int connections; /* pooler_connections() */
	int64_t clients, wait_sec;
};

int pooler_connections(int max_connections); /* at least 1 */

/* STATUS_INVALID when a path cannot be written into it. */
MUST_CHECK status pooler_configuration_format(
        const struct pooler_configuration *configuration, struct buffer *out, struct error *err);
/* Any bytes but NUL, up to 63 of them each. */
void pooler_configuration_format_users(const char *const *names, size_t count, struct buffer *out);
