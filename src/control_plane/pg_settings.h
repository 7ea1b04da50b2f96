/*
 * Postgres settings that a user may give an endpoint: an object of text to text. Refused are those that Tarn owns and
 * those that would let a tenant leave Postgres: files, programs, libraries, sockets, logs, archiving, recovery.
 */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "control_plane/api_error.h"

#define PG_SETTINGS_MAX      100
#define PG_SETTING_NAME_MAX  127
#define PG_SETTING_VALUE_MAX 1024

bool pg_setting_is_allowed(const char *name);
/* object: NULL reads as "{}". *ret_json is a JSON object in the order given; caller frees. */
bool pg_settings_read(yyjson_val *object, const char *path, char **ret_json, struct api_error *error);
