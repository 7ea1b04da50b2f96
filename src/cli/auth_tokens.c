/* `tarn auth tokens|secrets …`: what people and programs prove themselves with. A new one is printed once and kept nowhere. */
#include <stdio.h>

#include "base/clock.h"
#include "cli/auth.h"

/* --lifetime in whole seconds; 0: not given. */
static status read_lifetime(const struct auth_call *call, int64_t *ret_sec, struct error *err)
{
	const char *text = option_value(call->options, "lifetime");
	int64_t usec = 0;
	*ret_sec = 0;
	if (!text)
		return STATUS_OK;
	status st = duration_parse("lifetime", text, &usec, err);
	if (st == STATUS_OK && usec < USEC_PER_SEC)
		return error_set(err, STATUS_INVALID, 0, "flag \"--lifetime\" must be at least 1s");
	*ret_sec = usec / USEC_PER_SEC;
	return st;
}

/* The body's last brace makes room for one more member. */
static char *with_number(const char *body, const char *name, int64_t number)
{
	if (number == 0)
		return xstrdup(body);
	size_t len = strlen(body);
	return xasprintf(
	        "%.*s%s\"%s\":%lld}", (int)(len - 1), body, len > 2 ? "," : "", name, (long long)number);
}

static status post(
        struct auth_call *call, const char *path, const char *body, const char *member, struct error *err)
{
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	status st = rest_call(call->rest, "POST", path, body, &doc, err);
	if (st != STATUS_OK)
		return st;
	yyjson_val *root = yyjson_doc_get_root(doc);
	return auth_print(call, root, member ? json_text(root, member) : NULL, err);
}

status auth_users_sign_in_code(struct auth_call *call, struct error *err)
{
	CLEANUP(free_text) char *id = NULL;
	int64_t life_sec;
	status st = read_lifetime(call, &life_sec, err);
	if (st == STATUS_OK)
		st = auth_connect(call, err);
	if (st == STATUS_OK)
		st = auth_find(call, AUTH_USER, call->arguments[0], &id, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *path = xasprintf("/api/2.0/preview/scim/v2/Users/%s/sign-in-code", id);
	CLEANUP(free_text) char *body = with_number("{}", "lifetime_seconds", life_sec);
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	st = rest_call(call->rest, "POST", path, body, &doc, err);
	if (st != STATUS_OK)
		return st;
	yyjson_val *root = yyjson_doc_get_root(doc);
	CLEANUP(free_text)
	char *text = xasprintf("%s\n\nIt works once, until %s. To use it:\n  tarn auth login --host %s",
	        json_text(root, "code"), json_text(root, "expire_time"), json_text(root, "host"));
	return auth_print(call, root, text, err);
}

status auth_tokens_create(struct auth_call *call, struct error *err)
{
	int64_t life_sec;
	status st = read_lifetime(call, &life_sec, err);
	if (st == STATUS_OK)
		st = auth_connect(call, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *plain = auth_body("comment", option_value(call->options, "comment"), NULL);
	CLEANUP(free_text) char *body = with_number(plain, "lifetime_seconds", life_sec);
	return post(call, "/api/2.0/token/create", body, "token_value", err);
}

/* Milliseconds since 1970 become times that people read; in JSON they stay as the API has them. */
static yyjson_doc *with_times(yyjson_val *list)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *copy = yyjson_val_mut_copy(doc, list), *row;
	yyjson_mut_doc_set_root(doc, copy);
	size_t i, count;
	yyjson_mut_arr_foreach(copy, i, count, row)
	{
		static const char *const members[] = { "creation_time", "expiry_time" };
		for (size_t k = 0; k < ARRAY_LEN(members); k++) {
			char text[CLOCK_TEXT_MAX] = "never";
			int64_t msec = yyjson_mut_get_sint(yyjson_mut_obj_get(row, members[k]));
			if (msec > 0)
				clock_format_timestamp(msec / 1000 * USEC_PER_SEC, text);
			yyjson_mut_obj_put(
			        row, yyjson_mut_str(doc, members[k]), yyjson_mut_strcpy(doc, text));
		}
	}
	yyjson_doc *result = yyjson_mut_doc_imut_copy(doc, NULL);
	yyjson_mut_doc_free(doc);
	return result;
}

status auth_tokens_list(struct auth_call *call, struct error *err)
{
	static const struct auth_column columns[] = { { "TOKEN ID", "token_id" },
		{ "OF", "created_by_username" }, { "COMMENT", "comment" }, { "CREATED", "creation_time" },
		{ "EXPIRES", "expiry_time" } };
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	bool is_all = option_is_on(call->options, "all");
	status st = auth_connect(call, err);
	if (st == STATUS_OK)
		st = rest_call(call->rest, "GET",
		        is_all ? "/api/2.0/token-management/tokens" : "/api/2.0/token/list", NULL, &doc, err);
	if (st != STATUS_OK)
		return st;
	yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(doc), "token_infos");
	if (call->form == OUTPUT_JSON)
		return auth_print_list(call, list, columns, ARRAY_LEN(columns), err);
	CLEANUP(json_free) yyjson_doc *readable = with_times(list);
	return auth_print_list(call, yyjson_doc_get_root(readable), columns, ARRAY_LEN(columns), err);
}

status auth_tokens_revoke(struct auth_call *call, struct error *err)
{
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	status st = auth_connect(call, err);
	if (st != STATUS_OK)
		return st;
	if (option_is_on(call->options, "all")) {
		CLEANUP(buffer_done) struct buffer path = { 0 };
		buffer_append_text(&path, "/api/2.0/token-management/tokens/");
		path_append_name(&path, call->arguments[0]);
		return rest_call(call->rest, "DELETE", path.data, NULL, &doc, err);
	}
	CLEANUP(free_text) char *body = auth_body("token_id", call->arguments[0], NULL);
	return rest_call(call->rest, "POST", "/api/2.0/token/delete", body, &doc, err);
}

/* …/{id}/credentials/secrets of the service principal that the first argument names. */
static status find_secrets(struct auth_call *call, char **ret_path, struct error *err)
{
	CLEANUP(free_text) char *id = NULL;
	status st = auth_connect(call, err);
	if (st == STATUS_OK)
		st = auth_find(call, AUTH_PRINCIPAL, call->arguments[0], &id, err);
	if (st == STATUS_OK)
		*ret_path = xasprintf("/api/2.0/accounts/servicePrincipals/%s/credentials/secrets", id);
	return st;
}

status auth_secrets_list(struct auth_call *call, struct error *err)
{
	static const struct auth_column columns[] = { { "SECRET ID", "id" }, { "STATUS", "status" },
		{ "CREATED", "create_time" }, { "EXPIRES", "expire_time" } };
	CLEANUP(free_text) char *path = NULL;
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	status st = find_secrets(call, &path, err);
	if (st == STATUS_OK)
		st = rest_call(call->rest, "GET", path, NULL, &doc, err);
	return st == STATUS_OK ? auth_print_list(call, yyjson_obj_get(yyjson_doc_get_root(doc), "secrets"),
	                                 columns, ARRAY_LEN(columns), err)
	                       : st;
}

status auth_secrets_create(struct auth_call *call, struct error *err)
{
	CLEANUP(free_text) char *path = NULL;
	int64_t life_sec;
	status st = read_lifetime(call, &life_sec, err);
	if (st == STATUS_OK)
		st = find_secrets(call, &path, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text)
	char *body = life_sec ? xasprintf("{\"lifetime\":\"%llds\"}", (long long)life_sec) : xstrdup("{}");
	return post(call, path, body, "secret", err);
}

status auth_secrets_delete(struct auth_call *call, struct error *err)
{
	CLEANUP(free_text) char *path = NULL;
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	CLEANUP(buffer_done) struct buffer whole = { 0 };
	status st = find_secrets(call, &path, err);
	if (st != STATUS_OK)
		return st;
	buffer_printf(&whole, "%s/", path);
	path_append_name(&whole, call->arguments[1]);
	return rest_call(call->rest, "DELETE", whole.data, NULL, &doc, err);
}
