#include "page_store/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>

#include "base/file.h"
#include "page_store/disk.h"
#include "page_store/restore_point.h"
#include "page_store/store_record.h"
#include "page_store/volume.h"

struct store {
	char *path; /* stores/ID */
	char *stores_path;
	char id[STORE_ID_MAX + 1];
	int folder_fd;
	int lock_fd;
	pthread_mutex_t mutex; /* the threads that share this; the file's lock keeps everybody else out */
	bool is_locked;
};

static bool is_template(const char *id)
{
	return strncmp(id, STORE_TEMPLATE_PREFIX, strlen(STORE_TEMPLATE_PREFIX)) == 0;
}

static status check_id(const char *id, struct error *err)
{
	/* Without dots, so that no store can be taken for one that is being removed. */
	if (store_name_is_valid(id, STORE_ID_MAX) && !strchr(id, '.'))
		return STATUS_OK;
	return error_set(err, STATUS_INVALID, 0, "\"%.80s\" is not the name of a store", id);
}

static status make_folder(int in_fd, const char *name, struct error *err)
{
	if (disk_make_folder(in_fd, name, 0700) < 0 && errno != EEXIST)
		return error_set(err, STATUS_IO, errno, "could not create folder \"%s\"", name);
	return STATUS_OK;
}

static status open_folder(int in_fd, const char *name, int *ret_fd, struct error *err)
{
	int fd = disk_open(in_fd, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return error_set(err, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, errno,
		        "could not open folder \"%s\"", name);
	*ret_fd = fd;
	return STATUS_OK;
}

/* store.json is written last: with it the store is complete. */
static status fill(int folder_fd, struct error *err)
{
	static const char *const folders[] = { "layers", "stacks", "points", "snapshots", "garbage" };
	struct stat file;
	CLEANUP(disk_close_fd) int record_fd = disk_open(folder_fd, "store.json", O_RDONLY, 0);
	if (record_fd >= 0 && disk_stat(record_fd, &file) == 0 && file.st_size > 0)
		return STATUS_OK;
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		status st = make_folder(folder_fd, folders[i], err);
		if (st != STATUS_OK)
			return st;
	}
	CLEANUP(store_record_writer_done) struct store_record_writer writer;
	CLEANUP(buffer_done) struct buffer text = { 0 };
	store_record_writer_start(&writer);
	store_record_format(&writer, "store", STORE_VERSION, &text);
	return store_record_replace_file(folder_fd, "store.json", buffer_slice(&text), err);
}

status store_create(const struct data_directory *dd, const char *id, struct store **ret, struct error *err)
{
	status st = check_id(id, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *stores = data_directory_path(dd, "stores");
	CLEANUP(close_fd) int stores_fd = -1;
	CLEANUP(close_fd) int folder_fd = -1;
	st = folder_make(stores, 0700, err);
	if (st == STATUS_OK)
		st = open_folder(AT_FDCWD, stores, &stores_fd, err);
	if (st == STATUS_OK)
		st = make_folder(stores_fd, id, err);
	if (st == STATUS_OK)
		st = open_folder(stores_fd, id, &folder_fd, err);
	if (st == STATUS_OK && disk_sync(stores_fd) < 0)
		st = error_set(err, STATUS_IO, errno, "could not sync folder \"%s\"", stores);
	if (st == STATUS_OK)
		st = fill(folder_fd, err);
	if (st != STATUS_OK)
		return error_prefix(err, "could not create store \"%s\"", id);
	return store_open(dd, id, ret, err);
}

static status read_version(const struct store *store, struct error *err)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	CLEANUP(store_record_done) struct store_record record = { 0 };
	status st = store_record_read_file(store->folder_fd, "store.json", &text, err);
	if (st == STATUS_NOT_FOUND)
		return error_set(err, STATUS_NOT_FOUND, 0, "store \"%s\" is not complete", store->id);
	if (st == STATUS_OK)
		st = store_record_parse(
		        buffer_slice(&text), "store", STORE_VERSION, STORE_VERSION, &record, err);
	return st == STATUS_OK ? st : error_prefix(err, "store \"%s\"", store->id);
}

static status open_store(struct store *store, struct error *err)
{
	status st = open_folder(AT_FDCWD, store->path, &store->folder_fd, err);
	if (st == STATUS_NOT_FOUND)
		return error_set(err, STATUS_NOT_FOUND, 0, "store \"%s\" does not exist", store->id);
	if (st == STATUS_OK)
		st = read_version(store, err);
	if (st != STATUS_OK)
		return st;
	store->lock_fd = disk_open(store->folder_fd, "lock", O_RDWR | O_CREAT, 0600);
	if (store->lock_fd < 0)
		return error_set(err, STATUS_IO, errno, "could not open the lock of store \"%s\"", store->id);
	return STATUS_OK;
}

status store_open(const struct data_directory *dd, const char *id, struct store **ret, struct error *err)
{
	status st = check_id(id, err);
	if (st != STATUS_OK)
		return st;
	struct store *store = xcalloc(1, sizeof *store);
	*store = (struct store){ .folder_fd = -1, .lock_fd = -1 };
	(void)pthread_mutex_init(&store->mutex, NULL);
	memcpy(store->id, id, strlen(id) + 1);
	store->stores_path = data_directory_path(dd, "stores");
	store->path = xasprintf("%s/%s", store->stores_path, id);
	st = open_store(store, err);
	if (st != STATUS_OK) {
		store_close(store);
		return st;
	}
	*ret = store;
	return STATUS_OK;
}

struct store *store_close(struct store *store)
{
	if (!store)
		return NULL;
	assert(!store->is_locked);
	close_fd(&store->folder_fd);
	disk_close_fd(&store->lock_fd);
	free(store->path);
	free(store->stores_path);
	(void)pthread_mutex_destroy(&store->mutex);
	free(store);
	return NULL;
}

const char *store_id(const struct store *store)
{
	return store->id;
}

int store_folder(const struct store *store)
{
	return store->folder_fd;
}

char *store_path(const struct store *store, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	char *rest = NULL;
	int len = vasprintf(&rest, fmt, args);
	va_end(args);
	if (len < 0)
		abort(); /* out of memory, as xasprintf() */
	char *path = xasprintf("%s/%s", store->path, rest);
	free(rest);
	return path;
}

status store_lock(struct store *store, struct error *err)
{
	(void)pthread_mutex_lock(&store->mutex);
	if (disk_lock(store->lock_fd, LOCK_EX) < 0) {
		int saved = errno;
		(void)pthread_mutex_unlock(&store->mutex);
		return error_set(err, STATUS_IO, saved, "could not lock store \"%s\"", store->id);
	}
	__atomic_store_n(&store->is_locked, true, __ATOMIC_RELAXED);
	return STATUS_OK;
}

void store_unlock(struct store *store)
{
	assert(store_is_locked(store));
	__atomic_store_n(&store->is_locked, false, __ATOMIC_RELAXED);
	int rc = disk_lock(store->lock_fd, LOCK_UN);
	assert(rc == 0);
	(void)rc;
	(void)pthread_mutex_unlock(&store->mutex);
}

bool store_is_locked(const struct store *store)
{
	return __atomic_load_n(&store->is_locked, __ATOMIC_RELAXED);
}

status store_open_layer_folder(
        const struct store *store, const struct layer_ref *ref, int *ret_fd, struct error *err)
{
	if (!store_name_is_valid(ref->id, LAYER_ID_MAX) || !store_name_is_valid(ref->store, STORE_ID_MAX))
		return error_set(err, STATUS_CORRUPT, 0, "\"%.80s\" is not the name of a layer", ref->id);
	if (strcmp(ref->store, store->id) != 0 && !is_template(ref->store))
		return error_set(err, STATUS_CORRUPT, 0, "layer \"%s\" is in the foreign store \"%s\"",
		        ref->id, ref->store);
	CLEANUP(free_text) char *path = xasprintf("%s/%s/layers/%s", store->stores_path, ref->store, ref->id);
	int fd = disk_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0 && errno == ENOENT)
		return error_set(err, STATUS_CORRUPT, 0, "layer \"%s\" of store \"%s\" is missing", ref->id,
		        ref->store);
	if (fd < 0)
		return error_set(err, STATUS_IO, errno, "could not open folder \"%s\"", path);
	*ret_fd = fd;
	return STATUS_OK;
}

struct name_search {
	const struct store *store;
	const char *layer_id;
	bool is_named;
};

static void look_for_layer(void *owner, const struct store_reference *reference)
{
	struct name_search *search = owner;
	for (size_t i = 0; i < reference->stack_count; i++)
		if (strcmp(reference->stack[i].store, search->store->id) == 0 &&
		        strcmp(reference->stack[i].id, search->layer_id) == 0)
			search->is_named = true;
}

/* Its name was given away by a stack that did not come to be. */
static status remove_remains(const struct store *store, const char *layer_id, struct error *err)
{
	struct name_search search = { .store = store, .layer_id = layer_id };
	status st = store_each_reference(store, look_for_layer, &search, err);
	if (st != STATUS_OK)
		return st;
	if (search.is_named)
		return error_set(
		        err, STATUS_EXISTS, 0, "layer \"%s\" of store \"%s\" exists", layer_id, store->id);
	st = store_sync_references(store, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *path = store_path(store, "layers/%s", layer_id);
	return tree_remove(path, err);
}

status store_make_layer_folder(
        const struct store *store, const char *layer_id, int *ret_fd, struct error *err)
{
	assert(store_is_locked(store));
	if (!store_name_is_valid(layer_id, LAYER_ID_MAX))
		return error_set(err, STATUS_INVALID, 0, "\"%.80s\" is not the name of a layer", layer_id);
	CLEANUP(close_fd) int layers_fd = -1;
	CLEANUP(close_fd) int fd = -1;
	status st = open_folder(store->folder_fd, "layers", &layers_fd, err);
	if (st != STATUS_OK)
		return st;
	int rc = disk_make_folder(layers_fd, layer_id, 0700);
	if (rc < 0 && errno == EEXIST) {
		st = remove_remains(store, layer_id, err);
		if (st != STATUS_OK)
			return st;
		rc = disk_make_folder(layers_fd, layer_id, 0700);
	}
	if (rc < 0 || disk_sync(layers_fd) < 0)
		return error_set(err, STATUS_IO, errno, "could not create layer \"%s\" of store \"%s\"",
		        layer_id, store->id);
	st = open_folder(layers_fd, layer_id, &fd, err);
	if (st == STATUS_OK)
		*ret_fd = TAKE_FD(fd);
	return st;
}

/* ---- references ---- */

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

static bool take_name(void *owner, const char *name)
{
	struct names *names = owner;
	names->list = xrealloc(names->list, (names->count + 1) * sizeof *names->list);
	names->list[names->count++] = xstrdup(name);
	return true;
}

static status list_folder(const struct store *store, const char *name, struct names *ret, struct error *err)
{
	CLEANUP(close_fd) int fd = -1;
	status st = open_folder(store->folder_fd, name, &fd, err);
	if (st == STATUS_OK && disk_list(fd, take_name, ret) < 0)
		st = error_set(err, STATUS_IO, errno, "could not list folder \"%s\"", name);
	return st == STATUS_OK ? st : error_prefix(err, "store \"%s\"", store->id);
}

static status each_stack(
        const struct store *store, store_reference_fn on_reference, void *owner, struct error *err)
{
	CLEANUP(names_done) struct names names = { 0 };
	status st = list_folder(store, "stacks", &names, err);
	for (size_t i = 0; st == STATUS_OK && i < names.count; i++) {
		size_t len = strlen(names.list[i]);
		if (len <= 5 || strcmp(names.list[i] + len - 5, ".json") != 0)
			continue; /* a lock, or what a crash left of a replacement */
		CLEANUP(free_text) char *volume_id = xstrndup(names.list[i], len - 5);
		CLEANUP(stack_done) struct stack stack = { 0 };
		st = stack_read(store, volume_id, &stack, err);
		if (st == STATUS_OK)
			on_reference(owner, &(struct store_reference){ .volume_id = volume_id,
			                            .is_stack = true,
			                            .stack = stack.layers,
			                            .stack_count = stack.count });
	}
	return st;
}

static void free_numbers(uint64_t **numbers)
{
	free(*numbers);
}

static status each_point_of(const struct store *store, const char *volume_id, store_reference_fn on_reference,
        void *owner, struct error *err)
{
	CLEANUP(free_numbers) uint64_t *numbers = NULL;
	size_t count = 0;
	status st = restore_point_list(store, volume_id, &numbers, &count, err);
	for (size_t i = 0; st == STATUS_OK && i < count; i++) {
		CLEANUP(restore_point_done) struct restore_point point = { 0 };
		st = restore_point_read(store, volume_id, numbers[i], &point, err);
		if (st == STATUS_OK)
			on_reference(owner, &(struct store_reference){ .volume_id = volume_id,
			                            .point = point.number,
			                            .stack = point.layers,
			                            .stack_count = point.layer_count });
	}
	return st;
}

static status each_point(
        const struct store *store, store_reference_fn on_reference, void *owner, struct error *err)
{
	CLEANUP(names_done) struct names names = { 0 };
	status st = list_folder(store, "points", &names, err);
	for (size_t i = 0; st == STATUS_OK && i < names.count; i++)
		st = each_point_of(store, names.list[i], on_reference, owner, err);
	return st;
}

static status each_snapshot(
        const struct store *store, store_reference_fn on_reference, void *owner, struct error *err)
{
	CLEANUP(names_done) struct names names = { 0 };
	status st = snapshot_list(store, &names.list, &names.count, err);
	for (size_t i = 0; st == STATUS_OK && i < names.count; i++) {
		CLEANUP(restore_point_done) struct restore_point point = { 0 };
		st = snapshot_read(store, names.list[i], &point, err);
		if (st == STATUS_OK)
			on_reference(owner, &(struct store_reference){ .point = point.number,
			                            .stack = point.layers,
			                            .stack_count = point.layer_count });
	}
	return st;
}

status store_each_reference(
        const struct store *store, store_reference_fn on_reference, void *owner, struct error *err)
{
	assert(store_is_locked(store));
	status st = each_stack(store, on_reference, owner, err);
	if (st == STATUS_OK)
		st = each_point(store, on_reference, owner, err);
	return st == STATUS_OK ? each_snapshot(store, on_reference, owner, err) : st;
}

static status sync_folder(const struct store *store, const char *path, struct error *err)
{
	CLEANUP(close_fd) int fd = -1;
	status st = open_folder(store->folder_fd, path, &fd, err);
	if (st == STATUS_OK && disk_sync(fd) < 0)
		st = error_set(err, STATUS_IO, errno, "could not sync folder \"%s\"", path);
	return st;
}

status store_sync_references(const struct store *store, struct error *err)
{
	CLEANUP(names_done) struct names names = { 0 };
	status st = list_folder(store, "points", &names, err);
	for (size_t i = 0; st == STATUS_OK && i < names.count; i++) {
		CLEANUP(free_text) char *path = xasprintf("points/%s", names.list[i]);
		st = sync_folder(store, path, err);
		if (st == STATUS_NOT_FOUND)
			st = STATUS_OK; /* removed meanwhile; "points" comes after it */
	}
	static const char *const folders[] = { "points", "stacks", "snapshots" };
	for (size_t i = 0; st == STATUS_OK && i < ARRAY_LEN(folders); i++)
		st = sync_folder(store, folders[i], err);
	return st == STATUS_OK ? st : error_prefix(err, "store \"%s\"", store->id);
}
