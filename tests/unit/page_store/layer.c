/* Layers: pages in slot files of which only some are open, syncs that tell of every failure, and space that is given back only when nobody needs it. */
#include "page_store/layer.h"

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
#include "page_store/manifest.h"
#include "page_store/slot_cache.h"

static const struct layer_ref ref = { .store = "pr-a", .id = "br-a.1" };

static struct layer *create(void)
{
	struct layer *layer = NULL;
	struct error err;
	assert_int_equal(layer_create(faulty_disk_folder("layer"), &ref, &layer, &err), STATUS_OK);
	return layer;
}

static void fill(uint8_t page[PAGE_BYTES], uint64_t value)
{
	for (size_t i = 0; i < PAGE_BYTES; i += 8)
		memcpy(page + i, &value, 8);
}

static int write_value(struct layer *layer, uint64_t inode, uint32_t block, uint32_t slot, uint64_t value)
{
	uint8_t page[PAGE_BYTES];
	fill(page, value);
	return layer_write_page(layer, inode, block, slot, page);
}

static void assert_value(struct layer *layer, uint64_t inode, uint32_t block, uint32_t slot, uint64_t value)
{
	uint8_t page[PAGE_BYTES], wanted[PAGE_BYTES];
	fill(wanted, value);
	assert_int_equal(layer_read_page(layer, inode, block, slot, page), 0);
	assert_memory_equal(page, wanted, PAGE_BYTES);
}

static status ignore(void *owner, struct slice changes, struct error *err)
{
	(void)owner;
	(void)changes;
	(void)err;
	return STATUS_OK;
}

static struct layer *reopen(void)
{
	struct layer *layer = NULL;
	struct error err;
	assert_int_equal(layer_open_unsealed(faulty_disk_folder("layer"), &ref, ignore, NULL, &layer, &err),
	        STATUS_OK);
	return layer;
}

static void test_pages(void **state)
{
	(void)state;
	faulty_disk_reset(1);
	struct layer *layer = create();
	assert_int_equal(write_value(layer, 5, 3, 0, 33), 0);
	assert_int_equal(write_value(layer, 5, 3, 1, 34), 0);
	assert_int_equal(write_value(layer, 5, 5, 0, 53), 0);
	assert_value(layer, 5, 3, 0, 33);
	assert_value(layer, 5, 3, 1, 34);

	/* Holes and what is behind the end are zeros. */
	uint8_t pages[6 * PAGE_BYTES], wanted[6 * PAGE_BYTES] = { 0 };
	fill(wanted + PAGE_BYTES, 33);
	fill(wanted + 3 * PAGE_BYTES, 53);
	assert_int_equal(layer_read_pages(layer, 5, 2, 6, 0, pages), 0);
	assert_memory_equal(pages, wanted, sizeof wanted);

	/* A file that is not there cannot have the page that somebody asks for. */
	assert_int_equal(layer_read_page(layer, 6, 0, 0, pages), -EIO);

	/* Several at once, up to the last page that a file can have. */
	assert_int_equal(layer_write_pages(layer, 7, (uint32_t)PAGE_BLOCKS_MAX - 6, 6, 1, wanted), 0);
	assert_value(layer, 7, (uint32_t)PAGE_BLOCKS_MAX - 5, 1, 33);
	assert_int_equal(layer_allocate_pages(layer, 8, 0, 4, 0), 0);
	assert_value(layer, 8, 3, 0, 0);

	assert_int_equal(layer_sync_pages(layer, 5, 3), 0);
	assert_int_equal(layer_sync_pages(layer, 99, 3), 0); /* nothing to do */
	assert_int_equal(layer_remove_file(layer, 7), 0);
	assert_int_equal(layer_remove_file(layer, 7), 0);
	assert_int_equal(layer_read_page(layer, 7, 0, 1, pages), -EIO);
	layer = layer_release(layer);
	assert_int_equal(faulty_disk_open_count(), 0);

	faulty_disk_crash();
	layer = reopen();
	assert_value(layer, 5, 3, 0, 33);
	assert_value(layer, 5, 3, 1, 34);
	assert_int_equal(layer_sync_pages(layer, 5, 3), 0);
	(void)layer_release(layer);
}

/* What a sync said to be durable is there, file and all, however few descriptors there are. */
static void test_synced_pages_survive(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 60; seed++) {
		faulty_disk_reset(seed);
		slot_cache_set_capacity(seed % 3 == 0 ? 1 : 0);
		struct layer *layer = create();
		for (uint64_t inode = 2; inode < 60; inode++) {
			for (uint32_t slot = 0; slot < 2; slot++)
				assert_int_equal(
				        write_value(layer, inode, (uint32_t)inode, slot, inode * 2 + slot),
				        0);
			if (inode % 2)
				assert_int_equal(layer_sync_pages(layer, inode, 1u << (seed & 1)), 0);
		}
		layer = layer_release(layer);
		faulty_disk_crash();
		layer = reopen();
		for (uint64_t inode = 3; inode < 60; inode += 2)
			assert_value(layer, inode, (uint32_t)inode, seed & 1, inode * 2 + (seed & 1));
		(void)layer_release(layer);
		assert_int_equal(faulty_disk_open_count(), 0);
	}
	slot_cache_set_capacity(0);
}

static void test_few_descriptors(void **state)
{
	(void)state;
	faulty_disk_reset(1);
	slot_cache_set_capacity(32);
	struct layer *layer = create();
	for (uint64_t inode = 2; inode < 1000; inode++)
		assert_int_equal(write_value(layer, inode, 0, inode & 1, inode), 0);
	/* 2 idle and the one last used in each of 16 shards, the folder and the journal. */
	assert_in_range(faulty_disk_open_count(), 3, 3 * 16 + 2);
	for (uint64_t inode = 2; inode < 1000; inode++)
		assert_value(layer, inode, 0, inode & 1, inode);
	assert_in_range(faulty_disk_open_count(), 3, 3 * 16 + 2);
	(void)layer_release(layer);
	slot_cache_set_capacity(0);
}

/* C2, T11. Whichever call fails, that of a file that is closed to make room included: no sync that covers a page says it is durable when it is not, and after a failed sync none does. */
static void test_every_call_fails(void **state)
{
	(void)state;
	unsigned refused_later = 0;
	for (uint64_t nth = 1;; nth++) {
		faulty_disk_reset(nth);
		slot_cache_set_capacity(1);
		struct layer *layer = create();
		faulty_disk_fail(nth, nth % 2 ? EIO : ENOSPC);
		bool is_written[120] = { 0 }, is_synced[120] = { 0 }, has_failed_sync = false;
		for (uint64_t inode = 2; inode < 120; inode++) {
			is_written[inode] = write_value(layer, inode, 1, 0, inode) == 0;
			if (inode % 5 != 0)
				continue;
			for (uint64_t i = inode - 4; i <= inode; i++) {
				int rc = layer_sync_pages(layer, i, 1);
				if (has_failed_sync) {
					assert_true(rc < 0);
					refused_later++;
				}
				has_failed_sync |= rc < 0;
				is_synced[i] = rc == 0;
			}
		}
		bool has_failed = faulty_disk_has_failed();
		layer = layer_release(layer);
		assert_int_equal(faulty_disk_open_count(), 0);
		faulty_disk_crash();
		layer = reopen();
		for (uint64_t inode = 2; inode < 120; inode++) {
			if (is_written[inode] && is_synced[inode])
				assert_value(layer, inode, 1, 0, inode);
		}
		(void)layer_release(layer);
		if (!has_failed)
			break;
	}
	assert_true(refused_later > 100);
	slot_cache_set_capacity(0);
}

/* ---- threads ---- */

#define THREADS 4

struct worker {
	struct layer *layer;
	uint64_t number;
	pthread_t thread;
};

static void *work(void *arg)
{
	struct worker *worker = arg;
	uint8_t page[PAGE_BYTES], wanted[PAGE_BYTES];
	for (uint64_t i = 0; i < 2000; i++) {
		uint64_t inode = 2 + (i * 7 + worker->number) % 50;
		uint32_t block = (uint32_t)worker->number;
		fill(wanted, inode * 1000 + worker->number);
		if (layer_write_page(worker->layer, inode, block, i & 1, wanted) != 0 ||
		        layer_read_page(worker->layer, inode, block, i & 1, page) != 0 ||
		        memcmp(page, wanted, PAGE_BYTES) != 0)
			abort();
		if (i % 16 == 0 && layer_sync_pages(worker->layer, inode, 3) != 0)
			abort();
	}
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	faulty_disk_reset(1);
	slot_cache_set_capacity(16); /* much coming and going */
	struct layer *layer = create(), *other = NULL;
	struct error err;
	assert_int_equal(layer_create(faulty_disk_folder("other"), &ref, &other, &err), STATUS_OK);
	struct worker workers[THREADS];
	for (uint64_t i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .layer = layer_hold(i % 2 ? layer : other), .number = i };
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
		(void)layer_release(workers[i].layer);
	}
	(void)layer_release(layer);
	(void)layer_release(other);
	assert_int_equal(faulty_disk_open_count(), 0);
	slot_cache_set_capacity(0);
}

/* ---- giving back ---- */

static struct layer *open_sealed(uint32_t version)
{
	struct layer_ref at = ref;
	at.version = version;
	struct layer *layer = NULL;
	struct error err;
	assert_int_equal(layer_open_sealed(faulty_disk_folder("layer"), &at, &layer, &err), STATUS_OK);
	return layer;
}

static bool exists(const char *name)
{
	int folder = faulty_disk_folder("layer"), fd = disk_open(folder, name, O_RDONLY, 0);
	bool is_there = fd >= 0;
	(void)disk_close(folder);
	disk_close_fd(&fd);
	return is_there;
}

/* The layer becomes a sealed one that names these pages of inode 2; releases it. */
static void publish(
        struct layer *layer, const struct layer_ref *at, const struct page_entry *entries, size_t count)
{
	struct manifest_writer *writer = manifest_writer_new(layer_tag(layer), 10);
	manifest_writer_add_file(writer, 2, (uint32_t)PAGE_BLOCKS_MAX, entries, count);
	struct error err;
	assert_int_equal(manifest_writer_publish(writer, layer_folder(layer), at, &err), STATUS_OK);
	(void)layer_release(layer);
}

/* Inode 2 has pages 0 to 9 in slot i & 1, garbage in the others; inode 3 is not named any more. */
static void seal(uint32_t version, uint32_t flip)
{
	struct layer_ref at = ref;
	at.version = version;
	struct layer *layer = version == 0        ? create()
	                      : exists("journal") ? reopen()
	                                          : open_sealed(version - 1);
	struct page_entry entries[10];
	for (uint32_t i = 0; i < 10; i++) {
		uint32_t slot = (i & 1) ^ flip;
		if (version == 0)
			assert_int_equal(write_value(layer, 2, i, 1 - slot, 999), 0);
		assert_int_equal(write_value(layer, 2, i, slot, i + version * 100), 0);
		uint8_t page[PAGE_BYTES];
		fill(page, i + version * 100);
		entries[i] = (struct page_entry){
			.block = i, .slot = slot, .crc = page_checksum(layer_tag(layer), 2, i, page)
		};
	}
	assert_int_equal(write_value(layer, 3, 0, 0, 3), 0);
	assert_int_equal(layer_sync_pages(layer, 2, 3), 0);
	publish(layer, &at, entries, 10);
}

static void check_version(uint32_t version, uint32_t flip)
{
	struct layer *layer = open_sealed(version);
	for (uint32_t i = 0; i < 10; i++)
		assert_value(layer, 2, i, (i & 1) ^ flip, i + version * 100);
	(void)layer_release(layer);
}

static void test_finish_seal(void **state)
{
	(void)state;
	faulty_disk_reset(1);
	seal(0, 0);
	assert_true(exists("journal") && exists("0000000000000003.0"));
	struct layer *layer = open_sealed(0);
	struct error err;
	/* A fold into it is under way: its pages are no garbage. */
	int folder = faulty_disk_folder("layer"), lock = layer_lock_folder(folder);
	assert_true(lock >= 0);
	assert_int_equal(layer_finish_seal(layer, &err), STATUS_OK);
	assert_value(layer, 2, 0, 1, 999);
	(void)disk_close(lock);
	(void)disk_close(folder);

	assert_int_equal(layer_finish_seal(layer, &err), STATUS_OK);
	assert_false(exists("journal") || exists("0000000000000003.0"));
	for (uint32_t i = 0; i < 10; i++) {
		assert_value(layer, 2, i, i & 1, i);
		assert_value(layer, 2, i, 1 - (i & 1), 0); /* given back */
	}
	(void)layer_release(layer);
	check_version(0, 0);
	assert_int_equal(faulty_disk_open_count(), 0);
}

/* Every tenth page of a thousand, and one that is garbage: the holes are left alone. Then space that was only reserved is found by its size. */
static void test_holes_are_not_punched(void **state)
{
	(void)state;
	for (int reserves = 0; reserves < 2; reserves++) {
		faulty_disk_reset(1);
		struct layer *layer = create();
		struct page_entry entries[100];
		for (uint32_t i = 0; i < 100; i++) {
			uint8_t page[PAGE_BYTES];
			fill(page, i);
			assert_int_equal(write_value(layer, 2, i * 10, 0, i), 0);
			entries[i] = (struct page_entry){ .block = i * 10,
				.crc = page_checksum(layer_tag(layer), 2, i * 10, page) };
		}
		if (reserves == 0)
			assert_int_equal(write_value(layer, 2, 455, 0, 999), 0);
		else
			for (uint32_t i = 0; i < 3; i++)
				assert_int_equal(layer_allocate_pages(layer, 2, 721 + i * 10, 9, 0), 0);
		assert_int_equal(layer_sync_pages(layer, 2, 1), 0);
		publish(layer, &ref, entries, 100);

		layer = open_sealed(0);
		struct error err;
		uint64_t before = faulty_disk_punches();
		assert_int_equal(layer_finish_seal(layer, &err), STATUS_OK);
		assert_int_equal(faulty_disk_punches() - before, reserves == 0 ? 1 : 99);
		for (uint32_t i = 0; i < 100; i++)
			assert_value(layer, 2, i * 10, 0, i);
		assert_value(layer, 2, 455, 0, 0);
		(void)layer_release(layer);
	}
}

static unsigned asked;

static bool say_no(void *owner, const struct layer_ref *layer)
{
	(void)owner;
	(void)layer;
	asked++;
	return false;
}

static void test_tidy(void **state)
{
	(void)state;
	for (int reader = 0; reader < 3; reader++) {
		faulty_disk_reset(1);
		seal(0, 0);
		seal(1, 1);
		check_version(0, 0);
		check_version(1, 1);
		struct layer_ref newest = ref;
		newest.version = 1;
		struct error err;
		bool is_busy = false;
		int folder = faulty_disk_folder("layer");
		struct layer *held = NULL;
		int lock = -1;
		if (reader == 0) {
			held = open_sealed(0);
			assert_true(layer_is_read(folder));
		} else if (reader == 1) {
			lock = layer_lock_folder(folder);
			assert_true(lock >= 0 && layer_is_read(folder));
			int second = layer_lock_folder(folder);
			assert_int_equal(second, -1);
			assert_int_equal(errno, EWOULDBLOCK);
		}
		asked = 0;
		assert_int_equal(
		        layer_tidy(folder, &newest, reader == 2 ? say_no : NULL, NULL, &is_busy, &err),
		        STATUS_OK);
		assert_true(is_busy);
		assert_int_equal(asked, reader == 2);
		check_version(0, 0);
		check_version(1, 1);
		(void)layer_release(held);
		disk_close_fd(&lock);
		assert_false(layer_is_read(folder));

		assert_int_equal(layer_tidy(folder, &newest, NULL, NULL, &is_busy, &err), STATUS_OK);
		assert_false(is_busy);
		assert_false(exists("manifest.0") || exists("journal") || exists("0000000000000003.0"));
		check_version(1, 1);
		struct layer *layer = open_sealed(1);
		for (uint32_t i = 0; i < 10; i++)
			assert_value(layer, 2, i, i & 1, 0);
		(void)layer_release(layer);
		/* Nothing is left to do. */
		uint64_t calls = faulty_disk_calls();
		assert_int_equal(layer_tidy(folder, &newest, say_no, NULL, &is_busy, &err), STATUS_OK);
		assert_false(is_busy);
		assert_true(faulty_disk_calls() - calls < 10);
		(void)disk_close(folder);
		assert_int_equal(faulty_disk_open_count(), 0);
	}
}

/* After the seal was finished only what the versions differ in is looked at. */
static void test_tidy_after_a_fold(void **state)
{
	(void)state;
	faulty_disk_reset(1);
	seal(0, 0);
	struct error err;
	struct layer *layer = open_sealed(0);
	assert_int_equal(layer_finish_seal(layer, &err), STATUS_OK);
	(void)layer_release(layer);
	seal(1, 1);
	check_version(0, 0);
	struct layer_ref newest = ref;
	newest.version = 1;
	bool is_busy = true;
	int folder = faulty_disk_folder("layer");
	assert_int_equal(layer_tidy(folder, &newest, NULL, NULL, &is_busy, &err), STATUS_OK);
	assert_false(is_busy || exists("manifest.0") || exists("0000000000000003.0"));
	check_version(1, 1);
	layer = open_sealed(1);
	for (uint32_t i = 0; i < 10; i++)
		assert_value(layer, 2, i, i & 1, 0);
	(void)layer_release(layer);

	/* An old version that is damaged does not keep anything from being given back. */
	seal(2, 0);
	assert_true(faulty_disk_flip_bit(folder, "manifest.1", 600, 1));
	newest.version = 2;
	assert_int_equal(layer_tidy(folder, &newest, NULL, NULL, &is_busy, &err), STATUS_OK);
	assert_false(is_busy || exists("manifest.1"));
	check_version(2, 0);
	layer = open_sealed(2);
	for (uint32_t i = 0; i < 10; i++)
		assert_value(layer, 2, i, 1 - (i & 1), 0);
	(void)layer_release(layer);
	(void)disk_close(folder);
	assert_int_equal(faulty_disk_open_count(), 0);
}

/* Cut off anywhere, tidying has hurt nothing, and is done by the next attempt. */
static void test_tidy_is_killed(void **state)
{
	(void)state;
	for (int mode = 0; mode < 2; mode++) {
		for (uint64_t nth = 1;; nth++) {
			faulty_disk_reset(nth);
			seal(0, 0);
			seal(1, 1);
			struct layer_ref newest = ref;
			newest.version = 1;
			struct error err;
			bool is_busy = false;
			int folder = faulty_disk_folder("layer");
			if (mode == 0)
				faulty_disk_cut_power(nth);
			else
				faulty_disk_fail(nth, EIO);
			status s = layer_tidy(folder, &newest, NULL, NULL, &is_busy, &err);
			bool has_failed = faulty_disk_has_failed();
			assert_int_equal(s, has_failed ? STATUS_IO : STATUS_OK);
			(void)disk_close(folder);
			assert_int_equal(faulty_disk_open_count(), 0);
			faulty_disk_crash();
			check_version(1, 1);
			folder = faulty_disk_folder("layer");
			assert_int_equal(layer_tidy(folder, &newest, NULL, NULL, &is_busy, &err), STATUS_OK);
			assert_false(is_busy || exists("manifest.0"));
			check_version(1, 1);
			(void)disk_close(folder);
			if (!has_failed)
				break;
		}
	}
}

static void test_names(void **state)
{
	(void)state;
	char name[SLOT_NAME_BYTES];
	uint64_t inode = 0;
	uint32_t slot = 0;
	slot_name(name, UINT64_C(0xfedcba9876543210), 1);
	assert_string_equal(name, "fedcba9876543210.1");
	assert_true(slot_name_parse(name, &inode, &slot));
	assert_true(inode == UINT64_C(0xfedcba9876543210) && slot == 1);
	const char *const bad[] = { "", "journal", "fedcba9876543210.2", "fedcba9876543210.",
		"fedcba9876543210.11", "FEDCBA9876543210.1", "edcba9876543210.1" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(slot_name_parse(bad[i], &inode, &slot));

	const char *const ids[] = { "", ".", "..", "-a", "_a", "a/b", "a b", "\x80" };
	faulty_disk_reset(1);
	int folder = faulty_disk_folder("layer");
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		struct layer_ref evil = { .store = "pr-a" };
		(void)snprintf(evil.id, sizeof evil.id, "%s", ids[i]);
		struct layer *layer = NULL;
		struct error err;
		assert_int_equal(layer_create(folder, &evil, &layer, &err), STATUS_INVALID);
		assert_int_equal(layer_open_sealed(folder, &evil, &layer, &err), STATUS_INVALID);
	}
	(void)disk_close(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_synced_pages_survive),
		cmocka_unit_test(test_few_descriptors),
		cmocka_unit_test(test_every_call_fails),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_finish_seal),
		cmocka_unit_test(test_holes_are_not_punched),
		cmocka_unit_test(test_tidy),
		cmocka_unit_test(test_tidy_after_a_fold),
		cmocka_unit_test(test_tidy_is_killed),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
