#include "base/clock.h"
#include "base/number.h"
#include "control_plane/instance.h"
#include "control_plane/resource_json.h"

static void add_text(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, const char *text)
{
	if (text && *text)
		yyjson_mut_obj_add_strcpy(doc, object, key, text);
}

static void add_lsn(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, uint64_t lsn)
{
	char text[LSN_TEXT_MAX];
	if (lsn == 0)
		return;
	lsn_format(lsn, text);
	yyjson_mut_obj_add_strcpy(doc, object, key, text);
}

/* `child` has the moment; `other` is whom the reference names. */
static void fill_ref(yyjson_mut_doc *doc, yyjson_mut_val *ref, const struct instance_row *other,
        const struct instance_row *child, uint64_t source_lsn)
{
	yyjson_mut_obj_add_strcpy(doc, ref, "name", other->name);
	yyjson_mut_obj_add_strcpy(doc, ref, "uid", other->uid);
	if (child->parent_usec != 0)
		json_add_timestamp(doc, ref, "branch_time", child->parent_usec);
	add_lsn(doc, ref, "lsn", child->parent_lsn);
	add_lsn(doc, ref, "effective_lsn", source_lsn);
}

static status add_parent(struct metadata *md, yyjson_mut_doc *doc, yyjson_mut_val *root,
        const struct instance *instance, struct error *err)
{
	CLEANUP(instance_row_done) struct instance_row parent = { 0 };
	status st = instance_row_find_branch(md, instance->branch.source, &parent, err);
	if (st == STATUS_OK)
		fill_ref(doc, yyjson_mut_obj_add_obj(doc, root, "parent_instance_ref"), &parent,
		        &instance->row, instance->branch.source_lsn);
	return st == STATUS_NOT_FOUND ? STATUS_OK : st;
}

static status add_children(
        struct metadata *md, yyjson_mut_doc *doc, yyjson_mut_val *root, int64_t branch, struct error *err)
{
	yyjson_mut_val *list = NULL;
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = instance_row_list_children(md, branch, &st, err);
	while (code == STATUS_OK) {
		CLEANUP(instance_row_done) struct instance_row child = { 0 };
		struct branch_row row;
		code = instance_row_next(&st, &child, err);
		if (code == STATUS_NOT_FOUND)
			return STATUS_OK;
		if (code == STATUS_OK)
			code = branch_row_get(md, child.branch, &row, err);
		if (code != STATUS_OK)
			break;
		if (!list)
			list = yyjson_mut_obj_add_arr(doc, root, "child_instance_refs");
		fill_ref(doc, yyjson_mut_arr_add_obj(doc, list), &child, &child, row.source_lsn);
	}
	return code;
}

/*
 * A compute that sleeps is AVAILABLE: whoever connects wakes it, and clients of this API connect to nothing else. There is no
 * DELETING, because a name is free at once.
 */
static status state_of(
        struct metadata *md, const struct instance *instance, const char **ret, struct error *err)
{
	bool is_updating = false;
	if (!instance->branch.is_ready) {
		*ret = "STARTING";
		return STATUS_OK;
	}
	status st = operation_row_is_open(
	        md, operation_kind_name(OPERATION_ENDPOINT_UPDATE), instance->endpoint.id, &is_updating, err);
	*ret = is_updating || instance->branch.is_resetting ? "UPDATING"
	       : instance->endpoint.is_disabled             ? "STOPPED"
	                                                    : "AVAILABLE";
	return st;
}

static void add_given(yyjson_mut_doc *doc, yyjson_mut_val *root, const struct instance_fields *given)
{
	if (given->custom_tags)
		yyjson_mut_obj_add_val(doc, root, "custom_tags", yyjson_mut_rawcpy(doc, given->custom_tags));
	if (given->native_login.is_set)
		yyjson_mut_obj_add_bool(doc, root, "enable_pg_native_login", given->native_login.value);
	if (given->readable_secondaries.is_set)
		yyjson_mut_obj_add_bool(
		        doc, root, "enable_readable_secondaries", given->readable_secondaries.value);
	if (given->node_count.is_set)
		yyjson_mut_obj_add_sint(doc, root, "node_count", given->node_count.value);
	if (given->retention_days.is_set)
		yyjson_mut_obj_add_sint(doc, root, "retention_window_in_days", given->retention_days.value);
	if (given->is_stopped.is_set)
		yyjson_mut_obj_add_bool(doc, root, "stopped", given->is_stopped.value);
	if (given->usage_policy_id.is_set)
		yyjson_mut_obj_add_strcpy(doc, root, "usage_policy_id", given->usage_policy_id.text);
}

bool instance_to_json(struct call *call, const struct instance *instance, const struct instance_fields *given,
        yyjson_mut_val **ret)
{
	struct error err;
	struct metadata *md = call->services->md;
	yyjson_mut_doc *doc = call->out;
	const struct instance_row *row = &instance->row;
	const struct project_row *project = &instance->project;
	const char *state = NULL;
	const char *capacity = instance_capacity(instance->endpoint.max_cu);
	if (state_of(md, instance, &state, &err) != STATUS_OK)
		return call_fail(call, &err);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_obj_add_strcpy(doc, root, "name", row->name);
	yyjson_mut_obj_add_strcpy(doc, root, "uid", row->uid);
	yyjson_mut_obj_add_strcpy(doc, root, "creator", row->creator);
	json_add_timestamp(doc, root, "creation_time", instance->branch.create_usec);
	yyjson_mut_obj_add_str(doc, root, "state", state);
	CLEANUP(free_text) char *version = xasprintf("PG_VERSION_%d", project->pg_version);
	yyjson_mut_obj_add_strcpy(doc, root, "pg_version", version);
	CLEANUP(free_text) char *host = endpoint_host(call->services->dd, &instance->endpoint);
	yyjson_mut_obj_add_strcpy(doc, root, "read_write_dns", host);
	yyjson_mut_obj_add_str(doc, root, "capacity", capacity);
	if (given)
		add_given(doc, root, given);

	yyjson_mut_obj_add_str(doc, root, "effective_capacity", capacity);
	if (strcmp(row->custom_tags, "[]") != 0)
		yyjson_mut_obj_add_val(
		        doc, root, "effective_custom_tags", yyjson_mut_rawcpy(doc, row->custom_tags));
	yyjson_mut_obj_add_bool(
	        doc, root, "effective_enable_pg_native_login", project->enable_pg_native_login);
	yyjson_mut_obj_add_bool(doc, root, "effective_enable_readable_secondaries", false);
	yyjson_mut_obj_add_int(doc, root, "effective_node_count", 1);
	yyjson_mut_obj_add_sint(doc, root, "effective_retention_window_in_days",
	        instance_retention_days(project->history_retention_usec));
	yyjson_mut_obj_add_bool(doc, root, "effective_stopped", instance->endpoint.is_disabled);
	add_text(doc, root, "effective_usage_policy_id", row->usage_policy_id);
	if ((instance_is_child(instance) && add_parent(md, doc, root, instance, &err) != STATUS_OK) ||
	        add_children(md, doc, root, instance->branch.id, &err) != STATUS_OK)
		return call_fail(call, &err);
	*ret = root;
	return true;
}
