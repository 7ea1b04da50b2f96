/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#include "compute/configuration.h"

static void connections_follow_the_maximum_cu(void **state)
{
	(void)state;
	/* rest-api.md, section 4.4 */
	static const struct {
		double cu;
		int connections;
	} table[] = { { 0.5, 104 }, { 1, 209 }, { 2, 419 }, { 3, 629 }, { 4, 839 }, { 8, 1678 }, { 16, 3357 },
		{ 32, 4000 }, { 1024, 4000 }, { 0.01, 20 } };
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		assert_int_equal(configuration_max_connections(table[i].cu), table[i].connections);
	assert_int_equal(configuration_client_connections(1), 209 - 7);
	assert_int_equal(configuration_client_connections(0.01), 20 - 7);
}

static void quoted(const char *value, const char *expected)
{
	CLEANUP(buffer_done) struct buffer out = { 0 };
	configuration_quote(value, &out);
	assert_string_equal(out.data, expected);
}

static void values_are_quoted(void **state)
{
	(void)state;
	quoted("", "''");
	quoted("8MB", "'8MB'");
	quoted("it's", "'it''s'");
	quoted("a\\b", "'a\\\\b'");
	quoted("x'\nport = 1\n#", "'x''\\012port = 1\\012#'");
	quoted("\x7f\t", "'\\177\\011'");
	quoted("ä ☃", "'ä ☃'");
}

static char *settings_text_with(
        const char *settings, const struct volume_start *start, bool has_locked_memory)
{
	CLEANUP(free_text)
	char *text =
	        xasprintf("{\"version\":1,\"revision\":1,\"endpoint_uid\":\"ep-a\",\"volume_id\":\"br-a\","
	                  "\"postgres\":{\"major\":17,\"bin_dir\":\"/b\"},\"cu\":{\"max\":1},"
	                  "\"settings\":{%s}}",
	                settings);
	CLEANUP(spec_freep) struct spec *spec = NULL;
	struct error err;
	assert_int_equal(spec_parse(slice_from_text(text), &spec, &err), STATUS_OK);
	struct configuration configuration = { .spec = spec,
		.start = start,
		.brake = &(struct write_brake){ .level = BRAKE_OFF },
		.archive_path = "/it's 100%/archive",
		.socket_folder = "/s",
		.scripts_folder = "/scripts",
		.statements_module = "/lib/pg_stat_statements.so",
		.whitelist_module = "/lib/pgextwlist.so",
		.has_locked_memory = has_locked_memory,
		.system_user_name = "root" };
	struct buffer out = { 0 };
	configuration_format_settings(&configuration, &out);
	return out.data;
}

static char *settings_text(const char *settings, const struct volume_start *start)
{
	return settings_text_with(settings, start, false);
}

static void ours_come_last(void **state)
{
	(void)state;
	const struct volume_start start = { 0 };
	CLEANUP(free_text) char *text = settings_text("\"fsync\":\"off\",\"jit\":\"on\"", &start);
	const char *user_fsync = strstr(text, "fsync = 'off'"), *our_fsync = strstr(text, "fsync = 'on'");
	assert_true(user_fsync && our_fsync && user_fsync < our_fsync);
	const char *our_jit = strstr(text, "jit = 'off'"), *user_jit = strstr(text, "jit = 'on'");
	assert_true(our_jit && user_jit && our_jit < user_jit); /* a default only */
	assert_non_null(
	        strstr(text, "bgwriter_lru_maxpages = '1000'")); /* few pages are left for a checkpoint */
	assert_non_null(strstr(text, "max_connections = 209\n"));
	assert_non_null(strstr(text, "wal_level = 'logical'\n"));
	assert_non_null(strstr(text,
	        "shared_preload_libraries = '\"/lib/pg_stat_statements.so\",\"/lib/pgextwlist.so\"'\n"));
	assert_null(strstr(text, "restore_command"));
	assert_null(strstr(text, "max_logical_replication_workers"));
}

static void rings_need_locked_memory(void **state)
{
	(void)state;
	const struct volume_start start = { 0 };
	CLEANUP(free_text) char *without = settings_text_with("\"io_method\":\"IO_uring\"", &start, false);
	CLEANUP(free_text) char *with = settings_text_with("\"io_method\":\"io_uring\"", &start, true);
	CLEANUP(free_text) char *other = settings_text_with("\"io_method\":\"sync\"", &start, false);
	CLEANUP(free_text) char *none = settings_text_with("", &start, false);
	assert_true(strstr(without, "io_method = 'worker'\n") > strstr(without, "io_method = 'IO_uring'\n"));
	assert_non_null(strstr(with, "io_method = 'io_uring'\n"));
	assert_null(strstr(with, "io_method = 'worker'"));
	assert_null(strstr(other, "io_method = 'worker'"));
	assert_null(strstr(none, "io_method")); /* before 18 there is no such setting */
}

static void a_clone_recovers_without_asking_around(void **state)
{
	(void)state;
	const struct volume_start start = { .recovery_timeline = 6,
		.is_quiet = true,
		.has_no_replication_workers = true,
		.min_prepared_transactions = 5 };
	CLEANUP(free_text) char *text = settings_text("", &start);
	assert_non_null(strstr(text, "restore_command = 'false'\n"));
	assert_non_null(strstr(text, "recovery_target_timeline = 6\n"));
	assert_non_null(strstr(text, "hot_standby = 'off'\n"));
	assert_non_null(strstr(text, "max_logical_replication_workers = 0\n"));
	assert_non_null(strstr(text, "max_prepared_transactions = 5\n"));
	assert_null(strstr(text, "recovery_target_lsn"));
	CLEANUP(free_text) char *more = settings_text("\"max_prepared_transactions\":\"7\"", &start);
	assert_non_null(strstr(more, "max_prepared_transactions = '7'\n"));
	assert_null(strstr(more, "max_prepared_transactions = 5\n"));
	CLEANUP(free_text) char *less = settings_text("\"max_prepared_transactions\":\"4\"", &start);
	assert_non_null(strstr(less, "max_prepared_transactions = 5\n"));
}

/* cloud_admin is for Tarn's own user alone; the pooler's may be any other role. */
static void the_pooler_gets_in_as_anybody_but_the_superuser(void **state)
{
	(void)state;
	struct volume_start start = { 0 };
	struct configuration configuration = {
		.start = &start, .system_user_name = "root", .pooler_user_name = "tarn-pooler"
	};
	CLEANUP(buffer_done) struct buffer ident = { 0 }, hba = { 0 };
	configuration_format_ident(&configuration, &ident);
	assert_non_null(strstr(ident.data, "\nclients \"root\" all\nclients \"tarn-pooler\" all\n"));
	assert_null(strstr(ident.data, "\ntarn \"tarn-pooler\""));
	configuration_format_hba(&configuration, &hba);
	const char *own = strstr(hba.data, "local all cloud_admin peer map=tarn\n");
	const char *rest = strstr(hba.data, "local all all peer map=clients\n");
	assert_true(own && rest && own < rest); /* the first line that fits decides */
	assert_non_null(strstr(hba.data, "local replication all peer map=tarn\n"));
}

static void only_one_system_user_gets_in(void **state)
{
	(void)state;
	struct volume_start start = { 0 };
	struct configuration configuration = { .start = &start, .system_user_name = "tarn admin" };
	CLEANUP(buffer_done) struct buffer ident = { 0 };
	configuration_format_ident(&configuration, &ident);
	assert_non_null(strstr(ident.data, "\ntarn \"tarn admin\" all\nclients \"tarn admin\" all\n"));
	assert_null(strstr(ident.data, "pooler"));
	configuration.system_user_name = "x\" all\ntarn \"y";
	CLEANUP(buffer_done) struct buffer hostile = { 0 };
	configuration_format_ident(&configuration, &hostile);
	assert_null(strstr(hostile.data, "\ntarn"));
	assert_null(strstr(hostile.data, "\nclients"));

	CLEANUP(buffer_done) struct buffer hba = { 0 };
	configuration_format_hba(&configuration, &hba);
	assert_non_null(strstr(hba.data, "local all all peer map=clients\n"));
	assert_null(strstr(hba.data, "host"));
	start.is_quiet = start.has_no_replication_workers = true;
	CLEANUP(buffer_done) struct buffer quiet = { 0 };
	configuration_format_hba(&configuration, &quiet);
	assert_non_null(strstr(quiet.data, "local all cloud_admin peer map=tarn\n"));
	assert_null(strstr(quiet.data, "local all all"));
	assert_null(strstr(quiet.data, "replication"));
}

static char *settings_with_brake(enum brake_level level)
{
	CLEANUP(buffer_done) struct buffer out = { 0 };
	CLEANUP(spec_freep) struct spec *spec = NULL;
	struct error err;
	assert_int_equal(
	        spec_parse(
	                slice_from_text("{\"version\":1,\"revision\":1,\"endpoint_uid\":\"ep-a\",\"volume_"
	                                "id\":\"br-a\","
	                                "\"postgres\":{\"major\":17,\"bin_dir\":\"/b\"},\"cu\":{\"max\":1},"
	                                "\"settings\":{\"default_transaction_read_only\":\"off\",\"commit_"
	                                "delay\":\"7\"}}"),
	                &spec, &err),
	        STATUS_OK);
	const struct write_brake brake = { .level = level, .commit_delay_usec = 20000 };
	const struct volume_start start = { 0 };
	const struct configuration configuration = { .spec = spec,
		.start = &start,
		.brake = &brake,
		.archive_path = "/it's 100%/archive",
		.socket_folder = "/s",
		.scripts_folder = "/scripts",
		.system_user_name = "root" };
	configuration_format_settings(&configuration, &out);
	return xstrndup(out.data, out.len);
}

static void the_archive_command_only_looks(void **state)
{
	(void)state;
	CLEANUP(free_text) char *text = settings_with_brake(BRAKE_OFF);
	assert_non_null(strstr(text, "\narchive_mode = 'on'\n"));
	assert_non_null(strstr(text, "\nrestart_after_crash = 'off'\n"));
	/*
	 * One word for the shell, with percent signs doubled for Postgres: test -e '/it'\''s 100%%/archive'/%f
	 * And that in quotes for the file.
	 */
	assert_non_null(strstr(text, "\narchive_command = 'test -e ''/it''\\\\''''s 100%%/archive''/%f'\n"));
}

static void a_brake_beats_the_endpoints_settings(void **state)
{
	(void)state;
	CLEANUP(free_text) char *off = settings_with_brake(BRAKE_OFF);
	CLEANUP(free_text) char *slow = settings_with_brake(BRAKE_SLOW);
	CLEANUP(free_text) char *stop = settings_with_brake(BRAKE_STOP);
	assert_null(strstr(off, "commit_delay = 20000"));
	assert_true(strstr(slow, "\ncommit_delay = 20000\n") > strstr(slow, "\ncommit_delay = '7'\n"));
	assert_null(strstr(slow, "default_transaction_read_only = 'on'"));
	assert_true(strstr(stop, "\ndefault_transaction_read_only = 'on'\n") >
	            strstr(stop, "\ndefault_transaction_read_only = 'off'\n"));
	assert_non_null(strstr(stop, "\ncommit_delay = 20000\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connections_follow_the_maximum_cu),
		cmocka_unit_test(values_are_quoted),
		cmocka_unit_test(ours_come_last),
		cmocka_unit_test(rings_need_locked_memory),
		cmocka_unit_test(a_clone_recovers_without_asking_around),
		cmocka_unit_test(only_one_system_user_gets_in),
		cmocka_unit_test(the_pooler_gets_in_as_anybody_but_the_superuser),
		cmocka_unit_test(the_archive_command_only_looks),
		cmocka_unit_test(a_brake_beats_the_endpoints_settings),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
