/* The bytes are in docs/formats/layer.md. */
#include "page_store/change.h"

#include <assert.h>
#include <sys/stat.h>

#include "page_store/little_endian.h"
#include "page_store/page.h"

#define BLOCK_MASK 0x7fffffffu

void page_entry_pack(const struct page_entry *entry, uint8_t out[PAGE_ENTRY_BYTES])
{
	assert(entry->block < PAGE_BLOCKS_MAX && entry->slot <= 1);
	put_le32(out, entry->block | entry->slot << 31);
	put_le32(out + 4, entry->crc);
}

struct page_entry page_entry_unpack(const uint8_t packed[PAGE_ENTRY_BYTES])
{
	uint32_t place = read_le32(packed);
	return (struct page_entry){
		.block = place & BLOCK_MASK, .slot = place >> 31, .crc = read_le32(packed + 4)
	};
}

static void append_le16(struct buffer *out, uint16_t value)
{
	uint8_t bytes[2];
	put_le16(bytes, value);
	buffer_append(out, bytes, sizeof bytes);
}

static void append_le32(struct buffer *out, uint32_t value)
{
	uint8_t bytes[4];
	put_le32(bytes, value);
	buffer_append(out, bytes, sizeof bytes);
}

static void append_le64(struct buffer *out, uint64_t value)
{
	uint8_t bytes[8];
	put_le64(bytes, value);
	buffer_append(out, bytes, sizeof bytes);
}

static void append_size_and_times(struct buffer *out, const struct change *change)
{
	append_le64(out, change->size);
	append_le64(out, (uint64_t)change->mtime_nsec);
	append_le64(out, (uint64_t)change->ctime_nsec);
}

static void append_name(struct buffer *out, const struct change *change)
{
	assert(change->name.len >= 1 && change->name.len <= CHANGE_NAME_MAX);
	uint8_t len = (uint8_t)change->name.len;
	append_le64(out, change->parent);
	buffer_append(out, &len, 1);
	buffer_append(out, change->name.data, change->name.len);
}

static void append_entries(struct buffer *out, const struct change *change)
{
	assert(change->entry_count <= PAGE_BLOCKS_MAX);
	append_le32(out, (uint32_t)change->entry_count);
	buffer_reserve(out, change->entry_count * PAGE_ENTRY_BYTES);
	if (!change->entries) {
		/* One that was decoded. */
		assert(change->packed_entries.len == change->entry_count * PAGE_ENTRY_BYTES);
		buffer_append(out, change->packed_entries.data, change->packed_entries.len);
		return;
	}
	for (size_t i = 0; i < change->entry_count; i++) {
		uint8_t packed[PAGE_ENTRY_BYTES];
		page_entry_pack(&change->entries[i], packed);
		buffer_append(out, packed, sizeof packed);
	}
}

void change_encode(const struct change *change, struct buffer *out)
{
	uint8_t type = (uint8_t)change->type;
	buffer_append(out, &type, 1);
	append_le64(out, change->inode);
	switch (change->type) {
	case CHANGE_INODE:
		assert(change->target.len <= CHANGE_TARGET_MAX);
		append_le32(out, change->mode);
		append_le32(out, change->uid);
		append_le32(out, change->gid);
		append_le32(out, change->device);
		append_size_and_times(out, change);
		append_le16(out, (uint16_t)change->target.len);
		buffer_append(out, change->target.data, change->target.len);
		break;
	case CHANGE_NAME:
	case CHANGE_NAME_GONE:
		append_name(out, change);
		break;
	case CHANGE_PAGES:
		append_size_and_times(out, change);
		append_entries(out, change);
		break;
	case CHANGE_TRUNCATE:
		append_size_and_times(out, change);
		append_le32(out, change->first_block);
		break;
	}
}

/* Takes fields off the front; one that is not there is zero, and is_short says so at the end. */
struct cursor {
	struct slice rest;
	bool is_short;
};

static struct slice take(struct cursor *cursor, size_t len)
{
	if (len > cursor->rest.len) {
		*cursor = (struct cursor){ .is_short = true };
		return (struct slice){ 0 };
	}
	struct slice taken = { .data = cursor->rest.data, .len = len };
	if (len == 0) /* there may be no bytes at all to point behind */
		return taken;
	cursor->rest = (struct slice){ .data = cursor->rest.data + len, .len = cursor->rest.len - len };
	return taken;
}

static uint8_t take_u8(struct cursor *cursor)
{
	struct slice s = take(cursor, 1);
	return s.len ? s.data[0] : 0;
}

static uint16_t take_le16(struct cursor *cursor)
{
	struct slice s = take(cursor, 2);
	return s.len ? read_le16(s.data) : 0;
}

static uint32_t take_le32(struct cursor *cursor)
{
	struct slice s = take(cursor, 4);
	return s.len ? read_le32(s.data) : 0;
}

static uint64_t take_le64(struct cursor *cursor)
{
	struct slice s = take(cursor, 8);
	return s.len ? read_le64(s.data) : 0;
}

static void take_size_and_times(struct cursor *cursor, struct change *ret)
{
	ret->size = take_le64(cursor);
	ret->mtime_nsec = (int64_t)take_le64(cursor);
	ret->ctime_nsec = (int64_t)take_le64(cursor);
}

static bool is_good_mode(uint32_t mode, size_t target_len)
{
	if (mode & ~(uint32_t)(S_IFMT | 07777))
		return false;
	switch (mode & S_IFMT) {
	case S_IFLNK:
		return target_len > 0;
	case S_IFREG:
	case S_IFDIR:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		return target_len == 0;
	default:
		return false;
	}
}

static bool is_good_name(struct slice name)
{
	return name.len > 0 && !memchr(name.data, '/', name.len) && !memchr(name.data, '\0', name.len) &&
	       !slice_equals_text(name, ".") && !slice_equals_text(name, "..");
}

status change_decode(struct slice *bytes, struct change *ret, struct error *err)
{
	struct cursor cursor = { .rest = *bytes };
	struct change change = { .type = (enum change_type)take_u8(&cursor) };
	const char *wrong = NULL;
	change.inode = take_le64(&cursor);
	switch (change.type) {
	case CHANGE_INODE:
		change.mode = take_le32(&cursor);
		change.uid = take_le32(&cursor);
		change.gid = take_le32(&cursor);
		change.device = take_le32(&cursor);
		take_size_and_times(&cursor, &change);
		size_t target_len = take_le16(&cursor);
		if (target_len > CHANGE_TARGET_MAX) {
			wrong = "the target of a link is too long";
			break;
		}
		change.target = take(&cursor, target_len);
		if (!is_good_mode(change.mode, target_len))
			wrong = "the mode is none";
		else if (change.target.len && memchr(change.target.data, '\0', change.target.len))
			wrong = "there is a NUL in the target of a link";
		break;
	case CHANGE_NAME:
	case CHANGE_NAME_GONE:
		change.parent = take_le64(&cursor);
		change.name = take(&cursor, take_u8(&cursor));
		if (!is_good_name(change.name))
			wrong = "the name is none";
		else if (change.parent == 0)
			wrong = "the folder is none";
		break;
	case CHANGE_PAGES:
		take_size_and_times(&cursor, &change);
		change.entry_count = take_le32(&cursor);
		if (change.entry_count > PAGE_BLOCKS_MAX) {
			wrong = "too many pages";
			break;
		}
		change.packed_entries = take(&cursor, change.entry_count * PAGE_ENTRY_BYTES);
		break;
	case CHANGE_TRUNCATE:
		take_size_and_times(&cursor, &change);
		change.first_block = take_le32(&cursor);
		if (change.first_block > PAGE_BLOCKS_MAX)
			wrong = "the block is too high";
		break;
	default:
		wrong = "its type is unknown";
	}
	if (cursor.is_short)
		return error_set(err, STATUS_CORRUPT, 0, "a change is cut off");
	if (!wrong && change.inode == 0)
		wrong = "the inode is none";
	if (!wrong && change.size > PAGE_BLOCKS_MAX * PAGE_BYTES)
		wrong = "the size is too high";
	if (wrong)
		return error_set(err, STATUS_CORRUPT, 0, "a change of inode %llu is wrong: %s",
		        (unsigned long long)change.inode, wrong);
	*bytes = cursor.rest;
	*ret = change;
	return STATUS_OK;
}
