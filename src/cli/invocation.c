#include "cli/invocation.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/number.h"
#include "cli/rest.h"

#define BODY_MAX      (10u << 20)
#define ARGUMENTS_MAX 4

static char *usage_of(const struct postgres_command *command)
{
	return xasprintf(
	        "tarn postgres %s%s%s", command->name, *command->arguments ? " " : "", command->arguments);
}

static status check_flags(const struct invocation *invocation, struct error *err)
{
	const struct options *options = &invocation->options;
	for (size_t i = 0; i < options->use_count; i++)
		for (const struct option *option = postgres_options; option->name; option++)
			if (strcmp(options->uses[i].name, option->name) == 0 &&
			        !postgres_command_has_option(invocation->command, option))
				return error_set(err, STATUS_INVALID, 0, "%s has no flag \"--%s\"",
				        invocation->command->name, option->name);
	return STATUS_OK;
}

static status check_name(const char *form, const char *what, const char *name, struct error *err)
{
	if (resource_name_fits(form, name))
		return STATUS_OK;
	return error_set(err, STATUS_INVALID, 0, "%s \"%s\" must have the form %s", what, name, form);
}

/* How many arguments this use of the command takes: a body may say what arguments would. */
static size_t wanted_arguments(const struct invocation *invocation)
{
	const struct postgres_command *command = invocation->command;
	size_t wanted = postgres_command_argument_count(command);
	if (!option_value(&invocation->options, "json"))
		return wanted;
	if (command->verb == VERB_CREDENTIAL)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(command->body_arguments) && command->body_arguments[i]; i++)
		wanted--;
	return wanted;
}

/* The first positional is the command's own name; what follows "--" counts as positional here. */
static status collect_arguments(const struct invocation *invocation, const char **given, struct error *err)
{
	const struct options *options = &invocation->options;
	const size_t total = options->positional_count + options->rest_count - 1,
	             wanted = wanted_arguments(invocation);
	CLEANUP(free_text) char *usage = usage_of(invocation->command);
	size_t count = 0;
	for (size_t i = 1; i < options->positional_count && count < ARGUMENTS_MAX; i++)
		given[count++] = options->positionals[i];
	for (size_t i = 0; i < options->rest_count && count < ARGUMENTS_MAX; i++)
		given[count++] = options->rest[i];
	if (total < wanted)
		return error_set(err, STATUS_INVALID, 0, "missing argument; usage: %s", usage);
	if (total > wanted && wanted < postgres_command_argument_count(invocation->command))
		return error_set(err, STATUS_INVALID, 0, "with \"--json\" the body says what \"%s\" would",
		        given[wanted]);
	if (total > wanted)
		return error_set(err, STATUS_INVALID, 0, "unexpected argument \"%s\"; usage: %s",
		        wanted < ARGUMENTS_MAX && given[wanted] ? given[wanted] : "", usage);
	return STATUS_OK;
}

static status check_id(const struct resource *resource, const char *id, struct error *err)
{
	if (*id == '\0')
		return error_set(err, STATUS_INVALID, 0, "the id of the %s is empty", resource->noun);
	if (strchr(id, '/'))
		return error_set(err, STATUS_INVALID, 0,
		        "the id of the %s is the last part of its name only, not \"%s\"", resource->noun, id);
	return STATUS_OK;
}

static status take_arguments(struct invocation *invocation, struct error *err)
{
	const struct postgres_command *command = invocation->command;
	const struct resource *resource = command->resource;
	const char *given[ARGUMENTS_MAX] = { NULL };
	status st = collect_arguments(invocation, given, err);
	if (st != STATUS_OK)
		return st;
	invocation->name = "";
	switch (command->verb) {
	case VERB_CREATE:
		if (resource->is_id_optional) {
			CLEANUP(free_text) char *flag = postgres_command_id_option(command);
			invocation->id = option_value(&invocation->options, flag);
		} else if (resource->id_query) {
			invocation->id = given[resource->parent_form ? 1 : 0];
		}
		st = invocation->id ? check_id(resource, invocation->id, err) : STATUS_OK;
		if (st != STATUS_OK)
			return st;
		/* fall through */
	case VERB_LIST:
		if (!resource->parent_form)
			return STATUS_OK;
		invocation->name = given[0];
		return check_name(resource->parent_form, "parent", given[0], err);
	case VERB_UPDATE:
		invocation->update_mask = given[1];
		if (*given[1] == '\0')
			return error_set(err, STATUS_INVALID, 0,
			        "the update mask is empty: name the fields to change");
		/* fall through */
	case VERB_GET:
	case VERB_GET_PART:
	case VERB_DELETE:
	case VERB_ACT:
	case VERB_REVEAL:
		invocation->name = given[0];
		return check_name(resource->name_form, "name", given[0], err);
	case VERB_GET_OPERATION:
		invocation->name = given[0];
		if (!strstr(given[0], "operations/") || given[0][0] == '/')
			return error_set(err, STATUS_INVALID, 0,
			        "name \"%s\" must have the form projects/PROJECT/…/operations/OPERATION",
			        given[0]);
		return STATUS_OK;
	case VERB_CREDENTIAL:
		if (invocation->body)
			return STATUS_OK;
		invocation->name = given[0];
		return check_name(resource->name_form, "endpoint", given[0], err);
	}
	return STATUS_OK;
}

/* {"branch": {"spec": …}} where {"spec": …} is wanted: the server would take it for a body that says nothing. */
static status refuse_wrapped(const struct invocation *invocation, yyjson_val *body, struct error *err)
{
	const struct resource *resource = invocation->command->resource;
	if (yyjson_obj_size(body) != 1 || !resource->id_query)
		return STATUS_OK;
	CLEANUP(free_text)
	char *wrapper = xstrndup(resource->id_query, strlen(resource->id_query) - strlen("_id"));
	if (!yyjson_is_obj(yyjson_obj_get(body, wrapper)))
		return STATUS_OK;
	return error_set(err, STATUS_INVALID, 0,
	        "flag \"--json\" is the %s itself: give what is inside \"%s\", without that around it",
	        resource->noun, wrapper);
}

static void mut_json_free(yyjson_mut_doc **doc)
{
	yyjson_mut_doc_free(*doc);
	*doc = NULL;
}

/* The body with the members that flags and arguments give. */
static status add_members(struct invocation *invocation, yyjson_doc *given, struct error *err)
{
	const struct postgres_command *command = invocation->command;
	const struct options *options = &invocation->options;
	const char *name = option_value(options, "name");
	if (command->verb != VERB_CREATE && command->verb != VERB_UPDATE)
		name = NULL;
	if (!name && (given || !command->body_arguments[0]))
		return STATUS_OK;
	CLEANUP(mut_json_free)
	yyjson_mut_doc *doc = given ? yyjson_doc_mut_copy(given, NULL) : yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = given ? yyjson_mut_doc_get_root(doc) : yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	if (name && !yyjson_mut_obj_get(root, "name"))
		yyjson_mut_obj_add_str(doc, root, "name", name);
	for (size_t i = 0; !given && i < ARRAY_LEN(command->body_arguments) && command->body_arguments[i];
	        i++)
		if (i + 2 < options->positional_count)
			yyjson_mut_obj_add_str(
			        doc, root, command->body_arguments[i], options->positionals[i + 2]);
	free_text(&invocation->body);
	invocation->body = yyjson_mut_write(doc, 0, NULL);
	return invocation->body ? STATUS_OK
	                        : error_set(err, STATUS_INVALID, 0, "the arguments are not valid UTF-8");
}

static status take_body(struct invocation *invocation, struct buffer *warnings, struct error *err)
{
	const char *json = option_value(&invocation->options, "json");
	if (!json)
		return add_members(invocation, NULL, err);
	CLEANUP(buffer_done) struct buffer text = { 0 };
	if (json[0] == '@') {
		const char *path = strcmp(json, "@-") == 0 ? "/dev/stdin" : json + 1;
		if (file_read(path, BODY_MAX, &text, err) != STATUS_OK)
			return error_prefix(err, "flag \"--json\"");
	} else {
		buffer_append_text(&text, json);
	}
	yyjson_read_err problem = { 0 };
	CLEANUP(json_free) yyjson_doc *doc = yyjson_read_opts(text.data, text.len, 0, NULL, &problem);
	yyjson_val *root = yyjson_doc_get_root(doc);
	if (!doc)
		return error_set(err, STATUS_INVALID, 0, "flag \"--json\" is not valid JSON: %s at byte %zu",
		        text.len > 0 ? problem.msg : "it is empty", problem.pos);
	if (!yyjson_is_obj(root))
		return error_set(err, STATUS_INVALID, 0,
		        "flag \"--json\" must be a JSON object, such as {\"spec\":{…}}");
	invocation->body = xstrndup(text.data, text.len);
	if (invocation->command->verb != VERB_CREATE && invocation->command->verb != VERB_UPDATE)
		return STATUS_OK;
	status st = refuse_wrapped(invocation, root, err);
	if (st != STATUS_OK)
		return st;
	/* The server may know more than we do: warned of, and sent all the same. */
	resource_fields_warn(invocation->command->resource->fields, root, warnings);
	return add_members(invocation, doc, err);
}

/* *ret stays when the flag is not given. */
static status take_number(struct invocation *invocation, const char *flag, int64_t *ret, struct error *err)
{
	const char *text = option_value(&invocation->options, flag);
	if (text && !number_parse(slice_from_text(text), 0, INT32_MAX, ret))
		return error_set(err, STATUS_INVALID, 0,
		        "flag \"--%s\" must be a whole number, 0 or more, not \"%s\"", flag, text);
	return STATUS_OK;
}

/* What --ttl and --expire-time make of the body, which in this case is ours. */
static status make_credential_body(struct invocation *invocation, struct error *err)
{
	const char *ttl = option_value(&invocation->options, "ttl");
	const char *expire_time = option_value(&invocation->options, "expire-time");
	if (invocation->body) {
		if (ttl || expire_time)
			return error_set(err, STATUS_INVALID, 0,
			        "flags \"--ttl\" and \"--expire-time\" do not go with \"--json\"");
		return STATUS_OK;
	}
	if (ttl && expire_time)
		return error_set(err, STATUS_INVALID, 0, "give \"--ttl\" or \"--expire-time\", not both");
	char ttl_text[CLOCK_TEXT_MAX];
	if (ttl) {
		int64_t usec = 0;
		status st = duration_parse("ttl", ttl, &usec, err);
		if (st != STATUS_OK)
			return st;
		clock_format_duration(usec, ttl_text);
	}
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_str(doc, root, "endpoint", invocation->name);
	if (ttl)
		yyjson_mut_obj_add_str(doc, root, "ttl", ttl_text);
	if (expire_time)
		yyjson_mut_obj_add_str(doc, root, "expire_time", expire_time);
	invocation->body = yyjson_mut_write(doc, 0, NULL);
	yyjson_mut_doc_free(doc);
	if (!invocation->body)
		return error_set(err, STATUS_INVALID, 0, "the arguments are not valid UTF-8");
	return STATUS_OK;
}

/* Flags that are members of the body, which in this case is ours. */
static status make_moment_body(struct invocation *invocation, struct error *err)
{
	static const struct {
		const char *flag, *member;
	} members[] = {
		{ "source-branch-lsn", "source_branch_lsn" },
		{ "source-branch-time", "source_branch_time" },
		{ "preserve-under-branch-id", "preserve_under_branch_id" },
	};
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		const char *value = option_value(&invocation->options, members[i].flag);
		if (value)
			yyjson_mut_obj_add_str(doc, root, members[i].member, value);
	}
	bool has_flags = yyjson_mut_obj_size(root) > 0;
	char *text = has_flags ? yyjson_mut_write(doc, 0, NULL) : NULL;
	yyjson_mut_doc_free(doc);
	if (!has_flags)
		return STATUS_OK;
	if (!text)
		return error_set(err, STATUS_INVALID, 0, "the flags are not valid UTF-8");
	if (invocation->body) {
		free(text);
		return error_set(err, STATUS_INVALID, 0,
		        "flag \"--json\" does not go with the flags that say the moment");
	}
	invocation->body = text;
	return STATUS_OK;
}

/* Tables for people, JSON for whatever reads a pipe or a file. */
static status take_form(struct invocation *invocation, struct error *err)
{
	if (!option_value(&invocation->options, "output")) {
		invocation->form = isatty(STDOUT_FILENO) ? OUTPUT_TEXT : OUTPUT_JSON;
		return STATUS_OK;
	}
	return output_form_parse(&invocation->options, &invocation->form, err);
}

status invocation_check(struct invocation *invocation, struct buffer *warnings, struct error *err)
{
	const char *timeout = option_value(&invocation->options, "timeout");
	int64_t ignored = 0;
	status st = check_flags(invocation, err);
	if (st == STATUS_OK)
		st = take_form(invocation, err);
	if (st == STATUS_OK)
		st = take_body(invocation, warnings, err);
	if (st == STATUS_OK)
		st = take_arguments(invocation, err);
	if (st == STATUS_OK)
		st = take_number(invocation, "limit", &invocation->limit, err);
	if (st == STATUS_OK)
		st = take_number(invocation, "page-size", &ignored, err);
	if (st == STATUS_OK && timeout)
		st = duration_parse("timeout", timeout, &invocation->timeout_usec, err);
	if (st == STATUS_OK && invocation->command->verb == VERB_CREDENTIAL)
		st = make_credential_body(invocation, err);
	if (st == STATUS_OK && (invocation->command->flags & FLAG_MOMENT))
		st = make_moment_body(invocation, err);
	return st;
}

void invocation_done(struct invocation *invocation)
{
	options_done(&invocation->options);
	free_text(&invocation->body);
}
