/*
 * pg_waldump prints a line per record, with TZ=UTC:
 *
 *   rmgr: Transaction len (rec/tot):     34/    34, tx:        741, lsn: 0/01949D18, prev 0/01949CE8, desc: COMMIT 2026-11-22 21:00:00.123456 UTC
 *
 * and "COMMIT_PREPARED 741: 2026-…", ABORT and ABORT_PREPARED alike; names and messages of tenants may be in other lines, newlines included, so a
 * line that looks right is believed only when pg_waldump, asked for the one record at its position, prints it again.
 *
 * It runs as the owner of the WAL, and gets the files by name, because nobody but us can list the archive. It follows one timeline; for a range on
 * several ones a folder of links, named as if all were on the last one, is made in the archive: the pages themselves may come from older ones.
 */
#include "wal_store/wal_time.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/number.h"
#include "base/program.h"
#include "wal_store/wal_file.h"

#define LINE_MAX_BYTES  4096 /* of a longer one the rest is dropped */
#define STAGE_PREFIX    "waldump."
#define STAGE_OLD_SEC   3600
#define WAL_PAGE_BYTES  8192 /* XLOG_BLCKSZ of stock builds */
#define SHORT_HEADER    24   /* of a page */
#define LONG_HEADER     40   /* of a segment's first page */
#define RECORD_HEADER   24   /* XLogRecord */
#define LOOK_BACK_BYTES (256u << 10)

struct record {
	uint64_t lsn, prev;
	uint32_t total_len;
	bool is_transaction;
	const char *text; /* behind "desc: " */
};

static bool skip_text(const char **at, const char *text)
{
	size_t len = strlen(text);
	if (strncmp(*at, text, len) != 0)
		return false;
	*at += len;
	return true;
}

static void skip_spaces(const char **at)
{
	*at += strspn(*at, " ");
}

static bool read_u32(const char **at, uint32_t *ret)
{
	skip_spaces(at);
	size_t digits = strspn(*at, "0123456789");
	int64_t number;
	if (!number_parse((struct slice){ (const uint8_t *)*at, digits }, 0, UINT32_MAX, &number))
		return false;
	*at += digits;
	*ret = (uint32_t)number;
	return true;
}

static bool read_lsn(const char **at, uint64_t *ret)
{
	size_t len = strspn(*at, "0123456789ABCDEFabcdef/");
	if (!lsn_parse((struct slice){ (const uint8_t *)*at, len }, ret))
		return false;
	*at += len;
	return true;
}

static bool parse_line(const char *line, struct record *ret)
{
	const char *at = line;
	uint32_t record_len, xid;
	if (!skip_text(&at, "rmgr: "))
		return false;
	ret->is_transaction = strncmp(at, "Transaction ", 12) == 0;
	at += strcspn(at, " ");
	skip_spaces(&at);
	if (!skip_text(&at, "len (rec/tot): ") || !read_u32(&at, &record_len) || !skip_text(&at, "/") ||
	        !read_u32(&at, &ret->total_len) || !skip_text(&at, ", tx: ") || !read_u32(&at, &xid) ||
	        !skip_text(&at, ", lsn: ") || !read_lsn(&at, &ret->lsn) || !skip_text(&at, ", prev ") ||
	        !read_lsn(&at, &ret->prev) || !skip_text(&at, ", desc: "))
		return false;
	ret->text = at;
	return true;
}

/* "2026-11-22 21:00:00.123456 UTC" */
static bool parse_time(const char *text, int64_t *ret_usec)
{
	struct tm tm = { 0 };
	const char *end = strptime(text, "%Y-%m-%d %H:%M:%S", &tm);
	if (!end || *end != '.' || strspn(end + 1, "0123456789") != 6 || strncmp(end + 7, " UTC", 4) != 0)
		return false;
	int64_t fraction;
	if (!number_parse((struct slice){ (const uint8_t *)end + 1, 6 }, 0, 999999, &fraction))
		return false;
	*ret_usec = (int64_t)timegm(&tm) * USEC_PER_SEC + fraction;
	return true;
}

/* The records at which recovery_target_time looks (recoveryStopsBefore() in Postgres' xlogrecovery.c). */
static bool ends_transaction(const struct record *record, int64_t *ret_usec)
{
	static const char *const names[] = { "COMMIT ", "ABORT ", "COMMIT_PREPARED ", "ABORT_PREPARED " };
	const char *at = record->text;
	if (!record->is_transaction)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!skip_text(&at, names[i]))
			continue;
		size_t digits = strspn(at, "0123456789");
		if (digits > 0 && at[digits] == ':' && at[digits + 1] == ' ')
			at += digits + 2;
		return parse_time(at, ret_usec);
	}
	return false;
}

/* ---- the program ---- */

struct dump {
	const char *bin_dir;
	const char *folder; /* of the segments: the archive, or a stage */
	uint32_t timeline;  /* that they are named after */
	uint32_t segment_size;
	struct system_user user; /* who owns them */

	bool (*on_record)(void *owner, const struct record *record); /* false: enough */
	void *owner;
	char line[LINE_MAX_BYTES];
	size_t line_len;
};

static bool take_output(void *owner, const char *bytes, size_t len)
{
	struct dump *dump = owner;
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] != '\n') {
			if (dump->line_len < sizeof dump->line - 1)
				dump->line[dump->line_len++] = bytes[i];
			continue;
		}
		dump->line[dump->line_len] = '\0';
		dump->line_len = 0;
		struct record record;
		if (parse_line(dump->line, &record) && !dump->on_record(dump->owner, &record))
			return false;
	}
	return true;
}

/*
 * pg_waldump stops silently at the end it was given, but not when that is inside the header of a record that is the first on its page: of such a
 * one it reads more than it asked for. "error in WAL record at 0/2022210: record with incorrect prev-link 0/80004 at 0/3000028"
 */
static bool is_at_end(const char *output, uint64_t end)
{
	const char *at = strstr(output, "error in WAL record at ");
	uint64_t farthest = 0, lsn;
	if (!at)
		return false;
	for (at += strcspn(at, " "); (at = strstr(at, " at "));) {
		at += 4;
		if (read_lsn(&at, &lsn) && lsn > farthest)
			farthest = lsn;
	}
	return farthest <= end && farthest + RECORD_HEADER > end;
}

/* Every record that is whole in [start, end). */
static status dump_run(struct dump *dump, uint64_t start, uint64_t end, bool only_transactions,
        bool (*on_record)(void *owner, const struct record *record), void *owner, struct error *err)
{
	char start_text[LSN_TEXT_MAX], end_text[LSN_TEXT_MAX];
	char first[WAL_FILE_NAME_MAX], last[WAL_FILE_NAME_MAX];
	lsn_format(start, start_text);
	lsn_format(end, end_text);
	wal_segment_name(dump->timeline, start / dump->segment_size, dump->segment_size, first);
	wal_segment_name(dump->timeline, (end - 1) / dump->segment_size, dump->segment_size, last);
	CLEANUP(free_text) char *program_path = xasprintf("%s/pg_waldump", dump->bin_dir);
	const char *argv[16] = { program_path, "--path", dump->folder, "--start", start_text, "--end",
		end_text };
	size_t count = 7;
	if (only_transactions)
		argv[count++] = "--rmgr=Transaction";
	argv[count++] = first;
	argv[count++] = last;
	argv[count] = NULL;
	dump->on_record = on_record;
	dump->owner = owner;
	dump->line_len = 0;
	struct program program = {
		.argv = argv, .user = &dump->user, .on_output = take_output, .owner = dump
	};
	CLEANUP(buffer_done) struct buffer output = { 0 };
	status st = program_run(&program, &output, err);
	/* The range has no beginning of a record in it, or only that of one that ends behind it. */
	if (st != STATUS_OK && output.data &&
	        (strstr(output.data, "could not find a valid record after") || is_at_end(output.data, end)))
		return STATUS_OK;
	return st;
}

static status find_owner(
        const char *archive_path, const struct wal_range *range, struct system_user *ret, struct error *err)
{
	char name[WAL_FILE_NAME_MAX];
	uint32_t timeline = wal_history_timeline_at(range->history, range->end_lsn - 1);
	wal_segment_name(timeline, (range->end_lsn - 1) / range->segment_size, range->segment_size, name);
	CLEANUP(free_text) char *path = xasprintf("%s/%s", archive_path, name);
	struct stat st;
	if (lstat(path, &st) < 0)
		return error_set(err, STATUS_IO, errno, "could not look at WAL segment \"%s\"", path);
	*ret = (struct system_user){ .uid = st.st_uid, .gid = st.st_gid, .is_other = st.st_uid != geteuid() };
	return STATUS_OK;
}

/* ---- several timelines ---- */

/* Stages that a crash left behind. */
static void remove_old_stages(const char *archive_path)
{
	CLEANUP(close_listing) DIR *folder = opendir(archive_path);
	if (!folder)
		return; /* what really needs the folder will tell */
	for (struct dirent *item; (item = readdir(folder));) {
		struct stat st;
		struct error ignored;
		if (strncmp(item->d_name, STAGE_PREFIX, strlen(STAGE_PREFIX)) != 0 ||
		        fstatat(dirfd(folder), item->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		        st.st_mtime + STAGE_OLD_SEC > clock_wall_usec() / USEC_PER_SEC)
			continue;
		CLEANUP(free_text) char *path = xasprintf("%s/%s", archive_path, item->d_name);
		(void)!tree_remove(path, &ignored); /* the next call comes by again */
	}
}

static bool is_on_one_timeline(const struct wal_range *range)
{
	return wal_history_timeline_at(range->history, range->start_lsn) ==
	       wal_history_timeline_at(range->history, range->end_lsn - 1);
}

static status link_segments(
        const char *stage, const struct wal_range *range, uint32_t timeline, struct error *err)
{
	uint64_t size = range->segment_size, last = (range->end_lsn - 1) / size;
	for (uint64_t segment = range->start_lsn / size; segment <= last; segment++) {
		char name[WAL_FILE_NAME_MAX], staged[WAL_FILE_NAME_MAX];
		uint64_t end = (segment + 1) * size < range->end_lsn ? (segment + 1) * size : range->end_lsn;
		wal_segment_name(
		        wal_history_timeline_at(range->history, end - 1), segment, range->segment_size, name);
		wal_segment_name(timeline, segment, range->segment_size, staged);
		CLEANUP(free_text) char *target = xasprintf("../%s", name);
		CLEANUP(free_text) char *path = xasprintf("%s/%s", stage, staged);
		if (symlink(target, path) < 0)
			return error_set(err, STATUS_IO, errno, "could not create link \"%s\"", path);
	}
	return STATUS_OK;
}

static void remove_stage(char **stage)
{
	struct error ignored;
	if (*stage)
		(void)!tree_remove(*stage, &ignored); /* then it is old one day */
	free_text(stage);
}

static status make_stage(const char *archive_path, const struct wal_range *range, uint32_t timeline,
        char **ret, struct error *err)
{
	remove_old_stages(archive_path);
	CLEANUP(remove_stage) char *stage = xasprintf("%s/" STAGE_PREFIX "XXXXXX", archive_path);
	if (!mkdtemp(stage)) {
		status st = error_set(err, STATUS_IO, errno, "could not create folder \"%s\"", stage);
		free_text(&stage);
		return st;
	}
	if (chmod(stage, 0755) < 0)
		return error_set(err, STATUS_IO, errno, "could not set the mode of folder \"%s\"", stage);
	status st = link_segments(stage, range, timeline, err);
	if (st == STATUS_OK)
		*ret = TAKE_PTR(stage);
	return st;
}

static status dump_start(const char *bin_dir, const char *archive_path, const struct wal_range *range,
        struct dump *ret, char **ret_stage, struct error *err)
{
	struct system_user user;
	status st = wal_archive_check(archive_path, range, err); /* pg_waldump waits for missing files */
	if (st == STATUS_OK)
		st = find_owner(archive_path, range, &user, err);
	uint32_t timeline = wal_history_timeline_at(range->history, range->end_lsn - 1);
	if (st == STATUS_OK && !is_on_one_timeline(range))
		st = make_stage(archive_path, range, timeline, ret_stage, err);
	if (st != STATUS_OK)
		return st;
	*ret = (struct dump){ .bin_dir = bin_dir,
		.folder = *ret_stage ? *ret_stage : archive_path,
		.timeline = timeline,
		.segment_size = range->segment_size,
		.user = user };
	return STATUS_OK;
}

/* ---- from a moment to a position ---- */

struct time_search {
	int64_t time_usec;
	uint64_t after_lsn; /* the first behind it; 0: any */
	uint64_t lsn;       /* 0: none yet */
};

static bool look_at_end(void *owner, const struct record *record)
{
	struct time_search *search = owner;
	int64_t usec;
	if (record->lsn <= search->after_lsn || !ends_transaction(record, &usec) || usec <= search->time_usec)
		return true;
	search->lsn = record->lsn;
	return false;
}

static bool look_at_first(void *owner, const struct record *record)
{
	struct time_search *search = owner;
	int64_t usec;
	search->lsn = ends_transaction(record, &usec) && usec > search->time_usec ? record->lsn : UINT64_MAX;
	return false;
}

status wal_time_find(const char *bin_dir, const char *archive_path, const struct wal_range *range,
        int64_t time_usec, uint64_t *ret_lsn, struct error *err)
{
	CLEANUP(remove_stage) char *stage = NULL;
	struct dump dump;
	struct time_search search = { .time_usec = time_usec };
	status st = dump_start(bin_dir, archive_path, range, &dump, &stage, err);
	while (st == STATUS_OK) {
		search.lsn = 0;
		st = dump_run(&dump, range->start_lsn, range->end_lsn, true, look_at_end, &search, err);
		if (st != STATUS_OK || search.lsn == 0)
			break;
		struct time_search again = { .time_usec = time_usec };
		if (search.lsn < range->end_lsn)
			st = dump_run(&dump, search.lsn, range->end_lsn, false, look_at_first, &again, err);
		if (st != STATUS_OK || again.lsn == search.lsn)
			break;
		search.after_lsn = search.lsn; /* a text that only looked like a record */
	}
	if (st == STATUS_OK)
		*ret_lsn = search.lsn ? search.lsn : range->end_lsn;
	return st == STATUS_OK ? st : error_prefix(err, "could not search the WAL in \"%s\"", archive_path);
}

/* ---- the last record ---- */

/* Where the record ends: its bytes go on behind the headers of the pages it runs over. */
static uint64_t record_end(const struct record *record, uint32_t segment_size)
{
	uint64_t at = record->lsn, left = ((uint64_t)record->total_len + 7) / 8 * 8;
	while (left > 0) {
		uint64_t room = WAL_PAGE_BYTES - at % WAL_PAGE_BYTES;
		if (left <= room)
			return at + left;
		left -= room;
		at += room;
		at += at % segment_size == 0 ? LONG_HEADER : SHORT_HEADER;
	}
	return at;
}

struct last_search {
	uint32_t segment_size;
	uint64_t limit;
	uint64_t last_lsn; /* 0: none yet */
	uint64_t end;
	int64_t time_usec; /* of the latest transaction that ended; 0: none */
};

static bool look_at_last(void *owner, const struct record *record)
{
	struct last_search *search = owner;
	/* Each record names the one before it: a text that only looks like a record is not in the chain. */
	if (search->last_lsn && record->prev != search->last_lsn)
		return true;
	uint64_t end = record_end(record, search->segment_size);
	if (strncmp(record->text, "SWITCH", 6) == 0 && !record->is_transaction)
		end = (end + search->segment_size - 1) / search->segment_size * search->segment_size;
	if (end > search->limit)
		return true;
	search->last_lsn = record->lsn;
	search->end = end;
	int64_t usec;
	if (ends_transaction(record, &usec) && usec > search->time_usec)
		search->time_usec = usec;
	return true;
}

struct last_end_search {
	uint64_t before_lsn;
	uint64_t lsn; /* 0: none yet */
	int64_t time_usec;
};

static bool look_at_last_end(void *owner, const struct record *record)
{
	struct last_end_search *search = owner;
	int64_t usec;
	if (record->lsn >= search->before_lsn || !ends_transaction(record, &usec))
		return true;
	search->lsn = record->lsn;
	search->time_usec = usec;
	return true;
}

/* Of a long transaction's WAL only the ends are printed. *ret_usec: 0 when there is none in [start, end). */
static status find_last_end(
        struct dump *dump, uint64_t start, uint64_t end, int64_t *ret_usec, struct error *err)
{
	struct last_end_search search = { .before_lsn = end };
	for (;;) {
		search.lsn = 0;
		search.time_usec = 0;
		status st = dump_run(dump, start, end, true, look_at_last_end, &search, err);
		if (st != STATUS_OK)
			return st;
		if (search.lsn == 0)
			break;
		struct time_search again = { .time_usec = search.time_usec - 1 };
		if (search.lsn >= start)
			st = dump_run(dump, search.lsn, end, false, look_at_first, &again, err);
		if (st != STATUS_OK)
			return st;
		if (again.lsn == search.lsn)
			break;
		search.before_lsn = search.lsn; /* a text that only looked like a record */
	}
	*ret_usec = search.time_usec;
	return STATUS_OK;
}

status wal_time_last_record(const char *bin_dir, const char *archive_path, const struct wal_range *range,
        uint64_t *ret_lsn, int64_t *ret_time_usec, struct error *err)
{
	CLEANUP(remove_stage) char *stage = NULL;
	struct dump dump;
	struct last_search search = { .segment_size = range->segment_size, .limit = range->end_lsn };
	status st = dump_start(bin_dir, archive_path, range, &dump, &stage, err);
	/* From shortly before the end, and farther back as long as no record is whole there. */
	for (uint64_t back = LOOK_BACK_BYTES; st == STATUS_OK; back *= 16) {
		bool is_all = back >= range->end_lsn - range->start_lsn;
		uint64_t start = is_all ? range->start_lsn : range->end_lsn - back;
		st = dump_run(&dump, start, range->end_lsn, false, look_at_last, &search, err);
		if (st == STATUS_OK && search.last_lsn && search.time_usec == 0 && !is_all)
			st = find_last_end(&dump, range->start_lsn, search.end, &search.time_usec, err);
		if (is_all || search.last_lsn)
			break;
	}
	if (st == STATUS_OK) {
		*ret_lsn = search.last_lsn ? search.end : range->start_lsn;
		*ret_time_usec = search.time_usec;
	}
	return st == STATUS_OK ? st : error_prefix(err, "could not read the WAL in \"%s\"", archive_path);
}
