#include "data_directory/settings_file.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>
#include <yyjson.h>

#include "base/file.h"

#define SETTINGS_FILE_MAX   65536
#define LOGIN_MAX           63  /* Postgres cuts longer role names off (NAMEDATALEN) */
#define DOMAIN_MAX          180 /* leaves room for an endpoint's label in the 253 bytes of a DNS name */
#define SYSTEM_USER_MAX     32
#define WORKSPACE_ID_DIGITS 16

/* One row per member of the file; the format stays flat so that the rows are all there is to know. */
struct member {
	const char *name;
	enum { MEMBER_TEXT, MEMBER_PORT, MEMBER_LIMIT } kind;
	size_t offset;
	int64_t max; /* MEMBER_LIMIT: 1 to this */
};

#define MEMBER(kind, field, max)                                                                             \
	{                                                                                                    \
#field, kind, offsetof(struct settings, field), max                                          \
	}

static const struct member members[] = {
	MEMBER(MEMBER_TEXT, workspace_id, 0),
	MEMBER(MEMBER_TEXT, admin_login, 0),
	MEMBER(MEMBER_TEXT, postgres_user, 0),
	MEMBER(MEMBER_TEXT, api_address, 0),
	MEMBER(MEMBER_PORT, api_port, 0),
	MEMBER(MEMBER_PORT, pg_port, 0),
	MEMBER(MEMBER_TEXT, pg_address, 0),
	MEMBER(MEMBER_TEXT, domain, 0),
	MEMBER(MEMBER_TEXT, tls_certificate, 0),
	MEMBER(MEMBER_TEXT, tls_key, 0),
	MEMBER(MEMBER_TEXT, tls_root, 0),
	MEMBER(MEMBER_LIMIT, suspend_timeout_min_sec, 604800),
	MEMBER(MEMBER_LIMIT, suspend_timeout_max_sec, 315360000),
	MEMBER(MEMBER_LIMIT, projects, 1000000),
	MEMBER(MEMBER_LIMIT, branches_per_project, 1000000),
	MEMBER(MEMBER_LIMIT, unarchived_branches_per_project, 1000000),
	MEMBER(MEMBER_LIMIT, root_branches_per_project, 1000000),
	MEMBER(MEMBER_LIMIT, protected_branches_per_project, 1000000),
	MEMBER(MEMBER_LIMIT, active_computes_per_project, 1000000),
	MEMBER(MEMBER_LIMIT, connections_per_project, 1000000),
	MEMBER(MEMBER_LIMIT, roles_per_branch, 1000000),
	MEMBER(MEMBER_LIMIT, databases_per_branch, 1000000),
	MEMBER(MEMBER_LIMIT, snapshots_per_project, 1000000),
	MEMBER(MEMBER_LIMIT, branch_ttl_max_sec, 315360000),
	MEMBER(MEMBER_LIMIT, history_retention_min_sec, 315360000),
	MEMBER(MEMBER_LIMIT, history_retention_max_sec, 315360000),
	MEMBER(MEMBER_LIMIT, cu_max, 1024),
	MEMBER(MEMBER_LIMIT, autoscale_cu_max, 1024),
	MEMBER(MEMBER_LIMIT, autoscale_cu_spread, 1024),
	MEMBER(MEMBER_LIMIT, archive_age_sec, 315360000),
	MEMBER(MEMBER_LIMIT, archive_idle_sec, 315360000),
	MEMBER(MEMBER_LIMIT, deleted_retention_sec, 315360000),
	MEMBER(MEMBER_LIMIT, housekeeping_interval_sec, 86400),
	MEMBER(MEMBER_LIMIT, polling_requests_per_sec, 1000000000),
	MEMBER(MEMBER_LIMIT, audit_file_mb, 1 << 20),
	MEMBER(MEMBER_LIMIT, audit_total_mb, 1 << 30),
	MEMBER(MEMBER_LIMIT, audit_retention_days, 36500),
	MEMBER(MEMBER_LIMIT, requests_per_sec, 1000000),
	MEMBER(MEMBER_LIMIT, failures_per_min, 1000000),
	MEMBER(MEMBER_LIMIT, idle_session_sec, 31536000),
	MEMBER(MEMBER_LIMIT, silent_client_sec, 3600),
	MEMBER(MEMBER_LIMIT, pooler_clients, 100000),
	MEMBER(MEMBER_LIMIT, pooler_wait_sec, 86400),
	MEMBER(MEMBER_LIMIT, metrics_endpoints, 100000),
	MEMBER(MEMBER_TEXT, metrics_access, 0),
};

static char **text_of(const struct settings *settings, const struct member *member)
{
	return (char **)(void *)((char *)(uintptr_t)settings + member->offset);
}

static int *port_of(const struct settings *settings, const struct member *member)
{
	return (int *)(void *)((char *)(uintptr_t)settings + member->offset);
}

static int64_t *limit_of(const struct settings *settings, const struct member *member)
{
	return (int64_t *)(void *)((char *)(uintptr_t)settings + member->offset);
}

int64_t *settings_find_limit(struct settings *settings, struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (members[i].kind == MEMBER_LIMIT && slice_equals_text(name, members[i].name))
			return limit_of(settings, &members[i]);
	return NULL;
}

void settings_set_defaults(struct settings *settings)
{
	*settings = (struct settings){
		.api_address = xstrdup("127.0.0.1"),
		.api_port = 8080,
		.pg_port = 5432,
		.admin_login = xstrdup("admin@localhost"),
		.suspend_timeout_min_sec = 60,
		.suspend_timeout_max_sec = 604800,
		.projects = 1000,
		.branches_per_project = 500,
		.unarchived_branches_per_project = 10,
		.root_branches_per_project = 3,
		.protected_branches_per_project = 1,
		.active_computes_per_project = 20,
		.connections_per_project = 20000,
		.roles_per_branch = 500,
		.databases_per_branch = 500,
		.snapshots_per_project = 10,
		.branch_ttl_max_sec = 2592000,
		.history_retention_min_sec = 172800,
		.history_retention_max_sec = 3024000,
		.cu_max = 112,
		.autoscale_cu_max = 64,
		.autoscale_cu_spread = 16,
		.archive_age_sec = 1209600,
		.archive_idle_sec = 1209600,
		.deleted_retention_sec = 604800,
		.housekeeping_interval_sec = 300,
		.polling_requests_per_sec = 2000,
		.audit_file_mb = 64,
		.audit_total_mb = 4096,
		.audit_retention_days = 365,
		.requests_per_sec = 500,
		.failures_per_min = 60,
		.idle_session_sec = 86400,
		.silent_client_sec = 60,
		.pooler_clients = 10000,
		.pooler_wait_sec = 120,
		.metrics_endpoints = 1000,
		.metrics_access = xstrdup("loopback"),
	};
}

void settings_done(struct settings *settings)
{
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (members[i].kind == MEMBER_TEXT)
			free_text(text_of(settings, &members[i]));
}

void settings_change(struct settings *settings, const struct settings *changes)
{
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		const struct member *member = &members[i];
		switch (member->kind) {
		case MEMBER_TEXT:
			if (*text_of(changes, member)) {
				const char *text = *text_of(changes, member);
				free_text(text_of(settings, member));
				*text_of(settings, member) = *text != '\0' ? xstrdup(text) : NULL;
			}
			break;
		case MEMBER_PORT:
			if (*port_of(changes, member) != 0)
				*port_of(settings, member) = *port_of(changes, member);
			break;
		case MEMBER_LIMIT:
			if (*limit_of(changes, member) != 0)
				*limit_of(settings, member) = *limit_of(changes, member);
			break;
		}
	}
}

bool settings_equal(const struct settings *a, const struct settings *b)
{
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		const struct member *member = &members[i];
		const char *x, *y;
		switch (member->kind) {
		case MEMBER_TEXT:
			x = *text_of(a, member);
			y = *text_of(b, member);
			if (x && y ? strcmp(x, y) != 0 : x != y)
				return false;
			break;
		case MEMBER_PORT:
			if (*port_of(a, member) != *port_of(b, member))
				return false;
			break;
		case MEMBER_LIMIT:
			if (*limit_of(a, member) != *limit_of(b, member))
				return false;
			break;
		}
	}
	return true;
}

static bool is_address(const char *text)
{
	uint8_t bytes[16];
	return text && (inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1);
}

static bool is_domain(const char *text)
{
	size_t len = strlen(text);
	return len > 0 && len <= DOMAIN_MAX && text[0] != '.' && text[0] != '-' && text[len - 1] != '.' &&
	       !strstr(text, "..") && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-.") == len;
}

/* One or more addresses, each between commas. */
static bool is_address_list(const char *list)
{
	CLEANUP(free_text) char *copy = xstrdup(list);
	for (char *rest = copy, *address; (address = strsep(&rest, ","));)
		if (!is_address(address))
			return false;
	return true;
}

static status check_doors(const struct settings *settings, struct error *err)
{
	const char *const needs_domain[] = { settings->pg_address, settings->tls_certificate };
	static const char *const names[] = { "pg_address", "tls_certificate" };
	for (size_t i = 0; i < ARRAY_LEN(needs_domain); i++)
		if (needs_domain[i] && !settings->domain)
			return error_set(err, STATUS_INVALID, 0,
			        "setting \"%s\" needs a \"domain\": without one endpoints are addresses of "
			        "this machine alone",
			        names[i]);
	if (settings->pg_address && !is_address_list(settings->pg_address))
		return error_set(err, STATUS_INVALID, 0,
		        "setting \"pg_address\" must be IP addresses, separated by commas");
	if (!settings->tls_certificate != !settings->tls_key)
		return error_set(err, STATUS_INVALID, 0,
		        "settings \"tls_certificate\" and \"tls_key\" go together: \"%s\" is missing",
		        settings->tls_key ? "tls_certificate" : "tls_key");
	if (settings->tls_root && !settings->tls_certificate)
		return error_set(err, STATUS_INVALID, 0,
		        "setting \"tls_root\" is for a certificate of your own: \"tls_certificate\" is "
		        "missing");
	const char *const paths[] = { settings->tls_certificate, settings->tls_key, settings->tls_root };
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		if (paths[i] && paths[i][0] != '/')
			return error_set(err, STATUS_INVALID, 0,
			        "file \"%s\" in the settings must be a whole path, from \"/\" on", paths[i]);
	return STATUS_OK;
}

static bool is_login(const char *text)
{
	size_t len = text ? strlen(text) : 0;
	if (len == 0 || len > LOGIN_MAX || strcmp(text, "cloud_admin") == 0 || strncmp(text, "pg_", 3) == 0)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] <= 0x20 || (unsigned char)text[i] >= 0x7f || text[i] == '"' ||
		        text[i] == '\\')
			return false;
	return true;
}

static bool is_system_user(const char *text)
{
	size_t len = strlen(text);
	return len > 0 && len <= SYSTEM_USER_MAX && text[0] != '-' &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.$") == len;
}

static bool is_workspace_id(const char *text)
{
	return text && strlen(text) == WORKSPACE_ID_DIGITS &&
	       strspn(text, "0123456789") == WORKSPACE_ID_DIGITS;
}

status settings_check(const struct settings *settings, struct error *err)
{
	if (!is_workspace_id(settings->workspace_id))
		return error_set(err, STATUS_INVALID, 0, "setting \"workspace_id\" must be %d digits",
		        WORKSPACE_ID_DIGITS);
	if (!is_login(settings->admin_login))
		return error_set(err, STATUS_INVALID, 0,
		        "setting \"admin_login\" must be 1 to %d printable characters without quotes and "
		        "blanks",
		        LOGIN_MAX);
	if (settings->postgres_user && !is_system_user(settings->postgres_user))
		return error_set(err, STATUS_INVALID, 0,
		        "setting \"postgres_user\" is no valid name of a system user");
	if (!is_address(settings->api_address))
		return error_set(err, STATUS_INVALID, 0,
		        "setting \"api_address\" must be an IP address such as 127.0.0.1");
	if (settings->domain && !is_domain(settings->domain))
		return error_set(err, STATUS_INVALID, 0,
		        "setting \"domain\" must be a DNS name in lower case, at most %d characters",
		        DOMAIN_MAX);
	status st = check_doors(settings, err);
	if (st != STATUS_OK)
		return st;
	const char *access = settings->metrics_access;
	if (!access || (strcmp(access, "loopback") != 0 && strcmp(access, "token") != 0))
		return error_set(err, STATUS_INVALID, 0,
		        "setting \"metrics_access\" must be \"loopback\" or \"token\"");
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		const struct member *member = &members[i];
		if (member->kind == MEMBER_PORT &&
		        (*port_of(settings, member) < 1 || *port_of(settings, member) > 65535))
			return error_set(err, STATUS_INVALID, 0, "setting \"%s\" must be a port, 1 to 65535",
			        member->name);
		if (member->kind == MEMBER_LIMIT &&
		        (*limit_of(settings, member) < 1 || *limit_of(settings, member) > member->max))
			return error_set(err, STATUS_INVALID, 0,
			        "setting \"%s\" must be between 1 and %" PRId64, member->name, member->max);
	}
	if (settings->suspend_timeout_min_sec > settings->suspend_timeout_max_sec)
		return error_set(err, STATUS_INVALID, 0,
		        "setting \"suspend_timeout_min_sec\" is above \"suspend_timeout_max_sec\"");
	if (settings->history_retention_min_sec > settings->history_retention_max_sec)
		return error_set(err, STATUS_INVALID, 0,
		        "setting \"history_retention_min_sec\" is above \"history_retention_max_sec\"");
	if (settings->api_port == settings->pg_port)
		return error_set(err, STATUS_INVALID, 0,
		        "settings \"api_port\" and \"pg_port\" are both %d: they must differ",
		        settings->api_port);
	return STATUS_OK;
}

static status wrong_type(const struct member *member, struct error *err)
{
	return error_set(err, STATUS_INVALID, 0, "member \"%s\" must be a %s", member->name,
	        member->kind == MEMBER_TEXT ? "string" : "whole number");
}

/* A member that is absent keeps its default, so that files of an older Tarn with fewer settings go on
 * working. */
static status read_member(
        yyjson_val *root, const struct member *member, struct settings *settings, struct error *err)
{
	yyjson_val *value = yyjson_obj_get(root, member->name);
	if (!value)
		return STATUS_OK;
	if (member->kind == MEMBER_TEXT) {
		if (yyjson_is_null(value)) {
			free_text(text_of(settings, member));
			return STATUS_OK;
		}
		/* A NUL inside would make the C string something other than what the file says. */
		if (!yyjson_is_str(value) || strlen(yyjson_get_str(value)) != yyjson_get_len(value))
			return wrong_type(member, err);
		free_text(text_of(settings, member));
		*text_of(settings, member) = xstrdup(yyjson_get_str(value));
		return STATUS_OK;
	}
	if (!yyjson_is_uint(value) || yyjson_get_uint(value) > INT32_MAX)
		return wrong_type(member, err);
	if (member->kind == MEMBER_PORT)
		*port_of(settings, member) = (int)yyjson_get_uint(value);
	else
		*limit_of(settings, member) = (int64_t)yyjson_get_uint(value);
	return STATUS_OK;
}

static status read_members(yyjson_val *root, struct settings *settings, struct error *err)
{
	if (!yyjson_is_obj(root))
		return error_set(err, STATUS_CORRUPT, 0, "not a JSON object");
	yyjson_val *version = yyjson_obj_get(root, "format_version");
	if (!yyjson_is_uint(version) || yyjson_get_uint(version) < 1)
		return error_set(err, STATUS_CORRUPT, 0, "\"format_version\" is missing");
	/* Before anything else: a newer format may give the other members another meaning. */
	if (yyjson_get_uint(version) > DATA_DIRECTORY_VERSION) {
		status st = error_set(err, STATUS_UNSUPPORTED, 0,
		        "made by a newer Tarn: format version %" PRIu64
		        ", this is Tarn %s, which knows version %d",
		        yyjson_get_uint(version), TARN_VERSION, DATA_DIRECTORY_VERSION);
		error_hint(err, "Use the newer Tarn for this directory, or choose another one with --data.");
		return st;
	}
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		status st = read_member(root, &members[i], settings, err);
		if (st != STATUS_OK)
			return st;
	}
	return settings_check(settings, err);
}

status settings_file_read(const char *path, struct settings *ret, struct error *err)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	status st = file_read(path, SETTINGS_FILE_MAX, &text, err);
	if (st != STATUS_OK)
		return st;
	yyjson_read_err problem;
	yyjson_doc *doc = yyjson_read_opts(text.data, text.len, 0, NULL, &problem);
	if (!doc)
		return error_set(err, STATUS_CORRUPT, 0, "file \"%s\" is not valid JSON: %s at byte %zu",
		        path, problem.msg, problem.pos);
	struct settings settings;
	settings_set_defaults(&settings);
	st = read_members(yyjson_doc_get_root(doc), &settings, err);
	yyjson_doc_free(doc);
	if (st != STATUS_OK) {
		settings_done(&settings);
		return error_prefix(err, "file \"%s\"", path);
	}
	*ret = settings;
	return STATUS_OK;
}

status settings_file_write(const char *path, const struct settings *settings, struct error *err)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_int(doc, root, "format_version", DATA_DIRECTORY_VERSION);
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		const struct member *member = &members[i];
		switch (member->kind) {
		case MEMBER_TEXT:
			if (*text_of(settings, member))
				yyjson_mut_obj_add_str(doc, root, member->name, *text_of(settings, member));
			else
				yyjson_mut_obj_add_null(doc, root, member->name);
			break;
		case MEMBER_PORT:
			yyjson_mut_obj_add_int(doc, root, member->name, *port_of(settings, member));
			break;
		case MEMBER_LIMIT:
			yyjson_mut_obj_add_sint(doc, root, member->name, *limit_of(settings, member));
			break;
		}
	}
	CLEANUP(free_text) char *text = yyjson_mut_write(doc, YYJSON_WRITE_PRETTY, NULL);
	yyjson_mut_doc_free(doc);
	if (!text)
		return error_set(err, STATUS_INTERNAL, 0, "could not write the settings as JSON");
	CLEANUP(free_text) char *content = xasprintf("%s\n", text);
	return file_replace_durably(path, slice_from_text(content), 0644, err);
}
