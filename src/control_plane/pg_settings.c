#include "control_plane/pg_settings.h"

#include <stdlib.h>

/* A "*" at the end (or start) stands for any text. */
static const char *const refused[] = {
	/* sockets, identity, TLS: the proxy is the only way in */
	"listen_addresses",
	"port",
	"unix_socket_*",
	"bonjour*",
	"ssl*",
	"krb_*",
	"gss_*",
	"authentication_timeout",
	"password_encryption",
	"scram_iterations",
	"db_user_namespace",
	"md5_*",
	"oauth_*",
	"pre_auth_delay",
	"post_auth_delay",
	"reserved_connections",
	"superuser_reserved_connections",
	"max_connections",
	"tcp_keepalives_*",
	"tcp_user_timeout",
	"client_connection_check_interval",
	"require_secure_transport",
	/* files and programs */
	"data_directory",
	"config_file",
	"hba_file",
	"ident_file",
	"external_pid_file",
	"data_sync_retry",
	"*_command",
	"*_library",
	"*_libraries",
	"dynamic_library_path",
	"extension_control_path",
	"jit_provider",
	"stats_temp_directory",
	"temp_tablespaces",
	"default_tablespace",
	"include",
	"include_*",
	"promote_trigger_file",
	"trace_*",
	"debug_*",
	"event_source",
	"syslog_*",
	"update_process_title",
	"restrict_nonsystem_relation_kind",
	/* the log is ours: it may hold other people's statements, and a tenant must not choose where it goes */
	"log_destination",
	"logging_collector",
	"log_directory",
	"log_filename",
	"log_file_mode",
	"log_rotation_*",
	"log_truncate_on_rotation",
	"log_line_prefix",
	"log_timezone",
	/* durability, WAL, replication, recovery: what branching and restoring rest on */
	"wal_level",
	"fsync",
	"full_page_writes",
	"synchronous_standby_names",
	"wal_*",
	"max_wal_size",
	"min_wal_size",
	"max_wal_senders",
	"max_replication_slots",
	"max_slot_wal_keep_size",
	"archive_*",
	"recovery_*",
	"primary_*",
	"hot_standby*",
	"restore_command",
	"cluster_name",
	"summarize_wal",
	"checkpoint_*",
	"sync_replication_slots",
	"synchronized_standby_slots",
	"track_commit_timestamp",
	"max_prepared_transactions",
	"ignore_checksum_failure",
	"zero_damaged_pages",
	"ignore_system_indexes",
	"ignore_invalid_pages",
	"allow_system_table_mods",
	"allow_in_place_tablespaces",
	"allow_alter_system",
	"backtrace_functions",
	"remove_temp_files_after_crash",
	"restart_after_crash",
	"send_abort_for_*",
	"exit_on_error",
	/* memory and processes follow the compute's size */
	"shared_buffers",
	"shared_memory_*",
	"shared_memory_type",
	"dynamic_shared_memory_type",
	"min_dynamic_shared_memory",
	"huge_page*",
	"max_files_per_process",
	"max_stack_depth",
	"session_authorization",
	"role",
	"is_superuser",
	/* Debian's: a prefix for where extensions' scripts are looked up, which run as a superuser */
	"extension_destdir",
	"event_triggers",
	"jit_d*",
};

/*
 * Settings of modules: only those of modules that are known to take nothing from them that could run or read something
 * (plperl.on_init is code). "app." is for the values that applications keep in settings.
 */
static const char *const modules[] = { "app.", "auto_explain.", "hnsw.", "ivfflat.", "pg_stat_statements.",
	"pg_trgm.", "plpgsql." };

static bool pattern_fits(const char *pattern, const char *name)
{
	size_t pattern_len = strlen(pattern), name_len = strlen(name);
	if (pattern[0] == '*')
		return name_len >= pattern_len - 1 &&
		       strcmp(name + name_len - (pattern_len - 1), pattern + 1) == 0;
	if (pattern[pattern_len - 1] == '*')
		return strncmp(name, pattern, pattern_len - 1) == 0;
	return strcmp(name, pattern) == 0;
}

bool pg_setting_is_allowed(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		if (pattern_fits(refused[i], name))
			return false;
	}
	if (!strchr(name, '.'))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(modules); i++) {
		if (strncmp(name, modules[i], strlen(modules[i])) == 0)
			return true;
	}
	return false;
}

/* ^[a-z_][a-z0-9_.]*$ */
static bool name_is_valid(const char *name, size_t len)
{
	if (len == 0 || len > PG_SETTING_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = name[i];
		bool is_first_kind = (c >= 'a' && c <= 'z') || c == '_';
		if (!is_first_kind && (i == 0 || !((c >= '0' && c <= '9') || c == '.')))
			return false;
	}
	return true;
}

static bool check_entry(yyjson_val *key, yyjson_val *value, const char *path, struct api_error *error)
{
	const char *name = yyjson_get_str(key);
	if (!name_is_valid(name, yyjson_get_len(key)))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field '%s' has the name '%.100s', which is not a setting.", path, name);
	if (!pg_setting_is_allowed(name))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Setting '%s' in field '%s' is not for users to set.", name, path);
	if (!yyjson_is_str(value))
		return api_fail(error, API_INVALID_PARAMETER, "Setting '%s' in field '%s' must be a string.",
		        name, path);
	const char *text = yyjson_get_str(value);
	size_t len = yyjson_get_len(value);
	if (len > PG_SETTING_VALUE_MAX)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Setting '%s' in field '%s' is longer than %d bytes.", name, path,
		        PG_SETTING_VALUE_MAX);
	if (strlen(text) != len || strpbrk(text, "\r\n"))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Setting '%s' in field '%s' must not have a line break or a NUL character.", name,
		        path);
	return true;
}

bool pg_settings_read(yyjson_val *object, const char *path, char **ret_json, struct api_error *error)
{
	if (!object) {
		*ret_json = xstrdup("{}");
		return true;
	}
	if (yyjson_obj_size(object) > PG_SETTINGS_MAX)
		return api_fail(error, API_INVALID_PARAMETER, "Field '%s' has more than %d settings.", path,
		        PG_SETTINGS_MAX);
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *out = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, out);
	bool is_good = true;
	size_t i, count;
	yyjson_val *key, *value;
	yyjson_obj_foreach(object, i, count, key, value)
	{
		is_good = check_entry(key, value, path, error);
		if (is_good && yyjson_mut_obj_get(out, yyjson_get_str(key)))
			is_good = api_fail(error, API_INVALID_PARAMETER,
			        "Setting '%s' in field '%s' is there twice.", yyjson_get_str(key), path);
		if (!is_good)
			break;
		yyjson_mut_obj_add_str(doc, out, yyjson_get_str(key), yyjson_get_str(value));
	}
	if (is_good)
		*ret_json = yyjson_mut_write(doc, 0, NULL);
	yyjson_mut_doc_free(doc);
	return is_good;
}
