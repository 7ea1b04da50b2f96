/*
 * Giving back the space of a sealed layer: slots and files that its version in use does not name, and its other versions.
 *
 * A version of the manifest stays until all that it alone named is given back, so that what a crash left undone is found again; in the same
 * way a layer that was just sealed keeps its journal.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>

#include "page_store/disk.h"
#include "page_store/layer.h"
#include "page_store/manifest.h"
#include "page_store/slot_cache.h"

#define SLACK_BYTES (UINT64_C(64) << 10) /* of a slot file, not worth looking for */

int layer_lock_folder(int folder_fd)
{
	int fd = disk_open(folder_fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return -1;
	if (disk_lock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	int saved = errno;
	(void)disk_close(fd);
	errno = saved;
	return -1;
}

/* ---- what is in the folder ---- */

struct slot_place {
	uint64_t inode;
	uint32_t slot;
};

struct listing {
	struct slot_place *slots;
	size_t slot_count;
	uint32_t *versions; /* of manifests */
	size_t version_count;
	bool has_journal;
};

static void listing_done(struct listing *listing)
{
	free(listing->slots);
	free(listing->versions);
	*listing = (struct listing){ 0 };
}

/* Room for one more, doubling at powers of two. */
static void *with_room(void *array, size_t count, size_t size)
{
	return count & (count - 1) ? array : xrealloc(array, (count ? 2 * count : 1) * size);
}

static bool list_one(void *owner, const char *name)
{
	struct listing *listing = owner;
	struct slot_place place;
	uint32_t version = 0;
	if (slot_name_parse(name, &place.inode, &place.slot)) {
		listing->slots = with_room(listing->slots, listing->slot_count, sizeof place);
		listing->slots[listing->slot_count++] = place;
	} else if (manifest_name_parse(name, &version)) {
		listing->versions = with_room(listing->versions, listing->version_count, sizeof version);
		listing->versions[listing->version_count++] = version;
	} else if (strcmp(name, "journal") == 0) {
		listing->has_journal = true;
	}
	return true;
}

static status list_folder(int folder_fd, const struct layer_ref *ref, struct listing *ret, struct error *err)
{
	struct listing listing = { 0 };
	if (disk_list(folder_fd, list_one, &listing) < 0) {
		listing_done(&listing);
		return error_set(err, STATUS_IO, errno, "could not list the folder of layer \"%s\"", ref->id);
	}
	*ret = listing;
	return STATUS_OK;
}

/* ---- slots ---- */

static status punch(
        int fd, const struct layer_ref *ref, uint64_t from_block, uint64_t to_block, struct error *err)
{
	if (to_block > from_block &&
	        disk_punch(fd, from_block * PAGE_BYTES, (to_block - from_block) * PAGE_BYTES) < 0 &&
	        errno != EOPNOTSUPP) /* a file system without holes keeps it */
		return error_set(err, STATUS_IO, errno, "could not give back space of layer \"%s\"", ref->id);
	return STATUS_OK;
}

/* Punches what has data; `all`: holes too. To look costs a tenth of punching a hole once more. */
static status punch_gap(int fd, const struct layer_ref *ref, uint64_t from_block, uint64_t to_block, bool all,
        struct error *err)
{
	if (to_block > from_block && !all) {
		int64_t data = disk_seek_data(fd, from_block * PAGE_BYTES);
		if (data < 0)
			return error_set(err, STATUS_IO, errno,
			        "could not look for space of layer \"%s\" to give back", ref->id);
		if ((uint64_t)data >= to_block * PAGE_BYTES)
			return STATUS_OK;
	}
	return punch(fd, ref, from_block, to_block, err);
}

/* The gaps between the pages that entries name. *ret_kept: how many pages there are, *ret_end: where the last ends. */
static status punch_gaps(int fd, const struct layer_ref *ref, const struct layer_file *file, uint32_t slot,
        bool all, uint64_t *ret_kept, uint64_t *ret_end, struct error *err)
{
	uint64_t kept = 0, end = 0;
	for (size_t i = 0; i < file->entry_count; i++) {
		struct page_entry entry = page_entry_unpack(file->entries + i * PAGE_ENTRY_BYTES);
		if (entry.slot != slot)
			continue;
		status s = punch_gap(fd, ref, end, entry.block, all, err);
		if (s != STATUS_OK)
			return s;
		kept++;
		end = (uint64_t)entry.block + 1;
	}
	*ret_kept = kept;
	*ret_end = end;
	return STATUS_OK;
}

/* Does the file take up more than its pages, and the file system's own records of so many pieces, explain? */
static status takes_too_much(int fd, const struct layer_ref *ref, uint64_t kept, bool *ret, struct error *err)
{
	struct stat st;
	if (disk_stat(fd, &st) < 0)
		return error_set(err, STATUS_IO, errno, "could not give back space of layer \"%s\"", ref->id);
	uint64_t pages = kept * PAGE_BYTES;
	*ret = (uint64_t)st.st_blocks * 512 > pages + pages / 16 + SLACK_BYTES;
	return STATUS_OK;
}

/* Everything of the slot file that no entry names. */
static status punch_around(
        int fd, const struct layer_ref *ref, const struct layer_file *file, uint32_t slot, struct error *err)
{
	uint64_t kept = 0, end = 0;
	bool too_much = false;
	status s = punch_gaps(fd, ref, file, slot, false, &kept, &end, err);
	/* Not punched: what was allocated ahead is behind the end of the file, where a punch does not reach. */
	if (s == STATUS_OK && disk_truncate(fd, end * PAGE_BYTES) < 0)
		s = error_set(err, STATUS_IO, errno, "could not give back space of layer \"%s\"", ref->id);
	if (s == STATUS_OK)
		s = takes_too_much(fd, ref, kept, &too_much, err);
	/* Reserved, and never written. */
	if (s == STATUS_OK && too_much)
		s = punch_gaps(fd, ref, file, slot, true, &kept, &end, err);
	return s;
}

static bool names_slot(const struct layer_file *file, uint32_t slot)
{
	for (size_t i = 0; i < file->entry_count; i++) {
		if (page_entry_unpack(file->entries + i * PAGE_ENTRY_BYTES).slot == slot)
			return true;
	}
	return false;
}

static status open_slot(
        const struct layer *layer, uint64_t inode, uint32_t slot, int *ret_fd, struct error *err)
{
	char name[SLOT_NAME_BYTES];
	slot_name(name, inode, slot);
	int fd = disk_open(layer_folder(layer), name, O_RDWR, 0);
	if (fd < 0)
		return error_set(err, STATUS_IO, errno, "could not open a file of layer \"%s\"",
		        layer_name(layer)->id);
	*ret_fd = fd;
	return STATUS_OK;
}

/* Slot files that nothing names are removed; in the others, with `with_gaps`, everything is punched that nothing names. */
static status give_back_slots(
        const struct layer *layer, const struct listing *listing, bool with_gaps, struct error *err)
{
	const struct layer_ref *ref = layer_name(layer);
	for (size_t i = 0; i < listing->slot_count; i++) {
		const struct slot_place *place = &listing->slots[i];
		struct layer_file file;
		if (!layer_find_file(layer, place->inode, &file) || !names_slot(&file, place->slot)) {
			char name[SLOT_NAME_BYTES];
			slot_name(name, place->inode, place->slot);
			if (disk_unlink(layer_folder(layer), name) < 0)
				return error_set(err, STATUS_IO, errno,
				        "could not remove a file of layer \"%s\"", ref->id);
			continue;
		}
		if (!with_gaps)
			continue;
		CLEANUP(disk_close_fd) int fd = -1;
		status s = open_slot(layer, place->inode, place->slot, &fd, err);
		if (s == STATUS_OK)
			s = punch_around(fd, ref, &file, place->slot, err);
		if (s != STATUS_OK)
			return s;
	}
	return STATUS_OK;
}

/* Pages of one slot that `old` names and `now` does not. */
static status punch_superseded(const struct layer *layer, const struct layer_file *old,
        const struct layer_file *now, uint32_t slot, struct error *err)
{
	CLEANUP(disk_close_fd) int fd = -1;
	uint64_t from = 0, to = 0; /* gathered */
	status s = STATUS_OK;
	for (size_t i = 0, j = 0; s == STATUS_OK && i < old->entry_count; i++) {
		struct page_entry entry = page_entry_unpack(old->entries + i * PAGE_ENTRY_BYTES);
		struct page_entry other = { 0 };
		while (j < now->entry_count &&
		        (other = page_entry_unpack(now->entries + j * PAGE_ENTRY_BYTES)).block < entry.block)
			j++;
		bool is_kept = j < now->entry_count && other.block == entry.block && other.slot == slot;
		if (entry.slot != slot || is_kept)
			continue;
		if (fd < 0)
			s = open_slot(layer, old->inode, slot, &fd, err);
		if (s == STATUS_OK && entry.block != to) {
			s = punch(fd, layer_name(layer), from, to, err);
			from = entry.block;
		}
		to = (uint64_t)entry.block + 1;
	}
	if (s == STATUS_OK && fd >= 0)
		s = punch(fd, layer_name(layer), from, to, err);
	return s;
}

/* What the older version named, and no other: the cost is that of the difference, not of the layer. */
static status give_back_difference(const struct layer *layer, const struct manifest *old, struct error *err)
{
	for (size_t i = 0; i < old->file_count; i++) {
		struct layer_file before = manifest_file_at(old, i), now;
		if (!layer_find_file(layer, before.inode, &now))
			continue; /* its slot files are gone */
		for (uint32_t slot = 0; slot < 2; slot++) {
			if (!names_slot(&now, slot))
				continue;
			status s = punch_superseded(layer, &before, &now, slot, err);
			if (s != STATUS_OK)
				return s;
		}
	}
	return STATUS_OK;
}

/* The other versions of a layer, locked so that nobody begins to read one. */
struct other {
	uint32_t version;
	bool is_open; /* the manifest is; else it is damaged, and fd has the lock */
	struct manifest manifest;
	int fd;
};

struct others {
	struct other *list;
	size_t count;
};

static void others_done(struct others *others)
{
	for (size_t i = 0; i < others->count; i++) {
		if (others->list[i].is_open)
			manifest_close(&others->list[i].manifest);
		disk_close_fd(&others->list[i].fd);
	}
	free(others->list);
}

/* With the folder's lock. */
static status give_back(const struct layer *layer, const struct listing *listing, const struct others *others,
        struct error *err)
{
	int folder_fd = layer_folder(layer);
	const struct layer_ref *ref = layer_name(layer);
	/* The manifest's name may be the work of a process that was killed before it was durable; what it replaces goes now. */
	if (disk_sync(folder_fd) < 0)
		return error_set(err, STATUS_IO, errno, "could not sync the folder of layer \"%s\"", ref->id);
	/* All gaps once, after sealing; then only what versions leave behind. */
	bool with_gaps = listing->has_journal;
	for (size_t i = 0; i < others->count; i++)
		with_gaps |= !others->list[i].is_open;
	status s = give_back_slots(layer, listing, with_gaps, err);
	for (size_t i = 0; s == STATUS_OK && !with_gaps && i < others->count; i++)
		s = give_back_difference(layer, &others->list[i].manifest, err);
	if (s != STATUS_OK)
		return s;
	for (size_t i = 0; i < others->count; i++) {
		char name[MANIFEST_NAME_BYTES];
		manifest_name(name, others->list[i].version);
		if (disk_unlink(folder_fd, name) < 0)
			return error_set(
			        err, STATUS_IO, errno, "could not remove a version of layer \"%s\"", ref->id);
	}
	if (disk_unlink(folder_fd, "journal") < 0)
		return error_set(
		        err, STATUS_IO, errno, "could not remove the journal of layer \"%s\"", ref->id);
	return STATUS_OK;
}

status layer_finish_seal(struct layer *sealed, struct error *err)
{
	assert(!layer_journal(sealed));
	CLEANUP(disk_close_fd) int lock = layer_lock_folder(layer_folder(sealed));
	if (lock < 0) {
		if (errno == EWOULDBLOCK)
			return STATUS_OK; /* a fold: what is left to do here is done after it, by layer_tidy() */
		return error_set(
		        err, STATUS_IO, errno, "could not lock layer \"%s\"", layer_name(sealed)->id);
	}
	CLEANUP(listing_done) struct listing listing = { 0 };
	status s = list_folder(layer_folder(sealed), layer_name(sealed), &listing, err);
	if (s != STATUS_OK)
		return s;
	if (listing.version_count != 1 || listing.versions[0] != layer_name(sealed)->version)
		return STATUS_OK; /* folded meanwhile: who reads the other version is for layer_tidy() to find out */
	return give_back(sealed, &listing, &(struct others){ 0 }, err);
}

static status lock_other(
        int folder_fd, const struct layer_ref *ref, struct other *other, bool *ret_is_busy, struct error *err)
{
	status s = manifest_open(folder_fd, ref, &other->manifest, err);
	other->is_open = s == STATUS_OK;
	if (s == STATUS_CORRUPT) { /* nobody can read it; it goes with all that is not named otherwise */
		char name[MANIFEST_NAME_BYTES];
		manifest_name(name, ref->version);
		other->fd = disk_open(folder_fd, name, O_RDONLY, 0);
		s = other->fd < 0 ? error_set(err, STATUS_IO, errno,
		                            "could not open a version of layer \"%s\"", ref->id)
		                  : STATUS_OK;
	}
	if (s == STATUS_OK &&
	        disk_lock(other->is_open ? other->manifest.fd : other->fd, LOCK_EX | LOCK_NB) < 0)
		s = error_set(err, errno == EWOULDBLOCK ? STATUS_UNAVAILABLE : STATUS_IO, errno,
		        "could not lock a version of layer \"%s\"", ref->id);
	*ret_is_busy = s == STATUS_UNAVAILABLE;
	return s == STATUS_UNAVAILABLE ? STATUS_OK : s;
}

/* *ret_is_busy: somebody reads one of them. */
static status lock_others(int folder_fd, const struct layer_ref *ref, const struct listing *listing,
        struct others *others, bool *ret_is_busy, struct error *err)
{
	others->list = xcalloc(listing->version_count + 1, sizeof *others->list);
	bool is_busy = false;
	for (size_t i = 0; i < listing->version_count && !is_busy; i++) {
		struct layer_ref at = *ref;
		at.version = listing->versions[i];
		if (at.version == ref->version)
			continue;
		struct other *other = &others->list[others->count++];
		*other = (struct other){ .version = at.version, .fd = -1 };
		status s = lock_other(folder_fd, &at, other, &is_busy, err);
		if (s != STATUS_OK)
			return s;
	}
	*ret_is_busy = is_busy;
	return STATUS_OK;
}

status layer_tidy_locked(const struct layer *layer, layer_check_fn is_still_so, void *owner,
        bool *ret_is_busy, struct error *err)
{
	int folder_fd = layer_folder(layer);
	const struct layer_ref *ref = layer_name(layer);
	CLEANUP(listing_done) struct listing listing = { 0 };
	status s = list_folder(folder_fd, ref, &listing, err);
	if (s != STATUS_OK)
		return s;
	if (listing.version_count == 1 && !listing.has_journal) {
		*ret_is_busy = false;
		return STATUS_OK;
	}
	if (is_still_so && !is_still_so(owner, ref)) {
		*ret_is_busy = true;
		return STATUS_OK;
	}
	CLEANUP(others_done) struct others others = { 0 };
	bool is_busy = false;
	s = lock_others(folder_fd, ref, &listing, &others, &is_busy, err);
	if (s == STATUS_OK && !is_busy)
		s = give_back(layer, &listing, &others, err);
	if (s == STATUS_OK)
		*ret_is_busy = is_busy;
	return s;
}

status layer_tidy(int folder_fd, const struct layer_ref *ref, layer_check_fn is_still_so, void *owner,
        bool *ret_is_busy, struct error *err)
{
	CLEANUP(disk_close_fd) int lock = layer_lock_folder(folder_fd);
	if (lock < 0 && errno == EWOULDBLOCK) {
		*ret_is_busy = true;
		return STATUS_OK;
	}
	CLEANUP(disk_close_fd)
	int own_fd = lock < 0 ? -1 : disk_open(folder_fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (own_fd < 0)
		return error_set(err, STATUS_IO, errno, "could not lock layer \"%s\"", ref->id);
	struct layer *layer = NULL;
	status s = layer_open_sealed(own_fd, ref, &layer, err);
	if (s != STATUS_OK)
		return s;
	(void)TAKE_FD(own_fd);
	s = layer_tidy_locked(layer, is_still_so, owner, ret_is_busy, err);
	(void)layer_release(layer);
	return s;
}

bool layer_is_read(int folder_fd)
{
	CLEANUP(listing_done) struct listing listing = { 0 };
	struct layer_ref none = { .version = 0 };
	struct error err;
	if (list_folder(folder_fd, &none, &listing, &err) != STATUS_OK)
		return true; /* who cannot look does not remove */
	for (size_t i = 0; i < listing.version_count; i++) {
		char name[MANIFEST_NAME_BYTES];
		manifest_name(name, listing.versions[i]);
		CLEANUP(disk_close_fd) int fd = disk_open(folder_fd, name, O_RDONLY, 0);
		if (fd < 0 ? errno != ENOENT : disk_lock(fd, LOCK_EX | LOCK_NB) < 0)
			return true;
	}
	CLEANUP(disk_close_fd) int lock = layer_lock_folder(folder_fd);
	return lock < 0;
}
