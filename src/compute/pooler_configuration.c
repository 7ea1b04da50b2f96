#include "compute/pooler_configuration.h"

#include <inttypes.h>

int pooler_connections(int max_connections)
{
	int room = (max_connections + 9) / 10;
	if (room < POOLER_ROOM_MIN)
		room = POOLER_ROOM_MIN;
	int left = max_connections - POOLER_SUPERUSER - room;
	return left < 1 ? 1 : left;
}

/*
 * A value ends with its line and loses blanks at its ends; a comma in the path of a socket makes two hosts of it. There is no way to
 * write either.
 */
static status check_path(const char *path, struct error *err)
{
	size_t len = strlen(path);
	bool is_good = len > 0 && path[0] == '/' && path[len - 1] != ' ';
	for (size_t i = 0; i < len; i++)
		is_good = is_good && (unsigned char)path[i] >= 0x20 && path[i] != 0x7f && path[i] != ',';
	if (is_good)
		return STATUS_OK;
	status st = error_set(err, STATUS_INVALID, 0,
	        "the pooler cannot work in folder \"%s\": commas and control characters", path);
	error_hint(err, "Keep Tarn's data in a folder without commas in its path.");
	return st;
}

/* 'it''s', as a connection string wants it. */
static void append_quoted(struct buffer *out, const char *value)
{
	buffer_append_text(out, "'");
	for (const char *p = value; *p; p++)
		buffer_append_text(out, *p == '\'' ? "''" : (const char[]){ *p, '\0' });
	buffer_append_text(out, "'");
}

status pooler_configuration_format(
        const struct pooler_configuration *c, struct buffer *out, struct error *err)
{
	const char *const paths[] = { c->postgres_socket_folder, c->socket_folder, c->users_path };
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		status st = check_path(paths[i], err);
		if (st != STATUS_OK)
			return st;
	}
	buffer_append_text(out,
	        "; Written by Tarn at every start of the pooler; changes are lost.\n[databases]\n* = host=");
	append_quoted(out, c->postgres_socket_folder);
	buffer_append_text(out, " port=5432\n[pgbouncer]\n");

	buffer_append_text(out, "; who gets in: whoever can enter the folder, which is the proxy\n");
	buffer_append_text(out, "listen_addr =\nlisten_port = 5432\n");
	buffer_printf(out, "unix_socket_dir = %s\nunix_socket_mode = 0700\n", c->socket_folder);
	buffer_append_text(out, "auth_type = trust\n");
	buffer_printf(out, "auth_file = %s\n", c->users_path);
	buffer_append_text(out, "admin_users = cloud_admin\nlisten_backlog = 4096\n");

	buffer_append_text(out, "; the pools\npool_mode = transaction\n");
	buffer_printf(out, "max_client_conn = %" PRId64 "\n", c->clients);
	buffer_printf(
	        out, "default_pool_size = %d\nmax_db_connections = %d\n", c->connections, c->connections);
	buffer_append_text(out, "min_pool_size = 0\nreserve_pool_size = 0\n");
	buffer_printf(out, "max_prepared_statements = %d\n", POOLER_PREPARED_MAX);

	buffer_append_text(out, "; time\n");
	buffer_printf(out, "query_wait_timeout = %" PRId64 "\n", c->wait_sec);
	/* Who comes while a pool has no connection yet waits like any other. */
	buffer_printf(out, "client_login_timeout = %" PRId64 "\n", c->wait_sec + 5);
	buffer_printf(out, "server_idle_timeout = %d\n", POOLER_IDLE_SEC);
	buffer_append_text(out, "server_login_retry = 0.5\nautodb_idle_timeout = 300\n");

	buffer_append_text(out, "; sessions\n");
	/* A Unix socket tells at once when its other end is gone. */
	buffer_append_text(out, "server_check_query =\n");
	/* Those that Postgres reports, and so can be kept apart for each client. */
	buffer_printf(out, "track_extra_parameters = IntervalStyle, default_transaction_read_only%s\n",
	        c->postgres_major >= 18 ? ", search_path" : "");
	/* Every JDBC driver sends it; what Postgres does without it is as exact since 12. */
	buffer_append_text(out, "ignore_startup_parameters = extra_float_digits\n");

	buffer_append_text(out, "; the log, which is standard error\n"
	                        "log_connections = 0\nlog_disconnections = 0\nlog_stats = 0\n");
	return STATUS_OK;
}

void pooler_configuration_format_users(const char *const *names, size_t count, struct buffer *out)
{
	for (size_t i = 0; i < count; i++) {
		buffer_append_text(out, "\"");
		for (const char *p = names[i]; *p; p++)
			buffer_append_text(out, *p == '"' ? "\"\"" : (const char[]){ *p, '\0' });
		buffer_append_text(out, "\" \"\"\n");
	}
}
