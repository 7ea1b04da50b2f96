#include "control_plane/scim_json.h"

#include "control_plane/identity.h"

#define SCHEMA "urn:ietf:params:scim:schemas:core:2.0:"

const char *scim_collection(enum identity_kind kind)
{
	static const char *const collections[] = {
		[IDENTITY_USER] = "Users",
		[IDENTITY_SERVICE_PRINCIPAL] = "ServicePrincipals",
		[IDENTITY_GROUP] = "Groups",
	};
	return collections[kind];
}

/* An element of "groups" or "members". */
static void add_reference(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct identity_row *row)
{
	char id[IDENTITY_ID_LEN + 1];
	identity_id_make(row->id, id);
	CLEANUP(free_text) char *reference = xasprintf("%s/%s", scim_collection(row->kind), id);
	yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, list);
	yyjson_mut_obj_add_strcpy(
	        doc, item, "display", row->kind == IDENTITY_GROUP ? row->login : row->display_name);
	yyjson_mut_obj_add_strcpy(doc, item, "value", id);
	if (row->kind == IDENTITY_GROUP)
		yyjson_mut_obj_add_str(doc, item, "type", "direct");
	yyjson_mut_obj_add_strcpy(doc, item, "$ref", reference);
}

static status add_references(struct metadata *md, yyjson_mut_doc *doc, yyjson_mut_val *list,
        const struct identity_row *row, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = row->kind == IDENTITY_GROUP ? group_list_members(md, row->id, &st, err)
	                                          : group_list_of(md, row->id, &st, err);
	while (code == STATUS_OK) {
		struct identity_row other;
		code = identity_row_next(&st, &other, err);
		if (code == STATUS_OK)
			add_reference(doc, list, &other);
	}
	return code == STATUS_NOT_FOUND ? STATUS_OK : code;
}

static void add_email(yyjson_mut_doc *doc, yyjson_mut_val *root, const struct identity_row *row)
{
	yyjson_mut_val *email = yyjson_mut_arr_add_obj(doc, yyjson_mut_obj_add_arr(doc, root, "emails"));
	yyjson_mut_obj_add_strcpy(doc, email, "value", row->login);
	yyjson_mut_obj_add_str(doc, email, "type", "work");
	yyjson_mut_obj_add_bool(doc, email, "primary", true);
}

static yyjson_mut_val *begin(yyjson_mut_doc *doc, const struct identity_row *row, const char *schema)
{
	char id[IDENTITY_ID_LEN + 1];
	identity_id_make(row->id, id);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_val *schemas = yyjson_mut_obj_add_arr(doc, root, "schemas");
	yyjson_mut_arr_add_str(doc, schemas, schema);
	yyjson_mut_obj_add_strcpy(doc, root, "id", id);
	if (row->external_id[0])
		yyjson_mut_obj_add_strcpy(doc, root, "externalId", row->external_id);
	return root;
}

static yyjson_mut_val *group_to_json(
        struct metadata *md, yyjson_mut_doc *doc, const struct identity_row *row, struct error *err)
{
	yyjson_mut_val *root = begin(doc, row, SCHEMA "Group");
	yyjson_mut_obj_add_strcpy(doc, root, "displayName", row->login);
	yyjson_mut_val *members = yyjson_mut_obj_add_arr(doc, root, "members");
	yyjson_mut_val *meta = yyjson_mut_obj_add_obj(doc, root, "meta");
	yyjson_mut_obj_add_str(doc, meta, "resourceType", "WorkspaceGroup");
	return add_references(md, doc, members, row, err) == STATUS_OK ? root : NULL;
}

static yyjson_mut_val *person_to_json(struct metadata *md, yyjson_mut_doc *doc,
        const struct identity_row *row, bool is_user, struct error *err)
{
	yyjson_mut_val *root = begin(doc, row, is_user ? SCHEMA "User" : SCHEMA "ServicePrincipal");
	yyjson_mut_obj_add_strcpy(doc, root, is_user ? "userName" : "applicationId", row->login);
	yyjson_mut_obj_add_strcpy(doc, root, "displayName", row->display_name);
	yyjson_mut_obj_add_bool(doc, root, "active", row->is_active);
	if (row->kind == IDENTITY_USER)
		add_email(doc, root, row);
	yyjson_mut_val *groups = yyjson_mut_obj_add_arr(doc, root, "groups");
	return add_references(md, doc, groups, row, err) == STATUS_OK ? root : NULL;
}

yyjson_mut_val *scim_to_json(
        struct metadata *md, yyjson_mut_doc *doc, const struct identity_row *row, struct error *err)
{
	return row->kind == IDENTITY_GROUP ? group_to_json(md, doc, row, err)
	                                   : person_to_json(md, doc, row, row->kind == IDENTITY_USER, err);
}

yyjson_mut_val *scim_me_to_json(
        struct metadata *md, yyjson_mut_doc *doc, const struct identity_row *row, struct error *err)
{
	return person_to_json(md, doc, row, true, err);
}
