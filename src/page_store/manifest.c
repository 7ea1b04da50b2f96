/* The bytes are in docs/formats/layer.md. */
#include "page_store/manifest.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>

#include "base/number.h"
#include "page_store/crc32c.h"
#include "page_store/disk.h"
#include "page_store/little_endian.h"

#define FORMAT_VERSION 1
#define TRAILER_BYTES  8u /* CRC and zeros */

/* Places in the header. */
enum {
	AT_FORMAT = 8,
	AT_VERSION = 12,
	AT_TAG = 16,
	AT_NEXT_INODE = 24,
	AT_TREE_BYTES = 32,
	AT_FILE_COUNT = 40,
	AT_ENTRY_COUNT = 48,
	AT_IS_FOLD = 56,
	AT_LOWER_VERSION = 60,
	AT_UPPER_VERSION = 64,
	AT_ID = 72,
	AT_UPPER_ID = AT_ID + LAYER_ID_MAX + 1,
	AT_UPPER_STORE = AT_UPPER_ID + LAYER_ID_MAX + 1,
	AT_REST = AT_UPPER_STORE + STORE_ID_MAX + 1, /* zeros */
	AT_CRC = MANIFEST_HEADER_BYTES - 4,
};

static const char magic[8] = "TARNMNFT";

void manifest_name(char out[MANIFEST_NAME_BYTES], uint32_t version)
{
	(void)snprintf(out, MANIFEST_NAME_BYTES, "manifest.%u", version);
}

bool manifest_name_parse(const char *name, uint32_t *ret_version)
{
	static const char start[] = "manifest.";
	size_t len = sizeof start - 1;
	int64_t version = 0;
	if (strncmp(name, start, len) != 0 || (name[len] == '0' && name[len + 1]) ||
	        !number_parse(slice_from_text(name + len), 0, UINT32_MAX, &version))
		return false;
	*ret_version = (uint32_t)version;
	return true;
}

static size_t padded(size_t len)
{
	return (len + 7) & ~(size_t)7;
}

/* ---- writing ---- */

struct manifest_writer {
	uint64_t tag, next_inode;
	struct manifest_origin origin;
	struct buffer tree, files, entries;
	uint64_t file_count, entry_count, last_inode;
};

struct manifest_writer *manifest_writer_new(uint64_t layer_tag, uint64_t next_inode)
{
	struct manifest_writer *writer = xcalloc(1, sizeof *writer);
	writer->tag = layer_tag;
	writer->next_inode = next_inode;
	return writer;
}

void manifest_writer_set_origin(struct manifest_writer *writer, const struct manifest_origin *origin)
{
	writer->origin = *origin;
}

void manifest_writer_add_tree(struct manifest_writer *writer, struct slice changes)
{
	buffer_append(&writer->tree, changes.data, changes.len);
}

void manifest_writer_add_file(struct manifest_writer *writer, uint64_t inode, uint32_t shadow_block,
        const struct page_entry *entries, size_t count)
{
	assert(inode > writer->last_inode && inode < writer->next_inode);
	assert(shadow_block <= PAGE_BLOCKS_MAX && count <= PAGE_BLOCKS_MAX);
	writer->last_inode = inode;
	uint8_t file[MANIFEST_FILE_BYTES];
	put_le64(file, inode);
	put_le32(file + 8, shadow_block);
	put_le32(file + 12, (uint32_t)count);
	put_le64(file + 16, writer->entry_count);
	buffer_append(&writer->files, file, sizeof file);
	writer->file_count++;
	writer->entry_count += count;
	buffer_reserve(&writer->entries, count * PAGE_ENTRY_BYTES);
	for (size_t i = 0; i < count; i++) {
		assert(i == 0 || entries[i].block > entries[i - 1].block);
		uint8_t packed[PAGE_ENTRY_BYTES];
		page_entry_pack(&entries[i], packed);
		buffer_append(&writer->entries, packed, sizeof packed);
	}
}

static void put_text(uint8_t *out, const char *text)
{
	memcpy(out, text, strlen(text)); /* zeros are behind it */
}

static void header_encode(
        const struct manifest_writer *writer, const struct layer_ref *ref, uint8_t out[MANIFEST_HEADER_BYTES])
{
	memset(out, 0, MANIFEST_HEADER_BYTES);
	memcpy(out, magic, sizeof magic);
	put_le32(out + AT_FORMAT, FORMAT_VERSION);
	put_le32(out + AT_VERSION, ref->version);
	put_le64(out + AT_TAG, writer->tag);
	put_le64(out + AT_NEXT_INODE, writer->next_inode);
	put_le64(out + AT_TREE_BYTES, writer->tree.len);
	put_le64(out + AT_FILE_COUNT, writer->file_count);
	put_le64(out + AT_ENTRY_COUNT, writer->entry_count);
	put_text(out + AT_ID, ref->id);
	if (writer->origin.is_fold) {
		put_le32(out + AT_IS_FOLD, 1);
		put_le32(out + AT_LOWER_VERSION, writer->origin.lower_version);
		put_le32(out + AT_UPPER_VERSION, writer->origin.upper.version);
		put_text(out + AT_UPPER_ID, writer->origin.upper.id);
		put_text(out + AT_UPPER_STORE, writer->origin.upper.store);
	}
	put_le32(out + AT_CRC, crc32c(out, AT_CRC));
}

/* The parts of the file, in order. */
#define PARTS 6
static void list_parts(const struct manifest_writer *writer, const struct layer_ref *ref,
        uint8_t header[MANIFEST_HEADER_BYTES], uint8_t trailer[TRAILER_BYTES], struct slice ret[PARTS])
{
	static const uint8_t zeros[8];
	header_encode(writer, ref, header);
	ret[0] = (struct slice){ header, MANIFEST_HEADER_BYTES };
	ret[1] = buffer_slice(&writer->tree);
	ret[2] = (struct slice){ zeros, padded(writer->tree.len) - writer->tree.len };
	ret[3] = buffer_slice(&writer->files);
	ret[4] = buffer_slice(&writer->entries);
	uint32_t crc = 0;
	for (size_t i = 1; i < 5; i++)
		crc = crc32c_more(crc, ret[i].data, ret[i].len);
	memset(trailer, 0, TRAILER_BYTES);
	put_le32(trailer, crc);
	ret[5] = (struct slice){ trailer, TRAILER_BYTES };
}

void manifest_writer_format(
        const struct manifest_writer *writer, const struct layer_ref *ref, struct buffer *out)
{
	uint8_t header[MANIFEST_HEADER_BYTES], trailer[TRAILER_BYTES];
	struct slice parts[PARTS];
	list_parts(writer, ref, header, trailer, parts);
	for (size_t i = 0; i < PARTS; i++)
		buffer_append(out, parts[i].data, parts[i].len);
}

static status publish(
        const struct manifest_writer *writer, int folder_fd, const struct layer_ref *ref, struct error *err)
{
	char name[MANIFEST_NAME_BYTES], fresh[MANIFEST_NAME_BYTES + 4];
	manifest_name(name, ref->version);
	(void)snprintf(fresh, sizeof fresh, "%s.new", name);
	CLEANUP(disk_close_fd) int fd = disk_open(folder_fd, fresh, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		return error_set(
		        err, STATUS_IO, errno, "could not create the manifest of layer \"%s\"", ref->id);
	uint8_t header[MANIFEST_HEADER_BYTES], trailer[TRAILER_BYTES];
	struct slice parts[PARTS];
	list_parts(writer, ref, header, trailer, parts);
	uint64_t at = 0;
	for (size_t i = 0; i < PARTS; at += parts[i].len, i++) {
		if (parts[i].len > 0 && disk_write(fd, parts[i].data, parts[i].len, at) < 0) {
			status s = error_set(err, STATUS_IO, errno,
			        "could not write the manifest of layer \"%s\"", ref->id);
			if (disk_unlink(folder_fd, fresh) < 0)
				error_hint(err, "A half-written \"%s\" stays until the next attempt.", fresh);
			return s;
		}
	}
	if (disk_sync(fd) < 0 || disk_rename(folder_fd, fresh, name) < 0 || disk_sync(folder_fd) < 0)
		return error_set(
		        err, STATUS_IO, errno, "could not sync the manifest of layer \"%s\"", ref->id);
	return STATUS_OK;
}

status manifest_writer_publish(
        struct manifest_writer *writer, int folder_fd, const struct layer_ref *ref, struct error *err)
{
	status s = publish(writer, folder_fd, ref, err);
	manifest_writer_free(writer);
	return s;
}

void manifest_writer_free(struct manifest_writer *writer)
{
	if (!writer)
		return;
	buffer_done(&writer->tree);
	buffer_done(&writer->files);
	buffer_done(&writer->entries);
	free(writer);
}

/* ---- reading ---- */

static status corrupt(const struct layer_ref *ref, struct error *err, const char *what)
{
	return error_set(err, STATUS_CORRUPT, 0, "the manifest of layer \"%s\", version %u, is damaged: %s",
	        ref->id, ref->version, what);
}

/* Text of `size` bytes with its NUL, and nothing but zeros behind; NULL: not so. */
static const char *text_at(const uint8_t *bytes, size_t size)
{
	const uint8_t *end = memchr(bytes, 0, size);
	if (!end)
		return NULL;
	for (const uint8_t *p = end; p < bytes + size; p++) {
		if (*p)
			return NULL;
	}
	return (const char *)bytes;
}

static status check_header(
        const uint8_t *bytes, const struct layer_ref *ref, struct manifest *manifest, struct error *err)
{
	if (memcmp(bytes, magic, sizeof magic) != 0)
		return corrupt(ref, err, "it is not a manifest");
	if (read_le32(bytes + AT_FORMAT) > FORMAT_VERSION) {
		status s = error_set(err, STATUS_UNSUPPORTED, 0,
		        "the manifest of layer \"%s\" has format %u, this Tarn knows %d", ref->id,
		        read_le32(bytes + AT_FORMAT), FORMAT_VERSION);
		error_hint(err, "A newer Tarn made it: use that one.");
		return s;
	}
	if (read_le32(bytes + AT_CRC) != crc32c(bytes, AT_CRC) ||
	        read_le32(bytes + AT_FORMAT) != FORMAT_VERSION)
		return corrupt(ref, err, "the header's checksum");
	const char *id = text_at(bytes + AT_ID, LAYER_ID_MAX + 1);
	if (!id || strcmp(id, ref->id) != 0 || read_le32(bytes + AT_VERSION) != ref->version)
		return corrupt(ref, err, "it is another layer's, or of another version");
	const char *upper_id = text_at(bytes + AT_UPPER_ID, LAYER_ID_MAX + 1);
	const char *upper_store = text_at(bytes + AT_UPPER_STORE, STORE_ID_MAX + 1);
	uint32_t is_fold = read_le32(bytes + AT_IS_FOLD);
	if (is_fold > 1 || !upper_id || !upper_store || (is_fold == 1) != (upper_id[0] != '\0'))
		return corrupt(ref, err, "what it was folded from");
	manifest->tag = read_le64(bytes + AT_TAG);
	manifest->next_inode = read_le64(bytes + AT_NEXT_INODE);
	manifest->origin.is_fold = is_fold;
	manifest->origin.lower_version = read_le32(bytes + AT_LOWER_VERSION);
	manifest->origin.upper.version = read_le32(bytes + AT_UPPER_VERSION);
	memcpy(manifest->origin.upper.id, upper_id, strlen(upper_id) + 1);
	memcpy(manifest->origin.upper.store, upper_store, strlen(upper_store) + 1);
	return STATUS_OK;
}

static status check_tree(const struct manifest *manifest, const struct layer_ref *ref, struct error *err)
{
	struct slice rest = manifest->tree;
	while (rest.len > 0) {
		struct change change;
		struct error wrong;
		if (change_decode(&rest, &change, &wrong) != STATUS_OK)
			return corrupt(ref, err, wrong.message);
		if (change.type != CHANGE_INODE && change.type != CHANGE_NAME)
			return corrupt(ref, err, "there is something else in the tree");
		if (change.inode >= manifest->next_inode || change.parent >= manifest->next_inode)
			return corrupt(ref, err, "an inode of the tree");
	}
	return STATUS_OK;
}

static status check_files(const struct manifest *manifest, const struct layer_ref *ref, struct error *err)
{
	uint64_t last_inode = 0, entries = 0;
	for (size_t i = 0; i < manifest->file_count; i++) {
		const uint8_t *file = manifest->files + i * MANIFEST_FILE_BYTES;
		uint64_t inode = read_le64(file);
		uint32_t count = read_le32(file + 12);
		if (inode <= last_inode || inode >= manifest->next_inode)
			return corrupt(ref, err, "the order of files");
		if (read_le32(file + 8) > PAGE_BLOCKS_MAX || read_le64(file + 16) != entries ||
		        count > manifest->entry_count - entries)
			return corrupt(ref, err, "the pages of a file");
		const uint8_t *entry = manifest->entries + entries * PAGE_ENTRY_BYTES;
		int64_t last_block = -1;
		for (uint32_t j = 0; j < count; j++, entry += PAGE_ENTRY_BYTES) {
			uint32_t block = read_le32(entry) & (uint32_t)(PAGE_BLOCKS_MAX - 1);
			if (block <= last_block)
				return corrupt(ref, err, "the order of pages");
			last_block = block;
		}
		last_inode = inode;
		entries += count;
	}
	if (entries != manifest->entry_count)
		return corrupt(ref, err, "the number of pages");
	return STATUS_OK;
}

status manifest_check(
        struct slice bytes, const struct layer_ref *ref, struct manifest *ret, struct error *err)
{
	struct manifest manifest = { .fd = -1 };
	if (bytes.len < MANIFEST_HEADER_BYTES + TRAILER_BYTES)
		return corrupt(ref, err, "it is cut off");
	status s = check_header(bytes.data, ref, &manifest, err);
	if (s != STATUS_OK)
		return s;

	uint64_t tree_bytes = read_le64(bytes.data + AT_TREE_BYTES),
	         file_count = read_le64(bytes.data + AT_FILE_COUNT),
	         entry_count = read_le64(bytes.data + AT_ENTRY_COUNT);
	/* Each alone is below the length, so the sum cannot overflow. */
	if (tree_bytes > bytes.len || file_count > bytes.len / MANIFEST_FILE_BYTES ||
	        entry_count > bytes.len / PAGE_ENTRY_BYTES ||
	        MANIFEST_HEADER_BYTES + padded(tree_bytes) + file_count * MANIFEST_FILE_BYTES +
	                        entry_count * PAGE_ENTRY_BYTES + TRAILER_BYTES !=
	                bytes.len)
		return corrupt(ref, err, "its length");
	const uint8_t *trailer = bytes.data + bytes.len - TRAILER_BYTES;
	const uint8_t *body = bytes.data + MANIFEST_HEADER_BYTES;
	if (read_le32(trailer) != crc32c(body, (size_t)(trailer - body)) || read_le32(trailer + 4) != 0)
		return corrupt(ref, err, "its checksum");

	manifest.tree = (struct slice){ body, tree_bytes };
	manifest.files = body + padded(tree_bytes);
	manifest.file_count = file_count;
	manifest.entries = manifest.files + file_count * MANIFEST_FILE_BYTES;
	manifest.entry_count = entry_count;
	s = check_tree(&manifest, ref, err);
	if (s == STATUS_OK)
		s = check_files(&manifest, ref, err);
	if (s == STATUS_OK)
		*ret = manifest;
	return s;
}

static status open_and_check(int fd, const struct layer_ref *ref, void **mapped, size_t *len,
        struct manifest *ret, struct error *err)
{
	if (disk_lock(fd, LOCK_SH | LOCK_NB) < 0) {
		bool is_locked = errno == EWOULDBLOCK;
		return error_set(err, is_locked ? STATUS_UNAVAILABLE : STATUS_IO, is_locked ? 0 : errno,
		        "could not lock the manifest of layer \"%s\", version %u%s", ref->id, ref->version,
		        is_locked ? ": it is being removed" : "");
	}
	struct stat st;
	if (disk_stat(fd, &st) < 0)
		return error_set(
		        err, STATUS_IO, errno, "could not read the manifest of layer \"%s\"", ref->id);
	if (st.st_nlink == 0) /* gone between opening and locking */
		return error_set(err, STATUS_NOT_FOUND, 0, "layer \"%s\" has no version %u any more", ref->id,
		        ref->version);
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)MANIFEST_HEADER_BYTES)
		return corrupt(ref, err, "it is cut off");
	void *bytes = disk_map(fd, (size_t)st.st_size);
	if (bytes == MAP_FAILED)
		return error_set(
		        err, STATUS_IO, errno, "could not map the manifest of layer \"%s\"", ref->id);
	*mapped = bytes;
	*len = (size_t)st.st_size;
	return manifest_check((struct slice){ bytes, *len }, ref, ret, err);
}

status manifest_open(int folder_fd, const struct layer_ref *ref, struct manifest *ret, struct error *err)
{
	char name[MANIFEST_NAME_BYTES];
	manifest_name(name, ref->version);
	CLEANUP(disk_close_fd) int fd = disk_open(folder_fd, name, O_RDONLY, 0);
	if (fd < 0)
		return error_set(err, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, errno,
		        "could not open the manifest of layer \"%s\", version %u", ref->id, ref->version);
	struct manifest manifest = { 0 };
	void *mapped = NULL;
	size_t len = 0;
	status s = open_and_check(fd, ref, &mapped, &len, &manifest, err);
	if (s != STATUS_OK) {
		if (mapped)
			disk_unmap(mapped, len);
		return s;
	}
	manifest.fd = TAKE_FD(fd);
	manifest.mapped = mapped;
	manifest.len = len;
	*ret = manifest;
	return STATUS_OK;
}

status manifest_peek(int folder_fd, const struct layer_ref *ref, uint64_t *ret_entry_count, struct error *err)
{
	char name[MANIFEST_NAME_BYTES];
	manifest_name(name, ref->version);
	CLEANUP(disk_close_fd) int fd = disk_open(folder_fd, name, O_RDONLY, 0);
	uint8_t header[MANIFEST_HEADER_BYTES] = { 0 };
	if (fd < 0 || disk_read(fd, header, sizeof header, 0) < 0)
		return error_set(err, STATUS_IO, errno,
		        "could not read the manifest of layer \"%s\", version %u", ref->id, ref->version);
	*ret_entry_count = read_le64(header + AT_ENTRY_COUNT);
	return STATUS_OK;
}

void manifest_close(struct manifest *manifest)
{
	if (manifest->mapped)
		disk_unmap(manifest->mapped, manifest->len);
	if (manifest->fd >= 0)
		(void)disk_close(manifest->fd);
	*manifest = (struct manifest){ .fd = -1 };
}

struct layer_file manifest_file_at(const struct manifest *manifest, size_t index)
{
	assert(index < manifest->file_count);
	const uint8_t *file = manifest->files + index * MANIFEST_FILE_BYTES;
	return (struct layer_file){ .inode = read_le64(file),
		.shadow_block = read_le32(file + 8),
		.entry_count = read_le32(file + 12),
		.entries = manifest->entries + read_le64(file + 16) * PAGE_ENTRY_BYTES };
}
