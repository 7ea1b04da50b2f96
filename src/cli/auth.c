#include "cli/auth.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/table.h"

static const struct option options[] = {
	{ .name = "host", .value = "URL", .summary = "login: the Tarn to sign in to" },
	{ .name = "code",
	        .is_switch = true,
	        .summary = "login: read a sign-in code or token from standard input, no browser" },
	{ .name = "comment", .value = "TEXT", .summary = "tokens create, trust add: what it is for" },
	{ .name = "lifetime", .value = "DURATION", .summary = "of a new token, secret or code: 24h, 90m" },
	{ .name = "member", .value = "NAME", .summary = "groups create: its first member" },
	{ .name = "for",
	        .value = "ID",
	        .summary = "trust: of that service principal; without it, for everybody by name" },
	{ .name = "subject",
	        .value = "TEXT",
	        .summary = "trust add --for: what the issuer calls it (\"sub\")" },
	{ .name = "claim",
	        .value = "NAME",
	        .summary = "trust add: the claim with the user's name or the subject (sub)" },
	{ .name = "audience",
	        .value = "TEXT[,TEXT]",
	        .summary = "trust add: whom tokens must be for; without it, this Tarn's account id" },
	{ .name = "keys-url",
	        .value = "URL",
	        .summary = "trust add: where the keys are, if not where the issuer says" },
	{ .name = "keys-file",
	        .value = "FILE",
	        .summary = "trust add: the keys (JWKS), so that nothing is fetched",
	        .values = OPTION_VALUES_FILE },
	{ .name = "name", .value = "ID", .summary = "trust add: what the policy is called" },
	{ .name = "off",
	        .is_switch = true,
	        .summary = "set-admin, set-enabled, enforce: take it away again" },
	{ .name = "all", .is_switch = true, .summary = "tokens: those of everybody (administrators)" },
	OUTPUT_OPTION,
	CONNECTION_OPTIONS,
	HELP_OPTION,
	{ 0 },
};

/* In the order of the help text. `words` are one or two. */
static const struct auth_verb {
	const char *words, *arguments, *what;
	size_t min, max;
	auth_fn run;
} verbs[] = {
	{ "login", "[--host URL] [--profile NAME]",
	        "sign in with a browser, or with --code, and save a profile", 0, 0, auth_login },
	{ "describe", "", "whom this command line would call, and as whom", 0, 0, auth_describe },
	{ "token", "", "print the token of this connection, for a program", 0, 0, auth_token },
	{ "users list", "", "all users", 0, 0, auth_users_list },
	{ "users create", "EMAIL [DISPLAY_NAME]", "make a user", 1, 2, auth_users_create },
	{ "users sign-in-code", "EMAIL", "make a one-time code for the sign-in page", 1, 1,
	        auth_users_sign_in_code },
	{ "users set-admin", "EMAIL", "make a user an administrator (--off: no longer)", 1, 1,
	        auth_users_set_admin },
	{ "users deactivate", "EMAIL", "refuse all tokens of a user from now on", 1, 1,
	        auth_users_deactivate },
	{ "users activate", "EMAIL", "accept them again", 1, 1, auth_users_activate },
	{ "users delete", "EMAIL", "remove a user with all tokens and permissions", 1, 1, auth_users_delete },
	{ "groups list", "", "all groups", 0, 0, auth_groups_list },
	{ "groups create", "NAME [--member NAME]", "make a group", 1, 1, auth_groups_create },
	{ "groups add-member", "GROUP NAME", "put a user or service principal into a group", 2, 2,
	        auth_groups_add_member },
	{ "groups remove-member", "GROUP NAME", "take one out", 2, 2, auth_groups_remove_member },
	{ "groups delete", "NAME", "remove a group with its permissions", 1, 1, auth_groups_delete },
	{ "service-principals list", "", "all service principals", 0, 0, auth_principals_list },
	{ "service-principals create", "DISPLAY_NAME", "make one; its application id is its login", 1, 1,
	        auth_principals_create },
	{ "service-principals set-admin", "ID", "make one an administrator (--off: no longer)", 1, 1,
	        auth_principals_set_admin },
	{ "service-principals delete", "ID", "remove one with its secrets, tokens, permissions", 1, 1,
	        auth_principals_delete },
	{ "secrets list", "ID", "secrets of a service principal", 1, 1, auth_secrets_list },
	{ "secrets create", "ID", "make one; it is shown this once", 1, 1, auth_secrets_create },
	{ "secrets delete", "ID SECRET_ID", "revoke one, with the tokens it was used for", 2, 2,
	        auth_secrets_delete },
	{ "tokens list", "", "your personal tokens (--all: everybody's)", 0, 0, auth_tokens_list },
	{ "tokens create", "[--comment TEXT]", "make one; it is shown this once", 0, 0, auth_tokens_create },
	{ "tokens revoke", "TOKEN_ID", "delete one (--all: whoever has it)", 1, 1, auth_tokens_revoke },
	{ "trust list", "[--for ID]", "outside issuers (OpenID Connect) whose tokens are accepted", 0, 0,
	        auth_trust_list },
	{ "trust add", "ISSUER [--for ID --subject TEXT]", "accept tokens of an issuer: an https URL", 1, 1,
	        auth_trust_add },
	{ "trust remove", "POLICY [--for ID]", "no longer; ends what was got by it", 1, 1,
	        auth_trust_remove },
	{ "ip-access-lists list", "", "from which addresses one may come", 0, 0, auth_access_list },
	{ "ip-access-lists create", "LABEL allow|block ADDRESS…", "addresses or ranges such as 192.0.2.0/24",
	        3, 1002, auth_access_create },
	{ "ip-access-lists set-enabled", "LIST", "let one list count (--off: no longer)", 1, 1,
	        auth_access_set_enabled },
	{ "ip-access-lists delete", "LIST", "remove one", 1, 1, auth_access_delete },
	{ "ip-access-lists enforce", "", "let the lists count at all (--off: no longer)", 0, 0,
	        auth_access_enforce },
};

static void write_help(FILE *to)
{
	static const char *const examples[] = {
		"tarn auth describe",
		"tarn auth users create ann@example.com",
		"tarn auth users sign-in-code ann@example.com",
		"tarn auth groups create analysts --member ann@example.com",
		"tarn auth service-principals create ci",
		"tarn auth secrets create ci",
		"tarn auth tokens create --comment laptop --lifetime 24h",
		"tarn auth trust add https://login.example.com --claim email --audience tarn",
		"tarn auth trust add https://token.actions.githubusercontent.com --for ci "
		"--subject repo:acme/app:ref:refs/heads/main",
		"tarn auth ip-access-lists create office allow 198.51.100.0/24 2001:db8::/48",
		NULL,
	};
	struct help_line lines[ARRAY_LEN(verbs) + 2] = { { "VERB ARGUMENT…",
		"one of these. ID is the application id of a service principal, or its display name" } };
	char *lefts[ARRAY_LEN(verbs)];
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		lefts[i] = xasprintf(
		        "%s%s%s", verbs[i].words, *verbs[i].arguments ? " " : "", verbs[i].arguments);
		lines[i + 1] = (struct help_line){ lefts[i], verbs[i].what };
	}
	const struct help help = {
		.what = "sign in, and manage who else may",
		.details =
		        "Users, service principals, groups, tokens, secrets. A new colleague gets a "
		        "sign-in code from an "
		        "administrator and types it into the page that login opens; a program gets a "
		        "service principal and a "
		        "secret (DATABRICKS_CLIENT_ID, DATABRICKS_CLIENT_SECRET). Who has tokens of a "
		        "company's "
		        "identity provider, or of GitHub, needs neither once its issuer is trusted: "
		        "DATABRICKS_OIDC_TOKEN has the token, and a program also sets DATABRICKS_CLIENT_ID.",
		.usage = "tarn auth VERB [ARGUMENT…] [FLAGS]",
		.arguments = lines,
		.options = options,
		.examples = examples,
		.next = "tarn auth login --host http://127.0.0.1:8080",
	};
	CLEANUP(buffer_done) struct buffer out = { 0 };
	help_write(&help, &out);
	(void)fputs(out.data, to);
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		free(lefts[i]);
}

/* The verb that the first one or two words name. */
static const struct auth_verb *find_verb(const struct options *given, size_t *ret_words)
{
	const char *first = given->positionals[0];
	const char *second = given->positional_count > 1 ? given->positionals[1] : "";
	CLEANUP(free_text) char *both = xasprintf("%s %s", first, second);
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		*ret_words = strchr(verbs[i].words, ' ') ? 2 : 1;
		if (strcmp(verbs[i].words, *ret_words == 2 ? both : first) == 0)
			return &verbs[i];
	}
	return NULL;
}

static int run_verb(const struct options *given)
{
	struct error err;
	size_t words = 0;
	struct auth_call call = { .options = given };
	if (output_form_parse(given, &call.form, &err) != STATUS_OK)
		return print_usage_failure(&err, "auth");
	if (given->positional_count == 0) {
		write_help(stderr);
		return EXIT_USAGE;
	}
	const struct auth_verb *verb = find_verb(given, &words);
	if (!verb)
		return usage_failure("auth", "tarn auth has no \"%s%s%s\"", given->positionals[0],
		        given->positional_count > 1 ? " " : "",
		        given->positional_count > 1 ? given->positionals[1] : "");
	call.arguments = given->positionals + words;
	call.argument_count = given->positional_count - words;
	if (call.argument_count < verb->min || call.argument_count > verb->max)
		return usage_failure("auth", "usage: tarn auth %s %s", verb->words, verb->arguments);
	status st = verb->run(&call, &err);
	rest_free(call.rest);
	connection_done(&call.connection);
	return st == STATUS_OK ? 0 : print_failure(&err);
}

static int run(const struct cli_services *services, int argc, char **argv)
{
	(void)services;
	struct error err;
	struct options given = { 0 };
	if (options_parse(argc, argv, options, &given, &err) != STATUS_OK)
		return print_usage_failure(&err, "auth");
	int code = 0;
	if (option_is_on(&given, "help"))
		write_help(stdout);
	else
		code = run_verb(&given);
	options_done(&given);
	return code;
}

static const char *const words[] = { "login", "describe", "token", "users", "groups", "service-principals",
	"secrets", "tokens", "trust", "ip-access-lists", NULL };

const struct command auth_command = {
	.name = "auth",
	.summary = "sign in; users, service principals, groups, tokens, trust in issuers",
	.run = run,
	.options = options,
	.words = words,
};

void auth_help(void)
{
	write_help(stdout);
}

/* ---- What the verbs share ---- */

status auth_connect(struct auth_call *call, struct error *err)
{
	status st = connection_find(call->options, &call->connection, err);
	return st == STATUS_OK
	               ? rest_open(&call->connection, option_is_on(call->options, "debug"), &call->rest, err)
	               : st;
}

status auth_print(const struct auth_call *call, yyjson_val *value, const char *text, struct error *err)
{
	if (call->form == OUTPUT_TEXT) {
		if (text)
			(void)puts(text);
		return STATUS_OK;
	}
	char *json = yyjson_val_write(value, YYJSON_WRITE_PRETTY_TWO_SPACES, NULL);
	if (!json)
		return error_set(err, STATUS_INTERNAL, 0, "could not write the answer as JSON");
	(void)puts(json);
	free(json);
	return STATUS_OK;
}

/* A cell: texts as they are, lists as the texts of what is in them. */
static void append_cell(struct buffer *out, yyjson_val *value)
{
	if (yyjson_is_str(value))
		buffer_append_text(out, yyjson_get_str(value));
	else if (yyjson_is_bool(value))
		buffer_append_text(out, yyjson_get_bool(value) ? "yes" : "no");
	else if (yyjson_is_int(value))
		buffer_printf(out, "%lld", (long long)yyjson_get_sint(value));
	yyjson_val *one;
	size_t i, count;
	yyjson_arr_foreach(value, i, count, one)
	{
		const char *display = json_text(one, "display");
		buffer_printf(
		        out, "%s%s", i > 0 ? ", " : "", yyjson_is_str(one) ? yyjson_get_str(one) : display);
	}
}

status auth_print_list(const struct auth_call *call, yyjson_val *list, const struct auth_column *columns,
        size_t count, struct error *err)
{
	if (call->form == OUTPUT_JSON && !list) {
		(void)puts("[]");
		return STATUS_OK;
	}
	if (call->form == OUTPUT_JSON)
		return auth_print(call, list, NULL, err);
	CLEANUP(table_done) struct table table = { 0 };
	CLEANUP(buffer_done) struct buffer out = { 0 };
	yyjson_val *row;
	size_t i, rows;
	for (size_t k = 0; k < count; k++)
		table_add_column(&table, columns[k].title);
	yyjson_arr_foreach(list, i, rows, row)
	{
		for (size_t k = 0; k < count; k++) {
			CLEANUP(buffer_done) struct buffer cell = { 0 };
			append_cell(&cell, json_at(row, columns[k].member));
			table_add_cell(&table, cell.data ? cell.data : "");
		}
	}
	table_write(&table, &out);
	(void)fputs(out.data ? out.data : "", stdout);
	return STATUS_OK;
}

char *auth_body(const char *name, ...)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	va_list args;
	va_start(args, name);
	for (; name; name = va_arg(args, const char *)) {
		const char *value = va_arg(args, const char *);
		if (value)
			yyjson_mut_obj_add_strcpy(doc, root, name, value);
	}
	va_end(args);
	char *text = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, NULL);
	yyjson_mut_doc_free(doc);
	return text ? text : xstrdup("{}");
}
