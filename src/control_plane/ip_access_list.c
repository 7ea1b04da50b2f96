#include "control_plane/ip_access_list.h"

#include <stdlib.h>

#include "base/ip_range.h"
#include "base/log.h"
#include "control_plane/fields.h"
#include "control_plane/identity_name.h"
#include "control_plane/ip_access.h"
#include "metadata/ip_access_list_row.h"

#define LABEL_MAX 255

static int64_t public_id(int64_t identity)
{
	char id[IDENTITY_ID_LEN + 1];
	identity_id_make(identity, id);
	return strtoll(id, NULL, 10);
}

static yyjson_mut_val *list_to_json(yyjson_mut_doc *doc, const struct ip_access_list_row *row)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_doc *addresses = yyjson_read(row->addresses, strlen(row->addresses), 0);
	yyjson_mut_obj_add_strcpy(doc, root, "list_id", row->list_id);
	yyjson_mut_obj_add_strcpy(doc, root, "label", row->label);
	yyjson_mut_obj_add_str(doc, root, "list_type", row->is_block ? "BLOCK" : "ALLOW");
	yyjson_mut_obj_add_val(
	        doc, root, "ip_addresses", yyjson_val_mut_copy(doc, yyjson_doc_get_root(addresses)));
	yyjson_mut_obj_add_uint(doc, root, "address_count", yyjson_arr_size(yyjson_doc_get_root(addresses)));
	yyjson_mut_obj_add_bool(doc, root, "enabled", row->is_enabled);
	yyjson_mut_obj_add_sint(doc, root, "created_at", row->create_usec / 1000);
	yyjson_mut_obj_add_sint(doc, root, "created_by", public_id(row->created_by));
	yyjson_mut_obj_add_sint(doc, root, "updated_at", row->update_usec / 1000);
	yyjson_mut_obj_add_sint(doc, root, "updated_by", public_id(row->updated_by));
	yyjson_doc_free(addresses);
	return root;
}

static bool answer_list(struct call *call, const struct ip_access_list_row *row)
{
	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	yyjson_mut_obj_add_val(call->out, root, "ip_access_list", list_to_json(call->out, row));
	return call_answer(call, root);
}

/* ---- what a request says ---- */

static bool take_addresses(struct call *call, yyjson_val *list, struct ip_access_list_row *row)
{
	yyjson_val *one;
	size_t i, count;
	struct ip_range range;
	if (yyjson_arr_size(list) == 0)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'ip_addresses' must have at least one address or range.");
	yyjson_arr_foreach(list, i, count, one)
	{
		const char *text = yyjson_get_str(one);
		if (!text || strlen(text) != yyjson_get_len(one) || !ip_range_parse(text, &range))
			return api_fail(&call->error, API_INVALID_PARAMETER,
			        "Field 'ip_addresses[%zu]' must be an IP address or a range such as "
			        "192.0.2.0/24, "
			        "and is '%.60s'.",
			        i, text ? text : "no text");
	}
	free(row->addresses);
	row->addresses = yyjson_val_write(list, 0, NULL);
	return row->addresses || api_fail(&call->error, API_INTERNAL, "the addresses could not be kept");
}

static bool take_label(struct call *call, const char *label, struct ip_access_list_row *row)
{
	if (strlen(label) > LABEL_MAX)
		return api_fail(&call->error, API_INVALID_PARAMETER,
		        "Field 'label' must have at most %d bytes.", LABEL_MAX);
	free(row->label);
	row->label = xstrdup(label);
	return true;
}

static bool take_type(struct call *call, const char *type, struct ip_access_list_row *row)
{
	row->is_block = strcmp(type, "BLOCK") == 0;
	return row->is_block || strcmp(type, "ALLOW") == 0 ||
	       api_fail(&call->error, API_INVALID_PARAMETER,
	               "Field 'list_type' must be ALLOW or BLOCK, and is '%.60s'.", type);
}

/* Takes over what the body has. is_whole: label, type and addresses must be there. */
static bool read_body(struct call *call, bool is_whole, struct ip_access_list_row *row)
{
	struct text_field label, type;
	struct switch_field enabled;
	yyjson_val *addresses;
	if (!call_read_body(call) || !field_text(call->root, "", "label", &label, &call->error) ||
	        !field_text(call->root, "", "list_type", &type, &call->error) ||
	        !field_switch(call->root, "", "enabled", &enabled, &call->error) ||
	        !field_array(call->root, "", "ip_addresses", &addresses, &call->error))
		return false;
	const char *missing = !label.is_set  ? "label"
	                      : !type.is_set ? "list_type"
	                      : !addresses   ? "ip_addresses"
	                                     : NULL;
	if (is_whole && missing)
		return api_fail(&call->error, API_INVALID_PARAMETER, "Field '%s' is required.", missing);
	if (enabled.is_set)
		row->is_enabled = enabled.value;
	row->update_usec = call->now_usec;
	row->updated_by = call->caller.id;
	return (!label.is_set || take_label(call, label.text, row)) &&
	       (!type.is_set || take_type(call, type.text, row)) &&
	       (!addresses || take_addresses(call, addresses, row));
}

/* ---- calls ---- */

static void log_list(const struct call *call, const char *what, const struct ip_access_list_row *row)
{
	log_info("%s: %s IP access list %s, trace %s", call->caller.login, what, row->list_id,
	        call->request->trace_id);
}

static bool find_list(struct call *call, struct ip_access_list_row *ret)
{
	struct error err;
	return ip_access_list_row_find(call->services->md, call->parameters[0], ret, &err) == STATUS_OK ||
	       call_fail(call, &err);
}

bool ip_access_list_create(struct call *call)
{
	struct error err;
	CLEANUP(ip_access_list_row_done) struct ip_access_list_row row = { .is_enabled = true };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (!read_body(call, true, &row))
		return false;
	row.create_usec = call->now_usec;
	row.created_by = call->caller.id;
	if (transaction_begin(call->services->md, &tx, &err) != STATUS_OK ||
	        ip_access_list_row_insert(call->services->md, &row, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (!ip_access_change(call, &tx))
		return false;
	log_list(call, "CREATE", &row);
	return answer_list(call, &row);
}

bool ip_access_list_list(struct call *call)
{
	struct error err;
	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	yyjson_mut_val *lists = yyjson_mut_obj_add_arr(call->out, root, "ip_access_lists");
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = ip_access_list_row_list(call->services->md, &st, &err);
	while (code == STATUS_OK) {
		CLEANUP(ip_access_list_row_done) struct ip_access_list_row row = { 0 };
		code = ip_access_list_row_next(&st, &row, &err);
		if (code == STATUS_OK)
			yyjson_mut_arr_append(lists, list_to_json(call->out, &row));
	}
	return code == STATUS_NOT_FOUND ? call_answer(call, root) : call_fail(call, &err);
}

bool ip_access_list_get(struct call *call)
{
	CLEANUP(ip_access_list_row_done) struct ip_access_list_row row = { 0 };
	return find_list(call, &row) && answer_list(call, &row);
}

static bool change(struct call *call, bool is_whole)
{
	struct error err;
	CLEANUP(ip_access_list_row_done) struct ip_access_list_row row = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (!find_list(call, &row) || !read_body(call, is_whole, &row))
		return false;
	if (transaction_begin(call->services->md, &tx, &err) != STATUS_OK ||
	        ip_access_list_row_update(call->services->md, &row, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (!ip_access_change(call, &tx))
		return false;
	log_list(call, "UPDATE", &row);
	return answer_list(call, &row);
}

bool ip_access_list_replace(struct call *call)
{
	return change(call, true);
}

bool ip_access_list_update(struct call *call)
{
	return change(call, false);
}

bool ip_access_list_delete(struct call *call)
{
	struct error err;
	CLEANUP(ip_access_list_row_done) struct ip_access_list_row row = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (!find_list(call, &row))
		return false;
	if (transaction_begin(call->services->md, &tx, &err) != STATUS_OK ||
	        ip_access_list_row_remove(call->services->md, row.id, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (!ip_access_change(call, &tx))
		return false;
	log_list(call, "DELETE", &row);
	return call_answer(call, yyjson_mut_obj(call->out));
}
