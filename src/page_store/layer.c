#include "page_store/layer.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/random.h"
#include "page_store/disk.h"
#include "page_store/manifest.h"
#include "page_store/slot_cache.h"

struct layer {
	atomic_uint holders;
	struct layer_ref ref;
	int folder_fd;
	uint64_t tag;
	struct journal *journal;  /* NULL: sealed */
	struct manifest manifest; /* of a sealed one */
	struct slot_owner slots;
};

static bool is_good_id(const char *id)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	size_t len = strlen(id);
	return len > 0 && len <= LAYER_ID_MAX && strspn(id, letters) == len && !strchr("-_.", id[0]);
}

static struct layer *layer_new(int folder_fd, const struct layer_ref *ref, uint64_t tag)
{
	struct layer *layer = xcalloc(1, sizeof *layer);
	layer->holders = 1;
	layer->ref = *ref;
	layer->folder_fd = folder_fd;
	layer->tag = tag;
	layer->manifest.fd = -1;
	slot_owner_init(&layer->slots, folder_fd);
	return layer;
}

static status check_id(const struct layer_ref *ref, struct error *err)
{
	if (!memchr(ref->id, 0, sizeof ref->id) || !is_good_id(ref->id))
		return error_set(err, STATUS_INVALID, 0, "the layer's id is none");
	return STATUS_OK;
}

status layer_create(int folder_fd, const struct layer_ref *ref, struct layer **ret, struct error *err)
{
	uint64_t tag = random_u64();
	struct journal *journal = NULL;
	status s = check_id(ref, err);
	if (s == STATUS_OK)
		s = journal_create(folder_fd, ref->id, tag, &journal, err);
	if (s != STATUS_OK)
		return s;
	if (disk_sync(folder_fd) < 0) {
		s = error_set(err, STATUS_IO, errno, "could not sync the folder of layer \"%s\"", ref->id);
		(void)journal_close(journal);
		return s;
	}
	struct layer *layer = layer_new(folder_fd, ref, tag);
	layer->journal = journal;
	*ret = layer;
	return STATUS_OK;
}

status layer_open_unsealed(int folder_fd, const struct layer_ref *ref, journal_record_fn on_record,
        void *owner, struct layer **ret, struct error *err)
{
	uint64_t tag = 0;
	struct journal *journal = NULL;
	status s = check_id(ref, err);
	if (s == STATUS_OK)
		s = journal_open(folder_fd, ref->id, on_record, owner, &journal, &tag, err);
	if (s != STATUS_OK)
		return s;
	struct layer *layer = layer_new(folder_fd, ref, tag);
	layer->journal = journal;
	layer->slots.made =
	        1; /* who was killed may have made files whose names are not durable: the first sync sees to it */
	*ret = layer;
	return STATUS_OK;
}

status layer_open_sealed(int folder_fd, const struct layer_ref *ref, struct layer **ret, struct error *err)
{
	struct manifest manifest;
	status s = check_id(ref, err);
	if (s == STATUS_OK)
		s = manifest_open(folder_fd, ref, &manifest, err);
	if (s != STATUS_OK)
		return s;
	struct layer *layer = layer_new(folder_fd, ref, manifest.tag);
	layer->manifest = manifest;
	*ret = layer;
	return STATUS_OK;
}

struct layer *layer_hold(struct layer *layer)
{
	(void)atomic_fetch_add(&layer->holders, 1);
	return layer;
}

struct layer *layer_release(struct layer *layer)
{
	if (!layer || atomic_fetch_sub(&layer->holders, 1) > 1)
		return NULL;
	slot_owner_done(&layer->slots);
	manifest_close(&layer->manifest);
	(void)journal_close(layer->journal);
	(void)disk_close(layer->folder_fd);
	free(layer);
	return NULL;
}

const struct layer_ref *layer_name(const struct layer *layer)
{
	return &layer->ref;
}

uint64_t layer_tag(const struct layer *layer)
{
	return layer->tag;
}

struct journal *layer_journal(struct layer *layer)
{
	return layer->journal;
}

int layer_folder(const struct layer *layer)
{
	return layer->folder_fd;
}

/* ---- pages ---- */

static uint64_t place_of(uint32_t block)
{
	return (uint64_t)block * PAGE_BYTES;
}

int layer_read_pieces(struct layer *layer, uint64_t inode, uint32_t block, uint32_t slot,
        const struct iovec *pieces, int count)
{
	assert(block < PAGE_BLOCKS_MAX && slot <= 1);
	struct slot_file *file = NULL;
	int rc = slot_cache_take(&layer->slots, inode, slot, false, &file);
	if (rc < 0)
		return rc == -ENOENT ? -EIO : rc; /* somebody says that there are pages in it */
	ssize_t n = disk_read_pieces(slot_file_fd(file), pieces, count, place_of(block));
	int failure = n < 0 ? errno : 0;
	slot_cache_give_back(file, false);
	if (n < 0)
		return failure ? -failure : -EIO;
	size_t has = (size_t)n;
	for (int i = 0; i < count; i++) {
		size_t part = has < pieces[i].iov_len ? has : pieces[i].iov_len;
		memset((char *)pieces[i].iov_base + part, 0, pieces[i].iov_len - part);
		has -= part;
	}
	return 0;
}

int layer_read_pages(
        struct layer *layer, uint64_t inode, uint32_t block, uint32_t count, uint32_t slot, void *pages)
{
	assert(count <= PAGE_BLOCKS_MAX && block <= PAGE_BLOCKS_MAX - count);
	struct iovec piece = { .iov_base = pages, .iov_len = (size_t)count * PAGE_BYTES };
	return layer_read_pieces(layer, inode, block, slot, &piece, 1);
}

int layer_read_page(struct layer *layer, uint64_t inode, uint32_t block, uint32_t slot, void *page)
{
	return layer_read_pages(layer, inode, block, 1, slot, page);
}

int layer_begin_write(struct layer *layer, uint64_t inode, uint32_t block, uint32_t count, uint32_t slot,
        struct slot_file **ret, bool *ret_takes_long)
{
	assert(count <= PAGE_BLOCKS_MAX && block <= PAGE_BLOCKS_MAX - count && slot <= 1);
	int rc = slot_cache_take(&layer->slots, inode, slot, true, ret);
	if (rc == 0)
		*ret_takes_long = slot_file_is_due(*ret, place_of(block), place_of(count));
	return rc;
}

int layer_end_write(struct slot_file *file, uint32_t block, uint32_t count, const void *pages)
{
	ssize_t n = disk_write(slot_file_fd(file), pages, (size_t)count * PAGE_BYTES, place_of(block));
	int failure = n < 0 ? errno : 0;
	if (n > 0)
		slot_file_note(file, place_of(block), (size_t)n);
	slot_cache_give_back(file, true); /* a part may have been written */
	return n < 0 ? -(failure ? failure : EIO) : 0;
}

int layer_write_pages(
        struct layer *layer, uint64_t inode, uint32_t block, uint32_t count, uint32_t slot, const void *pages)
{
	struct slot_file *file = NULL;
	bool takes_long;
	int rc = layer_begin_write(layer, inode, block, count, slot, &file, &takes_long);
	return rc < 0 ? rc : layer_end_write(file, block, count, pages);
}

int layer_write_page(struct layer *layer, uint64_t inode, uint32_t block, uint32_t slot, const void *page)
{
	return layer_write_pages(layer, inode, block, 1, slot, page);
}

int layer_sync_pages(struct layer *layer, uint64_t inode, unsigned slots)
{
	int rc = 0;
	for (uint32_t slot = 0; slot < 2 && rc == 0; slot++) {
		if (slots & 1u << slot)
			rc = slot_cache_sync(&layer->slots, inode, slot);
	}
	return rc;
}

int layer_allocate_pages(struct layer *layer, uint64_t inode, uint32_t block, uint32_t count, uint32_t slot)
{
	assert(count <= PAGE_BLOCKS_MAX && block <= PAGE_BLOCKS_MAX - count && slot <= 1);
	if (count == 0)
		return 0;
	struct slot_file *file = NULL;
	int rc = slot_cache_take(&layer->slots, inode, slot, true, &file);
	if (rc < 0)
		return rc;
	rc = disk_allocate(slot_file_fd(file), place_of(block), place_of(count)) < 0 ? -(errno ? errno : EIO)
	                                                                             : 0;
	slot_cache_give_back(file, false);
	return rc;
}

int layer_punch_pages(struct layer *layer, uint64_t inode, uint32_t block, uint32_t count, uint32_t slot)
{
	assert(count <= PAGE_BLOCKS_MAX && block <= PAGE_BLOCKS_MAX - count && slot <= 1);
	if (count == 0)
		return 0;
	struct slot_file *file = NULL;
	int rc = slot_cache_take(&layer->slots, inode, slot, false, &file);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	rc = disk_punch(slot_file_fd(file), place_of(block), place_of(count)) < 0 ? -(errno ? errno : EIO)
	                                                                          : 0;
	slot_cache_give_back(file, false);
	return rc;
}

int layer_remove_file(struct layer *layer, uint64_t inode)
{
	int rc = 0;
	for (uint32_t slot = 0; slot < 2; slot++) {
		char name[SLOT_NAME_BYTES];
		slot_name(name, inode, slot);
		slot_cache_forget(&layer->slots, inode, slot);
		if (disk_unlink(layer->folder_fd, name) < 0 && rc == 0)
			rc = -(errno ? errno : EIO);
	}
	return rc;
}

/* ---- what a sealed layer has ---- */

size_t layer_file_count(const struct layer *layer)
{
	return layer->manifest.file_count;
}

struct layer_file layer_file_at(const struct layer *layer, size_t index)
{
	return manifest_file_at(&layer->manifest, index);
}

bool layer_find_file(const struct layer *layer, uint64_t inode, struct layer_file *ret)
{
	size_t low = 0, high = layer->manifest.file_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct layer_file file = manifest_file_at(&layer->manifest, middle);
		if (file.inode == inode) {
			*ret = file;
			return true;
		}
		if (file.inode < inode)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

bool layer_file_find_page(const struct layer_file *file, uint32_t block, struct page_entry *ret)
{
	if (file->entry_count == 0)
		return false;
	/* Blocks ascend without repeating: the n-th is at least n blocks behind the first, so the page is not behind that place; in a file
	 * without holes it is there. */
	uint32_t first = page_entry_unpack(file->entries).block;
	if (block < first)
		return false;
	size_t low = 0, high = file->entry_count, middle = block - first;
	if (middle >= high)
		middle = high - 1;
	while (low < high) {
		struct page_entry entry = page_entry_unpack(file->entries + middle * PAGE_ENTRY_BYTES);
		if (entry.block == block) {
			*ret = entry;
			return true;
		}
		if (entry.block < block)
			low = middle + 1;
		else
			high = middle;
		middle = low + (high - low) / 2;
	}
	return false;
}

struct slice layer_tree(const struct layer *layer)
{
	return layer->manifest.tree;
}

uint64_t layer_next_inode(const struct layer *layer)
{
	return layer->manifest.next_inode;
}

const struct manifest *layer_manifest(const struct layer *layer)
{
	assert(!layer->journal);
	return &layer->manifest;
}
