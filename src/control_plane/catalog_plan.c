#include "control_plane/catalog_plan.h"

#include <stdio.h>
#include <yyjson.h>

#define PLAN_VERSION 1

char *catalog_plan_format(const struct catalog_plan *plan)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_int(doc, root, "version", PLAN_VERSION);
	yyjson_mut_obj_add_str(doc, root, "id", plan->id);
	yyjson_mut_obj_add_str(doc, root, "owner", plan->owner);
	yyjson_mut_obj_add_str(doc, root, "new_name", plan->new_name);
	yyjson_mut_obj_add_uint(doc, root, "fields", plan->fields);
	yyjson_mut_obj_add_bool(doc, root, "createdb", plan->createdb);
	yyjson_mut_obj_add_bool(doc, root, "createrole", plan->createrole);
	yyjson_mut_obj_add_bool(doc, root, "bypassrls", plan->bypassrls);
	yyjson_mut_obj_add_bool(doc, root, "superuser_member", plan->is_superuser_member);
	yyjson_mut_obj_add_bool(doc, root, "must_reset", plan->must_reset);
	yyjson_mut_obj_add_str(doc, root, "identity_type", plan->identity_type);
	yyjson_mut_obj_add_str(doc, root, "auth_method", plan->auth_method);
	char *text = yyjson_mut_write(doc, 0, NULL);
	yyjson_mut_doc_free(doc);
	return text;
}

static bool read_text(yyjson_val *root, const char *key, char *ret, size_t size)
{
	const char *text = yyjson_get_str(yyjson_obj_get(root, key));
	if (!text || strlen(text) >= size)
		return false;
	(void)snprintf(ret, size, "%s", text);
	return true;
}

status catalog_plan_parse(const char *text, struct catalog_plan *ret, struct error *err)
{
	yyjson_doc *doc = text ? yyjson_read(text, strlen(text), 0) : NULL;
	yyjson_val *root = yyjson_doc_get_root(doc);
	struct catalog_plan plan = {
		.fields = yyjson_get_uint(yyjson_obj_get(root, "fields")),
		.createdb = yyjson_get_bool(yyjson_obj_get(root, "createdb")),
		.createrole = yyjson_get_bool(yyjson_obj_get(root, "createrole")),
		.bypassrls = yyjson_get_bool(yyjson_obj_get(root, "bypassrls")),
		.is_superuser_member = yyjson_get_bool(yyjson_obj_get(root, "superuser_member")),
		.must_reset = yyjson_get_bool(yyjson_obj_get(root, "must_reset")),
	};
	bool is_good = yyjson_get_int(yyjson_obj_get(root, "version")) == PLAN_VERSION &&
	               read_text(root, "id", plan.id, sizeof plan.id) &&
	               read_text(root, "owner", plan.owner, sizeof plan.owner) &&
	               read_text(root, "new_name", plan.new_name, sizeof plan.new_name) &&
	               read_text(root, "identity_type", plan.identity_type, sizeof plan.identity_type) &&
	               read_text(root, "auth_method", plan.auth_method, sizeof plan.auth_method);
	yyjson_doc_free(doc);
	if (!is_good)
		return error_set(err, STATUS_CORRUPT, 0, "the plan of the operation cannot be read");
	*ret = plan;
	return STATUS_OK;
}
