/* Changes: what is encoded is decoded the same, and nothing else is taken. */
#include "page_store/change.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "page_store/page.h"

static const struct page_entry entries[] = { { 0, 1, 7 }, { 5, 0, 0xffffffffu }, { 0x7fffffffu, 1, 1 } };

static const struct change examples[] = {
	{ .type = CHANGE_INODE,
	        .inode = 2,
	        .mode = S_IFREG | 0600,
	        .uid = 1,
	        .gid = 2,
	        .size = 12345,
	        .mtime_nsec = -5,
	        .ctime_nsec = INT64_MAX },
	{ .type = CHANGE_INODE, .inode = 1, .mode = S_IFDIR | 01777, .uid = UINT32_MAX, .gid = UINT32_MAX },
	{ .type = CHANGE_INODE, .inode = UINT64_MAX, .mode = S_IFCHR | 0600, .device = 0x0103 },
	{ .type = CHANGE_INODE,
	        .inode = 3,
	        .mode = S_IFLNK | 0777,
	        .size = 6,
	        .target = { (const uint8_t *)"../wal", 6 } },
	{ .type = CHANGE_NAME, .inode = 9, .parent = 1, .name = { (const uint8_t *)"base", 4 } },
	{ .type = CHANGE_NAME_GONE, .inode = 9, .parent = 1, .name = { (const uint8_t *)"...", 3 } },
	{ .type = CHANGE_PAGES,
	        .inode = 4,
	        .size = PAGE_BLOCKS_MAX * PAGE_BYTES,
	        .mtime_nsec = 1,
	        .entries = entries,
	        .entry_count = 3 },
	{ .type = CHANGE_PAGES, .inode = 4 },
	{ .type = CHANGE_TRUNCATE, .inode = 4, .size = 1, .first_block = (uint32_t)PAGE_BLOCKS_MAX },
};

static void assert_same(const struct change *a, const struct change *b)
{
	assert_int_equal(a->type, b->type);
	assert_true(a->inode == b->inode && a->parent == b->parent && a->mode == b->mode &&
	            a->uid == b->uid && a->gid == b->gid && a->device == b->device && a->size == b->size &&
	            a->mtime_nsec == b->mtime_nsec && a->ctime_nsec == b->ctime_nsec &&
	            a->first_block == b->first_block && a->entry_count == b->entry_count);
	assert_int_equal(a->name.len, b->name.len);
	assert_true(a->name.len == 0 || memcmp(a->name.data, b->name.data, a->name.len) == 0);
	assert_int_equal(a->target.len, b->target.len);
	assert_true(a->target.len == 0 || memcmp(a->target.data, b->target.data, a->target.len) == 0);
}

static void test_round_trip(void **state)
{
	(void)state;
	struct buffer bytes = { 0 };
	for (size_t i = 0; i < ARRAY_LEN(examples); i++)
		change_encode(&examples[i], &bytes);
	struct slice rest = buffer_slice(&bytes);
	struct change change;
	struct error err;
	for (size_t i = 0; i < ARRAY_LEN(examples); i++) {
		assert_int_equal(change_decode(&rest, &change, &err), STATUS_OK);
		assert_same(&change, &examples[i]);
		for (size_t j = 0; j < change.entry_count; j++) {
			struct page_entry entry =
			        page_entry_unpack(change.packed_entries.data + j * PAGE_ENTRY_BYTES);
			assert_int_equal(entry.block, entries[j].block);
			assert_int_equal(entry.slot, entries[j].slot);
			assert_int_equal(entry.crc, entries[j].crc);
		}
	}
	assert_int_equal(rest.len, 0);
	assert_int_equal(change_decode(&rest, &change, &err), STATUS_CORRUPT);
	buffer_done(&bytes);
}

static void test_cut_off_anywhere(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(examples); i++) {
		struct buffer bytes = { 0 };
		change_encode(&examples[i], &bytes);
		for (size_t len = 0; len < bytes.len; len++) {
			uint8_t *exact = malloc(len + !len);
			memcpy(exact, bytes.data, len);
			struct slice rest = { exact, len };
			struct change change = { .inode = 77 };
			struct error err;
			assert_int_equal(change_decode(&rest, &change, &err), STATUS_CORRUPT);
			assert_int_equal(rest.len, len);
			assert_int_equal(change.inode, 77); /* untouched */
			free(exact);
		}
		buffer_done(&bytes);
	}
}

static void refuse(struct change change)
{
	struct buffer bytes = { 0 };
	change_encode(&change, &bytes);
	struct slice rest = buffer_slice(&bytes);
	struct error err;
	assert_int_equal(change_decode(&rest, &change, &err), STATUS_CORRUPT);
	buffer_done(&bytes);
}

static void test_nonsense_is_refused(void **state)
{
	(void)state;
	struct change good = examples[0], name = examples[4], change;
	refuse((change = good, change.inode = 0, change));
	refuse((change = good, change.mode = 0600, change));
	refuse((change = good, change.mode |= 1u << 20, change));
	refuse((change = good, change.mode = S_IFLNK | 0777, change));         /* without a target */
	refuse((change = good, change.target = slice_from_text("x"), change)); /* a file with one */
	refuse((change = good, change.mode = S_IFLNK | 0777,
	        change.target = (struct slice){ (const uint8_t *)"a\0b", 3 }, change));
	refuse((change = good, change.size = PAGE_BLOCKS_MAX * PAGE_BYTES + 1, change));
	refuse((change = name, change.name = slice_from_text("a/b"), change));
	refuse((change = name, change.name = slice_from_text("."), change));
	refuse((change = name, change.name = slice_from_text(".."), change));
	refuse((change = name, change.name = (struct slice){ (const uint8_t *)"a\0b", 3 }, change));
	refuse((change = name, change.parent = 0, change));
	refuse((change = examples[8], change.first_block = (uint32_t)PAGE_BLOCKS_MAX + 1, change));
	for (unsigned type = 0; type < 256; type++) {
		uint8_t bytes[64] = { (uint8_t)type, 1 };
		struct slice rest = { bytes, sizeof bytes };
		struct error err;
		if (type == 0 || type > CHANGE_TRUNCATE)
			assert_int_equal(change_decode(&rest, &change, &err), STATUS_CORRUPT);
	}
}

static void test_page_checksums_are_bound(void **state)
{
	(void)state;
	static uint8_t page[PAGE_BYTES];
	for (size_t i = 0; i < sizeof page; i++)
		page[i] = (uint8_t)(i * 7);
	uint32_t crc = page_checksum(1, 2, 3, page);
	assert_int_equal(crc, page_checksum(1, 2, 3, page));
	assert_int_not_equal(crc, page_checksum(9, 2, 3, page));
	assert_int_not_equal(crc, page_checksum(1, 9, 3, page));
	assert_int_not_equal(crc, page_checksum(1, 2, 9, page));
	for (size_t i = 0; i < sizeof page; i += 61) {
		page[i] ^= 1;
		assert_int_not_equal(crc, page_checksum(1, 2, 3, page));
		page[i] ^= 1;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_cut_off_anywhere),
		cmocka_unit_test(test_nonsense_is_refused),
		cmocka_unit_test(test_page_checksums_are_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
