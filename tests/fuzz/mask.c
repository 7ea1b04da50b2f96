/*
 * Update masks of all resources: an accepted mask means the same when it is written twice, its paths in any order; it
 * only has bits of the resource; a refused one is refused by a message that begins as clients expect.
 */
#include <stdlib.h>

#include "control_plane/branch_fields.h"
#include "control_plane/endpoint_fields.h"
#include "control_plane/instance_fields.h"
#include "control_plane/project_fields.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef bool (*parse_fn)(const char *text, struct update_mask *ret, struct api_error *error);

static void expect(bool holds)
{
	if (!holds)
		abort();
}

static bool same(const struct update_mask *a, const struct update_mask *b)
{
	return a->fields == b->fields && a->present == b->present && a->is_all == b->is_all;
}

static void check(parse_fn parse, const char *text, uint64_t all)
{
	struct update_mask once = { 0 }, again = { 0 };
	struct api_error error;
	if (!parse(text, &once, &error)) {
		expect(error.code == API_INVALID_PARAMETER);
		expect(strstr(error.message, "update_mask") != NULL);
		expect(once.fields == 0 && once.present == 0);
		return;
	}
	expect((once.fields & ~all) == 0 && (once.present & ~all) == 0);
	/* The last path in front, then all of it: nothing new. */
	const char *last = strrchr(text, ',') ? strrchr(text, ',') + 1 : text;
	CLEANUP(free_text) char *turned = xasprintf("%s,%s", last, text);
	if (*text && parse(turned, &again, &error))
		expect(same(&once, &again));
	/* What is meant without a value is meant with one. */
	for (int bit = 0; bit < 64; bit++)
		expect(!update_mask_has(&once, 1ull << bit, false) ||
		        update_mask_has(&once, 1ull << bit, true));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(free_text) char *text = xstrndup(data, size);
	check(project_mask_parse, text, 0x7ff);
	check(branch_mask_parse, text, BRANCH_PROTECTED | BRANCH_EXPIRATION);
	check(endpoint_mask_parse, text, 0x1f);
	check(instance_mask_parse, text, UINT64_MAX);
	return 0;
}
