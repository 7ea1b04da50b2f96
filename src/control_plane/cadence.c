#include "control_plane/cadence.h"

#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "control_plane/fields.h"

#define DAY_SEC 86400

static const char *const weekdays[] = { "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY",
	"SUNDAY" };
static const char *const schedules[] = {
	[CADENCE_DAILY] = "daily_schedule",
	[CADENCE_WEEKLY] = "weekly_schedule",
	[CADENCE_MONTHLY] = "monthly_schedule",
};

static bool read_whole(yyjson_val *object, const char *path, const char *key, int min, int max,
        bool is_required, int *ret, struct api_error *error)
{
	struct integer_field field;
	if (!field_integer(object, path, key, &field, error))
		return false;
	if ((is_required && !field.is_set) || (field.is_set && (field.value < min || field.value > max)))
		return api_fail(error, API_INVALID_PARAMETER, "Field '%s.%s' must be between %d and %d.",
		        path, key, min, max);
	if (field.is_set)
		*ret = (int)field.value;
	return true;
}

static bool read_weekday(yyjson_val *object, const char *path, int *ret, struct api_error *error)
{
	struct text_field field;
	if (!field_text(object, path, "day_of_week", &field, error))
		return false;
	for (size_t i = 0; field.is_set && i < ARRAY_LEN(weekdays); i++) {
		if (strcmp(field.text, weekdays[i]) == 0) {
			*ret = (int)i;
			return true;
		}
	}
	return api_fail(
	        error, API_INVALID_PARAMETER, "Field '%s.day_of_week' must be MONDAY to SUNDAY.", path);
}

static bool read_one(yyjson_val *value, const char *path, struct cadence *ret, struct api_error *error)
{
	struct cadence cadence = { 0 };
	struct time_field retention;
	yyjson_val *schedule = NULL;
	int kinds = 0;
	if (!yyjson_is_obj(value))
		return api_fail(error, API_INVALID_PARAMETER, "Field '%s' must be an object.", path);
	if (!field_duration(value, path, "retention", &retention, error))
		return false;
	if (!retention.is_set || retention.usec < CADENCE_RETENTION_MIN_SEC * USEC_PER_SEC ||
	        retention.usec > CADENCE_RETENTION_MAX_SEC * USEC_PER_SEC)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field '%s.retention' is required, between %ds and %ds.", path,
		        CADENCE_RETENTION_MIN_SEC, CADENCE_RETENTION_MAX_SEC);
	for (size_t i = 0; i < ARRAY_LEN(schedules); i++) {
		yyjson_val *one;
		if (!field_object(value, path, schedules[i], &one, error))
			return false;
		if (!one)
			continue;
		kinds++;
		cadence.kind = (enum cadence_kind)i;
		schedule = one;
	}
	if (kinds != 1)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field '%s': exactly one of daily_schedule, weekly_schedule and monthly_schedule "
		        "must be "
		        "set.",
		        path);
	char inner[64];
	(void)snprintf(inner, sizeof inner, "%s.%s", path, schedules[cadence.kind]);
	cadence.retention_usec = retention.usec;
	if (!read_whole(schedule, inner, "hour", 0, 23, false, &cadence.hour, error) ||
	        (cadence.kind == CADENCE_WEEKLY && !read_weekday(schedule, inner, &cadence.day, error)) ||
	        (cadence.kind == CADENCE_MONTHLY &&
	                !read_whole(schedule, inner, "day", 1, 31, true, &cadence.day, error)))
		return false;
	*ret = cadence;
	return true;
}

bool cadence_list_read(yyjson_val *list, struct cadence_list *ret, struct api_error *error)
{
	struct cadence_list result = { 0 };
	if (yyjson_arr_size(list) > CADENCES_MAX)
		return api_fail(error, API_INVALID_PARAMETER, "Field 'schedule' has more than %d cadences.",
		        CADENCES_MAX);
	size_t i, count;
	yyjson_val *value;
	yyjson_arr_foreach(list, i, count, value)
	{
		char path[32];
		(void)snprintf(path, sizeof path, "schedule[%zu]", i);
		if (!read_one(value, path, &result.cadences[result.count++], error))
			return false;
	}
	*ret = result;
	return true;
}

yyjson_mut_val *cadence_list_to_json(yyjson_mut_doc *doc, const struct cadence_list *list)
{
	yyjson_mut_val *root = yyjson_mut_arr(doc);
	for (size_t i = 0; i < list->count; i++) {
		const struct cadence *cadence = &list->cadences[i];
		yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, root);
		json_add_duration(doc, item, "retention", cadence->retention_usec);
		yyjson_mut_val *schedule = yyjson_mut_obj_add_obj(doc, item, schedules[cadence->kind]);
		if (cadence->kind == CADENCE_WEEKLY)
			yyjson_mut_obj_add_str(doc, schedule, "day_of_week", weekdays[cadence->day]);
		if (cadence->kind == CADENCE_MONTHLY)
			yyjson_mut_obj_add_int(doc, schedule, "day", cadence->day);
		yyjson_mut_obj_add_int(doc, schedule, "hour", cadence->hour); /* 0 too: the SDK drops {} */
	}
	return root;
}

/* Of the month that is `months` behind that of `sec`. */
static int64_t in_month(const struct cadence *cadence, int64_t sec, int months)
{
	time_t seconds = (time_t)sec;
	struct tm now = { 0 };
	(void)gmtime_r(&seconds, &now);
	/* The day before the first of the month after. */
	struct tm last = { .tm_year = now.tm_year, .tm_mon = now.tm_mon + months + 1, .tm_mday = 0 };
	struct tm at = { .tm_year = now.tm_year, .tm_mon = now.tm_mon + months, .tm_hour = cadence->hour };
	(void)timegm(&last); /* normalises */
	at.tm_mday = cadence->day < last.tm_mday ? cadence->day : last.tm_mday;
	return (int64_t)timegm(&at);
}

int64_t cadence_next(const struct cadence *cadence, int64_t after_usec)
{
	int64_t after = after_usec / USEC_PER_SEC;
	int64_t at = after / DAY_SEC * DAY_SEC + cadence->hour * 3600;
	switch (cadence->kind) {
	case CADENCE_DAILY:
		break;
	case CADENCE_WEEKLY: {
		int64_t weekday = (after / DAY_SEC + 3) % 7; /* 1970 began on a Thursday */
		at += (cadence->day - weekday + 7) % 7 * DAY_SEC;
		break;
	}
	case CADENCE_MONTHLY:
		at = in_month(cadence, after, 0);
		return (at > after ? at : in_month(cadence, after, 1)) * USEC_PER_SEC;
	}
	if (at <= after)
		at += cadence->kind == CADENCE_WEEKLY ? 7 * DAY_SEC : DAY_SEC;
	return at * USEC_PER_SEC;
}

int64_t cadence_list_next(const struct cadence_list *list, int64_t after_usec)
{
	int64_t next = INT64_MAX;
	for (size_t i = 0; i < list->count; i++) {
		int64_t one = cadence_next(&list->cadences[i], after_usec);
		if (one < next)
			next = one;
	}
	return next;
}

int64_t cadence_list_fired(const struct cadence_list *list, int64_t from_usec, int64_t to_usec)
{
	int64_t retention = 0;
	for (size_t i = 0; i < list->count; i++) {
		const struct cadence *cadence = &list->cadences[i];
		if (cadence->retention_usec > retention && cadence_next(cadence, from_usec) <= to_usec)
			retention = cadence->retention_usec;
	}
	return retention;
}
