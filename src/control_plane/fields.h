/*
 * Fields: reading members of a JSON request body by type. Absent, null and (for texts) "" are "not set"; a value of
 * another type is an error that names the field. `path` is the name of the object, for the message ("spec").
 */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "control_plane/api_error.h"

struct text_field {
	bool is_set;
	const char *text; /* borrowed from the document; never has a NUL inside */
};
struct number_field {
	bool is_set;
	double value;
};
struct integer_field {
	bool is_set;
	int64_t value;
};
struct switch_field {
	bool is_set, value;
};
struct time_field { /* a duration or a timestamp */
	bool is_set;
	int64_t usec;
};

/* *ret is NULL when not set. `object` may be NULL everywhere here: then nothing is set. */
bool field_object(
        yyjson_val *object, const char *path, const char *key, yyjson_val **ret, struct api_error *error);
bool field_array(
        yyjson_val *object, const char *path, const char *key, yyjson_val **ret, struct api_error *error);
bool field_text(yyjson_val *object, const char *path, const char *key, struct text_field *ret,
        struct api_error *error);
bool field_number(yyjson_val *object, const char *path, const char *key, struct number_field *ret,
        struct api_error *error);
/* A whole number, or one in quotes (int64 of older clients). */
bool field_integer(yyjson_val *object, const char *path, const char *key, struct integer_field *ret,
        struct api_error *error);
bool field_switch(yyjson_val *object, const char *path, const char *key, struct switch_field *ret,
        struct api_error *error);
bool field_duration(yyjson_val *object, const char *path, const char *key, struct time_field *ret,
        struct api_error *error);
bool field_timestamp(yyjson_val *object, const char *path, const char *key, struct time_field *ret,
        struct api_error *error);

/* For answers. */
void json_add_timestamp(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, int64_t usec);
void json_add_duration(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, int64_t usec);
/* 1 and 0.5, never 1.0: what a client compares with its own text. */
void json_add_cu(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, double cu);
