#include "cli/psql_login.h"

#include <stdio.h>
#include <unistd.h>

#include "base/random.h"
#include "cli/table.h"

void psql_login_done(struct psql_login *login)
{
	free_text(&login->host);
	free_text(&login->user);
	free_text(&login->token);
}

static status get_token(
        struct rest *rest, const char *path, yyjson_mut_doc *request, char **ret, struct error *err)
{
	CLEANUP(free_text) char *body = yyjson_mut_write(request, 0, NULL);
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	status st = rest_call(rest, "POST", path, body ? body : "{}", &doc, err);
	if (st != STATUS_OK)
		return st;
	const char *token = json_text(yyjson_doc_get_root(doc), "token");
	if (*token == '\0')
		return error_set(err, STATUS_INTERNAL, 0, "the server answered without a token");
	*ret = xstrdup(token);
	return STATUS_OK;
}

static void mut_json_free(yyjson_mut_doc **doc)
{
	yyjson_mut_doc_free(*doc);
	*doc = NULL;
}

static status get_endpoint_token(struct rest *rest, const char *name, char **ret, struct error *err)
{
	CLEANUP(mut_json_free) yyjson_mut_doc *request = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(request);
	yyjson_mut_doc_set_root(request, root);
	yyjson_mut_obj_add_str(request, root, "endpoint", name);
	return get_token(rest, API_PREFIX "credentials", request, ret, err);
}

static status get_instance_token(struct rest *rest, const char *name, char **ret, struct error *err)
{
	CLEANUP(mut_json_free) yyjson_mut_doc *request = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(request);
	char id[UUID_TEXT_LEN + 1];
	random_uuid(id);
	yyjson_mut_doc_set_root(request, root);
	yyjson_mut_arr_add_str(request, yyjson_mut_obj_add_arr(request, root, "instance_names"), name);
	yyjson_mut_obj_add_str(request, root, "request_id", id);
	return get_token(rest, "/api/2.0/database/credentials", request, ret, err);
}

static status check_endpoint(yyjson_val *endpoint, const char *name, struct error *err)
{
	if (yyjson_is_true(json_at(endpoint, "status.disabled"))) {
		status st = error_set(err, STATUS_CONFLICT, 0, "endpoint \"%s\" is disabled", name);
		error_hint(err,
		        "Enable it: tarn postgres update-endpoint %s spec.disabled --json "
		        "'{\"spec\":{\"disabled\":false}}'",
		        name);
		return st;
	}
	const char *state = json_text(endpoint, "status.current_state");
	if (strcmp(state, "ACTIVE") != 0 && strcmp(state, "IDLE") != 0)
		return error_set(err, STATUS_UNAVAILABLE, 0,
		        "endpoint \"%s\" is not ready for accepting connections: its state is %s", name,
		        state);
	return STATUS_OK;
}

static status check_instance(yyjson_val *instance, const char *name, struct error *err)
{
	const char *state = json_text(instance, "state");
	if (strcmp(state, "AVAILABLE") == 0)
		return STATUS_OK;
	return error_set(err, STATUS_UNAVAILABLE, 0,
	        "instance \"%s\" is not ready for accepting connections: its state is %s", name, state);
}

/* On a terminal people see what was picked, and why it may take a moment. */
static void announce(const char *name, bool is_asleep)
{
	if (!isatty(STDERR_FILENO))
		return;
	CLEANUP(free_text) char *printable = printable_copy(name);
	(void)fprintf(stderr, "Connecting to %s%s\n", printable, is_asleep ? " (asleep, wakes up)" : "");
}

status psql_login_get(
        struct rest *rest, const struct psql_target *target, struct psql_login *ret, struct error *err)
{
	CLEANUP(psql_login_done) struct psql_login login = { 0 };
	CLEANUP(json_free) yyjson_doc *place = NULL;
	CLEANUP(json_free) yyjson_doc *me = NULL;
	status st = psql_target_resolve(target, rest, &place, err);
	if (st != STATUS_OK)
		return st;
	yyjson_val *root = yyjson_doc_get_root(place);
	const char *name = json_text(root, "name");
	login.host = xstrdup(json_text(root, target->is_instance ? "read_write_dns" : "status.hosts.host"));
	st = target->is_instance ? check_instance(root, name, err) : check_endpoint(root, name, err);
	if (st == STATUS_OK && *login.host == '\0')
		st = error_set(err, STATUS_UNAVAILABLE, 0, "\"%s\" has no host yet", name);
	if (st == STATUS_OK)
		st = rest_call(rest, "GET", "/api/2.0/preview/scim/v2/Me", NULL, &me, err);
	if (st == STATUS_OK)
		st = target->is_instance ? get_instance_token(rest, name, &login.token, err)
		                         : get_endpoint_token(rest, name, &login.token, err);
	if (st != STATUS_OK)
		return st;
	login.user = xstrdup(json_text(yyjson_doc_get_root(me), "userName"));
	announce(name, strcmp(json_text(root, "status.current_state"), "IDLE") == 0);
	*ret = login;
	login = (struct psql_login){ 0 };
	return STATUS_OK;
}
