/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "page_store/volume_record.h"

static const struct volume_record example = {
	.id = "br-b",
	.store = "project-a",
	.parent_id = "br-a",
	.postgres_major = 17,
	.recovery_timeline = 4294967294u,
	.needs_hygiene = true,
	.applied_revision = INT64_MAX,
	.created_usec = 1795375728453065,
};

static void same(const struct volume_record *a, const struct volume_record *b)
{
	assert_string_equal(a->id, b->id);
	assert_string_equal(a->store, b->store);
	assert_string_equal(a->parent_id, b->parent_id);
	assert_int_equal(a->postgres_major, b->postgres_major);
	assert_int_equal(a->recovery_timeline, b->recovery_timeline);
	assert_int_equal(a->needs_hygiene, b->needs_hygiene);
	assert_true(a->applied_revision == b->applied_revision);
	assert_true(a->created_usec == b->created_usec);
}

static struct buffer text_of(const struct volume_record *record)
{
	struct buffer text = { 0 };
	volume_record_format(record, &text);
	return text;
}

static status parse(const char *text)
{
	struct volume_record record;
	struct error err;
	status st = volume_record_parse(slice_from_text(text), &record, &err);
	assert_true(st == STATUS_OK || err.message[0]);
	return st;
}

static void what_is_written_is_read(void **state)
{
	(void)state;
	struct buffer text = text_of(&example);
	struct volume_record back;
	struct error err;
	assert_int_equal(volume_record_parse(buffer_slice(&text), &back, &err), STATUS_OK);
	same(&example, &back);
	buffer_done(&text);
}

/* The format of the documentation, byte by byte: volumes made by an older Tarn must stay readable. */
static void old_files_stay_readable(void **state)
{
	(void)state;
	assert_int_equal(parse("{\"version\":2,\"crc32c\":\"101bb809\",\"volume\":{\"id\":\"br-d2\","
	                       "\"store\":\"project-a\","
	                       "\"parent_id\":\"br-d\",\"postgres_major\":17,\"recovery_timeline\":2,\"needs_"
	                       "hygiene\":true,"
	                       "\"applied_revision\":0,\"created_usec\":1795375728453065}}\n"),
	        STATUS_OK);
}

/* Volumes of the first form, plain files: refused, with what to do. */
static void the_first_form_is_refused(void **state)
{
	(void)state;
	struct volume_record record;
	struct error err;
	status st = volume_record_parse(
	        slice_from_text("{\"version\":1,\"crc32c\":\"213444a0\",\"volume\":{\"id\":\"br-d2\","
	                        "\"parent_id\":\"br-d\","
	                        "\"postgres_major\":17,\"recovery_timeline\":2,\"needs_hygiene\":true,"
	                        "\"applied_revision\":0,\"created_usec\":1795375728453065}}\n"),
	        &record, &err);
	assert_int_equal(st, STATUS_UNSUPPORTED);
	assert_non_null(strstr(err.message, "Tarn 0.1"));
	assert_non_null(strstr(err.hint, "pg_dump"));
}

static void every_flipped_bit_is_seen(void **state)
{
	(void)state;
	struct buffer text = text_of(&example);
	for (size_t i = 0; i < text.len - 1; i++) { /* the last byte is the newline */
		for (int bit = 0; bit < 8; bit++) {
			struct volume_record back = example;
			struct error err;
			text.data[i] = (char)(text.data[i] ^ (1 << bit));
			status st = volume_record_parse(buffer_slice(&text), &back, &err);
			/* What is changed outside the payload can only be a case of letters in a name. */
			if (st == STATUS_OK)
				same(&example, &back);
			text.data[i] = (char)(text.data[i] ^ (1 << bit));
		}
	}
	for (size_t len = 0; len < text.len - 1; len++) {
		struct volume_record back;
		struct error err;
		struct slice part = { (const uint8_t *)text.data, len };
		assert_int_equal(volume_record_parse(part, &back, &err), STATUS_CORRUPT);
	}
	buffer_done(&text);
}

static void hostile_texts_are_refused(void **state)
{
	(void)state;
	assert_int_equal(parse(""), STATUS_CORRUPT);
	assert_int_equal(parse("null"), STATUS_CORRUPT);
	assert_int_equal(parse("[]"), STATUS_CORRUPT);
	assert_int_equal(parse("{\"version\":\"1\"}"), STATUS_CORRUPT);
	assert_int_equal(parse("{\"version\":1}"), STATUS_CORRUPT);
	assert_int_equal(parse("{\"version\":3,\"anything\":[]}"), STATUS_UNSUPPORTED);
	assert_int_equal(parse("{\"version\":2,\"crc32c\":5,\"volume\":{}}"), STATUS_CORRUPT);
	/* A right checksum over a payload that lacks everything: crc32c of "{}". */
	assert_int_equal(parse("{\"version\":2,\"crc32c\":\"25d8e5cd\",\"volume\":{}}"), STATUS_CORRUPT);
}

static void odd_timelines_are_refused(void **state)
{
	(void)state;
	struct volume_record record = example;
	record.recovery_timeline = 3;
	struct buffer text = text_of(&record);
	assert_int_equal(parse(text.data), STATUS_CORRUPT);
	buffer_done(&text);
}

static void the_old_one_stays_when_writing_fails(void **state)
{
	(void)state;
	char folder[] = "/tmp/tarn-unit-XXXXXX";
	assert_non_null(mkdtemp(folder));
	struct error err;
	struct volume_record back, other = example;
	assert_int_equal(volume_record_read(folder, &back, &err), STATUS_CORRUPT);
	assert_int_equal(volume_record_write(folder, &example, &err), STATUS_OK);
	CLEANUP(free_text) char *in_the_way = xasprintf("%s/volume.json.new", folder);
	assert_int_equal(mkdir(in_the_way, 0700), 0);
	other.applied_revision = 1;
	assert_int_not_equal(volume_record_write(folder, &other, &err), STATUS_OK);
	assert_int_equal(volume_record_read(folder, &back, &err), STATUS_OK);
	same(&example, &back);
	assert_int_equal(tree_remove(folder, &err), STATUS_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(old_files_stay_readable),
		cmocka_unit_test(the_first_form_is_refused),
		cmocka_unit_test(every_flipped_bit_is_seen),
		cmocka_unit_test(hostile_texts_are_refused),
		cmocka_unit_test(odd_timelines_are_refused),
		cmocka_unit_test(the_old_one_stays_when_writing_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
