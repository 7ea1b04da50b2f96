/* Basic headers: what is accepted is within its bounds and has one text only. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/basic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(free_text) char *header = xstrndup(data, size);
	struct basic_credential one;
	if (!basic_parse(header, &one))
		return 0;
	for (const char *c = one.id; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f || *c == ':')
			abort();
	/* Written again, it is what it was. */
	CLEANUP(free_text) char *pair = xasprintf("%s:%s", one.id, one.secret);
	CLEANUP(free_text) char *encoded = xcalloc(strlen(pair) * 2 + 8, 1);
	(void)EVP_EncodeBlock((unsigned char *)encoded, (const unsigned char *)pair, (int)strlen(pair));
	const char *given = header + 6 + strspn(header + 6, " ");
	if (strcmp(given, encoded) != 0)
		abort();
	return 0;
}
