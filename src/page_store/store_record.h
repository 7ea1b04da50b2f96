/*
 * Store record: the envelope of all small JSON files of a store and of volume.json (docs/formats/store.md):
 *
 *   {"version":1,"crc32c":"8 hex digits","stack":{…}}
 *
 * where crc32c is that of the text of the last member in minified form, its members in the order in which they were written. What does not fit
 * is STATUS_CORRUPT, a higher version STATUS_UNSUPPORTED; nothing is guessed. Replacing is durable and leaves the old file when it fails.
 */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "base/buffer.h"
#include "page_store/layer.h"

#define STORE_RECORD_MAX_BYTES (4u << 20)

/* A name that cannot lead out of its folder: letters, digits, '-', '_', '.', first a letter or digit, at most max bytes. */
bool store_name_is_valid(const char *name, size_t max);

struct store_record {
	yyjson_doc *doc;
	yyjson_val *value; /* the member that the record is about: an object */
	int version;
};
void store_record_done(struct store_record *record); /* for CLEANUP */
/* `kind` is the name of the member, and of the record in messages; versions from oldest to newest are taken. */
MUST_CHECK status store_record_parse(struct slice text, const char *kind, int oldest, int newest,
        struct store_record *ret, struct error *err);
/* Members by name; false when it is missing, of another type or out of its range. */
bool store_record_get_text(const struct store_record *record, const char *name, char *ret, size_t size);
bool store_record_get_name(const struct store_record *record, const char *name, char *ret, size_t size);
bool store_record_get_number(
        const struct store_record *record, const char *name, int64_t min, int64_t max, int64_t *ret);
bool store_record_get_lsn(const struct store_record *record, const char *name, uint64_t *ret);
bool store_record_get_bool(const struct store_record *record, const char *name, bool *ret);
/* A list of at least one layer; the caller frees *ret. */
bool store_record_get_layers(
        const struct store_record *record, const char *name, struct layer_ref **ret, size_t *ret_count);

/* Writing: an object to add to, then its text. What is added must be valid text. */
struct store_record_writer {
	yyjson_mut_doc *doc;
	yyjson_mut_val *value;
};
void store_record_writer_start(struct store_record_writer *writer);
void store_record_writer_done(struct store_record_writer *writer); /* for CLEANUP */
/* The texts are borrowed until the record is formatted. */
void store_record_add_text(struct store_record_writer *writer, const char *name, const char *text);
void store_record_add_number(struct store_record_writer *writer, const char *name, int64_t number);
void store_record_add_lsn(struct store_record_writer *writer, const char *name, uint64_t lsn);
void store_record_add_bool(struct store_record_writer *writer, const char *name, bool value);
void store_record_add_layers(
        struct store_record_writer *writer, const char *name, const struct layer_ref *layers, size_t count);
void store_record_format(
        struct store_record_writer *writer, const char *kind, int version, struct buffer *out);

/* STATUS_NOT_FOUND when there is no such file. */
MUST_CHECK status store_record_read_file(
        int folder_fd, const char *name, struct buffer *text, struct error *err);
MUST_CHECK status store_record_replace_file(
        int folder_fd, const char *name, struct slice text, struct error *err);
