/*
 * Admission: may one more client, who has proven who he is, have a connection? Asked before a compute is started for it.
 *
 * Invariants
 *   A1  an endpoint has at most as many as its compute takes, and as many more as its pooler takes; a project as many as the settings say. All three
 *       come with the route.
 *   A2  all together are at most `max`: there is a descriptor for each client and for each compute's side.
 *   A3  the last eighth of these is for endpoints that have few: however many one has, others still get theirs.
 * Threads: the loop's.
 */
#pragma once

#include "base/base.h"
#include "base/text_map.h"
#include "proxy/control_link.h"
#include "proxy/refusal.h"

#define ADMISSION_FEW 16u /* A3; less where there are few altogether */

struct admission;

/* What a session holds once it is let in. Zero-initialised: nothing. */
struct admission_place {
	struct admission *admission; /* NULL: none */
	struct admission_group *endpoint, *project;
};

struct admission *admission_create(size_t max);
struct admission *admission_free(struct admission *admission); /* all places have been left; NULL is fine */
size_t admission_count(const struct admission *admission);
size_t admission_max(const struct admission *admission);

/* False: *ret says which limit was reached. */
MUST_CHECK bool admission_enter(struct admission *admission, const struct endpoint *endpoint, bool is_pooled,
        struct admission_place *place, struct refusal *ret);
void admission_leave(struct admission_place *place); /* without a place it does nothing */
