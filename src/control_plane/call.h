/*
 * Call: one REST call while it is answered: the request with its path parameters, who calls, the parsed body, and the
 * document of the answer. Everything a call owns leaves with it.
 *
 * A handler returns true after call_answer*(), or false with call->error filled.
 */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "control_plane/api_error.h"
#include "control_plane/operation.h"
#include "control_plane/page_token.h"
#include "control_plane/services.h"
#include "http/request.h"
#include "http/response.h"
#include "http/router.h"
#include "metadata/branch_row.h"
#include "metadata/endpoint_row.h"
#include "metadata/identity_row.h"
#include "metadata/permission_row.h"
#include "metadata/project_row.h"

struct call {
	const struct services *services;
	const struct http_request *request;
	struct http_response *response;
	const struct http_route *route; /* NULL: none fits */
	const char *const *parameters;  /* what "{}" in the route stood for */
	struct identity_row caller;
	enum permission_level level; /* that the route demands on the project it names */
	int64_t now_usec;
	yyjson_doc *body; /* after call_read_body(); NULL when it is empty */
	yyjson_val *root; /* its object; NULL when it is empty */
	yyjson_mut_doc *out;
	struct api_error error;
	bool is_held;    /* not answered yet: the request will be asked again (http/server.h) */
	char *operation; /* name of the one it was answered with; NULL: none */
	char *policy; /* name of the federation policy that the caller came by, for the audit; NULL: none */
	bool is_not_audited; /* one of many refusals, of which the first was */
};

typedef bool (*call_fn)(struct call *call);

/* MALFORMED_REQUEST unless the body is empty or a JSON object. */
bool call_read_body(struct call *call);
/* A required id from the query, checked against the pattern. */
bool call_read_id(struct call *call, const char *parameter, const char **ret);

/*
 * Live resources; "project id not found" and so on. Finding the project is where the caller's permission on it is checked:
 * PERMISSION_DENIED unless it has the level that the route demands.
 */
bool call_find_project(struct call *call, const char *project_id, struct project_row *ret);
/* The same, also when it is deleted softly. */
bool call_find_any_project(struct call *call, const char *project_id, struct project_row *ret);
bool call_find_branch(
        struct call *call, const struct project_row *project, const char *branch_id, struct branch_row *ret);
bool call_find_endpoint(struct call *call, const struct branch_row *branch, const char *endpoint_id,
        struct endpoint_row *ret);

/* 200 with that value of call->out. */
bool call_answer(struct call *call, yyjson_mut_val *value);
/* Wakes the reconciler for what was committed, and logs who did what. */
void call_note_operation(struct call *call, const struct operation_row *operation);
/* The same, and answers with the operation. */
bool call_answer_operation(struct call *call, struct operation_row *operation);
/* For `return call_fail(call, &err)`: from a failure below. */
bool call_fail(struct call *call, const struct error *err);

/*
 * Lists: the caller appends items of one page and asks for one row more than page->size; the extra row only tells that
 * there is another page.
 */
struct call_list {
	yyjson_mut_val *root, *items;
	int64_t count, last_id;
	bool has_more;
};
void call_list_begin(struct call *call, const char *collection, struct call_list *list);
/* False when the page is full: the item is the extra one and must be dropped. */
bool call_list_has_room(struct call_list *list, const struct page *page, int64_t id);
bool call_list_answer(
        struct call *call, struct call_list *list, const struct page *page, const char *list_name);
