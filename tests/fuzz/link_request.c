/* A line from the supervisor's socket: parsed or refused, never more. */
#include <stdlib.h>

#include "page_filesystem/supervisor_link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct link_request request = { .id = 42, .action = LINK_UNKNOWN };
	struct error err;
	status st = link_request_parse((struct slice){ data, size }, &request, &err);
	if (st == STATUS_OK ? request.action > LINK_UNKNOWN : st != STATUS_INVALID || request.id != 42)
		abort();
	return 0;
}
