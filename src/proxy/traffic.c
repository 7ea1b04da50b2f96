#include "proxy/traffic.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"

/* Numbers in JSON are exact up to 2^53. */
#define LIFE_BITS 52

TAILQ_HEAD(traffic_queue, traffic_entry);

struct traffic {
	struct text_map map;
	struct traffic_queue changed, on_their_way;
	size_t unheld; /* entries that nobody holds: they wait to be told of */
	struct traffic_numbers total;
	bool total_has_changed;
	uint64_t life, next_life;
};

struct traffic *traffic_create(void)
{
	struct traffic *traffic = xcalloc(1, sizeof *traffic);
	TAILQ_INIT(&traffic->changed);
	TAILQ_INIT(&traffic->on_their_way);
	traffic->life = random_u64() >> (64 - LIFE_BITS);
	traffic->next_life = traffic->life + 1;
	traffic->total_has_changed = true; /* control is told that there is a proxy */
	return traffic;
}

static void entry_set_state(struct traffic_entry *entry, enum traffic_state state)
{
	struct traffic *traffic = entry->traffic;
	if (entry->state == TRAFFIC_CHANGED)
		TAILQ_REMOVE(&traffic->changed, entry, queue);
	else if (entry->state == TRAFFIC_ON_ITS_WAY)
		TAILQ_REMOVE(&traffic->on_their_way, entry, queue);
	entry->state = state;
	if (state == TRAFFIC_CHANGED)
		TAILQ_INSERT_TAIL(&traffic->changed, entry, queue);
	else if (state == TRAFFIC_ON_ITS_WAY)
		TAILQ_INSERT_TAIL(&traffic->on_their_way, entry, queue);
}

static void entry_free(struct traffic_entry *entry)
{
	struct traffic *traffic = entry->traffic;
	assert(entry->holders == 0);
	entry_set_state(entry, TRAFFIC_TOLD);
	text_map_remove(&traffic->map, &entry->link);
	traffic->unheld--;
	free(entry);
}

struct traffic *traffic_free(struct traffic *traffic)
{
	if (!traffic)
		return NULL;
	traffic_note_lost(traffic);
	while (!TAILQ_EMPTY(&traffic->changed))
		entry_free(TAILQ_FIRST(&traffic->changed));
	text_map_done(&traffic->map);
	free(traffic);
	return NULL;
}

const struct traffic_numbers *traffic_total(const struct traffic *traffic)
{
	return &traffic->total;
}

uint64_t traffic_life(const struct traffic *traffic)
{
	return traffic->life;
}

size_t traffic_entries(const struct traffic *traffic)
{
	return traffic->map.count;
}

static struct traffic_entry *entry_of(struct traffic *traffic, const char *uid)
{
	struct text_link *link = text_map_find(&traffic->map, uid);
	return link ? TEXT_MAP_THING(link, struct traffic_entry, link) : NULL;
}

struct traffic_entry *traffic_take(struct traffic *traffic, const char *uid)
{
	struct traffic_entry *entry = entry_of(traffic, uid);
	if (!entry) {
		entry = xcalloc(1, sizeof *entry);
		entry->traffic = traffic;
		entry->life = traffic->next_life++;
		(void)snprintf(entry->uid, sizeof entry->uid, "%s", uid);
		text_map_add(&traffic->map, &entry->link, entry->uid);
		traffic->unheld++;
	}
	if (entry->holders++ == 0)
		traffic->unheld--;
	return entry;
}

static void free_if_unused(struct traffic_entry *entry)
{
	if (entry->holders == 0 && entry->state == TRAFFIC_TOLD)
		entry_free(entry);
}

void traffic_give(struct traffic_entry **held)
{
	struct traffic_entry *entry = TAKE_PTR(*held), *oldest;
	if (!entry)
		return;
	struct traffic *traffic = entry->traffic;
	assert(entry->holders > 0);
	if (--entry->holders > 0)
		return;
	assert(entry->numbers.open == 0 && entry->numbers.waiting == 0);
	traffic->unheld++;
	free_if_unused(entry);
	if (traffic->unheld <= TRAFFIC_UNTOLD_MAX)
		return;
	/* The one that changed longest ago, of those that nobody holds: T1. */
	TAILQ_FOREACH (oldest, &traffic->changed, queue)
		if (oldest->holders == 0)
			break;
	if (oldest)
		entry_free(oldest);
}

/* --- counting --- */

static void note_change(struct traffic *traffic, struct traffic_entry *entry)
{
	traffic->total_has_changed = true;
	if (entry && entry->state != TRAFFIC_CHANGED)
		entry_set_state(entry, TRAFFIC_CHANGED);
}

void traffic_note_waiting(struct traffic_entry *entry)
{
	entry->numbers.waiting++;
	entry->traffic->total.waiting++;
	note_change(entry->traffic, entry);
}

static void add_open(struct traffic_numbers *numbers, uint64_t took_ms, bool was_wake)
{
	assert(numbers->waiting > 0);
	numbers->waiting--;
	numbers->open++;
	numbers->opened++;
	*(was_wake ? &numbers->wakes : &numbers->logins) += 1;
	*(was_wake ? &numbers->wake_ms : &numbers->login_ms) += took_ms;
}

void traffic_note_open(struct traffic_entry *entry, uint64_t took_ms, bool was_wake)
{
	add_open(&entry->numbers, took_ms, was_wake);
	add_open(&entry->traffic->total, took_ms, was_wake);
	note_change(entry->traffic, entry);
}

static void take_gone(struct traffic_numbers *numbers, bool was_open)
{
	uint64_t *gauge = was_open ? &numbers->open : &numbers->waiting;
	assert(*gauge > 0);
	--*gauge;
}

void traffic_note_gone(struct traffic_entry *entry, bool was_open)
{
	take_gone(&entry->numbers, was_open);
	take_gone(&entry->traffic->total, was_open);
	note_change(entry->traffic, entry);
}

void traffic_note_bytes(struct traffic_entry *entry, uint64_t received, uint64_t sent)
{
	if (received == 0 && sent == 0)
		return;
	entry->numbers.received += received;
	entry->numbers.sent += sent;
	entry->traffic->total.received += received;
	entry->traffic->total.sent += sent;
	note_change(entry->traffic, entry);
}

void traffic_note_refusal(struct traffic *traffic, struct traffic_entry *entry, enum refusal_reason reason)
{
	traffic->total.refused[reason]++;
	if (entry)
		entry->numbers.refused[reason]++;
	note_change(traffic, entry);
}

void traffic_note_cancel(struct traffic *traffic, const char *uid)
{
	struct traffic_entry *entry = uid ? entry_of(traffic, uid) : NULL;
	*(uid ? &traffic->total.cancels : &traffic->total.unmatched_cancels) += 1;
	if (entry)
		entry->numbers.cancels++;
	note_change(traffic, entry);
}

/* --- telling --- */

struct traffic_entry *traffic_next(struct traffic *traffic)
{
	struct traffic_entry *entry = TAILQ_FIRST(&traffic->changed);
	traffic->total_has_changed = false; /* each report has the total */
	if (entry)
		entry_set_state(entry, TRAFFIC_ON_ITS_WAY);
	return entry;
}

/* One that has changed since it was written down is not among them any more. */
void traffic_note_told(struct traffic *traffic)
{
	while (!TAILQ_EMPTY(&traffic->on_their_way)) {
		struct traffic_entry *entry = TAILQ_FIRST(&traffic->on_their_way);
		entry_set_state(entry, TRAFFIC_TOLD);
		free_if_unused(entry);
	}
}

void traffic_note_lost(struct traffic *traffic)
{
	while (!TAILQ_EMPTY(&traffic->on_their_way))
		entry_set_state(TAILQ_FIRST(&traffic->on_their_way), TRAFFIC_CHANGED);
	traffic->total_has_changed = true;
}

void traffic_forget_told(struct traffic *traffic)
{
	traffic_note_lost(traffic);
	for (size_t i = 0; i < traffic->map.chain_count; i++) {
		for (struct text_link *link = traffic->map.chains[i]; link; link = link->next) {
			struct traffic_entry *entry = TEXT_MAP_THING(link, struct traffic_entry, link);
			if (entry->state == TRAFFIC_TOLD)
				entry_set_state(entry, TRAFFIC_CHANGED);
		}
	}
}

bool traffic_has_changed(const struct traffic *traffic)
{
	return traffic->total_has_changed || !TAILQ_EMPTY(&traffic->changed);
}
