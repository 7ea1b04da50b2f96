#include "compute/wal_tail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/number.h"
#include "base/program.h"
#include "page_store/file_copy.h"
#include "wal_store/wal_file.h"

#define WAL_PAGE          8192u
#define SHORT_HEADER      24u /* SizeOfXLogShortPHD */
#define LONG_HEADER       40u /* SizeOfXLogLongPHD, at the beginning of a segment */
#define RECORD_MIN        24u /* SizeOfXLogRecord */
#define CHECKPOINT_MAX    4096u
#define IDLE_SEGMENTS_MAX 4 /* further apart than that, something happened */
#define BLOCK             4096u
#define CHUNK             (256u << 10)

static status open_segment(
        const struct wal_tail *tail, uint64_t segment, int flags, int *ret_fd, struct error *err)
{
	char name[WAL_FILE_NAME_MAX];
	CLEANUP(close_fd) int folder = -1;
	wal_segment_name(tail->timeline, segment, tail->segment_size, name);
	status st = folder_open(tail->folder, &folder, err);
	if (st != STATUS_OK)
		return st;
	int fd = openat(folder, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, errno,
		        "could not open WAL segment \"%s\"", name);
	*ret_fd = fd;
	return STATUS_OK;
}

static uint64_t header_at(const struct wal_tail *tail, uint64_t page_lsn)
{
	return page_lsn % tail->segment_size == 0 ? LONG_HEADER : SHORT_HEADER;
}

status wal_tail_record_end(const struct wal_tail *tail, uint64_t lsn, uint64_t *ret_end, struct error *err)
{
	CLEANUP(close_fd) int fd = -1;
	uint32_t len;
	char text[LSN_TEXT_MAX];
	lsn_format(lsn, text);
	status st = open_segment(tail, lsn / tail->segment_size, O_RDONLY, &fd, err);
	if (st != STATUS_OK)
		return st;
	/* Records begin at multiples of 8: the length, in front, never crosses a page. */
	if (lsn % 8 != 0 || pread(fd, &len, sizeof len, (off_t)(lsn % tail->segment_size)) != sizeof len ||
	        len < RECORD_MIN || len > CHECKPOINT_MAX)
		return error_set(err, STATUS_CORRUPT, 0, "there is no checkpoint in WAL at %s", text);
	uint64_t at = lsn, left = (len + 7u) / 8 * 8;
	for (;;) {
		uint64_t room = WAL_PAGE - at % WAL_PAGE;
		if (left <= room)
			break;
		left -= room;
		at += room;
		at += header_at(tail, at);
	}
	*ret_end = at + left;
	return STATUS_OK;
}

/* One line of pg_waldump: "rmgr: XLOG  len (rec/tot): …, tx: 0, lsn: …, prev …, desc: CHECKPOINT_SHUTDOWN …" */
static bool is_idle_record(const char *line, size_t len)
{
	static const char *const harmless[] = { "CHECKPOINT_SHUTDOWN", "CHECKPOINT_ONLINE", "CHECKPOINT_REDO",
		"SWITCH", "RUNNING_XACTS", "RESTORE_POINT" };
	const char *desc = memmem(line, len, "desc: ", 6);
	if (len < 6 || memcmp(line, "rmgr: ", 6) != 0 || !desc)
		return false;
	desc += 6;
	size_t left = len - (size_t)(desc - line);
	for (size_t i = 0; i < ARRAY_LEN(harmless); i++) {
		size_t n = strlen(harmless[i]);
		if (left >= n && memcmp(desc, harmless[i], n) == 0)
			return true;
	}
	return false;
}

bool wal_tail_is_idle(const struct wal_tail *tail, const char *bin_dir, uint64_t from_lsn, uint64_t to_lsn)
{
	if (from_lsn > to_lsn ||
	        to_lsn / tail->segment_size - from_lsn / tail->segment_size > IDLE_SEGMENTS_MAX)
		return false;
	char from[LSN_TEXT_MAX], to[LSN_TEXT_MAX], timeline[16];
	lsn_format(from_lsn, from);
	lsn_format(to_lsn, to);
	(void)snprintf(timeline, sizeof timeline, "%u", tail->timeline);
	CLEANUP(free_text) char *path = xasprintf("%s/pg_waldump", bin_dir);
	const char *const argv[] = { path, "--path", tail->folder, "--timeline", timeline, "--start", from,
		"--end", to, NULL };
	struct program program = { .argv = argv };
	CLEANUP(buffer_done) struct buffer output = { 0 };
	struct error err;
	if (program_run(&program, &output, &err) != STATUS_OK || output.len >= PROGRAM_OUTPUT_MAX)
		return false;
	for (const char *line = output.data; line && *line;) {
		size_t len = strcspn(line, "\n");
		/* "first record is after …": of a start behind a switch */
		if (memmem(line, len, "rmgr: ", 6) && !is_idle_record(line, len))
			return false;
		line += len + (line[len] == '\n');
	}
	return true;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

/* Where the zeros at the end begin; the whole file's size when it ends in something else. */
static status find_zeros(int fd, uint64_t size, uint64_t *ret, struct error *err)
{
	CLEANUP(free_text) char *chunk = xcalloc(1, CHUNK);
	uint64_t end = size;
	while (end > 0) {
		uint64_t from = (end - 1) / CHUNK * CHUNK;
		size_t len = (size_t)(end - from);
		if (pread(fd, chunk, len, (off_t)from) != (ssize_t)len)
			return error_set(err, STATUS_IO, errno, "could not read a WAL segment");
		while (len > 0 && is_zero((const uint8_t *)chunk + (len - 1) / BLOCK * BLOCK,
		                          len - (len - 1) / BLOCK * BLOCK))
			len = (len - 1) / BLOCK * BLOCK;
		end = from + len;
		if (len > 0)
			break;
	}
	*ret = end;
	return STATUS_OK;
}

static status trim_segment(const struct wal_tail *tail, uint64_t segment, struct error *err)
{
	CLEANUP(close_fd) int fd = -1;
	struct stat st;
	uint64_t zeros = 0;
	status result = open_segment(tail, segment, O_RDWR, &fd, err);
	if (result == STATUS_NOT_FOUND)
		return STATUS_OK;
	if (result != STATUS_OK)
		return result;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != tail->segment_size)
		return STATUS_OK; /* Postgres will have its say on that */
	result = find_zeros(fd, tail->segment_size, &zeros, err);
	if (result != STATUS_OK)
		return result;
	/* A little is left in front of them: the page that is written next. */
	zeros += WAL_PAGE;
	if (zeros >= tail->segment_size)
		return STATUS_OK;
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)zeros,
	            (off_t)(tail->segment_size - zeros)) < 0 &&
	        errno != EOPNOTSUPP)
		return error_set(err, STATUS_IO, errno, "could not give back the space of a WAL segment");
	return STATUS_OK;
}

status wal_tail_trim(const struct wal_tail *tail, uint64_t end_lsn, struct error *err)
{
	uint64_t segment = end_lsn / tail->segment_size;
	/* The one that the shutdown switched away from, the last one, and one made in advance. */
	for (uint64_t n = segment > 0 ? segment - 1 : 0; n <= segment + 1; n++) {
		status st = trim_segment(tail, n, err);
		if (st != STATUS_OK)
			return st;
	}
	return STATUS_OK;
}
