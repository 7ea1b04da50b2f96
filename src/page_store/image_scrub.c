/* The scrub: every page of every sealed layer is read and checked, a piece at a time, so that damage is found while a good copy may exist. */
#include <stdio.h>
#include <stdlib.h>

#include "page_store/image_internal.h"

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

static void check_run(struct image_scrub *scrub, struct layer *layer, uint64_t inode,
        const struct page_entry *entries, uint32_t count, uint8_t *pages)
{
	int rc = layer_read_pages(layer, inode, entries[0].block, count, entries[0].slot, pages);
	for (uint32_t i = 0; i < count; i++) {
		scrub->pages_checked++;
		if (rc == 0 && page_checksum(layer_tag(layer), inode, entries[i].block,
		                       pages + (size_t)i * PAGE_BYTES) == entries[i].crc)
			continue;
		if (scrub->pages_bad++ == 0)
			(void)snprintf(scrub->first_bad, sizeof scrub->first_bad,
			        "page %u of inode %llu in layer \"%s\" (slot %u) %s", entries[i].block,
			        (unsigned long long)inode, layer_name(layer)->id, entries[i].slot,
			        rc < 0 ? "cannot be read" : "fails its checksum");
	}
}

/* The layer to go on with, held by image.scrub_layer; false: the round is over. */
static bool find_layer(struct image *image)
{
	if (image->scrub_layer)
		return true;
	(void)pthread_rwlock_wrlock(&image->layers_lock);
	if (image->scrub_position < image->order_count)
		image->scrub_layer = layer_hold(image->layers[image->order[image->scrub_position++]]);
	else
		image->scrub_position = 0;
	(void)pthread_rwlock_unlock(&image->layers_lock);
	image->scrub_file = 0;
	image->scrub_entry = 0;
	return image->scrub_layer;
}

static void scrub_step(struct image *image, uint64_t budget, struct image_scrub *scrub)
{
	uint8_t *pages = xcalloc(RUN_PAGES, PAGE_BYTES);
	while (scrub->pages_checked < budget) {
		if (!find_layer(image)) {
			scrub->is_round_over = true;
			break;
		}
		struct layer *layer = image->scrub_layer;
		if (image->scrub_file == layer_file_count(layer)) {
			image->scrub_layer = layer_release(layer);
			continue;
		}
		struct layer_file file = layer_file_at(layer, image->scrub_file);
		struct page_entry entries[RUN_PAGES];
		uint32_t count = find_run(&file, image->scrub_entry, budget - scrub->pages_checked, entries);
		if (count == 0) {
			image->scrub_file++;
			image->scrub_entry = 0;
			continue;
		}
		check_run(scrub, layer, file.inode, entries, count, pages);
		image->scrub_entry += count;
	}
	free(pages);
}

status image_scrub_step(
        struct image *image, uint64_t budget_pages, struct image_scrub *ret, struct error *err)
{
	(void)err;
	struct image_scrub scrub = { 0 };
	(void)pthread_mutex_lock(&image->scrub_lock);
	scrub_step(image, budget_pages, &scrub);
	(void)pthread_mutex_unlock(&image->scrub_lock);
	*ret = scrub;
	return STATUS_OK;
}
