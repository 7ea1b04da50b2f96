#include "cli/postgres.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/number.h"
#include "cli/command.h"
#include "cli/operation.h"
#include "cli/resource.h"
#include "cli/rest.h"

#define BODY_MAX (10u << 20)

enum verb {
	VERB_CREATE,
	VERB_GET,
	VERB_LIST,
	VERB_UPDATE,
	VERB_DELETE,
	VERB_ACT,
	VERB_GET_OPERATION,
	VERB_CREDENTIAL
};

/* Flags a command may have beside the common ones. */
enum {
	FLAG_JSON = 1,
	FLAG_REPLACE = 2,
	FLAG_PURGE = 4,
	FLAG_DELETED = 8,
	FLAG_PAGES = 16,
	FLAG_WAIT = 32,
	FLAG_LIFE = 64,
	FLAG_MOMENT = 128
};

struct postgres_command {
	const char *name;
	enum verb verb;
	const struct resource *resource;
	unsigned int flags;
	const char *arguments;
	const char *summary;
	const char *example;
	const char *action; /* VERB_ACT: the last part of the path */
};

static const struct postgres_command commands[] = {
	{ "create-project", VERB_CREATE, &project_resource, FLAG_JSON | FLAG_WAIT, "PROJECT_ID",
	        "make a project: branch \"production\" with endpoint \"primary\" and database "
	        "\"databricks_postgres\"",
	        "create-project my-app --json '{\"spec\":{\"display_name\":\"My App\",\"pg_version\":17}}'" },
	{ "get-project", VERB_GET, &project_resource, 0, "NAME", "show a project",
	        "get-project projects/my-app" },
	{ "list-projects", VERB_LIST, &project_resource, FLAG_PAGES | FLAG_DELETED, "", "list all projects",
	        "list-projects -o json" },
	{ "update-project", VERB_UPDATE, &project_resource, FLAG_JSON | FLAG_WAIT, "NAME UPDATE_MASK",
	        "change fields of a project",
	        "update-project projects/my-app spec.display_name --json "
	        "'{\"spec\":{\"display_name\":\"Shop\"}}'" },
	{ "delete-project", VERB_DELETE, &project_resource, FLAG_PURGE | FLAG_WAIT, "NAME",
	        "delete a project with everything in it", "delete-project projects/my-app --purge" },
	{ "undelete-project", VERB_ACT, &project_resource, FLAG_WAIT, "NAME",
	        "bring a deleted project back, before its time is over", "undelete-project projects/my-app",
	        "undelete" },
	{ "create-branch", VERB_CREATE, &branch_resource, FLAG_JSON | FLAG_REPLACE | FLAG_WAIT,
	        "PARENT BRANCH_ID",
	        "make a branch: another one as it is now, or was (source_branch_lsn, source_branch_time), or "
	        "a "
	        "snapshot (source_snapshot)",
	        "create-branch projects/my-app dev --json "
	        "'{\"spec\":{\"source_branch\":\"projects/my-app/branches/"
	        "production\",\"no_expiry\":true}}'" },
	{ "get-branch", VERB_GET, &branch_resource, 0, "NAME", "show a branch",
	        "get-branch projects/my-app/branches/dev" },
	{ "list-branches", VERB_LIST, &branch_resource, FLAG_PAGES | FLAG_DELETED, "PARENT",
	        "list the branches of a project", "list-branches projects/my-app" },
	{ "update-branch", VERB_UPDATE, &branch_resource, FLAG_JSON | FLAG_WAIT, "NAME UPDATE_MASK",
	        "change fields of a branch",
	        "update-branch projects/my-app/branches/dev spec.expiration --json "
	        "'{\"spec\":{\"ttl\":\"86400s\"}}'" },
	{ "delete-branch", VERB_DELETE, &branch_resource, FLAG_PURGE | FLAG_WAIT, "NAME",
	        "delete a branch with its endpoints", "delete-branch projects/my-app/branches/dev --purge" },
	{ "undelete-branch", VERB_ACT, &branch_resource, FLAG_WAIT, "NAME",
	        "bring a deleted branch back, before its time is over",
	        "undelete-branch projects/my-app/branches/dev", "undelete" },
	{ "reset-branch", VERB_ACT, &branch_resource, FLAG_WAIT, "NAME",
	        "make a branch what its parent is now; its connection string stays",
	        "reset-branch projects/my-app/branches/dev", "reset" },
	{ "restore-branch", VERB_ACT, &branch_resource, FLAG_JSON | FLAG_MOMENT | FLAG_WAIT, "NAME",
	        "take a branch back to a moment of its past; what it was becomes a branch of its own",
	        "restore-branch projects/my-app/branches/production --source-branch-time "
	        "2026-08-01T10:00:00Z",
	        "restore" },
	{ "create-snapshot", VERB_CREATE, &snapshot_resource, FLAG_JSON | FLAG_WAIT, "PARENT SNAPSHOT_ID",
	        "keep a moment of a branch under a name, also when the branch goes",
	        "create-snapshot projects/my-app nightly --json "
	        "'{\"spec\":{\"source_branch\":\"projects/my-app/branches/production\"}}'" },
	{ "get-snapshot", VERB_GET, &snapshot_resource, 0, "NAME", "show a snapshot",
	        "get-snapshot projects/my-app/snapshots/nightly" },
	{ "list-snapshots", VERB_LIST, &snapshot_resource, FLAG_PAGES, "PARENT",
	        "list the snapshots of a project", "list-snapshots projects/my-app" },
	{ "delete-snapshot", VERB_DELETE, &snapshot_resource, FLAG_WAIT, "NAME",
	        "delete a snapshot; branches made of it stay",
	        "delete-snapshot projects/my-app/snapshots/nightly" },
	{ "create-endpoint", VERB_CREATE, &endpoint_resource, FLAG_JSON | FLAG_REPLACE | FLAG_WAIT,
	        "PARENT ENDPOINT_ID", "make an endpoint of a branch",
	        "create-endpoint projects/my-app/branches/dev primary --json "
	        "'{\"spec\":{\"endpoint_type\":\"ENDPOINT_TYPE_READ_WRITE\"}}'" },
	{ "get-endpoint", VERB_GET, &endpoint_resource, 0, "NAME", "show an endpoint, with its host",
	        "get-endpoint projects/my-app/branches/dev/endpoints/primary" },
	{ "list-endpoints", VERB_LIST, &endpoint_resource, FLAG_PAGES, "PARENT",
	        "list the endpoints of a branch", "list-endpoints projects/my-app/branches/dev" },
	{ "update-endpoint", VERB_UPDATE, &endpoint_resource, FLAG_JSON | FLAG_WAIT, "NAME UPDATE_MASK",
	        "change fields of an endpoint",
	        "update-endpoint projects/my-app/branches/dev/endpoints/primary spec.suspension --json "
	        "'{\"spec\":{\"suspend_timeout_duration\":\"300s\"}}'" },
	{ "delete-endpoint", VERB_DELETE, &endpoint_resource, FLAG_WAIT, "NAME", "delete an endpoint",
	        "delete-endpoint projects/my-app/branches/dev/endpoints/reader" },
	{ "get-database", VERB_GET, &database_resource, 0, "NAME", "show a database",
	        "get-database projects/my-app/branches/dev/databases/databricks-postgres" },
	{ "list-databases", VERB_LIST, &database_resource, FLAG_PAGES, "PARENT",
	        "list the databases of a branch", "list-databases projects/my-app/branches/dev" },
	{ "get-role", VERB_GET, &role_resource, 0, "NAME", "show a role",
	        "get-role projects/my-app/branches/dev/roles/admin" },
	{ "list-roles", VERB_LIST, &role_resource, FLAG_PAGES, "PARENT", "list the roles of a branch",
	        "list-roles projects/my-app/branches/dev" },
	{ "generate-database-credential", VERB_CREDENTIAL, &endpoint_resource, FLAG_JSON | FLAG_LIFE,
	        "ENDPOINT",
	        "make a token that is your Postgres password for an endpoint, for an hour at most",
	        "generate-database-credential projects/my-app/branches/dev/endpoints/primary --ttl 900s" },
	{ "get-operation", VERB_GET_OPERATION, NULL, 0, "NAME",
	        "show an operation that --no-wait left running",
	        "get-operation projects/my-app/operations/7f3c2a" },
};

/* `flag` 0: every command has it. */
static const struct {
	struct option option;
	unsigned int flag;
	const char *value, *summary;
} flags[] = {
	{ { .name = "json" }, FLAG_JSON, " JSON",
	        "the resource: inline, or @FILE, or @- for standard input" },
	{ { .name = "replace-existing", .is_switch = true }, FLAG_REPLACE, "",
	        "update it in place if it exists" },
	{ { .name = "purge", .is_switch = true }, FLAG_PURGE, "",
	        "delete for good now, it cannot be undeleted" },
	{ { .name = "show-deleted", .is_switch = true }, FLAG_DELETED, "",
	        "also those that can still be undeleted" },
	{ { .name = "page-size" }, FLAG_PAGES, " N", "how many to ask for at a time (all pages are read)" },
	{ { .name = "limit" }, FLAG_PAGES, " N", "stop after so many" },
	{ { .name = "no-wait", .is_switch = true }, FLAG_WAIT, "",
	        "print the operation instead of waiting for its end" },
	{ { .name = "timeout" }, FLAG_WAIT, " DURATION",
	        "wait no longer than this, such as 30s or 5m (0: for ever)" },
	{ { .name = "ttl" }, FLAG_LIFE, " DURATION", "how long the token lives: 300s to 3600s" },
	{ { .name = "expire-time" }, FLAG_LIFE, " TIME",
	        "until when it lives, such as 2026-08-01T10:00:00Z" },
	{ { .name = "source-branch-lsn" }, FLAG_MOMENT, " LSN",
	        "the moment as a position in WAL, such as 0/1A2B3C8" },
	{ { .name = "source-branch-time" }, FLAG_MOMENT, " TIME",
	        "the moment, such as 2026-08-01T10:00:00Z" },
	{ { .name = "preserve-under-branch-id" }, FLAG_MOMENT, " ID",
	        "what the branch that keeps the present state is called" },
	{ { .name = "output", .letter = 'o' }, 0, " text|json",
	        "form of the output (lists are tables in text)" },
	{ { .name = "data" }, 0, " DIR", "data directory whose API to use" },
	{ { .name = "profile", .letter = 'p' }, 0, " NAME", "profile of ~/.databrickscfg to use" },
	{ { .name = "debug", .is_switch = true }, 0, "", "print every HTTP request" },
	{ HELP_OPTION, 0, "", "explain the command" },
};

static const struct postgres_command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static char *usage_of(const struct postgres_command *command)
{
	return xasprintf(
	        "tarn postgres %s%s%s", command->name, *command->arguments ? " " : "", command->arguments);
}

static void print_command_help(const struct postgres_command *command)
{
	CLEANUP(free_text) char *usage = usage_of(command);
	(void)printf(
	        "Usage: %s [FLAGS]\n\n%c%s.\n", usage, command->summary[0] - 'a' + 'A', command->summary + 1);
	if (command->resource && command->verb != VERB_LIST && command->verb != VERB_CREATE)
		(void)printf("%s has the form %s.\n", command->verb == VERB_CREDENTIAL ? "ENDPOINT" : "NAME",
		        command->resource->name_form);
	else if (command->resource && command->resource->parent_form)
		(void)printf("PARENT has the form %s.\n", command->resource->parent_form);
	(void)fputs("\nFlags:\n", stdout);
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		if (flags[i].flag != 0 && !(flags[i].flag & command->flags))
			continue;
		CLEANUP(free_text) char *left = xasprintf("--%s%s", flags[i].option.name, flags[i].value);
		char letter[] = "-x,";
		letter[1] = flags[i].option.letter;
		(void)printf(
		        "  %3s %-22s %s\n", flags[i].option.letter ? letter : "", left, flags[i].summary);
	}
	(void)printf("\nExample:\n  tarn postgres %s\n", command->example);
}

int postgres_help(const char *name)
{
	if (!name) {
		(void)fputs("Usage: tarn postgres COMMAND [ARGUMENTS] [FLAGS]\n\nThe grammar of `databricks "
		            "postgres`.\n\nCommands:\n",
		        stdout);
		for (size_t i = 0; i < ARRAY_LEN(commands); i++)
			(void)printf("  %-29s %s\n", commands[i].name, commands[i].summary);
		(void)fputs("\nMore about one of them: tarn help postgres COMMAND\n", stdout);
		return 0;
	}
	const struct postgres_command *command = find_command(name);
	if (!command) {
		return usage_failure("postgres", "unknown command \"postgres %s\"", name);
	}
	print_command_help(command);
	return 0;
}

/* Everything one invocation has, checked before the first request. */
struct invocation {
	const struct postgres_command *command;
	struct options options;
	enum output_form form;
	const char *name; /* of the resource, or of the parent; "" for none */
	const char *id;   /* of a resource to create */
	const char *update_mask;
	char *body; /* JSON text, NULL: none */
	int64_t timeout_usec;
	int64_t limit; /* 0: all */
};

static void invocation_done(struct invocation *invocation)
{
	options_done(&invocation->options);
	free_text(&invocation->body);
}

static status check_flags(const struct invocation *invocation, struct error *err)
{
	const struct options *options = &invocation->options;
	for (size_t i = 0; i < options->use_count; i++)
		for (size_t k = 0; k < ARRAY_LEN(flags); k++)
			if (strcmp(options->uses[i].name, flags[k].option.name) == 0 && flags[k].flag != 0 &&
			        !(flags[k].flag & invocation->command->flags))
				return error_set(err, STATUS_INVALID, 0, "%s has no flag \"--%s\"",
				        invocation->command->name, flags[k].option.name);
	return STATUS_OK;
}

static status check_name(const char *form, const char *what, const char *name, struct error *err)
{
	if (resource_name_fits(form, name))
		return STATUS_OK;
	return error_set(err, STATUS_INVALID, 0, "%s \"%s\" must have the form %s", what, name, form);
}

static status take_positionals(struct invocation *invocation, struct error *err)
{
	const struct postgres_command *command = invocation->command;
	const struct resource *resource = command->resource;
	struct options *options = &invocation->options;
	CLEANUP(free_text) char *usage = usage_of(command);

	/* The first positional is the command's own name; what follows "--" counts as positional here. */
	const char *given[3] = { NULL };
	size_t count = 0, total = options->positional_count + options->rest_count - 1,
	       wanted = *command->arguments ? 1 : 0;
	for (size_t i = 1; i < options->positional_count && count < ARRAY_LEN(given); i++)
		given[count++] = options->positionals[i];
	for (size_t i = 0; i < options->rest_count && count < ARRAY_LEN(given); i++)
		given[count++] = options->rest[i];
	for (const char *c = command->arguments; *c; c++)
		wanted += *c == ' ';
	if (command->verb == VERB_CREDENTIAL && invocation->body)
		wanted = 0; /* the body names the endpoint */
	if (total < wanted)
		return error_set(err, STATUS_INVALID, 0, "missing argument; usage: %s", usage);
	if (total > wanted)
		return error_set(err, STATUS_INVALID, 0, "unexpected argument \"%s\"; usage: %s",
		        given[wanted] ? given[wanted] : "", usage);

	invocation->name = "";
	switch (command->verb) {
	case VERB_CREATE:
		invocation->id = given[resource->parent_form ? 1 : 0];
		if (*invocation->id == '\0')
			return error_set(err, STATUS_INVALID, 0, "the id of the %s is empty", resource->noun);
		if (strchr(invocation->id, '/'))
			return error_set(err, STATUS_INVALID, 0,
			        "\"%s\" must be an id, not a whole name: usage: %s", invocation->id, usage);
		/* fall through */
	case VERB_LIST:
		if (!resource->parent_form)
			return STATUS_OK;
		invocation->name = given[0];
		return check_name(resource->parent_form, "parent", given[0], err);
	case VERB_UPDATE:
		invocation->update_mask = given[1];
		if (*given[1] == '\0')
			return error_set(
			        err, STATUS_INVALID, 0, "the update mask is empty; usage: %s", usage);
		/* fall through */
	case VERB_GET:
	case VERB_DELETE:
	case VERB_ACT:
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

static status take_body(struct invocation *invocation, struct error *err)
{
	const char *json = option_value(&invocation->options, "json");
	if (!json)
		return STATUS_OK;
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
	if (!doc)
		return error_set(err, STATUS_INVALID, 0, "flag \"--json\" is not valid JSON: %s at byte %zu",
		        text.len > 0 ? problem.msg : "it is empty", problem.pos);
	if (!yyjson_is_obj(yyjson_doc_get_root(doc)))
		return error_set(err, STATUS_INVALID, 0,
		        "flag \"--json\" must be a JSON object, such as {\"spec\":{…}}");
	invocation->body = xstrndup(text.data, text.len);
	return STATUS_OK;
}

static status take_number(struct invocation *invocation, const char *flag, int64_t *ret, struct error *err)
{
	const char *text = option_value(&invocation->options, flag);
	if (text && !number_parse(slice_from_text(text), 1, INT32_MAX, ret))
		return error_set(err, STATUS_INVALID, 0,
		        "flag \"--%s\" must be a whole number above 0, not \"%s\"", flag, text);
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

static status check_invocation(struct invocation *invocation, struct error *err)
{
	const char *timeout = option_value(&invocation->options, "timeout");
	int64_t ignored = 0;
	status st = check_flags(invocation, err);
	if (st == STATUS_OK)
		st = output_form_parse(&invocation->options, &invocation->form, err);
	if (st == STATUS_OK)
		st = take_body(invocation, err);
	if (st == STATUS_OK)
		st = take_positionals(invocation, err);
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

static status print_json(const yyjson_val *value, struct error *err)
{
	CLEANUP(free_text) char *text = yyjson_val_write(value, YYJSON_WRITE_PRETTY_TWO_SPACES, NULL);
	if (!text)
		return error_set(err, STATUS_INTERNAL, 0, "could not write the answer as JSON");
	(void)puts(text);
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
		return st == STATUS_OK ? print_json(yyjson_doc_get_root(doc), err) : st;
	}
	st = operation_wait(rest, operation, invocation->timeout_usec, title, &doc, err);
	if (st != STATUS_OK || invocation->command->verb == VERB_DELETE)
		return st;
	yyjson_val *response = yyjson_obj_get(yyjson_doc_get_root(doc), "response");
	if (!yyjson_is_obj(response))
		return error_set(err, STATUS_INTERNAL, 0, "the operation ended without a response");
	return print_json(response, err);
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
	yyjson_val *list = yyjson_obj_get(page, invocation->command->resource->collection), *one;
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

static status run_list(struct rest *rest, const struct invocation *invocation, struct error *err)
{
	CLEANUP(mut_json_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *all = yyjson_mut_arr(doc);
	yyjson_mut_doc_set_root(doc, all);
	CLEANUP(free_text) char *next = NULL;
	do {
		CLEANUP(buffer_done) struct buffer path = { 0 };
		buffer_append_text(&path, API_PREFIX);
		append_collection(&path, invocation);
		if (option_value(&invocation->options, "page-size"))
			path_append_query(
			        &path, "page_size", option_value(&invocation->options, "page-size"));
		if (option_is_on(&invocation->options, "show-deleted"))
			path_append_query(&path, "show_deleted", "true");
		if (next)
			path_append_query(&path, "page_token", next);
		CLEANUP(json_free) yyjson_doc *page = NULL;
		status st = rest_call(rest, "GET", path.data, NULL, &page, err);
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

static status run(struct rest *rest, const struct invocation *invocation, struct error *err)
{
	const struct resource *resource = invocation->command->resource;
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	CLEANUP(buffer_done) struct buffer path = { 0 };
	CLEANUP(free_text) char *title = NULL;
	status st;
	buffer_append_text(&path, API_PREFIX);
	switch (invocation->command->verb) {
	case VERB_CREATE:
		append_collection(&path, invocation);
		path_append_query(&path, resource->id_query, invocation->id);
		if (option_is_on(&invocation->options, "replace-existing"))
			path_append_query(&path, "replace_existing", "true");
		title = xasprintf("creating %s \"%s\"", resource->noun, invocation->id);
		return run_change(rest, invocation, "POST", &path, title, err);
	case VERB_LIST:
		return run_list(rest, invocation, err);
	case VERB_UPDATE:
		path_append_name(&path, invocation->name);
		path_append_query(&path, "update_mask", invocation->update_mask);
		title = xasprintf("updating %s \"%s\"", resource->noun, invocation->name);
		return run_change(rest, invocation, "PATCH", &path, title, err);
	case VERB_DELETE:
		path_append_name(&path, invocation->name);
		if (option_is_on(&invocation->options, "purge"))
			path_append_query(&path, "purge", "true");
		title = xasprintf("deleting %s \"%s\"", resource->noun, invocation->name);
		return run_change(rest, invocation, "DELETE", &path, title, err);
	case VERB_ACT:
		path_append_name(&path, invocation->name);
		buffer_printf(&path, "/%s", invocation->command->action);
		title = xasprintf("%s \"%s\"", invocation->command->name, invocation->name);
		return run_change(rest, invocation, "POST", &path, title, err);
	case VERB_CREDENTIAL:
		buffer_append_text(&path, "credentials");
		st = rest_call(rest, "POST", path.data, invocation->body, &doc, err);
		break;
	case VERB_GET:
	case VERB_GET_OPERATION:
	default:
		path_append_name(&path, invocation->name);
		st = rest_call(rest, "GET", path.data, NULL, &doc, err);
		break;
	}
	return st == STATUS_OK ? print_json(yyjson_doc_get_root(doc), err) : st;
}

static int postgres_main(const struct cli_services *services, int argc, char **argv)
{
	(void)services;
	struct option known[ARRAY_LEN(flags) + 1] = { 0 };
	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		known[i] = flags[i].option;
	struct error err;
	CLEANUP(invocation_done) struct invocation invocation = { 0 };
	if (options_parse(argc, argv, known, &invocation.options, &err) != STATUS_OK)
		return print_usage_failure(&err, "postgres");
	const struct options *options = &invocation.options;
	const char *name = options->positional_count > 0 ? options->positionals[0] : NULL;
	if (option_is_on(options, "help"))
		return postgres_help(name);
	if (!name)
		return usage_failure("postgres", "missing command; usage: tarn postgres COMMAND");
	invocation.command = find_command(name);
	if (!invocation.command)
		return postgres_help(name);
	if (check_invocation(&invocation, &err) != STATUS_OK) {
		CLEANUP(free_text) char *topic = xasprintf("postgres %s", name);
		return print_usage_failure(&err, topic);
	}

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
	.summary = "projects, branches, endpoints: create, get, list, update, delete",
	.run = postgres_main,
};
