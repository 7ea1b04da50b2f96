/* Manifests: what was published is found again; anything else is refused when it is opened, never later. */
#include "page_store/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "faulty_disk.h"
#include "page_store/crc32c.h"
#include "page_store/disk.h"
#include "page_store/little_endian.h"

static const struct layer_ref ref = { .store = "pr-a", .id = "br-a.7", .version = 3 };

#define TAG UINT64_C(0xfeedface12345678)

/* Inode 2: pages 0..9 without holes; 5: sparse; 6: a shadow alone. */
static struct manifest_writer *example(void)
{
	struct manifest_writer *writer = manifest_writer_new(TAG, 10);
	struct buffer tree = { 0 };
	for (uint64_t inode = 1; inode < 8; inode++) {
		change_encode(&(struct change){ .type = CHANGE_INODE,
		                      .inode = inode,
		                      .mode = inode == 1 ? S_IFDIR | 0700 : S_IFREG | 0600 },
		        &tree);
		if (inode > 1)
			change_encode(&(struct change){ .type = CHANGE_NAME,
			                      .inode = inode,
			                      .parent = 1,
			                      .name = { (const uint8_t *)"abcdefgh" + inode, 1 } },
			        &tree);
	}
	manifest_writer_add_tree(writer, buffer_slice(&tree));
	buffer_done(&tree);
	struct page_entry entries[10];
	for (uint32_t i = 0; i < 10; i++)
		entries[i] = (struct page_entry){ .block = i, .slot = i & 1, .crc = i * 100 };
	manifest_writer_add_file(writer, 2, (uint32_t)PAGE_BLOCKS_MAX, entries, 10);
	for (uint32_t i = 0; i < 10; i++)
		entries[i].block = 3 + i * i * 1000;
	entries[9].block = (uint32_t)PAGE_BLOCKS_MAX - 1;
	manifest_writer_add_file(writer, 5, 100, entries, 10);
	manifest_writer_add_file(writer, 6, 0, NULL, 0);
	manifest_writer_set_origin(
	        writer, &(struct manifest_origin){ .is_fold = true,
	                        .lower_version = 2,
	                        .upper = { .store = "pr-a", .id = "br-a.8", .version = 4 } });
	return writer;
}

static struct buffer example_bytes(void)
{
	struct buffer bytes = { 0 };
	struct manifest_writer *writer = example();
	manifest_writer_format(writer, &ref, &bytes);
	manifest_writer_free(writer);
	return bytes;
}

static void test_published_is_found(void **state)
{
	(void)state;
	faulty_disk_reset(1);
	int folder = faulty_disk_folder("layer");
	struct error err;
	struct layer *layer = NULL;
	assert_int_equal(layer_open_sealed(folder, &ref, &layer, &err), STATUS_NOT_FOUND);
	assert_int_equal(manifest_writer_publish(example(), folder, &ref, &err), STATUS_OK);
	faulty_disk_crash();
	folder = faulty_disk_folder("layer");
	assert_int_equal(layer_open_sealed(folder, &ref, &layer, &err), STATUS_OK);
	assert_true(layer_tag(layer) == TAG);
	assert_int_equal(layer_next_inode(layer), 10);
	assert_int_equal(layer_file_count(layer), 3);
	const struct manifest_origin *origin = &layer_manifest(layer)->origin;
	assert_true(origin->is_fold && origin->lower_version == 2 && origin->upper.version == 4);
	assert_string_equal(origin->upper.id, "br-a.8");
	assert_string_equal(origin->upper.store, "pr-a");

	struct layer_file file;
	struct page_entry entry;
	assert_false(layer_find_file(layer, 1, &file));
	assert_false(layer_find_file(layer, 7, &file));
	assert_true(layer_find_file(layer, 2, &file));
	for (uint32_t i = 0; i < 10; i++) {
		assert_true(layer_file_find_page(&file, i, &entry));
		assert_true(entry.block == i && entry.slot == (i & 1) && entry.crc == i * 100);
	}
	assert_false(layer_file_find_page(&file, 10, &entry));
	assert_true(layer_find_file(layer, 5, &file));
	assert_int_equal(file.shadow_block, 100);
	for (uint32_t i = 0; i < 9; i++) {
		assert_true(layer_file_find_page(&file, 3 + i * i * 1000, &entry));
		assert_int_equal(entry.crc, i * 100);
		assert_false(layer_file_find_page(&file, 4 + i * i * 1000, &entry));
		assert_false(layer_file_find_page(&file, 2 + i * i * 1000, &entry));
	}
	assert_true(layer_file_find_page(&file, (uint32_t)PAGE_BLOCKS_MAX - 1, &entry));
	assert_true(layer_find_file(layer, 6, &file));
	assert_int_equal(file.shadow_block, 0);
	assert_false(layer_file_find_page(&file, 0, &entry));

	struct slice tree = layer_tree(layer);
	struct change change;
	size_t count = 0;
	for (; tree.len > 0; count++)
		assert_int_equal(change_decode(&tree, &change, &err), STATUS_OK);
	assert_int_equal(count, 13);
	(void)layer_release(layer);
	assert_int_equal(faulty_disk_open_count(), 0);
}

static void test_every_truncation_and_extension(void **state)
{
	(void)state;
	struct buffer bytes = example_bytes();
	struct manifest manifest;
	struct error err;
	assert_int_equal(manifest_check(buffer_slice(&bytes), &ref, &manifest, &err), STATUS_OK);
	for (size_t len = 0; len < bytes.len; len++) {
		uint8_t *exact = malloc(len + !len);
		memcpy(exact, bytes.data, len);
		assert_int_equal(
		        manifest_check((struct slice){ exact, len }, &ref, &manifest, &err), STATUS_CORRUPT);
		free(exact);
	}
	for (int more = 1; more < 20; more++) {
		buffer_append(&bytes, "", 1);
		assert_int_equal(manifest_check(buffer_slice(&bytes), &ref, &manifest, &err), STATUS_CORRUPT);
	}
	buffer_done(&bytes);
}

static void test_every_flipped_bit(void **state)
{
	(void)state;
	struct buffer bytes = example_bytes();
	struct manifest manifest;
	struct error err;
	for (size_t bit = 0; bit < bytes.len * 8; bit++) {
		bytes.data[bit / 8] ^= (char)(1 << bit % 8);
		status s = manifest_check(buffer_slice(&bytes), &ref, &manifest, &err);
		assert_true(s == STATUS_CORRUPT || (s == STATUS_UNSUPPORTED && bit / 8 >= 8 && bit / 8 < 12));
		bytes.data[bit / 8] ^= (char)(1 << bit % 8);
	}
	buffer_done(&bytes);
}

/* Somebody who can compute checksums still cannot make us read where nothing is. */
static void test_wrong_values_with_right_checksums(void **state)
{
	(void)state;
	struct buffer bytes = example_bytes();
	uint8_t *good = (uint8_t *)bytes.data;
	uint8_t *bad = malloc(bytes.len);
	struct manifest manifest;
	struct error err;
	uint64_t random = 1;
	size_t accepted = 0;
	for (int round = 0; round < 200000; round++) {
		memcpy(bad, good, bytes.len);
		random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
		size_t at = (random >> 33) % (bytes.len - 8);
		uint8_t value = (uint8_t)(random >> 20);
		if (round % 3 == 0)
			bad[at] = value;
		else
			bad[at] ^= (uint8_t)(1u << value % 8);
		put_le32(bad + MANIFEST_HEADER_BYTES - 4, crc32c(bad, MANIFEST_HEADER_BYTES - 4));
		put_le32(bad + bytes.len - 8,
		        crc32c(bad + MANIFEST_HEADER_BYTES, bytes.len - MANIFEST_HEADER_BYTES - 8));
		if (manifest_check((struct slice){ bad, bytes.len }, &ref, &manifest, &err) != STATUS_OK)
			continue;
		/* Then everything in it can be looked at. */
		accepted++;
		uint64_t last = 0;
		for (size_t i = 0; i < manifest.file_count; i++) {
			struct layer_file file = manifest_file_at(&manifest, i);
			struct page_entry entry;
			assert_true(file.inode > last && file.inode < manifest.next_inode);
			assert_true(file.entries + file.entry_count * PAGE_ENTRY_BYTES <= bad + bytes.len);
			(void)layer_file_find_page(&file, 5, &entry);
			last = file.inode;
		}
	}
	assert_true(accepted > 100); /* of names, checksums and times anything is fine */
	free(bad);
	buffer_done(&bytes);
}

static void test_another_layers_manifest_is_refused(void **state)
{
	(void)state;
	struct buffer bytes = example_bytes();
	struct manifest manifest;
	struct error err;
	struct layer_ref other = ref;
	other.version = 2;
	assert_int_equal(manifest_check(buffer_slice(&bytes), &other, &manifest, &err), STATUS_CORRUPT);
	other = ref;
	other.id[5] = '8';
	assert_int_equal(manifest_check(buffer_slice(&bytes), &other, &manifest, &err), STATUS_CORRUPT);
	buffer_done(&bytes);
}

/* Each call of publishing fails, or is the last before the power goes: the manifest is there whole, or not at all, or the old one is. */
static void test_publishing_is_atomic(void **state)
{
	(void)state;
	bool has_been_there = false, has_been_missing = false;
	for (int mode = 0; mode < 3; mode++) {
		for (uint64_t nth = 1;; nth++) {
			bool has_failed = false;
			for (uint64_t seed = 1; seed < 20; seed++) {
				faulty_disk_reset(seed);
				int folder = faulty_disk_folder("layer");
				struct error err;
				if (mode == 0)
					faulty_disk_cut_power(nth);
				else
					faulty_disk_fail(nth, mode == 1 ? EIO : ENOSPC);
				status s = manifest_writer_publish(example(), folder, &ref, &err);
				has_failed = faulty_disk_has_failed();
				assert_int_equal(s, !has_failed ? STATUS_OK
				                    : mode == 2 ? STATUS_NO_SPACE
				                                : STATUS_IO);
				(void)disk_close(folder);
				assert_int_equal(faulty_disk_open_count(), 0);
				faulty_disk_crash();
				folder = faulty_disk_folder("layer");
				struct layer *layer = NULL;
				status opened = layer_open_sealed(folder, &ref, &layer, &err);
				assert_true(
				        opened == STATUS_OK || (has_failed && opened == STATUS_NOT_FOUND));
				has_been_there |= has_failed && opened == STATUS_OK;
				has_been_missing |= opened == STATUS_NOT_FOUND;
				if (opened != STATUS_OK)
					(void)disk_close(folder);
				(void)layer_release(layer);
			}
			if (!has_failed)
				break;
		}
	}
	assert_true(has_been_there && has_been_missing);
}

static void test_failures_of_opening(void **state)
{
	(void)state;
	for (uint64_t nth = 1;; nth++) {
		faulty_disk_reset(1);
		int folder = faulty_disk_folder("layer");
		struct error err;
		assert_int_equal(manifest_writer_publish(example(), folder, &ref, &err), STATUS_OK);
		struct layer *layer = NULL;
		faulty_disk_fail(nth, EIO);
		status s = layer_open_sealed(folder, &ref, &layer, &err);
		bool has_failed = faulty_disk_has_failed();
		assert_int_equal(s, has_failed ? STATUS_IO : STATUS_OK);
		if (s != STATUS_OK)
			(void)disk_close(folder);
		(void)layer_release(layer);
		assert_int_equal(faulty_disk_open_count(), 0);
		if (!has_failed)
			break;
	}
}

static void test_names(void **state)
{
	(void)state;
	uint32_t version = 5;
	assert_true(manifest_name_parse("manifest.0", &version) && version == 0);
	assert_true(manifest_name_parse("manifest.4294967295", &version) && version == UINT32_MAX);
	const char *const bad[] = { "manifest", "manifest.", "manifest.01", "manifest.-1",
		"manifest.4294967296", "manifest.1.new", "manifest.+1", "Manifest.1", "" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(manifest_name_parse(bad[i], &version));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_is_found),
		cmocka_unit_test(test_every_truncation_and_extension),
		cmocka_unit_test(test_every_flipped_bit),
		cmocka_unit_test(test_wrong_values_with_right_checksums),
		cmocka_unit_test(test_another_layers_manifest_is_refused),
		cmocka_unit_test(test_publishing_is_atomic),
		cmocka_unit_test(test_failures_of_opening),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
