#include "page_store/volume_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "page_store/file_copy.h"

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
	close_fd(&folder->data_fd);
	close_fd(&folder->wal_fd);
}

static status folder_open_parts(struct volume_folder *folder, struct error *err)
{
	CLEANUP(free_text) char *data = xasprintf("%s/data", folder->path);
	CLEANUP(free_text) char *wal = xasprintf("%s/wal", folder->path);
	status st = folder_open(data, &folder->data_fd, err);
	return st == STATUS_OK ? folder_open(wal, &folder->wal_fd, err) : st;
}

static status folder_start(
        const struct data_directory *dd, const char *id, struct volume_folder *folder, struct error *err)
{
	status st = volume_id_check(id, err);
	if (st == STATUS_OK)
		st = system_user_find(dd->settings.postgres_user, &folder->user, err);
	if (st != STATUS_OK)
		return st;
	folder->path = data_directory_path(dd, "volumes/%s.new", id);
	folder->final_path = data_directory_path(dd, "volumes/%s", id);
	if (file_exists(folder->final_path))
		return error_set(err, STATUS_EXISTS, 0, "volume \"%s\" exists", id);
	return STATUS_OK;
}

static status make_part(const struct volume_folder *folder, const char *name, struct error *err)
{
	CLEANUP(free_text) char *path = xasprintf("%s/%s", folder->path, name);
	status st = folder_make(path, 0700, err);
	if (st == STATUS_OK && chown(path, folder->user.uid, folder->user.gid) < 0)
		st = error_set(err, STATUS_IO, errno, "could not change the owner of folder \"%s\"", path);
	return st;
}

status volume_folder_create(
        const struct data_directory *dd, const char *id, struct volume_folder *ret, struct error *err)
{
	CLEANUP(volume_folder_done) struct volume_folder folder = { .data_fd = -1, .wal_fd = -1 };
	status st = folder_start(dd, id, &folder, err);
	if (st == STATUS_OK)
		st = tree_remove(folder.path, err); /* what an attempt before left behind */
	if (st == STATUS_OK)
		st = folder_make(folder.path, 0711, err); /* Postgres must come through, see V6 */
	if (st == STATUS_OK)
		st = make_part(&folder, "data", err);
	if (st == STATUS_OK)
		st = make_part(&folder, "wal", err);
	if (st == STATUS_OK)
		st = folder_open_parts(&folder, err);
	if (st != STATUS_OK)
		return st;
	*ret = folder;
	folder = (struct volume_folder){ .data_fd = -1, .wal_fd = -1 };
	return STATUS_OK;
}

status volume_folder_open(
        const struct data_directory *dd, const char *id, struct volume_folder *ret, struct error *err)
{
	CLEANUP(volume_folder_done) struct volume_folder folder = { .data_fd = -1, .wal_fd = -1 };
	status st = folder_start(dd, id, &folder, err);
	if (st == STATUS_OK)
		st = folder_open_parts(&folder, err);
	if (st != STATUS_OK)
		return st;
	*ret = folder;
	folder = (struct volume_folder){ .data_fd = -1, .wal_fd = -1 };
	return STATUS_OK;
}

status volume_folder_add_file(const struct volume_folder *folder, int in_fd, const char *name,
        struct slice content, struct error *err)
{
	CLEANUP(close_fd)
	int fd = openat(in_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fchown(fd, folder->user.uid, folder->user.gid) < 0)
		return error_set(err, STATUS_IO, errno, "could not create file \"%s\"", name);
	status st = file_write_all(fd, content.data, content.len, err);
	return st == STATUS_OK ? STATUS_OK : error_prefix(err, "file \"%s\"", name);
}

status volume_folder_link_wal(const struct volume_folder *folder, struct error *err)
{
	static const char *const inside[] = { "archive_status", "summaries" };
	for (size_t i = 0; i < ARRAY_LEN(inside); i++) {
		if (mkdirat(folder->wal_fd, inside[i], 0700) < 0 ||
		        fchownat(folder->wal_fd, inside[i], folder->user.uid, folder->user.gid,
		                AT_SYMLINK_NOFOLLOW) < 0)
			return error_set(
			        err, STATUS_IO, errno, "could not create folder \"wal/%s\"", inside[i]);
	}
	/* Relative, so that it is right under the volume's final name too. */
	if (symlinkat("../wal", folder->data_fd, "pg_wal") < 0 ||
	        fchownat(folder->data_fd, "pg_wal", folder->user.uid, folder->user.gid, AT_SYMLINK_NOFOLLOW) <
	                0)
		return error_set(err, STATUS_IO, errno, "could not create link \"pg_wal\"");
	return STATUS_OK;
}

status volume_folder_publish(
        const struct volume_folder *folder, const struct volume_record *record, struct error *err)
{
	status st = volume_record_write(folder->path, record, err);
	if (st != STATUS_OK)
		return st;
	/* One call for about a thousand new files; errors of writing them back are reported by it
	 * (Linux 5.8). */
	if (syncfs(folder->data_fd) < 0)
		return error_set(err, STATUS_IO, errno, "could not sync folder \"%s\"", folder->path);
	/* Never over another one, whatever happened meanwhile. */
	if (renameat2(AT_FDCWD, folder->path, AT_FDCWD, folder->final_path, RENAME_NOREPLACE) < 0)
		return error_set(err, errno == EEXIST ? STATUS_EXISTS : STATUS_IO, errno,
		        "could not rename folder \"%s\" to \"%s\"", folder->path, folder->final_path);
	char *slash = strrchr(folder->final_path, '/');
	CLEANUP(free_text) char *parent = xstrndup(folder->final_path, (size_t)(slash - folder->final_path));
	return folder_sync(parent, err);
}

void volume_folder_discard(const struct data_directory *dd, const char *id)
{
	if (!volume_id_is_valid(id))
		return;
	struct error err;
	CLEANUP(free_text) char *path = data_directory_path(dd, "volumes/%s.new", id);
	(void)!tree_remove(path, &err);
}
