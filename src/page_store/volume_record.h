/*
 * Volume record: volume.json, what is known about a volume besides its files. docs/formats/volume.md has the
 * format. A record whose version, checksum, members or types are off is STATUS_CORRUPT (another version:
 * STATUS_UNSUPPORTED, with what to do in the hint); nothing in it is guessed.
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"
#include "page_store/volume.h"

#define VOLUME_RECORD_VERSION   2
#define VOLUME_RECORD_MAX_BYTES 65536

struct volume_record {
	char id[VOLUME_ID_MAX + 1];
	char store[STORE_ID_MAX + 1];
	char parent_id[VOLUME_ID_MAX + 1]; /* empty: not a clone */
	int postgres_major;
	uint32_t recovery_timeline; /* even; 0 when the volume was never a clone */
	bool needs_hygiene;         /* see volume.h, V5 */
	int64_t applied_revision;
	int64_t created_usec; /* wall clock */
};

MUST_CHECK status volume_record_parse(struct slice text, struct volume_record *ret, struct error *err);
void volume_record_format(const struct volume_record *record, struct buffer *out);

/* volume.json in `folder`; writing is durable and leaves the old record when it fails. */
MUST_CHECK status volume_record_read(const char *folder, struct volume_record *ret, struct error *err);
MUST_CHECK status volume_record_write(
        const char *folder, const struct volume_record *record, struct error *err);
