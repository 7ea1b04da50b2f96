#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* wants the four above */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "control_plane/fleet_report.h"

static void reads_a_whole_line(void **state)
{
	(void)state;
	struct fleet_report report;
	struct error err;
	const char *line =
	        "{\"state\":\"ready\",\"reason\":\"\",\"pid\":12,\"postgres_pid\":13,"
	        "\"last_active_time\":\"2026-01-02T03:04:05Z\",\"applied_revision\":3,\"new\":{},"
	        "\"timing\":{\"prepare_ms\":1.25,\"postgres_ms\":48,\"reconcile_ms\":0,\"new_ms\":\"x\"}}";
	assert_int_equal(fleet_report_parse(slice_from_text(line), &report, &err), STATUS_OK);
	assert_int_equal(report.state, REPORT_READY);
	assert_string_equal(report.reason, "");
	assert_int_equal(report.pid, 12);
	assert_int_equal(report.postgres_pid, 13);
	assert_int_equal(report.last_active_usec, 1767323045000000);
	assert_int_equal(report.applied_revision, 3);
	assert_true(report.timing.prepare_ms == 1.25 && report.timing.postgres_ms == 48);
	assert_false(fleet_report_is_last(&report));
}

static void reads_storage(void **state)
{
	(void)state;
	struct fleet_report report;
	struct error err;
	const char *line = "{\"state\":\"ready\",\"storage\":{\"points\":12,\"newest_lsn\":\"0/1A2B3C8\","
	                   "\"replay_estimate_ms\":120.5,\"point_cost_ms\":80,\"replay_speed_mb_s\":140,"
	                   "\"depth\":5,\"open_pages\":1200,"
	                   "\"logical_bytes\":4096,\"alarm\":\"the archive\\nis stuck\",\"new\":[]}}";
	assert_int_equal(fleet_report_parse(slice_from_text(line), &report, &err), STATUS_OK);
	assert_true(report.storage.is_known);
	assert_int_equal(report.storage.points, 12);
	assert_int_equal(report.storage.newest_lsn, 0x1A2B3C8);
	assert_true(report.storage.replay_estimate_ms == 120.5 && report.storage.replay_speed_mb_s == 140);
	assert_true(report.storage.point_cost_ms == 80);
	assert_int_equal(
	        report.storage.depth + report.storage.open_pages + report.storage.logical_bytes, 5301);
	assert_string_equal(report.storage.alarm, "the archive?is stuck");
	static const char *const bad[] = { "{\"state\":\"ready\",\"storage\":1}",
		"{\"state\":\"ready\",\"storage\":{\"points\":-1}}",
		"{\"state\":\"ready\",\"storage\":{\"newest_lsn\":\"x\"}}",
		"{\"state\":\"ready\",\"storage\":{\"replay_estimate_ms\":-1}}",
		"{\"state\":\"ready\",\"storage\":{\"alarm\":1}}" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(fleet_report_parse(slice_from_text(bad[i]), &report, &err), STATUS_INVALID);
}

static void reads_poolers(void **state)
{
	(void)state;
	struct fleet_report report;
	struct error err;
	const char *line =
	        "{\"state\":\"ready\",\"pooler\":{\"pid\":9,\"connections\":185,\"clients\":10000,"
	        "\"waiting\":5,\"longest_wait_usec\":1500000,\"servers_active\":180,\"servers_idle\":5,"
	        "\"transactions\":1,\"queries\":2,\"wait_usec\":3,\"received_bytes\":4,\"sent_bytes\":5,"
	        "\"clients_ended\":6,\"new\":{}}}";
	assert_int_equal(fleet_report_parse(slice_from_text(line), &report, &err), STATUS_OK);
	assert_int_equal(report.pooler.pid, 9);
	assert_int_equal(report.pooler.clients + report.pooler.waiting, 10005);
	assert_int_equal(report.pooler.longest_wait_usec, 1500000);
	assert_int_equal(report.pooler.clients_ended, 6);
	static const char *const bad[] = { "{\"state\":\"ready\",\"pooler\":1}",
		"{\"state\":\"ready\",\"pooler\":{\"clients\":-1}}",
		"{\"state\":\"ready\",\"pooler\":{\"queries\":\"x\"}}" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(fleet_report_parse(slice_from_text(bad[i]), &report, &err), STATUS_INVALID);
}

static void reads_pools(void **state)
{
	(void)state;
	struct error err;
	bool is_pool = true;
	struct fleet_pool_report report = { 0 };
	assert_int_equal(
	        fleet_report_parse_pool(slice_from_text("{\"state\":\"ready\"}"), &is_pool, &report, &err),
	        STATUS_OK);
	assert_false(is_pool);
	const char *line =
	        "{\"pool\":{\"id\":7,\"socket_dir\":\"/d\",\"refused\":[{\"role\":\"a\\\"b\",\"message\":"
	        "\"role\\ndoes not exist\"},{\"role\":\"\",\"message\":\"x\"}]}}";
	assert_int_equal(fleet_report_parse_pool(slice_from_text(line), &is_pool, &report, &err), STATUS_OK);
	assert_true(is_pool);
	assert_int_equal(report.id, 7);
	assert_int_equal(report.failure.code, STATUS_OK);
	assert_int_equal(report.refused_count, 2);
	assert_string_equal(report.refused[0].role, "a\"b");
	assert_string_equal(report.refused[0].message, "role?does not exist");
	fleet_pool_report_done(&report);

	static const struct {
		const char *code;
		status expected;
	} codes[] = { { "UNSUPPORTED", STATUS_UNSUPPORTED }, { "UNAVAILABLE", STATUS_UNAVAILABLE },
		{ "IO", STATUS_IO }, { "CONFLICT", STATUS_UNAVAILABLE }, { "?", STATUS_UNAVAILABLE } };
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		CLEANUP(free_text)
		char *failure = xasprintf("{\"pool\":{\"id\":1,\"error\":{\"code\":\"%s\",\"message\":\"m\","
		                          "\"hint\":\"h\"}}}",
		        codes[i].code);
		assert_int_equal(fleet_report_parse_pool(slice_from_text(failure), &is_pool, &report, &err),
		        STATUS_OK);
		assert_int_equal(report.failure.code, codes[i].expected);
		assert_string_equal(report.failure.message, "m");
		assert_string_equal(report.failure.hint, "h");
		fleet_pool_report_done(&report);
	}
	static const char *const bad[] = { "{\"pool\":{}}", "{\"pool\":{\"id\":-1,\"refused\":[]}}",
		"{\"pool\":{\"id\":1}}", "{\"pool\":{\"id\":1,\"refused\":{}}}",
		"{\"pool\":{\"id\":1,\"refused\":[1]}}", "{\"pool\":{\"id\":1,\"refused\":[{\"role\":1}]}}",
		"{\"pool\":{\"id\":1,\"refused\":[{\"role\":\"a\",\"message\":2}]}}",
		"{\"pool\":{\"id\":1,\"error\":\"x\"}}" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(fleet_report_parse_pool(slice_from_text(bad[i]), &is_pool, &report, &err),
		        STATUS_INVALID);
}

static void reads_points(void **state)
{
	(void)state;
	struct fleet_point_report report;
	struct error err;
	bool is_point = true;
	assert_int_equal(
	        fleet_report_parse_point(slice_from_text("{\"state\":\"ready\"}"), &is_point, &report, &err),
	        STATUS_OK);
	assert_false(is_point);
	assert_int_equal(
	        fleet_report_parse_point(slice_from_text("garbage"), &is_point, &report, &err), STATUS_OK);
	assert_false(is_point);
	const char *line = "{\"point\":{\"id\":7,\"number\":12,\"lsn\":\"16/1A2B3C8\",\"timeline\":3,"
	                   "\"time_usec\":1795375728453065}}";
	assert_int_equal(
	        fleet_report_parse_point(slice_from_text(line), &is_point, &report, &err), STATUS_OK);
	assert_true(is_point);
	assert_int_equal(report.id, 7);
	assert_int_equal(report.point.number, 12);
	assert_true(report.point.lsn == 0x1601A2B3C8);
	assert_int_equal(report.point.timeline, 3);
	assert_int_equal(report.failure.code, STATUS_OK);
	line = "{\"point\":{\"id\":8,\"error\":{\"code\":\"IO\",\"message\":\"bad disk\"}}}";
	assert_int_equal(
	        fleet_report_parse_point(slice_from_text(line), &is_point, &report, &err), STATUS_OK);
	assert_int_equal(report.failure.code, STATUS_IO);
	assert_string_equal(report.failure.message, "bad disk");
	static const char *const bad[] = { "{\"point\":{}}", "{\"point\":{\"id\":1}}",
		"{\"point\":{\"id\":-1,\"lsn\":\"0/1\",\"timeline\":1}}",
		"{\"point\":{\"id\":1,\"lsn\":\"0/0\",\"timeline\":1}}",
		"{\"point\":{\"id\":1,\"lsn\":\"0/1\",\"timeline\":0}}",
		"{\"point\":{\"id\":1,\"lsn\":\"0/1\",\"timeline\":4294967296}}",
		"{\"point\":{\"id\":1,\"lsn\":\"0/1\",\"timeline\":1,\"number\":\"x\"}}",
		"{\"point\":{\"id\":1,\"error\":\"IO\"}}" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(fleet_report_parse_point(slice_from_text(bad[i]), &is_point, &report, &err),
		        STATUS_INVALID);
		assert_true(is_point);
	}
}

static void reads_what_is_least(void **state)
{
	(void)state;
	struct fleet_report report;
	struct error err;
	const char *line = "{\"state\":\"failed\",\"reason\":null,\"pid\":null,\"timing\":null,\"last_active_"
	                   "time\":null}";
	assert_int_equal(fleet_report_parse(slice_from_text(line), &report, &err), STATUS_OK);
	assert_true(fleet_report_is_last(&report));
	assert_int_equal(
	        report.pid + report.postgres_pid + report.last_active_usec + report.applied_revision, 0);
}

static void refuses_what_is_odd(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"{}",
		"[]",
		"null",
		"\"ready\"",
		"{\"state\":\"ready\"",
		"{\"state\":\"ready\"} x",
		"{\"state\":\"Ready\"}",
		"{\"state\":\"ready\\u0000\"}",
		"{\"state\":1}",
		"{\"state\":\"ready\",\"pid\":\"1\"}",
		"{\"state\":\"ready\",\"pid\":-1}",
		"{\"state\":\"ready\",\"pid\":1.5}",
		"{\"state\":\"ready\",\"pid\":2147483648}",
		"{\"state\":\"ready\",\"postgres_pid\":true}",
		"{\"state\":\"ready\",\"applied_revision\":9223372036854775808}",
		"{\"state\":\"ready\",\"last_active_time\":\"yesterday\"}",
		"{\"state\":\"ready\",\"last_active_time\":7}",
		"{\"state\":\"ready\",\"timing\":[]}",
		"{\"state\":\"ready\",\"timing\":{\"prepare_ms\":-1}}",
		"{\"state\":\"ready\",\"timing\":{\"prepare_ms\":\"1\"}}",
		"{\"state\":\"ready\",\"timing\":{\"prepare_ms\":1e300}}",
		"{\"state\":\"ready\",\"reason\":{}}",
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct fleet_report report = { .pid = 77 };
		struct error err = { 0 };
		if (fleet_report_parse(slice_from_text(bad[i]), &report, &err) != STATUS_INVALID)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(report.pid, 77); /* untouched */
		assert_true(err.message[0] != '\0');
	}
}

static void a_reason_cannot_forge_anything(void **state)
{
	(void)state;
	struct fleet_report report;
	struct error err;
	assert_int_equal(
	        fleet_report_parse(
	                slice_from_text(
	                        "{\"state\":\"failed\",\"reason\":\"a\\nb\\u001b[2J\\u0000\xc3\xa9\"}"),
	                &report, &err),
	        STATUS_OK);
	assert_string_equal(report.reason, "a?b?[2J?\xc3\xa9");
	/* Not UTF-8, as a log in LATIN1 may be: the line counts, the byte is replaced. */
	assert_int_equal(fleet_report_parse(slice_from_text("{\"state\":\"failed\",\"reason\":\"caf\xe9 "
	                                                    "\xed\xa0\x80 \xf4\x90\x80\x80 \xc0\x80\"}"),
	                         &report, &err),
	        STATUS_OK);
	assert_string_equal(report.reason, "caf? ??? ???? ??");

	/* Longer than there is room: cut between characters. */
	char line[2048];
	struct buffer text = { 0 };
	for (int i = 0; i < 200; i++)
		buffer_append_text(&text, "\xe2\x82\xac");
	(void)snprintf(line, sizeof line, "{\"state\":\"failed\",\"reason\":\"%s\"}", text.data);
	assert_int_equal(fleet_report_parse(slice_from_text(line), &report, &err), STATUS_OK);
	assert_int_equal(strlen(report.reason), 255);
	assert_memory_equal(report.reason, text.data, 255);
	buffer_done(&text);
}

static void finds_the_pid_of_a_lock(void **state)
{
	(void)state;
	assert_int_equal(fleet_report_lock_pid(slice_from_text("{\"pid\":42,\"ready\":true}")), 42);
	static const char *const none[] = { "", "42", "{}", "{\"pid\":-1}", "{\"pid\":\"1\"}",
		"{\"pid\":42" };
	for (size_t i = 0; i < ARRAY_LEN(none); i++)
		assert_int_equal(fleet_report_lock_pid(slice_from_text(none[i])), 0);
}

static void read_complaint(const char *log, off_t since, bool any_line, const char *expected)
{
	char path[] = "/tmp/tarn-unit-report-XXXXXX", text[FLEET_REASON_MAX];
	int fd = mkstemp(path);
	struct error err;
	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, log, strlen(log), &err), STATUS_OK);
	assert_int_equal(fleet_log_size(path), strlen(log));
	bool is_found = fleet_log_complaint(path, since, any_line, text);
	assert_int_equal(is_found, expected != NULL);
	if (expected)
		assert_string_equal(text, expected);
	(void)close(fd);
	(void)unlink(path);
}

static void finds_the_complaint_in_a_log(void **state)
{
	(void)state;
	read_complaint("", 0, true, NULL);
	read_complaint("\n\n", 0, true, NULL);
	read_complaint("one\ntwo\n", 0, false, NULL);
	read_complaint("one\ntwo", 0, true, "two");
	read_complaint("t FATAL:  a\nt LOG: b\n", 0, true, "FATAL:  a");
	read_complaint("t FATAL:  a\nt PANIC:  b\nc\n", 0, false, "PANIC:  b");
	read_complaint("t FATAL:  a\nt FATAL:  the database system is starting up\n", 0, false, "FATAL:  a");
	read_complaint("FATAL: old\nLOG: new\n", 11, false, NULL); /* said before the start */
	read_complaint("FATAL: new\n", 1000, false, "FATAL: new"); /* the log was begun anew since */
	read_complaint("FATAL: \x1b[31mred\xff\n", 0, false, "FATAL: ?[31mred?");

	char *large = xcalloc(1, 100001);
	memset(large, 'x', 100000);
	memcpy(large, "FATAL: far away\n", 16);
	memcpy(large + 99900, "\nFATAL: near\n", 13);
	read_complaint(large, 0, false, "FATAL: near");
	free(large);

	char text[FLEET_REASON_MAX];
	assert_int_equal(fleet_log_size("/nowhere/at/all"), 0);
	assert_false(fleet_log_complaint("/nowhere/at/all", 0, true, text));
	assert_false(fleet_log_complaint("/tmp", 0, true, text));
}

static void reads_last_words(void **state)
{
	(void)state;
	struct fleet_report report;
	struct error err;
	char folder[] = "/tmp/tarn-unit-report-XXXXXX";
	assert_non_null(mkdtemp(folder));
	CLEANUP(free_text) char *path = xasprintf("%s/last_exit.json", folder);
	assert_int_equal(fleet_report_read(path, &report, &err), STATUS_NOT_FOUND);
	assert_int_equal(file_replace_durably(
	                         path, slice_from_text("{\"state\":\"stopped\",\"pid\":5}\n"), 0644, &err),
	        STATUS_OK);
	assert_int_equal(fleet_report_read(path, &report, &err), STATUS_OK);
	assert_int_equal(report.state, REPORT_STOPPED);
	assert_int_equal(file_replace_durably(path, slice_from_text("{\"sta"), 0644, &err), STATUS_OK);
	assert_int_equal(fleet_report_read(path, &report, &err), STATUS_INVALID);
	assert_non_null(strstr(err.message, path));
	assert_int_equal(tree_remove(folder, &err), STATUS_OK);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_a_whole_line),
		cmocka_unit_test(reads_what_is_least),
		cmocka_unit_test(reads_storage),
		cmocka_unit_test(reads_points),
		cmocka_unit_test(reads_poolers),
		cmocka_unit_test(reads_pools),
		cmocka_unit_test(refuses_what_is_odd),
		cmocka_unit_test(a_reason_cannot_forge_anything),
		cmocka_unit_test(finds_the_pid_of_a_lock),
		cmocka_unit_test(finds_the_complaint_in_a_log),
		cmocka_unit_test(reads_last_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
