#include "control_plane/scim.h"

#include <stdio.h>

#include "base/log.h"
#include "base/number.h"
#include "base/random.h"
#include "control_plane/identity.h"
#include "control_plane/identity_name.h"
#include "control_plane/scim_change.h"
#include "control_plane/scim_filter.h"
#include "control_plane/scim_json.h"

#define COUNT_DEFAULT 100
#define COUNT_MAX     1000
#define LIST_SCHEMA   "urn:ietf:params:scim:api:messages:2.0:ListResponse"

static const char *const nouns[] = {
	[IDENTITY_USER] = "user",
	[IDENTITY_SERVICE_PRINCIPAL] = "service principal",
	[IDENTITY_GROUP] = "group",
};

/* /api/2.0/preview/scim/v2/{collection} */
static enum identity_kind kind_of(const struct call *call)
{
	const char *collection = call->request->segments[5];
	return strcmp(collection, "Groups") == 0              ? IDENTITY_GROUP
	       : strcmp(collection, "ServicePrincipals") == 0 ? IDENTITY_SERVICE_PRINCIPAL
	                                                      : IDENTITY_USER;
}

bool scim_find(struct call *call, enum identity_kind kind, const char *id, struct identity_row *ret)
{
	struct error err;
	int64_t row_id;
	struct identity_row row;
	status st = STATUS_NOT_FOUND;
	if (identity_id_parse(id, &row_id))
		st = identity_row_get(call->services->md, row_id, &row, &err);
	if (st == STATUS_NOT_FOUND || (st == STATUS_OK && row.kind != kind))
		return api_fail(
		        &call->error, API_NOT_FOUND, "there is no %s with the id '%.100s'", nouns[kind], id);
	if (st != STATUS_OK)
		return call_fail(call, &err);
	*ret = row;
	return true;
}

static bool answer(struct call *call, int64_t id)
{
	struct error err;
	struct identity_row row;
	struct metadata *md = call->services->md;
	yyjson_mut_val *value = NULL;
	if (identity_row_get(md, id, &row, &err) == STATUS_OK)
		value = scim_to_json(md, call->out, &row, &err);
	return value ? call_answer(call, value) : call_fail(call, &err);
}

static void log_change(const struct call *call, const char *what, const struct identity_row *row)
{
	log_info("%s: %s %s %s, trace %s", call->caller.login, what, nouns[row->kind], row->login,
	        call->request->trace_id);
}

/* ---- Reading ---- */

static bool read_number(
        struct call *call, const char *name, int64_t min, int64_t fallback, int64_t max, int64_t *ret)
{
	const char *text = http_request_query(call->request, name);
	*ret = fallback;
	if (!text || !*text)
		return true;
	if (!number_parse(slice_from_text(text), min, INT32_MAX, ret))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Query parameter '%s' must be a whole number from %lld.", name, (long long)min);
	if (*ret > max)
		*ret = max;
	return true;
}

bool scim_list(struct call *call)
{
	enum identity_kind kind = kind_of(call);
	struct metadata *md = call->services->md;
	struct scim_filter filter;
	struct error err;
	int64_t start, count, total;
	if (!scim_filter_parse(http_request_query(call->request, "filter"), kind, &filter, &call->error) ||
	        !read_number(call, "startIndex", 1, 1, INT32_MAX, &start) ||
	        !read_number(call, "count", 0, COUNT_DEFAULT, COUNT_MAX, &count))
		return false;
	CLEANUP(statement_done) struct statement st = { 0 };
	if (identity_row_count(md, kind, &filter.rows, &total, &err) != STATUS_OK ||
	        identity_row_list(md, kind, &filter.rows, start - 1, count, &st, &err) != STATUS_OK)
		return call_fail(call, &err);
	yyjson_mut_doc *doc = call->out;
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_val *schemas = yyjson_mut_obj_add_arr(doc, root, "schemas");
	yyjson_mut_arr_add_str(doc, schemas, LIST_SCHEMA);
	yyjson_mut_val *items = yyjson_mut_obj_add_arr(doc, root, "Resources");
	for (;;) {
		struct identity_row row;
		status code = identity_row_next(&st, &row, &err);
		if (code == STATUS_NOT_FOUND)
			break;
		yyjson_mut_val *item = code == STATUS_OK ? scim_to_json(md, doc, &row, &err) : NULL;
		if (!item)
			return call_fail(call, &err);
		yyjson_mut_arr_append(items, item);
	}
	yyjson_mut_obj_add_int(doc, root, "totalResults", total);
	yyjson_mut_obj_add_int(doc, root, "startIndex", start);
	yyjson_mut_obj_add_uint(doc, root, "itemsPerPage", yyjson_mut_arr_size(items));
	return call_answer(call, root);
}

bool scim_get(struct call *call)
{
	struct identity_row row;
	return scim_find(call, kind_of(call), call->parameters[0], &row) && answer(call, row.id);
}

/* ---- What must not happen ---- */

static bool is_builtin_group(const struct identity_row *row, const char *name)
{
	return row->kind == IDENTITY_GROUP && strcmp(row->login, name) == 0;
}

/* The caller, or the administrator that the data directory names. Groups are neither. */
static bool check_may_lose(struct call *call, const struct identity_row *row, const char *what)
{
	if (row->id == call->caller.id)
		return api_fail(&call->error, API_INVALID_STATE,
		        "you cannot %s '%s', which is yourself; another administrator can", what, row->login);
	if (row->kind == IDENTITY_USER && strcmp(row->login, call->services->dd->settings.admin_login) == 0)
		return api_fail(&call->error, API_INVALID_STATE,
		        "you cannot %s '%s': it is the administrator of this data directory (setting "
		        "admin_login), "
		        "whose token is in the file admin.token",
		        what, row->login);
	return true;
}

static bool check_leaves_admins(struct call *call, int64_t member)
{
	struct error err;
	struct identity_row row;
	status st = identity_row_get(call->services->md, member, &row, &err);
	return st == STATUS_NOT_FOUND ||
	       (st == STATUS_OK ? check_may_lose(call, &row, "take from the group 'admins'")
	                        : call_fail(call, &err));
}

/* ---- Changing, inside the caller's transaction ---- */

static bool take_members(
        struct call *call, const struct identity_row *group, const struct scim_change *change)
{
	struct error err;
	struct metadata *md = call->services->md;
	if (change->member_count > 0 && is_builtin_group(group, GROUP_USERS))
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "everybody is a member of the group '%s': its members cannot be changed",
		        GROUP_USERS);
	bool was_self = call->caller.is_admin;
	for (size_t i = 0; i < change->member_count; i++) {
		const struct member_change *one = &change->members[i];
		status st = one->what == MEMBERS_ADD ? group_add_member(md, group->id, one->member, &err)
		            : one->what == MEMBERS_REMOVE
		                    ? group_remove_member(md, group->id, one->member, &err)
		                    : group_remove_all(md, group->id, &err);
		if (st != STATUS_OK)
			return call_fail(call, &err);
	}
	if (!is_builtin_group(group, GROUP_ADMINS))
		return true;
	/* Who must stay is looked for at the end: a PUT may take everybody away and put them back. */
	struct identity_row must_stay;
	bool stays = true;
	if (identity_row_find(md, IDENTITY_USER, call->services->dd->settings.admin_login, &must_stay,
	            &err) != STATUS_OK ||
	        group_has_member(md, group->id, must_stay.id, &stays, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (!stays)
		return check_leaves_admins(call, must_stay.id);
	if (group_has_member(md, group->id, call->caller.id, &stays, &err) != STATUS_OK)
		return call_fail(call, &err);
	return stays || !was_self || check_leaves_admins(call, call->caller.id);
}

static void copy(char out[LOGIN_MAX + 1], const struct text_field *field)
{
	if (field->is_set)
		(void)snprintf(out, LOGIN_MAX + 1, "%s", field->text);
}

static bool check_texts(struct call *call, enum identity_kind kind, const struct scim_change *change)
{
	static const char *const keys[] = { "userName", "applicationId", "displayName" };
	return (!change->login.is_set ||
	               identity_name_check(kind, change->login.text, keys[kind], &call->error)) &&
	       (!change->display_name.is_set ||
	               identity_display_name_check(change->display_name.text, "displayName", &call->error)) &&
	       (!change->external_id.is_set ||
	               identity_display_name_check(change->external_id.text, "externalId", &call->error));
}

static bool check_name_stays(
        struct call *call, const struct identity_row *row, const struct scim_change *change)
{
	if (!change->login.is_set || strcmp(change->login.text, row->login) == 0)
		return true;
	if (row->kind != IDENTITY_GROUP)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "the name of a %s cannot be changed: '%s' is also its Postgres role; make another "
		        "one",
		        nouns[row->kind], row->login);
	if (is_builtin_group(row, GROUP_ADMINS) || is_builtin_group(row, GROUP_USERS))
		return api_fail(
		        &call->error, API_INVALID_PARAMETER, "the group '%s' cannot be renamed", row->login);
	return true;
}

/* Row and members; false leaves the transaction to be rolled back. */
static bool take_change(struct call *call, struct identity_row *row, const struct scim_change *change)
{
	struct error err;
	if (!check_texts(call, row->kind, change) || !check_name_stays(call, row, change))
		return false;
	if (change->active.is_set && !change->active.value && row->is_active &&
	        !check_may_lose(call, row, "deactivate"))
		return false;
	copy(row->login, &change->login);
	copy(row->display_name, row->kind == IDENTITY_GROUP ? &change->login : &change->display_name);
	copy(row->external_id, &change->external_id);
	if (change->clears_external_id)
		row->external_id[0] = '\0';
	if (change->active.is_set)
		row->is_active = change->active.value;
	status st = identity_row_update(call->services->md, row, &err);
	if (st == STATUS_EXISTS)
		return api_fail(&call->error, API_EXISTS, "the name '%s' is taken", row->login);
	return st == STATUS_OK ? take_members(call, row, change) : call_fail(call, &err);
}

static bool change_found(struct call *call, struct identity_row *row, const struct scim_change *change)
{
	struct error err;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(call->services->md, &tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (!take_change(call, row, change))
		return false;
	if (transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	log_change(call, "CHANGE", row);
	return answer(call, row->id);
}

bool scim_patch(struct call *call)
{
	CLEANUP(scim_change_done) struct scim_change change = { 0 };
	struct identity_row row;
	enum identity_kind kind = kind_of(call);
	return scim_find(call, kind, call->parameters[0], &row) && call_read_body(call) &&
	       scim_change_read_patch(call, kind, &change) && change_found(call, &row, &change);
}

/* What the body does not have keeps its value, but the members of a group: a group without any is sent so. */
bool scim_put(struct call *call)
{
	CLEANUP(scim_change_done) struct scim_change given = { 0 }, change = { 0 };
	struct identity_row row;
	enum identity_kind kind = kind_of(call);
	if (!scim_find(call, kind, call->parameters[0], &row) || !call_read_body(call) ||
	        !scim_change_read(call, kind, &given))
		return false;
	if (kind != IDENTITY_GROUP || is_builtin_group(&row, GROUP_USERS))
		return change_found(call, &row, &given);
	change = given;
	change.member_count = given.member_count + 1;
	change.members = xcalloc(change.member_count, sizeof *change.members);
	change.members[0].what = MEMBERS_REMOVE_ALL;
	if (given.member_count > 0)
		memcpy(&change.members[1], given.members, given.member_count * sizeof *given.members);
	return change_found(call, &row, &change);
}

/* ---- Making and removing ---- */

static bool fill_new(struct call *call, struct identity_row *row, const struct scim_change *change)
{
	char generated[UUID_TEXT_LEN + 1];
	struct text_field login = change->login;
	if (!login.is_set && row->kind == IDENTITY_SERVICE_PRINCIPAL) {
		random_uuid(generated);
		login = (struct text_field){ .is_set = true, .text = generated };
	}
	if (!login.is_set)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field '%s' is required, expected non-default value (not \"\")!",
		        row->kind == IDENTITY_USER ? "userName" : "displayName");
	if (row->kind == IDENTITY_SERVICE_PRINCIPAL && !change->display_name.is_set)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'displayName' is required, expected non-default value (not \"\")!");
	if (!check_texts(call, row->kind, change))
		return false;
	row->is_active = !change->active.is_set || change->active.value;
	copy(row->login, &login);
	copy(row->display_name, change->display_name.is_set ? &change->display_name : &login);
	copy(row->external_id, &change->external_id);
	return true;
}

bool scim_create(struct call *call)
{
	struct error err;
	CLEANUP(scim_change_done) struct scim_change change = { 0 };
	struct identity_row row = { .kind = kind_of(call), .create_usec = call->now_usec };
	if (!call_read_body(call) || !scim_change_read(call, row.kind, &change) ||
	        !fill_new(call, &row, &change))
		return false;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(call->services->md, &tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	status st = identity_row_insert(call->services->md, &row, &err);
	if (st == STATUS_EXISTS)
		return api_fail(&call->error, API_EXISTS,
		        "there is a user, service principal or group '%s' already", row.login);
	if (st != STATUS_OK)
		return call_fail(call, &err);
	if (!take_members(call, &row, &change))
		return false;
	if (transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	log_change(call, "CREATE", &row);
	return answer(call, row.id);
}

bool scim_delete(struct call *call)
{
	struct error err;
	struct identity_row row;
	if (!scim_find(call, kind_of(call), call->parameters[0], &row) ||
	        !check_may_lose(call, &row, "delete"))
		return false;
	if (is_builtin_group(&row, GROUP_ADMINS) || is_builtin_group(&row, GROUP_USERS))
		return api_fail(
		        &call->error, API_INVALID_STATE, "the group '%s' cannot be deleted", row.login);
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(call->services->md, &tx, &err) != STATUS_OK ||
	        identity_row_remove(call->services->md, row.id, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	log_change(call, "DELETE", &row);
	return call_answer(call, yyjson_mut_obj(call->out));
}
