/*
 * What nobody names (store.h, S1 to S3). What to remove is decided under the lock; a layer then gets a name by which nobody can find it, and
 * goes without the lock. Old versions of a layer that is still needed:
 *
 *   1. under the lock, see which versions are named; those below the highest one that nobody names are old, and nobody can name them again
 *   2. without it, punch the slots that an old version names and no other one that has a manifest
 *   3. remove the old manifest, lowest version first
 *
 * A fold that runs meanwhile never writes to a slot that any manifest in the folder names (fold.h), so what is punched here is not what it writes.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/number.h"
#include "base/random.h"
#include "page_store/disk.h"
#include "page_store/page.h"
#include "page_store/store.h"
#include "page_store/store_record.h"

/* A version of a layer of this store that somebody names. */
struct named {
	char id[LAYER_ID_MAX + 1];
	uint32_t version;
};

struct collection {
	struct store *store;
	struct named *named; /* sorted by id and version, each once */
	size_t named_count, named_capacity;
	char **garbage; /* paths, relative to the store */
	size_t garbage_count;
	int64_t bytes;
};

static void collection_done(struct collection *collection)
{
	free(collection->named);
	for (size_t i = 0; i < collection->garbage_count; i++)
		free(collection->garbage[i]);
	free(collection->garbage);
}

static void note_reference(void *owner, const struct store_reference *reference)
{
	struct collection *c = owner;
	for (size_t i = 0; i < reference->stack_count; i++) {
		const struct layer_ref *ref = &reference->stack[i];
		if (strcmp(ref->store, store_id(c->store)) != 0)
			continue;
		if (c->named_count == c->named_capacity) {
			c->named_capacity = c->named_capacity ? 2 * c->named_capacity : 256;
			c->named = xrealloc(c->named, c->named_capacity * sizeof *c->named);
		}
		struct named *named = &c->named[c->named_count++];
		memcpy(named->id, ref->id, sizeof named->id);
		named->version = ref->version;
	}
}

static int compare_named(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int order = strcmp(x->id, y->id);
	return order ? order : (x->version > y->version) - (x->version < y->version);
}

static void sort_named(struct collection *c)
{
	if (c->named_count == 0)
		return;
	qsort(c->named, c->named_count, sizeof *c->named, compare_named);
	size_t kept = 1;
	for (size_t i = 1; i < c->named_count; i++)
		if (compare_named(&c->named[i], &c->named[kept - 1]) != 0)
			c->named[kept++] = c->named[i];
	c->named_count = kept;
}

static int compare_id(const void *key, const void *item)
{
	return strcmp(key, ((const struct named *)item)->id);
}

static bool is_named(const struct collection *c, const char *id)
{
	return c->named_count && bsearch(id, c->named, c->named_count, sizeof *c->named, compare_id);
}

static bool is_version_named(const struct collection *c, const char *id, uint32_t version)
{
	struct named key = { .version = version };
	(void)snprintf(key.id, sizeof key.id, "%s", id);
	return bsearch(&key, c->named, c->named_count, sizeof *c->named, compare_named) != NULL;
}

static void add_garbage(struct collection *c, char *path)
{
	c->garbage = xrealloc(c->garbage, (c->garbage_count + 1) * sizeof *c->garbage);
	c->garbage[c->garbage_count++] = path;
}

static bool take_remains(void *owner, const char *name)
{
	add_garbage(owner, xasprintf("garbage/%s", name));
	return true;
}

struct unnamed {
	const struct collection *collection;
	char **ids;
	size_t count;
};

static bool take_unnamed(void *owner, const char *name)
{
	struct unnamed *unnamed = owner;
	if (is_named(unnamed->collection, name))
		return true;
	unnamed->ids = xrealloc(unnamed->ids, (unnamed->count + 1) * sizeof *unnamed->ids);
	unnamed->ids[unnamed->count++] = xstrdup(name);
	return true;
}

static void unnamed_done(struct unnamed *unnamed)
{
	for (size_t i = 0; i < unnamed->count; i++)
		free(unnamed->ids[i]);
	free(unnamed->ids);
}

static status list(
        const struct store *store, const char *folder, disk_name_fn on_name, void *owner, struct error *err)
{
	CLEANUP(close_fd) int fd = disk_open(store_folder(store), folder, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0 || disk_list(fd, on_name, owner) < 0)
		return error_set(err, STATUS_IO, errno, "could not list folder \"%s\"", folder);
	return STATUS_OK;
}

static status set_aside(struct collection *c, struct error *err)
{
	CLEANUP(unnamed_done) struct unnamed unnamed = { .collection = c };
	status st = store_each_reference(c->store, note_reference, c, err);
	if (st != STATUS_OK)
		return st;
	sort_named(c);
	st = list(c->store, "garbage", take_remains, c, err);
	if (st == STATUS_OK)
		st = list(c->store, "layers", take_unnamed, &unnamed, err);
	for (size_t i = 0; st == STATUS_OK && i < unnamed.count; i++) {
		CLEANUP(free_text) char *from = xasprintf("layers/%s", unnamed.ids[i]);
		CLEANUP(free_text) char *to = xasprintf("garbage/%016" PRIx64, random_u64());
		if (disk_rename(store_folder(c->store), from, to) < 0)
			st = error_set(err, STATUS_IO, errno, "could not rename folder \"%s\"", from);
		else
			add_garbage(c, TAKE_PTR(to));
	}
	return st;
}

/* ---- old versions ---- */

struct versions {
	struct layer **old, **kept; /* old: highest first */
	size_t old_count, kept_count;
};

static void versions_done(struct versions *versions)
{
	for (size_t i = 0; i < versions->old_count; i++)
		layer_release(versions->old[i]);
	for (size_t i = 0; i < versions->kept_count; i++)
		layer_release(versions->kept[i]);
	free(versions->old);
	free(versions->kept);
}

struct manifests {
	uint32_t *versions; /* after sorting, highest first */
	size_t count;
};

static void manifests_done(struct manifests *manifests)
{
	free(manifests->versions);
}

static bool take_manifest(void *owner, const char *name)
{
	struct manifests *manifests = owner;
	int64_t version;
	if (strncmp(name, "manifest.", 9) != 0 ||
	        !number_parse(slice_from_text(name + 9), 0, UINT32_MAX, &version))
		return true; /* a slot file, a journal, a manifest that is being written */
	manifests->versions =
	        xrealloc(manifests->versions, (manifests->count + 1) * sizeof *manifests->versions);
	manifests->versions[manifests->count++] = (uint32_t)version;
	return true;
}

static int compare_descending(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x < y) - (x > y);
}

static status open_version(const struct collection *c, int folder_fd, const char *id, uint32_t version,
        struct layer **ret, struct error *err)
{
	struct layer_ref ref = { .version = version };
	(void)snprintf(ref.store, sizeof ref.store, "%s", store_id(c->store));
	(void)snprintf(ref.id, sizeof ref.id, "%s", id);
	CLEANUP(close_fd) int fd = fcntl(folder_fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return error_set(err, STATUS_IO, errno, "could not open layer \"%s\"", id);
	status st = layer_open_sealed(fd, &ref, ret, err);
	if (st == STATUS_OK)
		(void)TAKE_FD(fd);
	return st;
}

/* Those above the highest one that is named belong to a fold that is about to name them, or that was cut off: never old. */
static status open_versions(const struct collection *c, int folder_fd, const char *id, uint32_t highest,
        const struct manifests *manifests, struct versions *ret, struct error *err)
{
	ret->old = xcalloc(manifests->count, sizeof(struct layer *));
	ret->kept = xcalloc(manifests->count, sizeof(struct layer *));
	for (size_t i = 0; i < manifests->count; i++) {
		uint32_t version = manifests->versions[i];
		bool is_kept = version >= highest || is_version_named(c, id, version);
		struct layer **place = is_kept ? &ret->kept[ret->kept_count] : &ret->old[ret->old_count];
		status st = open_version(c, folder_fd, id, version, place, err);
		if (st != STATUS_OK)
			return st;
		++*(is_kept ? &ret->kept_count : &ret->old_count);
	}
	return STATUS_OK;
}

static bool is_slot_kept(const struct versions *versions, uint64_t inode, const struct page_entry *entry)
{
	for (size_t i = 0; i < versions->kept_count; i++) {
		struct layer_file file;
		struct page_entry other;
		if (layer_find_file(versions->kept[i], inode, &file) &&
		        layer_file_find_page(&file, entry->block, &other) && other.slot == entry->slot)
			return true;
	}
	return false;
}

/* Consecutive blocks of one slot file, gathered. */
struct punch {
	int fd;
	uint64_t first, count;
};

static status punch_out(struct punch *punch, struct error *err)
{
	if (punch->count == 0)
		return STATUS_OK;
	if (disk_punch(punch->fd, punch->first * PAGE_BYTES, punch->count * PAGE_BYTES) < 0 &&
	        errno != EOPNOTSUPP)
		return error_set(err, STATUS_IO, errno, "could not give back the space of old pages");
	punch->count = 0;
	return STATUS_OK;
}

static int64_t space_of(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 ? (int64_t)st.st_blocks * 512 : 0;
}

static status punch_file(struct collection *c, const struct versions *versions, int folder_fd,
        const struct layer_file *file, uint32_t slot, struct error *err)
{
	char name[32];
	(void)snprintf(name, sizeof name, "%016" PRIx64 ".%u", file->inode, slot);
	CLEANUP(close_fd) int fd = -1;
	struct punch punch = { .fd = -1 };
	int64_t before = 0;
	status st = STATUS_OK;
	for (size_t i = 0; st == STATUS_OK && i < file->entry_count; i++) {
		struct page_entry entry = page_entry_unpack(file->entries + i * PAGE_ENTRY_BYTES);
		if (entry.slot != slot || is_slot_kept(versions, file->inode, &entry))
			continue;
		if (fd < 0) {
			fd = disk_open(folder_fd, name, O_RDWR, 0);
			if (fd < 0)
				return errno == ENOENT ? STATUS_OK
				                       : error_set(err, STATUS_IO, errno,
				                                 "could not open file \"%s\"", name);
			punch.fd = fd;
			before = space_of(fd);
		}
		if (punch.count && punch.first + punch.count != entry.block)
			st = punch_out(&punch, err);
		if (punch.count == 0)
			punch.first = entry.block;
		punch.count++;
	}
	if (st == STATUS_OK && fd >= 0)
		st = punch_out(&punch, err);
	if (fd >= 0)
		c->bytes += before - space_of(fd);
	return st;
}

static status remove_version(
        struct collection *c, const struct versions *versions, int folder_fd, size_t old, struct error *err)
{
	const struct layer *layer = versions->old[old];
	status st = STATUS_OK;
	for (size_t i = 0; st == STATUS_OK && i < layer_file_count(layer); i++) {
		struct layer_file file = layer_file_at(layer, i);
		for (uint32_t slot = 0; st == STATUS_OK && slot < 2; slot++)
			st = punch_file(c, versions, folder_fd, &file, slot, err);
	}
	if (st != STATUS_OK)
		return st;
	char name[32];
	struct stat manifest = { 0 };
	(void)snprintf(name, sizeof name, "manifest.%" PRIu32, layer_name(layer)->version);
	(void)fstatat(folder_fd, name, &manifest, AT_SYMLINK_NOFOLLOW);
	if (disk_unlink(folder_fd, name) < 0)
		return error_set(err, STATUS_IO, errno, "could not remove file \"%s\"", name);
	c->bytes += (int64_t)manifest.st_blocks * 512;
	return STATUS_OK;
}

static status clean_layer(struct collection *c, const char *id, uint32_t highest, struct error *err)
{
	struct layer_ref ref = { .version = highest };
	(void)snprintf(ref.store, sizeof ref.store, "%s", store_id(c->store));
	(void)snprintf(ref.id, sizeof ref.id, "%s", id);
	CLEANUP(close_fd) int folder_fd = -1;
	CLEANUP(manifests_done) struct manifests manifests = { 0 };
	CLEANUP(versions_done) struct versions versions = { 0 };
	status st = store_open_layer_folder(c->store, &ref, &folder_fd, err);
	if (st != STATUS_OK)
		return st;
	if (disk_list(folder_fd, take_manifest, &manifests) < 0)
		return error_set(err, STATUS_IO, errno, "could not list layer \"%s\"", id);
	bool has_old = false;
	for (size_t i = 0; i < manifests.count; i++)
		has_old |= manifests.versions[i] < highest && !is_version_named(c, id, manifests.versions[i]);
	if (!has_old)
		return STATUS_OK;
	qsort(manifests.versions, manifests.count, sizeof *manifests.versions, compare_descending);
	st = open_versions(c, folder_fd, id, highest, &manifests, &versions, err);
	for (size_t i = versions.old_count; st == STATUS_OK && i-- > 0;) /* lowest first */
		st = remove_version(c, &versions, folder_fd, i, err);
	return st == STATUS_OK ? st : error_prefix(err, "layer \"%s\"", id);
}

static status clean_layers(struct collection *c, struct error *err)
{
	/* One that cannot be read does not keep the others from being cleaned; the first failure is told. */
	status result = STATUS_OK;
	for (size_t i = 0; i < c->named_count; i++) {
		const struct named *named = &c->named[i];
		bool is_highest = i + 1 == c->named_count || strcmp(c->named[i + 1].id, named->id) != 0;
		struct error one;
		if (!is_highest || named->version == 0)
			continue;
		status st = clean_layer(c, named->id, named->version, &one);
		if (st != STATUS_OK && result == STATUS_OK) {
			result = st;
			*err = one;
		}
	}
	return result;
}

static status remove_garbage(struct collection *c, struct error *err)
{
	status result = STATUS_OK;
	for (size_t i = 0; i < c->garbage_count; i++) {
		CLEANUP(free_text) char *path = store_path(c->store, "%s", c->garbage[i]);
		struct error one;
		int64_t bytes = 0;
		if (!file_exists(path))
			continue; /* somebody else was at it too */
		status st = tree_space(path, &bytes, &one);
		if (st == STATUS_OK)
			st = tree_remove(path, &one);
		if (st == STATUS_OK)
			c->bytes += bytes;
		else if (result == STATUS_OK) {
			result = st;
			*err = one;
		}
	}
	return result;
}

status store_collect_garbage(struct store *store, int64_t *ret_bytes, struct error *err)
{
	if (strncmp(store_id(store), STORE_TEMPLATE_PREFIX, strlen(STORE_TEMPLATE_PREFIX)) == 0) {
		if (ret_bytes)
			*ret_bytes = 0;
		return STATUS_OK; /* S4 */
	}
	CLEANUP(collection_done) struct collection collection = { .store = store };
	status st = store_lock(store, err);
	if (st == STATUS_OK) {
		st = set_aside(&collection, err);
		store_unlock(store);
	}
	if (st == STATUS_OK)
		st = remove_garbage(&collection, err);
	if (st == STATUS_OK)
		st = clean_layers(&collection, err);
	if (st != STATUS_OK)
		return error_prefix(err, "could not collect the garbage of store \"%s\"", store_id(store));
	if (ret_bytes)
		*ret_bytes = collection.bytes;
	return STATUS_OK;
}

status store_destroy(const struct data_directory *dd, const char *id, struct error *err)
{
	if (!store_name_is_valid(id, STORE_ID_MAX) || strchr(id, '.') ||
	        strncmp(id, STORE_TEMPLATE_PREFIX, strlen(STORE_TEMPLATE_PREFIX)) == 0)
		return error_set(err, STATUS_INVALID, 0, "\"%.80s\" is not a store that can be removed", id);
	CLEANUP(free_text) char *stores = data_directory_path(dd, "stores");
	CLEANUP(free_text) char *path = data_directory_path(dd, "stores/%s", id);
	CLEANUP(free_text) char *dead = data_directory_path(dd, "stores/%s.dead", id);
	/* Renamed first: a half-removed store would else look like one with missing layers. */
	status st = tree_remove(dead, err);
	if (st != STATUS_OK)
		return st;
	if (rename(path, dead) < 0)
		return errno == ENOENT
		               ? STATUS_OK
		               : error_set(err, STATUS_IO, errno, "could not rename folder \"%s\"", path);
	st = folder_sync(stores, err);
	return st == STATUS_OK ? tree_remove(dead, err) : st;
}
