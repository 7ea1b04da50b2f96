/*
 * Manifests: what passes the check can be looked at everywhere. The checksums of the input are put right first, or nothing behind them would
 * ever be reached.
 */
#include <stdlib.h>

#include "page_store/crc32c.h"
#include "page_store/little_endian.h"
#include "page_store/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_everywhere(const struct manifest *manifest)
{
	uint64_t last_inode = 0, entries = 0;
	for (size_t i = 0; i < manifest->file_count; i++) {
		struct layer_file file = manifest_file_at(manifest, i);
		if (file.inode <= last_inode || file.inode >= manifest->next_inode ||
		        file.shadow_block > PAGE_BLOCKS_MAX)
			abort();
		last_inode = file.inode;
		entries += file.entry_count;
		int64_t last_block = -1;
		for (size_t j = 0; j < file.entry_count; j++) {
			struct page_entry entry = page_entry_unpack(file.entries + j * PAGE_ENTRY_BYTES),
			                  found;
			if (entry.block <= last_block || !layer_file_find_page(&file, entry.block, &found) ||
			        found.crc != entry.crc || found.slot != entry.slot)
				abort();
			if (entry.block > last_block + 1 &&
			        layer_file_find_page(&file, entry.block - 1, &found))
				abort();
			last_block = entry.block;
		}
	}
	if (entries != manifest->entry_count)
		abort();
	for (struct slice rest = manifest->tree; rest.len > 0;) {
		struct change change;
		struct error err;
		if (change_decode(&rest, &change, &err) != STATUS_OK)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct layer_ref ref = { .store = "s", .id = "v.1", .version = 1 };
	struct manifest manifest;
	struct error err;
	if (manifest_check((struct slice){ data, size }, &ref, &manifest, &err) == STATUS_OK)
		look_everywhere(&manifest);
	if (size < MANIFEST_HEADER_BYTES + 8)
		return 0;
	uint8_t *mended = malloc(size);
	memcpy(mended, data, size);
	put_le32(mended + MANIFEST_HEADER_BYTES - 4, crc32c(mended, MANIFEST_HEADER_BYTES - 4));
	put_le32(mended + size - 8, crc32c(mended + MANIFEST_HEADER_BYTES, size - MANIFEST_HEADER_BYTES - 8));
	if (manifest_check((struct slice){ mended, size }, &ref, &manifest, &err) == STATUS_OK)
		look_everywhere(&manifest);
	free(mended);
	return 0;
}
