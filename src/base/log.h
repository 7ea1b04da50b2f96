/*
 * Log: one line per event on stderr: time, level, role, text. Control characters in the text become '?', so that
 * a hostile name cannot forge a line. Secrets never go in here. Set the role name once, before any thread starts.
 */
#pragma once

#include "base/base.h"

void log_set_role(const char *role); /* borrowed for ever: a literal */
PRINTF_LIKE(1) void log_info(const char *fmt, ...);
PRINTF_LIKE(1) void log_warning(const char *fmt, ...);
PRINTF_LIKE(1) void log_error(const char *fmt, ...);
