#include "base/ip_range.h"

#include <arpa/inet.h>

#include "base/number.h"

#define V4_PREFIX 96u /* bits of ::ffff:0:0 */

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

/* *ret_is_v4: as it was written, which says what a prefix counts. */
static bool parse(const char *text, struct ip_address *ret, bool *ret_is_v4)
{
	struct ip_address address = { 0 };
	struct in_addr v4;
	if (inet_pton(AF_INET, text, &v4) == 1) { /* takes no zeros in front, nor less than four numbers */
		memcpy(address.bytes, mapped, sizeof mapped);
		memcpy(address.bytes + sizeof mapped, &v4, sizeof v4);
		*ret_is_v4 = true;
	} else if (inet_pton(AF_INET6, text, address.bytes) == 1) {
		*ret_is_v4 = false;
	} else {
		return false;
	}
	*ret = address;
	return true;
}

bool ip_address_parse(const char *text, struct ip_address *ret)
{
	bool is_v4;
	return parse(text, ret, &is_v4);
}

bool ip_address_is_loopback(const struct ip_address *address)
{
	static const uint8_t v6[16] = { [15] = 1 };
	return memcmp(address->bytes, v6, sizeof v6) == 0 ||
	       (memcmp(address->bytes, mapped, sizeof mapped) == 0 && address->bytes[12] == 127);
}

static void clear_behind(struct ip_address *address, unsigned prefix)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned bits = prefix > 8 * i ? prefix - 8 * i : 0;
		if (bits < 8)
			address->bytes[i] &= (uint8_t)(0xff00u >> bits);
	}
}

bool ip_range_parse(const char *text, struct ip_range *ret)
{
	char address[IP_TEXT_MAX + 1];
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	struct ip_range range;
	bool is_v4;
	if (len > IP_TEXT_MAX)
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	if (!parse(address, &range.first, &is_v4))
		return false;
	int64_t prefix = is_v4 ? 32 : 128;
	if (slash && (!number_parse(slice_from_text(slash + 1), 0, prefix, &prefix) ||
	                     (slash[1] == '0' && slash[2] != '\0')))
		return false;
	range.prefix = (unsigned)prefix + (is_v4 ? V4_PREFIX : 0);
	clear_behind(&range.first, range.prefix);
	*ret = range;
	return true;
}

bool ip_range_has(const struct ip_range *range, const struct ip_address *address)
{
	struct ip_address first = *address;
	/* "::/0" is all of IPv6, and nobody means IPv4 by it. */
	if (range->prefix < V4_PREFIX && memcmp(address->bytes, mapped, sizeof mapped) == 0)
		return false;
	clear_behind(&first, range->prefix);
	return memcmp(first.bytes, range->first.bytes, sizeof first.bytes) == 0;
}
