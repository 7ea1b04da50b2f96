/*
 * Greeting: the verdict on a server's words does not depend on the portions in which they arrive, and is final. First
 * byte of the input: portion. The rest: what the server says.
 */
#include <stdlib.h>

#include "pgwire/greeting.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t feed(struct greeting *greeting, const uint8_t *data, size_t size, size_t portion)
{
	size_t taken = 0;
	for (size_t at = 0; at < size; at += portion) {
		size_t n = size - at < portion ? size - at : portion;
		size_t now = greeting_feed(greeting, (struct slice){ data + at, n });
		if (now > n || (now < n && !greeting_is_over(greeting)))
			abort();
		taken += now;
	}
	return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	size_t portion = (size_t)data[0] + 1;
	data++, size--;
	struct greeting whole = { 0 }, parts = { 0 };
	size_t taken = feed(&whole, data, size, size ? size : 1);
	if (feed(&parts, data, size, portion) != taken)
		abort();
	if (whole.state != parts.state || whole.has_key != parts.has_key ||
	        strcmp(whole.sqlstate, parts.sqlstate) != 0)
		abort();
	if (whole.has_key && (whole.key.pid != parts.key.pid || whole.key.secret != parts.key.secret))
		abort();
	if (whole.state == GREETING_READY && data[0] != 'R' && data[0] != 'N')
		abort(); /* nobody is ready who was not let in */
	enum greeting_state state = whole.state;
	if (greeting_is_over(&whole) && (feed(&whole, data, size, 1) != 0 || whole.state != state))
		abort();
	return 0;
}
