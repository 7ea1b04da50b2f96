#include "compute/pooler_roles.h"

#include <stdlib.h>

#include "base/number.h"
#include "compute/admin_connection.h"

void pooler_roles_done(struct pooler_roles *roles)
{
	for (size_t i = 0; i < roles->count; i++)
		free(roles->list[i].name);
	free(roles->list);
	*roles = (struct pooler_roles){ 0 };
}

static struct pooler_role *find(const struct pooler_roles *roles, const char *name)
{
	for (size_t i = 0; i < roles->count; i++)
		if (strcmp(roles->list[i].name, name) == 0)
			return &roles->list[i];
	return NULL;
}

const struct pooler_role *pooler_roles_find(const struct pooler_roles *roles, const char *name)
{
	return find(roles, name);
}

struct pooler_role *pooler_roles_enter(struct pooler_roles *roles, const char *name)
{
	struct pooler_role *role = find(roles, name);
	if (role)
		return role;
	roles->list = xrealloc(roles->list, (roles->count + 1) * sizeof *roles->list);
	role = &roles->list[roles->count++];
	*role = (struct pooler_role){ .name = xstrdup(name) };
	return role;
}

void pooler_roles_tidy(struct pooler_roles *roles)
{
	size_t kept = 0;
	for (size_t i = 0; i < roles->count; i++) {
		if (roles->list[i].known != 0)
			roles->list[kept++] = roles->list[i];
		else
			free(roles->list[i].name);
	}
	roles->count = kept;
}

void pooler_roles_append_element(struct buffer *array, const char *text)
{
	buffer_append_text(array, array->len ? ",\"" : "{\"");
	for (const char *p = text; *p; p++)
		buffer_printf(array, *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
	buffer_append_text(array, "\"");
}

static int64_t number_at(const PGresult *rows, int row, int column)
{
	int64_t number = 0;
	(void)!number_parse(slice_from_text(PQgetvalue(rows, row, column)), 0, UINT32_MAX, &number);
	return number;
}

status pooler_roles_ask(PGconn *admin, struct pooler_roles *roles, struct error *err)
{
	static const char query[] = "SELECT rolname, oid, rolcanlogin AND NOT rolsuper"
	                            " FROM pg_catalog.pg_authid WHERE rolname = ANY ($1::name[])";
	CLEANUP(buffer_done) struct buffer names = { 0 };
	CLEANUP(admin_clear) PGresult *rows = NULL;
	if (roles->count == 0)
		return STATUS_OK;
	for (size_t i = 0; i < roles->count; i++)
		pooler_roles_append_element(&names, roles->list[i].name);
	buffer_append_text(&names, "}");
	status st = admin_query_with(admin, query, (const char *const[]){ names.data }, 1, &rows, err);
	if (st != STATUS_OK)
		return st;
	for (size_t i = 0; i < roles->count; i++)
		roles->list[i].found = 0;
	for (int i = 0; i < PQntuples(rows); i++) {
		struct pooler_role *role = find(roles, PQgetvalue(rows, i, 0));
		if (!role)
			continue;
		role->found = (uint32_t)number_at(rows, i, 1);
		role->may_log_in = PQgetvalue(rows, i, 2)[0] == 't';
	}
	return STATUS_OK;
}

status pooler_roles_end_servers(
        PGconn *admin, const struct pooler_server *servers, size_t count, struct error *err)
{
	static const char query[] =
	        "SELECT pg_terminate_backend(a.pid) FROM unnest($1::int[], $2::name[]) AS s (pid, name)"
	        " JOIN pg_catalog.pg_stat_activity AS a USING (pid)"
	        " WHERE a.backend_type = 'client backend' AND a.usesysid IS NOT NULL AND NOT EXISTS"
	        " (SELECT FROM pg_catalog.pg_authid AS r WHERE r.oid = a.usesysid AND r.rolname = s.name)";
	CLEANUP(buffer_done) struct buffer pids = { 0 }, names = { 0 };
	if (count == 0)
		return STATUS_OK;
	for (size_t i = 0; i < count; i++) {
		buffer_printf(&pids, "%c%d", i ? ',' : '{', (int)servers[i].pid);
		pooler_roles_append_element(&names, servers[i].user);
	}
	buffer_append_text(&pids, "}");
	buffer_append_text(&names, "}");
	return admin_query_with(admin, query, (const char *const[]){ pids.data, names.data }, 2, NULL, err);
}
