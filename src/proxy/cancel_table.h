/*
 * Cancel table: which compute a CancelRequest means. A running session is named by the (pid, secret) that its server
 * handed out; the client got exactly these.
 *
 * Invariants
 *   T1  an entry lives as long as its session: from the greeting until the session ends.
 *   T2  a key that two sessions share (on computes of different machines, by chance) names neither: a cancel request
 *       reaches the query it means or nobody's.
 * Threads: the loop's. With several loops there will be one table for all of them, behind a lock: a cancel request
 * comes on a connection of its own and so perhaps on another loop.
 */
#pragma once

#include "base/base.h"
#include "pgwire/message.h"

struct cancel_table;
struct cancel_entry;

struct cancel_table *cancel_table_create(void);
struct cancel_table *cancel_table_free(
        struct cancel_table *table); /* every entry must be gone; NULL is fine */

/* Borrows uid for as long as the entry lives; socket_path is copied. */
struct cancel_entry *cancel_table_add(
        struct cancel_table *table, struct cancel_key key, const char *uid, const char *socket_path);
void cancel_table_remove(
        struct cancel_table *table, struct cancel_entry **entry); /* leaves NULL; NULL is fine */

/* The endpoint that the key names, and the socket of its compute, or NULL. Valid until the entry is removed. */
struct cancel_target {
	const char *uid, *socket_path;
};
const struct cancel_target *cancel_table_find(const struct cancel_table *table, struct cancel_key key);
size_t cancel_table_count(const struct cancel_table *table);
