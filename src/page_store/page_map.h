/*
 * Page map: where each page of one file is.
 *
 * `page_map` knows the sealed layers: page -> index of the topmost layer that has it, or 0. Two bytes per page, in pieces
 * ("chunks") that are made when they are first looked at.
 * `open_map` knows one layer that is not sealed: which slot of a page counts, which one a durable record names, and its checksum.
 *
 * States of a page in an open map, with the slot that the next write goes to:
 *
 *   absent                          any slot
 *   dirty, nothing committed        the same slot, in place: no durable record names it
 *   committed, clean or dirty       the slot that is not committed (layer.h L1)
 *   committing                      none: a sync is making the current slot the committed one; the writer waits
 *
 * A truncation makes a page absent and keeps what is committed, because the record of the truncation may not be durable yet.
 *
 * Memory only. Threads: the caller's lock.
 */
#pragma once

#include "base/base.h"
#include "page_store/change.h"
#include "page_store/page.h"

#define PAGE_CHUNK 512u /* pages */

struct page_map {
	uint16_t **chunks; /* NULL: not made */
	size_t chunk_count;
};

void page_map_done(struct page_map *map);                                  /* frees; empty and valid */
uint16_t *page_map_find_chunk(const struct page_map *map, uint32_t block); /* NULL */
uint16_t *page_map_make_chunk(struct page_map *map, uint32_t block);       /* zeros */

struct open_chunk;

struct open_map {
	struct open_chunk **chunks;
	size_t chunk_count;
	uint64_t shadow_block; /* of layers below only pages < shadow_block show */
	uint64_t page_count;   /* present */
	uint64_t dirty_count;  /* of them, not committed */
};

void open_map_init(struct open_map *map);
void open_map_done(struct open_map *map);

/* False: this layer does not have the page. */
bool open_map_find(const struct open_map *map, uint32_t block, struct page_entry *ret);
/* Where a write of the page goes: 0 or 1; -1: wait, it is being committed. */
int open_map_next_slot(const struct open_map *map, uint32_t block);
/* Would a write go over the only copy of the page's content? */
bool open_map_is_in_place(const struct open_map *map, uint32_t block);
void open_map_set_written(struct open_map *map, const struct page_entry *entry);
void open_map_set_committed(struct open_map *map, const struct page_entry *entry); /* as a replay finds it */
/* Pages >= first_block are gone, of this layer and of those below. None may be committing. */
void open_map_truncate(struct open_map *map, uint64_t first_block);

unsigned open_map_dirty_slots(const struct open_map *map); /* which slots dirty pages are in: bit 0, bit 1 */
/* Marks every dirty page as committing; which slots they are in: bit 0, bit 1. */
unsigned open_map_begin_commit(struct open_map *map);
/* Committing pages by block, from *from_block on, at most `max`; moves *from_block on. */
size_t open_map_list_committing(
        const struct open_map *map, uint64_t *from_block, struct page_entry *entries, size_t max);
void open_map_end_commit(struct open_map *map);
/* All pages, by block; the array is the caller's to free. NULL when there is none. */
struct page_entry *open_map_list(const struct open_map *map, size_t *ret_count);

/* The open map's layer was sealed as `index`: puts it on top of what is known. */
void page_map_absorb(struct page_map *map, const struct open_map *sealed, uint16_t index);
