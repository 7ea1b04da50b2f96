#include "page_store/page.h"

#include "page_store/crc32c.h"
#include "page_store/little_endian.h"

uint32_t page_checksum(uint64_t layer_tag, uint64_t inode, uint32_t block, const void *page)
{
	uint8_t place[20];
	put_le64(place, layer_tag);
	put_le64(place + 8, inode);
	put_le32(place + 16, block);
	return crc32c_more(crc32c(place, sizeof place), page, PAGE_BYTES);
}
