#include "cli/postgres_help.h"

#include <ctype.h>
#include <stdlib.h>

#include "cli/help.h"

static void write_overview(struct buffer *out)
{
	buffer_append_text(out,
	        "Projects, branches and what is in them, as `databricks postgres` has it.\n\nUsage:\n  tarn "
	        "postgres COMMAND [ARGUMENTS] [FLAGS]\n");
	const struct resource *last = NULL;
	for (size_t i = 0; i < postgres_command_count; i++) {
		const struct postgres_command *command = &postgres_commands[i];
		if (i == 0 || command->resource != last) {
			const char *noun = command->resource ? command->resource->noun : "operation";
			buffer_printf(out, "\n%c%s\n", toupper((unsigned char)noun[0]), noun + 1);
		}
		buffer_printf(out, "  %-29s %s\n", command->name, command->summary);
		last = command->resource;
	}
	buffer_append_text(out, "\nNAME and PARENT are whole names, such as projects/demo/branches/dev. "
	                        "Output is tables on a "
	                        "terminal and JSON\nin a pipe; -o text and -o json say otherwise.\n"
	                        "\nMore about one of them:\n  tarn help postgres create-branch\n");
}

static char *explain_argument(const struct postgres_command *command, const char *argument)
{
	const struct resource *resource = command->resource;
	if (strcmp(argument, "NAME") == 0)
		return resource ? xasprintf("the %s: %s", resource->noun, resource->name_form)
		                : xstrdup("the operation: projects/PROJECT/…/operations/OPERATION");
	if (strcmp(argument, "ENDPOINT") == 0)
		return xasprintf("the endpoint: %s", resource->name_form);
	if (strcmp(argument, "PARENT") == 0)
		return xasprintf("what it is in: %s", resource->parent_form);
	if (strcmp(argument, "UPDATE_MASK") == 0)
		return xstrdup("the fields to change, as below, divided by commas: spec.a,spec.b");
	if (strcmp(argument, "SYNCED_TABLE_ID") == 0)
		return xstrdup("CATALOG.SCHEMA.TABLE");
	if (strcmp(argument, "CATALOG_ID") == 0)
		return xstrdup("id of the new catalog: letters, digits and _");
	for (const struct resource_field *field = resource->fields; field && field->path; field++) {
		CLEANUP(free_text) char *member = xstrdup(argument);
		for (char *c = member; *c; c++)
			*c = (char)tolower((unsigned char)*c);
		if (field->summary && strcmp(field->path, member) == 0)
			return xstrdup(field->summary);
	}
	return xasprintf("id of the new %s: up to 63 of a-z, 0-9 and -, the first a letter", resource->noun);
}

static struct help_line *make_arguments(const struct postgres_command *command)
{
	size_t count = postgres_command_argument_count(command);
	struct help_line *lines = xcalloc(count + 1, sizeof *lines);
	const char *at = command->arguments;
	for (size_t i = 0; i < count; i++) {
		size_t len = strcspn(at, " ");
		char *name = xstrndup(at, len);
		lines[i] = (struct help_line){ name, explain_argument(command, name) };
		at += len + 1;
	}
	return lines;
}

static void free_arguments(struct help_line *lines)
{
	for (size_t i = 0; lines[i].left; i++) {
		free((void *)(uintptr_t)lines[i].left);
		free((void *)(uintptr_t)lines[i].right);
	}
	free(lines);
}

/* What can be written by this command; for updates also the words that only masks have. */
static struct help_line *make_fields(const struct postgres_command *command)
{
	unsigned int use = command->verb == VERB_CREATE   ? FIELD_CREATE
	                   : command->verb == VERB_UPDATE ? FIELD_UPDATE | FIELD_MASK
	                                                  : 0;
	size_t count = 0, used = 0;
	const struct resource_field *fields = use ? command->resource->fields : NULL;
	while (fields && fields[count].path)
		count++;
	struct help_line *lines = xcalloc(count + 1, sizeof *lines);
	for (size_t i = 0; i < count; i++)
		if (fields[i].use & use)
			lines[used++] = (struct help_line){ fields[i].path, fields[i].summary };
	return lines;
}

static struct option *make_options(const struct postgres_command *command)
{
	size_t count = 0, used = 0;
	while (postgres_options[count].name)
		count++;
	struct option *options = xcalloc(count + 1, sizeof *options);
	for (size_t i = 0; i < count; i++)
		if (postgres_command_has_option(command, &postgres_options[i]))
			options[used++] = postgres_options[i];
	return options;
}

static void write_command(const struct postgres_command *command, struct buffer *out)
{
	CLEANUP(free_text)
	char *usage = xasprintf("tarn postgres %s%s%s [FLAGS]", command->name, *command->arguments ? " " : "",
	        command->arguments);
	char *examples[ARRAY_LEN(command->examples) + 1] = { NULL };
	for (size_t i = 0; i < ARRAY_LEN(command->examples) && command->examples[i]; i++)
		examples[i] = xasprintf("tarn postgres %s", command->examples[i]);
	struct help_line *arguments = make_arguments(command), *fields = make_fields(command);
	struct option *options = make_options(command);
	const struct help help = {
		.what = command->summary,
		.details = command->details,
		.usage = usage,
		.arguments = arguments,
		.fields = fields,
		.options = options,
		.examples = (const char *const *)examples,
		.next = command->next,
	};
	help_write(&help, out);
	free(options);
	free(fields);
	free_arguments(arguments);
	for (size_t i = 0; examples[i]; i++)
		free(examples[i]);
}

void postgres_help_write(const struct postgres_command *command, struct buffer *out)
{
	if (command)
		write_command(command, out);
	else
		write_overview(out);
}
