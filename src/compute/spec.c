#include "compute/spec.h"

#include <stdlib.h>
#include <strings.h>
#include <yyjson.h>

#include "base/file.h"

#define SETTING_NAME_MAX  127
#define SETTING_VALUE_MAX 8192

struct spec *spec_free(struct spec *spec)
{
	if (!spec)
		return NULL;
	for (size_t i = 0; i < spec->setting_count; i++) {
		free(spec->settings[i].name);
		free(spec->settings[i].value);
	}
	for (size_t i = 0; i < spec->role_count; i++) {
		free(spec->roles[i].verifier);
		free(spec->roles[i].name);
	}
	for (size_t i = 0; i < spec->database_count; i++) {
		free(spec->databases[i].name);
		free(spec->databases[i].owner);
	}
	free(spec->settings);
	free(spec->roles);
	free(spec->databases);
	free(spec->bin_dir);
	free(spec);
	return NULL;
}

static status missing(struct error *err, const char *name)
{
	return error_set(
	        err, STATUS_INVALID, 0, "member \"%s\" of the spec is missing or of a wrong type", name);
}

/* A copy of a text without NUL bytes, of 1 to max bytes. */
static char *copy_text(yyjson_val *value, size_t max)
{
	const char *text = yyjson_get_str(value);
	size_t len = yyjson_get_len(value);
	return text && len > 0 && len <= max && strlen(text) == len ? xstrndup(text, len) : NULL;
}

static status read_text(yyjson_val *object, const char *name, size_t max, char **ret, struct error *err)
{
	char *text = copy_text(yyjson_obj_get(object, name), max);
	if (!text)
		return missing(err, name);
	*ret = text;
	return STATUS_OK;
}

static status read_fixed(yyjson_val *object, const char *name, size_t max, char *out, struct error *err)
{
	CLEANUP(free_text) char *text = NULL;
	status st = read_text(object, name, max, &text, err);
	if (st == STATUS_OK)
		memcpy(out, text, strlen(text) + 1);
	return st;
}

static status read_number(
        yyjson_val *value, const char *name, int64_t min, int64_t max, int64_t *ret, struct error *err)
{
	if (!yyjson_is_int(value) || (yyjson_is_uint(value) && yyjson_get_uint(value) > INT64_MAX) ||
	        yyjson_get_sint(value) < min || yyjson_get_sint(value) > max)
		return missing(err, name);
	*ret = yyjson_get_sint(value);
	return STATUS_OK;
}

/* An absent flag is false; anything but a boolean is a mistake. */
static status read_flag(yyjson_val *object, const char *name, bool *ret, struct error *err)
{
	yyjson_val *value = yyjson_obj_get(object, name);
	if (value && !yyjson_is_bool(value))
		return missing(err, name);
	*ret = yyjson_get_bool(value);
	return STATUS_OK;
}

static bool is_reserved_role(const char *name)
{
	return strcmp(name, "cloud_admin") == 0 || strcmp(name, "databricks_superuser") == 0 ||
	       strcmp(name, "public") == 0 || strcmp(name, "none") == 0 || strncmp(name, "pg_", 3) == 0;
}

static status read_identity(yyjson_val *value, enum inventory_identity *ret, struct error *err)
{
	static const char *const names[] = { [INVENTORY_USER] = "USER",
		[INVENTORY_SERVICE_PRINCIPAL] = "SERVICE_PRINCIPAL",
		[INVENTORY_GROUP] = "GROUP" };
	CLEANUP(free_text) char *text = NULL;
	status st = read_text(value, "identity", 32, &text, err);
	if (st != STATUS_OK)
		return st;
	for (size_t i = INVENTORY_USER; i < ARRAY_LEN(names); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = (enum inventory_identity)i;
			return STATUS_OK;
		}
	}
	return error_set(err, STATUS_INVALID, 0, "identity \"%s\" is not known", text);
}

static status read_role(yyjson_val *value, struct spec_role *role, struct error *err)
{
	status st = read_text(value, "name", SPEC_IDENTIFIER_MAX, &role->name, err);
	if (st == STATUS_OK && is_reserved_role(role->name))
		st = error_set(err, STATUS_INVALID, 0, "role name \"%s\" is reserved", role->name);
	const struct {
		const char *name;
		bool *flag;
	} flags[] = {
		{ "login", &role->login },
		{ "createdb", &role->createdb },
		{ "createrole", &role->createrole },
		{ "bypassrls", &role->bypassrls },
		{ "member_of_databricks_superuser", &role->is_superuser_member },
	};
	for (size_t i = 0; i < ARRAY_LEN(flags) && st == STATUS_OK; i++)
		st = read_flag(value, flags[i].name, flags[i].flag, err);
	if (st == STATUS_OK && yyjson_obj_get(value, "verifier"))
		st = read_text(value, "verifier", POSTGRES_VERIFIER_MAX, &role->verifier, err);
	if (st == STATUS_OK && yyjson_obj_get(value, "identity"))
		st = read_identity(value, &role->identity, err);
	return st;
}

static status read_database(yyjson_val *value, struct spec_database *database, struct error *err)
{
	status st = read_text(value, "name", SPEC_IDENTIFIER_MAX, &database->name, err);
	if (st == STATUS_OK && yyjson_obj_get(value, "owner"))
		st = read_text(value, "owner", SPEC_IDENTIFIER_MAX, &database->owner, err);
	return st;
}

/* "work_mem", "auto_explain.log_min_duration": what can stand on the left side in postgresql.conf. */
static bool is_setting_name(const char *name)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
	static const char later[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789$";
	for (;;) {
		if (strspn(name, first) == 0)
			return false;
		name += strspn(name, later);
		if (*name != '.')
			return *name == '\0';
		name++;
	}
}

/*
 * Control refuses these with a friendlier text; here they would defeat what keeps a tenant inside its compute: which files are
 * read, which programs and modules run, who can connect, what recovery does. A name that ends with '*' is a prefix.
 */
static bool is_managed_setting(const char *name)
{
	static const char *const managed[] = { "include", "include_if_exists", "include_dir",
		"data_directory", "config_file", "hba_file", "ident_file", "external_pid_file",
		"listen_addresses", "port", "unix_socket_*", "archive_*", "restore_command", "recovery_*",
		"primary_*", "promote_trigger_file", "ssl*", "krb_*", "gss_*", "dynamic_library_path",
		"extension_control_path", "extension_destdir", "*_libraries", "*_library", "*_command",
		"jit_provider", "log_directory", "log_filename", "log_file_mode", "log_destination",
		"logging_collector", "syslog_*", "allow_system_table_mods", "allow_alter_system",
		"extwlist.*", "plperl*", "plpython*", "pltcl*", "summarize_wal", "synchronized_standby_slots",
		"sync_replication_slots" };
	size_t len = strlen(name);
	for (size_t i = 0; i < ARRAY_LEN(managed); i++) {
		const char *entry = managed[i];
		size_t entry_len = strlen(entry);
		if (entry[0] == '*' && len >= entry_len - 1 &&
		        strcasecmp(name + len - (entry_len - 1), entry + 1) == 0)
			return true;
		if (entry[entry_len - 1] == '*' && strncasecmp(name, entry, entry_len - 1) == 0)
			return true;
		if (strcasecmp(name, entry) == 0)
			return true;
	}
	return false;
}

static status read_setting(
        yyjson_val *key, yyjson_val *value, struct spec_setting *setting, struct error *err)
{
	setting->name = copy_text(key, SETTING_NAME_MAX);
	if (!setting->name || !is_setting_name(setting->name))
		return error_set(err, STATUS_INVALID, 0, "\"%.100s\" is not the name of a setting",
		        yyjson_get_str(key));
	if (is_managed_setting(setting->name))
		return error_set(err, STATUS_INVALID, 0, "setting \"%s\" is managed by Tarn", setting->name);
	const char *text = yyjson_get_str(value);
	size_t len = yyjson_get_len(value);
	if (!text || len > SETTING_VALUE_MAX || strlen(text) != len)
		return error_set(
		        err, STATUS_INVALID, 0, "the value of setting \"%s\" is not a text", setting->name);
	setting->value = xstrndup(text, len);
	return STATUS_OK;
}

/* Room for the members of an array or object that may be absent; *ret_count is how many. */
static status allot(yyjson_val *list, bool is_right_type, const char *name, size_t max, size_t item_size,
        void **ret, size_t *ret_count, struct error *err)
{
	if (list && !is_right_type)
		return missing(err, name);
	size_t count = list ? unsafe_yyjson_get_len(list) : 0;
	if (count > max)
		return error_set(err, STATUS_INVALID, 0, "the spec has more than %zu %s", max, name);
	*ret = xcalloc(count, item_size);
	*ret_count = count;
	return STATUS_OK;
}

static status read_lists(yyjson_val *root, struct spec *spec, struct error *err)
{
	yyjson_val *roles = yyjson_obj_get(root, "roles"), *databases = yyjson_obj_get(root, "databases");
	yyjson_val *settings = yyjson_obj_get(root, "settings");
	void *memory;
	size_t index, max;
	yyjson_val *key, *value;

	status st = allot(roles, yyjson_is_arr(roles), "roles", SPEC_ROLES_MAX, sizeof *spec->roles, &memory,
	        &spec->role_count, err);
	if (st != STATUS_OK)
		return st;
	spec->roles = memory;
	yyjson_arr_foreach(roles, index, max, value)
	{
		if ((st = read_role(value, &spec->roles[index], err)) != STATUS_OK)
			return st;
	}

	st = allot(databases, yyjson_is_arr(databases), "databases", SPEC_DATABASES_MAX,
	        sizeof *spec->databases, &memory, &spec->database_count, err);
	if (st != STATUS_OK)
		return st;
	spec->databases = memory;
	yyjson_arr_foreach(databases, index, max, value)
	{
		if ((st = read_database(value, &spec->databases[index], err)) != STATUS_OK)
			return st;
	}

	st = allot(settings, yyjson_is_obj(settings), "settings", SPEC_SETTINGS_MAX, sizeof *spec->settings,
	        &memory, &spec->setting_count, err);
	if (st != STATUS_OK)
		return st;
	spec->settings = memory;
	if (spec->setting_count == 0)
		return STATUS_OK; /* yyjson's loop would count from a null pointer, or from behind an empty object */
	yyjson_obj_foreach(settings, index, max, key, value)
	{
		if ((st = read_setting(key, value, &spec->settings[index], err)) != STATUS_OK)
			return st;
	}
	return STATUS_OK;
}

static status read_compute(yyjson_val *root, struct spec *spec, struct error *err)
{
	yyjson_val *postgres = yyjson_obj_get(root, "postgres");
	yyjson_val *max_cu = yyjson_obj_get(yyjson_obj_get(root, "cu"), "max");
	yyjson_val *timeout = yyjson_obj_get(root, "suspend_timeout_sec");
	int64_t major = 0;
	status st =
	        read_number(yyjson_obj_get(root, "revision"), "revision", 0, INT64_MAX, &spec->revision, err);
	if (st == STATUS_OK)
		st = read_fixed(root, "endpoint_uid", SPEC_UID_MAX, spec->endpoint_uid, err);
	if (st == STATUS_OK)
		st = read_fixed(root, "volume_id", VOLUME_ID_MAX, spec->volume_id, err);
	if (st == STATUS_OK)
		st = read_number(yyjson_obj_get(postgres, "major"), "postgres.major", 1, 999, &major, err);
	if (st == STATUS_OK)
		st = read_text(postgres, "bin_dir", FILE_PATH_MAX - 1, &spec->bin_dir, err);
	if (st == STATUS_OK && timeout)
		st = read_number(timeout, "suspend_timeout_sec", 1, SPEC_TIMEOUT_MAX_SEC,
		        &spec->suspend_timeout_sec, err);
	if (st != STATUS_OK)
		return st;
	if (spec->bin_dir[0] != '/')
		return error_set(err, STATUS_INVALID, 0,
		        "member \"postgres.bin_dir\" of the spec is not an absolute path");
	double cu = yyjson_is_num(max_cu) ? yyjson_get_num(max_cu) : 0;
	if (!(cu > 0 && cu <= SPEC_CU_MAX))
		return missing(err, "cu.max");
	spec->postgres_major = (int)major;
	spec->max_cu = cu;
	return STATUS_OK;
}

static void free_document(yyjson_doc **doc)
{
	yyjson_doc_free(*doc);
	*doc = NULL;
}

status spec_parse(struct slice text, struct spec **ret, struct error *err)
{
	if (text.len > SPEC_MAX_BYTES)
		return error_set(err, STATUS_INVALID, 0, "the spec is larger than %u bytes", SPEC_MAX_BYTES);
	yyjson_read_err problem;
	CLEANUP(free_document)
	yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)text.data, text.len, 0, NULL, &problem);
	if (!doc)
		return error_set(err, STATUS_INVALID, 0, "the spec is not JSON: %s at byte %zu", problem.msg,
		        problem.pos);
	yyjson_val *root = yyjson_doc_get_root(doc);
	int64_t version = 0;
	status st = read_number(yyjson_obj_get(root, "version"), "version", 1, INT32_MAX, &version, err);
	if (st != STATUS_OK)
		return st;
	if (version > SPEC_VERSION)
		return error_set(err, STATUS_UNSUPPORTED, 0, "the spec has version %d, this Tarn knows %d",
		        (int)version, SPEC_VERSION);
	CLEANUP(spec_freep) struct spec *spec = xcalloc(1, sizeof *spec);
	st = read_compute(root, spec, err);
	if (st == STATUS_OK)
		st = read_lists(root, spec, err);
	if (st != STATUS_OK)
		return st;
	*ret = TAKE_PTR(spec);
	return STATUS_OK;
}

status spec_read(const char *path, struct spec **ret, struct error *err)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	status st = file_read(path, SPEC_MAX_BYTES, &text, err);
	if (st == STATUS_OK)
		st = spec_parse(buffer_slice(&text), ret, err);
	return st == STATUS_OK ? STATUS_OK : error_prefix(err, "spec \"%s\"", path);
}
