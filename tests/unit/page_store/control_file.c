/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/number.h"
#include "base/program.h"
#include "cluster.h"
#include "page_store/control_file.h"
#include "page_store/crc32c.h"
#include "page_store/file_copy.h"
#include "real_control_files.h"

#define must cluster_must

/* A pg_control made here, of any format: what the offsets of the header file say. */
static void fill(uint8_t bytes[CONTROL_FILE_BYTES], uint32_t version, size_t crc_offset)
{
	memset(bytes, 0, CONTROL_FILE_BYTES);
	uint64_t identifier = 0x1122334455667788, redo = 0x28, minimum = 0x99;
	uint32_t state = CONTROL_SHUT_DOWN, timeline = 7, prepared = 5, segment = 16u << 20, checksums = 1;
	memcpy(bytes, &identifier, 8);
	memcpy(bytes + 8, &version, 4);
	memcpy(bytes + 16, &state, 4);
	memcpy(bytes + 40, &redo, 8);
	memcpy(bytes + 48, &timeline, 4);
	memcpy(bytes + 136, &minimum, 8);
	memcpy(bytes + 192, &prepared, 4);
	memcpy(bytes + 228, &segment, 4);
	memcpy(bytes + 252, &checksums, 4);
	uint32_t crc = crc32c(bytes, crc_offset);
	memcpy(bytes + crc_offset, &crc, 4);
}

static status parse(const uint8_t bytes[CONTROL_FILE_BYTES], struct control_file *ret)
{
	struct error err;
	return control_file_parse((struct slice){ bytes, CONTROL_FILE_BYTES }, ret, &err);
}

static void known_formats(void **state)
{
	(void)state;
	static const struct {
		uint32_t version;
		size_t crc_offset;
	} formats[] = { { 1300, 288 }, { 1700, 288 }, { 1800, 292 } };
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		uint8_t bytes[CONTROL_FILE_BYTES];
		struct control_file control;
		fill(bytes, formats[i].version, formats[i].crc_offset);
		assert_int_equal(parse(bytes, &control), STATUS_OK);
		assert_true(control.system_identifier == 0x1122334455667788);
		assert_int_equal(control.checkpoint_timeline, 7);
		assert_int_equal(control.redo_lsn, 0x28);
		assert_int_equal(control.min_recovery_lsn, 0x99);
		assert_int_equal(control.max_prepared_transactions, 5);
		assert_int_equal(control.wal_segment_size, 16 << 20);
		assert_int_equal(control.checksum_version, 1);
		/* Every byte in front of the checksum counts, and the checksum itself. */
		for (size_t at = 0; at < formats[i].crc_offset + 4; at++) {
			bytes[at] ^= 0x40;
			assert_int_not_equal(parse(bytes, &control), STATUS_OK);
			bytes[at] ^= 0x40;
		}
	}
}

/* How many bytes. */
static size_t read_hex(const char *hex, uint8_t bytes[CONTROL_FILE_BYTES])
{
	size_t len = strlen(hex) / 2;
	for (size_t i = 0; i < len; i++) {
		unsigned byte = 0;
		assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
		bytes[i] = (uint8_t)byte;
	}
	return len;
}

static void every_version_writes_what_we_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(real_control_files); i++) {
		uint8_t bytes[CONTROL_FILE_BYTES] = { 0 }, before[CONTROL_FILE_BYTES];
		struct control_file control;
		struct error err;
		size_t crc_offset = read_hex(real_control_files[i].hex, bytes) - 4;
		memcpy(before, bytes, sizeof before);
		if (parse(bytes, &control) != STATUS_OK)
			fail_msg("that of %s is refused", real_control_files[i].made_by);
		assert_true(control.system_identifier == real_control_files[i].system_identifier);
		assert_int_equal(control.state, CONTROL_SHUT_DOWN);
		assert_int_equal(control.checkpoint_lsn, real_control_files[i].checkpoint_lsn);
		assert_int_equal(control.redo_lsn, real_control_files[i].checkpoint_lsn);
		assert_int_equal(control.checkpoint_timeline, 1);
		assert_int_equal(control.wal_segment_size, 64 << 20);
		assert_int_equal(control.checksum_version, 1);
		assert_int_equal(control.max_prepared_transactions, 7);
		/* What is changed stays readable, and the rest as it was: to the state, to the recovery point, from the settings to the checksum. */
		must(control_file_set_system_identifier(bytes, 42, &err), &err);
		must(control_file_set_archive_recovery(bytes, UINT64_C(0x16B374D848), 77, &err), &err);
		assert_int_equal(parse(bytes, &control), STATUS_OK);
		assert_int_equal(control.system_identifier, 42);
		assert_int_equal(control.state, CONTROL_IN_ARCHIVE_RECOVERY);
		assert_int_equal(control.min_recovery_lsn, 0x16B374D848);
		assert_int_equal(control.min_recovery_timeline, 77);
		assert_memory_equal(bytes + 20, before + 20, 136 - 20);
		assert_memory_equal(bytes + 172, before + 172, crc_offset - 172);
		assert_memory_equal(
		        bytes + crc_offset + 4, before + crc_offset + 4, sizeof bytes - crc_offset - 4);
	}
}

static void other_formats_are_refused(void **state)
{
	(void)state;
	uint8_t bytes[CONTROL_FILE_BYTES];
	struct control_file control;
	fill(bytes, 1900, 292);
	assert_int_equal(parse(bytes, &control), STATUS_UNSUPPORTED);
	fill(bytes, 1201, 288);
	assert_int_equal(parse(bytes, &control), STATUS_UNSUPPORTED);
	struct error err;
	assert_int_equal(control_file_parse((struct slice){ bytes, 512 }, &control, &err), STATUS_CORRUPT);
}

/* "Name:   value" of pg_controldata. */
static char *controldata(const struct cluster_fixture *f, const char *data, const char *name)
{
	struct error err;
	CLEANUP(free_text) char *path = xasprintf("%s/pg_controldata", f->installation.bin_dir);
	const char *const argv[] = { path, "-D", data, NULL };
	struct program program = { .argv = argv };
	CLEANUP(buffer_done) struct buffer output = { 0 };
	must(program_run(&program, &output, &err), &err);
	CLEANUP(free_text) char *label = xasprintf("%s:", name);
	const char *found = strstr(output.data, label);
	assert_non_null(found);
	found += strlen(label);
	found += strspn(found, " ");
	return xstrndup(found, strcspn(found, "\n"));
}

static void lsn_is(const struct cluster_fixture *f, const char *data, const char *name, uint64_t value)
{
	CLEANUP(free_text) char *text = controldata(f, data, name);
	char expected[LSN_TEXT_MAX];
	lsn_format(value, expected);
	assert_string_equal(text, expected);
}

static void number_is(const struct cluster_fixture *f, const char *data, const char *name, uint64_t value)
{
	CLEANUP(free_text) char *text = controldata(f, data, name);
	CLEANUP(free_text) char *expected = xasprintf("%" PRIu64, value);
	assert_string_equal(text, expected);
}

static void the_real_one_is_read_as_postgres_reads_it(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	cluster_make_volume(f, "br-control");
	cluster_export(f, "br-control");
	CLEANUP(free_text) char *data = data_directory_path(f->dd, "volumes/br-control/data");
	CLEANUP(close_fd) int fd = -1;
	struct control_file control;
	struct error err;
	must(folder_open(data, &fd, &err), &err);
	must(control_file_read(fd, &control, &err), &err);
	assert_int_equal(control.state, CONTROL_SHUT_DOWN);
	number_is(f, data, "Database system identifier", control.system_identifier);
	number_is(f, data, "Latest checkpoint's TimeLineID", control.checkpoint_timeline);
	number_is(f, data, "Bytes per WAL segment", control.wal_segment_size);
	number_is(f, data, "Data page checksum version", control.checksum_version);
	number_is(f, data, "max_prepared_xacts setting", (uint64_t)control.max_prepared_transactions);
	assert_int_equal(control.checksum_version, 1);
	lsn_is(f, data, "Latest checkpoint location", control.checkpoint_lsn);
	lsn_is(f, data, "Latest checkpoint's REDO location", control.redo_lsn);
	CLEANUP(free_text) char *level = controldata(f, data, "wal_level setting");
	assert_string_equal(level, "logical"); /* what pg_resetwal wrote is "minimal" */
}

static void write_control(const char *data, const uint8_t bytes[CONTROL_FILE_BYTES])
{
	CLEANUP(free_text) char *path = xasprintf("%s/global/pg_control", data);
	struct error err;
	must(file_replace_durably(path, (struct slice){ bytes, CONTROL_FILE_BYTES }, 0600, &err), &err);
}

/* pg_controldata would warn about a wrong CRC. */
static void what_is_changed_is_what_postgres_reads(void **state)
{
	struct cluster_fixture *f = cluster_of(state);
	CLEANUP(free_text) char *data = data_directory_path(f->dd, "volumes/br-control/data");
	CLEANUP(close_fd) int fd = -1;
	uint8_t bytes[CONTROL_FILE_BYTES];
	struct error err;
	must(folder_open(data, &fd, &err), &err);
	must(control_file_read_bytes(fd, bytes, &err), &err);
	uint64_t identifier = control_file_new_system_identifier();
	must(control_file_set_system_identifier(bytes, identifier, &err), &err);
	write_control(data, bytes);
	number_is(f, data, "Database system identifier", identifier);
	CLEANUP(free_text) char *shut_down = controldata(f, data, "Database cluster state");
	assert_string_equal(shut_down, "shut down");

	must(control_file_set_archive_recovery(bytes, UINT64_C(0x16B374D848), 77, &err), &err);
	write_control(data, bytes);
	CLEANUP(free_text) char *recovery = controldata(f, data, "Database cluster state");
	assert_string_equal(recovery, "in archive recovery");
	lsn_is(f, data, "Minimum recovery ending location", UINT64_C(0x16B374D848));
	number_is(f, data, "Min recovery ending loc's timeline", 77);
	lsn_is(f, data, "Backup start location", 0);
	lsn_is(f, data, "Backup end location", 0);
	CLEANUP(free_text) char *required = controldata(f, data, "End-of-backup record required");
	assert_string_equal(required, "no");
	number_is(f, data, "Database system identifier", identifier);
	/* Neither shut down nor running: nothing that a clone could be made of. */
	assert_int_equal(control_file_set_archive_recovery(bytes, 1, 1, &err), STATUS_CONFLICT);
	assert_int_equal(control_file_set_system_identifier(bytes, 5, &err), STATUS_CONFLICT);
	assert_int_equal(control_file_set_wal_level_logical(bytes, &err), STATUS_CONFLICT);
}

static void a_damaged_one_is_left_alone(void **state)
{
	(void)state;
	char folder[] = "/tmp/tarn-unit-XXXXXX";
	assert_non_null(mkdtemp(folder));
	CLEANUP(free_text) char *global = xasprintf("%s/global", folder);
	CLEANUP(free_text) char *path = xasprintf("%s/pg_control", global);
	CLEANUP(close_fd) int fd = -1;
	struct error err;
	struct control_file control;
	must(folder_make(global, 0700, &err), &err);
	must(folder_open(folder, &fd, &err), &err);
	assert_int_equal(control_file_read(fd, &control, &err), STATUS_CORRUPT); /* missing */

	uint8_t bytes[CONTROL_FILE_BYTES];
	fill(bytes, 1700, 288);
	bytes[100] ^= 1;
	must(file_replace_durably(path, (struct slice){ bytes, sizeof bytes }, 0600, &err), &err);
	uint8_t before[CONTROL_FILE_BYTES];
	memcpy(before, bytes, sizeof before);
	assert_int_equal(control_file_set_system_identifier(bytes, 5, &err), STATUS_CORRUPT);
	assert_int_equal(control_file_set_archive_recovery(bytes, 5, 1, &err), STATUS_CORRUPT);
	assert_memory_equal(bytes, before, sizeof before);
	assert_int_equal(control_file_read(fd, &control, &err), STATUS_CORRUPT);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/etc/hostname", path), 0);
	assert_int_not_equal(control_file_read(fd, &control, &err), STATUS_OK);
	must(tree_remove(folder, &err), &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_formats),
		cmocka_unit_test(every_version_writes_what_we_read),
		cmocka_unit_test(other_formats_are_refused),
		cmocka_unit_test(the_real_one_is_read_as_postgres_reads_it),
		cmocka_unit_test(what_is_changed_is_what_postgres_reads),
		cmocka_unit_test(a_damaged_one_is_left_alone),
	};
	return cmocka_run_group_tests(tests, cluster_set_up, cluster_tear_down);
}
