#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

static const char *log_role = "tarn";

void log_set_role(const char *role)
{
	log_role = role;
}

static void log_line(const char *level, const char *fmt, va_list args)
{
	char line[2048], now[CLOCK_TEXT_MAX];
	clock_format_timestamp(clock_wall_usec() / 1000 * 1000, now);
	int head = snprintf(line, sizeof line, "%s %s %s: ", now, level, log_role);
	if (head < 0 || (size_t)head >= sizeof line - 2)
		return;
	int len = vsnprintf(line + head, sizeof line - (size_t)head - 1, fmt, args);
	if (len < 0)
		return;
	size_t end = strlen(line);
	for (size_t i = (size_t)head; i < end; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[end++] = '\n';
	(void)!write(STDERR_FILENO, line, end); /* one write: lines of several processes do not mix */
}

#define LOG_FUNCTION(name, level)                                                                            \
	void name(const char *fmt, ...)                                                                      \
	{                                                                                                    \
		va_list args;                                                                                \
		va_start(args, fmt);                                                                         \
		log_line(level, fmt, args);                                                                  \
		va_end(args);                                                                                \
	}

LOG_FUNCTION(log_info, "info")
LOG_FUNCTION(log_warning, "warning")
LOG_FUNCTION(log_error, "error")
