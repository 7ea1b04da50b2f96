/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "wal_store/wal_archive.h"
#include "wal_store/wal_file.h"

#define MIB (1u << 20) /* the size of the segments here */

struct fixture {
	char path[32];
	char *wal, *archive, *other;
};

static void must(status st, const struct error *err)
{
	if (st != STATUS_OK)
		fail_msg("%s", err->message);
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);
	struct error err;
	memcpy(f->path, "/tmp/tarn-unit-XXXXXX", 22);
	if (!mkdtemp(f->path))
		return -1;
	f->wal = xasprintf("%s/wal", f->path);
	f->archive = xasprintf("%s/archive", f->path);
	f->other = xasprintf("%s/other", f->path);
	*state = f;
	return folder_make(f->wal, 0700, &err) == STATUS_OK &&
	                       folder_make(f->archive, 0700, &err) == STATUS_OK &&
	                       folder_make(f->other, 0700, &err) == STATUS_OK
	               ? 0
	               : -1;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	struct error err;
	free(f->wal);
	free(f->archive);
	free(f->other);
	status st = tree_remove(f->path, &err);
	free(f);
	return st == STATUS_OK ? 0 : -1;
}

static char *in(const char *folder, const char *name)
{
	return xasprintf("%s/%s", folder, name);
}

/* A segment full of one letter. */
static void make_segment(const char *folder, uint32_t timeline, uint64_t segment, char letter)
{
	char name[WAL_FILE_NAME_MAX];
	struct error err;
	wal_segment_name(timeline, segment, MIB, name);
	CLEANUP(free_text) char *path = in(folder, name);
	CLEANUP(free_text) char *content = xcalloc(1, MIB);
	memset(content, letter, MIB);
	must(file_replace_durably(path, (struct slice){ (uint8_t *)content, MIB }, 0600, &err), &err);
}

static void make_file(const char *folder, const char *name)
{
	struct error err;
	CLEANUP(free_text) char *path = in(folder, name);
	must(file_replace_durably(path, slice_from_text(name), 0600, &err), &err);
}

static bool has(const char *folder, const char *name)
{
	CLEANUP(free_text) char *path = in(folder, name);
	return file_exists(path);
}

static bool has_segment(const char *folder, uint32_t timeline, uint64_t segment)
{
	char name[WAL_FILE_NAME_MAX];
	wal_segment_name(timeline, segment, MIB, name);
	return has(folder, name);
}

static size_t update(const struct fixture *f)
{
	size_t linked = 4711;
	struct error err;
	must(wal_archive_update(f->wal, f->archive, &linked, &err), &err);
	return linked;
}

static void names_are_told_apart(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		enum wal_file_kind kind;
		uint64_t segment;
	} names[] = {
		{ "000000010000000000000001", WAL_FILE_SEGMENT, 1 },
		{ "000000030000000100000FFF", WAL_FILE_SEGMENT, 8191 },
		{ "000000030000000100001000", WAL_FILE_FOREIGN, 0 }, /* 4096 of 1 MiB in each id */
		{ "000000010000000000000001.partial", WAL_FILE_PARTIAL, 1 },
		{ "000000010000000000000001.00000028.backup", WAL_FILE_BACKUP, 1 },
		{ "000000010000000000000001.00000028.backup2", WAL_FILE_FOREIGN, 0 },
		{ "00000002.history", WAL_FILE_HISTORY, 0 },
		{ "00000000.history", WAL_FILE_FOREIGN, 0 },
		{ "000000000000000000000001", WAL_FILE_FOREIGN, 0 },
		{ "00000001000000000000000a", WAL_FILE_FOREIGN, 0 },
		{ "archive_status", WAL_FILE_FOREIGN, 0 },
		{ "xlogtemp.123", WAL_FILE_FOREIGN, 0 },
		{ "", WAL_FILE_FOREIGN, 0 },
	};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		uint64_t segment = 0;
		if (wal_file_parse(names[i].name, MIB, &segment) != names[i].kind ||
		        segment != names[i].segment)
			fail_msg("\"%s\"", names[i].name);
	}
}

static void links_are_made_once(void **state)
{
	struct fixture *f = *state;
	make_segment(f->wal, 1, 1, 'a');
	make_segment(f->wal, 1, 2, 'b');
	make_file(f->wal, "00000002.history");
	make_file(f->wal, "000000010000000000000001.partial");
	make_file(f->wal, "xlogtemp.17");
	assert_int_equal(update(f), 4);
	assert_int_equal(update(f), 0);
	assert_false(has(f->archive, "xlogtemp.17"));
	/* What Postgres removes stays. */
	CLEANUP(free_text) char *gone = in(f->wal, "000000010000000000000001");
	assert_int_equal(unlink(gone), 0);
	assert_int_equal(update(f), 0);
	assert_true(has_segment(f->archive, 1, 1));
}

/* W1, T27: a second file of the same name is told of, and the first stays. */
static void nothing_is_overwritten(void **state)
{
	struct fixture *f = *state;
	struct error err;
	size_t linked;
	make_segment(f->wal, 1, 1, 'a');
	update(f);
	make_segment(f->wal, 1, 1, 'z');
	assert_int_equal(wal_archive_update(f->wal, f->archive, &linked, &err), STATUS_CORRUPT);
	CLEANUP(free_text) char *path = in(f->archive, "000000010000000000000001");
	CLEANUP(buffer_done) struct buffer content = { 0 };
	must(file_read(path, MIB, &content, &err), &err);
	assert_int_equal(content.data[5], 'a');
}

/* Postgres' user owns wal/: what it puts there cannot lead us anywhere. */
static void links_of_others_are_refused(void **state)
{
	struct fixture *f = *state;
	struct error err;
	size_t linked;
	CLEANUP(free_text) char *path = in(f->wal, "000000010000000000000001");
	assert_int_equal(symlink("/etc/shadow", path), 0);
	assert_int_equal(wal_archive_update(f->wal, f->archive, &linked, &err), STATUS_CORRUPT);
	assert_false(has_segment(f->archive, 1, 1));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(wal_archive_update(f->wal, f->archive, &linked, &err), STATUS_CORRUPT);
	/* In an archive they are refused too. */
	CLEANUP(free_text) char *archived = in(f->archive, "000000010000000000000001");
	assert_int_equal(symlink("/etc/shadow", archived), 0);
	struct wal_history history = { .timeline = 1 };
	struct wal_range range = {
		.history = &history, .start_lsn = MIB + 40, .end_lsn = MIB + 100, .segment_size = MIB
	};
	assert_int_not_equal(wal_archive_provide(f->archive, &range, f->other, NULL, &err), STATUS_OK);
	assert_int_not_equal(wal_archive_check(f->archive, &range, &err), STATUS_OK);
}

static void content_is(
        const char *folder, uint32_t timeline, uint64_t segment, char letter, size_t len, bool is_link)
{
	char name[WAL_FILE_NAME_MAX];
	struct error err;
	struct stat st;
	wal_segment_name(timeline, segment, MIB, name);
	CLEANUP(free_text) char *path = in(folder, name);
	CLEANUP(buffer_done) struct buffer content = { 0 };
	must(file_read(path, MIB, &content, &err), &err);
	assert_int_equal(content.len, MIB);
	for (size_t i = 0; i < MIB; i++)
		if (content.data[i] != (i < len ? letter : 0))
			fail_msg("byte %zu of %s is %d", i, name, content.data[i]);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_nlink > 1, is_link);
	if (len < MIB / 2)
		assert_true((uint64_t)st.st_blocks * 512 < MIB); /* a hole behind */
}

/* Along two switches of the timeline, one of them in the middle of a segment, to ends in the middle and on borders. */
static void a_range_is_provided(void **state)
{
	struct fixture *f = *state;
	struct error err;
	for (uint64_t i = 1; i <= 3; i++)
		make_segment(f->wal, 1, i, 'a');
	for (uint64_t i = 3; i <= 5; i++)
		make_segment(f->wal, 3, i, 'b');
	make_segment(f->wal, 5, 6, 'c'); /* 3 was left at the border in front */
	make_segment(f->wal, 5, 7, 'c');
	update(f);
	struct wal_history history;
	must(wal_history_parse(slice_from_text("1\t0/380000\tx\n3\t0/600000\tx\n"), 5, &history, &err), &err);
	static const struct {
		uint64_t start, end;
		const char *expected; /* of each segment from 1 on: timeline and letter */
	} cases[] = {
		{ 0x100028, 0x700010, "1a1a3b3b3b5c5c" },
		{ 0x1fffff, 0x200000, "1a" },
		{ 0x200000, 0x380000, "--1a1a" }, /* ends where 1 is left: nothing of 3 */
		{ 0x200000, 0x380001, "--1a3b" },
		{ 0x380001, 0x600000, "----3b3b3b" },
		{ 0x5ffff8, 0x600001, "--------3b5c" },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct wal_range range = { .history = &history,
			.start_lsn = cases[i].start,
			.end_lsn = cases[i].end,
			.segment_size = MIB };
		must(wal_archive_check(f->archive, &range, &err), &err);
		must(wal_archive_provide(f->archive, &range, f->other, NULL, &err), &err);
		must(wal_folder_sync(f->other, &err), &err);
		size_t count = strlen(cases[i].expected) / 2;
		for (uint64_t segment = 1; segment <= 8; segment++) {
			const char *expected = segment <= count ? cases[i].expected + 2 * (segment - 1) : "-";
			for (uint32_t timeline = 1; timeline <= 5; timeline += 2)
				assert_int_equal(has_segment(f->other, timeline, segment),
				        timeline == (uint32_t)(expected[0] - '0'));
			if (expected[0] == '-')
				continue;
			uint64_t keep = cases[i].end - segment * MIB;
			content_is(f->other, (uint32_t)(expected[0] - '0'), segment, expected[1],
			        keep < MIB ? keep : MIB, keep >= MIB);
		}
		must(tree_remove(f->other, &err), &err);
		must(folder_make(f->other, 0700, &err), &err);
	}
	/* What is missing has a name; nonsense is refused. */
	struct wal_range range = {
		.history = &history, .start_lsn = 0x100028, .end_lsn = 0x800001, .segment_size = MIB
	};
	assert_int_equal(wal_archive_check(f->archive, &range, &err), STATUS_NOT_FOUND);
	assert_non_null(strstr(err.message, "000000050000000000000008"));
	assert_int_equal(wal_archive_provide(f->archive, &range, f->other, NULL, &err), STATUS_NOT_FOUND);
	range.end_lsn = range.start_lsn;
	assert_int_equal(wal_archive_check(f->archive, &range, &err), STATUS_INVALID);
	range.end_lsn++;
	range.segment_size = 3;
	assert_int_equal(wal_archive_check(f->archive, &range, &err), STATUS_INVALID);
	wal_history_done(&history);
}

static void a_short_segment_is_refused(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct wal_history history = { .timeline = 1 };
	struct wal_range range = {
		.history = &history, .start_lsn = MIB + 40, .end_lsn = MIB + 100, .segment_size = MIB
	};
	make_file(f->archive, "000000010000000000000001");
	assert_int_equal(wal_archive_check(f->archive, &range, &err), STATUS_CORRUPT);
	assert_int_equal(wal_archive_provide(f->archive, &range, f->other, NULL, &err), STATUS_CORRUPT);
}

static void old_segments_go(void **state)
{
	struct fixture *f = *state;
	struct error err;
	size_t removed = 0;
	for (uint64_t i = 1; i <= 6; i++)
		make_segment(f->archive, 1, i, 'a');
	make_segment(f->archive, 3, 2, 'b');
	make_file(f->archive, "000000010000000000000002.partial");
	make_file(f->archive, "00000003.history");
	make_file(f->archive, "unknown");
	const struct wal_span spans[] = { { 0x1ffff0, 0x200000 }, { 0x3fffff, 0x400001 } };
	/* The segment that keep_lsn is in stays; so does what a span touches by one byte. */
	must(wal_archive_retain(f->archive, MIB, 0x600000, spans, 2, &removed, &err), &err);
	assert_int_equal(removed, 4); /* 2 of both timelines, its .partial, and 5 */
	assert_true(has_segment(f->archive, 1, 1) && has_segment(f->archive, 1, 3) &&
	            has_segment(f->archive, 1, 4) && has_segment(f->archive, 1, 6));
	assert_true(has(f->archive, "00000003.history") && has(f->archive, "unknown"));
	assert_false(has_segment(f->archive, 1, 2) || has_segment(f->archive, 3, 2) ||
	             has_segment(f->archive, 1, 5));
	must(wal_archive_retain(f->archive, MIB, 0x5fffff, NULL, 0, &removed, &err), &err);
	assert_int_equal(removed, 3);
	assert_true(has_segment(f->archive, 1, 6));
	assert_int_equal(wal_archive_retain(f->archive, 5, 1, NULL, 0, &removed, &err), STATUS_INVALID);
}

static void space_is_counted_once(void **state)
{
	struct fixture *f = *state;
	struct error err;
	struct wal_space space;
	for (uint64_t i = 1; i <= 4; i++)
		make_segment(f->wal, 1, i, 'a');
	update(f);
	must(wal_archive_space(f->wal, f->archive, &space, &err), &err);
	assert_int_equal(space.live, 4 * MIB);
	assert_int_equal(space.history + space.shared, 0);
	CLEANUP(free_text) char *first = in(f->wal, "000000010000000000000001");
	CLEANUP(free_text) char *second = in(f->wal, "000000010000000000000002");
	CLEANUP(free_text) char *third = in(f->wal, "000000010000000000000003");
	CLEANUP(free_text) char *fourth = in(f->wal, "000000010000000000000004");
	CLEANUP(free_text) char *partial = in(f->wal, "000000010000000000000004.partial");
	CLEANUP(free_text) char *elsewhere = in(f->other, "000000010000000000000002");
	assert_int_equal(link(second, elsewhere), 0);        /* a branch has it too */
	assert_int_equal(unlink(first) | unlink(second), 0); /* only history needs them */
	assert_int_equal(rename(fourth, partial), 0);        /* as Postgres does when it leaves a timeline */
	must(wal_archive_space(f->wal, f->archive, &space, &err), &err);
	assert_int_equal(space.live, 2 * MIB);
	assert_int_equal(space.history, MIB);
	assert_int_equal(space.shared, MIB);
	update(f); /* .partial gets a second name in the archive */
	must(wal_archive_space(f->wal, f->archive, &space, &err), &err);
	assert_int_equal(space.live, 2 * MIB);
	assert_int_equal(unlink(partial) | unlink(third), 0);
	must(wal_archive_space(f->wal, f->archive, &space, &err), &err);
	assert_int_equal(space.live, 0);
	assert_int_equal(space.history, 3 * MIB);
	must(wal_archive_space(NULL, f->archive, &space, &err), &err);
	assert_int_equal(space.history, 3 * MIB);
	assert_int_equal(space.shared, MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_told_apart),
		cmocka_unit_test_setup_teardown(links_are_made_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nothing_is_overwritten, set_up, tear_down),
		cmocka_unit_test_setup_teardown(links_of_others_are_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_range_is_provided, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_short_segment_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(old_segments_go, set_up, tear_down),
		cmocka_unit_test_setup_teardown(space_is_counted_once, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
