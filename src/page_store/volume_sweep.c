/* What crashes left of volumes and stores (volume.h, V1; store.h, S3). */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "base/file.h"
#include "page_store/store.h"
#include "page_store/store_record.h"
#include "page_store/volume.h"
#include "page_store/volume_folder.h"

struct names {
	char **list;
	size_t count;
};

static void names_done(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->list[i]);
	free(names->list);
}

/* Read to the end first: the folder changes while its entries are dealt with. */
static status list_folder(const char *path, struct names *ret, struct error *err)
{
	CLEANUP(close_listing) DIR *folder = opendir(path);
	if (!folder)
		return errno == ENOENT
		               ? STATUS_OK
		               : error_set(err, STATUS_IO, errno, "could not list folder \"%s\"", path);
	for (struct dirent *item; (item = readdir(folder));) {
		if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
			continue;
		ret->list = xrealloc(ret->list, (ret->count + 1) * sizeof *ret->list);
		ret->list[ret->count++] = xstrdup(item->d_name);
	}
	return STATUS_OK;
}

static bool ends_with(const char *name, const char *suffix)
{
	size_t len = strlen(name), tail = strlen(suffix);
	return len > tail && strcmp(name + len - tail, suffix) == 0;
}

static bool is_remains(const char *name)
{
	const char *dot = strchr(name, '.');
	return dot && dot != name && (strcmp(dot, ".new") == 0 || strcmp(dot, ".dead") == 0);
}

/* One that cannot be dealt with does not keep the others; the first failure is told. */
static void note(status st, const struct error *one, status *result, struct error *err)
{
	if (st != STATUS_OK && *result == STATUS_OK) {
		*result = st;
		*err = *one;
	}
}

static status sweep_volumes(const struct data_directory *dd, void (*on_complete)(void *owner, const char *id),
        void *owner, struct error *err)
{
	CLEANUP(free_text) char *path = data_directory_path(dd, "volumes");
	CLEANUP(names_done) struct names names = { 0 };
	status result = list_folder(path, &names, err);
	for (size_t i = 0; i < names.count; i++) {
		struct error one;
		if (is_remains(names.list[i])) {
			CLEANUP(free_text) char *remains = xasprintf("%s/%s", path, names.list[i]);
			note(tree_remove(remains, &one), &one, &result, err);
		} else if (volume_id_is_valid(names.list[i])) {
			on_complete(owner, names.list[i]);
		}
	}
	return result;
}

static status remove_unless_volume(
        const struct data_directory *dd, struct store *store, const char *id, struct error *err)
{
	CLEANUP(free_text) char *path = data_directory_path(dd, "volumes/%s", id);
	return !volume_id_is_valid(id) || file_exists(path) ? STATUS_OK
	                                                    : volume_remove_references(store, id, err);
}

static status sweep_references(const struct data_directory *dd, struct store *store, struct error *err)
{
	CLEANUP(free_text) char *stacks_path = store_path(store, "stacks");
	CLEANUP(free_text) char *points_path = store_path(store, "points");
	CLEANUP(names_done) struct names stacks = { 0 };
	CLEANUP(names_done) struct names points = { 0 };
	status st = list_folder(stacks_path, &stacks, err);
	if (st == STATUS_OK)
		st = list_folder(points_path, &points, err);
	for (size_t i = 0; st == STATUS_OK && i < stacks.count; i++) {
		/* VOLUME.json, VOLUME.lock, VOLUME.json.new */
		CLEANUP(free_text) char *id = xstrndup(stacks.list[i], strcspn(stacks.list[i], "."));
		st = remove_unless_volume(dd, store, id, err);
	}
	for (size_t i = 0; st == STATUS_OK && i < points.count; i++)
		st = remove_unless_volume(dd, store, points.list[i], err);
	return st;
}

static status sweep_snapshots(struct store *store, struct error *err)
{
	CLEANUP(free_text) char *path = store_path(store, "snapshots");
	CLEANUP(names_done) struct names names = { 0 };
	status st = list_folder(path, &names, err);
	for (size_t i = 0; st == STATUS_OK && i < names.count; i++) {
		CLEANUP(free_text) char *remains = xasprintf("%s/%s", path, names.list[i]);
		if (is_remains(names.list[i]))
			st = tree_remove(remains, err);
	}
	return st;
}

static status sweep_store(const struct data_directory *dd, const char *id, struct error *err)
{
	CLEANUP(store_closep) struct store *store = NULL;
	status st = store_open(dd, id, &store, err);
	if (st == STATUS_NOT_FOUND)
		return STATUS_OK; /* half-made: store_create() will complete it */
	if (st == STATUS_OK)
		st = sweep_references(dd, store, err);
	if (st == STATUS_OK)
		st = sweep_snapshots(store, err);
	return st == STATUS_OK ? store_collect_garbage(store, NULL, err) : st;
}

static status sweep_stores(const struct data_directory *dd, struct error *err)
{
	CLEANUP(free_text) char *path = data_directory_path(dd, "stores");
	CLEANUP(names_done) struct names names = { 0 };
	status result = list_folder(path, &names, err);
	for (size_t i = 0; i < names.count; i++) {
		const char *name = names.list[i];
		struct error one;
		if (ends_with(name, ".dead")) {
			CLEANUP(free_text) char *dead = xasprintf("%s/%s", path, name);
			note(tree_remove(dead, &one), &one, &result, err);
		} else if (store_name_is_valid(name, STORE_ID_MAX) && !strchr(name, '.') &&
		           strncmp(name, STORE_TEMPLATE_PREFIX, strlen(STORE_TEMPLATE_PREFIX)) != 0) {
			note(sweep_store(dd, name, &one), &one, &result, err);
		}
	}
	return result;
}

status volume_sweep(const struct data_directory *dd, void (*on_complete)(void *owner, const char *id),
        void *owner, struct error *err)
{
	struct error one;
	status result = sweep_volumes(dd, on_complete, owner, err);
	note(sweep_stores(dd, &one), &one, &result, err);
	return result;
}
