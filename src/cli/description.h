/*
 * Description: one resource for people. All its members in the server's order, each level aligned and indented, under the names that
 * update masks and --json use; sizes, moments and durations also in words.
 */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "base/buffer.h"

/* now_usec is wall clock: "in 6 days", "3 hours ago". */
void description_write(yyjson_val *object, int64_t now_usec, struct buffer *out);
