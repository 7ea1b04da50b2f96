/*
 * Volume folder: names and files of one volume on the disk, shared by what makes volumes (volume_create.c,
 * volume_clone.c) and what uses them (volume.c).
 */
#pragma once

#include "base/base.h"
#include "base/system_user.h"
#include "data_directory/data_directory.h"
#include "page_store/volume_record.h"

/* A volume in the making: volumes/<id>.new with volume.json, data/ (empty), wal/, temp/ and archive/. */
struct volume_folder {
	char *path; /* volumes/<id>.new */
	char *final_path;
	char *wal_path, *archive_path;
	struct system_user user; /* Postgres' */
};

bool volume_id_is_valid(const char *id);
MUST_CHECK status volume_id_check(const char *id, struct error *err);

/* Makes it anew; STATUS_EXISTS when the finished volume is there. */
MUST_CHECK status volume_folder_create(const struct data_directory *dd, const struct volume_record *record,
        struct volume_folder *ret, struct error *err);
void volume_folder_done(struct volume_folder *folder); /* for CLEANUP */

/* A file in wal/, given to the Postgres user; refuses to overwrite. */
MUST_CHECK status volume_folder_add_wal_file(
        const struct volume_folder *folder, const char *name, struct slice content, struct error *err);
/* Links what is in wal/ into archive/, syncs everything, and makes the volume appear under its name (V1). */
MUST_CHECK status volume_folder_publish(const struct volume_folder *folder, struct error *err);
/*
 * A volume's stack and points, taken away under the store's lock; missing ones are fine. What only they named is garbage from then on. For what
 * is not, or no longer, a volume.
 */
MUST_CHECK status volume_remove_references(struct store *store, const char *id, struct error *err);
/* Undoes what a failed attempt made, best effort: the next sweep takes what is left. `store` may be NULL. */
void volume_discard(const struct data_directory *dd, struct store *store, const char *id);
