#include "control_plane/page_token.h"

#include <openssl/sha.h>
#include <stdio.h>

#include "base/number.h"
#include "base/random.h"

void page_token_make(const char *list, bool with_deleted, int64_t last_id, char out[PAGE_TOKEN_LEN + 1])
{
	CLEANUP(free_text)
	char *bound = xasprintf("page 1|%s|%d|%lld", list, with_deleted, (long long)last_id);
	uint8_t digest[SHA256_DIGEST_LENGTH];
	char hex[17];
	(void)SHA256((const uint8_t *)bound, strlen(bound), digest);
	bytes_to_hex(digest, 8, hex);
	(void)snprintf(out, PAGE_TOKEN_LEN + 1, "%016llx-%s", (unsigned long long)last_id, hex);
}

static bool token_id(const char *token, int64_t *ret)
{
	uint64_t id = 0;
	for (size_t i = 0; i < 16; i++) {
		char c = token[i];
		if (c >= '0' && c <= '9')
			id = id << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			id = id << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	if (id > INT64_MAX)
		return false;
	*ret = (int64_t)id;
	return true;
}

bool query_switch(const struct http_request *request, const char *name, bool *ret, struct api_error *error)
{
	const char *text = http_request_query(request, name);
	if (!text || !*text || strcmp(text, "false") == 0)
		*ret = false;
	else if (strcmp(text, "true") == 0)
		*ret = true;
	else
		return api_fail(
		        error, API_INVALID_PARAMETER, "%s must be true or false, got '%.100s'", name, text);
	return true;
}

bool page_read(const struct http_request *request, const char *list, bool offers_deleted, int64_t size_max,
        struct page *ret, struct api_error *error)
{
	struct page page = { .size = PAGE_SIZE_DEFAULT };
	const char *size = http_request_query(request, "page_size");
	const char *token = http_request_query(request, "page_token");
	if (size && *size) {
		int64_t value;
		if (!number_parse(slice_from_text(size), INT64_MIN, INT64_MAX, &value))
			return api_fail(error, API_INVALID_PARAMETER,
			        "page_size must be a whole number, got '%.100s'", size);
		if (value < 0)
			return api_fail(error, API_INVALID_PARAMETER,
			        "page_size must not be negative, got %lld", (long long)value);
		if (value > 0)
			page.size = value;
	}
	if (page.size > size_max)
		page.size = size_max;
	if (offers_deleted && !query_switch(request, "show_deleted", &page.with_deleted, error))
		return false;
	if (token && *token) {
		char expected[PAGE_TOKEN_LEN + 1] = "";
		bool is_good = strlen(token) == PAGE_TOKEN_LEN && token_id(token, &page.after_id);
		if (is_good)
			page_token_make(list, page.with_deleted, page.after_id, expected);
		if (!is_good || strcmp(expected, token) != 0)
			return api_fail(error, API_INVALID_PARAMETER,
			        "page_token is not one that this list has given out with the same "
			        "parameters");
	}
	*ret = page;
	return true;
}
