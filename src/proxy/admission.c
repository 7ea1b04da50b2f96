#include "proxy/admission.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct admission_group {
	struct text_link link;
	size_t count;
	char key[ENDPOINT_UID_MAX + sizeof "-pooler"];
};

struct admission {
	size_t max, reserved, few;
	size_t count;
	struct text_map endpoints, projects;
};

struct admission *admission_create(size_t max)
{
	struct admission *admission = xcalloc(1, sizeof *admission);
	admission->max = max;
	admission->reserved = max / 8;
	admission->few = admission->reserved / 2 < ADMISSION_FEW ? admission->reserved / 2 : ADMISSION_FEW;
	return admission;
}

struct admission *admission_free(struct admission *admission)
{
	if (!admission)
		return NULL;
	assert(admission->count == 0);
	text_map_done(&admission->endpoints);
	text_map_done(&admission->projects);
	free(admission);
	return NULL;
}

size_t admission_count(const struct admission *admission)
{
	return admission->count;
}

size_t admission_max(const struct admission *admission)
{
	return admission->max;
}

static struct admission_group *group_find(const struct text_map *map, const char *key)
{
	struct text_link *link = text_map_find(map, key);
	return link ? TEXT_MAP_THING(link, struct admission_group, link) : NULL;
}

static size_t group_count(const struct text_map *map, const char *key)
{
	const struct admission_group *group = group_find(map, key);
	return group ? group->count : 0;
}

static struct admission_group *group_enter(struct text_map *map, const char *key)
{
	struct admission_group *group = group_find(map, key);
	if (!group) {
		group = xcalloc(1, sizeof *group);
		(void)snprintf(group->key, sizeof group->key, "%s", key);
		text_map_add(map, &group->link, group->key);
	}
	group->count++;
	return group;
}

static void group_leave(struct text_map *map, struct admission_group *group)
{
	if (--group->count > 0)
		return;
	text_map_remove(map, &group->link);
	free(group);
}

bool admission_enter(struct admission *admission, const struct endpoint *endpoint, bool is_pooled,
        struct admission_place *place, struct refusal *ret)
{
	char uid[ENDPOINT_UID_MAX + sizeof "-pooler"]; /* uids do not end so */
	(void)snprintf(uid, sizeof uid, "%s%s", endpoint->uid, is_pooled ? "-pooler" : "");
	uint64_t max = is_pooled ? endpoint->pooled_connections_max : endpoint->connections_max;
	size_t of_endpoint = group_count(&admission->endpoints, uid);
	size_t of_project = group_count(&admission->projects, endpoint->project);
	size_t left = admission->max - admission->count;
	assert(!place->admission);
	if (max > 0 && of_endpoint >= max) {
		refusal_endpoint_full(ret, endpoint->name, max, is_pooled);
		return false;
	}
	if (endpoint->project_connections_max > 0 && of_project >= endpoint->project_connections_max) {
		refusal_project_full(ret, endpoint->name, endpoint->project_connections_max);
		return false;
	}
	if (left == 0 || (left <= admission->reserved && of_endpoint >= admission->few)) {
		refusal_too_many(ret, admission->max, left > 0);
		return false;
	}
	*place = (struct admission_place){ .admission = admission,
		.endpoint = group_enter(&admission->endpoints, uid),
		.project = group_enter(&admission->projects, endpoint->project) };
	admission->count++;
	return true;
}

void admission_leave(struct admission_place *place)
{
	struct admission *admission = place->admission;
	if (!admission)
		return;
	group_leave(&admission->endpoints, place->endpoint);
	group_leave(&admission->projects, place->project);
	admission->count--;
	*place = (struct admission_place){ 0 };
}
