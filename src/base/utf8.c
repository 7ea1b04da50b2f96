#include "base/utf8.h"

/* Length of the valid sequence at the start, 0 when there is none (RFC 3629: no surrogates, no overlong forms). */
static size_t utf8_sequence(struct slice s)
{
	if (s.len == 0 || s.data[0] == 0)
		return 0;
	uint8_t a = s.data[0];
	if (a < 0x80)
		return 1;
	if (a >= 0xc2 && a <= 0xdf)
		return s.len >= 2 && (s.data[1] & 0xc0) == 0x80 ? 2 : 0;
	if (a >= 0xe0 && a <= 0xef) {
		if (s.len < 3 || (s.data[1] & 0xc0) != 0x80 || (s.data[2] & 0xc0) != 0x80)
			return 0;
		if ((a == 0xe0 && s.data[1] < 0xa0) || (a == 0xed && s.data[1] > 0x9f))
			return 0;
		return 3;
	}
	if (a >= 0xf0 && a <= 0xf4) {
		if (s.len < 4 || (s.data[1] & 0xc0) != 0x80 || (s.data[2] & 0xc0) != 0x80 ||
		        (s.data[3] & 0xc0) != 0x80)
			return 0;
		if ((a == 0xf0 && s.data[1] < 0x90) || (a == 0xf4 && s.data[1] > 0x8f))
			return 0;
		return 4;
	}
	return 0;
}

size_t utf8_valid_prefix(struct slice text)
{
	size_t pos = 0;
	while (pos < text.len) {
		size_t n = utf8_sequence((struct slice){ .data = text.data + pos, .len = text.len - pos });
		if (n == 0)
			break;
		pos += n;
	}
	return pos;
}

size_t utf8_count(struct slice text)
{
	size_t count = 0;
	for (size_t i = 0; i < text.len; i++)
		count += (text.data[i] & 0xc0) != 0x80;
	return count;
}

void utf8_clean(char *text)
{
	size_t len = strlen(text);
	for (size_t pos = 0; pos < len;) {
		size_t n = utf8_sequence(
		        (struct slice){ .data = (const uint8_t *)text + pos, .len = len - pos });
		if (n == 0) {
			text[pos] = '?';
			n = 1;
		}
		pos += n;
	}
}
