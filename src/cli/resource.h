/*
 * Resource: the kinds of things the API has, as the command line needs to know them: the form of their names, and the
 * columns of their tables.
 */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "base/buffer.h"
#include "cli/resource_fields.h"

struct resource_column {
	const char *title;
	/* Appends the cell's text; may append nothing. */
	void (*write)(yyjson_val *resource, struct buffer *out);
};

struct resource {
	const char *noun;        /* "branch" */
	const char *collection;  /* "branches": the last part of the URL */
	const char *list_member; /* of a list's answer; NULL: as `collection` */
	const char *name_form;   /* "projects/PROJECT/branches/BRANCH": words in capitals stand for ids */
	const char *parent_form; /* NULL: has no parent */
	const char *id_query;    /* "branch_id"; NULL: nobody makes one, or there is one only */
	bool is_id_optional;     /* the server makes one: --branch-id and no argument */
	const struct resource_column *columns; /* ends with a NULL title; NULL: cannot be listed */
	const struct resource_field *fields;   /* of the body; NULL: nobody writes one */
};

extern const struct resource project_resource, branch_resource, endpoint_resource, database_resource,
        role_resource, snapshot_resource, snapshot_schedule_resource, compute_instance_resource,
        catalog_resource, synced_table_resource, cdf_config_resource, cdf_status_resource, data_api_resource;

const char *resource_list_member(const struct resource *resource);

/* Does `name` have the form, with something in the place of every word in capitals? */
bool resource_name_fits(const char *form, const char *name);
/* The last part of a name: the id. Borrowed from it. */
const char *resource_id(const char *name);

/* A table of all elements of the array `resources`, aligned, with a line of titles. */
void resource_table_write(const struct resource *resource, yyjson_val *resources, struct buffer *out);
