/* The scrub of an image: its sealed layers one after the other, also while folds replace them. */
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

static void scrub_step(struct image *image, uint64_t budget, struct image_scrub *ret)
{
	struct scrub scrub = { .file = image->scrub_file, .entry = image->scrub_entry };
	while (scrub.pages_checked < budget) {
		if (!find_layer(image)) {
			ret->is_round_over = true;
			break;
		}
		if (scrub_layer(&scrub, image->scrub_layer, budget - scrub.pages_checked))
			image->scrub_layer = layer_release(image->scrub_layer);
	}
	image->scrub_file = scrub.file;
	image->scrub_entry = scrub.entry;
	ret->pages_checked = scrub.pages_checked;
	ret->pages_bad = scrub.pages_bad;
	memcpy(ret->first_bad, scrub.first_bad, sizeof ret->first_bad);
}

status image_scrub_step(
        struct image *image, uint64_t budget_pages, struct image_scrub *ret, struct error *err)
{
	(void)err;
	struct image_scrub scrub = { 0 };
	(void)pthread_mutex_lock(&image->scrub_lock);
	scrub_step(image, budget_pages, &scrub);
	(void)pthread_mutex_unlock(&image->scrub_lock);
	*ret = scrub;
	return STATUS_OK;
}
