/*
 * The format (docs/formats/volume.md), as a store record, version 2:
 *
 *   {"id":"br-b","store":"…","parent_id":"br-a","postgres_major":17,"recovery_timeline":2,"needs_hygiene":true,"applied_revision":0,
 *    "created_usec":1795375728453065}
 *
 * Version 1 had no store: the volume was a folder of plain files.
 */
#include "page_store/volume_record.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "page_store/store_record.h"

#define RECORD_NAME     "volume.json"
#define RECORD_VERSION1 1

static status refuse_version1(struct error *err)
{
	status st = error_set(err, STATUS_UNSUPPORTED, 0,
	        "the volume has format 1: it was made by Tarn 0.1 from before the page store, which kept "
	        "volumes as "
	        "copied files");
	error_hint(err, "Run that version (commit 865704c is its last) on this data directory, dump the "
	                "databases with"
	                " pg_dump, and restore the dumps into a new project.");
	return st;
}

status volume_record_parse(struct slice text, struct volume_record *ret, struct error *err)
{
	CLEANUP(store_record_done) struct store_record json = { 0 };
	status st = store_record_parse(text, "volume", RECORD_VERSION1, VOLUME_RECORD_VERSION, &json, err);
	if (st != STATUS_OK)
		return st;
	if (json.version == RECORD_VERSION1)
		return refuse_version1(err);
	struct volume_record record = { 0 };
	int64_t major, timeline;
	bool is_valid =
	        store_record_get_name(&json, "id", record.id, sizeof record.id) &&
	        store_record_get_name(&json, "store", record.store, sizeof record.store) &&
	        store_record_get_text(&json, "parent_id", record.parent_id, sizeof record.parent_id) &&
	        (!record.parent_id[0] || store_name_is_valid(record.parent_id, VOLUME_ID_MAX)) &&
	        store_record_get_number(&json, "postgres_major", 1, 999, &major) &&
	        store_record_get_number(&json, "recovery_timeline", 0, UINT32_MAX - 1, &timeline) &&
	        timeline % 2 == 0 && store_record_get_bool(&json, "needs_hygiene", &record.needs_hygiene) &&
	        store_record_get_number(&json, "applied_revision", 0, INT64_MAX, &record.applied_revision) &&
	        store_record_get_number(&json, "created_usec", 0, INT64_MAX, &record.created_usec);
	if (!is_valid)
		return error_set(err, STATUS_CORRUPT, 0,
		        "the volume record lacks a member or has one that is not valid");
	record.postgres_major = (int)major;
	record.recovery_timeline = (uint32_t)timeline;
	*ret = record;
	return STATUS_OK;
}

void volume_record_format(const struct volume_record *record, struct buffer *out)
{
	CLEANUP(store_record_writer_done) struct store_record_writer writer;
	store_record_writer_start(&writer);
	store_record_add_text(&writer, "id", record->id);
	store_record_add_text(&writer, "store", record->store);
	store_record_add_text(&writer, "parent_id", record->parent_id);
	store_record_add_number(&writer, "postgres_major", record->postgres_major);
	store_record_add_number(&writer, "recovery_timeline", record->recovery_timeline);
	store_record_add_bool(&writer, "needs_hygiene", record->needs_hygiene);
	store_record_add_number(&writer, "applied_revision", record->applied_revision);
	store_record_add_number(&writer, "created_usec", record->created_usec);
	store_record_format(&writer, "volume", VOLUME_RECORD_VERSION, out);
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
	volume_record_format(record, &text);
	return file_replace_durably(path, buffer_slice(&text), 0600, err);
}
