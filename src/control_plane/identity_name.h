/*
 * Identity names: what users, service principals and groups may be called. Each name can become a Postgres role, so it must be one as a whole (63
 * bytes: Postgres cuts longer ones off, and two people would be one) and none of the system's.
 */
#pragma once

#include "control_plane/api_error.h"
#include "metadata/identity_row.h"

#define IDENTITY_NAME_MAX 63 /* bytes */

/* `field` is what the request calls it: "userName". */
bool identity_name_check(
        enum identity_kind kind, const char *name, const char *field, struct api_error *error);
/* For people: 1 to LOGIN_MAX bytes without control characters. */
bool identity_display_name_check(const char *name, const char *field, struct api_error *error);

#define IDENTITY_ID_LEN 20

/* What clients know an identity by: a number, as text. */
void identity_id_make(int64_t row_id, char out[IDENTITY_ID_LEN + 1]);
bool identity_id_parse(const char *text, int64_t *ret_row_id);
