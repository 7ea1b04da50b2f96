#include "page_store/control_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "page_store/crc32c.h"

#define CONTROL_FILE_NAME "global/pg_control"
#define READ_ATTEMPTS     20

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && _Alignof(uint64_t) == 8 && sizeof(void *) == 8,
        "the offsets of pg_control are those of 64-bit little-endian machines");

static const struct {
	uint32_t version;
	size_t crc_offset;
} formats[] = { { 1300, 288 }, { 1700, 288 }, { 1800, 292 } };

static uint32_t read_u32(const uint8_t *p)
{
	uint32_t value;
	memcpy(&value, p, sizeof value);
	return value;
}

static uint64_t read_u64(const uint8_t *p)
{
	uint64_t value;
	memcpy(&value, p, sizeof value);
	return value;
}

static status find_crc(struct slice bytes, size_t *ret_offset, struct error *err)
{
	if (bytes.len != CONTROL_FILE_BYTES)
		return error_set(err, STATUS_CORRUPT, 0, "pg_control has %zu bytes instead of %d", bytes.len,
		        CONTROL_FILE_BYTES);
	uint32_t version = read_u32(bytes.data + 8);
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		if (formats[i].version != version)
			continue;
		size_t offset = formats[i].crc_offset;
		if (crc32c(bytes.data, offset) != read_u32(bytes.data + offset))
			return error_set(err, STATUS_CORRUPT, 0, "the checksum of pg_control is wrong");
		*ret_offset = offset;
		return STATUS_OK;
	}
	return error_set(err, STATUS_UNSUPPORTED, 0,
	        "pg_control has format %u, which this Tarn does not know", version);
}

status control_file_parse(struct slice bytes, struct control_file *ret, struct error *err)
{
	size_t crc_offset;
	status st = find_crc(bytes, &crc_offset, err);
	if (st != STATUS_OK)
		return st;
	const uint8_t *p = bytes.data;
	uint32_t state = read_u32(p + 16), segment_size = read_u32(p + 228);
	if (state > CONTROL_IN_PRODUCTION)
		return error_set(err, STATUS_CORRUPT, 0, "pg_control has the unknown state %u", state);
	if (segment_size < (1u << 20) || segment_size > (1u << 30) || (segment_size & (segment_size - 1)))
		return error_set(err, STATUS_CORRUPT, 0, "pg_control has a WAL segment size of %u bytes",
		        segment_size);
	*ret = (struct control_file){
		.system_identifier = read_u64(p),
		.state = (enum control_state)state,
		.checkpoint_lsn = read_u64(p + 32),
		.redo_lsn = read_u64(p + 40),
		.checkpoint_timeline = read_u32(p + 48),
		.min_recovery_lsn = read_u64(p + 136),
		.min_recovery_timeline = read_u32(p + 144),
		.max_prepared_transactions = (int32_t)read_u32(p + 192),
		.wal_segment_size = segment_size,
		.checksum_version = read_u32(p + 252),
	};
	return STATUS_OK;
}

static status open_control(int folder_fd, int flags, int *ret_fd, struct error *err)
{
	*ret_fd = openat(folder_fd, CONTROL_FILE_NAME, flags | O_NOFOLLOW | O_CLOEXEC);
	if (*ret_fd < 0)
		return error_set(err, errno == ENOENT ? STATUS_CORRUPT : STATUS_IO, errno,
		        "could not open \"" CONTROL_FILE_NAME "\"");
	return STATUS_OK;
}

static status read_bytes(int fd, uint8_t bytes[CONTROL_FILE_BYTES], size_t *ret_len, struct error *err)
{
	ssize_t n = pread(fd, bytes, CONTROL_FILE_BYTES, 0);
	if (n < 0)
		return error_set(err, STATUS_IO, errno, "could not read \"" CONTROL_FILE_NAME "\"");
	*ret_len = (size_t)n;
	return STATUS_OK;
}

status control_file_read_bytes(int folder_fd, uint8_t ret[CONTROL_FILE_BYTES], struct error *err)
{
	CLEANUP(close_fd) int fd = -1;
	status st = open_control(folder_fd, O_RDONLY, &fd, err);
	if (st != STATUS_OK)
		return st;
	for (int attempt = 1;; attempt++) {
		uint8_t bytes[CONTROL_FILE_BYTES];
		size_t len = 0, crc_offset;
		st = read_bytes(fd, bytes, &len, err);
		if (st == STATUS_OK)
			st = find_crc((struct slice){ bytes, len }, &crc_offset, err);
		if (st == STATUS_OK)
			memcpy(ret, bytes, sizeof bytes);
		/* A torn version number looks like an unknown format. */
		bool may_be_torn = st == STATUS_CORRUPT || st == STATUS_UNSUPPORTED;
		if (!may_be_torn || attempt == READ_ATTEMPTS)
			return st;
		(void)sched_yield(); /* a write of 8 KiB is on its way: let it through */
	}
}

status control_file_read(int folder_fd, struct control_file *ret, struct error *err)
{
	uint8_t bytes[CONTROL_FILE_BYTES];
	status st = control_file_read_bytes(folder_fd, bytes, err);
	return st == STATUS_OK ? control_file_parse((struct slice){ bytes, sizeof bytes }, ret, err) : st;
}

static status begin_edit(
        const uint8_t bytes[CONTROL_FILE_BYTES], struct control_file *ret, size_t *ret_crc, struct error *err)
{
	status st = control_file_parse((struct slice){ bytes, CONTROL_FILE_BYTES }, ret, err);
	return st == STATUS_OK ? find_crc((struct slice){ bytes, CONTROL_FILE_BYTES }, ret_crc, err) : st;
}

static void end_edit(uint8_t bytes[CONTROL_FILE_BYTES], size_t crc_offset)
{
	uint32_t crc = crc32c(bytes, crc_offset);
	memcpy(bytes + crc_offset, &crc, sizeof crc);
}

status control_file_set_system_identifier(
        uint8_t bytes[CONTROL_FILE_BYTES], uint64_t identifier, struct error *err)
{
	struct control_file control;
	size_t crc_offset = 0;
	status st = begin_edit(bytes, &control, &crc_offset, err);
	if (st != STATUS_OK)
		return st;
	if (control.state != CONTROL_SHUT_DOWN)
		return error_set(err, STATUS_CONFLICT, 0, "the cluster was not shut down cleanly");
	memcpy(bytes, &identifier, sizeof identifier);
	end_edit(bytes, crc_offset);
	return STATUS_OK;
}

status control_file_set_wal_level_logical(uint8_t bytes[CONTROL_FILE_BYTES], struct error *err)
{
	struct control_file control;
	size_t crc_offset = 0;
	status st = begin_edit(bytes, &control, &crc_offset, err);
	if (st != STATUS_OK)
		return st;
	if (control.state != CONTROL_SHUT_DOWN)
		return error_set(err, STATUS_CONFLICT, 0, "the cluster was not shut down cleanly");
	int32_t logical = 2; /* WAL_LEVEL_LOGICAL */
	memcpy(bytes + 172, &logical, sizeof logical);
	end_edit(bytes, crc_offset);
	return STATUS_OK;
}

status control_file_set_archive_recovery(
        uint8_t bytes[CONTROL_FILE_BYTES], uint64_t lsn, uint32_t timeline, struct error *err)
{
	struct control_file control;
	size_t crc_offset = 0;
	status st = begin_edit(bytes, &control, &crc_offset, err);
	if (st != STATUS_OK)
		return st;
	if (control.state != CONTROL_IN_PRODUCTION && control.state != CONTROL_SHUT_DOWN)
		return error_set(err, STATUS_CONFLICT, 0,
		        "the cluster was neither running nor shut down cleanly when it was cut (state %d)",
		        (int)control.state);
	uint32_t state = CONTROL_IN_ARCHIVE_RECOVERY;
	memcpy(bytes + 16, &state, sizeof state);
	memcpy(bytes + 136, &lsn, sizeof lsn);
	memcpy(bytes + 144, &timeline, sizeof timeline);
	memset(bytes + 152, 0, 17); /* no backup */
	end_edit(bytes, crc_offset);
	return STATUS_OK;
}

uint64_t control_file_new_system_identifier(void)
{
	return (uint64_t)(clock_wall_usec() / USEC_PER_SEC) << 32 | (random_u64() & 0xffffffffu);
}
