/*
 * Reading pages.
 *
 * Reads are optimistic: with the inode's lock a read looks up where its pages are and takes hold of their layers; it reads without any
 * lock, and checks. A page that does not fit may have been overwritten meanwhile (in place, or because its slot became free), or
 * its space may have been given back after a fold: then it is looked up again with inode.io, which keeps writers out. Only a page
 * that is wrong twice at the same place is damaged.
 *
 * Pages of a file that is updated here and there alternate between the slots, and between layers. A large read takes all pages of one slot
 * file with one call, and throws away what lies between them: that is one large transfer where there would be many small ones.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "base/log.h"
#include "page_store/image_internal.h"

#define READ_PAGES_MAX 128u /* looked up and read at a time: 1 MiB */
#define GAP_PAGES_MAX  8u   /* what costs about as much as a call of its own */
#define BAD_PAGES_TOLD 20   /* in the log, of a mount */

static_assert(2 * READ_PAGES_MAX <= IOV_MAX, "pieces of a read, and gaps between them");

/* ---- looking up ---- */

/* The first entry with a block >= `block`. */
static size_t lower_bound(const struct layer_file *file, uint32_t block)
{
	size_t low = 0, high = file->entry_count;
	/* Entry i has a block >= i; so, in a file without holes, the first guess hits. */
	if (high > block) {
		high = (size_t)block + 1;
		if (page_entry_unpack(file->entries + (size_t)block * PAGE_ENTRY_BYTES).block == block)
			low = block;
	}
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (page_entry_unpack(file->entries + middle * PAGE_ENTRY_BYTES).block < block)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* With inode.lock and layers_lock. */
static uint16_t *build_chunk(struct image *image, struct image_inode *inode, uint32_t block)
{
	uint32_t first = block / PAGE_CHUNK * PAGE_CHUNK;
	uint16_t *chunk = page_map_make_chunk(&inode->map, block);
	for (size_t i = 0; i < image->order_count; i++) {
		struct layer_file file;
		if (!layer_find_file(image->layers[image->order[i]], inode->base.number, &file))
			continue;
		for (uint32_t j = file.shadow_block > first ? file.shadow_block - first : 0; j < PAGE_CHUNK;
		        j++)
			chunk[j] = 0;
		for (size_t at = lower_bound(&file, first); at < file.entry_count; at++) {
			struct page_entry entry = page_entry_unpack(file.entries + at * PAGE_ENTRY_BYTES);
			if (entry.block - first >= PAGE_CHUNK)
				break;
			chunk[entry.block - first] = image->order[i];
		}
	}
	return chunk;
}

static bool find_sealed(struct image_lookup *lookup, const struct layer *layer, uint64_t inode,
        uint32_t block, struct page_entry *ret)
{
	if (lookup->layer != layer) {
		*lookup = (struct image_lookup){ .layer = layer };
		lookup->has_file = layer_find_file(layer, inode, &lookup->file);
	}
	if (!lookup->has_file)
		return false;
	size_t at = lookup->next_entry;
	if (at >= lookup->file.entry_count ||
	        page_entry_unpack(lookup->file.entries + at * PAGE_ENTRY_BYTES).block != block)
		at = lower_bound(&lookup->file, block);
	if (at >= lookup->file.entry_count)
		return false;
	*ret = page_entry_unpack(lookup->file.entries + at * PAGE_ENTRY_BYTES);
	lookup->next_entry = at + 1;
	return ret->block == block;
}

/* With inode.lock and layers_lock (for reading). The layer is not held yet. */
int image_locate(struct image *image, struct image_inode *inode, uint32_t block, struct image_lookup *lookup,
        struct image_location *ret)
{
	const struct unsealed *const newest_first[] = { inode->open, inode->sealing };
	struct page_entry entry;
	*ret = (struct image_location){ 0 };
	for (size_t i = 0; i < ARRAY_LEN(newest_first); i++) {
		if (!newest_first[i])
			continue;
		if (open_map_find(&newest_first[i]->map, block, &entry)) {
			*ret = (struct image_location){
				.layer = newest_first[i]->epoch->layer, .slot = entry.slot, .crc = entry.crc
			};
			return 0;
		}
		if (block >= newest_first[i]->map.shadow_block)
			return 0;
	}
	if (inode->map_generation != image->generation) {
		page_map_done(&inode->map);
		inode->map_generation = image->generation;
	}
	const uint16_t *chunk = page_map_find_chunk(&inode->map, block);
	if (!chunk)
		chunk = build_chunk(image, inode, block);
	uint16_t index = chunk[block % PAGE_CHUNK];
	if (index == 0)
		return 0;
	struct layer *layer = image->layers[index];
	if (!find_sealed(lookup, layer, inode->base.number, block, &entry)) {
		log_error("volume \"%s\": layer \"%s\" has lost page %u of inode %llu", image->volume_id,
		        layer_name(layer)->id, block, (unsigned long long)inode->base.number);
		return -EIO;
	}
	*ret = (struct image_location){ .layer = layer, .slot = entry.slot, .crc = entry.crc };
	return 0;
}

static bool is_same_place(const struct image_location *a, const struct image_location *b)
{
	return a->layer == b->layer && a->slot == b->slot && a->crc == b->crc;
}

/* Looks up `count` pages from `block` on; the layers are held. */
int image_locate_and_hold(struct image *image, struct image_inode *inode, uint32_t block, uint32_t count,
        struct image_location *locations)
{
	struct image_lookup lookup = { 0 };
	int rc = 0;
	(void)pthread_rwlock_rdlock(&image->layers_lock);
	uint32_t found = 0;
	while (found < count && rc == 0) {
		rc = image_locate(image, inode, block + found, &lookup, &locations[found]);
		if (rc == 0 && locations[found].layer)
			(void)layer_hold(locations[found].layer);
		found += rc == 0;
	}
	(void)pthread_rwlock_unlock(&image->layers_lock);
	for (uint32_t i = 0; i < found && rc < 0; i++)
		(void)layer_release(locations[i].layer);
	return rc;
}

/* ---- reading ---- */

bool image_page_fits(const struct image_inode *inode, const struct image_location *location, uint32_t block,
        const void *page)
{
	return page_checksum(layer_tag(location->layer), inode->base.number, block, page) == location->crc;
}

static void tell_bad_page(struct image *image, const struct image_inode *inode, uint32_t block,
        const struct image_location *location, int rc)
{
	uint64_t bad = atomic_fetch_add(&image->bad_pages, 1);
	if (bad < BAD_PAGES_TOLD)
		log_error("volume \"%s\": page %u of inode %llu in layer \"%s\" (slot %u) %s",
		        image->volume_id, block, (unsigned long long)inode->base.number,
		        layer_name(location->layer)->id, location->slot,
		        rc < 0 ? "cannot be read" : "fails its checksum");
}

/* With io: no write to the inode is under way; only folds and syncs may move the page. */
int image_read_page(struct image *image, struct image_inode *inode, uint32_t block, void *page)
{
	struct image_location last = { 0 };
	for (bool is_first = true;; is_first = false) {
		struct image_location location;
		(void)pthread_mutex_lock(&inode->lock);
		int rc = image_locate_and_hold(image, inode, block, 1, &location);
		(void)pthread_mutex_unlock(&inode->lock);
		if (rc < 0)
			return rc;
		if (!location.layer) {
			memset(page, 0, PAGE_BYTES);
			return 0;
		}
		rc = layer_read_page(location.layer, inode->base.number, block, location.slot, page);
		bool is_good = rc == 0 && image_page_fits(inode, &location, block, page);
		bool is_damaged = !is_good && !is_first && is_same_place(&location, &last);
		if (is_damaged)
			tell_bad_page(image, inode, block, &location, rc);
		last = location;
		(void)layer_release(location.layer);
		if (is_good)
			return 0;
		if (is_damaged)
			return rc < 0 ? rc : -EIO;
	}
}

static bool is_same_file(const struct image_location *a, const struct image_location *b)
{
	return a->layer == b->layer && (!a->layer || a->slot == b->slot);
}

/* Checks what was read (rc: how that went); a page that does not fit is read again, steadily. */
static int check_page(struct image *image, struct image_inode *inode, uint32_t block,
        const struct image_location *location, int rc, void *page)
{
	if (rc == 0 && image_page_fits(inode, location, block, page))
		return 0;
	(void)pthread_mutex_lock(&inode->io);
	rc = image_read_page(image, inode, block, page);
	(void)pthread_mutex_unlock(&inode->io);
	return rc;
}

/* Of whole pages that were looked up: the first, and those that are near behind it in the same slot file. */
static int read_group(struct image *image, struct image_inode *inode, uint32_t block, uint32_t count,
        const struct image_location *locations, bool *is_read, uint8_t *pages)
{
	uint8_t gap[GAP_PAGES_MAX * PAGE_BYTES]; /* thrown away */
	struct iovec pieces[2 * READ_PAGES_MAX];
	int piece_count = 0;
	uint32_t end = 0; /* behind the last that was taken */
	for (uint32_t i = 0; i < count && i - end <= GAP_PAGES_MAX; i++) {
		if (!is_same_file(&locations[i], &locations[0]))
			continue;
		if (i > end)
			pieces[piece_count++] = (struct iovec){ gap, (size_t)(i - end) * PAGE_BYTES };
		if (i == 0 || i > end)
			pieces[piece_count++] = (struct iovec){ pages + (size_t)i * PAGE_BYTES, 0 };
		pieces[piece_count - 1].iov_len += PAGE_BYTES;
		is_read[i] = true;
		end = i + 1;
	}
	int rc = layer_read_pieces(
	        locations[0].layer, inode->base.number, block, locations[0].slot, pieces, piece_count);
	int failure = 0;
	for (uint32_t i = 0; i < end && failure == 0; i++)
		if (is_same_file(&locations[i], &locations[0]))
			failure = check_page(
			        image, inode, block + i, &locations[i], rc, pages + (size_t)i * PAGE_BYTES);
	return failure;
}

/* At most READ_PAGES_MAX whole pages, looked up already. */
static int read_pages(struct image *image, struct image_inode *inode, uint32_t block, uint32_t count,
        const struct image_location *locations, uint8_t *pages)
{
	bool is_read[READ_PAGES_MAX] = { 0 };
	int rc = 0;
	for (uint32_t i = 0; i < count && rc == 0; i++) {
		if (is_read[i])
			continue;
		if (!locations[i].layer)
			memset(pages + (size_t)i * PAGE_BYTES, 0, PAGE_BYTES);
		else
			rc = read_group(image, inode, block + i, count - i, locations + i, is_read + i,
			        pages + (size_t)i * PAGE_BYTES);
	}
	return rc;
}

/* Bytes of one page through a page of our own. */
static int read_part(struct image *image, struct image_inode *inode, uint32_t block,
        const struct image_location *location, uint32_t offset, uint32_t len, uint8_t *bytes)
{
	uint8_t page[PAGE_BYTES];
	int rc = read_pages(image, inode, block, 1, location, page);
	if (rc == 0)
		memcpy(bytes, page + offset, len);
	return rc;
}

/* [at, at + len) of at most READ_PAGES_MAX pages, below the size, looked up already. */
static int read_located(struct image *image, struct image_inode *inode, uint8_t *bytes, size_t len,
        uint64_t at, const struct image_location *locations)
{
	uint32_t first = (uint32_t)(at / PAGE_BYTES);
	uint64_t end = at + len;
	int rc = 0;
	while (at < end && rc == 0) {
		uint32_t block = (uint32_t)(at / PAGE_BYTES), offset = (uint32_t)(at % PAGE_BYTES);
		const struct image_location *location = &locations[block - first];
		size_t part = (size_t)(end - at);
		if (offset > 0 || part < PAGE_BYTES) {
			if (part > PAGE_BYTES - offset)
				part = PAGE_BYTES - offset;
			rc = read_part(image, inode, block, location, offset, (uint32_t)part, bytes);
		} else {
			part = part / PAGE_BYTES * PAGE_BYTES;
			rc = read_pages(image, inode, block, (uint32_t)(part / PAGE_BYTES), location, bytes);
		}
		bytes += part;
		at += part;
	}
	return rc;
}

/* Some of what is asked for; 0 at the end of the file. */
static ssize_t read_some(struct image *image, struct image_inode *inode, void *bytes, size_t len, uint64_t at)
{
	struct image_location locations[READ_PAGES_MAX];
	if (len > READ_PAGES_MAX * PAGE_BYTES - at % PAGE_BYTES)
		len = (size_t)(READ_PAGES_MAX * PAGE_BYTES - at % PAGE_BYTES);
	(void)pthread_mutex_lock(&inode->lock);
	uint64_t size = inode->base.attributes.size;
	if (at >= size || len == 0) {
		(void)pthread_mutex_unlock(&inode->lock);
		return 0;
	}
	if (len > size - at)
		len = (size_t)(size - at);
	uint32_t first = (uint32_t)(at / PAGE_BYTES);
	uint32_t count = (uint32_t)((at + len - 1) / PAGE_BYTES) - first + 1;
	int rc = image_locate_and_hold(image, inode, first, count, locations);
	(void)pthread_mutex_unlock(&inode->lock);
	if (rc < 0)
		return rc;
	rc = read_located(image, inode, bytes, len, at, locations);
	for (uint32_t i = 0; i < count; i++)
		(void)layer_release(locations[i].layer);
	return rc < 0 ? rc : (ssize_t)len;
}

ssize_t image_read(struct image *image, uint64_t number, void *bytes, size_t len, uint64_t at)
{
	struct image_inode *inode = NULL;
	int rc = image_take_file(image, number, &inode);
	if (rc < 0)
		return rc;
	size_t done = 0;
	while (done < len) {
		ssize_t n = read_some(image, inode, (uint8_t *)bytes + done, len - done, at + done);
		if (n < 0)
			rc = (int)n;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	image_give_back(image, inode);
	return done > 0 ? (ssize_t)done : rc;
}
