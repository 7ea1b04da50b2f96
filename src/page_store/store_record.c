#include "page_store/store_record.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/number.h"
#include "page_store/crc32c.h"
#include "page_store/disk.h"
#include "page_store/stack.h"

bool store_name_is_valid(const char *name, size_t max)
{
	size_t len = strnlen(name, max + 1);
	return len >= 1 && len <= max && name[0] != '-' && name[0] != '_' && name[0] != '.' &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == len;
}

void store_record_done(struct store_record *record)
{
	yyjson_doc_free(record->doc);
	*record = (struct store_record){ 0 };
}

static bool checksum_fits(yyjson_val *value, const char *expected)
{
	size_t len;
	CLEANUP(free_text) char *minified = yyjson_val_write(value, 0, &len);
	if (!minified || !expected)
		return false;
	char text[9];
	(void)snprintf(text, sizeof text, "%08x", crc32c(minified, len));
	return strcmp(text, expected) == 0;
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

status store_record_parse(struct slice text, const char *kind, int oldest, int newest,
        struct store_record *ret, struct error *err)
{
	CLEANUP(store_record_done) struct store_record record = { 0 };
	if (text.len > 0)
		record.doc = yyjson_read((const char *)text.data, text.len, 0);
	yyjson_val *root = yyjson_doc_get_root(record.doc);
	int64_t version;
	if (!read_number(yyjson_obj_get(root, "version"), 1, INT32_MAX, &version))
		return error_set(err, STATUS_CORRUPT, 0, "the %s record is not one", kind);
	if (version > newest)
		return error_set(err, STATUS_UNSUPPORTED, 0,
		        "the %s record has version %d, made by a newer Tarn; this one knows %d", kind,
		        (int)version, newest);
	if (version < oldest)
		return error_set(err, STATUS_UNSUPPORTED, 0,
		        "the %s record has version %d, which this Tarn no longer knows", kind, (int)version);
	record.version = (int)version;
	record.value = yyjson_obj_get(root, kind);
	if (!yyjson_is_obj(record.value) ||
	        !checksum_fits(record.value, yyjson_get_str(yyjson_obj_get(root, "crc32c"))))
		return error_set(err, STATUS_CORRUPT, 0, "the checksum of the %s record is wrong", kind);
	*ret = record;
	record = (struct store_record){ 0 };
	return STATUS_OK;
}

static bool read_text(yyjson_val *value, char *ret, size_t size)
{
	const char *text = yyjson_get_str(value);
	size_t len = yyjson_get_len(value);
	if (!text || len >= size || strlen(text) != len)
		return false;
	memcpy(ret, text, len + 1);
	return true;
}

static bool read_name(yyjson_val *value, char *ret, size_t size)
{
	const char *text = yyjson_get_str(value);
	return text && store_name_is_valid(text, size - 1) && read_text(value, ret, size);
}

bool store_record_get_text(const struct store_record *record, const char *name, char *ret, size_t size)
{
	return read_text(yyjson_obj_get(record->value, name), ret, size);
}

bool store_record_get_name(const struct store_record *record, const char *name, char *ret, size_t size)
{
	return read_name(yyjson_obj_get(record->value, name), ret, size);
}

bool store_record_get_number(
        const struct store_record *record, const char *name, int64_t min, int64_t max, int64_t *ret)
{
	return read_number(yyjson_obj_get(record->value, name), min, max, ret);
}

bool store_record_get_lsn(const struct store_record *record, const char *name, uint64_t *ret)
{
	yyjson_val *value = yyjson_obj_get(record->value, name);
	const char *text = yyjson_get_str(value);
	return text && lsn_parse((struct slice){ (const uint8_t *)text, yyjson_get_len(value) }, ret);
}

bool store_record_get_bool(const struct store_record *record, const char *name, bool *ret)
{
	yyjson_val *value = yyjson_obj_get(record->value, name);
	if (!yyjson_is_bool(value))
		return false;
	*ret = yyjson_get_bool(value);
	return true;
}

static bool read_layer(yyjson_val *value, struct layer_ref *ret)
{
	int64_t version;
	if (!read_name(yyjson_obj_get(value, "store"), ret->store, sizeof ret->store) ||
	        !read_name(yyjson_obj_get(value, "id"), ret->id, sizeof ret->id) ||
	        !read_number(yyjson_obj_get(value, "version"), 0, UINT32_MAX, &version))
		return false;
	ret->version = (uint32_t)version;
	return true;
}

bool store_record_get_layers(
        const struct store_record *record, const char *name, struct layer_ref **ret, size_t *ret_count)
{
	yyjson_val *list = yyjson_obj_get(record->value, name);
	size_t count = yyjson_arr_size(list);
	if (!yyjson_is_arr(list) || count == 0 || count > STACK_LAYERS_MAX)
		return false;
	struct layer_ref *layers = xcalloc(count, sizeof *layers);
	size_t index, max;
	yyjson_val *item;
	yyjson_arr_foreach(list, index, max, item)
	{
		if (!read_layer(item, &layers[index])) {
			free(layers);
			return false;
		}
	}
	*ret = layers;
	*ret_count = count;
	return true;
}

void store_record_writer_start(struct store_record_writer *writer)
{
	writer->doc = yyjson_mut_doc_new(NULL);
	writer->value = yyjson_mut_obj(writer->doc);
	if (!writer->value)
		abort(); /* as xcalloc() does */
}

void store_record_writer_done(struct store_record_writer *writer)
{
	yyjson_mut_doc_free(writer->doc);
	*writer = (struct store_record_writer){ 0 };
}

static void must_be_added(bool is_added)
{
	if (!is_added)
		abort(); /* out of memory */
}

void store_record_add_text(struct store_record_writer *writer, const char *name, const char *text)
{
	must_be_added(yyjson_mut_obj_add_strcpy(writer->doc, writer->value, name, text));
}

void store_record_add_number(struct store_record_writer *writer, const char *name, int64_t number)
{
	must_be_added(yyjson_mut_obj_add_int(writer->doc, writer->value, name, number));
}

void store_record_add_lsn(struct store_record_writer *writer, const char *name, uint64_t lsn)
{
	char text[LSN_TEXT_MAX];
	lsn_format(lsn, text);
	store_record_add_text(writer, name, text);
}

void store_record_add_bool(struct store_record_writer *writer, const char *name, bool value)
{
	must_be_added(yyjson_mut_obj_add_bool(writer->doc, writer->value, name, value));
}

void store_record_add_layers(
        struct store_record_writer *writer, const char *name, const struct layer_ref *layers, size_t count)
{
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(writer->doc, writer->value, name);
	must_be_added(list != NULL);
	for (size_t i = 0; i < count; i++) {
		yyjson_mut_val *item = yyjson_mut_arr_add_obj(writer->doc, list);
		must_be_added(item &&
		              yyjson_mut_obj_add_strcpy(writer->doc, item, "store", layers[i].store) &&
		              yyjson_mut_obj_add_strcpy(writer->doc, item, "id", layers[i].id) &&
		              yyjson_mut_obj_add_uint(writer->doc, item, "version", layers[i].version));
	}
}

void store_record_format(
        struct store_record_writer *writer, const char *kind, int version, struct buffer *out)
{
	size_t len = 0;
	CLEANUP(free_text) char *minified = yyjson_mut_val_write(writer->value, 0, &len);
	assert(minified); /* all texts were names or checked ones */
	buffer_printf(out, "{\"version\":%d,\"crc32c\":\"%08x\",\"%s\":%s}\n", version, crc32c(minified, len),
	        kind, minified);
}

status store_record_read_file(int folder_fd, const char *name, struct buffer *text, struct error *err)
{
	int fd = disk_open(folder_fd, name, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0)
		return error_set(err, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, errno,
		        "could not open file \"%s\"", name);
	status st = STATUS_OK;
	struct stat file;
	if (disk_stat(fd, &file) < 0)
		st = error_set(err, STATUS_IO, errno, "could not look at file \"%s\"", name);
	else if (!S_ISREG(file.st_mode) || file.st_size > STORE_RECORD_MAX_BYTES)
		st = error_set(err, STATUS_CORRUPT, 0, "file \"%s\" is not a file or too large", name);
	if (st == STATUS_OK) {
		size_t size = (size_t)file.st_size;
		buffer_reserve(text, size + 1);
		ssize_t n = disk_read(fd, text->data + text->len, size, 0);
		if (n < 0)
			st = error_set(err, STATUS_IO, errno, "could not read file \"%s\"", name);
		else
			text->len += (size_t)n;
		text->data[text->len] = '\0';
	}
	(void)disk_close(fd);
	return st;
}

static status write_file(int folder_fd, const char *name, struct slice text, struct error *err)
{
	int fd = disk_open(folder_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		return error_set(err, STATUS_IO, errno, "could not create file \"%s\"", name);
	status st = STATUS_OK;
	if (disk_write(fd, text.data, text.len, 0) < 0)
		st = error_set(err, STATUS_IO, errno, "could not write file \"%s\"", name);
	else if (disk_sync(fd) < 0)
		st = error_set(err, STATUS_IO, errno, "could not sync file \"%s\"", name);
	(void)disk_close(fd);
	return st;
}

status store_record_replace_file(int folder_fd, const char *name, struct slice text, struct error *err)
{
	CLEANUP(free_text) char *temporary = xasprintf("%s.new", name);
	status st = write_file(folder_fd, temporary, text, err);
	if (st == STATUS_OK && disk_rename(folder_fd, temporary, name) < 0)
		st = error_set(err, STATUS_IO, errno, "could not rename file \"%s\"", temporary);
	if (st != STATUS_OK) {
		(void)!disk_unlink(folder_fd, temporary); /* the first failure is the one worth telling */
		return st;
	}
	if (disk_sync(folder_fd) < 0)
		return error_set(err, STATUS_IO, errno, "could not sync the folder of file \"%s\"", name);
	return STATUS_OK;
}
