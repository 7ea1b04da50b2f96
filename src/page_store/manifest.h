/*
 * Manifest: what a sealed layer holds, at one version; a file that is mapped and was checked whole. docs/formats/layer.md has the
 * bytes. The writer is declared in layer.h.
 *
 * While a manifest is open its file is locked (shared): what it names is in use, in whatever process (layer_tidy()).
 */
#pragma once

#include "page_store/layer.h"

#define MANIFEST_NAME_BYTES 32
void manifest_name(char out[MANIFEST_NAME_BYTES], uint32_t version); /* "manifest.0" */
/* False: not the name of a manifest. */
bool manifest_name_parse(const char *name, uint32_t *ret_version);

/* What the version was made of: the layer's own version `lower`, and another layer that was folded into it. */
struct manifest_origin {
	bool is_fold;
	uint32_t lower_version;
	struct layer_ref upper;
};

struct manifest {
	int fd;
	void *mapped;
	size_t len;
	uint64_t tag, next_inode;
	struct manifest_origin origin;
	struct slice tree;
	const uint8_t *files; /* file_count * MANIFEST_FILE_BYTES */
	size_t file_count;
	const uint8_t *entries; /* of all files, one after the other */
	size_t entry_count;
};

#define MANIFEST_HEADER_BYTES 512u
#define MANIFEST_FILE_BYTES   24u

/* STATUS_NOT_FOUND, STATUS_CORRUPT, STATUS_UNSUPPORTED (newer Tarn), STATUS_UNAVAILABLE (being removed). */
MUST_CHECK status manifest_open(
        int folder_fd, const struct layer_ref *ref, struct manifest *ret, struct error *err);
void manifest_close(struct manifest *manifest);
/* What manifest_open() makes of the bytes; they have to stay. */
MUST_CHECK status manifest_check(
        struct slice bytes, const struct layer_ref *ref, struct manifest *ret, struct error *err);

/* How many pages it says it has, unchecked; for estimates. */
MUST_CHECK status manifest_peek(
        int folder_fd, const struct layer_ref *ref, uint64_t *ret_entry_count, struct error *err);

struct layer_file manifest_file_at(const struct manifest *manifest, size_t index);

void manifest_writer_set_origin(struct manifest_writer *writer, const struct manifest_origin *origin);
/* As the file will be; for publishing and for tests. */
void manifest_writer_format(
        const struct manifest_writer *writer, const struct layer_ref *ref, struct buffer *out);

const struct manifest *layer_manifest(const struct layer *layer); /* of a sealed layer, borrowed */
