#include "page_store/crc32c.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

uint32_t crc32c_portable(const void *bytes, size_t len)
{
	/* Nibble by nibble: 16 entries that fit in a cache line, and no set-up at run time. */
	static const uint32_t table[16] = { 0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc,
		0x5125dad3, 0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75 };
	const uint8_t *p = bytes;
	uint32_t crc = 0xffffffffu;
	while (len--) {
		crc ^= *p++;
		crc = table[crc & 15] ^ (crc >> 4);
		crc = table[crc & 15] ^ (crc >> 4);
	}
	return ~crc;
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t crc32c_hardware(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	uint64_t crc = 0xffffffffu;
	for (; len >= 8; p += 8, len -= 8) {
		uint64_t word;
		memcpy(&word, p, 8);
		crc = _mm_crc32_u64(crc, word);
	}
	uint32_t narrow = (uint32_t)crc;
	while (len--)
		narrow = _mm_crc32_u8(narrow, *p++);
	return ~narrow;
}

uint32_t crc32c(const void *bytes, size_t len)
{
	return __builtin_cpu_supports("sse4.2") ? crc32c_hardware(bytes, len) : crc32c_portable(bytes, len);
}

#else

uint32_t crc32c(const void *bytes, size_t len)
{
	return crc32c_portable(bytes, len);
}

#endif
