/* The scrub sees every page once, whatever the budget, and tells of each one that is damaged or cannot be read. */
#include "page_store/scrub.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "faulty_disk.h"
#include "page_store/disk.h"

#define PAGES 100u /* of each of two files; odd blocks of inode 3 only */

static const struct layer_ref ref = { .store = "pr-a", .id = "br-a.1" };

static struct layer *make_sealed(void)
{
	faulty_disk_reset(1);
	struct layer *layer = NULL;
	struct error err;
	assert_int_equal(layer_create(faulty_disk_folder("layer"), &ref, &layer, &err), STATUS_OK);
	struct manifest_writer *writer = manifest_writer_new(layer_tag(layer), 10);
	for (uint64_t inode = 2; inode < 4; inode++) {
		struct page_entry entries[PAGES];
		for (uint32_t i = 0; i < PAGES; i++) {
			uint32_t block = inode == 2 ? i : 2 * i + 1;
			uint8_t page[PAGE_BYTES];
			memset(page, (int)(i + inode), sizeof page);
			entries[i] = (struct page_entry){ .block = block,
				.slot = i / 7 % 2,
				.crc = page_checksum(layer_tag(layer), inode, block, page) };
			assert_int_equal(layer_write_page(layer, inode, block, i / 7 % 2, page), 0);
		}
		assert_int_equal(layer_sync_pages(layer, inode, 3), 0);
		manifest_writer_add_file(writer, inode, (uint32_t)PAGE_BLOCKS_MAX, entries, PAGES);
	}
	manifest_writer_add_file(writer, 5, 0, NULL, 0);
	assert_int_equal(manifest_writer_publish(writer, layer_folder(layer), &ref, &err), STATUS_OK);
	(void)layer_release(layer);
	assert_int_equal(layer_open_sealed(faulty_disk_folder("layer"), &ref, &layer, &err), STATUS_OK);
	return layer;
}

static void test_every_page_once(void **state)
{
	(void)state;
	struct layer *layer = make_sealed();
	for (uint64_t budget = 1; budget < 300; budget += 13) {
		struct scrub scrub = { 0 };
		for (uint64_t before = 0; !scrub_layer(&scrub, layer, budget); before = scrub.pages_checked)
			assert_int_equal(scrub.pages_checked - before, budget);
		assert_int_equal(scrub.pages_checked, 2 * PAGES);
		assert_int_equal(scrub.pages_bad, 0);
		/* And again from the beginning. */
		while (!scrub_layer(&scrub, layer, 1000))
			;
		assert_int_equal(scrub.pages_checked, 4 * PAGES);
	}
	(void)layer_release(layer);
}

static void test_damage_is_told(void **state)
{
	(void)state;
	struct layer *layer = make_sealed();
	/* Block 9 of inode 2 is in slot 1; block 3 of inode 3 in slot 0. */
	assert_true(
	        faulty_disk_flip_bit(layer_folder(layer), "0000000000000002.1", 9 * PAGE_BYTES + 8191, 7));
	assert_true(faulty_disk_flip_bit(layer_folder(layer), "0000000000000003.0", 3 * PAGE_BYTES, 0));
	/* What nothing names may be damaged. */
	assert_true(faulty_disk_flip_bit(layer_folder(layer), "0000000000000002.1", 0, 0));
	struct scrub scrub = { 0 };
	while (!scrub_layer(&scrub, layer, 50))
		;
	assert_int_equal(scrub.pages_checked, 2 * PAGES);
	assert_int_equal(scrub.pages_bad, 2);
	assert_string_equal(
	        scrub.first_bad, "page 9 of inode 2 in layer \"br-a.1\" (slot 1) fails its checksum");
	(void)layer_release(layer);
}

static void test_missing_files_are_told(void **state)
{
	(void)state;
	struct layer *layer = make_sealed();
	assert_int_equal(disk_unlink(layer_folder(layer), "0000000000000003.1"), 0);
	struct scrub scrub = { 0 };
	while (!scrub_layer(&scrub, layer, 50))
		;
	assert_int_equal(scrub.pages_bad, 49); /* 7 of 14, seven times */
	assert_non_null(strstr(scrub.first_bad, "cannot be read"));
	(void)layer_release(layer);
}

/* A call that fails once is not damage: the pages are read again, each alone. */
static void test_one_failing_read(void **state)
{
	(void)state;
	struct layer *layer = make_sealed();
	struct scrub scrub = { 0 };
	faulty_disk_fail(5, EIO);
	while (!scrub_layer(&scrub, layer, 50))
		;
	assert_true(faulty_disk_has_failed());
	assert_int_equal(scrub.pages_checked, 2 * PAGES);
	assert_int_equal(scrub.pages_bad, 0);
	(void)layer_release(layer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_page_once),
		cmocka_unit_test(test_damage_is_told),
		cmocka_unit_test(test_missing_files_are_told),
		cmocka_unit_test(test_one_failing_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
