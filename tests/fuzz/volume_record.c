/* Volume records: what parses is in its limits, and is the same after it was written and read again. */
#include <stdlib.h>

#include "page_store/volume_record.h"
#include "record_envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int check(const uint8_t *data, size_t size)
{
	struct volume_record record, again;
	struct error err;
	if (volume_record_parse((struct slice){ data, size }, &record, &err) != STATUS_OK)
		return 0;
	if (!record.id[0] || !record.store[0] || record.recovery_timeline % 2 != 0 ||
	        record.applied_revision < 0)
		abort();
	CLEANUP(buffer_done) struct buffer text = { 0 };
	volume_record_format(&record, &text);
	if (volume_record_parse(buffer_slice(&text), &again, &err) != STATUS_OK)
		abort();
	if (strcmp(record.id, again.id) != 0 || strcmp(record.store, again.store) != 0 ||
	        strcmp(record.parent_id, again.parent_id) != 0 ||
	        record.postgres_major != again.postgres_major ||
	        record.recovery_timeline != again.recovery_timeline ||
	        record.needs_hygiene != again.needs_hygiene ||
	        record.applied_revision != again.applied_revision ||
	        record.created_usec != again.created_usec)
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(buffer_done) struct buffer wrapped = { 0 };
	record_wrap(data, size, "volume", 2, &wrapped);
	return check(data, size) || check((const uint8_t *)wrapped.data, wrapped.len);
}
