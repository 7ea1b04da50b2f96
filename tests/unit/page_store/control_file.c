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

#include "../compute/fixture.h"
#include "base/file.h"
#include "base/program.h"
#include "page_store/control_file.h"
#include "page_store/crc32c.h"
#include "page_store/file_copy.h"

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
static char *controldata(const struct fixture *f, const char *data, const char *name)
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

static void number_is(const struct fixture *f, const char *data, const char *name, uint64_t value)
{
	CLEANUP(free_text) char *text = controldata(f, data, name);
	CLEANUP(free_text) char *expected = xasprintf("%" PRIu64, value);
	assert_string_equal(text, expected);
}

static void the_real_one_is_read_as_postgres_reads_it(void **state)
{
	struct fixture *f = fixture_of(state);
	CLEANUP(free_text) char *data = xasprintf("%s/data", f->template_path);
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
}

static void a_new_identity_is_accepted_by_postgres(void **state)
{
	struct fixture *f = fixture_of(state);
	fixture_make_volume(f, "br-control");
	CLEANUP(free_text) char *data = data_directory_path(f->dd, "volumes/br-control/data");
	CLEANUP(close_fd) int fd = -1;
	struct control_file before, after;
	struct error err;
	must(folder_open(data, &fd, &err), &err);
	must(control_file_read(fd, &before, &err), &err);
	uint64_t identifier = control_file_new_system_identifier();
	assert_true(identifier != before.system_identifier);
	must(control_file_set_system_identifier(fd, identifier, &err), &err);
	must(control_file_read(fd, &after, &err), &err);
	assert_true(after.system_identifier == identifier);
	assert_int_equal(after.redo_lsn, before.redo_lsn);
	number_is(f, data, "Database system identifier", identifier); /* it would warn about a wrong CRC */
	CLEANUP(free_text) char *shut_down = controldata(f, data, "Database cluster state");
	assert_string_equal(shut_down, "shut down");
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
	assert_int_equal(control_file_set_system_identifier(fd, 5, &err), STATUS_CORRUPT);
	bytes[100] ^= 1;
	uint32_t running = CONTROL_IN_PRODUCTION;
	memcpy(bytes + 16, &running, 4);
	uint32_t crc = crc32c(bytes, 288);
	memcpy(bytes + 288, &crc, 4);
	must(file_replace_durably(path, (struct slice){ bytes, sizeof bytes }, 0600, &err), &err);
	assert_int_equal(control_file_set_system_identifier(fd, 5, &err), STATUS_CONFLICT);
	must(control_file_read(fd, &control, &err), &err);
	assert_true(control.system_identifier == 0x1122334455667788);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/etc/hostname", path), 0);
	assert_int_not_equal(control_file_read(fd, &control, &err), STATUS_OK);
	must(tree_remove(folder, &err), &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_formats),
		cmocka_unit_test(other_formats_are_refused),
		cmocka_unit_test(the_real_one_is_read_as_postgres_reads_it),
		cmocka_unit_test(a_new_identity_is_accepted_by_postgres),
		cmocka_unit_test(a_damaged_one_is_left_alone),
	};
	return cmocka_run_group_tests(tests, fixture_set_up, fixture_tear_down);
}
