#include "base/clock.h"

#include <stdio.h>
#include <time.h>

#define LAST_SECOND 253402300799ll /* 9999-12-31T23:59:59Z */

static int64_t clock_read(clockid_t id)
{
	struct timespec ts;
	(void)clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

int64_t clock_wall_usec(void)
{
	return clock_read(CLOCK_REALTIME);
}

int64_t clock_monotonic_usec(void)
{
	return clock_read(CLOCK_MONOTONIC);
}

static void format_fraction(int64_t usec, char out[8])
{
	if (usec == 0)
		out[0] = '\0';
	else if (usec % 1000 == 0)
		(void)snprintf(out, 8, ".%03d", (int)(usec / 1000 % 1000));
	else
		(void)snprintf(out, 8, ".%06d", (int)(usec % 1000000));
}

void clock_format_timestamp(int64_t wall_usec, char out[CLOCK_TEXT_MAX])
{
	int64_t fraction = wall_usec % USEC_PER_SEC;
	if (fraction < 0)
		fraction += USEC_PER_SEC;
	time_t seconds = (time_t)((wall_usec - fraction) / USEC_PER_SEC);
	struct tm tm;
	char text[24], frac[8];
	if (!gmtime_r(&seconds, &tm) || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
		text[0] = '\0';
	format_fraction(fraction, frac);
	(void)snprintf(out, CLOCK_TEXT_MAX, "%s%sZ", text, frac);
}

/* Reads exactly `count` digits at *pos. */
static bool read_digits(struct slice text, size_t *pos, int count, int *ret)
{
	int value = 0;
	for (int i = 0; i < count; i++, (*pos)++) {
		if (*pos >= text.len || text.data[*pos] < '0' || text.data[*pos] > '9')
			return false;
		value = value * 10 + (text.data[*pos] - '0');
	}
	*ret = value;
	return true;
}

static bool read_char(struct slice text, size_t *pos, const char *any_of)
{
	if (*pos >= text.len || text.data[*pos] == '\0' || !strchr(any_of, text.data[*pos]))
		return false;
	(*pos)++;
	return true;
}

/* Reads an optional ".123"; digits beyond microseconds are cut off. */
static bool read_fraction(struct slice text, size_t *pos, int64_t *ret_usec)
{
	*ret_usec = 0;
	if (!read_char(text, pos, "."))
		return true;
	int digits = 0;
	int64_t value = 0;
	while (*pos < text.len && text.data[*pos] >= '0' && text.data[*pos] <= '9') {
		if (digits < 6)
			value = value * 10 + (text.data[*pos] - '0');
		digits++;
		(*pos)++;
	}
	if (digits < 1 || digits > 9)
		return false;
	for (int i = digits; i < 6; i++)
		value *= 10;
	*ret_usec = value;
	return true;
}

bool clock_parse_timestamp(struct slice text, int64_t *ret_wall_usec)
{
	size_t pos = 0;
	struct tm tm = { 0 };
	int64_t fraction;
	if (!read_digits(text, &pos, 4, &tm.tm_year) || !read_char(text, &pos, "-") ||
	        !read_digits(text, &pos, 2, &tm.tm_mon) || !read_char(text, &pos, "-") ||
	        !read_digits(text, &pos, 2, &tm.tm_mday) || !read_char(text, &pos, "Tt ") ||
	        !read_digits(text, &pos, 2, &tm.tm_hour) || !read_char(text, &pos, ":") ||
	        !read_digits(text, &pos, 2, &tm.tm_min) || !read_char(text, &pos, ":") ||
	        !read_digits(text, &pos, 2, &tm.tm_sec) || !read_fraction(text, &pos, &fraction))
		return false;
	if (tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 ||
	        tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
		return false;
	int offset_sec = 0;
	if (!read_char(text, &pos, "Zz")) {
		int hours, minutes;
		bool west = pos < text.len && text.data[pos] == '-';
		if (!read_char(text, &pos, "+-") || !read_digits(text, &pos, 2, &hours) ||
		        !read_char(text, &pos, ":") || !read_digits(text, &pos, 2, &minutes))
			return false;
		if (hours > 23 || minutes > 59)
			return false;
		offset_sec = (hours * 60 + minutes) * 60 * (west ? -1 : 1);
	}
	if (pos != text.len)
		return false;
	static const int days_in_month[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool is_leap = tm.tm_year % 4 == 0 && (tm.tm_year % 100 != 0 || tm.tm_year % 400 == 0);
	if (tm.tm_mday > days_in_month[tm.tm_mon - 1] || (tm.tm_mon == 2 && tm.tm_mday == 29 && !is_leap))
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	int64_t seconds = (int64_t)timegm(&tm) - offset_sec;
	/* An offset or a leap second may lead out of the years that the text form can show again. */
	if (seconds < 0 || seconds > LAST_SECOND)
		return false;
	*ret_wall_usec = seconds * USEC_PER_SEC + fraction;
	return true;
}

void clock_format_duration(int64_t usec, char out[CLOCK_TEXT_MAX])
{
	char frac[8];
	int64_t magnitude = usec < 0 ? -usec : usec;
	format_fraction(magnitude % USEC_PER_SEC, frac);
	(void)snprintf(out, CLOCK_TEXT_MAX, "%s%lld%ss", usec < 0 ? "-" : "",
	        (long long)(magnitude / USEC_PER_SEC), frac);
}

bool clock_parse_duration(struct slice text, int64_t *ret_usec)
{
	size_t pos = 0;
	bool negative = read_char(text, &pos, "-");
	int64_t seconds = 0, fraction;
	size_t first = pos;
	while (pos < text.len && text.data[pos] >= '0' && text.data[pos] <= '9') {
		if (pos - first >= 12)
			return false; /* 12 digits are 31,000 years */
		seconds = seconds * 10 + (text.data[pos++] - '0');
	}
	if (pos == first || !read_fraction(text, &pos, &fraction) || !read_char(text, &pos, "s") ||
	        pos != text.len)
		return false;
	int64_t value = seconds * USEC_PER_SEC + fraction;
	*ret_usec = negative ? -value : value;
	return true;
}
