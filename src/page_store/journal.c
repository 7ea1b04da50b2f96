/*
 * The bytes are in docs/formats/layer.md.
 *
 * A record says how far the journal was durable when it was appended. Replay uses that to tell a torn tail, which was never acknowledged,
 * from damage to what was: if a later record knows that the bad place was durable, the journal is corrupt and nothing is cut away.
 *
 * Group commit: who calls journal_sync() while nobody is at the disk becomes the leader; it takes all that is pending, writes and syncs
 * it with the lock released, and wakes the others. Whoever came meanwhile waits, and the first of them leads next.
 */
#include "page_store/journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/random.h"
#include "page_store/crc32c.h"
#include "page_store/disk.h"
#include "page_store/layer.h"
#include "page_store/little_endian.h"

#define JOURNAL_NAME   "journal"
#define HEADER_BYTES   128u
#define RECORD_HEADER  32u
#define FORMAT_VERSION 1
/* More than this waiting for a sync is written at once, so that it does not stay in memory. */
#define PENDING_MAX  (4u << 20)
#define RESERVE_STEP (UINT64_C(256) << 10)
#define RESERVE_UNIT UINT64_C(4096) /* a block of the disk, mostly */

static const char magic[8] = "TARNJRNL";

struct journal {
	int fd;
	uint64_t tag;
	char *layer_id;

	pthread_mutex_t lock;
	pthread_cond_t is_free; /* nobody is at the disk any more */
	bool is_busy;           /* somebody is at the disk, with the lock released */
	int broken_errno;       /* J3; != 0: nothing is acknowledged any more */
	struct buffer pending;  /* appended, not yet written: [end - pending.len, end) */
	struct buffer writing;  /* the leader's: what it took from pending */
	uint64_t end, written, synced;
	uint64_t reserved; /* J4: up to here; UINT64_MAX: nothing can be reserved here */
	bool is_reserving; /* somebody is at it, with the lock released; is_free tells, too */
};

static void journal_check(const struct journal *journal)
{
	assert(journal->fd >= 0);
	assert(HEADER_BYTES <= journal->synced && journal->synced <= journal->written &&
	        journal->written <= journal->end);
	assert(journal->end % 8 == 0 || journal->broken_errno);
}

/* ---- bytes ---- */

static void header_encode(uint8_t out[HEADER_BYTES], const char *layer_id, uint64_t tag)
{
	memset(out, 0, HEADER_BYTES);
	memcpy(out, magic, sizeof magic);
	put_le32(out + 8, FORMAT_VERSION);
	put_le64(out + 16, tag);
	memcpy(out + 24, layer_id, strlen(layer_id)); /* LAYER_ID_MAX and a NUL fit */
	put_le32(out + HEADER_BYTES - 4, crc32c(out, HEADER_BYTES - 4));
}

struct record {
	uint32_t len;
	uint32_t crc;
	uint64_t position, durable;
};

static uint32_t record_header_checksum(const uint8_t *header, uint64_t tag)
{
	uint8_t bound[8];
	put_le64(bound, tag);
	return crc32c_more(crc32c(bound, sizeof bound), header, RECORD_HEADER - 4);
}

static void record_encode(uint8_t out[RECORD_HEADER], const struct record *record, uint64_t tag)
{
	put_le32(out, record->len);
	put_le32(out + 4, record->crc);
	put_le64(out + 8, record->position);
	put_le64(out + 16, record->durable);
	put_le32(out + 24, 0);
	put_le32(out + 28, record_header_checksum(out, tag));
}

/* False: there is no record of this journal at `position`. */
static bool record_decode(
        const uint8_t bytes[RECORD_HEADER], uint64_t position, uint64_t tag, struct record *ret)
{
	struct record record = { .len = read_le32(bytes),
		.crc = read_le32(bytes + 4),
		.position = read_le64(bytes + 8),
		.durable = read_le64(bytes + 16) };
	if (record.position != position || record.len == 0 || record.durable > position ||
	        read_le32(bytes + 24) != 0 || read_le32(bytes + 28) != record_header_checksum(bytes, tag))
		return false;
	*ret = record;
	return true;
}

static uint64_t padded(uint64_t len)
{
	return (len + 7) & ~UINT64_C(7);
}

/* ---- reading ---- */

/* A piece of the file in memory. */
struct window {
	int fd;
	uint64_t file_size;
	uint64_t at;
	struct buffer bytes;
};

#define WINDOW_BYTES (1u << 20)

static void window_done(struct window *window)
{
	buffer_done(&window->bytes);
}

/* Bytes [at, at + len) of the file, which must be there. */
static status window_look(
        struct window *window, uint64_t at, uint64_t len, const uint8_t **ret, struct error *err)
{
	if (at < window->at || at + len > window->at + window->bytes.len) {
		uint64_t want = len > WINDOW_BYTES ? len : WINDOW_BYTES;
		if (want > window->file_size - at)
			want = window->file_size - at;
		window->bytes.len = 0;
		window->at = at;
		buffer_reserve(&window->bytes, want);
		ssize_t n = disk_read(window->fd, window->bytes.data, want, at);
		if (n < 0)
			return error_set(err, STATUS_IO, errno, "could not read the journal");
		window->bytes.len = (size_t)n;
		if ((uint64_t)n < len)
			return error_set(err, STATUS_IO, 0, "could not read the journal: it became shorter");
	}
	*ret = (const uint8_t *)window->bytes.data + (at - window->at);
	return STATUS_OK;
}

/* Is there a record behind the bad place that knows the place to have been durable? */
static status check_tail(struct window *window, uint64_t bad, uint64_t tag, struct error *err)
{
	for (uint64_t at = bad + 8; at + RECORD_HEADER <= window->file_size; at += 8) {
		const uint8_t *bytes = NULL;
		status s = window_look(window, at, RECORD_HEADER, &bytes, err);
		if (s != STATUS_OK)
			return s;
		struct record record;
		if (record_decode(bytes, at, tag, &record) && record.durable > bad)
			return error_set(err, STATUS_CORRUPT, 0,
			        "the journal is damaged at %llu: what was there had been acknowledged",
			        (unsigned long long)bad);
	}
	return STATUS_OK;
}

/* *ret_durable: the last record knew that everything before was durable. */
static status replay(struct window *window, uint64_t tag, journal_record_fn on_record, void *owner,
        uint64_t *ret_end, uint64_t *ret_durable, struct error *err)
{
	uint64_t at = HEADER_BYTES, durable = HEADER_BYTES;
	for (;;) {
		const uint8_t *bytes = NULL;
		struct record record = { 0 };
		status s = STATUS_OK;
		if (at + RECORD_HEADER > window->file_size)
			break;
		if ((s = window_look(window, at, RECORD_HEADER, &bytes, err)) != STATUS_OK)
			return s;
		if (!record_decode(bytes, at, tag, &record) ||
		        padded(record.len) > window->file_size - at - RECORD_HEADER)
			break;
		if ((s = window_look(window, at, RECORD_HEADER + record.len, &bytes, err)) != STATUS_OK)
			return s;
		const uint8_t *payload = bytes + RECORD_HEADER;
		if (crc32c(payload, record.len) != record.crc)
			break;
		s = on_record(owner, (struct slice){ payload, record.len }, err);
		if (s != STATUS_OK)
			return s;
		at += RECORD_HEADER + padded(record.len);
		if (record.durable > durable)
			durable = record.durable;
	}
	status s = check_tail(window, at, tag, err);
	if (s != STATUS_OK)
		return s;
	*ret_end = at;
	*ret_durable = durable;
	return STATUS_OK;
}

/*
 * What is only in the page cache because an earlier sync of it failed counts as clean there: another sync would not write it (T11). So it is
 * written once more.
 */
static status write_again(struct window *window, uint64_t from, uint64_t end, struct error *err)
{
	while (from < end) {
		uint64_t len = end - from < WINDOW_BYTES ? end - from : WINDOW_BYTES;
		const uint8_t *bytes = NULL;
		status s = window_look(window, from, len, &bytes, err);
		if (s != STATUS_OK)
			return s;
		if (disk_write(window->fd, bytes, (size_t)len, from) < 0)
			return error_set(err, STATUS_IO, errno, "could not write the journal");
		from += len;
	}
	return STATUS_OK;
}

static status read_header(struct window *window, const char *layer_id, uint64_t *ret_tag, struct error *err)
{
	const uint8_t *bytes = NULL;
	if (window->file_size < HEADER_BYTES)
		return error_set(err, STATUS_CORRUPT, 0, "the journal is cut off");
	status s = window_look(window, 0, HEADER_BYTES, &bytes, err);
	if (s != STATUS_OK)
		return s;
	if (memcmp(bytes, magic, sizeof magic) != 0)
		return error_set(err, STATUS_CORRUPT, 0, "the journal is none");
	if (read_le32(bytes + 8) > FORMAT_VERSION) {
		s = error_set(err, STATUS_UNSUPPORTED, 0, "the journal has format %u, this Tarn knows %d",
		        read_le32(bytes + 8), FORMAT_VERSION);
		error_hint(err, "A newer Tarn made it: use that one.");
		return s;
	}
	uint64_t tag = read_le64(bytes + 16);
	uint8_t expected[HEADER_BYTES];
	header_encode(expected, layer_id, tag);
	if (memcmp(bytes, expected, HEADER_BYTES) != 0)
		return error_set(
		        err, STATUS_CORRUPT, 0, "the journal's header is damaged or another layer's");
	*ret_tag = tag;
	return STATUS_OK;
}

/* ---- life ---- */

static struct journal *journal_new(int fd, const char *layer_id, uint64_t tag, uint64_t end)
{
	struct journal *journal = xcalloc(1, sizeof *journal);
	*journal = (struct journal){
		.fd = fd,
		.tag = tag,
		.layer_id = xstrdup(layer_id),
		.end = end,
		.written = end,
		.synced = end,
		.reserved = end /* what a process before reserved costs nothing to reserve again */
	};
	(void)pthread_mutex_init(&journal->lock, NULL);
	(void)pthread_cond_init(&journal->is_free, NULL);
	journal_check(journal);
	return journal;
}

status journal_create(
        int folder_fd, const char *layer_id, uint64_t layer_tag, struct journal **ret, struct error *err)
{
	assert(strlen(layer_id) <= LAYER_ID_MAX);
	CLEANUP(disk_close_fd) int fd = disk_open(folder_fd, JOURNAL_NAME, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return error_set(
		        err, STATUS_IO, errno, "could not create the journal of layer \"%s\"", layer_id);
	uint8_t header[HEADER_BYTES];
	header_encode(header, layer_id, layer_tag);
	if (disk_write(fd, header, sizeof header, 0) < 0 || disk_sync(fd) < 0)
		return error_set(
		        err, STATUS_IO, errno, "could not write the journal of layer \"%s\"", layer_id);
	*ret = journal_new(TAKE_FD(fd), layer_id, layer_tag, HEADER_BYTES);
	return STATUS_OK;
}

status journal_open(int folder_fd, const char *layer_id, journal_record_fn on_record, void *owner,
        struct journal **ret, uint64_t *ret_layer_tag, struct error *err)
{
	assert(strlen(layer_id) <= LAYER_ID_MAX);
	CLEANUP(disk_close_fd) int fd = disk_open(folder_fd, JOURNAL_NAME, O_RDWR, 0);
	if (fd < 0)
		return error_set(err, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, errno,
		        "could not open the journal of layer \"%s\"", layer_id);
	struct stat st;
	if (disk_stat(fd, &st) < 0)
		return error_set(
		        err, STATUS_IO, errno, "could not open the journal of layer \"%s\"", layer_id);
	CLEANUP(window_done) struct window window = { .fd = fd, .file_size = (uint64_t)st.st_size };
	uint64_t tag = 0, end = 0, durable = 0;
	status s = read_header(&window, layer_id, &tag, err);
	if (s == STATUS_OK)
		s = replay(&window, tag, on_record, owner, &end, &durable, err);
	if (s == STATUS_OK)
		s = write_again(&window, durable, end, err);
	if (s != STATUS_OK) {
		(void)!error_prefix(err, "could not open layer \"%s\"", layer_id);
		return s;
	}
	/*
	 * What a process that was killed had written may not be on disk yet, and was shown to on_record: it is made durable before
	 * anything is built on it. The tail goes first, so that it cannot come back behind new records.
	 */
	if ((end < window.file_size && disk_truncate(fd, end) < 0) || disk_sync(fd) < 0)
		return error_set(
		        err, STATUS_IO, errno, "could not sync the journal of layer \"%s\"", layer_id);
	*ret = journal_new(TAKE_FD(fd), layer_id, tag, end);
	*ret_layer_tag = tag;
	return STATUS_OK;
}

struct journal *journal_close(struct journal *journal)
{
	if (!journal)
		return NULL;
	assert(!journal->is_busy);
	(void)disk_close(journal->fd);
	buffer_done(&journal->pending);
	buffer_done(&journal->writing);
	(void)pthread_mutex_destroy(&journal->lock);
	(void)pthread_cond_destroy(&journal->is_free);
	free(journal->layer_id);
	free(journal);
	return NULL;
}

/* ---- appending ---- */

/* With the lock, nobody being busy: writes what is pending, and syncs it if asked to, with the lock released meanwhile. */
static void go_to_disk(struct journal *journal, bool with_sync)
{
	assert(!journal->is_busy && journal->writing.len == 0);
	struct buffer empty = journal->writing;
	journal->writing = journal->pending;
	journal->pending = empty;
	uint64_t from = journal->written, to = journal->written + journal->writing.len;
	journal->is_busy = true;
	(void)pthread_mutex_unlock(&journal->lock);

	int failure = 0;
	if (journal->writing.len > 0 &&
	        disk_write(journal->fd, journal->writing.data, journal->writing.len, from) < 0)
		failure = errno ? errno : EIO;
	if (!failure && with_sync && disk_sync(journal->fd) < 0)
		failure = errno ? errno : EIO;

	(void)pthread_mutex_lock(&journal->lock);
	journal->is_busy = false;
	if (journal->writing.capacity > 2 * (size_t)PENDING_MAX)
		buffer_done(&journal->writing);
	journal->writing.len = 0;
	if (failure) {
		if (!journal->broken_errno)
			journal->broken_errno = failure;
	} else {
		journal->written = to;
		if (with_sync)
			journal->synced = to;
	}
	(void)pthread_cond_broadcast(&journal->is_free);
}

/* ---- room ---- */

static int allocate(const struct journal *journal, uint64_t from, uint64_t to)
{
	return disk_allocate(journal->fd, from, to - from) < 0 ? (errno ? errno : EIO) : 0;
}

/* With the lock, nobody else being at it: up to `needed` at least. 0 or an errno. */
static int reserve(struct journal *journal, uint64_t needed)
{
	uint64_t from = journal->reserved;
	uint64_t to = (needed + RESERVE_STEP - 1) / RESERVE_STEP * RESERVE_STEP;
	journal->is_reserving = true;
	(void)pthread_mutex_unlock(&journal->lock);
	int failure = allocate(journal, from, to);
	if (failure == ENOSPC) {
		to = (needed + RESERVE_UNIT - 1) / RESERVE_UNIT * RESERVE_UNIT;
		failure = allocate(journal, from, to);
	}
	if (failure == EOPNOTSUPP || failure == ENOSYS) {
		to = UINT64_MAX;
		failure = 0;
	}
	(void)pthread_mutex_lock(&journal->lock);
	journal->is_reserving = false;
	if (!failure)
		journal->reserved = to;
	(void)pthread_cond_broadcast(&journal->is_free);
	return failure;
}

int journal_reserve(struct journal *journal, uint64_t bytes)
{
	int failure = 0;
	(void)pthread_mutex_lock(&journal->lock);
	while (!failure && journal->end + bytes > journal->reserved) {
		if (journal->is_reserving)
			(void)pthread_cond_wait(&journal->is_free, &journal->lock);
		else
			failure = reserve(journal, journal->end + bytes);
	}
	(void)pthread_mutex_unlock(&journal->lock);
	return -failure;
}

bool journal_has_room(const struct journal *journal, uint64_t bytes)
{
	struct journal *mutable = (struct journal *)journal;
	(void)pthread_mutex_lock(&mutable->lock);
	bool has = journal->end + bytes <= journal->reserved;
	(void)pthread_mutex_unlock(&mutable->lock);
	return has;
}

void journal_give_back(struct journal *journal)
{
	(void)pthread_mutex_lock(&journal->lock);
	bool is_quiet = !journal->is_busy && !journal->is_reserving && !journal->broken_errno &&
	                journal->synced == journal->end;
	if (is_quiet && journal->reserved != UINT64_MAX) {
		/*
		 * To the length that it has, whoever reserved what is behind. Punching does nothing there on ext4. If it fails, the file keeps
		 * some blocks that nobody needs.
		 */
		(void)!disk_truncate(journal->fd, journal->end);
		journal->reserved = journal->end;
	}
	(void)pthread_mutex_unlock(&journal->lock);
}

uint64_t journal_append(struct journal *journal, struct slice changes)
{
	assert(changes.len > 0 && changes.len <= JOURNAL_RECORD_MAX);
	static const uint8_t zeros[8];
	uint64_t len = RECORD_HEADER + padded(changes.len);
	uint32_t crc = crc32c(changes.data, changes.len);

	(void)pthread_mutex_lock(&journal->lock);
	journal_check(journal);
	struct record record = {
		.len = (uint32_t)changes.len, .crc = crc, .position = journal->end, .durable = journal->synced
	};
	journal->end += len;
	uint64_t end = journal->end;
	if (!journal->broken_errno) { /* else nobody will ever write it */
		uint8_t header[RECORD_HEADER];
		record_encode(header, &record, journal->tag);
		buffer_append(&journal->pending, header, sizeof header);
		buffer_append(&journal->pending, changes.data, changes.len);
		buffer_append(&journal->pending, zeros, padded(changes.len) - changes.len);
		if (journal->pending.len > PENDING_MAX && !journal->is_busy)
			go_to_disk(journal, false);
	}
	(void)pthread_mutex_unlock(&journal->lock);
	return end;
}

status journal_sync(struct journal *journal, uint64_t position, struct error *err)
{
	(void)pthread_mutex_lock(&journal->lock);
	journal_check(journal);
	assert(position <= journal->end);
	while (journal->synced < position && !journal->broken_errno) {
		if (journal->is_busy)
			(void)pthread_cond_wait(&journal->is_free, &journal->lock);
		else
			go_to_disk(journal, true);
	}
	/* J3: what was durable before the failure stays so, but nothing is said about it any more either. */
	int failure = journal->broken_errno;
	(void)pthread_mutex_unlock(&journal->lock);
	if (failure)
		return error_set(err, STATUS_IO, failure, "could not write the journal of layer \"%s\"",
		        journal->layer_id);
	return STATUS_OK;
}

uint64_t journal_end(const struct journal *journal)
{
	struct journal *mutable = (struct journal *)journal;
	(void)pthread_mutex_lock(&mutable->lock);
	uint64_t end = journal->end;
	(void)pthread_mutex_unlock(&mutable->lock);
	return end;
}

uint64_t journal_synced(const struct journal *journal)
{
	struct journal *mutable = (struct journal *)journal;
	(void)pthread_mutex_lock(&mutable->lock);
	uint64_t synced = journal->synced;
	(void)pthread_mutex_unlock(&mutable->lock);
	return synced;
}
