/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../page_store/cluster.h"
#include "base/file.h"
#include "base/number.h"
#include "wal_store/wal_time.h"

#define must cluster_must

/* A transaction that ended: when Postgres says it did, and a position behind it. */
struct end {
	int64_t time_usec;
	uint64_t lsn_behind;
	bool follows_another; /* one that is not listed ended in between */
};

static int64_t ask_number(const struct postgres *postgres, const char *sql)
{
	CLEANUP(free_text) char *text = postgres_ask(postgres, sql);
	int64_t number;
	if (!number_parse(slice_from_text(text), INT64_MIN, INT64_MAX, &number))
		fail_msg("\"%s\" is not a number", text);
	return number;
}

static uint64_t position(const struct postgres *postgres)
{
	CLEANUP(free_text) char *text = postgres_ask(postgres, "SELECT pg_current_wal_insert_lsn();");
	uint64_t lsn;
	assert_true(lsn_parse(slice_from_text(text), &lsn));
	return lsn;
}

/* One row, committed alone. */
static struct end commit_row(const struct postgres *postgres, int i)
{
	CLEANUP(free_text) char *insert = xasprintf("INSERT INTO t VALUES (%d);", i);
	CLEANUP(free_text)
	char *ask = xasprintf(
	        "SELECT (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::int8 FROM t "
	        "WHERE i = %d;",
	        i);
	postgres_do(postgres, insert);
	struct end end = { .lsn_behind = position(postgres) };
	end.time_usec = ask_number(postgres, ask);
	return end;
}

struct search {
	const struct cluster_fixture *f;
	char *archive;
	struct wal_history history;
	struct wal_range range;
};

static uint64_t find(const struct search *search, int64_t time_usec)
{
	uint64_t lsn = 0;
	struct error err;
	must(wal_time_find(
	             search->f->installation.bin_dir, search->archive, &search->range, time_usec, &lsn, &err),
	        &err);
	return lsn;
}

static uint64_t last_record_and_time(const struct search *search, uint64_t lsn, int64_t *ret_usec)
{
	struct wal_range range = search->range;
	uint64_t last = 0;
	struct error err;
	range.end_lsn = lsn;
	must(wal_time_last_record(
	             search->f->installation.bin_dir, search->archive, &range, &last, ret_usec, &err),
	        &err);
	return last;
}

static uint64_t last_record(const struct search *search, uint64_t lsn)
{
	int64_t ignored;
	return last_record_and_time(search, lsn, &ignored);
}

static int64_t time_at(const struct search *search, uint64_t lsn)
{
	int64_t usec = -1;
	(void)last_record_and_time(search, lsn, &usec);
	return usec;
}

static void start_search(const struct cluster_fixture *f, const char *id, uint32_t timeline, uint64_t end_lsn,
        struct search *ret)
{
	struct error err;
	struct restore_point point = cluster_newest_point(f, id);
	*ret = (struct search){ .f = f, .archive = data_directory_path(f->dd, "volumes/%s/archive", id) };
	must(wal_history_read(ret->archive, timeline, &ret->history, &err), &err);
	ret->range = (struct wal_range){ .history = &ret->history,
		.start_lsn = point.redo_lsn,
		.end_lsn = end_lsn,
		.segment_size = point.wal_segment_size };
	restore_point_done(&point);
}

static void search_done(struct search *search)
{
	wal_history_done(&search->history);
	free_text(&search->archive);
}

#define COMMITS 6

/* A time is found where recovery_target_time would stop: in front of the first transaction that ended later. */
static void ends_are_found(const struct search *search, const struct end *ends, size_t count)
{
	for (size_t i = 0; i + 1 < count; i++) {
		uint64_t lsn = find(search, ends[i].time_usec);
		if (lsn < ends[i].lsn_behind || lsn >= ends[i + 1].lsn_behind)
			fail_msg("end %zu was looked for at %" PRIx64 ", between %" PRIx64 " and %" PRIx64, i,
			        lsn, ends[i].lsn_behind, ends[i + 1].lsn_behind);
		uint64_t next = find(search, ends[i + 1].time_usec - 1); /* a microsecond decides */
		assert_true(ends[i + 1].follows_another ? next > lsn && next < ends[i + 1].lsn_behind
		                                        : next == lsn);
		assert_true(find(search, ends[i].time_usec - 1) < ends[i].lsn_behind);
	}
	assert_true(find(search, ends[count - 1].time_usec) >= ends[count - 1].lsn_behind);
	assert_true(find(search, INT64_MAX) == search->range.end_lsn);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(time_at(search, ends[i].lsn_behind), ends[i].time_usec);
}

/*
 * A tenant can put text into WAL that looks like a line of pg_waldump: the name of a prepared transaction may have newlines. This one says that
 * somebody committed in the year 2099.
 */
static void forge_a_line(const struct postgres *postgres, uint64_t lsn, const char *id)
{
	char text[LSN_TEXT_MAX];
	lsn_format(lsn + 8, text);
	CLEANUP(free_text)
	char *sql =
	        xasprintf("BEGIN; INSERT INTO t VALUES (-1); PREPARE TRANSACTION E'%s\\nrmgr: Transaction "
	                  "len (rec/tot):  "
	                  "   46/    46, tx:        743, lsn: %s, prev 0/1, desc: COMMIT 2099-01-01 "
	                  "00:00:00.000000 UTC';",
	                id, text);
	postgres_do(postgres, sql);
}

static void moments_are_found(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	struct postgres postgres;
	struct search search;
	struct end ends[COMMITS + 1] = { 0 };
	struct error err;
	cluster_start_volume(f, "br-a", &postgres);
	postgres_do(&postgres, "CREATE TABLE t (i int);");
	ends[0] = commit_row(&postgres, 0);
	forge_a_line(&postgres, ends[0].lsn_behind, "x");
	for (int i = 1; i < 4; i++) /* the same second, or nearly */
		ends[i] = commit_row(&postgres, i);
	postgres_do(&postgres,
	        "BEGIN; INSERT INTO t VALUES (4); PREPARE TRANSACTION 'p'; SELECT pg_switch_wal();");
	postgres_do(&postgres, "COMMIT PREPARED 'p';");
	ends[4].lsn_behind = position(&postgres);
	ends[4].time_usec =
	        ask_number(&postgres, "SELECT (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * "
	                              "1000000)::int8 FROM t WHERE i = 4;");
	/* A rollback is an end too: the moment before it stays before it. */
	postgres_do(&postgres, "BEGIN; INSERT INTO t VALUES (99); ROLLBACK;");
	uint64_t behind_rollback = position(&postgres);
	ends[5] = commit_row(&postgres, 5);
	ends[5].follows_another = true;
	ends[6] = commit_row(&postgres, 6);
	forge_a_line(&postgres, ends[6].lsn_behind, "y");
	postgres_do(&postgres, "SELECT count(pg_logical_emit_message(false, 'l', repeat('x', 9000))) FROM "
	                       "generate_series(1, 100);");
	uint64_t behind_long = position(&postgres);
	uint64_t flushed = postgres_flushed(&postgres);
	start_search(f, "br-a", 1, flushed, &search);
	ends_are_found(&search, ends, COMMITS);
	uint64_t lsn = find(&search, ends[4].time_usec);
	assert_true(lsn >= ends[4].lsn_behind && lsn < behind_rollback);
	/* Nothing ended in a range that ends in the middle of a record, or right behind its beginning. */
	struct search narrow = search;
	narrow.range.start_lsn = find(&search, ends[2].time_usec);
	narrow.range.end_lsn = narrow.range.start_lsn + 3;
	assert_true(find(&narrow, 0) == narrow.range.end_lsn);
	narrow.range.start_lsn = last_record(&search, ends[2].lsn_behind);
	assert_int_equal(time_at(&narrow, narrow.range.start_lsn + 8), 0);
	/* A long way of records that end nothing, with a text in it that only looks like an end. */
	assert_int_equal(time_at(&search, behind_long), ends[6].time_usec);
	/* A segment that is missing is an error at once, not a moment later. */
	struct search beyond = search;
	beyond.range.end_lsn += 64 << 20;
	assert_int_equal(wal_time_find(f->installation.bin_dir, beyond.archive, &beyond.range, 0, &lsn, &err),
	        STATUS_NOT_FOUND);

	/* The same over a fork: the clone's WAL is on two timelines. The moment is in the middle of a record; the clone ends in front of it. */
	lsn = find(&search, ends[3].time_usec);
	uint64_t effective = last_record(&search, lsn + 5);
	assert_true(effective <= lsn && last_record(&search, effective) == effective &&
	            last_record(&search, effective - 1) < effective && last_record(&search, lsn) <= lsn);
	postgres_kill(&postgres);
	struct restore_point point = cluster_newest_point(f, "br-a");
	point.needs_hygiene = true; /* of a later moment than the point: something was prepared in between */
	struct volume_clone clone = { .store = PROJECT,
		.id = "br-b",
		.point = &point,
		.lsn = effective,
		.archive_path = search.archive,
		.source_timeline = 1,
		.timeline = 2 };
	must(volume_clone(f->dd, &clone, &err), &err);
	restore_point_done(&point);
	search_done(&search);
	cluster_export(f, "br-b");
	postgres_start(f, "br-b", &postgres);
	assert_int_equal(ask_number(&postgres, "SELECT count(*) FROM t;"), 4);
	ends[4] = commit_row(&postgres, 14);
	postgres_do(&postgres, "SELECT pg_switch_wal();");
	ends[5] = commit_row(&postgres, 15);
	flushed = postgres_flushed(&postgres);
	start_search(f, "br-b", 3, flushed, &search);
	/* Where Postgres found the end of the parent's WAL is where we say that its last record ends. */
	assert_true(search.history.lines[search.history.count - 1].end_lsn == effective);
	ends_are_found(&search, ends, COMMITS);
	assert_true(last_record(&search, flushed) <= flushed);
	/* Nothing is left in the archive. */
	CLEANUP(free_text) char *command = xasprintf("test -z \"$(ls %s | grep waldump)\"", search.archive);
	assert_int_equal(system(command), 0);
	postgres_kill(&postgres);
	search_done(&search);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moments_are_found),
	};
	return cmocka_run_group_tests(tests, cluster_set_up, cluster_tear_down);
}
