#include "auth/base64url.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void base64url_encode(struct slice bytes, struct buffer *out)
{
	uint32_t bits = 0;
	unsigned int count = 0;
	for (size_t i = 0; i < bytes.len; i++) {
		bits = bits << 8 | bytes.data[i];
		for (count += 8; count >= 6; count -= 6)
			buffer_append(out, &digits[bits >> (count - 6) & 63], 1);
	}
	if (count > 0)
		buffer_append(out, &digits[bits << (6 - count) & 63], 1);
}

static int digit_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-')
		return 62;
	return c == '_' ? 63 : -1;
}

bool base64url_decode(struct slice text, struct buffer *out)
{
	if (text.len % 4 == 1)
		return false;
	for (size_t i = 0; i < text.len; i++)
		if (digit_value(text.data[i]) < 0)
			return false;
	/* Two digits carry one byte and four spare bits, three carry two bytes and two: spare bits must be
	 * zero. */
	if (text.len % 4 != 0) {
		int spare = text.len % 4 == 2 ? 0xf : 0x3;
		if ((digit_value(text.data[text.len - 1]) & spare) != 0)
			return false;
	}
	uint32_t bits = 0;
	unsigned int count = 0;
	for (size_t i = 0; i < text.len; i++) {
		bits = bits << 6 | (uint32_t)digit_value(text.data[i]);
		count += 6;
		if (count >= 8) {
			count -= 8;
			uint8_t byte = (uint8_t)(bits >> count);
			buffer_append(out, &byte, 1);
		}
	}
	return true;
}
