/* Archiving a volume that sleeps (volume.h). */
#include "base/log.h"
#include "page_store/image.h"
#include "page_store/store.h"
#include "page_store/volume.h"

status volume_archive(const struct data_directory *dd, const char *id, const atomic_bool *shall_stop,
        struct volume_archived *ret, struct error *err)
{
	char store_name[STORE_ID_MAX + 1];
	CLEANUP(store_closep) struct store *store = NULL;
	struct image *image = NULL;
	*ret = (struct volume_archived){ 0 };
	status st = volume_find_store(dd, id, store_name, err);
	if (st == STATUS_OK)
		st = store_open(dd, store_name, &store, err);
	if (st == STATUS_OK)
		st = image_open(dd, store, id, &image, err);
	if (st != STATUS_OK)
		return st;
	while (st == STATUS_OK && !ret->is_whole && !atomic_load(shall_stop)) {
		st = image_fold_step(image, &ret->is_whole, err);
		ret->steps += st == STATUS_OK && !ret->is_whole;
	}
	struct error problem;
	if (image_close(image, st == STATUS_OK ? err : &problem) != STATUS_OK && st == STATUS_OK)
		st = STATUS_IO;
	return st;
}
