/* Journals: what was synced is there after any crash, in order and whole; the rest is a prefix of what followed, or nothing. */
#include "page_store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "faulty_disk.h"
#include "page_store/disk.h"

#define TAG     UINT64_C(0x1122334455667788)
#define ID      "br-a.1"
#define RECORDS 20

static const char *name_of_record(uint64_t number, char out[32])
{
	(void)snprintf(
	        out, 32, "record %llu%.*s", (unsigned long long)number, (int)(number % 9), "abcdefghi");
	return out;
}

static uint64_t append(struct journal *journal, uint64_t number)
{
	char text[32];
	return journal_append(journal, slice_from_text(name_of_record(number, text)));
}

/* Records have to come from the first on without a gap. */
static status count_record(void *owner, struct slice changes, struct error *err)
{
	uint64_t *count = owner;
	char text[32];
	if (!slice_equals_text(changes, name_of_record(*count, text)))
		return error_set(
		        err, STATUS_INTERNAL, 0, "record %llu is not it", (unsigned long long)*count);
	++*count;
	return STATUS_OK;
}

static struct journal *create(void)
{
	struct journal *journal = NULL;
	struct error err;
	int folder = faulty_disk_folder("layer");
	assert_int_equal(journal_create(folder, ID, TAG, &journal, &err), STATUS_OK);
	assert_int_equal(disk_sync(folder), 0);
	(void)disk_close(folder);
	return journal;
}

static status reopen(struct journal **ret, uint64_t *ret_count, struct error *err)
{
	int folder = faulty_disk_folder("layer");
	uint64_t tag = 0;
	*ret_count = 0;
	status s = journal_open(folder, ID, count_record, ret_count, ret, &tag, err);
	(void)disk_close(folder);
	if (s == STATUS_OK)
		assert_int_equal(tag, TAG);
	return s;
}

static void sync_all(struct journal *journal)
{
	struct error err;
	assert_int_equal(journal_sync(journal, journal_end(journal), &err), STATUS_OK);
	assert_int_equal(journal_synced(journal), journal_end(journal));
}

static void test_synced_records_survive(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 100; seed++) {
		faulty_disk_reset(seed);
		struct journal *journal = create();
		struct error err;
		uint64_t number = 0, synced = 0, found = 0;
		for (int round = 0; round < 4; round++) {
			for (uint64_t i = 0; i < seed % 7 + 1; i++)
				(void)append(journal, number++);
			sync_all(journal);
			synced = number;
			(void)append(journal, number++);
			/* Written by somebody else's sync, which then did not come to an end. */
			faulty_disk_cut_power(2);
			(void)append(journal, number++);
			assert_int_equal(journal_sync(journal, journal_end(journal), &err), STATUS_IO);
			journal = journal_close(journal);
			faulty_disk_crash();
			assert_int_equal(reopen(&journal, &found, &err), STATUS_OK);
			assert_in_range(found, synced, number);
			number = found;
		}
		(void)journal_close(journal);
		assert_int_equal(faulty_disk_open_count(), 0);
	}
}

/* The file as far as it got, in a journal of its own. */
static void put_journal(const uint8_t *bytes, size_t len)
{
	faulty_disk_reset(1);
	int folder = faulty_disk_folder("layer");
	int fd = disk_open(folder, "journal", O_RDWR | O_CREAT, 0600);
	assert_true(len == 0 || disk_write(fd, bytes, len, 0) == (ssize_t)len);
	assert_int_equal(disk_sync(fd), 0);
	assert_int_equal(disk_sync(folder), 0);
	(void)disk_close(fd);
	(void)disk_close(folder);
}

/* `with_syncs`: each record knows that those before it are durable. */
static uint8_t *make_journal(bool with_syncs, size_t *ret_len, uint64_t ends[RECORDS])
{
	faulty_disk_reset(1);
	struct journal *journal = create();
	for (uint64_t i = 0; i < RECORDS; i++) {
		ends[i] = append(journal, i);
		if (with_syncs)
			sync_all(journal);
	}
	sync_all(journal);
	*ret_len = (size_t)journal_end(journal);
	(void)journal_close(journal);
	uint8_t *bytes = malloc(*ret_len);
	int folder = faulty_disk_folder("layer"), fd = disk_open(folder, "journal", O_RDONLY, 0);
	assert_int_equal(disk_read(fd, bytes, *ret_len, 0), *ret_len);
	(void)disk_close(fd);
	(void)disk_close(folder);
	return bytes;
}

static void test_torn_at_every_byte(void **state)
{
	(void)state;
	size_t len = 0;
	uint64_t ends[RECORDS];
	uint8_t *bytes = make_journal(true, &len, ends);
	for (size_t cut = 0; cut <= len; cut++) {
		put_journal(bytes, cut);
		struct journal *journal = NULL;
		struct error err;
		uint64_t found = 0, expected = 0;
		while (expected < RECORDS && ends[expected] <= cut)
			expected++;
		status s = reopen(&journal, &found, &err);
		if (cut < 128) {
			assert_int_equal(
			        s, STATUS_CORRUPT); /* the header is written before anybody names the layer */
			continue;
		}
		assert_int_equal(s, STATUS_OK);
		/* Padding behind the last record's bytes is part of it. */
		assert_int_equal(found, expected);
		/* And it goes on from there. */
		(void)append(journal, found);
		sync_all(journal);
		(void)journal_close(journal);
		faulty_disk_crash();
		assert_int_equal(reopen(&journal, &found, &err), STATUS_OK);
		assert_int_equal(found, expected + 1);
		(void)journal_close(journal);
	}
	free(bytes);
}

/* A flipped bit in a record that a later one knows to be durable must not silently take acknowledged records away. */
static void test_damage_is_not_a_torn_tail(void **state)
{
	(void)state;
	size_t len = 0;
	uint64_t ends[RECORDS];
	uint8_t *bytes = make_journal(true, &len, ends);
	for (size_t at = 0; at < len; at++) {
		bytes[at] ^= (uint8_t)(1u << at % 8);
		put_journal(bytes, len);
		bytes[at] ^= (uint8_t)(1u << at % 8);
		struct journal *journal = NULL;
		struct error err;
		uint64_t found = 0;
		status s = reopen(&journal, &found, &err);
		if (at < 128)
			assert_true(s == STATUS_CORRUPT || (s == STATUS_UNSUPPORTED && at >= 8 && at < 12));
		else if (at < ends[RECORDS - 2])
			assert_true(
			        s == STATUS_CORRUPT || (s == STATUS_OK && found == RECORDS)); /* padding */
		else if (s != STATUS_CORRUPT)
			assert_true(s == STATUS_OK && found >= RECORDS - 1);
		(void)journal_close(journal);
		assert_int_equal(faulty_disk_open_count(), 0);
	}
	free(bytes);
}

static void test_damage_of_an_unacknowledged_tail_is_cut_off(void **state)
{
	(void)state;
	size_t len = 0;
	uint64_t ends[RECORDS];
	uint8_t *bytes = make_journal(false, &len, ends);
	for (size_t at = 128; at < len; at++) {
		bytes[at] ^= 0x10;
		put_journal(bytes, len);
		bytes[at] ^= 0x10;
		struct journal *journal = NULL;
		struct error err;
		uint64_t found = 0, whole = 0;
		while (whole < RECORDS && ends[whole] <= at)
			whole++;
		assert_int_equal(reopen(&journal, &found, &err), STATUS_OK);
		assert_true(found == whole || found == RECORDS);
		assert_int_equal(journal_end(journal), found ? ends[found - 1] : 128);
		(void)journal_close(journal);
	}
	free(bytes);
}

static void test_another_layers_journal_is_refused(void **state)
{
	(void)state;
	faulty_disk_reset(1);
	(void)journal_close(create());
	int folder = faulty_disk_folder("layer");
	struct journal *journal = NULL;
	struct error err;
	uint64_t count = 0, tag = 0;
	assert_int_equal(
	        journal_open(folder, "br-a.2", count_record, &count, &journal, &tag, &err), STATUS_CORRUPT);
	int empty = faulty_disk_folder("empty");
	assert_int_equal(
	        journal_open(empty, ID, count_record, &count, &journal, &tag, &err), STATUS_NOT_FOUND);
	(void)disk_close(folder);
	(void)disk_close(empty);
	assert_int_equal(faulty_disk_open_count(), 0);
}

/* T11: what Linux forgot in a failed fsync is not acknowledged by the next one. */
static void test_failed_sync_breaks_for_ever(void **state)
{
	(void)state;
	for (uint64_t nth = 1; nth <= 2; nth++) { /* the write, the sync */
		for (uint64_t seed = 1; seed < 50; seed++) {
			faulty_disk_reset(seed);
			struct journal *journal = create();
			struct error err;
			uint64_t found = 0;
			(void)append(journal, 0);
			sync_all(journal);
			(void)append(journal, 1);
			faulty_disk_fail(nth, EIO);
			assert_int_equal(journal_sync(journal, journal_end(journal), &err), STATUS_IO);
			assert_true(faulty_disk_has_failed());
			assert_int_equal(err.sys_errno, EIO);
			(void)append(journal, 2);
			for (int i = 0; i < 3; i++)
				assert_int_equal(
				        journal_sync(journal, journal_end(journal), &err), STATUS_IO);
			assert_true(journal_synced(journal) < journal_end(journal));
			(void)journal_close(journal);
			faulty_disk_crash();
			assert_int_equal(reopen(&journal, &found, &err), STATUS_OK);
			assert_in_range(found, 1, 2);
			(void)journal_close(journal);
		}
	}
}

static void test_full_disk_is_told(void **state)
{
	(void)state;
	faulty_disk_reset(1);
	struct journal *journal = create();
	struct error err;
	faulty_disk_set_room(0);
	uint64_t number = 0, found = 0;
	status s = STATUS_OK;
	while (s == STATUS_OK && number < 10000) {
		(void)append(journal, number++);
		s = journal_sync(journal, journal_end(journal), &err);
	}
	assert_int_equal(s, STATUS_NO_SPACE);
	(void)journal_close(journal);
	faulty_disk_crash();
	faulty_disk_set_room(UINT64_MAX);
	assert_int_equal(reopen(&journal, &found, &err), STATUS_OK);
	assert_true(found >= number - 1);
	(void)journal_close(journal);
}

/* What was reserved can be written on a full disk; more cannot be reserved, and that breaks nothing. */
static void test_reserved_room(void **state)
{
	(void)state;
	faulty_disk_reset(2);
	struct journal *journal = create();
	struct error err;
	uint64_t number = 0, found = 0;
	assert_int_equal(journal_reserve(journal, 100000), 0);
	uint64_t limit = journal_end(journal) + 100000;
	faulty_disk_set_room(0);
	while (journal_end(journal) + 1000 < limit) {
		(void)append(journal, number++);
		if (number % 7 == 0)
			assert_int_equal(journal_sync(journal, journal_end(journal), &err), STATUS_OK);
	}
	assert_true(number > 100);
	assert_int_equal(journal_sync(journal, journal_end(journal), &err), STATUS_OK);
	assert_int_equal(journal_reserve(journal, 1 << 20), -ENOSPC);
	assert_false(journal_has_room(journal, 1 << 20));
	assert_true(journal_has_room(journal, 100));
	(void)append(journal, number++);
	assert_int_equal(journal_sync(journal, journal_end(journal), &err), STATUS_OK);
	(void)journal_close(journal);
	faulty_disk_crash();
	faulty_disk_set_room(UINT64_MAX);
	assert_int_equal(reopen(&journal, &found, &err), STATUS_OK);
	assert_int_equal(found, number);
	/* Nothing can be reserved here: not known to be full. */
	faulty_disk_fail(1, EOPNOTSUPP);
	assert_int_equal(journal_reserve(journal, 1 << 20), 0);
	assert_true(journal_has_room(journal, UINT64_C(1) << 40));
	journal_give_back(journal);
	(void)journal_close(journal);
	/* Another failure is told, and is of this call only. */
	assert_int_equal(reopen(&journal, &found, &err), STATUS_OK);
	faulty_disk_fail(1, EIO);
	assert_int_equal(journal_reserve(journal, 1 << 20), -EIO);
	assert_int_equal(journal_reserve(journal, 1 << 20), 0);
	journal_give_back(journal);
	assert_false(journal_has_room(journal, 8192));
	(void)append(journal, number++);
	assert_int_equal(journal_sync(journal, journal_end(journal), &err), STATUS_OK);
	(void)journal_close(journal);
	assert_int_equal(reopen(&journal, &found, &err), STATUS_OK);
	assert_int_equal(found, number);
	(void)journal_close(journal);
}

/* Every call of creating and opening fails once: an error, and nothing leaks; the next attempt finds everything. */
static void test_failures_of_opening(void **state)
{
	(void)state;
	struct error err;
	for (uint64_t nth = 1;; nth++) {
		faulty_disk_reset(nth);
		struct journal *journal = create();
		(void)append(journal, 0);
		sync_all(journal);
		(void)append(journal, 1);
		(void)journal_close(journal);
		faulty_disk_fail(nth, EIO);
		uint64_t found = 0;
		status s = reopen(&journal, &found, &err);
		bool has_failed = faulty_disk_has_failed();
		faulty_disk_fail(0, 0);
		assert_int_equal(s, has_failed ? STATUS_IO : STATUS_OK);
		if (s == STATUS_OK)
			(void)journal_close(journal);
		assert_int_equal(faulty_disk_open_count(), 0);
		assert_int_equal(reopen(&journal, &found, &err), STATUS_OK);
		assert_int_equal(found, 1);
		(void)journal_close(journal);
		if (!has_failed)
			break;
	}
	for (uint64_t nth = 1;; nth++) {
		faulty_disk_reset(nth);
		int folder = faulty_disk_folder("layer");
		struct journal *journal = NULL;
		faulty_disk_fail(nth, ENOSPC);
		status s = journal_create(folder, ID, TAG, &journal, &err);
		bool has_failed = faulty_disk_has_failed();
		assert_int_equal(s, has_failed ? STATUS_NO_SPACE : STATUS_OK);
		(void)journal_close(journal);
		(void)disk_close(folder);
		assert_int_equal(faulty_disk_open_count(), 0);
		if (!has_failed)
			break;
	}
}

static void test_big_records_and_long_waits(void **state)
{
	(void)state;
	faulty_disk_reset(1);
	struct journal *journal = create();
	size_t len = (3u << 20) + 5;
	uint8_t *big = calloc(1, len);
	uint64_t calls = faulty_disk_calls();
	for (int i = 0; i < 3; i++)
		(void)journal_append(journal, (struct slice){ big, len });
	assert_true(faulty_disk_calls() > calls); /* written without waiting for a sync */
	sync_all(journal);
	uint64_t end = journal_end(journal);
	(void)journal_close(journal);
	int folder = faulty_disk_folder("layer"), fd = disk_open(folder, "journal", O_RDONLY, 0);
	struct stat st;
	assert_int_equal(disk_stat(fd, &st), 0);
	assert_int_equal(st.st_size, end);
	(void)disk_close(fd);
	(void)disk_close(folder);
	free(big);
}

/* ---- threads ---- */

#define THREADS    4
#define PER_THREAD 300

struct writer {
	struct journal *journal;
	uint8_t number;
	pthread_t thread;
};

static void *write_records(void *arg)
{
	struct writer *writer = arg;
	for (uint16_t i = 0; i < PER_THREAD; i++) {
		uint8_t text[3] = { writer->number, (uint8_t)i, (uint8_t)(i >> 8) };
		uint64_t position = journal_append(writer->journal, (struct slice){ text, sizeof text });
		struct error err;
		if (i % 3 == 0 && journal_sync(writer->journal, position, &err) != STATUS_OK)
			abort();
		if (i % 3 == 0 && journal_synced(writer->journal) < position)
			abort();
	}
	return NULL;
}

static status check_order(void *owner, struct slice changes, struct error *err)
{
	uint16_t *next = owner;
	if (changes.len != 3 || changes.data[0] >= THREADS ||
	        (uint16_t)(changes.data[1] | changes.data[2] << 8) != next[changes.data[0]]++)
		return error_set(err, STATUS_INTERNAL, 0, "a thread's records are not in order");
	return STATUS_OK;
}

static void test_threads(void **state)
{
	(void)state;
	faulty_disk_reset(1);
	struct journal *journal = create();
	struct writer writers[THREADS];
	for (uint8_t i = 0; i < THREADS; i++) {
		writers[i] = (struct writer){ .journal = journal, .number = i };
		assert_int_equal(pthread_create(&writers[i].thread, NULL, write_records, &writers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
	sync_all(journal);
	(void)journal_close(journal);
	faulty_disk_crash();
	int folder = faulty_disk_folder("layer");
	uint16_t next[THREADS] = { 0 };
	uint64_t tag = 0;
	struct error err;
	assert_int_equal(journal_open(folder, ID, check_order, next, &journal, &tag, &err), STATUS_OK);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(next[i], PER_THREAD);
	(void)journal_close(journal);
	(void)disk_close(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_synced_records_survive),
		cmocka_unit_test(test_torn_at_every_byte),
		cmocka_unit_test(test_damage_is_not_a_torn_tail),
		cmocka_unit_test(test_damage_of_an_unacknowledged_tail_is_cut_off),
		cmocka_unit_test(test_another_layers_journal_is_refused),
		cmocka_unit_test(test_failed_sync_breaks_for_ever),
		cmocka_unit_test(test_full_disk_is_told),
		cmocka_unit_test(test_reserved_room),
		cmocka_unit_test(test_failures_of_opening),
		cmocka_unit_test(test_big_records_and_long_waits),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
