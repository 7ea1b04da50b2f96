/*
 * Traffic: what is counted of the connections of each endpoint, and of all together, until control has been told (traffic_report.h).
 *
 * Invariants
 *   T1  an entry lives while a session holds it, and then until control has been told of all that it counted. Of those that only wait for that
 *       there are at most TRAFFIC_UNTOLD_MAX: when control is away, the oldest go first. The total has what they counted.
 *   T2  a number that is counted never gets smaller in the life of its entry. Another life of the same endpoint has another `life`, also
 *       across restarts of the proxy, and begins at 0.
 *   T3  only uids that control has confirmed have an entry: nobody makes entries by asking for names.
 *   T4  nothing here is touched per query. Bytes are taken over from the relays when a report is made, and when a session ends.
 * Threads: the loop's.
 */
#pragma once

#include <sys/queue.h>

#include "base/base.h"
#include "base/text_map.h"
#include "proxy/control_link.h"
#include "proxy/refusal.h"

#define TRAFFIC_UNTOLD_MAX 10000u

struct traffic_numbers {
	uint64_t waiting, open; /* now: let in and waiting for the compute; with the compute */
	/* Counted: */
	uint64_t opened;            /* connections that came to the compute */
	uint64_t received, sent;    /* bytes, from and to clients, without TLS */
	uint64_t logins, login_ms;  /* from accept to the greeting, of those that found the compute running */
	uint64_t wakes, wake_ms;    /* and of those that had to wait for its start */
	uint64_t cancels;           /* cancel requests that were delivered */
	uint64_t unmatched_cancels; /* whose key is nobody's; of the total only */
	uint64_t refused[REFUSAL_REASONS];
};

struct traffic;

enum traffic_state {
	TRAFFIC_TOLD, /* control knows all of it */
	TRAFFIC_CHANGED,
	TRAFFIC_ON_ITS_WAY, /* written into a report that control has not answered */
};

struct traffic_entry {
	struct text_link link;
	TAILQ_ENTRY(traffic_entry)
	queue; /* of those that control is to be told of, or that wait for its answer */
	struct traffic *traffic;
	char uid[ENDPOINT_UID_MAX + 1];
	uint64_t life;
	size_t holders; /* sessions */
	enum traffic_state state;
	struct traffic_numbers numbers;
};

struct traffic *traffic_create(void);
struct traffic *traffic_free(struct traffic *traffic); /* all entries have been given back; NULL is fine */
const struct traffic_numbers *traffic_total(const struct traffic *traffic);
uint64_t traffic_life(const struct traffic *traffic); /* of the total */
size_t traffic_entries(const struct traffic *traffic);

/* The endpoint's entry, held for a session. */
struct traffic_entry *traffic_take(struct traffic *traffic, const char *uid);
void traffic_give(struct traffic_entry **entry); /* leaves NULL; NULL is fine */

/* A session is let in, comes to the compute, and is gone: traffic_note_gone() takes back what the other two have begun. */
void traffic_note_waiting(struct traffic_entry *entry);
void traffic_note_open(struct traffic_entry *entry, uint64_t took_ms, bool was_wake);
void traffic_note_gone(struct traffic_entry *entry, bool was_open);
void traffic_note_bytes(struct traffic_entry *entry, uint64_t received, uint64_t sent);
/* entry NULL: before the endpoint was known. */
void traffic_note_refusal(struct traffic *traffic, struct traffic_entry *entry, enum refusal_reason reason);
/* uid NULL: the key is nobody's. */
void traffic_note_cancel(struct traffic *traffic, const char *uid);

/*
 * For the report. traffic_next() gives the first one that has changed and counts it as on its way; NULL: there is none. Then either
 * traffic_note_told(), when control has answered for all that are on their way, or traffic_note_lost(). A report has the total, too.
 */
struct traffic_entry *traffic_next(struct traffic *traffic);
void traffic_note_told(struct traffic *traffic);
void traffic_note_lost(struct traffic *traffic);
/* Control knows nothing any more: everything is to be told again. */
void traffic_forget_told(struct traffic *traffic);
bool traffic_has_changed(const struct traffic *traffic); /* the total, too */
