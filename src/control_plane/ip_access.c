#include "control_plane/ip_access.h"

#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#include "base/ip_range.h"
#include "control_plane/request_limit.h"
#include "metadata/ip_access_list_row.h"
#include "metadata/workspace_setting_row.h"

/* What the enabled lists say. */
struct rules {
	bool is_enforced; /* the setting */
	bool has_allow_list;
	size_t total; /* of all lists, enabled or not */
	struct ip_range *blocked, *allowed;
	size_t blocked_count, allowed_count;
};

struct ip_access {
	struct rules rules;
	void (*on_change)(void *owner);
	void *owner;
};

static void rules_done(struct rules *rules)
{
	free(rules->blocked);
	free(rules->allowed);
	*rules = (struct rules){ 0 };
}

static status add_list(struct rules *rules, const struct ip_access_list_row *row, struct error *err)
{
	yyjson_doc *doc = yyjson_read(row->addresses, strlen(row->addresses), 0);
	yyjson_val *list = yyjson_doc_get_root(doc), *one;
	struct ip_range **ranges = row->is_block ? &rules->blocked : &rules->allowed;
	size_t *range_count = row->is_block ? &rules->blocked_count : &rules->allowed_count;
	size_t i, count = yyjson_arr_size(list);
	status st = STATUS_OK;
	rules->total += count;
	if (!yyjson_is_arr(list)) {
		st = error_set(err, STATUS_CORRUPT, 0, "IP access list \"%s\" has no list of addresses",
		        row->list_id);
	} else if (row->is_enabled) {
		rules->has_allow_list |= !row->is_block;
		*ranges = xrealloc(*ranges, (*range_count + count + 1) * sizeof **ranges);
		yyjson_arr_foreach(list, i, count, one)
		{
			const char *text = yyjson_get_str(one);
			if (st == STATUS_OK && text && ip_range_parse(text, &(*ranges)[*range_count]))
				++*range_count;
			else if (st == STATUS_OK)
				st = error_set(err, STATUS_CORRUPT, 0,
				        "IP access list \"%s\" has an address that is none: \"%s\"",
				        row->list_id, text ? text : "");
		}
	}
	yyjson_doc_free(doc);
	return st;
}

static status rules_read(struct metadata *md, struct rules *ret, struct error *err)
{
	struct rules rules = { 0 };
	CLEANUP(free_text) char *setting = NULL;
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = workspace_setting_row_get(md, IP_ACCESS_SETTING, &setting, err);
	rules.is_enforced = setting && strcmp(setting, "true") == 0;
	if (code == STATUS_OK)
		code = ip_access_list_row_list(md, &st, err);
	while (code == STATUS_OK) {
		CLEANUP(ip_access_list_row_done) struct ip_access_list_row row = { 0 };
		code = ip_access_list_row_next(&st, &row, err);
		if (code == STATUS_OK)
			code = add_list(&rules, &row, err);
	}
	if (code != STATUS_NOT_FOUND) {
		rules_done(&rules);
		return code;
	}
	*ret = rules;
	return STATUS_OK;
}

static bool is_among(const struct ip_range *ranges, size_t count, const struct ip_address *address)
{
	for (size_t i = 0; i < count; i++)
		if (ip_range_has(&ranges[i], address))
			return true;
	return false;
}

/* As if they were enforced. */
static bool rules_allow(const struct rules *rules, const char *text)
{
	struct ip_address address;
	if (!text || !ip_address_parse(text, &address))
		return false; /* A4 */
	if (ip_address_is_loopback(&address))
		return true; /* A2 */
	if (is_among(rules->blocked, rules->blocked_count, &address))
		return false;
	return !rules->has_allow_list || is_among(rules->allowed, rules->allowed_count, &address);
}

status ip_access_open(struct metadata *md, void (*on_change)(void *owner), void *owner,
        struct ip_access **ret, struct error *err)
{
	struct rules rules;
	status st = rules_read(md, &rules, err);
	if (st != STATUS_OK)
		return st;
	struct ip_access *access = xcalloc(1, sizeof *access);
	*access = (struct ip_access){ .rules = rules, .on_change = on_change, .owner = owner };
	*ret = access;
	return STATUS_OK;
}

struct ip_access *ip_access_free(struct ip_access *access)
{
	if (access)
		rules_done(&access->rules);
	free(access);
	return NULL;
}

bool ip_access_allows(const struct ip_access *access, const char *address)
{
	return !access || !access->rules.is_enforced || rules_allow(&access->rules, address);
}

/* ---- calls ---- */

/* "192.0.2.1", "192.0.2.1:4711", "[2001:db8::1]:4711", "2001:db8::1": the address of it. */
static void take_address(const char *text, size_t len, char ret[HTTP_PEER_MAX + 1])
{
	char copy[HTTP_PEER_MAX + sizeof "[]:65535"];
	struct ip_address address;
	ret[0] = '\0';
	if (len == 0 || len >= sizeof copy)
		return;
	memcpy(copy, text, len);
	copy[len] = '\0';
	char *start = copy, *end = strchr(copy, ':');
	if (copy[0] == '[' && (end = strchr(copy, ']'))) {
		start++;
		*end = '\0';
	} else if (end && !strchr(end + 1, ':')) {
		*end = '\0';
	}
	/* One on this machine is another proxy, and who came through both is not known: A4. */
	if (ip_address_parse(start, &address) && !ip_address_is_loopback(&address) &&
	        strlen(start) <= HTTP_PEER_MAX)
		(void)snprintf(ret, HTTP_PEER_MAX + 1, "%s", start);
}

void ip_access_address(const struct http_request *request, char ret[HTTP_PEER_MAX + 1])
{
	struct ip_address peer;
	bool is_local = ip_address_parse(request->peer, &peer) && ip_address_is_loopback(&peer);
	(void)snprintf(ret, HTTP_PEER_MAX + 1, "%s", request->peer);
	if (!is_local || !request->is_forwarded)
		return; /* whoever is elsewhere may write what he likes into headers */
	const char *last = request->forwarded_for ? strrchr(request->forwarded_for, ',') : NULL;
	last = last ? last + 1 : request->forwarded_for ? request->forwarded_for : "";
	last += strspn(last, " \t");
	take_address(last, strcspn(last, " \t"), ret);
}

void ip_access_describe(const struct services *services, const char *address, char *ret, size_t size)
{
	if (address && *address)
		(void)snprintf(ret, size,
		        "Source IP address: %s is blocked by the IP access lists of workspace: %s", address,
		        services->dd->settings.workspace_id);
	else
		(void)snprintf(ret, size,
		        "the IP access lists of workspace %s need to know the source IP address, and the "
		        "proxy in "
		        "between does not say it (X-Forwarded-For)",
		        services->dd->settings.workspace_id);
}

bool ip_access_check_call(struct call *call)
{
	char address[HTTP_PEER_MAX + 1], text[256];
	if (!call->services->access || !call->services->access->rules.is_enforced)
		return true;
	ip_access_address(call->request, address);
	if (ip_access_allows(call->services->access, address))
		return true;
	ip_access_describe(call->services, address, text, sizeof text);
	(void)api_fail(&call->error, API_DENIED, "%s", text);
	return request_limit_note_blocked(call, address);
}

bool ip_access_change(struct call *call, struct transaction *tx)
{
	struct error err;
	struct rules rules;
	struct ip_access *access = call->services->access;
	char address[HTTP_PEER_MAX + 1];
	if (rules_read(call->services->md, &rules, &err) != STATUS_OK)
		return call_fail(call, &err);
	ip_access_address(call->request, address);
	bool locks_out = !rules_allow(&rules, address) &&
	                 (rules.is_enforced || rules_allow(&access->rules, address)); /* A3 */
	if (rules.total > IP_ACCESS_MAX) {
		(void)api_fail(&call->error, API_QUOTA,
		        "all IP access lists together can have %d addresses and ranges; this would make it "
		        "%zu",
		        IP_ACCESS_MAX, rules.total);
	} else if (locks_out) {
		(void)api_fail(&call->error, API_INVALID_STATE,
		        "this would block your own IP address: %s. Add it to an allow list, or take it from "
		        "the "
		        "block lists, first",
		        *address ? address : "it is not known");
	} else if (transaction_commit(tx, &err) != STATUS_OK) {
		(void)call_fail(call, &err);
	} else {
		rules_done(&access->rules);
		access->rules = rules;
		if (access->on_change)
			access->on_change(access->owner);
		return true;
	}
	rules_done(&rules);
	return false;
}
