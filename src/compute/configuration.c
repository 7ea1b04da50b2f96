#include "compute/configuration.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/file.h"
#include "base/number.h"
#include "compute/extensions.h"

#define CONNECTIONS_PER_CU 209.8125
#define CONNECTIONS_MIN    20
#define CONNECTIONS_MAX    4000

#define SUPERUSER_RESERVED_CONNECTIONS 3
#define SYSTEM_CONNECTIONS             4

/*
 * Pages are atomic in the image (page_store/image.h, I2), so that a page torn by a crash cannot be read and full-page images
 * in WAL protect against nothing any more. tests/system/power_cut.py tries it, with and without that protection. Postgres itself
 * writes them while a base backup runs, whatever stands here.
 */
#define FULL_PAGE_WRITES "off"

/* Checkpoints are the supervisor's (restore_points.h); these are for the case that it cannot make any. */
#define CHECKPOINT_TIMEOUT "30min"
#define MAX_WAL_SIZE       "8GB"

int configuration_max_connections(double max_cu)
{
	double connections = max_cu * CONNECTIONS_PER_CU;
	if (connections >= CONNECTIONS_MAX)
		return CONNECTIONS_MAX;
	return connections < CONNECTIONS_MIN ? CONNECTIONS_MIN : (int)connections;
}

int configuration_client_connections(double max_cu)
{
	return configuration_max_connections(max_cu) - SUPERUSER_RESERVED_CONNECTIONS - SYSTEM_CONNECTIONS;
}

void configuration_quote(const char *value, struct buffer *out)
{
	buffer_append_text(out, "'");
	for (const char *p = value; *p; p++) {
		unsigned char c = (unsigned char)*p;
		if (c == '\'')
			buffer_append_text(out, "''");
		else if (c == '\\')
			buffer_append_text(out, "\\\\");
		else if (c < 0x20 || c == 0x7f)
			buffer_printf(out, "\\%03o", c);
		else
			buffer_append(out, p, 1);
	}
	buffer_append_text(out, "'");
}

static void add(struct buffer *out, const char *name, const char *value)
{
	buffer_printf(out, "%s = ", name);
	configuration_quote(value, out);
	buffer_append_text(out, "\n");
}

static void add_number(struct buffer *out, const char *name, int64_t value)
{
	buffer_printf(out, "%s = %" PRId64 "\n", name, value);
}

static const char *setting_of(const struct spec *spec, const char *name)
{
	const char *found = NULL;
	for (size_t i = 0; i < spec->setting_count; i++)
		if (strcasecmp(spec->settings[i].name, name) == 0)
			found = spec->settings[i].value;
	return found;
}

static void add_defaults(struct buffer *out)
{
	buffer_append_text(out, "# Defaults, which the endpoint's settings below may change\n");
	add(out, "jit", "off");
	add(out, "timezone", "UTC");
	add(out, "log_timezone", "UTC");
	add(out, "log_checkpoints", "off");
	add(out, "lc_messages", "C");
	add(out, "default_text_search_config", "pg_catalog.english");
	/* A replication slot that nobody reads must not fill the disk of all: it is given up then. */
	add(out, "max_slot_wal_keep_size", "16GB");
	/* Pages are written before somebody needs their buffer, so that fewer are left for the checkpoint that a branch waits for (decision 27). */
	add(out, "bgwriter_delay", "50ms");
	add(out, "bgwriter_lru_maxpages", "1000");
	add(out, "bgwriter_lru_multiplier", "10");
	/* A query whose client is gone ends, also when the proxy died and nobody can tell Postgres. */
	add(out, "client_connection_check_interval", "2s");
}

void configuration_quote_word(const char *text, struct buffer *out)
{
	buffer_append_text(out, "'");
	for (const char *p = text; *p; p++) {
		if (*p == '\'')
			buffer_append_text(out, "'\\''");
		else
			buffer_append(out, p, 1);
	}
	buffer_append_text(out, "'");
}

/*
 * The archive has a link to a segment as soon as that has its name (wal_keeper.h). Postgres only has to see that it is there before
 * it may remove its own: "test -e 'DIR/volumes/ID/archive/'%f", where a percent sign of the path is written twice.
 */
static void add_archiving(const struct configuration *c, struct buffer *out)
{
	CLEANUP(buffer_done) struct buffer folder = { 0 };
	CLEANUP(buffer_done) struct buffer command = { 0 };
	configuration_quote_word(c->archive_path, &folder);
	buffer_append_text(&command, "test -e ");
	for (const char *p = folder.data; *p; p++)
		buffer_append_text(&command, *p == '%' ? "%%" : (const char[]){ *p, '\0' });
	buffer_append_text(&command, "/%f");
	add(out, "archive_mode", "on");
	add(out, "archive_library", "");
	add(out, "archive_command", command.data);
	add(out, "archive_timeout", "0");
}

/* See write_brake.h. Sessions that were told otherwise by their user stay as they are. */
static void add_brake(const struct configuration *c, struct buffer *out)
{
	if (c->brake->level == BRAKE_OFF)
		return;
	buffer_append_text(out, "# Disk space is short\n");
	add_number(out, "commit_delay", c->brake->commit_delay_usec);
	add_number(out, "commit_siblings", 0);
	if (c->brake->level >= BRAKE_STOP)
		add(out, "default_transaction_read_only", "on");
}

static void add_libraries(const struct configuration *c, struct buffer *out)
{
	CLEANUP(buffer_done) struct buffer list = { 0 };
	const char *const modules[] = { c->statements_module, c->whitelist_module };
	for (size_t i = 0; i < ARRAY_LEN(modules); i++)
		if (modules[i])
			buffer_printf(&list, "%s\"%s\"", list.len ? "," : "", modules[i]);
	add(out, "shared_preload_libraries", list.data ? list.data : "");
	if (c->whitelist_module) {
		add(out, "extwlist.extensions", extensions_allowed(c->shares_user));
		add(out, "extwlist.custom_path", c->scripts_folder);
	}
}

static void add_recovery(const struct configuration *c, struct buffer *out)
{
	buffer_append_text(out, "# How this start recovers\n");
	if (c->start->recovery_timeline != 0) {
		/* All WAL there is stands in pg_wal: every question for more is answered "no" at once. */
		add(out, "restore_command", "false");
		add_number(out, "recovery_target_timeline", c->start->recovery_timeline);
		add(out, "hot_standby", "off");
	}
	if (c->start->has_no_replication_workers)
		add_number(out, "max_logical_replication_workers", 0);
	if (c->start->min_prepared_transactions > 0) {
		const char *own = setting_of(c->spec, "max_prepared_transactions");
		int64_t number = 0;
		bool is_number = own && number_parse(slice_from_text(own), 0, INT32_MAX, &number);
		if (!is_number || number < c->start->min_prepared_transactions)
			add_number(out, "max_prepared_transactions", c->start->min_prepared_transactions);
	}
}

void configuration_format_settings(const struct configuration *c, struct buffer *out)
{
	buffer_append_text(out, "# Written by Tarn at every start; changes are lost.\n");
	add_defaults(out);
	buffer_append_text(out, "# Settings of the endpoint\n");
	for (size_t i = 0; i < c->spec->setting_count; i++)
		add(out, c->spec->settings[i].name, c->spec->settings[i].value);

	buffer_append_text(out, "# What Tarn relies on\n");
	add_number(out, "max_connections", configuration_max_connections(c->spec->max_cu));
	add_number(out, "superuser_reserved_connections", SUPERUSER_RESERVED_CONNECTIONS);
	add(out, "shared_buffers", "128MB"); /* the kernel's page cache is the large one: starts stay fast */
	add(out, "huge_pages", "off");
	add(out, "wal_level", "logical");
	add(out, "wal_recycle", "off");
	add(out, "fsync", "on");
	add(out, "full_page_writes", FULL_PAGE_WRITES);
	add(out, "checkpoint_timeout", CHECKPOINT_TIMEOUT);
	add(out, "max_wal_size", MAX_WAL_SIZE);
	add_archiving(c, out);
	add(out, "track_activities", "on"); /* how inactivity is seen */
	add(out, "track_counts", "on");
	/* Does nothing on a FUSE mount, and need not: after an unclean end the supervisor syncs before it starts Postgres (T21). */
	add(out, "recovery_init_sync_method", "syncfs");
	/*
	 * So a postmaster must not start over by itself. Nor may it in the middle of a promotion: it would do crash recovery on the
	 * parent's timeline (standby.signal is removed before the end of recovery is in pg_control, xlog.c), where
	 * volume_plan_start() arms the recovery again.
	 */
	add(out, "restart_after_crash", "off");
	add(out, "ssl", "off"); /* the proxy does TLS */
	add(out, "logging_collector", "off");
	add(out, "log_destination", "stderr");
	add(out, "log_line_prefix", "%m [%p] ");
	add(out, "update_process_title", "on");
	add(out, "cluster_name", c->spec->endpoint_uid);
	/* Its folder says who can reach it: Postgres' user, Tarn's, and the pooler's. */
	add(out, "unix_socket_permissions", c->pooler_user_name ? "0777" : "0700");
	add(out, "dynamic_library_path", "$libdir");
	if (c->spec->postgres_major >= 17)
		add(out, "allow_alter_system", "off");
	const char *io_method = setting_of(c->spec, "io_method");
	if (io_method && strcasecmp(io_method, "io_uring") == 0 && !c->has_locked_memory)
		add(out, "io_method", "worker");
	add_libraries(c, out);
	add_recovery(c, out);
	add_brake(c, out);
}

void configuration_format_hba(const struct configuration *c, struct buffer *out)
{
	buffer_append_text(out, "# Written by Tarn at every start; changes are lost.\n");
	/* Until a clone has been rid of what is its parent's, only the supervisor gets in. */
	buffer_append_text(out, "local all cloud_admin peer map=tarn\n");
	if (!c->start->is_quiet)
		buffer_append_text(
		        out, "local all all peer map=clients\nlocal replication all peer map=tarn\n");
}

void configuration_format_ident(const struct configuration *c, struct buffer *out)
{
	buffer_append_text(out, "# Written by Tarn at every start; changes are lost.\n");
	/* Quotes make the name literal; a name with a quote in it cannot be written, and matches nobody. */
	if (!strpbrk(c->system_user_name, "\"\n\r"))
		buffer_printf(out, "tarn \"%s\" all\nclients \"%s\" all\n", c->system_user_name,
		        c->system_user_name);
	if (c->pooler_user_name)
		buffer_printf(out, "clients \"%s\" all\n", c->pooler_user_name);
}

status configuration_write(
        const struct configuration *c, const char *folder, const struct system_user *user, struct error *err)
{
	static const struct {
		const char *name;
		void (*format)(const struct configuration *, struct buffer *);
	} files[] = {
		{ "postgresql.conf", configuration_format_settings },
		{ "hba.conf", configuration_format_hba },
		{ "ident.conf", configuration_format_ident },
	};
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		CLEANUP(buffer_done) struct buffer content = { 0 };
		files[i].format(c, &content);
		CLEANUP(free_text) char *path = xasprintf("%s/%s", folder, files[i].name);
		status st = file_replace_for_group(
		        path, buffer_slice(&content), user->is_other ? user->gid : (gid_t)-1, err);
		if (st != STATUS_OK)
			return st;
	}
	return STATUS_OK;
}
