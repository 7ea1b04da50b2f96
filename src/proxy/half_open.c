#include "proxy/half_open.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text_map.h"

TAILQ_HEAD(half_open_seats, half_open_seat);

struct half_open_group {
	struct text_link link;
	struct half_open_seats seats; /* the oldest first */
	size_t count;
	char key[HALF_OPEN_KEY_MAX + 1];
};

struct half_open {
	size_t max, group_max;
	size_t count;
	struct half_open_seats seats; /* the oldest first */
	struct text_map sources, destinations;
};

struct half_open *half_open_create(size_t max)
{
	struct half_open *table = xcalloc(1, sizeof *table);
	table->max = max;
	table->group_max = max - max / 4;
	TAILQ_INIT(&table->seats);
	return table;
}

struct half_open *half_open_free(struct half_open *table)
{
	if (!table)
		return NULL;
	assert(table->count == 0);
	text_map_done(&table->sources);
	text_map_done(&table->destinations);
	free(table);
	return NULL;
}

size_t half_open_count(const struct half_open *table)
{
	return table->count;
}

static struct half_open_group *group_find(const struct text_map *map, const char *text)
{
	char key[HALF_OPEN_KEY_MAX + 1];
	(void)snprintf(key, sizeof key, "%s", text);
	struct text_link *link = text_map_find(map, key);
	return link ? TEXT_MAP_THING(link, struct half_open_group, link) : NULL;
}

static struct half_open_group *group_make(struct text_map *map, const char *text)
{
	struct half_open_group *group = group_find(map, text);
	if (!group) {
		group = xcalloc(1, sizeof *group);
		TAILQ_INIT(&group->seats);
		(void)snprintf(group->key, sizeof group->key, "%s", text);
		text_map_add(map, &group->link, group->key);
	}
	group->count++;
	return group;
}

static void group_drop(struct text_map *map, struct half_open_group *group)
{
	if (--group->count > 0)
		return;
	text_map_remove(map, &group->link);
	free(group);
}

static enum half_open_room who_goes(
        struct half_open_seat *oldest, uint64_t now_ms, struct half_open_seat **ret_oldest)
{
	if (now_ms - oldest->since_ms < HALF_OPEN_GRACE_MS)
		return HALF_OPEN_FULL; /* H2 */
	*ret_oldest = oldest;
	return HALF_OPEN_DROP;
}

enum half_open_room half_open_ask(const struct half_open *table, const char *source, const char *destination,
        uint64_t now_ms, struct half_open_seat **ret_oldest)
{
	const struct half_open_group *from = *source ? group_find(&table->sources, source) : NULL;
	const struct half_open_group *to = group_find(&table->destinations, destination);
	if (to && to->count >= table->group_max)
		return who_goes(TAILQ_FIRST(&to->seats), now_ms, ret_oldest);
	if (from && from->count >= table->group_max)
		return who_goes(TAILQ_FIRST(&from->seats), now_ms, ret_oldest);
	if (table->count >= table->max)
		return who_goes(TAILQ_FIRST(&table->seats), now_ms, ret_oldest);
	return HALF_OPEN_ROOM;
}

void half_open_enter(struct half_open *table, struct half_open_seat *seat, const char *source,
        const char *destination, uint64_t now_ms)
{
	assert(!seat->table && table->count < table->max);
	*seat = (struct half_open_seat){ .table = table, .since_ms = now_ms };
	TAILQ_INSERT_TAIL(&table->seats, seat, of_all);
	table->count++;
	if (*source) {
		seat->source = group_make(&table->sources, source);
		TAILQ_INSERT_TAIL(&seat->source->seats, seat, of_source);
	}
	seat->destination = group_make(&table->destinations, destination);
	TAILQ_INSERT_TAIL(&seat->destination->seats, seat, of_destination);
}

enum half_open_room half_open_ask_move(const struct half_open_seat *seat, const char *destination,
        uint64_t now_ms, struct half_open_seat **ret_oldest)
{
	const struct half_open *table = seat->table;
	const struct half_open_group *to = group_find(&table->destinations, destination);
	return to && to != seat->destination && to->count >= table->group_max
	               ? who_goes(TAILQ_FIRST(&to->seats), now_ms, ret_oldest)
	               : HALF_OPEN_ROOM;
}

/* Among those that are there already it is the youngest; by its time, though, it goes when it is old. */
void half_open_move(struct half_open_seat *seat, const char *destination)
{
	struct text_map *map = &seat->table->destinations;
	TAILQ_REMOVE(&seat->destination->seats, seat, of_destination);
	group_drop(map, seat->destination);
	seat->destination = group_make(map, destination);
	TAILQ_INSERT_TAIL(&seat->destination->seats, seat, of_destination);
}

void half_open_leave(struct half_open_seat *seat)
{
	struct half_open *table = seat->table;
	if (!table)
		return;
	TAILQ_REMOVE(&table->seats, seat, of_all);
	table->count--;
	if (seat->source) {
		TAILQ_REMOVE(&seat->source->seats, seat, of_source);
		group_drop(&table->sources, seat->source);
	}
	TAILQ_REMOVE(&seat->destination->seats, seat, of_destination);
	group_drop(&table->destinations, seat->destination);
	*seat = (struct half_open_seat){ 0 };
}
