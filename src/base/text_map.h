/*
 * Text map: finds things by a short text. The things are the caller's: each has a link in it, and whoever frees one removes it first.
 *
 * Invariants
 *   M1  no two things in a map have the same key.
 *   M2  where a key ends up cannot be foretold from outside: the hash begins with a secret, so keys that strangers choose stay spread.
 * Threads: the owner's.
 */
#pragma once

#include "base/base.h"

struct text_link {
	struct text_link *next;
	uint64_t hash;
	const char *key; /* borrowed from the thing the link is in */
};

struct text_map { /* zero-initialised is empty and valid */
	struct text_link **chains;
	size_t chain_count, count;
	uint64_t seed;
};

/* The thing that `link` is the member of. */
#define TEXT_MAP_THING(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

struct text_link *text_map_find(const struct text_map *map, const char *key); /* NULL: none */
void text_map_add(struct text_map *map, struct text_link *link, const char *key);
void text_map_remove(struct text_map *map, struct text_link *link);
void text_map_done(struct text_map *map); /* everything has been removed; leaves it empty */
