/* Room in the journals for what is owed to them (image_internal.h). */
#include "page_store/image_internal.h"

/*
 * A record of one page: its header of 32, a change of type 4 with one entry (45), padding. One of n pages takes less than n of these, and that
 * of a truncation (69 and padding) less than one.
 */
#define PAGE_RECORD_MAX UINT64_C(80)
/* Pages are refused while there is still so much: files can be removed on a full disk. */
#define KEPT_FOR_NAMES (UINT64_C(64) << 10)

static uint64_t owed_for_pages(const struct epoch *epoch)
{
	return atomic_load(&epoch->dirty_count) * PAGE_RECORD_MAX;
}

int image_owe(struct image *image, uint64_t bytes)
{
	(void)atomic_fetch_add(&image->owed_bytes, bytes);
	/* A cut from here on sees the bytes, one before has shown us the new epoch. */
	(void)pthread_mutex_lock(&image->epoch_lock);
	const struct epoch *open = atomic_load(&image->open);
	struct layer *layer = layer_hold(open->layer);
	uint64_t owed = owed_for_pages(open);
	(void)pthread_mutex_unlock(&image->epoch_lock);
	int rc = journal_reserve(layer_journal(layer), owed + atomic_load(&image->owed_bytes));
	(void)layer_release(layer);
	if (rc < 0)
		image_pay(image, bytes);
	return rc;
}

void image_pay(struct image *image, uint64_t bytes)
{
	(void)atomic_fetch_sub(&image->owed_bytes, bytes);
}

static int owe_pages(struct image *image, struct epoch *epoch, uint64_t count, uint64_t kept)
{
	(void)atomic_fetch_add(&epoch->dirty_count, count);
	int rc = journal_reserve(
	        layer_journal(epoch->layer), owed_for_pages(epoch) + atomic_load(&image->owed_bytes) + kept);
	if (rc < 0)
		image_pay_pages(epoch, count);
	return rc;
}

int image_owe_pages(struct image *image, struct epoch *epoch, uint64_t count)
{
	return owe_pages(image, epoch, count, KEPT_FOR_NAMES);
}

int image_owe_truncation(struct image *image, struct epoch *epoch)
{
	return owe_pages(image, epoch, 1, 0);
}

void image_pay_pages(struct epoch *epoch, uint64_t count)
{
	(void)atomic_fetch_sub(&epoch->dirty_count, count);
}

int image_reserve_layer(struct image *image, struct layer *layer)
{
	return journal_reserve(layer_journal(layer), atomic_load(&image->owed_bytes) + KEPT_FOR_NAMES);
}
