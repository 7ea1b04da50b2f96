/* Page: the unit of copy-on-write, of atomic writes and of checksums. Postgres' block size, which stock builds do not change. */
#pragma once

#include "base/base.h"

#define PAGE_BYTES      8192u
#define PAGE_BLOCKS_MAX (UINT64_C(1) << 31) /* of one file: 16 TiB; a longer file is EFBIG */

/*
 * CRC-32C of a page bound to where it belongs, so that a misdirected or swapped write is found (T33): over the 64-bit layer tag,
 * the inode number, the block number (little-endian) and then the page.
 */
uint32_t page_checksum(uint64_t layer_tag, uint64_t inode, uint32_t block, const void *page);
