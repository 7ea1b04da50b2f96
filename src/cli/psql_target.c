#include "cli/psql_target.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/number.h"
#include "cli/resource.h"

#define CHOICES_MAX 20 /* more are not read from a screen */

static const struct resource instance_resource = { .noun = "instance", .collection = "instances" };

/* A flag may be an id or, as people paste it, a whole name that ends with it. */
static status take(char **part, const char *flag, const char *id, struct error *err)
{
	if (*id == '\0' || strchr(id, '/'))
		return error_set(err, STATUS_INVALID, 0, "flag \"--%s\" needs an id, not \"%s\"", flag, id);
	if (*part && strcmp(*part, id) != 0)
		return error_set(err, STATUS_INVALID, 0, "flag \"--%s\" says \"%s\", the target says \"%s\"",
		        flag, id, *part);
	if (!*part)
		*part = xstrdup(id);
	return STATUS_OK;
}

static char *nth_part(const char *name, size_t n)
{
	for (; n > 0; n--)
		name = strchr(name, '/') + 1;
	return xstrndup(name, strcspn(name, "/"));
}

static status take_path(const char *path, struct psql_target *target, struct error *err)
{
	bool is_endpoint = resource_name_fits(endpoint_resource.name_form, path);
	bool is_branch = resource_name_fits(branch_resource.name_form, path);
	if (!is_endpoint && !is_branch && !resource_name_fits(project_resource.name_form, path))
		return error_set(err, STATUS_INVALID, 0,
		        "target \"%s\" must have the form %s, or its beginning", path,
		        endpoint_resource.name_form);
	target->project = nth_part(path, 1);
	if (is_branch || is_endpoint)
		target->branch = nth_part(path, 3);
	if (is_endpoint)
		target->endpoint = nth_part(path, 5);
	return STATUS_OK;
}

/* A target that is no path is a name of the older API, where everything has one name. */
static status take_instance(const struct options *options, struct psql_target *target, struct error *err)
{
	const char *name = options->positional_count > 0 ? options->positionals[0] : NULL;
	const char *const flags[] = { "project", "branch", "endpoint" };
	target->is_instance =
	        option_is_on(options, "provisioned") || (name && strncmp(name, "projects/", 9) != 0);
	if (option_is_on(options, "provisioned") && option_is_on(options, "autoscaling"))
		return error_set(
		        err, STATUS_INVALID, 0, "give \"--provisioned\" or \"--autoscaling\", not both");
	if (!target->is_instance)
		return STATUS_OK;
	if (name && strchr(name, '/'))
		return error_set(err, STATUS_INVALID, 0,
		        "target \"%s\" must be the name of an instance, or begin with projects/ and be no "
		        "\"--provisioned\"",
		        name);
	if (name && option_is_on(options, "autoscaling"))
		return error_set(err, STATUS_INVALID, 0,
		        "flag \"--autoscaling\" does not go with the instance \"%s\"; \"--project %s\" names "
		        "a project",
		        name, name);
	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		if (option_value(options, flags[i]))
			return error_set(err, STATUS_INVALID, 0,
			        "flag \"--%s\" does not go with an instance; \"--project %s\" names a "
			        "project",
			        flags[i], name ? name : "PROJECT");
	target->instance = name ? xstrdup(name) : NULL;
	return STATUS_OK;
}

status psql_target_parse(const struct options *options, struct psql_target *ret, struct error *err)
{
	CLEANUP(psql_target_done) struct psql_target target = { 0 };
	const char *project = option_value(options, "project"), *branch = option_value(options, "branch");
	const char *endpoint = option_value(options, "endpoint");
	status st = take_instance(options, &target, err);
	if (st == STATUS_OK && !target.is_instance && options->positional_count > 0)
		st = take_path(options->positionals[0], &target, err);
	if (st == STATUS_OK && project)
		st = take(&target.project, "project",
		        strncmp(project, "projects/", 9) == 0 ? project + 9 : project, err);
	if (st == STATUS_OK && (branch || endpoint) && !target.project)
		st = error_set(
		        err, STATUS_INVALID, 0, "flags \"--branch\" and \"--endpoint\" need \"--project\"");
	if (st == STATUS_OK && branch)
		st = take(&target.branch, "branch", branch, err);
	if (st == STATUS_OK && endpoint)
		st = take(&target.endpoint, "endpoint", endpoint, err);
	if (st != STATUS_OK)
		return st;
	*ret = target;
	target = (struct psql_target){ 0 };
	return STATUS_OK;
}

void psql_target_done(struct psql_target *target)
{
	free_text(&target->project);
	free_text(&target->branch);
	free_text(&target->endpoint);
	free_text(&target->instance);
}

/* The ids of all elements, for a message: "dev, production". */
static char *list_ids(yyjson_val *list)
{
	CLEANUP(buffer_done) struct buffer out = { 0 };
	size_t i, count;
	yyjson_val *one;
	yyjson_arr_foreach(list, i, count, one)
	{
		if (i == CHOICES_MAX) {
			buffer_append_text(&out, ", …");
			break;
		}
		buffer_printf(&out, "%s%s", i > 0 ? ", " : "", resource_id(json_text(one, "name")));
	}
	buffer_append_text(&out, "");
	return out.data ? TAKE_PTR(out.data) : xstrdup("");
}

/* Asks which one; an empty answer takes the first, which is the default branch or the primary endpoint. */
static status ask(const struct resource *resource, yyjson_val *list, char **ret, struct error *err)
{
	size_t i, count;
	yyjson_val *one;
	yyjson_arr_foreach(list, i, count, one)(void)
	        fprintf(stderr, "  %zu  %s\n", i + 1, resource_id(json_text(one, "name")));
	(void)fprintf(stderr, "Which %s? [1] ", resource->noun);
	char line[64];
	if (!fgets(line, sizeof line, stdin))
		return error_set(err, STATUS_INVALID, 0, "no %s was chosen", resource->noun);
	line[strcspn(line, "\n")] = '\0';
	int64_t number = 1;
	if (*line && !number_parse(slice_from_text(line), 1, (int64_t)yyjson_arr_size(list), &number))
		return error_set(err, STATUS_INVALID, 0, "\"%s\" is none of the numbers", line);
	*ret = xstrdup(resource_id(json_text(yyjson_arr_get(list, (size_t)number - 1), "name")));
	return STATUS_OK;
}

/* The one there is of a list, or the one that is chosen. */
static status choose_from(const struct resource *resource, yyjson_val *list, char **ret, struct error *err)
{
	status st;
	size_t count = yyjson_arr_size(list);
	if (count == 0) {
		st = error_set(err, STATUS_NOT_FOUND, 0, "there is no %s to connect to", resource->noun);
		error_hint(err, "Make one with: tarn postgres create-%s (see tarn help postgres create-%s)",
		        resource->noun, resource->noun);
		return st;
	}
	if (count == 1) {
		*ret = xstrdup(resource_id(json_text(yyjson_arr_get_first(list), "name")));
		return STATUS_OK;
	}
	if (isatty(STDIN_FILENO) && isatty(STDERR_FILENO) && count <= CHOICES_MAX)
		return ask(resource, list, ret, err);
	CLEANUP(free_text) char *ids = list_ids(list);
	st = error_set(err, STATUS_INVALID, 0, "there are several %s: %s", resource->collection, ids);
	error_hint(err, resource == &instance_resource ? "Name one: tarn psql NAME." : "Name one with --%s.",
	        resource->noun);
	return st;
}

static status choose(
        struct rest *rest, const struct resource *resource, const char *parent, char **ret, struct error *err)
{
	CLEANUP(buffer_done) struct buffer path = { 0 };
	buffer_append_text(&path, API_PREFIX);
	path_append_name(&path, parent);
	buffer_append_text(&path, resource->collection);
	CLEANUP(json_free) yyjson_doc *doc = NULL;
	status st = rest_call(rest, "GET", path.data, NULL, &doc, err);
	return st == STATUS_OK
	               ? choose_from(resource, yyjson_obj_get(yyjson_doc_get_root(doc), resource->collection),
	                         ret, err)
	               : st;
}

#define INSTANCES "/api/2.0/database/instances"

static status resolve_instance(
        const struct psql_target *target, struct rest *rest, yyjson_doc **ret, struct error *err)
{
	CLEANUP(free_text) char *name = target->instance ? xstrdup(target->instance) : NULL;
	CLEANUP(buffer_done) struct buffer path = { 0 };
	if (!name) {
		CLEANUP(json_free) yyjson_doc *doc = NULL;
		status st = rest_call(rest, "GET", INSTANCES, NULL, &doc, err);
		if (st == STATUS_OK)
			st = choose_from(&instance_resource,
			        yyjson_obj_get(yyjson_doc_get_root(doc), "database_instances"), &name, err);
		if (st != STATUS_OK)
			return st;
	}
	buffer_append_text(&path, INSTANCES "/");
	path_append_name(&path, name);
	status st = rest_call(rest, "GET", path.data, NULL, ret, err);
	if (st == STATUS_NOT_FOUND)
		error_hint(err, "A project is named with: tarn psql --project %s", name);
	return st;
}

status psql_target_resolve(
        const struct psql_target *target, struct rest *rest, yyjson_doc **ret, struct error *err)
{
	CLEANUP(free_text) char *project = target->project ? xstrdup(target->project) : NULL;
	CLEANUP(free_text) char *branch = target->branch ? xstrdup(target->branch) : NULL;
	CLEANUP(free_text) char *endpoint = target->endpoint ? xstrdup(target->endpoint) : NULL;
	CLEANUP(free_text) char *parent = NULL;
	status st = STATUS_OK;
	if (target->is_instance)
		return resolve_instance(target, rest, ret, err);
	if (!project)
		st = choose(rest, &project_resource, "", &project, err);
	if (st == STATUS_OK && !branch) {
		parent = xasprintf("projects/%s/", project);
		st = choose(rest, &branch_resource, parent, &branch, err);
	}
	if (st == STATUS_OK && !endpoint) {
		free_text(&parent);
		parent = xasprintf("projects/%s/branches/%s/", project, branch);
		st = choose(rest, &endpoint_resource, parent, &endpoint, err);
	}
	if (st != STATUS_OK)
		return st;
	CLEANUP(buffer_done) struct buffer path = { 0 };
	CLEANUP(free_text)
	char *name = xasprintf("projects/%s/branches/%s/endpoints/%s", project, branch, endpoint);
	buffer_append_text(&path, API_PREFIX);
	path_append_name(&path, name);
	return rest_call(rest, "GET", path.data, NULL, ret, err);
}
