#include "base/number.h"

#include <stdio.h>

bool number_parse(struct slice text, int64_t min, int64_t max, int64_t *ret)
{
	size_t i = 0;
	bool negative = text.len > 0 && text.data[0] == '-';
	int64_t value = 0;
	if (negative)
		i++;
	if (i == text.len)
		return false;
	for (; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
		int digit = text.data[i] - '0';
		if (__builtin_mul_overflow(value, 10, &value) ||
		        __builtin_add_overflow(value, negative ? -digit : digit, &value))
			return false;
	}
	if (value < min || value > max)
		return false;
	*ret = value;
	return true;
}

static bool parse_hex32(struct slice text, size_t *pos, uint32_t *ret)
{
	size_t first = *pos;
	uint32_t value = 0;
	for (; *pos < text.len; (*pos)++) {
		uint8_t c = text.data[*pos];
		uint32_t digit;
		if (c >= '0' && c <= '9')
			digit = c - '0';
		else if (c >= 'A' && c <= 'F')
			digit = c - 'A' + 10;
		else if (c >= 'a' && c <= 'f')
			digit = c - 'a' + 10;
		else
			break;
		if (*pos - first == 8)
			return false;
		value = value << 4 | digit;
	}
	*ret = value;
	return *pos > first;
}

bool lsn_parse(struct slice text, uint64_t *ret)
{
	size_t pos = 0;
	uint32_t high, low;
	if (!parse_hex32(text, &pos, &high) || pos >= text.len || text.data[pos++] != '/' ||
	        !parse_hex32(text, &pos, &low) || pos != text.len)
		return false;
	*ret = (uint64_t)high << 32 | low;
	return true;
}

void lsn_format(uint64_t lsn, char out[LSN_TEXT_MAX])
{
	(void)snprintf(out, LSN_TEXT_MAX, "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn);
}
