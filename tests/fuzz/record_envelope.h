/*
 * A fuzzer does not find checksums: what it makes is tried as it is, and, when it is a JSON object, once more as the payload of a record
 * whose checksum fits.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#include "base/buffer.h"
#include "page_store/crc32c.h"

/* Empty when `data` is no JSON object. */
static inline void record_wrap(
        const uint8_t *data, size_t size, const char *kind, int version, struct buffer *out)
{
	yyjson_doc *doc = size ? yyjson_read((const char *)data, size, 0) : NULL;
	yyjson_val *root = yyjson_doc_get_root(doc);
	size_t len = 0;
	char *minified = yyjson_is_obj(root) ? yyjson_val_write(root, 0, &len) : NULL;
	if (minified)
		buffer_printf(out, "{\"version\":%d,\"crc32c\":\"%08x\",\"%s\":%s}", version,
		        crc32c(minified, len), kind, minified);
	free(minified);
	yyjson_doc_free(doc);
}
