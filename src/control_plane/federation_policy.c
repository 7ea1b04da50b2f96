#include "control_plane/federation_policy.h"

#include <stdio.h>

#include "base/log.h"
#include "control_plane/federation_policy_fields.h"
#include "control_plane/fields.h"
#include "control_plane/identity_name.h"
#include "control_plane/scim.h"

#define POLICIES_MAX 20 /* of the account, and of each service principal, as the service has it */

const char *federation_account_id(const struct services *services)
{
	return services->dd->settings.workspace_id;
}

char *federation_policy_name(const struct services *services, const struct federation_policy_row *policy)
{
	char principal[IDENTITY_ID_LEN + 1];
	const char *account = federation_account_id(services);
	if (policy->principal == 0)
		return xasprintf("accounts/%s/federationPolicies/%s", account, policy->policy_id);
	identity_id_make(policy->principal, principal);
	return xasprintf("accounts/%s/servicePrincipals/%s/federationPolicies/%s", account, principal,
	        policy->policy_id);
}

static bool answer(struct call *call, const struct federation_policy_row *policy)
{
	CLEANUP(free_text) char *name = federation_policy_name(call->services, policy);
	return call_answer(call, federation_policy_to_json(call->out, name, policy));
}

/*
 * Whose policies the path means: *ret_principal is 0 for the account's. *ret_id, unless it is NULL, gets what stands behind "federationPolicies/".
 */
static bool read_path(struct call *call, int64_t *ret_principal, const char **ret_id)
{
	struct identity_row principal = { 0 };
	bool is_of_principal = strcmp(call->request->segments[4], "servicePrincipals") == 0;
	if (strcmp(call->parameters[0], federation_account_id(call->services)) != 0)
		return api_fail(&call->error, API_NOT_FOUND,
		        "there is no account '%.100s'; the account of this Tarn is its workspace, '%s'",
		        call->parameters[0], federation_account_id(call->services));
	if (is_of_principal && !scim_find(call, IDENTITY_SERVICE_PRINCIPAL, call->parameters[1], &principal))
		return false;
	*ret_principal = principal.id;
	if (ret_id)
		*ret_id = call->parameters[is_of_principal ? 2 : 1];
	return true;
}

static bool find(struct call *call, struct federation_policy_row *ret)
{
	struct error err;
	int64_t principal;
	const char *id;
	return read_path(call, &principal, &id) &&
	       (federation_policy_row_find(call->services->md, principal, id, ret, &err) == STATUS_OK ||
	               call_fail(call, &err));
}

static void log_change(const struct call *call, const char *what, const struct federation_policy_row *policy)
{
	CLEANUP(free_text) char *name = federation_policy_name(call->services, policy);
	log_info("%s: %s %s (issuer %s), trace %s", call->caller.login, what, name, policy->issuer,
	        call->request->trace_id);
}

bool federation_policy_create(struct call *call)
{
	struct error err;
	struct metadata *md = call->services->md;
	CLEANUP(federation_policy_row_done)
	struct federation_policy_row policy = { .create_usec = call->now_usec,
		.update_usec = call->now_usec };
	const char *id = http_request_query(call->request, "policy_id");
	int64_t count = 0;
	if (!read_path(call, &policy.principal, NULL) || !call_read_body(call) ||
	        !federation_policy_take_id(id, &policy, &call->error) ||
	        !federation_policy_apply(call->root, NULL, &policy, &call->error))
		return false;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(md, &tx, &err) != STATUS_OK ||
	        federation_policy_row_count(md, policy.principal, &count, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (count >= POLICIES_MAX)
		return api_fail(&call->error, API_QUOTA,
		        "%s can have %d federation policies; delete one first",
		        policy.principal ? "a service principal" : "an account", POLICIES_MAX);
	if (federation_policy_row_insert(md, &policy, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	log_change(call, "CREATE", &policy);
	return answer(call, &policy);
}

bool federation_policy_get(struct call *call)
{
	CLEANUP(federation_policy_row_done) struct federation_policy_row policy = { 0 };
	return find(call, &policy) && answer(call, &policy);
}

bool federation_policy_list(struct call *call)
{
	struct error err;
	struct page page;
	int64_t principal;
	if (!read_path(call, &principal, NULL))
		return false;
	CLEANUP(free_text) char *list_name = xasprintf("federation policies of %lld", (long long)principal);
	if (!page_read(call->request, list_name, false, PAGE_SIZE_MAX, &page, &call->error))
		return false;
	CLEANUP(statement_done) struct statement st = { 0 };
	if (federation_policy_row_list(call->services->md, principal, page.after_id, &st, &err) != STATUS_OK)
		return call_fail(call, &err);
	struct call_list list;
	call_list_begin(call, "policies", &list);
	for (;;) {
		CLEANUP(federation_policy_row_done) struct federation_policy_row policy = { 0 };
		status code = federation_policy_row_next(&st, &policy, &err);
		if (code == STATUS_NOT_FOUND ||
		        (code == STATUS_OK && !call_list_has_room(&list, &page, policy.id)))
			return call_list_answer(call, &list, &page, list_name);
		if (code != STATUS_OK)
			return call_fail(call, &err);
		CLEANUP(free_text) char *name = federation_policy_name(call->services, &policy);
		yyjson_mut_arr_append(list.items, federation_policy_to_json(call->out, name, &policy));
	}
}

bool federation_policy_update(struct call *call)
{
	struct error err;
	struct metadata *md = call->services->md;
	CLEANUP(federation_policy_row_done) struct federation_policy_row policy = { 0 };
	const char *mask = http_request_query(call->request, "update_mask");
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(md, &tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (!call_read_body(call) || !find(call, &policy) ||
	        !federation_policy_apply(call->root, mask ? mask : "", &policy, &call->error))
		return false;
	policy.update_usec = call->now_usec;
	if (federation_policy_row_update(md, &policy, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	log_change(call, "UPDATE", &policy);
	return answer(call, &policy);
}

bool federation_policy_delete(struct call *call)
{
	struct error err;
	struct metadata *md = call->services->md;
	CLEANUP(federation_policy_row_done) struct federation_policy_row policy = { 0 };
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	if (transaction_begin(md, &tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	if (!find(call, &policy))
		return false;
	if (federation_policy_row_remove(md, policy.id, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return call_fail(call, &err);
	log_change(call, "DELETE", &policy);
	return call_answer(call, yyjson_mut_obj(call->out));
}
