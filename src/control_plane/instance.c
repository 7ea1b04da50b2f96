#include "control_plane/instance.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/number.h"
#include "base/random.h"
#include "control_plane/access.h"
#include "control_plane/branch.h"
#include "control_plane/endpoint.h"
#include "control_plane/housekeeper.h"
#include "control_plane/project.h"
#include "control_plane/resource_json.h"

/* How long the reason of a failed creation is told to whoever asks for the name. */
#define FAILURE_TOLD_SEC 3600

void instance_done(struct instance *instance)
{
	instance_row_done(&instance->row);
	project_row_done(&instance->project);
	endpoint_row_done(&instance->endpoint);
	*instance = (struct instance){ 0 };
}

/* This API has no operations, so this is where the reason of a failed one can be told. */
static bool fail_missing(struct call *call, const char *name)
{
	struct error err;
	CLEANUP(operation_row_done) struct operation_row failed = { 0 };
	char id[RESOURCE_ID_MAX + 1];
	status st = STATUS_NOT_FOUND;
	if (instance_name_is_valid(name)) {
		instance_id(name, id);
		st = operation_row_find_failed_create(call->services->md, call->caller.login, id,
		        call->now_usec - FAILURE_TOLD_SEC * USEC_PER_SEC, &failed, &err);
	}
	if (st != STATUS_OK && st != STATUS_NOT_FOUND)
		return call_fail(call, &err);
	if (st == STATUS_OK) {
		yyjson_doc *doc = yyjson_read(failed.error, strlen(failed.error), 0);
		const char *why = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "message"));
		(void)api_fail(&call->error, API_NOT_FOUND,
		        "database instance '%s' not found; it could not be created: %.600s", name,
		        why ? why : "the reason is not known");
		yyjson_doc_free(doc);
		return false;
	}
	return api_fail(&call->error, API_NOT_FOUND, "database instance '%.200s' not found", name);
}

/* Takes what `row` owns when it succeeds. */
static bool load(struct call *call, struct instance_row *row, struct instance *ret)
{
	struct error err;
	CLEANUP(instance_done) struct instance instance = { 0 };
	if (!call_find_project(call, row->project_id, &instance.project))
		return false;
	status st = branch_row_get(call->services->md, row->branch, &instance.branch, &err);
	if (st == STATUS_OK)
		st = endpoint_row_find_writer(call->services->md, row->branch, &instance.endpoint, &err);
	if (st != STATUS_OK)
		return call_fail(call, &err);
	instance.row = *row;
	*row = (struct instance_row){ 0 };
	*ret = instance;
	instance = (struct instance){ 0 };
	return true;
}

/* `name` is only what messages call it. */
static bool take_found(struct call *call, status found, struct instance_row *row, const char *name,
        struct error *err, struct instance *ret)
{
	if (found == STATUS_NOT_FOUND || (found == STATUS_OK && row->is_deleted))
		return fail_missing(call, name);
	if (found != STATUS_OK)
		return call_fail(call, err);
	return load(call, row, ret);
}

bool instance_find(struct call *call, const char *name, struct instance *ret)
{
	struct error err;
	CLEANUP(instance_row_done) struct instance_row row = { 0 };
	status st = instance_name_is_valid(name) ? instance_row_find(call->services->md, name, &row, &err)
	                                         : STATUS_NOT_FOUND;
	return take_found(call, st, &row, name, &err, ret);
}

static bool find_uid(struct call *call, const char *uid, struct instance *ret)
{
	struct error err;
	CLEANUP(instance_row_done) struct instance_row row = { 0 };
	status st = instance_row_find_uid(call->services->md, uid, &row, &err);
	if (st == STATUS_NOT_FOUND || (st == STATUS_OK && row.is_deleted))
		return api_fail(
		        &call->error, API_NOT_FOUND, "database instance with uid '%.100s' not found", uid);
	return take_found(call, st, &row, uid, &err, ret);
}

static bool answer(struct call *call, const struct instance *instance, const struct instance_fields *given)
{
	yyjson_mut_val *json;
	return instance_to_json(call, instance, given, &json) && call_answer(call, json);
}

/* After a change: as it is now. */
static bool answer_changed(struct call *call, const char *name, const struct instance_fields *given)
{
	CLEANUP(instance_done) struct instance instance = { 0 };
	return instance_find(call, name, &instance) && answer(call, &instance, given);
}

bool instance_get(struct call *call)
{
	CLEANUP(instance_done) struct instance instance = { 0 };
	return instance_find(call, call->parameters[0], &instance) && answer(call, &instance, NULL);
}

bool instance_upgrade(struct call *call)
{
	CLEANUP(instance_done) struct instance instance = { 0 };
	return instance_find(call, call->parameters[0], &instance) &&
	       call_answer(call, yyjson_mut_obj(call->out));
}

bool instance_find_by_uid(struct call *call)
{
	CLEANUP(instance_done) struct instance instance = { 0 };
	const char *uid = http_request_query(call->request, "uid");
	if (!uid || !*uid)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'uid' is required, expected non-default value (not \"\")!");
	return find_uid(call, uid, &instance) && answer(call, &instance, NULL);
}

bool instance_list(struct call *call)
{
	struct page page;
	if (!page_read(call->request, "instances", false, PAGE_SIZE_DEFAULT, &page, &call->error))
		return false;
	struct error err;
	struct project_viewer viewer;
	CLEANUP(statement_done) struct statement st = { 0 };
	if (instance_row_list(call->services->md, access_viewer(call, &viewer), page.after_id, page.size + 1,
	            &st, &err) != STATUS_OK)
		return call_fail(call, &err);
	struct call_list list;
	call_list_begin(call, "database_instances", &list);
	for (;;) {
		CLEANUP(instance_row_done) struct instance_row row = { 0 };
		CLEANUP(instance_done) struct instance instance = { 0 };
		yyjson_mut_val *json;
		status code = instance_row_next(&st, &row, &err);
		if (code == STATUS_NOT_FOUND ||
		        (code == STATUS_OK && !call_list_has_room(&list, &page, row.branch)))
			return call_list_answer(call, &list, &page, "instances");
		if (code != STATUS_OK)
			return call_fail(call, &err);
		if (!load(call, &row, &instance) || !instance_to_json(call, &instance, NULL, &json))
			return false;
		yyjson_mut_arr_append(list.items, json);
	}
}

/* Create. */

static bool read_new_name(
        struct call *call, const struct instance_fields *fields, char id[RESOURCE_ID_MAX + 1])
{
	struct error err;
	CLEANUP(instance_row_done) struct instance_row taken = { 0 };
	if (!fields->name.is_set)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'name' is required, expected non-default value (not \"\")!");
	if (!instance_name_is_valid(fields->name.text))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field name must match pattern " INSTANCE_NAME_PATTERN ", got '%.200s'.",
		        fields->name.text);
	instance_id(fields->name.text, id);
	status st = instance_row_find(call->services->md, fields->name.text, &taken, &err);
	if (st == STATUS_OK)
		return api_fail(&call->error, API_EXISTS, "database instance '%s' already exists%s",
		        taken.name,
		        taken.is_deleted ? "; it is deleted, but its name is not free before it is purged"
		                         : "");
	return st == STATUS_NOT_FOUND || call_fail(call, &err);
}

static void set_size(struct endpoint_row *endpoint, const char *capacity)
{
	endpoint->min_cu = endpoint->max_cu = instance_capacity_cu(capacity);
}

/* Of an instance that does not exist yet; custom_tags is taken from `fields`. */
static void make_row(
        struct call *call, const struct instance_fields *fields, const char *uid, struct instance_row *ret)
{
	*ret = (struct instance_row){ 0 };
	(void)snprintf(ret->name, sizeof ret->name, "%s", fields->name.text);
	(void)snprintf(ret->creator, sizeof ret->creator, "%s", call->caller.login);
	if (uid)
		(void)snprintf(ret->uid, sizeof ret->uid, "%s", uid);
	else
		random_uuid(ret->uid);
	ret->custom_tags = xstrdup(fields->custom_tags ? fields->custom_tags : "[]");
	ret->usage_policy_id = fields->usage_policy_id.is_set ? xstrdup(fields->usage_policy_id.text) : NULL;
}

static bool create_root(struct call *call, const struct instance_fields *fields,
        const struct instance_origin *origin, const char *id)
{
	CLEANUP(project_request_done) struct project_request request = { .project_id = id };
	CLEANUP(project_row_done) struct project_row project = { 0 };
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	request.fields = (struct project_fields){
		.display_name = fields->name,
		.pg_version = origin->pg_version,
		.native_login = fields->native_login,
		.custom_tags = fields->custom_tags ? xstrdup(fields->custom_tags) : NULL,
		.budget_policy_id = fields->usage_policy_id,
	};
	if (fields->retention_days.is_set)
		request.fields.history_retention = (struct time_field){ .is_set = true,
			.usec = fields->retention_days.value * 86400 * USEC_PER_SEC };
	if (origin->pg_version.is_set &&
	        !services_find_installation(call->services, (int)origin->pg_version.value))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'pg_version': no PostgreSQL %lld is installed on this machine; `tarn doctor` "
		        "lists what is.",
		        (long long)origin->pg_version.value);
	struct project_beginning beginning;
	if (!project_prepare(call, &request, &project, &endpoint, &beginning))
		return false;
	set_size(&endpoint, fields->capacity.is_set ? fields->capacity.text : INSTANCE_CAPACITY_DEFAULT);
	endpoint.is_disabled = fields->is_stopped.is_set && fields->is_stopped.value;

	struct error err;
	CLEANUP(instance_row_done) struct instance_row row = { 0 };
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	make_row(call, fields, project.uid, &row);
	status st = transaction_begin(call->services->md, &tx, &err);
	if (st == STATUS_OK)
		st = project_insert(call, &project, false, &endpoint, &beginning, &operation, &err);
	row.branch = endpoint.branch;
	if (st == STATUS_OK && strcmp(row.name, id) != 0)
		st = instance_row_insert(call->services->md, &row, &err);
	if (st == STATUS_OK)
		st = transaction_commit(&tx, &err);
	if (st != STATUS_OK)
		return call_fail(call, &err);
	call_note_operation(call, &operation);
	return true;
}

/* What belongs to the whole project cannot be another for one of its branches. */
static bool check_shared(
        struct call *call, const struct instance_fields *fields, const struct instance *relative)
{
	const struct project_row *project = &relative->project;
	const char *field = NULL;
	if (fields->retention_days.is_set &&
	        fields->retention_days.value != instance_retention_days(project->history_retention_usec))
		field = "retention_window_in_days";
	else if (fields->native_login.is_set && fields->native_login.value != project->enable_pg_native_login)
		field = "enable_pg_native_login";
	return !field || api_fail(&call->error, API_INVALID_PARAMETER,
	                         "Field '%s': a child instance has that of project '%s'; change it there.",
	                         field, project->project_id);
}

static bool find_parent(struct call *call, const struct instance_origin *origin, struct instance *ret)
{
	if (!origin->parent_name.is_set)
		return find_uid(call, origin->parent_uid.text, ret);
	if (!instance_find(call, origin->parent_name.text, ret))
		return false;
	if (origin->parent_uid.is_set && strcmp(origin->parent_uid.text, ret->row.uid) != 0)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Fields 'parent_instance_ref.name' and 'parent_instance_ref.uid' are of different "
		        "instances.");
	return true;
}

static bool prepare_child(struct call *call, const struct instance_fields *fields,
        const struct instance_origin *origin, const char *id, const struct instance *parent,
        struct branch_row *branch, struct moment *moment)
{
	struct error err;
	struct branch_row existing;
	if (!check_shared(call, fields, parent))
		return false;
	if (origin->pg_version.is_set && origin->pg_version.value != parent->project.pg_version)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'pg_version': a child instance has its parent's, %d.",
		        parent->project.pg_version);
	if (origin->parent_time.is_set && origin->parent_time.usec > call->now_usec)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'parent_instance_ref.branch_time' must not be in the future.");
	status st = branch_row_find(call->services->md, parent->project.id, id, &existing, &err);
	if (st == STATUS_OK)
		return api_fail(&call->error, API_EXISTS,
		        "project '%s' has a branch '%s' already, which was not made as a database instance; "
		        "use another name",
		        parent->project.project_id, id);
	if (st != STATUS_NOT_FOUND)
		return call_fail(call, &err);
	CLEANUP(free_text) char *source = branch_name(&parent->project, &parent->branch);
	struct branch_fields wanted = {
		.source_branch = { .is_set = true, .text = source },
		.source_lsn = origin->parent_lsn,
		.no_expiry = true,
	};
	if (!origin->parent_lsn.is_set) /* of both the LSN counts */
		wanted.source_time = origin->parent_time;
	return branch_prepare(call, &parent->project, id, &wanted, branch, moment);
}

static bool create_child(struct call *call, const struct instance_fields *fields,
        const struct instance_origin *origin, const char *id)
{
	CLEANUP(instance_done) struct instance parent = { 0 };
	struct branch_row branch;
	struct moment moment;
	if (!find_parent(call, origin, &parent) ||
	        !prepare_child(call, fields, origin, id, &parent, &branch, &moment))
		return false;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	endpoint_begin_primary(&parent.project, call->now_usec, &endpoint);
	endpoint.min_cu = parent.endpoint.min_cu;
	endpoint.max_cu = parent.endpoint.max_cu;
	if (fields->capacity.is_set)
		set_size(&endpoint, fields->capacity.text);
	endpoint.is_disabled = fields->is_stopped.is_set && fields->is_stopped.value;

	struct error err;
	CLEANUP(instance_row_done) struct instance_row row = { 0 };
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	make_row(call, fields, NULL, &row);
	row.parent_usec = origin->parent_time.usec;
	if (origin->parent_lsn.is_set &&
	        !lsn_parse(slice_from_text(origin->parent_lsn.text), &row.parent_lsn))
		return api_fail(&call->error, API_INTERNAL, "the LSN was read before");
	status st = transaction_begin(call->services->md, &tx, &err);
	if (st == STATUS_OK)
		st = branch_insert(call, &parent.project, &moment, &branch, &endpoint, &operation, &err);
	row.branch = branch.id;
	if (st == STATUS_OK)
		st = instance_row_insert(call->services->md, &row, &err);
	if (st == STATUS_OK)
		st = transaction_commit(&tx, &err);
	if (st != STATUS_OK)
		return call_fail(call, &err);
	call_note_operation(call, &operation);
	return true;
}

bool instance_create(struct call *call)
{
	CLEANUP(instance_fields_done) struct instance_fields fields = { 0 };
	struct instance_origin origin;
	char id[RESOURCE_ID_MAX + 1];
	if (!call_read_body(call) || !instance_fields_read(call->root, &fields, &call->error) ||
	        !instance_origin_read(call->root, &origin, &call->error) || !read_new_name(call, &fields, id))
		return false;
	bool is_begun = origin.has_parent ? create_child(call, &fields, &origin, id)
	                                  : create_root(call, &fields, &origin, id);
	return is_begun && answer_changed(call, fields.name.text, &fields);
}

/* Update. */

static void set_text(char **field, const char *text)
{
	free(*field);
	*field = text ? xstrdup(text) : NULL;
}

/* What is written is what differs from what is shown: a size between two capacities stays as long as its capacity is asked for. */
static bool change_endpoint(
        struct endpoint_row *endpoint, const struct instance_fields *fields, const struct update_mask *mask)
{
	bool has_changed = false;
	if (fields->capacity.is_set && update_mask_has(mask, INSTANCE_CAPACITY, true) &&
	        strcmp(fields->capacity.text, instance_capacity(endpoint->max_cu)) != 0) {
		set_size(endpoint, fields->capacity.text);
		has_changed = true;
	}
	bool stops = fields->is_stopped.is_set && fields->is_stopped.value;
	if (update_mask_has(mask, INSTANCE_STOPPED, fields->is_stopped.is_set) &&
	        stops != endpoint->is_disabled) {
		endpoint->is_disabled = stops;
		has_changed = true;
	}
	return has_changed;
}

static void change_project(
        struct project_row *project, const struct instance_fields *fields, const struct update_mask *mask)
{
	int64_t days = fields->retention_days.is_set ? fields->retention_days.value
	                                             : INSTANCE_RETENTION_DEFAULT_DAYS;
	if (update_mask_has(mask, INSTANCE_RETENTION, fields->retention_days.is_set) &&
	        days != instance_retention_days(project->history_retention_usec))
		project->history_retention_usec = days * 86400 * USEC_PER_SEC;
	if (update_mask_has(mask, INSTANCE_NATIVE_LOGIN, fields->native_login.is_set))
		project->enable_pg_native_login = fields->native_login.is_set && fields->native_login.value;
}

static bool read_update(struct call *call, const struct instance *instance, struct instance_fields *fields,
        struct update_mask *mask)
{
	char id[RESOURCE_ID_MAX + 1], own_id[RESOURCE_ID_MAX + 1];
	if (!call_read_body(call) ||
	        !instance_mask_parse(http_request_query(call->request, "update_mask"), mask, &call->error) ||
	        !instance_fields_read(call->root, fields, &call->error))
		return false;
	instance_id(instance->row.name, own_id);
	if (fields->name.is_set)
		instance_id(fields->name.text, id);
	if (fields->name.is_set && strcmp(id, own_id) != 0)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'name' cannot be changed: the instance is called '%s'.", instance->row.name);
	/* Fields that are not meant are not looked at any further. */
	bool is_meant_retention = update_mask_has(mask, INSTANCE_RETENTION, true);
	bool is_meant_login = update_mask_has(mask, INSTANCE_NATIVE_LOGIN, true);
	struct instance_fields meant = { 0 };
	if (is_meant_retention)
		meant.retention_days = fields->retention_days;
	if (is_meant_login)
		meant.native_login = fields->native_login;
	return !instance_is_child(instance) || check_shared(call, &meant, instance);
}

/* Tags and policy are the project's, or the child's own. */
static status write_labels(struct call *call, struct instance *instance, const struct instance_fields *fields,
        const struct update_mask *mask, struct error *err)
{
	struct metadata *md = call->services->md;
	bool is_child = instance_is_child(instance);
	char **tags = is_child ? &instance->row.custom_tags : &instance->project.custom_tags;
	char **policy = is_child ? &instance->row.usage_policy_id : &instance->project.budget_policy_id;
	if (update_mask_has(mask, INSTANCE_CUSTOM_TAGS, fields->custom_tags != NULL))
		set_text(tags, fields->custom_tags ? fields->custom_tags : "[]");
	if (update_mask_has(mask, INSTANCE_USAGE_POLICY, fields->usage_policy_id.is_set))
		set_text(policy, fields->usage_policy_id.is_set ? fields->usage_policy_id.text : NULL);
	if (is_child)
		return instance_row_update(md, &instance->row, err);
	change_project(&instance->project, fields, mask);
	instance->project.update_usec = call->now_usec;
	return project_row_update(md, &instance->project, err);
}

bool instance_update(struct call *call)
{
	struct error err;
	struct update_mask mask;
	CLEANUP(instance_done) struct instance instance = { 0 };
	CLEANUP(instance_fields_done) struct instance_fields fields = { 0 };
	if (!instance_find(call, call->parameters[0], &instance) ||
	        !read_update(call, &instance, &fields, &mask))
		return false;
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	bool has_operation = change_endpoint(&instance.endpoint, &fields, &mask);
	instance.endpoint.update_usec = call->now_usec;
	status st = transaction_begin(call->services->md, &tx, &err);
	if (st == STATUS_OK)
		st = write_labels(call, &instance, &fields, &mask, &err);
	if (st == STATUS_OK && has_operation)
		st = endpoint_update_row(call->services->md, &instance.project, &instance.branch,
		        &instance.endpoint, NULL, call->caller.login, call->now_usec, &operation, &err);
	if (st == STATUS_OK)
		st = transaction_commit(&tx, &err);
	if (st != STATUS_OK)
		return call_fail(call, &err);
	if (has_operation)
		call_note_operation(call, &operation);
	else
		log_info("%s: INSTANCE_UPDATE %s, trace %s", call->caller.login, instance.row.name,
		        call->request->trace_id);
	housekeeper_look(call->services->housekeeper); /* the restore window may be another */
	return answer_changed(call, instance.row.name, &fields);
}

/* Delete. */

/* Of an instance that others hang on, unless they are to go with it. */
static bool fail_descendants(struct call *call, const struct instance *instance, const struct branch_row *one)
{
	return api_fail(&call->error, API_BAD_REQUEST,
	        "cannot delete database instance '%s': it has descendants, branch '%s' of project '%s' is "
	        "one; "
	        "delete them first, or pass force=true to delete them as well",
	        instance->row.name, one->branch_id, instance->project.project_id);
}

/* The whole project goes; a branch that was made with the API of today is a descendant, too. */
static bool delete_root(
        struct call *call, struct instance *instance, bool is_forced, struct operation_row *operation)
{
	struct error err;
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = branch_row_list(call->services->md, instance->project.id, 0, false, 2, &st, &err);
	while (code == STATUS_OK && !is_forced) {
		struct branch_row branch;
		code = branch_row_next(&st, &branch, &err);
		if (code == STATUS_OK && branch.id != instance->branch.id)
			return fail_descendants(call, instance, &branch);
	}
	if (code != STATUS_OK && code != STATUS_NOT_FOUND)
		return call_fail(call, &err);
	statement_done(&st);
	if (!project_check_may_delete(call, &instance->project))
		return false;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	code = transaction_begin(call->services->md, &tx, &err);
	if (code == STATUS_OK)
		code = project_delete_row(call->services->md, &instance->project, true, 0, call->caller.login,
		        call->now_usec, operation, &err);
	if (code == STATUS_OK)
		code = transaction_commit(&tx, &err);
	return code == STATUS_OK || call_fail(call, &err);
}

static bool purge_branch(struct call *call, const struct instance *instance, struct branch_row *branch)
{
	struct error err;
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	/* Inside the transaction those that were made of it are gone already. */
	return branch_check_may_delete(call, &instance->project, branch) &&
	       (branch_delete_row(call->services->md, &instance->project, branch, true, 0, call->caller.login,
	                call->now_usec, &operation, &err) == STATUS_OK ||
	               call_fail(call, &err));
}

/* In the caller's transaction. */
static bool delete_descendants(struct call *call, const struct instance *instance, bool is_forced)
{
	struct error err;
	for (;;) {
		CLEANUP(statement_done) struct statement st = { 0 };
		struct branch_row branch;
		status code = branch_row_list_descendants(call->services->md, instance->branch.id, &st, &err);
		if (code == STATUS_OK)
			code = branch_row_next(&st, &branch, &err);
		if (code == STATUS_NOT_FOUND)
			return true;
		if (code != STATUS_OK)
			return call_fail(call, &err);
		if (!is_forced)
			return fail_descendants(call, instance, &branch);
		statement_done(&st);
		if (!purge_branch(call, instance, &branch))
			return false;
	}
}

static bool delete_child(
        struct call *call, struct instance *instance, bool is_forced, struct operation_row *operation)
{
	struct error err;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(call->services->md, &tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (!delete_descendants(call, instance, is_forced) ||
	        !branch_check_may_delete(call, &instance->project, &instance->branch))
		return false;
	status st = branch_delete_row(call->services->md, &instance->project, &instance->branch, true, 0,
	        call->caller.login, call->now_usec, operation, &err);
	if (st == STATUS_OK)
		st = transaction_commit(&tx, &err);
	return st == STATUS_OK || call_fail(call, &err);
}

bool instance_delete(struct call *call)
{
	bool is_forced, is_purge;
	const char *purge = http_request_query(call->request, "purge");
	CLEANUP(instance_done) struct instance instance = { 0 };
	CLEANUP(operation_row_done) struct operation_row operation = { 0 };
	if (!query_switch(call->request, "force", &is_forced, &call->error) ||
	        !query_switch(call->request, "purge", &is_purge, &call->error))
		return false;
	if (purge && *purge && !is_purge)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "purge=false is not allowed: an instance is deleted for good");
	if (!instance_find(call, call->parameters[0], &instance))
		return false;
	bool is_begun = instance_is_child(&instance) ? delete_child(call, &instance, is_forced, &operation)
	                                             : delete_root(call, &instance, is_forced, &operation);
	if (!is_begun)
		return false;
	call_note_operation(call, &operation);
	return call_answer(call, yyjson_mut_obj(call->out));
}
