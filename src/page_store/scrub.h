/*
 * Scrub: every page of a sealed layer is read and checked, a piece at a time, so that damage is found while a good copy may still exist
 * somewhere. It changes nothing.
 *
 * Threads: one at a time per struct scrub.
 */
#pragma once

#include "base/base.h"
#include "page_store/layer.h"

struct scrub {
	size_t file, entry; /* where it is in the layer; zeros: at its beginning */
	uint64_t pages_checked, pages_bad;
	char first_bad[256]; /* which page, and what is wrong; for people */
};

/* Checks up to `budget` more pages of the layer. True: that was all of it, and the next call begins with another one. */
bool scrub_layer(struct scrub *scrub, struct layer *sealed, uint64_t budget);
