/* The scrub of an open image: all sealed layers of its stack in turn, bottom first, a piece at a time (scrub.h). */
#include "page_store/image_internal.h"
#include "page_store/scrub.h"

/* The layer to go on with, held by image.scrub_layer; false: the round is over. */
static bool find_layer(struct image *image)
{
	if (image->scrub_layer)
		return true;
	(void)pthread_rwlock_wrlock(&image->layers_lock);
	if (image->scrub_position < image->order_count)
		image->scrub_layer = layer_hold(image->layers[image->order[image->scrub_position++]]);
	else
		image->scrub_position = 0;
	(void)pthread_rwlock_unlock(&image->layers_lock);
	return image->scrub_layer;
}

status image_scrub_step(
        struct image *image, uint64_t budget_pages, struct image_scrub *ret, struct error *err)
{
	(void)err;
	(void)pthread_mutex_lock(&image->scrub_lock);
	struct scrub scrub = { .file = image->scrub_file, .entry = image->scrub_entry };
	struct image_scrub result = { 0 };
	while (scrub.pages_checked < budget_pages && !result.is_round_over) {
		if (!find_layer(image))
			result.is_round_over = true;
		else if (scrub_layer(&scrub, image->scrub_layer, budget_pages - scrub.pages_checked))
			image->scrub_layer = layer_release(image->scrub_layer);
	}
	image->scrub_file = scrub.file;
	image->scrub_entry = scrub.entry;
	(void)pthread_mutex_unlock(&image->scrub_lock);
	result.pages_checked = scrub.pages_checked;
	result.pages_bad = scrub.pages_bad;
	_Static_assert(sizeof result.first_bad == sizeof scrub.first_bad, "the text fits");
	memcpy(result.first_bad, scrub.first_bad, sizeof result.first_bad);
	*ret = result;
	return STATUS_OK;
}
