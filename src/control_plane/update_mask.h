/*
 * Update mask: which fields a PATCH means (rest-api.md 1.4). Each resource has a constant table of paths; a field of
 * the resource is one bit, a path may cover several.
 *
 * A field can be meant in two ways: `fields` are set to the body's value or, when the body has none, to the default;
 * `present` are set only when the body has a value ("spec", or no mask at all). A field in both counts as `fields`.
 */
#pragma once

#include "base/base.h"
#include "control_plane/api_error.h"

#define UPDATE_MASK_TEXT_MAX  4096
#define UPDATE_MASK_PATHS_MAX 64

struct update_path {
	const char *path;  /* "spec.is_protected" */
	uint64_t fields;   /* bits; 0: accepted and without effect ("initial_branch_spec") */
	bool keeps_absent; /* "spec": fields that the body lacks keep their value */
	bool is_all;       /* "*" */
};

struct update_mask {
	uint64_t fields, present;
	bool is_all; /* "*" was among the paths */
};

/* text: NULL or "" means "spec". False with the error filled for a path that the table does not have. */
bool update_mask_parse(const char *text, const struct update_path *paths, size_t count,
        struct update_mask *ret, struct api_error *error);

/* Shall `field` (one bit) be written? has_value: the body carries it. */
static inline bool update_mask_has(const struct update_mask *mask, uint64_t field, bool has_value)
{
	return (mask->fields & field) || (has_value && (mask->present & field));
}
