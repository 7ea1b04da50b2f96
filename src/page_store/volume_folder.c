#include "page_store/volume_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "page_store/restore_point.h"
#include "page_store/stack.h"
#include "wal_store/wal_archive.h"

bool volume_id_is_valid(const char *id)
{
	size_t len = strlen(id);
	return len >= 1 && len <= VOLUME_ID_MAX && id[0] != '-' &&
	       strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

status volume_id_check(const char *id, struct error *err)
{
	if (volume_id_is_valid(id))
		return STATUS_OK;
	return error_set(err, STATUS_INVALID, 0, "\"%.80s\" is not the name of a volume", id);
}

void volume_folder_done(struct volume_folder *folder)
{
	free_text(&folder->path);
	free_text(&folder->final_path);
	free_text(&folder->wal_path);
	free_text(&folder->archive_path);
}

/* A folder for Postgres, who is alone with it. */
static status make_part(const struct volume_folder *folder, const char *name, struct error *err)
{
	CLEANUP(free_text) char *path = xasprintf("%s/%s", folder->path, name);
	status st = folder_make(path, 0700, err);
	if (st == STATUS_OK && chown(path, folder->user.uid, folder->user.gid) < 0)
		st = error_set(err, STATUS_IO, errno, "could not change the owner of folder \"%s\"", path);
	return st;
}

static status make_parts(const struct volume_folder *folder, struct error *err)
{
	/* What Postgres' tools expect in pg_wal, before it belongs to Postgres. */
	static const char *const postgres_parts[] = { "wal/archive_status", "wal/summaries", "wal", "temp" };
	CLEANUP(free_text) char *data = xasprintf("%s/data", folder->path);
	status st = folder_make(data, 0700, err); /* what it shows is mounted on it */
	if (st == STATUS_OK)
		st = folder_make(folder->archive_path, 0755, err);
	if (st == STATUS_OK)
		st = folder_make(folder->wal_path, 0700, err);
	for (size_t i = 0; st == STATUS_OK && i < ARRAY_LEN(postgres_parts); i++)
		st = make_part(folder, postgres_parts[i], err);
	return st;
}

status volume_folder_create(const struct data_directory *dd, const struct volume_record *record,
        struct volume_folder *ret, struct error *err)
{
	CLEANUP(volume_folder_done) struct volume_folder folder = { 0 };
	status st = volume_id_check(record->id, err);
	if (st == STATUS_OK)
		st = system_user_find(dd->settings.postgres_user, &folder.user, err);
	if (st != STATUS_OK)
		return st;
	folder.path = data_directory_path(dd, "volumes/%s.new", record->id);
	folder.final_path = data_directory_path(dd, "volumes/%s", record->id);
	folder.wal_path = xasprintf("%s/wal", folder.path);
	folder.archive_path = xasprintf("%s/archive", folder.path);
	if (file_exists(folder.final_path))
		return error_set(err, STATUS_EXISTS, 0, "volume \"%s\" exists", record->id);
	st = tree_remove(folder.path, err); /* what an attempt before left behind */
	if (st == STATUS_OK)
		st = folder_make(folder.path, 0711, err); /* Postgres must come through, see V6 */
	if (st == STATUS_OK)
		st = volume_record_write(folder.path, record, err);
	if (st == STATUS_OK)
		st = make_parts(&folder, err);
	if (st != STATUS_OK)
		return st;
	*ret = folder;
	folder = (struct volume_folder){ 0 };
	return STATUS_OK;
}

status volume_folder_add_wal_file(
        const struct volume_folder *folder, const char *name, struct slice content, struct error *err)
{
	CLEANUP(free_text) char *path = xasprintf("%s/%s", folder->wal_path, name);
	CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fchown(fd, folder->user.uid, folder->user.gid) < 0)
		return error_set(err, STATUS_IO, errno, "could not create file \"%s\"", path);
	status st = file_write_all(fd, content.data, content.len, err);
	return st == STATUS_OK ? STATUS_OK : error_prefix(err, "file \"%s\"", path);
}

status volume_folder_publish(const struct volume_folder *folder, struct error *err)
{
	size_t linked;
	status st = wal_archive_update(folder->wal_path, folder->archive_path, &linked, err);
	if (st == STATUS_OK)
		st = wal_folder_sync(folder->wal_path, err);
	if (st == STATUS_OK)
		st = folder_sync(folder->path, err);
	if (st != STATUS_OK)
		return st;
	/* Never over another one, whatever happened meanwhile. */
	if (renameat2(AT_FDCWD, folder->path, AT_FDCWD, folder->final_path, RENAME_NOREPLACE) < 0)
		return error_set(err, errno == EEXIST ? STATUS_EXISTS : STATUS_IO, errno,
		        "could not rename folder \"%s\" to \"%s\"", folder->path, folder->final_path);
	char *slash = strrchr(folder->final_path, '/');
	CLEANUP(free_text) char *parent = xstrndup(folder->final_path, (size_t)(slash - folder->final_path));
	return folder_sync(parent, err);
}

/* A crash in between leaves some of them: they name what is still there, and the sweep takes them. */
static status remove_points(struct store *store, const char *id, struct error *err)
{
	CLEANUP(free_text) char *folder = store_path(store, "points/%s", id);
	CLEANUP(free_text) char *points = store_path(store, "points");
	if (!file_exists(folder))
		return STATUS_OK;
	status st = tree_remove(folder, err);
	return st == STATUS_OK ? folder_sync(points, err) : st;
}

status volume_remove_references(struct store *store, const char *id, struct error *err)
{
	status st = volume_id_check(id, err);
	if (st == STATUS_OK)
		st = store_lock(store, err);
	if (st != STATUS_OK)
		return st;
	st = remove_points(store, id, err);
	if (st == STATUS_OK)
		st = stack_remove(store, id, err);
	store_unlock(store);
	return st;
}

void volume_discard(const struct data_directory *dd, struct store *store, const char *id)
{
	struct error err;
	CLEANUP(free_text) char *path = data_directory_path(dd, "volumes/%s.new", id);
	if (store && volume_remove_references(store, id, &err) == STATUS_OK)
		(void)!store_collect_garbage(store, NULL, &err);
	(void)!tree_remove(path, &err);
}
