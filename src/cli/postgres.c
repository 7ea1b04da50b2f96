/* `tarn postgres COMMAND …`: what each verb does with the API, and what it prints. The commands are in postgres_commands.c. */
#include "cli/postgres.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/description.h"
#include "cli/help.h"
#include "cli/invocation.h"
#include "cli/operation.h"
#include "cli/postgres_help.h"
#include "cli/rest.h"

static status print_json(const yyjson_val *value, struct error *err)
{
	CLEANUP(free_text) char *text = yyjson_val_write(value, YYJSON_WRITE_PRETTY_TWO_SPACES, NULL);
	if (!text)
		return error_set(err, STATUS_INTERNAL, 0, "could not write the answer as JSON");
	(void)puts(text);
	return STATUS_OK;
}

static status print_resource(const struct invocation *invocation, yyjson_val *value, struct error *err)
{
	if (invocation->form == OUTPUT_JSON)
		return print_json(value, err);
	CLEANUP(buffer_done) struct buffer out = { 0 };
	description_write(value, clock_wall_usec(), &out);
	(void)fputs(out.data ? out.data : "", stdout);
	return STATUS_OK;
}

/* POST, PATCH and DELETE answer an operation: wait for it and print what came of it. */
static status run_change(struct rest *rest, const struct invocation *invocation, const char *method,
        const struct buffer *path, const char *title, struct error *err)
{
	yyjson_doc *operation = NULL;
	const char *body = strcmp(method, "DELETE") == 0 ? NULL : invocation->body ? invocation->body : "{}";
	status st = rest_call(rest, method, path->data, body, &operation, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	if (option_is_on(&invocation->options, "no-wait")) {
		CLEANUP(free_text) char *name = xstrdup(json_text(yyjson_doc_get_root(operation), "name"));
		json_free(&operation);
		st = operation_get(rest, name, &doc, err);
		return st == STATUS_OK ? print_resource(invocation, yyjson_doc_get_root(doc), err) : st;
	}
	st = operation_wait(rest, operation, invocation->timeout_usec, title, &doc, err);
	if (st != STATUS_OK || invocation->command->verb == VERB_DELETE)
		return st;
	yyjson_val *response = yyjson_obj_get(yyjson_doc_get_root(doc), "response");
	if (!yyjson_is_obj(response))
		return error_set(err, STATUS_INTERNAL, 0, "the operation ended without a response");
	return print_resource(invocation, response, err);
}

static void append_collection(struct buffer *path, const struct invocation *invocation)
{
	if (*invocation->name) {
		path_append_name(path, invocation->name);
		buffer_append_text(path, "/");
	}
	buffer_append_text(path, invocation->command->resource->collection);
}

/* Adds the elements of one page to *all, up to the limit; *next gets the token of the next page, or NULL. */
static status add_page(const struct invocation *invocation, yyjson_val *page, yyjson_mut_doc *doc,
        yyjson_mut_val *all, char **next, struct error *err)
{
	yyjson_val *list = yyjson_obj_get(page, resource_list_member(invocation->command->resource)), *one;
	size_t i, count;
	yyjson_arr_foreach(list, i, count, one)
	{
		if (invocation->limit > 0 && (int64_t)yyjson_mut_arr_size(all) >= invocation->limit)
			break;
		yyjson_mut_arr_append(all, yyjson_val_mut_copy(doc, one));
	}
	const char *token = json_text(page, "next_page_token");
	if (*next && strcmp(token, *next) == 0)
		return error_set(err, STATUS_INTERNAL, 0, "the server answered the same page twice");
	free_text(next);
	bool is_full = invocation->limit > 0 && (int64_t)yyjson_mut_arr_size(all) >= invocation->limit;
	*next = *token && !is_full ? xstrdup(token) : NULL;
	return STATUS_OK;
}

static void mut_json_free(yyjson_mut_doc **doc)
{
	yyjson_mut_doc_free(*doc);
	*doc = NULL;
}

static status get_page(struct rest *rest, const struct invocation *invocation, const char *token,
        yyjson_doc **ret, struct error *err)
{
	const struct options *options = &invocation->options;
	CLEANUP(buffer_done) struct buffer path = { 0 };
	buffer_append_text(&path, API_PREFIX);
	append_collection(&path, invocation);
	if (option_value(options, "page-size"))
		path_append_query(&path, "page_size", option_value(options, "page-size"));
	if (option_is_on(options, "show-deleted"))
		path_append_query(&path, "show_deleted", "true");
	if (token)
		path_append_query(&path, "page_token", token);
	return rest_call(rest, "GET", path.data, NULL, ret, err);
}

static status run_list(struct rest *rest, const struct invocation *invocation, struct error *err)
{
	CLEANUP(mut_json_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *all = yyjson_mut_arr(doc);
	yyjson_mut_doc_set_root(doc, all);
	const char *first = option_value(&invocation->options, "page-token");
	CLEANUP(free_text) char *next = first && *first ? xstrdup(first) : NULL;
	do {
		CLEANUP(json_free) yyjson_doc *page = NULL;
		status st = get_page(rest, invocation, next, &page, err);
		if (st == STATUS_OK)
			st = add_page(invocation, yyjson_doc_get_root(page), doc, all, &next, err);
		if (st != STATUS_OK)
			return st;
	} while (next);

	CLEANUP(json_free) yyjson_doc *list = yyjson_mut_doc_imut_copy(doc, NULL);
	if (invocation->form == OUTPUT_JSON)
		return print_json(yyjson_doc_get_root(list), err);
	CLEANUP(buffer_done) struct buffer out = { 0 };
	resource_table_write(invocation->command->resource, yyjson_doc_get_root(list), &out);
	(void)fputs(out.data, stdout);
	return STATUS_OK;
}

static status run_create(
        struct rest *rest, const struct invocation *invocation, struct buffer *path, struct error *err)
{
	const struct resource *resource = invocation->command->resource;
	append_collection(path, invocation);
	if (invocation->id)
		path_append_query(path, resource->id_query, invocation->id);
	if (option_is_on(&invocation->options, "replace-existing"))
		path_append_query(path, "replace_existing", "true");
	CLEANUP(free_text)
	char *title = invocation->id ? xasprintf("creating %s \"%s\"", resource->noun, invocation->id)
	                             : xasprintf("creating the %s", resource->noun);
	return run_change(rest, invocation, "POST", path, title, err);
}

static status run_delete(
        struct rest *rest, const struct invocation *invocation, struct buffer *path, struct error *err)
{
	const struct options *options = &invocation->options;
	const char *heir = option_value(options, "reassign-owned-to");
	path_append_name(path, invocation->name);
	if (option_is_on(options, "purge"))
		path_append_query(path, "purge", "true");
	if (option_is_on(options, "force"))
		path_append_query(path, "force", "true");
	if (heir && *heir)
		path_append_query(path, "reassign_owned_to", heir);
	CLEANUP(free_text)
	char *title = xasprintf("deleting %s \"%s\"", invocation->command->resource->noun, invocation->name);
	return run_change(rest, invocation, "DELETE", path, title, err);
}

static status run(struct rest *rest, const struct invocation *invocation, struct error *err)
{
	const struct postgres_command *command = invocation->command;
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	CLEANUP(buffer_done) struct buffer path = { 0 };
	CLEANUP(free_text) char *title = NULL;
	status st;
	buffer_append_text(&path, API_PREFIX);
	switch (command->verb) {
	case VERB_CREATE:
		return run_create(rest, invocation, &path, err);
	case VERB_LIST:
		return run_list(rest, invocation, err);
	case VERB_UPDATE:
		path_append_name(&path, invocation->name);
		path_append_query(&path, "update_mask", invocation->update_mask);
		title = xasprintf("updating %s \"%s\"", command->resource->noun, invocation->name);
		return run_change(rest, invocation, "PATCH", &path, title, err);
	case VERB_DELETE:
		return run_delete(rest, invocation, &path, err);
	case VERB_ACT:
		path_append_name(&path, invocation->name);
		buffer_printf(&path, "/%s", command->action);
		title = xasprintf("%s \"%s\"", command->name, invocation->name);
		return run_change(rest, invocation, "POST", &path, title, err);
	case VERB_REVEAL:
		path_append_name(&path, invocation->name);
		buffer_printf(&path, "/%s", command->action);
		st = rest_call(rest, "POST", path.data, "{}", &doc, err);
		break;
	case VERB_CREDENTIAL:
		buffer_append_text(&path, "credentials");
		st = rest_call(rest, "POST", path.data, invocation->body, &doc, err);
		break;
	case VERB_GET:
	case VERB_GET_PART:
	case VERB_GET_OPERATION:
	default:
		path_append_name(&path, invocation->name);
		if (command->verb == VERB_GET_PART)
			buffer_printf(&path, "/%s", command->action);
		st = rest_call(rest, "GET", path.data, NULL, &doc, err);
		break;
	}
	return st == STATUS_OK ? print_resource(invocation, yyjson_doc_get_root(doc), err) : st;
}

static int refuse_command(const char *name)
{
	const char **names = xcalloc(postgres_command_count, sizeof *names);
	for (size_t i = 0; i < postgres_command_count; i++)
		names[i] = postgres_commands[i].name;
	const char *meant = nearest_word(name, names, postgres_command_count);
	free(names);
	return meant ? usage_failure("postgres", "unknown command \"postgres %s\"; did you mean \"%s\"?",
	                       name, meant)
	             : usage_failure("postgres", "unknown command \"postgres %s\"", name);
}

int postgres_help(const char *name)
{
	CLEANUP(buffer_done) struct buffer out = { 0 };
	const struct postgres_command *command = name ? postgres_command_find(name) : NULL;
	if (name && !command)
		return refuse_command(name);
	postgres_help_write(command, &out);
	(void)fputs(out.data, stdout);
	return 0;
}

static int postgres_main(const struct cli_services *services, int argc, char **argv)
{
	(void)services;
	struct error err;
	CLEANUP(invocation_done) struct invocation invocation = { 0 };
	if (options_parse(argc, argv, postgres_options, &invocation.options, &err) != STATUS_OK)
		return print_usage_failure(&err, "postgres");
	const struct options *options = &invocation.options;
	const char *name = options->positional_count > 0 ? options->positionals[0] : NULL;
	if (option_is_on(options, "help"))
		return postgres_help(name);
	if (!name)
		return usage_failure("postgres", "missing command; usage: tarn postgres COMMAND");
	invocation.command = postgres_command_find(name);
	if (!invocation.command)
		return refuse_command(name);
	CLEANUP(buffer_done) struct buffer warnings = { 0 };
	if (invocation_check(&invocation, &warnings, &err) != STATUS_OK) {
		CLEANUP(free_text) char *topic = xasprintf("postgres %s", name);
		return print_usage_failure(&err, topic);
	}
	if (warnings.data)
		(void)fputs(warnings.data, stderr);

	CLEANUP(connection_done) struct connection connection = { 0 };
	CLEANUP(rest_freep) struct rest *rest = NULL;
	if (connection_find(options, &connection, &err) != STATUS_OK ||
	        rest_open(&connection, option_is_on(options, "debug"), &rest, &err) != STATUS_OK ||
	        run(rest, &invocation, &err) != STATUS_OK)
		return print_failure(&err);
	return 0;
}

const struct command postgres_command = {
	.name = "postgres",
	.summary = "projects, branches, endpoints, databases, roles, snapshots: create, get, list, update, "
	           "delete",
	.run = postgres_main,
	.options = postgres_options,
};
