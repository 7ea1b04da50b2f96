#include "compute/postmaster_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/number.h"
#include "page_store/file_copy.h"

#define STATUS_LINE    8
#define FILE_MAX_BYTES 16384
#define PROMOTE_FILE   "promote"

/* The n-th line (from 1) without its newline; only lines that end in one count, the rest may still be written. */
static bool find_line(struct slice text, int n, struct slice *ret)
{
	for (int line = 1;; line++) {
		const uint8_t *end = text.len ? memchr(text.data, '\n', text.len) : NULL;
		if (!end)
			return false;
		size_t len = (size_t)(end - text.data);
		if (line == n) {
			*ret = (struct slice){ text.data, len };
			return true;
		}
		text = (struct slice){ end + 1, text.len - len - 1 };
	}
}

enum postmaster_state postmaster_file_parse(struct slice text, pid_t pid)
{
	static const struct {
		const char *text;
		enum postmaster_state state;
	} states[] = {
		{ "starting", POSTMASTER_STARTING },
		{ "standby", POSTMASTER_RECOVERING },
		{ "ready", POSTMASTER_READY },
		{ "stopping", POSTMASTER_STOPPING },
	};
	struct slice line;
	int64_t number;
	if (!find_line(text, 1, &line) || !number_parse(line, 1, INT32_MAX, &number) || number != pid)
		return POSTMASTER_UNKNOWN;
	if (!find_line(text, STATUS_LINE, &line))
		return POSTMASTER_UNKNOWN;
	while (line.len > 0 && line.data[line.len - 1] == ' ')
		line.len--;
	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		if (slice_equals_text(line, states[i].text))
			return states[i].state;
	return POSTMASTER_UNKNOWN;
}

enum postmaster_state postmaster_file_read(const char *data_path, pid_t pid)
{
	CLEANUP(close_fd) int folder = -1;
	CLEANUP(buffer_done) struct buffer text = { 0 };
	struct error err;
	if (folder_open(data_path, &folder, &err) != STATUS_OK ||
	        file_read_at(folder, POSTMASTER_FILE, FILE_MAX_BYTES, &text, &err) != STATUS_OK)
		return POSTMASTER_UNKNOWN;
	return postmaster_file_parse(buffer_slice(&text), pid);
}

status postmaster_file_ask_promotion(const char *data_path, struct error *err)
{
	CLEANUP(close_fd) int folder = -1;
	status st = folder_open(data_path, &folder, err);
	if (st != STATUS_OK)
		return st;
	/* Postgres only looks whether it is there, and removes it (its folder is its own); a base backup reads it. */
	CLEANUP(close_fd)
	int fd = openat(folder, PROMOTE_FILE, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0 || fchmod(fd, 0644) < 0)
		return error_set(err, STATUS_IO, errno, "could not create file \"" PROMOTE_FILE "\"");
	return STATUS_OK;
}

void postmaster_file_forget_promotion(const char *data_path)
{
	CLEANUP(close_fd) int folder = -1;
	struct error ignored;
	if (folder_open(data_path, &folder, &ignored) == STATUS_OK)
		(void)unlinkat(folder, PROMOTE_FILE, 0);
}
