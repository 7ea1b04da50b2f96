#include "base/text_map.h"

#include <assert.h>
#include <stdlib.h>

#include "base/random.h"

#define CHAINS_MIN 64u

/* FNV-1a, begun with the secret. */
static uint64_t hash_of(const struct text_map *map, const char *key)
{
	uint64_t hash = map->seed;
	for (const char *c = key; *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
	return hash ^ hash >> 32;
}

static struct text_link **chain_of(const struct text_map *map, uint64_t hash)
{
	return &map->chains[hash & (map->chain_count - 1)];
}

static void put(struct text_map *map, struct text_link *link)
{
	struct text_link **chain = chain_of(map, link->hash);
	link->next = *chain;
	*chain = link;
}

static void grow(struct text_map *map)
{
	struct text_link **old = map->chains;
	size_t old_count = map->chain_count;
	if (old_count == 0)
		map->seed = random_u64();
	map->chain_count = old_count > 0 ? old_count * 2 : CHAINS_MIN;
	map->chains = xcalloc(map->chain_count, sizeof(struct text_link *));
	for (size_t i = 0; i < old_count; i++) {
		for (struct text_link *link = old[i], *next; link; link = next) {
			next = link->next;
			put(map, link);
		}
	}
	free(old);
}

struct text_link *text_map_find(const struct text_map *map, const char *key)
{
	if (map->count == 0)
		return NULL;
	uint64_t hash = hash_of(map, key);
	struct text_link *link = *chain_of(map, hash);
	while (link && (link->hash != hash || strcmp(link->key, key) != 0))
		link = link->next;
	return link;
}

void text_map_add(struct text_map *map, struct text_link *link, const char *key)
{
	assert(!text_map_find(map, key)); /* M1 */
	if (map->count == map->chain_count)
		grow(map);
	*link = (struct text_link){ .hash = hash_of(map, key), .key = key };
	put(map, link);
	map->count++;
}

void text_map_remove(struct text_map *map, struct text_link *link)
{
	struct text_link **at = chain_of(map, link->hash);
	while (*at != link) {
		assert(*at);
		at = &(*at)->next;
	}
	*at = link->next;
	map->count--;
}

void text_map_done(struct text_map *map)
{
	assert(map->count == 0);
	free(map->chains);
	*map = (struct text_map){ 0 };
}
