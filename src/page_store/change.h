/*
 * Change: one step in the life of a volume's file tree and pages, as journals and manifests record it.
 * docs/formats/layer.md has the bytes. A journal record holds one or more changes that count together or not at all (a rename);
 * a manifest's tree is a list of CHANGE_INODE and CHANGE_NAME.
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"

#define CHANGE_NAME_MAX   255
#define CHANGE_TARGET_MAX 4095

enum change_type {
	CHANGE_INODE = 1, /* attributes (all of them), made or changed; size included */
	CHANGE_NAME,      /* parent/name is inode; replaces whatever the name was */
	CHANGE_NAME_GONE, /* parent/name is no more; an inode without a name is gone at the next mount */
	CHANGE_PAGES,     /* these pages of inode have this content now; size as given */
	CHANGE_TRUNCATE, /* pages >= first_block of inode are gone, of this layer and of those below; size as given */
};

/* A page of a layer's file: where (which of the two slot files) and its checksum. Sorted by block in manifests. */
struct page_entry {
	uint32_t block; /* < PAGE_BLOCKS_MAX */
	uint32_t slot;  /* 0 or 1; on disk the top bit of the block */
	uint32_t crc;   /* page_checksum() */
};

struct change {
	enum change_type type;
	uint64_t inode;
	uint64_t parent;                  /* NAME, NAME_GONE */
	struct slice name;                /* NAME, NAME_GONE; no '/', no NUL, 1 to CHANGE_NAME_MAX bytes */
	uint32_t mode, uid, gid, device;  /* INODE; mode with the file type */
	uint64_t size;                    /* INODE, PAGES, TRUNCATE */
	int64_t mtime_nsec, ctime_nsec;   /* INODE, PAGES, TRUNCATE; since 1970 */
	struct slice target;              /* INODE of a symbolic link */
	uint32_t first_block;             /* TRUNCATE */
	const struct page_entry *entries; /* PAGES; when encoding */
	struct slice packed_entries;      /* PAGES; when decoding: page_entry_unpack() */
	size_t entry_count;
};

#define PAGE_ENTRY_BYTES 8 /* packed: u32 block | slot << 31, u32 crc */
void page_entry_pack(const struct page_entry *entry, uint8_t out[PAGE_ENTRY_BYTES]);
struct page_entry page_entry_unpack(const uint8_t packed[PAGE_ENTRY_BYTES]);

void change_encode(const struct change *change, struct buffer *out);
/* Takes one off the front of *bytes. STATUS_CORRUPT with what is wrong; slices point into *bytes. */
MUST_CHECK status change_decode(struct slice *bytes, struct change *ret, struct error *err);
