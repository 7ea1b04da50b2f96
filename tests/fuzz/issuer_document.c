/* Documents of issuers: what they lead to is an address that may be used, and never less safe than the issuer's own. The first byte says whose it is. */
#include <stdlib.h>

#include "auth/issuer_document.h"
#include "base/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_url(const char *text, const char *issuer)
{
	struct url url, of_issuer;
	struct error err;
	if (issuer_keys_url_check(text, &err) != STATUS_OK || url_parse(text, &url, &err) != STATUS_OK ||
	        url_parse(issuer, &of_issuer, &err) != STATUS_OK)
		abort();
	if ((of_issuer.is_https && !url.is_https) || (!of_issuer.is_loopback && url.is_loopback) ||
	        (!url.is_https && !url.is_loopback))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const issuers[] = { "https://idp.example.com", "http://127.0.0.1:9000",
		"https://localhost" };
	struct error err;
	if (size == 0)
		return 0;
	const char *issuer = issuers[data[0] % ARRAY_LEN(issuers)];
	CLEANUP(free_text) char *url = NULL;
	status st = issuer_document_parse((struct slice){ data + 1, size - 1 }, issuer, &url, &err);
	if ((st == STATUS_OK) != (url != NULL) || (st != STATUS_OK && st != STATUS_INVALID))
		abort();
	if (url)
		check_url(url, issuer);
	/* The same bytes as an issuer of their own. */
	CLEANUP(free_text) char *text = xstrndup(data + 1, size - 1);
	struct url parsed;
	if (issuer_check(text, &err) == STATUS_OK &&
	        (url_parse(text, &parsed, &err) != STATUS_OK || parsed.has_query ||
	                (!parsed.is_https && !parsed.is_loopback)))
		abort();
	return 0;
}
