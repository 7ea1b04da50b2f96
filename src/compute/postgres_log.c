#include "compute/postgres_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "page_store/file_copy.h"

#define READ_MAX 65536 /* of what a failed start said */

off_t postgres_log_size(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0 && S_ISREG(st.st_mode) ? st.st_size : 0;
}

status postgres_log_rotate(const char *path, struct error *err)
{
	if (postgres_log_size(path) <= POSTGRES_LOG_MAX_BYTES)
		return STATUS_OK;
	CLEANUP(free_text) char *old = xasprintf("%s.1", path);
	if (rename(path, old) < 0)
		return error_set(err, STATUS_IO, errno, "could not rename log \"%s\"", path);
	return STATUS_OK;
}

status postgres_log_bound(const char *path, struct error *err)
{
	if (postgres_log_size(path) <= POSTGRES_LOG_MAX_BYTES)
		return STATUS_OK;
	CLEANUP(free_text) char *old = xasprintf("%s.1", path);
	CLEANUP(close_fd) int from = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	CLEANUP(close_fd) int to = open(old, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (from < 0 || to < 0)
		return error_set(err, STATUS_IO, errno, "could not open log \"%s\"", path);
	status st = file_copy(from, to, path, err);
	/* Cut in any case: a full disk is one more reason to. Postgres appends, so it goes on at the new end. */
	if (ftruncate(from, 0) < 0)
		return error_set(err, STATUS_IO, errno, "could not cut log \"%s\"", path);
	return st;
}

static bool line_has(struct slice line, const char *text, struct slice *ret_behind)
{
	const uint8_t *found = line.len ? memmem(line.data, line.len, text, strlen(text)) : NULL;
	if (!found)
		return false;
	const uint8_t *behind = found + strlen(text);
	*ret_behind = (struct slice){ behind, line.len - (size_t)(behind - line.data) };
	while (ret_behind->len > 0 && *ret_behind->data == ' ') {
		ret_behind->data++;
		ret_behind->len--;
	}
	return true;
}

static void append_printable(char *out, size_t size, const char *before, struct slice text)
{
	size_t used = strlen(out);
	for (; *before && used + 1 < size; before++)
		out[used++] = *before;
	for (size_t i = 0; i < text.len && used + 1 < size; i++)
		out[used++] = text.data[i] < 0x20 || text.data[i] == 0x7f ? '?' : (char)text.data[i];
	out[used] = '\0';
}

/* The next line of *text, without its newline; false at the end. */
static bool next_line(struct slice *text, struct slice *ret)
{
	if (text->len == 0)
		return false;
	const uint8_t *end = memchr(text->data, '\n', text->len);
	size_t len = end ? (size_t)(end - text->data) : text->len;
	*ret = (struct slice){ text->data, len };
	size_t skip = len + (end ? 1 : 0);
	*text = (struct slice){ text->data + skip, text->len - skip };
	return true;
}

bool postgres_log_find_reason(struct slice text, char *out, size_t size)
{
	struct slice line, message, last_log = { 0 };
	bool has_log = false;
	out[0] = '\0';
	while (next_line(&text, &line)) {
		if (line_has(line, "LOG: ", &message)) {
			last_log = message;
			has_log = true;
			continue;
		}
		if (!line_has(line, "FATAL: ", &message) && !line_has(line, "PANIC: ", &message))
			continue;
		/* Told to clients that came too early: nobody's fault. */
		struct slice ignored;
		if (line_has(message, "the database system is ", &ignored))
			continue;
		bool is_setting = line_has(message, "contains errors", &ignored);
		append_printable(out, size, "", is_setting && has_log ? last_log : message);
		while (next_line(&text, &line) && line_has(line, "DETAIL: ", &message))
			append_printable(out, size, "; ", message);
		return true;
	}
	return false;
}

bool postgres_log_reason(const char *path, off_t since, char *out, size_t size)
{
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return false;
	CLEANUP(free_text) char *text = xcalloc(1, READ_MAX);
	ssize_t n = pread(fd, text, READ_MAX, since);
	return n > 0 && postgres_log_find_reason((struct slice){ (uint8_t *)text, (size_t)n }, out, size);
}
