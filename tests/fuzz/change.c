/* Changes: what is decoded, encoded again, is the same bytes; and it keeps to its limits. */
#include <stdlib.h>

#include "page_store/change.h"
#include "page_store/page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct change *change)
{
	if (change->inode == 0 || change->size > PAGE_BLOCKS_MAX * PAGE_BYTES ||
	        change->name.len > CHANGE_NAME_MAX || change->target.len > CHANGE_TARGET_MAX ||
	        change->first_block > PAGE_BLOCKS_MAX ||
	        change->packed_entries.len != change->entry_count * PAGE_ENTRY_BYTES)
		abort();
	bool has_name = change->type == CHANGE_NAME || change->type == CHANGE_NAME_GONE;
	if (has_name != (change->name.len > 0) || has_name != (change->parent > 0))
		abort();
	if (has_name && (memchr(change->name.data, '/', change->name.len) ||
	                        memchr(change->name.data, 0, change->name.len)))
		abort();
	for (size_t i = 0; i < change->entry_count; i++) {
		struct page_entry entry =
		        page_entry_unpack(change->packed_entries.data + i * PAGE_ENTRY_BYTES);
		if (entry.block >= PAGE_BLOCKS_MAX || entry.slot > 1)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = { data, size };
	while (rest.len > 0) {
		struct slice before = rest;
		struct change change;
		struct error err;
		if (change_decode(&rest, &change, &err) != STATUS_OK) {
			if (rest.data != before.data || rest.len != before.len)
				abort();
			break;
		}
		check(&change);
		CLEANUP(buffer_done) struct buffer again = { 0 };
		change_encode(&change, &again);
		if (again.len != before.len - rest.len || memcmp(again.data, before.data, again.len) != 0)
			abort();
	}
	return 0;
}
