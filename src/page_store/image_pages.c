/*
 * Writing pages, and the size and space of files.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "page_store/image_internal.h"

#define WRITE_PAGES_MAX 128u /* in one call: 1 MiB */
#define FILE_BYTES_MAX  (PAGE_BLOCKS_MAX * PAGE_BYTES)
/* How long an acknowledged write tries to find room. */
#define TRIES_MAX 100
#define TRY_NSEC  10000000

static const uint8_t zero_page[PAGE_BYTES];

/* ---- writing ---- */

/* One call of image_write_answered(). */
struct answering {
	const struct image_writer *writer; /* NULL: nobody to tell anything */
	uint64_t pages;                    /* all of the call, if it is of whole pages; else 0 */
	bool has_told_to_wait, is_answered;
};

static void tell_to_wait(struct answering *answering)
{
	if (!answering->writer || answering->has_told_to_wait)
		return;
	answering->has_told_to_wait = true;
	answering->writer->will_wait(answering->writer->owner);
}

/* Room is owed, the slots are free, the file is open: only the disk itself can still refuse these pages, which are all of the call. */
static void answer(struct image *image, struct answering *answering, uint32_t block, uint32_t count)
{
	if (!answering->writer || answering->has_told_to_wait || atomic_load(&image->broken_errno) ||
	        ((uint64_t)block + count) * PAGE_BYTES > image->answer_end ||
	        !image_has_ample_space(image, count))
		return;
	answering->is_answered =
	        answering->writer->answer(answering->writer->owner, (size_t)count * PAGE_BYTES);
}

/* What was acknowledged and has no room is tried again for a while: nobody is served meanwhile, and space may come. */
static int insist(struct image *image, struct image_inode *inode, struct layer *layer, uint32_t block,
        uint32_t count, uint32_t slot, const uint8_t *pages, int rc)
{
	for (int tries = 0; (rc == -ENOSPC || rc == -EDQUOT) && tries < TRIES_MAX; tries++) {
		(void)nanosleep(&(struct timespec){ .tv_nsec = TRY_NSEC }, NULL);
		rc = layer_write_pages(layer, inode->base.number, block, count, slot, pages);
	}
	if (rc == 0)
		return 0;
	log_error("could not write volume \"%s\" to the disk: pages from %u on of inode %llu, which were "
	          "acknowledged: %s",
	        image->volume_id, block, (unsigned long long)inode->base.number, strerror(-rc));
	return image_break(image, -rc);
}

/*
 * A write over the only copy of a page failed. If the old content is not whole any more, something that was acknowledged and not synced is
 * lost: no sync may succeed after that.
 */
static void check_failed_write(
        struct image *image, struct image_inode *inode, struct unsealed *open, uint32_t block)
{
	struct page_entry entry = { 0 };
	(void)pthread_mutex_lock(&inode->lock);
	bool has_page = open_map_is_in_place(&open->map, block) && open_map_find(&open->map, block, &entry);
	(void)pthread_mutex_unlock(&inode->lock);
	if (!has_page)
		return;
	uint8_t page[PAGE_BYTES];
	struct image_location location = {
		.layer = open->epoch->layer, .slot = entry.slot, .crc = entry.crc
	};
	int rc = layer_read_page(location.layer, inode->base.number, block, entry.slot, page);
	if (rc == 0 && image_page_fits(inode, &location, block, page))
		return;
	log_error("volume \"%s\": page %u of inode %llu was lost in a failed write", image->volume_id, block,
	        (unsigned long long)inode->base.number);
	(void)image_break(image, EIO);
}

/* With io: into which slot the next pages go, and how many of at most `max` go there. Waits while a sync has the first; -1: for ever. */
static int find_slot(struct image *image, struct image_inode *inode, const struct unsealed *open,
        uint32_t block, uint32_t max, uint32_t *ret_count, struct answering *answering)
{
	int slot = 0;
	uint32_t count = 1;
	(void)pthread_mutex_lock(&inode->lock);
	while ((slot = open_map_next_slot(&open->map, block)) < 0 && !atomic_load(&image->broken_errno)) {
		tell_to_wait(answering);
		(void)pthread_cond_wait(&inode->is_synced, &inode->lock);
	}
	while (slot >= 0 && count < max && open_map_next_slot(&open->map, block + count) == slot)
		count++;
	(void)pthread_mutex_unlock(&inode->lock);
	*ret_count = count;
	return slot;
}

/*
 * A write of several pages failed: how many, from the first on, were written nevertheless. Some may be in place: their content was replaced by
 * what is new, which counts then.
 */
static uint32_t count_written(struct layer *layer, const struct image_inode *inode, uint32_t block,
        uint32_t count, uint32_t slot, const uint32_t *checksums)
{
	uint8_t page[PAGE_BYTES];
	uint32_t written = 0;
	while (written < count) {
		struct image_location location = { .layer = layer, .slot = slot, .crc = checksums[written] };
		if (layer_read_page(layer, inode->base.number, block + written, slot, page) < 0 ||
		        !image_page_fits(inode, &location, block + written, page))
			break;
		written++;
	}
	return written;
}

/*
 * With io: some of at most WRITE_PAGES_MAX whole pages, from the first on, in one call to the disk; how many. After a failure none of them
 * is written. On a disk that gets full it may be the first ones. Pages that are all of the call may be answered.
 */
static int write_pages(struct image *image, struct image_inode *inode, struct unsealed *open, uint32_t block,
        uint32_t max, const uint8_t *pages, struct answering *answering)
{
	struct layer *layer = open->epoch->layer;
	uint32_t count = 0, checksums[WRITE_PAGES_MAX];
	int slot = find_slot(image, inode, open, block, max, &count, answering);
	if (slot < 0)
		return -EIO;
	int rc = image_owe_pages(image, open->epoch, count);
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < count; i++)
		checksums[i] = page_checksum(
		        layer_tag(layer), inode->base.number, block + i, pages + (size_t)i * PAGE_BYTES);
	struct slot_file *file = NULL;
	bool takes_long = false;
	rc = layer_begin_write(layer, inode->base.number, block, count, (uint32_t)slot, &file, &takes_long);
	if (rc < 0) {
		image_pay_pages(open->epoch, count);
		return rc;
	}
	if (count == answering->pages && !takes_long)
		answer(image, answering, block, count);
	rc = layer_end_write(file, block, count, pages);
	if (rc < 0 && answering->is_answered) {
		rc = insist(image, inode, layer, block, count, (uint32_t)slot, pages, rc);
		if (rc < 0) {
			image_pay_pages(open->epoch, count);
			return rc;
		}
	}
	if (rc < 0) {
		uint32_t written = count_written(layer, inode, block, count, (uint32_t)slot, checksums);
		for (uint32_t i = written; i < count; i++)
			check_failed_write(image, inode, open, block + i);
		image_pay_pages(open->epoch, count - written);
		if (written == 0)
			return rc;
		count = written;
	}
	(void)pthread_mutex_lock(&inode->lock);
	uint64_t had = open->map.page_count, dirty = open->map.dirty_count;
	for (uint32_t i = 0; i < count; i++) {
		struct page_entry entry = { .block = block + i, .slot = (uint32_t)slot, .crc = checksums[i] };
		open_map_set_written(&open->map, &entry);
	}
	(void)atomic_fetch_add(&open->epoch->page_count, open->map.page_count - had);
	image_pay_pages(
	        open->epoch, count - (open->map.dirty_count - dirty)); /* those that were dirty already */
	(void)pthread_mutex_unlock(&inode->lock);
	return (int)count;
}

static int write_page(struct image *image, struct image_inode *inode, struct unsealed *open, uint32_t block,
        const uint8_t *page)
{
	struct answering nobody = { 0 };
	int rc = write_pages(image, inode, open, block, 1, page, &nobody);
	return rc < 0 ? rc : 0;
}

/* With io: `len` bytes of one page; what is not written keeps what it has, and is zeros behind `size`, the file's size until now. */
static int write_part(struct image *image, struct image_inode *inode, struct unsealed *open, uint64_t at,
        uint32_t len, const uint8_t *bytes, uint64_t size, struct answering *answering)
{
	uint8_t page[PAGE_BYTES];
	uint32_t block = (uint32_t)(at / PAGE_BYTES), offset = (uint32_t)(at % PAGE_BYTES);
	uint64_t begin = (uint64_t)block * PAGE_BYTES;
	uint32_t valid = size <= begin               ? 0
	                 : size - begin < PAGE_BYTES ? (uint32_t)(size - begin)
	                                             : PAGE_BYTES;
	if (valid > 0 && (offset > 0 || len < valid)) {
		tell_to_wait(answering);
		int rc = image_read_page(image, inode, block, page);
		if (rc < 0)
			return rc;
	}
	memset(page + valid, 0, PAGE_BYTES - valid);
	memcpy(page + offset, bytes, len);
	return write_page(image, inode, open, block, page);
}

/* With io: bytes of the last page behind `size` become visible; they must be zeros. */
static int clear_tail(struct image *image, struct image_inode *inode, struct unsealed *open, uint64_t size)
{
	uint8_t page[PAGE_BYTES];
	uint32_t offset = (uint32_t)(size % PAGE_BYTES), block = (uint32_t)(size / PAGE_BYTES);
	if (offset == 0)
		return 0;
	int rc = image_read_page(image, inode, block, page);
	if (rc < 0 || memcmp(page + offset, zero_page, PAGE_BYTES - offset) == 0)
		return rc;
	memset(page + offset, 0, PAGE_BYTES - offset);
	return write_page(image, inode, open, block, page);
}

int image_clear_page_tail(struct image *image, uint64_t number, uint32_t block, uint32_t offset)
{
	struct image_inode *inode = NULL;
	uint64_t at = (uint64_t)block * PAGE_BYTES + offset;
	int rc = image_take_file(image, number, &inode);
	if (rc < 0)
		return rc == -ESTALE ? 0 : rc; /* it is gone */
	(void)pthread_mutex_lock(&inode->io);
	(void)pthread_mutex_lock(&inode->lock);
	struct unsealed *open = image_enter(image, inode);
	uint64_t size = inode->base.attributes.size, had = open->map.dirty_count;
	(void)pthread_mutex_unlock(&inode->lock);
	if (size > (uint64_t)block * PAGE_BYTES) {
		rc = clear_tail(image, inode, open, at);
		(void)pthread_mutex_lock(&inode->lock);
		if (rc == 0)
			rc = open->map.dirty_count > had;
		(void)pthread_mutex_unlock(&inode->lock);
	}
	(void)pthread_mutex_unlock(&inode->io);
	image_give_back(image, inode);
	return rc;
}

void image_set_size(struct image *image, struct image_inode *inode, uint64_t size)
{
	if (inode->is_counted)
		(void)atomic_fetch_add(
		        &image->logical_bytes, (int64_t)size - (int64_t)inode->base.attributes.size);
	inode->base.attributes.size = size;
}

static void touch(struct image_inode *inode)
{
	inode->base.attributes.mtime_nsec = inode->base.attributes.ctime_nsec = image_now_nsec();
}

static ssize_t write_with_io(struct image *image, struct image_inode *inode, const uint8_t *bytes, size_t len,
        uint64_t at, struct answering *answering)
{
	(void)pthread_mutex_lock(&inode->lock);
	struct unsealed *open = image_enter(image, inode);
	uint64_t size = inode->base.attributes.size;
	(void)pthread_mutex_unlock(&inode->lock);

	int rc = 0;
	if (at / PAGE_BYTES > size / PAGE_BYTES && size % PAGE_BYTES != 0) {
		tell_to_wait(answering);
		rc = clear_tail(image, inode, open, size);
	}
	size_t done = 0;
	while (done < len && rc == 0) {
		uint64_t from = at + done;
		size_t rest = len - done, part = PAGE_BYTES - from % PAGE_BYTES;
		if (part == PAGE_BYTES && rest >= PAGE_BYTES) {
			uint32_t count = (uint32_t)(rest / PAGE_BYTES);
			if (count > WRITE_PAGES_MAX)
				count = WRITE_PAGES_MAX;
			/* What is written counts, also when the next call fails: it must not be there and behind the end. */
			int written = write_pages(image, inode, open, (uint32_t)(from / PAGE_BYTES), count,
			        bytes + done, answering);
			rc = written < 0 ? written : 0;
			part = written < 0 ? 0 : (size_t)written * PAGE_BYTES;
		} else {
			if (part > rest)
				part = rest;
			rc = write_part(
			        image, inode, open, from, (uint32_t)part, bytes + done, size, answering);
		}
		if (rc == 0)
			done += part;
	}
	(void)pthread_mutex_lock(&inode->lock);
	if (done > 0) {
		if (at + done > inode->base.attributes.size)
			image_set_size(image, inode, at + done);
		touch(inode);
	}
	(void)pthread_mutex_unlock(&inode->lock);
	return done > 0 ? (ssize_t)done : rc;
}

ssize_t image_write_answered(struct image *image, const struct image_writer *writer, uint64_t number,
        const void *bytes, size_t len, uint64_t at)
{
	if (at >= FILE_BYTES_MAX)
		return -EFBIG;
	if (len > FILE_BYTES_MAX - at)
		len = (size_t)(FILE_BYTES_MAX - at);
	struct image_inode *inode = NULL;
	int rc = image_take_file(image, number, &inode);
	if (rc < 0)
		return rc;
	ssize_t done = 0;
	struct answering answering = { .writer = writer,
		.pages = at % PAGE_BYTES == 0 && len % PAGE_BYTES == 0 ? len / PAGE_BYTES : 0 };
	if (len > 0) {
		if (pthread_mutex_trylock(&inode->io) != 0) {
			tell_to_wait(&answering);
			(void)pthread_mutex_lock(&inode->io);
		}
		done = write_with_io(image, inode, bytes, len, at, &answering);
		(void)pthread_mutex_unlock(&inode->io);
	}
	image_give_back(image, inode);
	return done;
}

ssize_t image_write(struct image *image, uint64_t number, const void *bytes, size_t len, uint64_t at)
{
	return image_write_answered(image, NULL, number, bytes, len, at);
}

/* ---- size and space ---- */

/* With io and lock: no sync is between its steps 1 and 5. False: none will ever end well. */
static bool wait_for_sync(struct image *image, struct image_inode *inode)
{
	while (inode->is_syncing)
		(void)pthread_cond_wait(&inode->is_synced, &inode->lock);
	return !atomic_load(&image->broken_errno);
}

static uint64_t blocks_of(uint64_t size)
{
	return (size + PAGE_BYTES - 1) / PAGE_BYTES;
}

int image_truncate(struct image *image, struct image_inode *inode, uint64_t size)
{
	if (size > FILE_BYTES_MAX)
		return -EFBIG;
	(void)pthread_mutex_lock(&inode->lock);
	struct unsealed *open = image_enter(image, inode);
	uint64_t old = inode->base.attributes.size;
	(void)pthread_mutex_unlock(&inode->lock);

	/* Either end may be in mid-page: what is behind it then must be zeros when it shows. */
	int rc = size == old ? 0 : clear_tail(image, inode, open, size < old ? size : old);
	if (rc == 0)
		rc = size < old ? image_owe_truncation(image, open->epoch)
		                : image_owe(image, IMAGE_RECORD_MAX);
	if (rc < 0)
		return rc;
	(void)pthread_mutex_lock(&inode->lock);
	if (size < old && !wait_for_sync(image, inode)) {
		(void)pthread_mutex_unlock(&inode->lock);
		image_pay_pages(open->epoch, 1);
		return -EIO;
	}
	image_set_size(image, inode, size);
	touch(inode);
	if (size < old)
		image_append_truncate(image, inode, open, blocks_of(size));
	else
		image_append_attributes(image, inode);
	(void)pthread_mutex_unlock(&inode->lock);
	if (size < old)
		image_pay_pages(open->epoch, 1);
	else
		image_pay(image, IMAGE_RECORD_MAX);
	return 0;
}

/* With io: reserves space for the pages that the open layer does not have. */
static int reserve(struct image *image, struct image_inode *inode, uint64_t first, uint64_t end)
{
	(void)pthread_mutex_lock(&inode->lock);
	struct unsealed *open = image_enter(image, inode);
	(void)pthread_mutex_unlock(&inode->lock);
	struct page_entry entry;
	int rc = 0;
	for (uint64_t block = first; block < end && rc == 0;) {
		uint64_t count = 0;
		(void)pthread_mutex_lock(&inode->lock);
		while (block + count < end &&
		        open_map_next_slot(&open->map, (uint32_t)(block + count)) == 0 &&
		        !open_map_find(&open->map, (uint32_t)(block + count), &entry))
			count++;
		(void)pthread_mutex_unlock(&inode->lock);
		if (count > 0)
			rc = layer_allocate_pages(
			        open->epoch->layer, inode->base.number, (uint32_t)block, (uint32_t)count, 0);
		block += count + 1;
	}
	return rc == -EOPNOTSUPP ? 0 : rc;
}

/* With io: zeros in [at, end), below the size. Pages that are holes stay holes. */
static int write_zeros(struct image *image, struct image_inode *inode, uint64_t at, uint64_t end)
{
	while (at < end) {
		uint64_t part = PAGE_BYTES - at % PAGE_BYTES;
		if (part > end - at)
			part = end - at;
		struct image_location location;
		(void)pthread_mutex_lock(&inode->lock);
		int rc = image_locate_and_hold(image, inode, (uint32_t)(at / PAGE_BYTES), 1, &location);
		(void)pthread_mutex_unlock(&inode->lock);
		if (rc < 0)
			return rc;
		if (location.layer) {
			(void)layer_release(location.layer);
			struct answering nobody = { 0 };
			ssize_t n = write_with_io(image, inode, zero_page, (size_t)part, at, &nobody);
			if (n < 0)
				return (int)n;
		}
		at += part;
	}
	return 0;
}

static int allocate_with_io(
        struct image *image, struct image_inode *inode, int mode, uint64_t at, uint64_t len)
{
	uint64_t end = at + len, size = inode->base.attributes.size;
	int rc = 0;
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		rc = write_zeros(image, inode, at, end < size ? end : size);
	else
		rc = reserve(image, inode, at / PAGE_BYTES, blocks_of(end));
	if (rc == 0 && !(mode & FALLOC_FL_KEEP_SIZE) && end > size)
		rc = image_truncate(image, inode, end);
	return rc;
}

int image_allocate(struct image *image, uint64_t number, int mode, uint64_t at, uint64_t len)
{
	int what = mode & ~FALLOC_FL_KEEP_SIZE;
	if (what != 0 && what != FALLOC_FL_ZERO_RANGE && mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	if (len == 0)
		return -EINVAL;
	if (at >= FILE_BYTES_MAX || len > FILE_BYTES_MAX - at)
		return -EFBIG;
	struct image_inode *inode = NULL;
	int rc = image_take_file(image, number, &inode);
	if (rc < 0)
		return rc;
	(void)pthread_mutex_lock(&inode->io);
	rc = allocate_with_io(image, inode, mode, at, len);
	(void)pthread_mutex_unlock(&inode->io);
	image_give_back(image, inode);
	return rc;
}

static int64_t seek(struct image *image, struct image_inode *inode, uint64_t at, int whence)
{
	uint64_t size = inode->base.attributes.size;
	if (at >= size)
		return -ENXIO;
	struct image_lookup lookup = { 0 };
	int rc = 0;
	uint64_t block = at / PAGE_BYTES;
	(void)pthread_rwlock_rdlock(&image->layers_lock);
	for (; block < blocks_of(size) && rc == 0; block++) {
		struct image_location location;
		rc = image_locate(image, inode, (uint32_t)block, &lookup, &location);
		if (rc == 0 && (location.layer != NULL) == (whence == SEEK_DATA))
			break;
	}
	(void)pthread_rwlock_unlock(&image->layers_lock);
	if (rc < 0)
		return rc;
	uint64_t found = block * PAGE_BYTES > at ? block * PAGE_BYTES : at;
	if (found >= size)
		return whence == SEEK_DATA ? -ENXIO : (int64_t)size;
	return (int64_t)found;
}

int64_t image_seek(struct image *image, uint64_t number, int64_t at, int whence)
{
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	if (at < 0)
		return -ENXIO;
	struct image_inode *inode = NULL;
	int rc = image_take_file(image, number, &inode);
	if (rc < 0)
		return rc;
	(void)pthread_mutex_lock(&inode->lock);
	int64_t found = seek(image, inode, (uint64_t)at, whence);
	(void)pthread_mutex_unlock(&inode->lock);
	image_give_back(image, inode);
	return found;
}
