#include "page_store/cut_tail.h"

#include <stdlib.h>

#include "page_store/page.h"

static struct cut_tail **bucket_of(struct cut_tails *tails, uint64_t inode)
{
	return &tails->buckets[inode % CUT_TAIL_BUCKETS];
}

static void remove_at(struct cut_tail **link)
{
	struct cut_tail *tail = *link;
	*link = tail->next;
	free(tail);
}

void cut_tails_done(struct cut_tails *tails)
{
	for (size_t i = 0; i < CUT_TAIL_BUCKETS; i++)
		while (tails->buckets[i])
			remove_at(&tails->buckets[i]);
}

void cut_tails_truncate(struct cut_tails *tails, uint64_t inode, uint64_t size)
{
	uint32_t block = (uint32_t)(size / PAGE_BYTES), offset = (uint32_t)(size % PAGE_BYTES);
	struct cut_tail **link = bucket_of(tails, inode), *same = NULL;
	while (*link) {
		struct cut_tail *tail = *link;
		/* Pages behind the end are gone, and with them their tails. */
		bool is_gone = tail->inode == inode && tail->block >= block + (offset > 0);
		if (is_gone) {
			remove_at(link);
			continue;
		}
		if (tail->inode == inode && tail->block == block)
			same = tail;
		link = &tail->next;
	}
	if (offset == 0)
		return;
	if (same) {
		if (offset < same->offset)
			same->offset = offset;
		return;
	}
	struct cut_tail *added = xcalloc(1, sizeof *added);
	*added = (struct cut_tail){
		.next = *bucket_of(tails, inode), .inode = inode, .block = block, .offset = offset
	};
	*bucket_of(tails, inode) = added;
}

void cut_tails_commit(struct cut_tails *tails, uint64_t inode, uint32_t block)
{
	for (struct cut_tail **link = bucket_of(tails, inode); *link; link = &(*link)->next) {
		if ((*link)->inode == inode && (*link)->block == block) {
			remove_at(link);
			return;
		}
	}
}

bool cut_tails_take(struct cut_tails *tails, struct cut_tail *ret)
{
	for (size_t i = 0; i < CUT_TAIL_BUCKETS; i++) {
		if (!tails->buckets[i])
			continue;
		*ret = *tails->buckets[i];
		remove_at(&tails->buckets[i]);
		return true;
	}
	return false;
}
