/*
 * Cadence: how often scheduled snapshots of a branch are made, and for how long they are kept (rest-api.md 3.13). All in UTC; without any clock:
 * whoever asks says what time it is.
 */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "control_plane/api_error.h"

#define CADENCES_MAX              32
#define CADENCE_RETENTION_MIN_SEC 3600
#define CADENCE_RETENTION_MAX_SEC 315360000 /* ten years */

enum cadence_kind { CADENCE_DAILY, CADENCE_WEEKLY, CADENCE_MONTHLY };

struct cadence {
	enum cadence_kind kind;
	int hour; /* 0 to 23 */
	int day;  /* WEEKLY: 0 Monday to 6 Sunday. MONTHLY: 1 to 31, at most the month's last day counts */
	int64_t retention_usec;
};

struct cadence_list {
	struct cadence cadences[CADENCES_MAX];
	size_t count;
};

/* list: the JSON list of a request, or what cadence_list_to_json() made; NULL: none. The error names the element. */
bool cadence_list_read(yyjson_val *list, struct cadence_list *ret, struct api_error *error);
yyjson_mut_val *cadence_list_to_json(yyjson_mut_doc *doc, const struct cadence_list *list);

/* The first firing after that moment. */
int64_t cadence_next(const struct cadence *cadence, int64_t after_usec);
/* The first of all; INT64_MAX when the list is empty. */
int64_t cadence_list_next(const struct cadence_list *list, int64_t after_usec);
/*
 * What fired in (from, to]: all that did are one snapshot, kept as long as the most demanding of them says. However often each fired meanwhile. 0: none.
 */
int64_t cadence_list_fired(const struct cadence_list *list, int64_t from_usec, int64_t to_usec);
