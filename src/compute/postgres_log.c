#include "compute/postgres_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/number.h"
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

/* What was said since; NULL when that is nothing. The caller frees. */
static char *read_since(const char *path, off_t since, struct slice *ret)
{
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	CLEANUP(free_text) char *text = xcalloc(1, READ_MAX);
	ssize_t n = fd < 0 ? -1 : pread(fd, text, READ_MAX, since);
	if (n <= 0)
		return NULL;
	*ret = (struct slice){ (const uint8_t *)text, (size_t)n };
	return TAKE_PTR(text);
}

bool postgres_log_reason(const char *path, off_t since, char *out, size_t size)
{
	struct slice said;
	CLEANUP(free_text) char *text = read_since(path, since, &said);
	return text && postgres_log_find_reason(said, out, size);
}

static bool lsn_in_front(struct slice text, uint64_t *ret)
{
	size_t len = 0;
	while (len < text.len && len < LSN_TEXT_MAX && text.data[len] > ' ' && text.data[len] != ',')
		len++;
	return lsn_parse((struct slice){ text.data, len }, ret);
}

/* "0.35 s" */
static bool seconds_in_front(struct slice text, int64_t *ret_usec)
{
	char number[32];
	size_t len = 0;
	while (len < text.len && len + 1 < sizeof number && text.data[len] > ' ')
		len++;
	memcpy(number, text.data, len);
	number[len] = '\0';
	char *end;
	double seconds = strtod(number, &end);
	if (len == 0 || *end != '\0' || !(seconds >= 0 && seconds < 1e9))
		return false;
	*ret_usec = (int64_t)(seconds * 1e6);
	return true;
}

/* "redo starts at 0/3000028" … "redo done at 0/5FFFF50 system usage: CPU: user: 0.05 s, system: 0.01 s, elapsed: 0.10 s" */
bool postgres_log_find_redo(struct slice text, struct postgres_redo *ret)
{
	struct slice line, behind;
	struct postgres_redo redo = { 0 };
	bool has_start = false;
	while (next_line(&text, &line)) {
		if (line_has(line, "LOG:  redo starts at", &behind)) {
			has_start = lsn_in_front(behind, &redo.start_lsn);
		} else if (has_start && line_has(line, "LOG:  redo done at", &behind)) {
			if (!lsn_in_front(behind, &redo.end_lsn) || !line_has(line, "elapsed:", &behind) ||
			        !seconds_in_front(behind, &redo.elapsed_usec) ||
			        redo.end_lsn < redo.start_lsn)
				return false;
			*ret = redo;
			return true;
		}
	}
	return false;
}

bool postgres_log_redo(const char *path, off_t since, struct postgres_redo *ret)
{
	struct slice said;
	CLEANUP(free_text) char *text = read_since(path, since, &said);
	return text && postgres_log_find_redo(said, ret);
}
