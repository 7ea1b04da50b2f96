#include "control_plane/clone_plan.h"

#include <stdio.h>
#include <yyjson.h>

#include "base/number.h"

static const char *const kinds[] = {
	[MOMENT_HEAD] = "head",
	[MOMENT_LSN] = "lsn",
	[MOMENT_TIME] = "time",
	[MOMENT_SNAPSHOT] = "snapshot",
};

char *clone_plan_format(const struct clone_plan *plan)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	char lsn[LSN_TEXT_MAX];
	lsn_format(plan->moment.lsn, lsn);
	yyjson_mut_obj_add_str(doc, root, "moment", kinds[plan->moment.kind]);
	if (plan->moment.kind == MOMENT_LSN)
		yyjson_mut_obj_add_str(doc, root, "lsn", lsn);
	if (plan->moment.kind == MOMENT_TIME)
		yyjson_mut_obj_add_sint(doc, root, "time_usec", plan->moment.time_usec);
	if (plan->moment.kind == MOMENT_SNAPSHOT) {
		yyjson_mut_obj_add_str(doc, root, "snapshot", plan->moment.snapshot);
		yyjson_mut_obj_add_sint(doc, root, "snapshot_row", plan->moment.snapshot_row);
	}
	yyjson_mut_obj_add_str(doc, root, "volume", plan->volume);
	yyjson_mut_obj_add_uint(doc, root, "timeline", plan->timeline);
	yyjson_mut_obj_add_str(doc, root, "old_volume", plan->old_volume);
	yyjson_mut_obj_add_str(doc, root, "kept_branch", plan->kept_branch);
	yyjson_mut_obj_add_bool(doc, root, "was_running", plan->was_running);
	char *text = yyjson_mut_write(doc, 0, NULL);
	yyjson_mut_doc_free(doc);
	return text ? text : xstrdup("{}");
}

static bool read_id(yyjson_val *root, const char *name, char out[RESOURCE_ID_MAX + 1])
{
	const char *text = yyjson_get_str(yyjson_obj_get(root, name));
	if (!text || strlen(text) > RESOURCE_ID_MAX)
		return false;
	(void)snprintf(out, RESOURCE_ID_MAX + 1, "%s", text);
	return true;
}

static bool read_moment(yyjson_val *root, struct moment *ret)
{
	yyjson_val *kind = yyjson_obj_get(root, "moment"), *value;
	size_t i = 0;
	while (i < ARRAY_LEN(kinds) && !yyjson_equals_str(kind, kinds[i]))
		i++;
	ret->kind = (enum moment_kind)i;
	switch (ret->kind) {
	case MOMENT_HEAD:
		return true;
	case MOMENT_LSN:
		value = yyjson_obj_get(root, "lsn");
		return yyjson_is_str(value) && lsn_parse(slice_from_text(yyjson_get_str(value)), &ret->lsn);
	case MOMENT_TIME:
		value = yyjson_obj_get(root, "time_usec");
		ret->time_usec = yyjson_get_sint(value);
		return yyjson_is_int(value);
	case MOMENT_SNAPSHOT:
		value = yyjson_obj_get(root, "snapshot_row");
		ret->snapshot_row = yyjson_get_sint(value);
		return yyjson_is_int(value) && read_id(root, "snapshot", ret->snapshot);
	}
	return false;
}

static bool read_plan(yyjson_val *root, struct clone_plan *ret)
{
	yyjson_val *timeline = yyjson_obj_get(root, "timeline"),
	           *was_running = yyjson_obj_get(root, "was_running");
	if (!yyjson_is_uint(timeline) || yyjson_get_uint(timeline) > UINT32_MAX ||
	        !yyjson_is_bool(was_running))
		return false;
	ret->timeline = (uint32_t)yyjson_get_uint(timeline);
	ret->was_running = yyjson_get_bool(was_running);
	return read_moment(root, &ret->moment) && read_id(root, "volume", ret->volume) &&
	       read_id(root, "old_volume", ret->old_volume) && read_id(root, "kept_branch", ret->kept_branch);
}

status clone_plan_parse(const char *text, struct clone_plan *ret, struct error *err)
{
	yyjson_doc *doc = text ? yyjson_read(text, strlen(text), 0) : NULL;
	struct clone_plan plan = { 0 };
	bool is_good = doc && read_plan(yyjson_doc_get_root(doc), &plan);
	yyjson_doc_free(doc);
	if (!is_good)
		return error_set(err, STATUS_CORRUPT, 0, "the plan of an operation cannot be read");
	*ret = plan;
	return STATUS_OK;
}
