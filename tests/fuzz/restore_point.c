/* Restore points: what parses is in its limits, and is the same after it was written and read again. */
#include <stdlib.h>

#include "page_store/restore_point.h"
#include "page_store/store_record.h"
#include "record_envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int check(const uint8_t *data, size_t size)
{
	CLEANUP(restore_point_done) struct restore_point point = { 0 };
	CLEANUP(restore_point_done) struct restore_point again = { 0 };
	struct error err;
	if (restore_point_parse((struct slice){ data, size }, &point, &err) != STATUS_OK)
		return 0;
	if (point.number == 0 || point.layer_count == 0 || point.redo_lsn >= point.end_lsn ||
	        point.redo_timeline == 0 || point.redo_timeline > point.timeline ||
	        !store_name_is_valid(point.volume_id, sizeof point.volume_id - 1) || point.time_usec < 0 ||
	        (point.wal_segment_size & (point.wal_segment_size - 1)))
		abort();
	CLEANUP(buffer_done) struct buffer text = { 0 };
	CLEANUP(buffer_done) struct buffer text_again = { 0 };
	restore_point_format(&point, &text);
	if (restore_point_parse(buffer_slice(&text), &again, &err) != STATUS_OK)
		abort();
	restore_point_format(&again, &text_again);
	if (text.len != text_again.len || memcmp(text.data, text_again.data, text.len) != 0 ||
	        !restore_point_is_same(&point, &again))
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(buffer_done) struct buffer wrapped = { 0 };
	record_wrap(data, size, "point", 1, &wrapped);
	return check(data, size) || check((const uint8_t *)wrapped.data, wrapped.len);
}
