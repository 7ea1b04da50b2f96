/*
 * make_volume DIR STORE VOLUME UID GID [STORE/LAYER@VERSION…]: a volume in a data directory (made if it is not there), empty or on the layers of a
 * cut, for the tests of the file system, which need neither control nor Postgres: DIR/volumes/VOLUME/data is then the mount point
 * for `tarn pagefs`.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/number.h"
#include "page_store/image.h"

static status make_folders(
        const struct data_directory *dd, const char *volume, uint32_t uid, uint32_t gid, struct error *err)
{
	CLEANUP(free_text) char *volumes = data_directory_path(dd, "volumes");
	CLEANUP(free_text) char *folder = data_directory_path(dd, "volumes/%s", volume);
	CLEANUP(free_text) char *mount_point = data_directory_path(dd, "volumes/%s/data", volume);
	CLEANUP(free_text) char *stores = data_directory_path(dd, "stores");
	status st = folder_make(volumes, 0711, err);
	if (st == STATUS_OK)
		st = folder_make(stores, 0700, err);
	if (st == STATUS_OK)
		st = folder_make(folder, 0711, err);
	if (st == STATUS_OK)
		st = folder_make(mount_point, 0700, err);
	if (st == STATUS_OK && chown(mount_point, uid, gid) < 0)
		st = error_set(err, STATUS_IO, errno, "could not give \"%s\" away", mount_point);
	return st;
}

/* "STORE/LAYER@VERSION" */
static bool parse_layer(const char *text, struct layer_ref *ret)
{
	struct layer_ref ref = { 0 };
	const char *slash = strchr(text, '/'), *at = slash ? strchr(slash, '@') : NULL;
	int64_t version;
	if (!at || (size_t)(slash - text) >= sizeof ref.store || (size_t)(at - slash) > sizeof ref.id ||
	        !number_parse(slice_from_text(at + 1), 0, UINT32_MAX, &version))
		return false;
	memcpy(ref.store, text, (size_t)(slash - text));
	memcpy(ref.id, slash + 1, (size_t)(at - slash - 1));
	ref.version = (uint32_t)version;
	*ret = ref;
	return true;
}

static status make_stack(const struct data_directory *dd, const char *store_name, const char *volume,
        const struct layer_ref *layers, size_t layer_count, uint32_t uid, uint32_t gid, struct error *err)
{
	CLEANUP(store_closep) struct store *store = NULL;
	status st = store_create(dd, store_name, &store, err);
	if (st == STATUS_OK)
		st = store_lock(store, err);
	if (st != STATUS_OK)
		return st;
	st = image_create(store, volume, layers, layer_count, uid, gid, err);
	store_unlock(store);
	return st;
}

int main(int argc, char **argv)
{
	int64_t uid, gid;
	if (argc < 6 || !number_parse(slice_from_text(argv[4]), 0, UINT32_MAX, &uid) ||
	        !number_parse(slice_from_text(argv[5]), 0, UINT32_MAX, &gid)) {
		(void)fprintf(
		        stderr, "usage: make_volume DIR STORE VOLUME UID GID [STORE/LAYER@VERSION...]\n");
		return 2;
	}
	size_t layer_count = (size_t)argc - 6;
	struct layer_ref *layers = xcalloc(layer_count + 1, sizeof *layers);
	for (size_t i = 0; i < layer_count; i++)
		if (!parse_layer(argv[6 + i], &layers[i])) {
			(void)fprintf(stderr, "make_volume: \"%s\" is no layer\n", argv[6 + i]);
			return 2;
		}
	struct error err;
	CLEANUP(data_directory_freep) struct data_directory *dd = NULL;
	const struct settings changes = { 0 };
	status st = data_directory_initialise(argv[1], &changes, &err);
	if (st == STATUS_OK)
		st = data_directory_open(argv[1], &dd, &err);
	if (st == STATUS_OK)
		st = make_folders(dd, argv[3], (uint32_t)uid, (uint32_t)gid, &err);
	if (st == STATUS_OK)
		st = make_stack(
		        dd, argv[2], argv[3], layers, layer_count, (uint32_t)uid, (uint32_t)gid, &err);
	free(layers);
	if (st != STATUS_OK) {
		(void)fprintf(stderr, "make_volume: %s\n", err.message);
		return 1;
	}
	return 0;
}
