#include "page_store/page_map.h"

#include <assert.h>
#include <stdlib.h>

enum {
	PRESENT = 1,
	SLOT = 2, /* of the current copy */
	DIRTY = 4,
	COMMITTED = 8,
	COMMITTED_SLOT = 16,
	COMMITTING = 32,
};

struct open_chunk {
	uint32_t crc[PAGE_CHUNK];
	uint8_t state[PAGE_CHUNK];
	uint16_t page_count, dirty_count;
};

/* Doubles the directory of chunks so that `index` is in it. */
static void *grow(void *chunks, size_t *count, size_t index)
{
	size_t grown = *count ? *count : 4;
	while (grown <= index)
		grown *= 2;
	void **table = xrealloc(chunks, grown * sizeof *table);
	memset(table + *count, 0, (grown - *count) * sizeof *table);
	*count = grown;
	return table;
}

/* ---- sealed layers ---- */

void page_map_done(struct page_map *map)
{
	for (size_t i = 0; i < map->chunk_count; i++)
		free(map->chunks[i]);
	free(map->chunks);
	*map = (struct page_map){ 0 };
}

uint16_t *page_map_find_chunk(const struct page_map *map, uint32_t block)
{
	size_t index = block / PAGE_CHUNK;
	return index < map->chunk_count ? map->chunks[index] : NULL;
}

uint16_t *page_map_make_chunk(struct page_map *map, uint32_t block)
{
	size_t index = block / PAGE_CHUNK;
	if (index >= map->chunk_count)
		map->chunks = grow(map->chunks, &map->chunk_count, index);
	if (!map->chunks[index])
		map->chunks[index] = xcalloc(PAGE_CHUNK, sizeof(uint16_t));
	return map->chunks[index];
}

void page_map_absorb(struct page_map *map, const struct open_map *sealed, uint16_t index)
{
	for (size_t i = 0; i < map->chunk_count; i++) {
		uint16_t *chunk = map->chunks[i];
		if (!chunk)
			continue;
		const struct open_chunk *added = i < sealed->chunk_count ? sealed->chunks[i] : NULL;
		uint64_t first = (uint64_t)i * PAGE_CHUNK;
		for (size_t j = 0; j < PAGE_CHUNK; j++) {
			if (added && added->state[j] & PRESENT)
				chunk[j] = index;
			else if (first + j >= sealed->shadow_block)
				chunk[j] = 0;
		}
	}
}

/* ---- a layer that is not sealed ---- */

void open_map_init(struct open_map *map)
{
	*map = (struct open_map){ .shadow_block = PAGE_BLOCKS_MAX };
}

void open_map_done(struct open_map *map)
{
	for (size_t i = 0; i < map->chunk_count; i++)
		free(map->chunks[i]);
	free(map->chunks);
	open_map_init(map);
}

static const struct open_chunk *find_chunk(const struct open_map *map, uint32_t block)
{
	size_t index = block / PAGE_CHUNK;
	return index < map->chunk_count ? map->chunks[index] : NULL;
}

static struct open_chunk *make_chunk(struct open_map *map, uint32_t block)
{
	assert(block < PAGE_BLOCKS_MAX);
	size_t index = block / PAGE_CHUNK;
	if (index >= map->chunk_count)
		map->chunks = grow(map->chunks, &map->chunk_count, index);
	if (!map->chunks[index])
		map->chunks[index] = xcalloc(1, sizeof *map->chunks[index]);
	return map->chunks[index];
}

static uint8_t state_of(const struct open_map *map, uint32_t block)
{
	const struct open_chunk *chunk = find_chunk(map, block);
	return chunk ? chunk->state[block % PAGE_CHUNK] : 0;
}

/* The one place that writes a page's state: keeps the counts right. */
static void set_state(struct open_map *map, struct open_chunk *chunk, uint32_t block, uint8_t state)
{
	assert(!(state & DIRTY) || state & PRESENT);
	assert(!(state & COMMITTING) || state & DIRTY);
	uint8_t old = chunk->state[block % PAGE_CHUNK];
	int pages = (state & PRESENT ? 1 : 0) - (old & PRESENT ? 1 : 0);
	int dirty = (state & DIRTY ? 1 : 0) - (old & DIRTY ? 1 : 0);
	chunk->page_count = (uint16_t)(chunk->page_count + pages);
	chunk->dirty_count = (uint16_t)(chunk->dirty_count + dirty);
	map->page_count += (uint64_t)(int64_t)pages;
	map->dirty_count += (uint64_t)(int64_t)dirty;
	chunk->state[block % PAGE_CHUNK] = state;
}

static struct page_entry entry_at(const struct open_chunk *chunk, uint32_t block)
{
	return (struct page_entry){ .block = block,
		.slot = chunk->state[block % PAGE_CHUNK] & SLOT ? 1 : 0,
		.crc = chunk->crc[block % PAGE_CHUNK] };
}

bool open_map_find(const struct open_map *map, uint32_t block, struct page_entry *ret)
{
	const struct open_chunk *chunk = find_chunk(map, block);
	if (!chunk || !(chunk->state[block % PAGE_CHUNK] & PRESENT))
		return false;
	*ret = entry_at(chunk, block);
	return true;
}

int open_map_next_slot(const struct open_map *map, uint32_t block)
{
	uint8_t state = state_of(map, block);
	if (state & COMMITTING)
		return -1;
	if (state & COMMITTED)
		return state & COMMITTED_SLOT ? 0 : 1;
	return state & PRESENT && state & SLOT ? 1 : 0;
}

bool open_map_is_in_place(const struct open_map *map, uint32_t block)
{
	uint8_t state = state_of(map, block);
	return state & PRESENT && open_map_next_slot(map, block) == (state & SLOT ? 1 : 0);
}

void open_map_set_written(struct open_map *map, const struct page_entry *entry)
{
	struct open_chunk *chunk = make_chunk(map, entry->block);
	uint8_t state = chunk->state[entry->block % PAGE_CHUNK];
	assert(!(state & COMMITTING));
	assert(!(state & COMMITTED) || (state & COMMITTED_SLOT ? 1u : 0u) != entry->slot); /* L1 */
	state = (uint8_t)((state & (COMMITTED | COMMITTED_SLOT)) | PRESENT | DIRTY |
	                  (entry->slot ? SLOT : 0));
	set_state(map, chunk, entry->block, state);
	chunk->crc[entry->block % PAGE_CHUNK] = entry->crc;
}

void open_map_set_committed(struct open_map *map, const struct page_entry *entry)
{
	struct open_chunk *chunk = make_chunk(map, entry->block);
	set_state(map, chunk, entry->block,
	        (uint8_t)(PRESENT | COMMITTED | (entry->slot ? SLOT | COMMITTED_SLOT : 0)));
	chunk->crc[entry->block % PAGE_CHUNK] = entry->crc;
}

void open_map_truncate(struct open_map *map, uint64_t first_block)
{
	if (first_block < map->shadow_block)
		map->shadow_block = first_block;
	for (size_t i = (size_t)(first_block / PAGE_CHUNK); i < map->chunk_count; i++) {
		struct open_chunk *chunk = map->chunks[i];
		if (!chunk || chunk->page_count == 0)
			continue;
		for (uint32_t j = 0; j < PAGE_CHUNK; j++) {
			uint32_t block = (uint32_t)i * PAGE_CHUNK + j;
			if (block < first_block || !(chunk->state[j] & PRESENT))
				continue;
			assert(!(chunk->state[j] & COMMITTING));
			set_state(map, chunk, block, chunk->state[j] & (COMMITTED | COMMITTED_SLOT));
		}
	}
}

unsigned open_map_dirty_slots(const struct open_map *map)
{
	unsigned slots = 0;
	for (size_t i = 0; i < map->chunk_count && slots != 3; i++) {
		const struct open_chunk *chunk = map->chunks[i];
		for (uint32_t j = 0; chunk && chunk->dirty_count > 0 && j < PAGE_CHUNK; j++)
			if (chunk->state[j] & DIRTY)
				slots |= chunk->state[j] & SLOT ? 2u : 1u;
	}
	return slots;
}

unsigned open_map_begin_commit(struct open_map *map)
{
	unsigned slots = 0;
	for (size_t i = 0; i < map->chunk_count; i++) {
		struct open_chunk *chunk = map->chunks[i];
		if (!chunk || chunk->dirty_count == 0)
			continue;
		for (uint32_t j = 0; j < PAGE_CHUNK; j++) {
			if (!(chunk->state[j] & DIRTY))
				continue;
			chunk->state[j] |= COMMITTING;
			slots |= chunk->state[j] & SLOT ? 2u : 1u;
		}
	}
	return slots;
}

size_t open_map_list_committing(
        const struct open_map *map, uint64_t *from_block, struct page_entry *entries, size_t max)
{
	size_t count = 0;
	uint64_t block = *from_block, end = (uint64_t)map->chunk_count * PAGE_CHUNK;
	while (block < end && count < max) {
		const struct open_chunk *chunk = map->chunks[block / PAGE_CHUNK];
		if (!chunk || chunk->dirty_count == 0) {
			block = (block / PAGE_CHUNK + 1) * PAGE_CHUNK;
			continue;
		}
		if (chunk->state[block % PAGE_CHUNK] & COMMITTING)
			entries[count++] = entry_at(chunk, (uint32_t)block);
		block++;
	}
	*from_block = block;
	return count;
}

void open_map_end_commit(struct open_map *map)
{
	for (size_t i = 0; i < map->chunk_count; i++) {
		struct open_chunk *chunk = map->chunks[i];
		if (!chunk || chunk->dirty_count == 0)
			continue;
		for (uint32_t j = 0; j < PAGE_CHUNK; j++) {
			uint8_t state = chunk->state[j];
			if (state & COMMITTING)
				set_state(map, chunk, (uint32_t)i * PAGE_CHUNK + j,
				        (uint8_t)(PRESENT | COMMITTED |
				                  (state & SLOT ? SLOT | COMMITTED_SLOT : 0)));
		}
	}
}

struct page_entry *open_map_list(const struct open_map *map, size_t *ret_count)
{
	*ret_count = 0;
	if (map->page_count == 0)
		return NULL;
	struct page_entry *entries = xcalloc(map->page_count, sizeof *entries);
	size_t count = 0;
	for (size_t i = 0; i < map->chunk_count; i++) {
		const struct open_chunk *chunk = map->chunks[i];
		for (uint32_t j = 0; chunk && chunk->page_count > 0 && j < PAGE_CHUNK; j++)
			if (chunk->state[j] & PRESENT)
				entries[count++] = entry_at(chunk, (uint32_t)i * PAGE_CHUNK + j);
	}
	assert(count == map->page_count);
	*ret_count = count;
	return entries;
}
