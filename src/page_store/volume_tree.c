#include "page_store/volume_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define TREE_DEPTH_MAX 32         /* Postgres' own is 5 */
#define CHUNK_BYTES    (1u << 20) /* whole pages */

status image_failure(struct error *err, int64_t rc, const char *fmt, ...)
{
	char text[256];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	return error_set(err, rc == -ENOENT ? STATUS_NOT_FOUND : STATUS_IO, (int)-rc, "%s", text);
}

/* "base/5" of "base/5/1259", and the name behind it. */
static status find_parent(
        struct image *image, const char *path, uint64_t *ret_parent, const char **ret_name, struct error *err)
{
	const char *slash = strrchr(path, '/');
	*ret_name = slash ? slash + 1 : path;
	*ret_parent = IMAGE_ROOT;
	if (!slash)
		return STATUS_OK;
	CLEANUP(free_text) char *folder = xstrndup(path, (size_t)(slash - path));
	struct stat st;
	int rc = image_resolve(image, folder, &st);
	if (rc < 0)
		return image_failure(err, rc, "could not find folder \"%s\" of the image", folder);
	*ret_parent = st.st_ino;
	return STATUS_OK;
}

status volume_tree_read(
        struct image *image, const char *path, size_t max_len, struct buffer *buf, struct error *err)
{
	struct stat st;
	int rc = image_resolve(image, path, &st);
	if (rc < 0)
		return image_failure(err, rc, "could not find file \"%s\" of the image", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, STATUS_CORRUPT, 0, "\"%s\" of the image is not a file", path);
	if (st.st_size > (off_t)max_len)
		return error_set(err, STATUS_LIMIT, 0, "file \"%s\" of the image is larger than %zu bytes",
		        path, max_len);
	buffer_reserve(buf, (size_t)st.st_size + 1);
	ssize_t n = image_read(image, st.st_ino, buf->data + buf->len, (size_t)st.st_size, 0);
	if (n < 0)
		return image_failure(err, n, "could not read file \"%s\" of the image", path);
	buf->len += (size_t)n;
	buf->data[buf->len] = '\0';
	return STATUS_OK;
}

static status write_whole(
        struct image *image, uint64_t inode, const char *path, struct slice content, struct error *err)
{
	struct stat size = { .st_size = 0 };
	int rc = image_set(image, inode, &size, IMAGE_SET_SIZE, &size);
	if (rc < 0)
		return image_failure(err, rc, "could not write file \"%s\" of the image", path);
	for (size_t done = 0; done < content.len;) {
		ssize_t n = image_write(image, inode, content.data + done, content.len - done, done);
		if (n <= 0)
			return image_failure(
			        err, n ? n : -EIO, "could not write file \"%s\" of the image", path);
		done += (size_t)n;
	}
	return STATUS_OK;
}

status volume_tree_write(
        struct image *image, const char *path, struct slice content, uid_t uid, gid_t gid, struct error *err)
{
	uint64_t parent;
	const char *name;
	status s = find_parent(image, path, &parent, &name, err);
	if (s != STATUS_OK)
		return s;
	struct stat st;
	int rc = image_lookup(image, parent, name, &st);
	if (rc == -ENOENT)
		rc = image_make(image, parent, name, S_IFREG | 0600, 0, uid, gid, &st);
	if (rc < 0)
		return image_failure(err, rc, "could not create file \"%s\" of the image", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, STATUS_CORRUPT, 0, "\"%s\" of the image is not a file", path);
	return write_whole(image, st.st_ino, path, content, err);
}

status volume_tree_make_link(
        struct image *image, const char *path, const char *target, uid_t uid, gid_t gid, struct error *err)
{
	uint64_t parent;
	const char *name;
	status s = find_parent(image, path, &parent, &name, err);
	if (s != STATUS_OK)
		return s;
	struct stat st;
	int rc = image_make_link(image, parent, name, target, uid, gid, &st);
	return rc < 0 ? image_failure(err, rc, "could not create link \"%s\" of the image", path) : STATUS_OK;
}

/* ---- folders ---- */

struct entries {
	struct entry {
		char *name;
		struct stat st;
	} * list;
	size_t count;
};

static void entries_done(struct entries *entries)
{
	for (size_t i = 0; i < entries->count; i++)
		free(entries->list[i].name);
	free(entries->list);
}

static bool take_entry(void *owner, const char *name, uint64_t offset, const struct stat *st)
{
	(void)offset;
	struct entries *entries = owner;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return true;
	entries->list = xrealloc(entries->list, (entries->count + 1) * sizeof *entries->list);
	entries->list[entries->count].name = xstrdup(name);
	entries->list[entries->count].st = *st;
	entries->count++;
	return true;
}

static status list_folder(
        struct image *image, uint64_t inode, const char *path, struct entries *ret, struct error *err)
{
	int rc = image_read_folder(image, inode, 0, take_entry, ret);
	return rc < 0 ? image_failure(err, rc, "could not list folder \"%s\" of the image", path) : STATUS_OK;
}

static status empty_folder(
        struct image *image, uint64_t inode, const char *path, int depth, struct error *err);

static status remove_entry(struct image *image, uint64_t parent, const char *name, const struct stat *st,
        const char *path, int depth, struct error *err)
{
	int rc;
	if (S_ISDIR(st->st_mode)) {
		status s = empty_folder(image, st->st_ino, path, depth + 1, err);
		if (s != STATUS_OK)
			return s;
		rc = image_remove_folder(image, parent, name);
	} else {
		rc = image_unlink(image, parent, name);
	}
	return rc < 0 ? image_failure(err, rc, "could not remove \"%s\" of the image", path) : STATUS_OK;
}

static status empty_folder(
        struct image *image, uint64_t inode, const char *path, int depth, struct error *err)
{
	CLEANUP(entries_done) struct entries entries = { 0 };
	if (depth > TREE_DEPTH_MAX)
		return error_set(
		        err, STATUS_LIMIT, 0, "folder \"%s\" of the image is nested too deeply", path);
	status s = list_folder(image, inode, path, &entries, err);
	for (size_t i = 0; s == STATUS_OK && i < entries.count; i++) {
		CLEANUP(free_text) char *inside = xasprintf("%s/%s", path, entries.list[i].name);
		s = remove_entry(image, inode, entries.list[i].name, &entries.list[i].st, inside, depth, err);
	}
	return s;
}

status volume_tree_remove(struct image *image, const char *path, struct error *err)
{
	uint64_t parent;
	const char *name;
	struct stat st;
	status s = find_parent(image, path, &parent, &name, err);
	if (s != STATUS_OK)
		return s == STATUS_NOT_FOUND ? STATUS_OK : s;
	int rc = image_lookup(image, parent, name, &st);
	if (rc == -ENOENT)
		return STATUS_OK;
	if (rc < 0)
		return image_failure(err, rc, "could not find \"%s\" of the image", path);
	return remove_entry(image, parent, name, &st, path, 0, err);
}

status volume_tree_empty(struct image *image, const char *path, struct error *err)
{
	struct stat st;
	int rc = image_resolve(image, path, &st);
	if (rc == -ENOENT)
		return STATUS_OK;
	if (rc < 0 || !S_ISDIR(st.st_mode))
		return image_failure(
		        err, rc < 0 ? rc : -ENOTDIR, "could not open folder \"%s\" of the image", path);
	return empty_folder(image, st.st_ino, path, 0, err);
}

status volume_tree_count(struct image *image, const char *path, size_t *ret_count, struct error *err)
{
	struct stat st;
	CLEANUP(entries_done) struct entries entries = { 0 };
	int rc = image_resolve(image, path, &st);
	if (rc < 0 && rc != -ENOENT)
		return image_failure(err, rc, "could not open folder \"%s\" of the image", path);
	status s = rc == 0 ? list_folder(image, st.st_ino, path, &entries, err) : STATUS_OK;
	if (s == STATUS_OK)
		*ret_count = entries.count;
	return s;
}

/* ---- in ---- */

struct import {
	struct image *image;
	volume_tree_choose_fn choose;
	void *owner;
	char *chunk;
};

static bool is_zero(const char *bytes, size_t len)
{
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

static status import_content(
        const struct import *import, int from, uint64_t inode, const char *path, struct error *err)
{
	for (off_t at = 0;;) {
		ssize_t n = pread(from, import->chunk, CHUNK_BYTES, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, STATUS_IO, errno, "could not read file \"%s\"", path);
		if (n == 0) {
			struct stat size = { .st_size = at };
			int rc = image_set(import->image, inode, &size, IMAGE_SET_SIZE, &size);
			return rc < 0 ? image_failure(err, rc, "could not write file \"%s\"", path)
			              : STATUS_OK;
		}
		for (ssize_t done = 0; done < n && !is_zero(import->chunk, (size_t)n);) {
			ssize_t written = image_write(import->image, inode, import->chunk + done,
			        (size_t)(n - done), (uint64_t)(at + done));
			if (written <= 0)
				return image_failure(
				        err, written ? written : -EIO, "could not write file \"%s\"", path);
			done += written;
		}
		at += n;
	}
}

static status import_folder(const struct import *import, int from_fd, uint64_t parent, const char *prefix,
        int depth, struct error *err);

static status import_entry(const struct import *import, int from_fd, uint64_t parent, const char *path,
        const char *name, int depth, struct error *err)
{
	struct stat st, made;
	if (import->choose && !import->choose(import->owner, path))
		return STATUS_OK;
	if (fstatat(from_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return error_set(err, STATUS_IO, errno, "could not look at \"%s\"", path);
	if (S_ISLNK(st.st_mode))
		return error_set(err, STATUS_UNSUPPORTED, 0, "\"%s\" is a symbolic link", path);
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return STATUS_OK;
	CLEANUP(close_fd) int fd = openat(from_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, STATUS_IO, errno, "could not open \"%s\"", path);
	int rc = image_make(import->image, parent, name, st.st_mode, 0, st.st_uid, st.st_gid, &made);
	if (rc < 0)
		return image_failure(err, rc, "could not create \"%s\" of the image", path);
	return S_ISDIR(st.st_mode) ? import_folder(import, fd, made.st_ino, path, depth + 1, err)
	                           : import_content(import, fd, made.st_ino, path, err);
}

static status import_folder(const struct import *import, int from_fd, uint64_t parent, const char *prefix,
        int depth, struct error *err)
{
	if (depth > TREE_DEPTH_MAX)
		return error_set(err, STATUS_LIMIT, 0, "folder \"%s\" is nested too deeply", prefix);
	CLEANUP(close_fd) int listed_fd = openat(from_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(close_listing) DIR *folder = listed_fd < 0 ? NULL : fdopendir(listed_fd);
	if (!folder)
		return error_set(err, STATUS_IO, errno, "could not list folder \"%s\"", prefix);
	(void)TAKE_FD(listed_fd); /* closedir() closes it */
	for (;;) {
		errno = 0;
		const struct dirent *item = readdir(folder);
		if (!item && errno != 0)
			return error_set(err, STATUS_IO, errno, "could not list folder \"%s\"", prefix);
		if (!item)
			return STATUS_OK;
		if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
			continue;
		CLEANUP(free_text) char *path = xasprintf("%s%s%s", prefix, *prefix ? "/" : "", item->d_name);
		status s = import_entry(import, from_fd, parent, path, item->d_name, depth, err);
		if (s != STATUS_OK)
			return s;
	}
}

status volume_tree_import(
        struct image *image, int from_fd, volume_tree_choose_fn choose, void *owner, struct error *err)
{
	CLEANUP(free_text) char *chunk = xcalloc(1, CHUNK_BYTES);
	struct import import = { .image = image, .choose = choose, .owner = owner, .chunk = chunk };
	return import_folder(&import, from_fd, IMAGE_ROOT, "", 0, err);
}

/* ---- out ---- */

static status export_content(
        struct image *image, const struct stat *st, int to, const char *path, struct error *err)
{
	CLEANUP(free_text) char *chunk = xcalloc(1, CHUNK_BYTES);
	if (ftruncate(to, st->st_size) < 0)
		return error_set(err, STATUS_IO, errno, "could not write file \"%s\"", path);
	for (off_t at = 0; at < st->st_size;) {
		ssize_t n = image_read(image, st->st_ino, chunk, CHUNK_BYTES, (uint64_t)at);
		if (n <= 0)
			return image_failure(
			        err, n ? n : -EIO, "could not read file \"%s\" of the image", path);
		if (!is_zero(chunk, (size_t)n) && pwrite(to, chunk, (size_t)n, at) != n)
			return error_set(err, STATUS_IO, errno, "could not write file \"%s\"", path);
		at += n;
	}
	return STATUS_OK;
}

static status export_folder(
        struct image *image, uint64_t inode, int to_fd, const char *prefix, int depth, struct error *err);

static status export_link(
        struct image *image, const struct entry *entry, int to_fd, const char *path, struct error *err)
{
	char target[FILE_PATH_MAX];
	int len = image_read_link(image, entry->st.st_ino, target, sizeof target - 1);
	if (len < 0)
		return image_failure(err, len, "could not read link \"%s\" of the image", path);
	target[len] = '\0';
	if (symlinkat(target, to_fd, entry->name) < 0 ||
	        fchownat(to_fd, entry->name, entry->st.st_uid, entry->st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return error_set(err, STATUS_IO, errno, "could not create link \"%s\"", path);
	return STATUS_OK;
}

static status export_entry(struct image *image, const struct entry *entry, int to_fd, const char *path,
        int depth, struct error *err)
{
	mode_t type = entry->st.st_mode & S_IFMT;
	if (type == S_IFLNK)
		return export_link(image, entry, to_fd, path, err);
	if (type != S_IFDIR && type != S_IFREG)
		return STATUS_OK;
	if (type == S_IFDIR && mkdirat(to_fd, entry->name, 0700) < 0)
		return error_set(err, STATUS_IO, errno, "could not create folder \"%s\"", path);
	CLEANUP(close_fd)
	int fd = openat(to_fd, entry->name,
	        (type == S_IFDIR ? O_RDONLY | O_DIRECTORY : O_WRONLY | O_CREAT | O_EXCL) | O_NOFOLLOW |
	                O_CLOEXEC,
	        0600);
	if (fd < 0 || fchown(fd, entry->st.st_uid, entry->st.st_gid) < 0 ||
	        fchmod(fd, entry->st.st_mode & 07777) < 0)
		return error_set(err, STATUS_IO, errno, "could not create \"%s\"", path);
	return type == S_IFDIR ? export_folder(image, entry->st.st_ino, fd, path, depth + 1, err)
	                       : export_content(image, &entry->st, fd, path, err);
}

static status export_folder(
        struct image *image, uint64_t inode, int to_fd, const char *prefix, int depth, struct error *err)
{
	CLEANUP(entries_done) struct entries entries = { 0 };
	if (depth > TREE_DEPTH_MAX)
		return error_set(err, STATUS_LIMIT, 0, "folder \"%s\" is nested too deeply", prefix);
	status s = list_folder(image, inode, prefix, &entries, err);
	for (size_t i = 0; s == STATUS_OK && i < entries.count; i++) {
		CLEANUP(free_text)
		char *path = xasprintf("%s%s%s", prefix, *prefix ? "/" : "", entries.list[i].name);
		s = export_entry(image, &entries.list[i], to_fd, path, depth, err);
	}
	return s;
}

status volume_tree_export(struct image *image, int to_fd, struct error *err)
{
	return export_folder(image, IMAGE_ROOT, to_fd, "", 0, err);
}
