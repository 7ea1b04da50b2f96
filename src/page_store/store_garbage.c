/*
 * What nobody names (store.h, S1 to S3). What to remove is decided under the lock; a layer then gets a name by which nobody can find it, and
 * goes without the lock. One that somebody still reads (a fold has just replaced it) stays for the next time. Old versions of layers, and what a
 * sealing left undone, are for layer_tidy().
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/random.h"
#include "page_store/disk.h"
#include "page_store/manifest.h"
#include "page_store/store.h"
#include "page_store/store_record.h"

/* A version of a layer of this store that somebody names. */
struct named {
	char id[LAYER_ID_MAX + 1];
	uint32_t version;
	bool is_open; /* the last one of a stack */
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
		named->is_open = reference->is_stack && i + 1 == reference->stack_count;
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
		else
			c->named[kept - 1].is_open |= c->named[i].is_open;
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
	if (st == STATUS_OK && unnamed.count)
		st = store_sync_references(c->store, err);
	for (size_t i = 0; st == STATUS_OK && i < unnamed.count; i++) {
		CLEANUP(free_text) char *from = xasprintf("layers/%s", unnamed.ids[i]);
		CLEANUP(free_text) char *to = xasprintf("garbage/%016" PRIx64, random_u64());
		CLEANUP(close_fd) int fd = disk_open(store_folder(c->store), from, O_RDONLY | O_DIRECTORY, 0);
		if (fd >= 0 && layer_is_read(fd))
			continue;
		if (disk_rename(store_folder(c->store), from, to) < 0)
			st = error_set(err, STATUS_IO, errno, "could not rename folder \"%s\"", from);
		else
			add_garbage(c, TAKE_PTR(to));
	}
	return st;
}

/* ---- layers that stay ---- */

struct leftovers {
	size_t manifests;
	bool has_current, has_journal;
	uint32_t version;
};

static bool look_at_file(void *owner, const char *name)
{
	struct leftovers *left = owner;
	uint32_t version;
	if (strcmp(name, "journal") == 0) {
		left->has_journal = true;
	} else if (manifest_name_parse(name, &version)) {
		left->manifests++;
		left->has_current |= version == left->version;
	}
	return true;
}

/* Asked by layer_tidy() with the layer's lock, when no fold can come between. */
static bool is_only_version(void *owner, const struct layer_ref *ref)
{
	struct collection *c = owner;
	CLEANUP(collection_done) struct collection now = { .store = c->store };
	struct error err;
	if (store_lock(c->store, &err) != STATUS_OK)
		return false;
	status st = store_each_reference(c->store, note_reference, &now, &err);
	store_unlock(c->store);
	if (st == STATUS_OK)
		st = store_sync_references(c->store, &err);
	if (st != STATUS_OK)
		return false;
	sort_named(&now);
	bool is_named_so = false;
	for (size_t i = 0; i < now.named_count; i++) {
		if (strcmp(now.named[i].id, ref->id) != 0)
			continue;
		if (now.named[i].version != ref->version || now.named[i].is_open)
			return false;
		is_named_so = true;
	}
	return is_named_so;
}

static status clean_layer(struct collection *c, const struct named *named, struct error *err)
{
	struct layer_ref ref = { .version = named->version };
	(void)snprintf(ref.store, sizeof ref.store, "%s", store_id(c->store));
	memcpy(ref.id, named->id, sizeof ref.id);
	CLEANUP(free_text) char *path = store_path(c->store, "layers/%s", named->id);
	if (!file_exists(path))
		return STATUS_OK; /* folded since, and collected by somebody else; if not, who opens it tells */
	CLEANUP(close_fd) int folder_fd = -1;
	status st = store_open_layer_folder(c->store, &ref, &folder_fd, err);
	if (st != STATUS_OK)
		return st;
	/* Looking at names is cheap; opening a layer checks its whole manifest. */
	struct leftovers left = { .version = named->version };
	if (disk_list(folder_fd, look_at_file, &left) < 0)
		return error_set(err, STATUS_IO, errno, "could not list layer \"%s\"", named->id);
	if (!left.has_current || (left.manifests == 1 && !left.has_journal))
		return STATUS_OK; /* not sealed yet, or nothing left to do */
	int64_t before = 0, after = 0;
	bool is_busy;
	st = tree_space(path, &before, err);
	if (st == STATUS_OK)
		st = layer_tidy(folder_fd, &ref, is_only_version, c, &is_busy, err);
	if (st == STATUS_OK)
		st = tree_space(path, &after, err);
	c->bytes += before > after ? before - after : 0; /* it grows by nothing but a fold */
	return st == STATUS_OK ? st : error_prefix(err, "layer \"%s\"", named->id);
}

static status clean_layers(struct collection *c, struct error *err)
{
	/* One that cannot be read does not keep the others from being cleaned; the first failure is told. */
	status result = STATUS_OK;
	for (size_t i = 0; i < c->named_count; i++) {
		const struct named *named = &c->named[i];
		bool has_another_version =
		        (i > 0 && strcmp(named->id, c->named[i - 1].id) == 0) ||
		        (i + 1 < c->named_count && strcmp(named->id, c->named[i + 1].id) == 0);
		struct error one;
		if (named->is_open || has_another_version)
			continue;
		status st = clean_layer(c, named, &one);
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
