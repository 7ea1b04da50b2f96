#include "cli/description.h"

#include <stdlib.h>

#include "base/clock.h"
#include "cli/table.h"

#define DEPTH_MAX 16

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);
	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* "3 days", "1 hour", "45 seconds": the largest unit that it fills. */
static void append_span(int64_t usec, struct buffer *out)
{
	static const struct {
		int64_t sec;
		const char *name;
	} units[] = { { 86400, "day" }, { 3600, "hour" }, { 60, "minute" }, { 1, "second" } };
	int64_t sec = usec / USEC_PER_SEC;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		int64_t count = sec / units[i].sec;
		if (count == 0 && i + 1 < ARRAY_LEN(units))
			continue;
		buffer_printf(out, "%lld %s%s", (long long)count, units[i].name, count == 1 ? "" : "s");
		return;
	}
}

static void append_moment(const char *text, int64_t now_usec, struct buffer *out)
{
	int64_t usec = 0;
	if (!clock_parse_timestamp(slice_from_text(text), &usec))
		return;
	buffer_append_text(out, usec > now_usec ? " (in " : " (");
	append_span(usec > now_usec ? usec - now_usec : now_usec - usec, out);
	buffer_append_text(out, usec > now_usec ? ")" : " ago)");
}

static void append_duration(const char *text, struct buffer *out)
{
	int64_t usec = 0;
	if (!clock_parse_duration(slice_from_text(text), &usec) || usec < 60 * USEC_PER_SEC)
		return;
	buffer_append_text(out, " (");
	append_span(usec, out);
	buffer_append_text(out, ")");
}

static void append_size(int64_t bytes, struct buffer *out)
{
	static const char *const units[] = { "kB", "MB", "GB", "TB" };
	double size = (double)bytes / 1000;
	size_t unit = 0;
	for (; size >= 1000 && unit + 1 < ARRAY_LEN(units); unit++)
		size /= 1000;
	if (bytes >= 1000)
		buffer_printf(out, " (%.1f %s)", size, units[unit]);
}

static void append_scalar(const char *key, yyjson_val *value, int64_t now_usec, struct buffer *out)
{
	if (yyjson_is_str(value)) {
		const char *text = yyjson_get_str(value);
		CLEANUP(free_text) char *printable = printable_copy(text);
		buffer_append_text(out, printable);
		if (ends_with(key, "_time"))
			append_moment(text, now_usec, out);
		else if (ends_with(key, "_duration") || ends_with(key, "retention") || ends_with(key, "ttl"))
			append_duration(text, out);
		return;
	}
	CLEANUP(free_text) char *text = yyjson_val_write(value, 0, NULL);
	buffer_append_text(out, text ? text : "");
	if (yyjson_is_int(value) && ends_with(key, "_bytes"))
		append_size(yyjson_get_sint(value), out);
}

static bool is_nested(yyjson_val *value)
{
	if (yyjson_is_obj(value))
		return yyjson_obj_size(value) > 0;
	return yyjson_is_arr(value) &&
	       (yyjson_is_obj(yyjson_arr_get_first(value)) || yyjson_is_arr(yyjson_arr_get_first(value)));
}

static void write_object(yyjson_val *object, int64_t now_usec, int depth, struct buffer *out);

static void write_nested(yyjson_val *value, int64_t now_usec, int depth, struct buffer *out)
{
	if (yyjson_is_obj(value)) {
		write_object(value, now_usec, depth, out);
		return;
	}
	size_t i, count;
	yyjson_val *one;
	yyjson_arr_foreach(value, i, count, one)
	{
		buffer_printf(out, "%*s%zu:\n", depth * 2, "", i + 1);
		write_object(one, now_usec, depth + 1, out);
	}
}

/* A list of plain values, "a, b"; empty lists and objects say so. */
static void append_flat(const char *key, yyjson_val *value, int64_t now_usec, struct buffer *out)
{
	if (!yyjson_is_ctn(value)) {
		append_scalar(key, value, now_usec, out);
		return;
	}
	size_t i, count;
	yyjson_val *one;
	if (yyjson_get_len(value) == 0)
		buffer_append_text(out, "none");
	yyjson_arr_foreach(value, i, count, one)
	{
		if (i > 0)
			buffer_append_text(out, ", ");
		append_scalar(key, one, now_usec, out);
	}
}

static void write_object(yyjson_val *object, int64_t now_usec, int depth, struct buffer *out)
{
	size_t i, count, width = 0;
	yyjson_val *key, *value;
	if (depth > DEPTH_MAX)
		return;
	yyjson_obj_foreach(object, i, count, key, value)
	{
		if (!is_nested(value) && yyjson_get_len(key) > width)
			width = yyjson_get_len(key);
	}
	yyjson_obj_foreach(object, i, count, key, value)
	{
		CLEANUP(free_text) char *name = printable_copy(yyjson_get_str(key));
		if (is_nested(value)) {
			buffer_printf(out, "%*s%s:\n", depth * 2, "", name);
			write_nested(value, now_usec, depth + 1, out);
			continue;
		}
		size_t len = strlen(name);
		buffer_printf(
		        out, "%*s%s: %*s", depth * 2, "", name, (int)(len < width ? width - len : 0), "");
		append_flat(yyjson_get_str(key), value, now_usec, out);
		buffer_append_text(out, "\n");
	}
}

void description_write(yyjson_val *object, int64_t now_usec, struct buffer *out)
{
	write_object(object, now_usec, 0, out);
}
