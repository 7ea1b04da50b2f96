#include "page_store/crc32c.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#include <wmmintrin.h>
#endif

static uint32_t go_on_portably(uint32_t crc, const uint8_t *p, size_t len)
{
	/* Nibble by nibble: 16 entries that fit in a cache line, and no set-up at run time. */
	static const uint32_t table[16] = { 0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc,
		0x5125dad3, 0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75 };
	while (len--) {
		crc ^= *p++;
		crc = table[crc & 15] ^ (crc >> 4);
		crc = table[crc & 15] ^ (crc >> 4);
	}
	return crc;
}

#if defined(__x86_64__)

static inline uint64_t word_at(const uint8_t *p)
{
	uint64_t word;
	memcpy(&word, p, 8);
	return word;
}

/*
 * The instruction takes three cycles, and one can begin in each: three parts of the input go through it side by side.
 * The checksums of the parts before are then shifted over what follows them: a multiplication by x^(8 * bytes - 33) modulo the polynomial,
 * bit-reflected; the instruction itself does the rest of the shift and the modulus.
 */
#define PART_BYTES     2720u /* three are a page, but for a few bytes */
#define SHIFT_OVER_ONE 0x5aa1f3cf
#define SHIFT_OVER_TWO 0xfa0f2bd0u

__attribute__((target("sse4.2,pclmul"))) static uint32_t go_on_in_three(
        uint32_t crc, const uint8_t *p, size_t *done, size_t len)
{
	size_t at = 0;
	for (; len - at >= 3 * (size_t)PART_BYTES; at += 3 * (size_t)PART_BYTES) {
		const uint8_t *first = p + at, *second = first + PART_BYTES, *third = second + PART_BYTES;
		uint64_t a = crc, b = 0, c = 0;
		for (size_t i = 0; i < PART_BYTES; i += 8) {
			a = _mm_crc32_u64(a, word_at(first + i));
			b = _mm_crc32_u64(b, word_at(second + i));
			c = _mm_crc32_u64(c, word_at(third + i));
		}
		__m128i shifted_a = _mm_clmulepi64_si128(
		        _mm_cvtsi64_si128((int64_t)a), _mm_cvtsi64_si128(SHIFT_OVER_TWO), 0);
		__m128i shifted_b = _mm_clmulepi64_si128(
		        _mm_cvtsi64_si128((int64_t)b), _mm_cvtsi64_si128(SHIFT_OVER_ONE), 0);
		uint64_t both = (uint64_t)_mm_cvtsi128_si64(_mm_xor_si128(shifted_a, shifted_b));
		crc = (uint32_t)(_mm_crc32_u64(0, both) ^ c);
	}
	*done = at;
	return crc;
}

__attribute__((target("sse4.2"))) static uint32_t go_on_by_instruction(
        uint32_t crc, const uint8_t *p, size_t len)
{
	uint64_t wide = crc;
	for (; len >= 8; p += 8, len -= 8)
		wide = _mm_crc32_u64(wide, word_at(p));
	crc = (uint32_t)wide;
	while (len--)
		crc = _mm_crc32_u8(crc, *p++);
	return crc;
}

static uint32_t go_on(uint32_t crc, const uint8_t *p, size_t len)
{
	if (len == 0)
		return crc; /* p may be NULL */
	if (!__builtin_cpu_supports("sse4.2"))
		return go_on_portably(crc, p, len);
	size_t done = 0;
	if (len >= 3 * (size_t)PART_BYTES && __builtin_cpu_supports("pclmul"))
		crc = go_on_in_three(crc, p, &done, len);
	return go_on_by_instruction(crc, p + done, len - done);
}

#else

static uint32_t go_on(uint32_t crc, const uint8_t *p, size_t len)
{
	return go_on_portably(crc, p, len);
}

#endif

uint32_t crc32c_portable(const void *bytes, size_t len)
{
	return ~go_on_portably(0xffffffffu, bytes, len);
}

uint32_t crc32c(const void *bytes, size_t len)
{
	return ~go_on(0xffffffffu, bytes, len);
}

uint32_t crc32c_more(uint32_t crc, const void *bytes, size_t len)
{
	return ~go_on(~crc, bytes, len);
}
