/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#include "base/file.h"
#include "wal_store/wal_history.h"

static void must(status st, const struct error *err)
{
	if (st != STATUS_OK)
		fail_msg("%s", err->message);
}

static struct wal_history parse(const char *text, uint32_t timeline)
{
	struct wal_history history;
	struct error err;
	must(wal_history_parse(slice_from_text(text), timeline, &history, &err), &err);
	return history;
}

/* A file as Postgres writes it, with a reason that has spaces. */
static void a_real_one_is_read(void **state)
{
	(void)state;
	struct wal_history history =
	        parse("1\t0/3000060\tbranch of br-a\n\n2\t0/3000060\tno recovery target specified\n\n"
	              "# a comment\n3\t16/B374D848\tat restore point \"x\"\n",
	                4);
	assert_int_equal(history.count, 3);
	assert_int_equal(history.timeline, 4);
	assert_int_equal(wal_history_timeline_at(&history, 1), 1);
	assert_int_equal(wal_history_timeline_at(&history, 0x300005f), 1);
	assert_int_equal(wal_history_timeline_at(&history, 0x3000060), 3); /* timeline 2 is empty */
	assert_int_equal(wal_history_timeline_at(&history, UINT64_C(0x16B374D847)), 3);
	assert_int_equal(wal_history_timeline_at(&history, UINT64_C(0x16B374D848)), 4);
	CLEANUP(buffer_done) struct buffer text = { 0 };
	wal_history_format(&history, "why", &text);
	assert_string_equal(text.data, "1\t0/3000060\twhy\n2\t0/3000060\twhy\n3\t16/B374D848\twhy\n");
	wal_history_done(&history);
	/* The first timeline has none. */
	history = parse("", 1);
	assert_int_equal(history.count, 0);
	assert_int_equal(wal_history_timeline_at(&history, 5), 1);
	wal_history_done(&history);
}

/* Recovery ended in front of the position at which the reserved timeline begins, since the record there was cut in two. */
static void the_newest_line_counts(void **state)
{
	(void)state;
	struct wal_history history = parse("1\t0/1000\tx\n2\t0/900\tx\n", 3);
	assert_int_equal(wal_history_timeline_at(&history, 0x8ff), 1);
	assert_int_equal(wal_history_timeline_at(&history, 0x900), 3);
	assert_int_equal(wal_history_timeline_at(&history, 0xfff), 3);
	wal_history_done(&history);
}

static void hostile_texts_are_refused(void **state)
{
	(void)state;
	static const char *const texts[] = { "x", "1", "1\t", "1\t0", "0\t0/1\tx", "-1\t0/1", "1\t0/0\tx",
		"1\t0/1g\tx", "2\t0/1\tx\n1\t0/2\tx", "1\t0/1\tx\n1\t0/2\tx", "7\t0/1\tx", "8\t0/1\tx",
		"99999999999\t0/1\tx" };
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct wal_history history;
		struct error err;
		if (wal_history_parse(slice_from_text(texts[i]), 7, &history, &err) != STATUS_CORRUPT)
			fail_msg("\"%s\" was taken", texts[i]);
	}
}

static void branched(const struct wal_history *parent, uint64_t lsn, const char *expected)
{
	struct wal_history branch;
	CLEANUP(buffer_done) struct buffer text = { 0 };
	wal_history_branch(parent, lsn, 10, &branch);
	wal_history_format(&branch, "b", &text);
	assert_string_equal(text.data, expected);
	assert_int_equal(wal_history_timeline_at(&branch, lsn), 10);
	assert_int_equal(wal_history_timeline_at(&branch, lsn - 1), wal_history_timeline_at(parent, lsn - 1));
	wal_history_done(&branch);
}

static void a_branch_leaves_at_its_position(void **state)
{
	(void)state;
	struct wal_history parent = parse("1\t0/1000\tx\n3\t0/2000\tx\n", 5);
	branched(&parent, 0x500, "1\t0/500\tb\n");
	branched(&parent, 0x1000, "1\t0/1000\tb\n"); /* the byte before is on 1 */
	branched(&parent, 0x1001, "1\t0/1000\tb\n3\t0/1001\tb\n");
	branched(&parent, 0x2000, "1\t0/1000\tb\n3\t0/2000\tb\n");
	branched(&parent, 0x3000, "1\t0/1000\tb\n3\t0/2000\tb\n5\t0/3000\tb\n");
	wal_history_done(&parent);
	parent = parse("", 1);
	branched(&parent, 0x3000, "1\t0/3000\tb\n");
	wal_history_done(&parent);
}

static void files_are_read(void **state)
{
	(void)state;
	char folder[] = "/tmp/tarn-unit-XXXXXX";
	struct wal_history history;
	struct error err;
	assert_non_null(mkdtemp(folder));
	must(wal_history_read(folder, 1, &history, &err), &err);
	assert_int_equal(history.timeline, 1);
	wal_history_done(&history);
	assert_int_equal(wal_history_read(folder, 27, &history, &err), STATUS_NOT_FOUND);
	CLEANUP(free_text) char *path = xasprintf("%s/0000001B.history", folder);
	must(file_replace_durably(path, slice_from_text("1\t0/1000\tx\n"), 0600, &err), &err);
	must(wal_history_read(folder, 27, &history, &err), &err);
	assert_int_equal(history.count, 1);
	wal_history_done(&history);
	must(tree_remove(folder, &err), &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_real_one_is_read),
		cmocka_unit_test(the_newest_line_counts),
		cmocka_unit_test(hostile_texts_are_refused),
		cmocka_unit_test(a_branch_leaves_at_its_position),
		cmocka_unit_test(files_are_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
