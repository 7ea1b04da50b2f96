/*
 * Volume folder: names and files of one volume on the disk, shared by what makes volumes (volume_create.c,
 * volume_clone.c) and what uses them (volume.c).
 */
#pragma once

#include "base/base.h"
#include "base/system_user.h"
#include "data_directory/data_directory.h"
#include "page_store/volume_record.h"

/* A volume in the making: volumes/<id>.new with data/ and wal/, open. Remove it with volume_folder_discard().
 */
struct volume_folder {
	char *path; /* volumes/<id>.new */
	char *final_path;
	struct system_user user; /* Postgres' */
	int data_fd, wal_fd;
};

bool volume_id_is_valid(const char *id);
MUST_CHECK status volume_id_check(const char *id, struct error *err);

/* Makes it anew; STATUS_EXISTS when the finished volume is there. */
MUST_CHECK status volume_folder_create(
        const struct data_directory *dd, const char *id, struct volume_folder *ret, struct error *err);
/* Opens one made before. STATUS_NOT_FOUND. */
MUST_CHECK status volume_folder_open(
        const struct data_directory *dd, const char *id, struct volume_folder *ret, struct error *err);
void volume_folder_done(struct volume_folder *folder); /* closes; for CLEANUP */

/* A file below data/ or wal/, given to the Postgres user; never follows links, refuses to overwrite. */
MUST_CHECK status volume_folder_add_file(const struct volume_folder *folder, int in_fd, const char *name,
        struct slice content, struct error *err);
/* pg_wal points to wal/, which gets the sub-folders that Postgres' tools expect. */
MUST_CHECK status volume_folder_link_wal(const struct volume_folder *folder, struct error *err);

/* Writes volume.json, syncs everything, and makes the volume appear under its name (V1). */
MUST_CHECK status volume_folder_publish(
        const struct volume_folder *folder, const struct volume_record *record, struct error *err);
/* Removes volumes/<id>.new, best effort: the next sweep takes what is left. */
void volume_folder_discard(const struct data_directory *dd, const char *id);
