#include "page_store/scrub.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define RUN_PAGES 32u

/* Consecutive pages of one slot, from `at` on; how many. */
static uint32_t find_run(
        const struct layer_file *file, size_t at, uint64_t max, struct page_entry entries[RUN_PAGES])
{
	uint32_t count = 0;
	while (count < RUN_PAGES && count < max && at + count < file->entry_count) {
		struct page_entry entry = page_entry_unpack(file->entries + (at + count) * PAGE_ENTRY_BYTES);
		if (count > 0 && (entry.block != entries[0].block + count || entry.slot != entries[0].slot))
			break;
		entries[count++] = entry;
	}
	return count;
}

static void note_bad(struct scrub *scrub, const struct layer *layer, uint64_t inode,
        const struct page_entry *entry, const char *what)
{
	if (scrub->pages_bad++ == 0)
		(void)snprintf(scrub->first_bad, sizeof scrub->first_bad,
		        "page %u of inode %llu in layer \"%s\" (slot %u) %s", entry->block,
		        (unsigned long long)inode, layer_name(layer)->id, entry->slot, what);
}

static void check_run(struct scrub *scrub, struct layer *layer, uint64_t inode,
        const struct page_entry *entries, uint32_t count, uint8_t *pages)
{
	int rc = layer_read_pages(layer, inode, entries[0].block, count, entries[0].slot, pages);
	for (uint32_t i = 0; i < count; i++) {
		uint8_t *page = pages + (size_t)i * PAGE_BYTES;
		/* A disk that cannot read one of them may have the others. */
		int page_rc =
		        rc < 0 ? layer_read_page(layer, inode, entries[i].block, entries[i].slot, page) : 0;
		if (page_rc < 0)
			note_bad(scrub, layer, inode, &entries[i], "cannot be read");
		else if (page_checksum(layer_tag(layer), inode, entries[i].block, page) != entries[i].crc)
			note_bad(scrub, layer, inode, &entries[i], "fails its checksum");
	}
	scrub->pages_checked += count;
}

bool scrub_layer(struct scrub *scrub, struct layer *sealed, uint64_t budget)
{
	assert(!layer_journal(sealed));
	uint8_t *pages = xcalloc(RUN_PAGES, PAGE_BYTES);
	while (scrub->file < layer_file_count(sealed)) {
		struct layer_file file = layer_file_at(sealed, scrub->file);
		if (scrub->entry == file.entry_count) {
			scrub->file++;
			scrub->entry = 0;
			continue;
		}
		if (budget == 0)
			break;
		struct page_entry entries[RUN_PAGES] = { 0 };
		uint32_t count = find_run(&file, scrub->entry, budget, entries);
		check_run(scrub, sealed, file.inode, entries, count, pages);
		scrub->entry += count;
		budget -= count;
	}
	free(pages);
	bool is_over = scrub->file == layer_file_count(sealed);
	if (is_over)
		scrub->file = 0;
	return is_over;
}
