#include "base/mount_table.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/program.h"

#define LIST_MAX   (64u << 20)
#define MOUNTS_MAX 64 /* one above the other */

/* Blanks, tabs, newlines and backslashes are written as \040 and so on. */
static void unescape(const char *escaped, size_t len, struct buffer *ret)
{
	ret->len = 0;
	for (size_t at = 0; at < len;) {
		unsigned char c = (unsigned char)escaped[at];
		if (c == '\\' && len - at >= 4) {
			c = (unsigned char)((escaped[at + 1] - '0') * 64 + (escaped[at + 2] - '0') * 8 +
			                    (escaped[at + 3] - '0'));
			at += 4;
		} else {
			at++;
		}
		buffer_append(ret, &c, 1);
	}
	buffer_append(ret, "", 1);
}

/* The type stands behind " - ", which ends a number of optional fields. */
static bool is_of_type(const char *line, size_t len, const char *type)
{
	static const char mark[] = " - ";
	const char *dash = memmem(line, len, mark, sizeof mark - 1);
	if (!dash)
		return false;
	const char *name = dash + sizeof mark - 1;
	size_t name_len = strcspn(name, " \n");
	return name_len == strlen(type) && memcmp(name, type, name_len) == 0;
}

/* The next mount of a type, NULL: any. *line is a line of the list, and the one behind it afterwards. False at the end. */
static bool next_mount(const char **line, const char *type, struct buffer *ret_path)
{
	while (*line && **line) {
		/* "36 35 98:0 /root /mount/point rw,noatime shared:1 - fuse.tarn tarn rw,…" */
		const char *field = *line;
		size_t len = strcspn(*line, "\n");
		bool is_wanted = !type || is_of_type(*line, len, type);
		*line += len;
		*line += **line == '\n';
		if (!is_wanted)
			continue;
		for (int i = 0; i < 4; i++) {
			field += strcspn(field, " \n");
			field += *field == ' ';
		}
		unescape(field, strcspn(field, " \n"), ret_path);
		return true;
	}
	return false;
}

status mount_table_find(const char *path, bool *ret, struct error *err)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	CLEANUP(buffer_done) struct buffer point = { 0 };
	status st = file_read("/proc/self/mountinfo", LIST_MAX, &text, err);
	if (st != STATUS_OK)
		return st;
	*ret = false;
	for (const char *line = text.data; !*ret && next_mount(&line, NULL, &point);)
		*ret = strcmp(point.data, path) == 0;
	return STATUS_OK;
}

const char *mount_table_find_helper(void)
{
	static const char *const paths[] = { "/usr/bin/fusermount3", "/bin/fusermount3",
		"/usr/local/bin/fusermount3" };
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		if (access(paths[i], X_OK) == 0)
			return paths[i];
	return NULL;
}

status mount_table_detach_once(const char *path, struct error *err)
{
	if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		return STATUS_OK;
	if (errno != EPERM)
		return error_set(err, STATUS_IO, errno, "could not unmount \"%s\"", path);
	const char *helper = mount_table_find_helper();
	if (!helper)
		return error_set(
		        err, STATUS_UNSUPPORTED, 0, "could not unmount \"%s\": fusermount3 is missing", path);
	const char *const argv[] = { helper, "-u", "-z", "--", path, NULL };
	struct program program = { .argv = argv };
	CLEANUP(buffer_done) struct buffer output = { 0 };
	status st = program_run(&program, &output, err);
	return st == STATUS_OK ? STATUS_OK : error_prefix(err, "could not unmount \"%s\"", path);
}

status mount_table_detach(const char *path, struct error *err)
{
	for (int i = 0; i < MOUNTS_MAX; i++) {
		bool is_there = false;
		status st = mount_table_find(path, &is_there, err);
		if (st != STATUS_OK || !is_there)
			return st;
		st = mount_table_detach_once(path, err);
		if (st != STATUS_OK)
			return st;
	}
	return error_set(err, STATUS_CONFLICT, 0, "something mounts on \"%s\" again and again", path);
}

/* A file system whose process is gone answers so; one that lives, and what is no file system of ours, is somebody's. */
static bool is_dead(const char *path)
{
	struct statfs fs;
	return statfs(path, &fs) < 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

status mount_table_detach_dead(const char *folder, const char *type, size_t *ret_count, struct error *err)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	CLEANUP(buffer_done) struct buffer point = { 0 };
	CLEANUP(free_text) char *real = realpath(folder, NULL);
	*ret_count = 0;
	if (!real)
		return STATUS_OK; /* nothing can be mounted below it */
	size_t len = strlen(real);
	status st = file_read("/proc/self/mountinfo", LIST_MAX, &text, err), first = st;
	struct error problem;
	for (const char *line = text.data; st == STATUS_OK && next_mount(&line, type, &point);) {
		if (strncmp(point.data, real, len) != 0 || point.data[len] != '/' || !is_dead(point.data))
			continue;
		bool is_there = true;
		status one = mount_table_detach_once(point.data, &problem);
		*ret_count += one == STATUS_OK;
		struct error ignored;
		if (one != STATUS_OK && mount_table_find(point.data, &is_there, &ignored) == STATUS_OK &&
		        !is_there)
			continue; /* it went by itself meanwhile */
		if (one != STATUS_OK && first == STATUS_OK) {
			first = one;
			*err = problem;
		}
	}
	return first;
}
