/*
 * Settings file: settings.json of a data directory, to and from `struct settings`. Everything read from it is
 * checked like input from outside, because people edit it. docs/formats/data_directory.md describes its
 * members.
 */
#pragma once

#include "data_directory/data_directory.h"

/* The documented defaults, without workspace_id and postgres_user. Release with settings_done(). */
void settings_set_defaults(struct settings *settings);
void settings_done(struct settings *settings);

/* Takes over what `changes` sets: NULL and 0 mean keep, an empty domain means none. */
void settings_change(struct settings *settings, const struct settings *changes);
bool settings_equal(const struct settings *a, const struct settings *b);

/* STATUS_INVALID with the name of the member and what it may be. */
MUST_CHECK status settings_check(const struct settings *settings, struct error *err);

/*
 * STATUS_NOT_FOUND when there is no file, STATUS_UNSUPPORTED when a newer Tarn wrote it, STATUS_CORRUPT or
 * STATUS_INVALID when it is not what it must be. On success *ret is to be released with settings_done().
 */
MUST_CHECK status settings_file_read(const char *path, struct settings *ret, struct error *err);
MUST_CHECK status settings_file_write(const char *path, const struct settings *settings, struct error *err);
