/*
 * The format (docs/formats/volume.md): one JSON object
 *
 *   {"version":1,"crc32c":"8 hex digits","volume":{…}}
 *
 * where crc32c is that of the bytes of the member "volume" in minified form, members in the order they are
 * written here.
 */
#include "page_store/volume_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#include "base/file.h"
#include "page_store/crc32c.h"

#define RECORD_NAME "volume.json"

static void free_document(yyjson_doc **doc)
{
	yyjson_doc_free(*doc);
	*doc = NULL;
}

static void free_mutable(yyjson_mut_doc **doc)
{
	yyjson_mut_doc_free(*doc);
	*doc = NULL;
}

static bool read_id(yyjson_val *value, bool may_be_empty, char out[VOLUME_ID_MAX + 1])
{
	const char *text = yyjson_get_str(value);
	size_t len = yyjson_get_len(value);
	if (!text || len > VOLUME_ID_MAX || strlen(text) != len || (len == 0 && !may_be_empty))
		return false;
	memcpy(out, text, len + 1);
	return true;
}

static bool read_number(yyjson_val *value, int64_t min, int64_t max, int64_t *ret)
{
	if (!yyjson_is_int(value) || (yyjson_is_uint(value) && yyjson_get_uint(value) > INT64_MAX))
		return false;
	int64_t number = yyjson_get_sint(value);
	if (number < min || number > max)
		return false;
	*ret = number;
	return true;
}

static bool checksum_fits(yyjson_val *volume, const char *expected)
{
	size_t len;
	CLEANUP(free_text) char *minified = yyjson_val_write(volume, 0, &len);
	if (!minified || !expected)
		return false;
	char text[9];
	(void)snprintf(text, sizeof text, "%08x", crc32c(minified, len));
	return strcmp(text, expected) == 0;
}

status volume_record_parse(struct slice text, struct volume_record *ret, struct error *err)
{
	CLEANUP(free_document) yyjson_doc *doc = yyjson_read((const char *)text.data, text.len, 0);
	yyjson_val *root = yyjson_doc_get_root(doc);
	int64_t version;
	if (!read_number(yyjson_obj_get(root, "version"), 1, INT32_MAX, &version))
		return error_set(err, STATUS_CORRUPT, 0, "the volume record is not one");
	if (version > VOLUME_RECORD_VERSION)
		return error_set(err, STATUS_UNSUPPORTED, 0,
		        "the volume record has version %d, this Tarn knows %d", (int)version,
		        VOLUME_RECORD_VERSION);
	yyjson_val *volume = yyjson_obj_get(root, "volume");
	if (!yyjson_is_obj(volume) || !checksum_fits(volume, yyjson_get_str(yyjson_obj_get(root, "crc32c"))))
		return error_set(err, STATUS_CORRUPT, 0, "the checksum of the volume record is wrong");

	struct volume_record record = { 0 };
	int64_t major, timeline;
	yyjson_val *hygiene = yyjson_obj_get(volume, "needs_hygiene");
	bool is_valid =
	        read_id(yyjson_obj_get(volume, "id"), false, record.id) &&
	        read_id(yyjson_obj_get(volume, "parent_id"), true, record.parent_id) &&
	        read_number(yyjson_obj_get(volume, "postgres_major"), 1, 999, &major) &&
	        read_number(yyjson_obj_get(volume, "recovery_timeline"), 0, UINT32_MAX - 1, &timeline) &&
	        timeline % 2 == 0 && yyjson_is_bool(hygiene) &&
	        read_number(
	                yyjson_obj_get(volume, "applied_revision"), 0, INT64_MAX, &record.applied_revision) &&
	        read_number(yyjson_obj_get(volume, "created_usec"), 0, INT64_MAX, &record.created_usec);
	if (!is_valid)
		return error_set(err, STATUS_CORRUPT, 0,
		        "the volume record lacks a member or has one of a wrong type");
	record.postgres_major = (int)major;
	record.recovery_timeline = (uint32_t)timeline;
	record.needs_hygiene = yyjson_get_bool(hygiene);
	*ret = record;
	return STATUS_OK;
}

status volume_record_format(const struct volume_record *record, struct buffer *out, struct error *err)
{
	CLEANUP(free_mutable) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *volume = yyjson_mut_obj(doc);
	bool is_built =
	        yyjson_mut_obj_add_str(doc, volume, "id", record->id) &&
	        yyjson_mut_obj_add_str(doc, volume, "parent_id", record->parent_id) &&
	        yyjson_mut_obj_add_int(doc, volume, "postgres_major", record->postgres_major) &&
	        yyjson_mut_obj_add_uint(doc, volume, "recovery_timeline", record->recovery_timeline) &&
	        yyjson_mut_obj_add_bool(doc, volume, "needs_hygiene", record->needs_hygiene) &&
	        yyjson_mut_obj_add_int(doc, volume, "applied_revision", record->applied_revision) &&
	        yyjson_mut_obj_add_int(doc, volume, "created_usec", record->created_usec);
	size_t len = 0;
	CLEANUP(free_text) char *minified = is_built ? yyjson_mut_val_write(volume, 0, &len) : NULL;
	if (!minified)
		return error_set(err, STATUS_INVALID, 0, "the volume record is not valid text");
	buffer_printf(out, "{\"version\":%d,\"crc32c\":\"%08x\",\"volume\":%s}\n", VOLUME_RECORD_VERSION,
	        crc32c(minified, len), minified);
	return STATUS_OK;
}

status volume_record_read(const char *folder, struct volume_record *ret, struct error *err)
{
	CLEANUP(free_text) char *path = xasprintf("%s/" RECORD_NAME, folder);
	CLEANUP(buffer_done) struct buffer text = { 0 };
	status st = file_read(path, VOLUME_RECORD_MAX_BYTES, &text, err);
	if (st == STATUS_NOT_FOUND || st == STATUS_LIMIT)
		return error_set(err, STATUS_CORRUPT, 0, "file \"%s\" is missing or too large", path);
	if (st == STATUS_OK)
		st = volume_record_parse(buffer_slice(&text), ret, err);
	return st == STATUS_OK ? STATUS_OK : error_prefix(err, "volume record \"%s\"", path);
}

status volume_record_write(const char *folder, const struct volume_record *record, struct error *err)
{
	CLEANUP(free_text) char *path = xasprintf("%s/" RECORD_NAME, folder);
	CLEANUP(buffer_done) struct buffer text = { 0 };
	status st = volume_record_format(record, &text, err);
	return st == STATUS_OK ? file_replace_durably(path, buffer_slice(&text), 0600, err) : st;
}
