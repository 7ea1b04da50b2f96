/*
 * IP range: an address, or all that begin with the same bits (CIDR), of IPv4 or IPv6. IPv4 inside IPv6 (::ffff:192.0.2.1) is the IPv4 address
 * it stands for: a client is the same whichever socket it came through. A range of IPv6 has no IPv4 address, however wide it is, unless it is one of ::ffff:0:0/96.
 *
 * Forms: "192.0.2.1", "192.0.2.0/24", "2001:db8::1", "2001:db8::/32". Bits behind the prefix may be set and do not count. Nothing else is
 * taken: no names, no zones ("fe80::1%eth0"), no leading zeros ("192.0.2.01"), no masks ("/255.255.255.0").
 */
#pragma once

#include "base/base.h"

#define IP_TEXT_MAX 49u /* longest form, with "/128" */

struct ip_address {
	uint8_t bytes[16]; /* IPv4 as ::ffff:… */
};

struct ip_range {
	struct ip_address first;
	unsigned prefix; /* bits that count, of 128 */
};

MUST_CHECK bool ip_address_parse(const char *text, struct ip_address *ret);
bool ip_address_is_loopback(const struct ip_address *address);
/* An address is a range of one. */
MUST_CHECK bool ip_range_parse(const char *text, struct ip_range *ret);
bool ip_range_has(const struct ip_range *range, const struct ip_address *address);
