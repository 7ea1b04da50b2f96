#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

void random_bytes(void *out, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = getrandom((char *)out + done, len - done, 0);
		if (n > 0)
			done += (size_t)n;
		else if (n == 0)
			abort();
	}
}

uint64_t random_u64(void)
{
	uint64_t value;
	random_bytes(&value, sizeof value);
	return value;
}

void bytes_to_hex(const uint8_t *bytes, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[bytes[i] >> 4];
		out[2 * i + 1] = digits[bytes[i] & 15];
	}
	out[2 * len] = '\0';
}

void random_hex(char *out, size_t digits)
{
	static const char alphabet[] = "0123456789abcdef";
	for (size_t i = 0; i < digits; i++) {
		uint8_t byte;
		random_bytes(&byte, 1);
		out[i] = alphabet[byte & 15];
	}
	out[digits] = '\0';
}

void random_uuid(char out[UUID_TEXT_LEN + 1])
{
	uint8_t b[16];
	char hex[33];
	random_bytes(b, sizeof b);
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	bytes_to_hex(b, sizeof b, hex);
	(void)snprintf(out, UUID_TEXT_LEN + 1, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
	        hex + 20);
}
