/* IP ranges: taken or refused; a range has its own first address, and what was taken as an address is a range of one. */
#include <stdlib.h>

#include "base/ip_range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(free_text) char *text = xstrndup(data, size);
	struct ip_range range;
	struct ip_address address;
	bool is_range = ip_range_parse(text, &range);
	if (is_range &&
	        (range.prefix > 128 || !ip_range_has(&range, &range.first) || strlen(text) > IP_TEXT_MAX))
		abort();
	if (ip_address_parse(text, &address) &&
	        (!is_range || range.prefix != 128 || !ip_range_has(&range, &address)))
		abort();
	return 0;
}
