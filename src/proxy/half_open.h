/*
 * Half-open: connections whose clients have not proven yet who they are. They cost a descriptor, and with TLS some 50 KB, and anybody can make
 * them, so their number is bounded, and nobody can take all of them (decision 22).
 *
 * Invariants
 *   H1  there are at most `max`; to one destination (an endpoint's address, or its uid once the TLS handshake has named it), and from one
 *       source, at most three quarters of that. Sources of this machine are not told apart, so they are not limited by themselves.
 *   H2  a connection that is older than HALF_OPEN_GRACE_MS makes room for a new one, the oldest first, of those that are where there is no room.
 *       A younger one never does: then the new one is turned away.
 * Threads: the loop's.
 */
#pragma once

#include <sys/queue.h>

#include "base/base.h"

#define HALF_OPEN_MAX      4096u
#define HALF_OPEN_GRACE_MS 3000u /* a login takes a tenth of a second; over the slowest lines, two */

struct half_open;
struct half_open_group;

/* The place of one connection; in its session. Zero-initialised: none is taken. */
struct half_open_seat {
	struct half_open *table; /* NULL: no place */
	uint64_t since_ms;
	struct half_open_group *source, *destination; /* source NULL: of this machine */
	TAILQ_ENTRY(half_open_seat) of_all, of_source, of_destination;
};

struct half_open *half_open_create(size_t max);
struct half_open *half_open_free(struct half_open *table); /* all places have been left; NULL is fine */
size_t half_open_count(const struct half_open *table);

enum half_open_room {
	HALF_OPEN_ROOM,
	HALF_OPEN_DROP, /* when *ret_oldest has left; ask again then */
	HALF_OPEN_FULL,
};

/* Texts of at most HALF_OPEN_KEY_MAX bytes; longer ones are cut. source "": of this machine. */
#define HALF_OPEN_KEY_MAX 63u
enum half_open_room half_open_ask(const struct half_open *table, const char *source, const char *destination,
        uint64_t now_ms, struct half_open_seat **ret_oldest);
/* After HALF_OPEN_ROOM. */
void half_open_enter(struct half_open *table, struct half_open_seat *seat, const char *source,
        const char *destination, uint64_t now_ms);

/* The same for one that has a place and turns out to be for somewhere else. */
enum half_open_room half_open_ask_move(const struct half_open_seat *seat, const char *destination,
        uint64_t now_ms, struct half_open_seat **ret_oldest);
void half_open_move(struct half_open_seat *seat, const char *destination);

void half_open_leave(struct half_open_seat *seat); /* without a place it does nothing */
