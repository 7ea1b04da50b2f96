/*
 * Resource: the kinds of things the API has, as the command line needs to know them: the form of their names, and the
 * columns of their tables.
 */
#pragma once

#include <yyjson.h>

#include "base/base.h"
#include "base/buffer.h"

struct resource_column {
	const char *title;
	/* Appends the cell's text; may append nothing. */
	void (*write)(yyjson_val *resource, struct buffer *out);
};

struct resource {
	const char *noun;        /* "branch" */
	const char *collection;  /* "branches": the last part of the URL, and the member of a list's answer */
	const char *name_form;   /* "projects/PROJECT/branches/BRANCH": words in capitals stand for ids */
	const char *parent_form; /* NULL: has no parent */
	const char *id_query;    /* "branch_id" */
	const struct resource_column *columns; /* ends with a NULL title */
};

extern const struct resource project_resource, branch_resource, endpoint_resource, database_resource,
        role_resource, snapshot_resource;

/* Does `name` have the form, with something in the place of every word in capitals? */
bool resource_name_fits(const char *form, const char *name);
/* The last part of a name: the id. Borrowed from it. */
const char *resource_id(const char *name);

/* A table of all elements of the array `resources`, aligned, with a line of titles. */
void resource_table_write(const struct resource *resource, yyjson_val *resources, struct buffer *out);
