/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#include "base/buffer.h"
#include "compute/spec.h"

#define HEAD                                                                                                 \
	"\"version\":1,\"revision\":3,\"endpoint_uid\":\"ep-a\",\"volume_id\":\"br-a\","                     \
	"\"postgres\":{\"major\":17,\"bin_dir\":\"/pg/bin\"},\"cu\":{\"min\":0.5,\"max\":2}"

static struct spec *parse_good(const char *text)
{
	struct spec *spec = NULL;
	struct error err;
	if (spec_parse(slice_from_text(text), &spec, &err) != STATUS_OK)
		fail_msg("%s: %s", text, err.message);
	return spec;
}

static void refused(const char *text, const char *words)
{
	struct spec *spec = NULL;
	struct error err;
	status st = spec_parse(slice_from_text(text), &spec, &err);
	assert_true(st == STATUS_INVALID || st == STATUS_UNSUPPORTED);
	assert_null(spec);
	if (!strstr(err.message, words))
		fail_msg("\"%s\" does not say \"%s\"", err.message, words);
}

static void everything_is_read(void **state)
{
	(void)state;
	CLEANUP(spec_freep)
	struct spec *spec = parse_good(
	        "{" HEAD ",\"suspend_timeout_sec\":60,\"settings\":{\"work_mem\":\"8MB\","
	        "\"auto_explain.log_min_duration\":\"\"},\"roles\":[{\"name\":\"a@b\",\"login\":true,"
	        "\"createdb\":true,\"member_of_databricks_superuser\":true,\"identity\":\"USER\","
	        "\"verifier\":\"v\"},{\"name\":\"☃ '\\\"\"}],"
	        "\"databases\":[{\"name\":\"d\",\"owner\":\"a@b\"},{\"name\":\"e\"}],\"new\":[1]}");
	assert_int_equal(spec->revision, 3);
	assert_string_equal(spec->endpoint_uid, "ep-a");
	assert_string_equal(spec->volume_id, "br-a");
	assert_int_equal(spec->postgres_major, 17);
	assert_string_equal(spec->bin_dir, "/pg/bin");
	assert_true(spec->max_cu == 2.0);
	assert_int_equal(spec->suspend_timeout_sec, 60);
	assert_int_equal(spec->setting_count, 2);
	assert_string_equal(spec->settings[0].value, "8MB");
	assert_string_equal(spec->settings[1].value, "");
	assert_int_equal(spec->role_count, 2);
	assert_true(spec->roles[0].login && spec->roles[0].createdb && spec->roles[0].is_superuser_member);
	assert_false(spec->roles[0].createrole || spec->roles[1].login);
	assert_string_equal(spec->roles[1].name, "☃ '\"");
	assert_int_equal(spec->roles[0].identity, INVENTORY_USER);
	assert_string_equal(spec->roles[0].verifier, "v");
	assert_int_equal(spec->roles[1].identity, INVENTORY_PLAIN);
	assert_null(spec->roles[1].verifier);
	assert_int_equal(spec->database_count, 2);
	assert_string_equal(spec->databases[0].owner, "a@b");
	assert_null(spec->databases[1].owner);
}

static void lists_may_be_absent(void **state)
{
	(void)state;
	CLEANUP(spec_freep) struct spec *spec = parse_good("{" HEAD "}");
	assert_int_equal(spec->suspend_timeout_sec, 0);
	assert_int_equal(spec->role_count + spec->database_count + spec->setting_count, 0);
}

static void wrong_types_are_named(void **state)
{
	(void)state;
	refused("", "not JSON");
	refused("{", "not JSON");
	refused("[]", "version");
	refused("{\"version\":\"1\"}", "version");
	refused("{\"version\":2}", "version 2");
	refused("{\"version\":1}", "revision");
	refused("{" HEAD ",\"suspend_timeout_sec\":0}", "suspend_timeout_sec");
	refused("{" HEAD ",\"suspend_timeout_sec\":-1}", "suspend_timeout_sec");
	refused("{" HEAD ",\"suspend_timeout_sec\":18446744073709551615}", "suspend_timeout_sec");
	refused("{" HEAD ",\"suspend_timeout_sec\":1.5}", "suspend_timeout_sec");
	refused("{" HEAD ",\"roles\":{}}", "roles");
	refused("{" HEAD ",\"roles\":[1]}", "name");
	refused("{" HEAD ",\"roles\":[{\"name\":\"\"}]}", "name");
	refused("{" HEAD ",\"roles\":[{\"name\":\"a\",\"identity\":\"ROBOT\"}]}", "ROBOT");
	refused("{" HEAD ",\"roles\":[{\"name\":\"a\",\"verifier\":7}]}", "verifier");
	refused("{" HEAD ",\"roles\":[{\"name\":\"a\",\"login\":1}]}", "login");
	refused("{" HEAD ",\"roles\":[{\"name\":\"a\\u0000b\"}]}", "name");
	refused("{" HEAD ",\"databases\":[{\"name\":\"a\",\"owner\":5}]}", "owner");
	refused("{" HEAD ",\"settings\":[]}", "settings");
	refused("{" HEAD ",\"settings\":{\"work_mem\":8}}", "work_mem");
}

static void names_have_limits(void **state)
{
	(void)state;
	char name[SPEC_IDENTIFIER_MAX + 2];
	memset(name, 'x', sizeof name);
	name[SPEC_IDENTIFIER_MAX] = '\0';
	CLEANUP(free_text) char *longest = xasprintf("{" HEAD ",\"roles\":[{\"name\":\"%s\"}]}", name);
	CLEANUP(spec_freep) struct spec *spec = parse_good(longest);
	assert_string_equal(spec->roles[0].name, name);
	name[SPEC_IDENTIFIER_MAX] = 'x';
	name[SPEC_IDENTIFIER_MAX + 1] = '\0';
	CLEANUP(free_text) char *too_long = xasprintf("{" HEAD ",\"roles\":[{\"name\":\"%s\"}]}", name);
	refused(too_long, "name");
	CLEANUP(buffer_done) struct buffer many = { 0 };
	buffer_append_text(&many, "{" HEAD ",\"databases\":[");
	for (int i = 0; i <= SPEC_DATABASES_MAX; i++)
		buffer_printf(&many, "%s{\"name\":\"d%d\"}", i ? "," : "", i);
	buffer_append_text(&many, "]}");
	refused(many.data, "databases");
}

/* A tenant's role named so would get the rights of the platform, or make the reconciler change them. */
static void reserved_roles_are_refused(void **state)
{
	(void)state;
	static const char *const names[] = { "cloud_admin", "databricks_superuser", "pg_monitor", "public",
		"none" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		CLEANUP(free_text)
		char *text = xasprintf("{" HEAD ",\"roles\":[{\"name\":\"%s\"}]}", names[i]);
		refused(text, "reserved");
	}
}

/* Guards against settings that read other files, run programs or open other doors. */
static void managed_settings_are_refused(void **state)
{
	(void)state;
	static const char *const names[] = { "include", "INCLUDE_IF_EXISTS", "include_dir", "data_directory",
		"hba_file", "Config_File", "ident_file", "port", "listen_addresses",
		"unix_socket_directories", "archive_command", "archive_library", "restore_command",
		"recovery_end_command", "primary_conninfo", "ssl_passphrase_command",
		"shared_preload_libraries", "session_preload_libraries", "local_preload_libraries",
		"dynamic_library_path", "jit_provider", "extwlist.extensions", "external_pid_file",
		"log_directory", "allow_alter_system" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		CLEANUP(free_text) char *text = xasprintf("{" HEAD ",\"settings\":{\"%s\":\"x\"}}", names[i]);
		refused(text, "managed");
	}
	static const char *const odd[] = { "", "a b", "a=b", "1a", "a.", ".a", "a\\nb", "a'b", "#a", "ä" };
	for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
		CLEANUP(free_text) char *text = xasprintf("{" HEAD ",\"settings\":{\"%s\":\"x\"}}", odd[i]);
		refused(text, "not the name of a setting");
	}
	CLEANUP(spec_freep)
	struct spec *spec =
	        parse_good("{" HEAD ",\"settings\":{\"log_min_duration_statement\":\"0\",\"a.b$\":\"\"}}");
	assert_int_equal(spec->setting_count, 2);
}

static void numbers_have_ranges(void **state)
{
	(void)state;
	static const char *const cus[] = { "0", "-1", "1025", "\"1\"", "1e400", "null" };
	for (size_t i = 0; i < ARRAY_LEN(cus); i++) {
		CLEANUP(free_text)
		char *text =
		        xasprintf("{\"version\":1,\"revision\":3,\"endpoint_uid\":\"e\",\"volume_id\":\"b\","
		                  "\"postgres\":{\"major\":17,\"bin_dir\":\"/b\"},\"cu\":{\"max\":%s}}",
		                cus[i]);
		struct spec *spec = NULL;
		struct error err;
		assert_int_equal(spec_parse(slice_from_text(text), &spec, &err), STATUS_INVALID);
	}
	refused("{\"version\":1,\"revision\":3,\"endpoint_uid\":\"e\",\"volume_id\":\"b\","
	        "\"postgres\":{\"major\":17,\"bin_dir\":\"b\"},\"cu\":{\"max\":1}}",
	        "absolute");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_is_read),
		cmocka_unit_test(lists_may_be_absent),
		cmocka_unit_test(wrong_types_are_named),
		cmocka_unit_test(names_have_limits),
		cmocka_unit_test(reserved_roles_are_refused),
		cmocka_unit_test(managed_settings_are_refused),
		cmocka_unit_test(numbers_have_ranges),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
