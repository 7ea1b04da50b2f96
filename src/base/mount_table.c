#include "base/mount_table.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mount.h>

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

/* *line is a line of the list, and the next one afterwards. False at the end. */
static bool next_mount(const char **line, struct buffer *ret_path)
{
	/* "36 35 98:0 /root /mount/point rw,noatime …" */
	const char *field = *line;
	if (!field || !*field)
		return false;
	for (int i = 0; i < 4; i++) {
		field += strcspn(field, " \n");
		field += *field == ' ';
	}
	unescape(field, strcspn(field, " \n"), ret_path);
	*line += strcspn(*line, "\n");
	*line += **line == '\n';
	return true;
}

status mount_table_find(const char *path, bool *ret, struct error *err)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	CLEANUP(buffer_done) struct buffer point = { 0 };
	status st = file_read("/proc/self/mountinfo", LIST_MAX, &text, err);
	if (st != STATUS_OK)
		return st;
	*ret = false;
	for (const char *line = text.data; !*ret && next_mount(&line, &point);)
		*ret = strcmp(point.data, path) == 0;
	return STATUS_OK;
}

status mount_table_detach_once(const char *path, struct error *err)
{
	if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		return STATUS_OK;
	if (errno != EPERM)
		return error_set(err, STATUS_IO, errno, "could not unmount \"%s\"", path);
	const char *const argv[] = { "/usr/bin/fusermount3", "-u", "-z", "--", path, NULL };
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

status mount_table_detach_below(const char *folder, size_t *ret_count, struct error *err)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	CLEANUP(buffer_done) struct buffer point = { 0 };
	size_t len = strlen(folder);
	*ret_count = 0;
	status st = file_read("/proc/self/mountinfo", LIST_MAX, &text, err);
	for (const char *line = text.data; st == STATUS_OK && next_mount(&line, &point);) {
		if (strncmp(point.data, folder, len) != 0 || point.data[len] != '/')
			continue;
		bool is_there = false;
		st = mount_table_detach_once(point.data, err);
		*ret_count += st == STATUS_OK;
		struct error ignored;
		if (st != STATUS_OK && mount_table_find(point.data, &is_there, &ignored) == STATUS_OK &&
		        !is_there)
			st = STATUS_OK; /* it went by itself meanwhile */
	}
	return st;
}
