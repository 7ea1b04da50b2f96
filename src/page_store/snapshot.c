/* Snapshots (restore_point.h): a restore point and its WAL, apart from the volume it was made of. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "page_store/disk.h"
#include "page_store/restore_point.h"
#include "page_store/store_record.h"
#include "page_store/volume.h"
#include "wal_store/wal_archive.h"
#include "wal_store/wal_file.h"

static status check_id(const char *id, struct error *err)
{
	/* Without dots, which mark those that are being made or removed. */
	if (store_name_is_valid(id, VOLUME_ID_MAX) && !strchr(id, '.'))
		return STATUS_OK;
	return error_set(err, STATUS_INVALID, 0, "\"%.80s\" is not the name of a snapshot", id);
}

static status open_snapshot(const struct store *store, const char *id, int *ret_fd, struct error *err)
{
	status st = check_id(id, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *path = xasprintf("snapshots/%s", id);
	int fd = disk_open(store_folder(store), path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return error_set(err, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, errno,
		        "could not open snapshot \"%s\"", id);
	*ret_fd = fd;
	return STATUS_OK;
}

status snapshot_read(const struct store *store, const char *id, struct restore_point *ret, struct error *err)
{
	CLEANUP(close_fd) int fd = -1;
	CLEANUP(buffer_done) struct buffer text = { 0 };
	status st = open_snapshot(store, id, &fd, err);
	if (st != STATUS_OK)
		return st;
	st = store_record_read_file(fd, "point.json", &text, err);
	if (st == STATUS_NOT_FOUND)
		st = error_set(err, STATUS_CORRUPT, 0, "its point.json is missing");
	if (st == STATUS_OK)
		st = restore_point_parse(buffer_slice(&text), ret, err);
	return st == STATUS_OK ? st : error_prefix(err, "snapshot \"%s\"", id);
}

/* The point's WAL, and the history of its timeline. The point itself keeps retention away from all of it meanwhile. */
static status link_wal(
        const struct restore_point *point, const char *archive_path, const char *wal_path, struct error *err)
{
	CLEANUP(wal_history_done) struct wal_history history = { 0 };
	status st = wal_history_read(archive_path, point->timeline, &history, err);
	if (st != STATUS_OK)
		return st;
	struct wal_range range = { .history = &history,
		.start_lsn = point->redo_lsn,
		.end_lsn = point->end_lsn,
		.segment_size = point->wal_segment_size };
	st = wal_archive_provide(archive_path, &range, wal_path, NULL, err);
	if (st != STATUS_OK || point->timeline == 1)
		return st;
	char name[WAL_FILE_NAME_MAX];
	wal_history_name(point->timeline, name);
	CLEANUP(free_text) char *from = xasprintf("%s/%s", archive_path, name);
	CLEANUP(free_text) char *to = xasprintf("%s/%s", wal_path, name);
	if (linkat(AT_FDCWD, from, AT_FDCWD, to, 0) < 0)
		return error_set(err, STATUS_IO, errno, "could not link file \"%s\"", from);
	return STATUS_OK;
}

static status fill(
        const char *folder, const struct restore_point *point, const char *archive_path, struct error *err)
{
	CLEANUP(free_text) char *wal_path = xasprintf("%s/wal", folder);
	status st = tree_remove(folder, err); /* what an attempt before left behind */
	if (st == STATUS_OK)
		st = folder_make(folder, 0700, err);
	if (st == STATUS_OK)
		st = folder_make(wal_path, 0711, err);
	if (st == STATUS_OK)
		st = link_wal(point, archive_path, wal_path, err);
	if (st == STATUS_OK)
		st = wal_folder_sync(wal_path, err);
	return st == STATUS_OK ? folder_sync(folder, err) : st;
}

/* Under the lock: the list of layers as it is now, since a fold may have replaced it; the rest as the caller wants it. */
static status publish(
        struct store *store, const char *id, const struct restore_point *point, struct error *err)
{
	CLEANUP(restore_point_done) struct restore_point now = { 0 };
	CLEANUP(close_fd) int making_fd = -1;
	CLEANUP(close_fd) int snapshots_fd = -1;
	status st = restore_point_read(store, point->volume_id, point->number, &now, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(buffer_done) struct buffer text = { 0 };
	struct restore_point kept = *point;
	kept.layers = now.layers;
	kept.layer_count = now.layer_count;
	restore_point_format(&kept, &text);
	CLEANUP(free_text) char *making = store_path(store, "snapshots/%s.new", id);
	CLEANUP(free_text) char *final = store_path(store, "snapshots/%s", id);
	CLEANUP(free_text) char *snapshots = store_path(store, "snapshots");
	making_fd = disk_open(AT_FDCWD, making, O_RDONLY | O_DIRECTORY, 0);
	snapshots_fd = disk_open(AT_FDCWD, snapshots, O_RDONLY | O_DIRECTORY, 0);
	if (making_fd < 0 || snapshots_fd < 0)
		return error_set(err, STATUS_IO, errno, "could not open folder \"%s\"", making);
	st = store_record_replace_file(making_fd, "point.json", buffer_slice(&text), err);
	if (st != STATUS_OK)
		return st;
	if (renameat2(AT_FDCWD, making, AT_FDCWD, final, RENAME_NOREPLACE) < 0)
		return error_set(err, errno == EEXIST ? STATUS_EXISTS : STATUS_IO, errno,
		        "could not rename folder \"%s\"", making);
	if (disk_sync(snapshots_fd) < 0)
		return error_set(err, STATUS_IO, errno, "could not sync folder \"%s\"", snapshots);
	return STATUS_OK;
}

status snapshot_create(struct store *store, const char *id, const struct restore_point *point,
        const char *archive_path, struct error *err)
{
	status st = check_id(id, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *making = store_path(store, "snapshots/%s.new", id);
	CLEANUP(free_text) char *final = store_path(store, "snapshots/%s", id);
	if (file_exists(final))
		return error_set(err, STATUS_EXISTS, 0, "snapshot \"%s\" exists", id);
	st = fill(making, point, archive_path, err);
	if (st == STATUS_OK)
		st = store_lock(store, err);
	if (st == STATUS_OK) {
		st = publish(store, id, point, err);
		store_unlock(store);
	}
	if (st == STATUS_OK)
		return st;
	struct error ignored;
	(void)!tree_remove(making, &ignored);
	return error_prefix(err, "could not create snapshot \"%s\"", id);
}

/* Renamed first: from then on nothing is referenced by it. */
static status unname(struct store *store, const char *id, struct error *err)
{
	CLEANUP(free_text) char *from = xasprintf("snapshots/%s", id);
	CLEANUP(free_text) char *to = xasprintf("snapshots/%s.dead", id);
	CLEANUP(free_text) char *dead = store_path(store, "%s", to);
	CLEANUP(free_text) char *snapshots = store_path(store, "snapshots");
	status st = tree_remove(dead, err);
	if (st != STATUS_OK)
		return st;
	if (disk_rename(store_folder(store), from, to) < 0)
		return errno == ENOENT
		               ? STATUS_OK
		               : error_set(err, STATUS_IO, errno, "could not rename snapshot \"%s\"", id);
	return folder_sync(snapshots, err);
}

status snapshot_remove(struct store *store, const char *id, struct error *err)
{
	status st = check_id(id, err);
	if (st == STATUS_OK)
		st = store_lock(store, err);
	if (st != STATUS_OK)
		return st;
	st = unname(store, id, err);
	store_unlock(store);
	CLEANUP(free_text) char *dead = store_path(store, "snapshots/%s.dead", id);
	return st == STATUS_OK ? tree_remove(dead, err) : st;
}

struct listing {
	char **names;
	size_t count;
};

static void listing_done(struct listing *listing)
{
	for (size_t i = 0; i < listing->count; i++)
		free(listing->names[i]);
	free(listing->names);
}

static bool take_name(void *owner, const char *name)
{
	struct listing *listing = owner;
	if (strchr(name, '.')) /* ID.new, ID.dead */
		return true;
	listing->names = xrealloc(listing->names, (listing->count + 1) * sizeof *listing->names);
	listing->names[listing->count++] = xstrdup(name);
	return true;
}

status snapshot_list(const struct store *store, char ***ret, size_t *ret_count, struct error *err)
{
	CLEANUP(listing_done) struct listing listing = { 0 };
	CLEANUP(close_fd) int fd = disk_open(store_folder(store), "snapshots", O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0 || disk_list(fd, take_name, &listing) < 0)
		return error_set(err, STATUS_IO, errno, "could not list the snapshots of store \"%s\"",
		        store_id(store));
	*ret = listing.names;
	*ret_count = listing.count;
	listing = (struct listing){ 0 };
	return STATUS_OK;
}

status snapshot_find(const struct store *store, const struct restore_point *point, struct restore_point *ret,
        struct error *err)
{
	CLEANUP(listing_done) struct listing listing = { 0 };
	status st = snapshot_list(store, &listing.names, &listing.count, err);
	for (size_t i = 0; st == STATUS_OK && i < listing.count; i++) {
		CLEANUP(restore_point_done) struct restore_point candidate = { 0 };
		st = snapshot_read(store, listing.names[i], &candidate, err);
		if (st == STATUS_OK && restore_point_is_same(&candidate, point)) {
			*ret = candidate;
			candidate = (struct restore_point){ 0 };
			return STATUS_OK;
		}
	}
	return st == STATUS_OK ? error_set(err, STATUS_NOT_FOUND, 0,
	                                 "restore point %" PRIu64 " of volume \"%s\" is gone", point->number,
	                                 point->volume_id)
	                       : st;
}
