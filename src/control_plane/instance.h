/*
 * Instance: the older `/api/2.0/database` API as a view on projects, so that code written for it keeps working. An instance is the
 * branch `production` of a project with its read-write endpoint, or a branch that was made through this API (a child). What cannot be
 * said in its words is said in those of today; see docs/instances.md.
 */
#pragma once

#include "control_plane/call.h"
#include "control_plane/instance_fields.h"
#include "metadata/instance_row.h"

bool instance_create(struct call *call);
bool instance_list(struct call *call);
bool instance_get(struct call *call);
bool instance_find_by_uid(struct call *call);
bool instance_update(struct call *call);
bool instance_delete(struct call *call);
/* What it asks for is so already. */
bool instance_upgrade(struct call *call);

/* A live one and all it is made of. */
struct instance {
	struct instance_row row;
	struct project_row project;
	struct branch_row branch;
	struct endpoint_row endpoint; /* the read-write one */
};
void instance_done(struct instance *instance); /* for CLEANUP */

/* 404 with that name; says why when it is missing because it could not be made. */
bool instance_find(struct call *call, const char *name, struct instance *ret);

static inline bool instance_is_child(const struct instance *instance)
{
	return instance->branch.source != 0;
}

/* As every answer has it. `given` is what the request has set, which answers to changes repeat; NULL in others. */
bool instance_to_json(struct call *call, const struct instance *instance, const struct instance_fields *given,
        yyjson_mut_val **ret);
