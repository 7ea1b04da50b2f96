/* Room in the journals for what is owed to them (image_internal.h). */
#include <sys/resource.h>

#include "base/clock.h"
#include "page_store/image_internal.h"

/*
 * A record of one page: its header of 32, a change of type 4 with one entry (45), padding. One of n pages takes less than n of these, and that
 * of a truncation (69 and padding) less than one.
 */
#define PAGE_RECORD_MAX UINT64_C(80)
/* Pages are refused while there is still so much: files can be removed on a full disk. */
#define KEPT_FOR_NAMES (UINT64_C(64) << 10)

/*
 * Our own Postgres is made to stop long before (compute/write_brake.h). Others may use up so much between two looks all the same: then a
 * write that was answered waits for room, and in the end breaks the image.
 */
#define AMPLE_BYTES (UINT64_C(256) << 20)
#define LOOK_PAGES  256u
#define LOOK_USEC   (USEC_PER_SEC / 10)

/* A file of Postgres has 1 GiB, unless it was built otherwise. */
#define ANSWER_END_MAX (UINT64_C(2) << 30)

uint64_t image_answer_end(void)
{
	struct rlimit limit;
	return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < ANSWER_END_MAX ? limit.rlim_cur
	                                                                               : ANSWER_END_MAX;
}

bool image_has_ample_space(struct image *image, uint32_t count)
{
	struct free_space *space = &image->free_space;
	uint64_t pages = atomic_fetch_add(&space->pages, count) + count;
	int64_t now = clock_monotonic_usec();
	if (pages < LOOK_PAGES && now - atomic_load(&space->looked_usec) < LOOK_USEC)
		return atomic_load(&space->is_ample);
	struct statvfs disk;
	bool is_ample =
	        image_statfs(image, &disk) == 0 && (uint64_t)disk.f_bavail * disk.f_frsize >= AMPLE_BYTES;
	atomic_store(&space->pages, 0);
	atomic_store(&space->looked_usec, now);
	atomic_store(&space->is_ample, is_ample);
	return is_ample;
}

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
