#include "proxy/cancel_table.h"

#include <assert.h>
#include <stdlib.h>

#define BUCKETS_MIN 64u

struct cancel_entry {
	struct cancel_entry *next;
	struct cancel_key key;
	struct cancel_target target;
	char socket_path[];
};

struct cancel_table {
	struct cancel_entry **buckets;
	size_t bucket_count, count; /* a power of two; count <= bucket_count but while growing */
};

static size_t bucket_of(const struct cancel_table *table, struct cancel_key key)
{
	/* Secrets are random already; the multiplication spreads the pids of a server that hands out bad ones. */
	uint64_t mixed = (((uint64_t)key.pid << 32) ^ key.secret) * 0x9e3779b97f4a7c15ull;
	return (size_t)(mixed >> 32) & (table->bucket_count - 1);
}

static bool keys_equal(struct cancel_key a, struct cancel_key b)
{
	return a.pid == b.pid && a.secret == b.secret;
}

struct cancel_table *cancel_table_create(void)
{
	struct cancel_table *table = xcalloc(1, sizeof *table);
	table->bucket_count = BUCKETS_MIN;
	table->buckets = xcalloc(BUCKETS_MIN, sizeof(struct cancel_entry *));
	return table;
}

struct cancel_table *cancel_table_free(struct cancel_table *table)
{
	if (!table)
		return NULL;
	assert(table->count == 0);
	free(table->buckets);
	free(table);
	return NULL;
}

static void table_link(struct cancel_table *table, struct cancel_entry *entry)
{
	struct cancel_entry **bucket = &table->buckets[bucket_of(table, entry->key)];
	entry->next = *bucket;
	*bucket = entry;
}

static void table_grow(struct cancel_table *table)
{
	struct cancel_entry **old = table->buckets;
	size_t old_count = table->bucket_count;
	table->bucket_count *= 2;
	table->buckets = xcalloc(table->bucket_count, sizeof(struct cancel_entry *));
	for (size_t i = 0; i < old_count; i++) {
		while (old[i]) {
			struct cancel_entry *entry = old[i];
			old[i] = entry->next;
			table_link(table, entry);
		}
	}
	free(old);
}

struct cancel_entry *cancel_table_add(
        struct cancel_table *table, struct cancel_key key, const char *uid, const char *socket_path)
{
	if (table->count == table->bucket_count)
		table_grow(table);
	size_t path_size = strlen(socket_path) + 1;
	struct cancel_entry *entry = xcalloc(1, sizeof *entry + path_size);
	entry->key = key;
	memcpy(entry->socket_path, socket_path, path_size);
	entry->target = (struct cancel_target){ .uid = uid, .socket_path = entry->socket_path };
	table_link(table, entry);
	table->count++;
	return entry;
}

void cancel_table_remove(struct cancel_table *table, struct cancel_entry **entry)
{
	struct cancel_entry *removed = TAKE_PTR(*entry);
	if (!removed)
		return;
	struct cancel_entry **at = &table->buckets[bucket_of(table, removed->key)];
	while (*at != removed) {
		assert(*at);
		at = &(*at)->next;
	}
	*at = removed->next;
	table->count--;
	free(removed);
}

const struct cancel_target *cancel_table_find(const struct cancel_table *table, struct cancel_key key)
{
	const struct cancel_target *found = NULL;
	for (struct cancel_entry *e = table->buckets[bucket_of(table, key)]; e; e = e->next) {
		if (!keys_equal(e->key, key))
			continue;
		if (found)
			return NULL; /* T2 */
		found = &e->target;
	}
	return found;
}

size_t cancel_table_count(const struct cancel_table *table)
{
	return table->count;
}
