/*
 * Picks the role: one multi-call binary, each role a process of its own (docs/architecture.md). This file is the only one
 * that knows both the command line and the roles; the CLI gets what it needs of them through a table.
 */
#include <stdio.h>

#include "base/buffer.h"
#include "cli/cli.h"
#include "compute/installation.h"
#include "compute/pooler_program.h"
#include "compute/supervisor.h"
#include "control_plane/control.h"
#include "page_filesystem/pagefs.h"
#include "proxy/proxy.h"

/* "with pgvector, pgextwlist, databricks_auth", "with pgvector, without pgextwlist, databricks_auth" */
static void describe(const struct installation *found, char *out, size_t size)
{
	const struct {
		const char *name;
		bool is_there;
	} parts[] = { { "pgvector", found->has_vector }, { "pgextwlist", found->has_extension_whitelist },
		{ "databricks_auth", found->has_databricks_auth } };
	CLEANUP(buffer_done) struct buffer text = { 0 };
	for (int is_there = 1; is_there >= 0; is_there--) {
		const char *before = is_there ? "with " : "without ";
		for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
			if (parts[i].is_there != is_there)
				continue;
			buffer_printf(&text, "%s%s", text.len ? ", " : "", before);
			buffer_append_text(&text, parts[i].name);
			before = "";
		}
	}
	(void)snprintf(out, size, "%s", text.data);
}

static size_t list_installations(struct cli_installation *out, size_t max)
{
	struct installation found[INSTALLATIONS_MAX];
	size_t count = installation_scan(found);
	if (count > max)
		count = max;
	for (size_t i = 0; i < count; i++) {
		const struct installation *from = &found[i];
		out[i] = (struct cli_installation){ .is_accepted = from->is_accepted };
		(void)snprintf(out[i].version, sizeof out[i].version, "%s", from->version);
		(void)snprintf(out[i].bin_dir, sizeof out[i].bin_dir, "%s", from->bin_dir);
		if (from->is_accepted)
			describe(from, out[i].remark, sizeof out[i].remark);
		else
			(void)snprintf(out[i].remark, sizeof out[i].remark, "%s", from->problem);
	}
	return count;
}

static status describe_pooler(char *out, size_t size, struct error *err)
{
	struct pooler_program found;
	status st = pooler_program_find(&found, err);
	if (st == STATUS_OK)
		(void)snprintf(out, size, "%s in %s", found.version, found.path);
	return st;
}

static status check_pooler_user(const char *postgres_user, struct error *err)
{
	struct system_user postgres, pooler;
	status st = system_user_find(postgres_user, &postgres, err);
	return st == STATUS_OK ? pooler_user_find(&postgres, &pooler, err) : st;
}

int main(int argc, char **argv)
{
	static const struct cli_role roles[] = {
		{ "control", control_main },
		{ "proxy", proxy_main },
		{ "compute", supervisor_main },
		{ "pagefs", pagefs_main },
		{ NULL, NULL },
	};
	const struct cli_services services = { .roles = roles,
		.list_installations = list_installations,
		.describe_pooler = describe_pooler,
		.check_pooler_user = check_pooler_user };
	return cli_main(argc, argv, &services);
}
