#include "control_plane/endpoint_address.h"

#include <arpa/inet.h>
#include <stdio.h>

#define ENDPOINT_BASE 0x7f400000u
#define POOLER_BASE   0x7f800000u
#define ADDRESS_COUNT (1u << 22)
#define ADDRESS_FIRST 2
#define ADDRESS_TRIES 100000

static void print(uint32_t address, char out[ADDRESS_MAX + 1])
{
	(void)snprintf(out, ADDRESS_MAX + 1, "%u.%u.%u.%u", address >> 24, address >> 16 & 255,
	        address >> 8 & 255, address & 255);
}

/* Addresses are given out in a circle of four million, so one that was freed rests for long. */
status endpoint_address_allocate(struct metadata *md, char out[ADDRESS_MAX + 1], struct error *err)
{
	for (int i = 0; i < ADDRESS_TRIES; i++) {
		int64_t number;
		status st = metadata_next_number(md, "endpoint_address", ADDRESS_FIRST, &number, err);
		if (st != STATUS_OK)
			return st;
		uint32_t address = ENDPOINT_BASE + (uint32_t)(number % ADDRESS_COUNT);
		uint8_t last = (uint8_t)address;
		if (last == 0 || last == 255 || address == ENDPOINT_BASE + 1)
			continue; /* look like a network, a broadcast, a gateway */
		print(address, out);
		CLEANUP(endpoint_row_done) struct endpoint_row taken = { 0 };
		st = endpoint_row_find_address(md, out, &taken, err);
		if (st == STATUS_NOT_FOUND)
			return STATUS_OK;
		if (st != STATUS_OK)
			return st;
	}
	return error_set(err, STATUS_LIMIT, 0, "there is no free loopback address for another endpoint");
}

static bool move(const char *address, uint32_t from, uint32_t to, char ret[ADDRESS_MAX + 1])
{
	struct in_addr parsed;
	if (inet_pton(AF_INET, address, &parsed) != 1)
		return false;
	uint32_t number = ntohl(parsed.s_addr);
	if (number < from || number - from >= ADDRESS_COUNT)
		return false;
	print(number - from + to, ret);
	return true;
}

bool endpoint_address_to_pooler(const char *address, char ret[ADDRESS_MAX + 1])
{
	return move(address, ENDPOINT_BASE, POOLER_BASE, ret);
}

bool endpoint_address_from_pooler(const char *pooler_address, char ret[ADDRESS_MAX + 1])
{
	return move(pooler_address, POOLER_BASE, ENDPOINT_BASE, ret);
}
