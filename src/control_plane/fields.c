#include "control_plane/fields.h"

#include "base/clock.h"
#include "base/number.h"

static yyjson_val *member(yyjson_val *object, const char *key)
{
	yyjson_val *value = yyjson_obj_get(object, key);
	return yyjson_is_null(value) ? NULL : value;
}

static bool wrong_type(struct api_error *error, const char *path, const char *key, const char *expected)
{
	return api_fail(error, API_INVALID_PARAMETER, "Field '%s%s%s' must be %s.", path, *path ? "." : "",
	        key, expected);
}

bool field_object(
        yyjson_val *object, const char *path, const char *key, yyjson_val **ret, struct api_error *error)
{
	yyjson_val *value = member(object, key);
	if (value && !yyjson_is_obj(value))
		return wrong_type(error, path, key, "an object");
	*ret = value;
	return true;
}

bool field_array(
        yyjson_val *object, const char *path, const char *key, yyjson_val **ret, struct api_error *error)
{
	yyjson_val *value = member(object, key);
	if (value && !yyjson_is_arr(value))
		return wrong_type(error, path, key, "a list");
	*ret = value;
	return true;
}

bool field_text(yyjson_val *object, const char *path, const char *key, struct text_field *ret,
        struct api_error *error)
{
	*ret = (struct text_field){ 0 };
	yyjson_val *value = member(object, key);
	if (!value)
		return true;
	if (!yyjson_is_str(value))
		return wrong_type(error, path, key, "a string");
	const char *text = yyjson_get_str(value);
	if (strlen(text) != yyjson_get_len(value))
		return wrong_type(error, path, key, "a string without NUL characters");
	if (*text)
		*ret = (struct text_field){ .is_set = true, .text = text };
	return true;
}

bool field_number(yyjson_val *object, const char *path, const char *key, struct number_field *ret,
        struct api_error *error)
{
	*ret = (struct number_field){ 0 };
	yyjson_val *value = member(object, key);
	if (!value)
		return true;
	if (!yyjson_is_num(value))
		return wrong_type(error, path, key, "a number");
	*ret = (struct number_field){ .is_set = true, .value = yyjson_get_num(value) };
	return true;
}

bool field_integer(yyjson_val *object, const char *path, const char *key, struct integer_field *ret,
        struct api_error *error)
{
	*ret = (struct integer_field){ 0 };
	yyjson_val *value = member(object, key);
	if (!value)
		return true;
	int64_t number = 0;
	bool is_good = false;
	if (yyjson_is_sint(value)) {
		number = yyjson_get_sint(value);
		is_good = true;
	} else if (yyjson_is_uint(value)) {
		number = (int64_t)yyjson_get_uint(value);
		is_good = yyjson_get_uint(value) <= INT64_MAX;
	} else if (yyjson_is_str(value)) {
		struct slice text = { .data = (const uint8_t *)yyjson_get_str(value),
			.len = yyjson_get_len(value) };
		if (text.len == 0)
			return true;
		is_good = number_parse(text, INT64_MIN, INT64_MAX, &number);
	}
	if (!is_good)
		return wrong_type(error, path, key, "a whole number");
	*ret = (struct integer_field){ .is_set = true, .value = number };
	return true;
}

bool field_switch(yyjson_val *object, const char *path, const char *key, struct switch_field *ret,
        struct api_error *error)
{
	*ret = (struct switch_field){ 0 };
	yyjson_val *value = member(object, key);
	if (!value)
		return true;
	if (!yyjson_is_bool(value))
		return wrong_type(error, path, key, "true or false");
	*ret = (struct switch_field){ .is_set = true, .value = yyjson_get_bool(value) };
	return true;
}

bool field_duration(yyjson_val *object, const char *path, const char *key, struct time_field *ret,
        struct api_error *error)
{
	*ret = (struct time_field){ 0 };
	struct text_field text;
	if (!field_text(object, path, key, &text, error))
		return false;
	if (!text.is_set)
		return true;
	if (!clock_parse_duration(slice_from_text(text.text), &ret->usec))
		return wrong_type(error, path, key, "a duration in seconds such as \"300s\"");
	ret->is_set = true;
	return true;
}

bool field_timestamp(yyjson_val *object, const char *path, const char *key, struct time_field *ret,
        struct api_error *error)
{
	*ret = (struct time_field){ 0 };
	struct text_field text;
	if (!field_text(object, path, key, &text, error))
		return false;
	if (!text.is_set)
		return true;
	if (!clock_parse_timestamp(slice_from_text(text.text), &ret->usec))
		return wrong_type(error, path, key, "an RFC 3339 timestamp such as \"2026-08-01T10:00:00Z\"");
	ret->is_set = true;
	return true;
}

void json_add_timestamp(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, int64_t usec)
{
	char text[CLOCK_TEXT_MAX];
	clock_format_timestamp(usec, text);
	yyjson_mut_obj_add_strcpy(doc, object, key, text);
}

void json_add_duration(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, int64_t usec)
{
	char text[CLOCK_TEXT_MAX];
	clock_format_duration(usec, text);
	yyjson_mut_obj_add_strcpy(doc, object, key, text);
}

void json_add_cu(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, double cu)
{
	int64_t whole = (int64_t)cu;
	if ((double)whole == cu)
		yyjson_mut_obj_add_sint(doc, object, key, whole);
	else
		yyjson_mut_obj_add_real(doc, object, key, cu);
}
