#include "wal_store/wal_archive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "wal_store/wal_file.h"

#define ANY_SEGMENT_SIZE (1u << 20) /* the smallest: all names that any size has are names with it */
#define COPY_BYTES       (256u << 10)

static status open_folder(const char *path, int *ret_fd, struct error *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, errno,
		        "could not open folder \"%s\"", path);
	*ret_fd = fd;
	return STATUS_OK;
}

/* Calls on_file for every WAL file in a folder; the folder may change meanwhile. */
typedef status (*wal_file_fn)(void *owner, int folder_fd, const char *name, enum wal_file_kind kind,
        uint64_t segment, struct error *err);

static status each_file(
        int folder_fd, uint32_t segment_size, wal_file_fn on_file, void *owner, struct error *err)
{
	CLEANUP(close_fd) int listed_fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(close_listing) DIR *folder = listed_fd < 0 ? NULL : fdopendir(listed_fd);
	if (!folder)
		return error_set(err, STATUS_IO, errno, "could not list a folder of WAL files");
	(void)TAKE_FD(listed_fd); /* closedir() closes it */
	for (;;) {
		errno = 0;
		const struct dirent *item = readdir(folder);
		if (!item && errno != 0)
			return error_set(err, STATUS_IO, errno, "could not list a folder of WAL files");
		if (!item)
			return STATUS_OK;
		uint64_t segment = 0;
		enum wal_file_kind kind = wal_file_parse(item->d_name, segment_size, &segment);
		if (kind == WAL_FILE_FOREIGN)
			continue;
		status st = on_file(owner, folder_fd, item->d_name, kind, segment, err);
		if (st != STATUS_OK)
			return st;
	}
}

/* ---- taking in ---- */

struct update {
	int archive_fd;
	size_t linked;
};

static status take_in(void *owner, int wal_fd, const char *name, enum wal_file_kind kind, uint64_t segment,
        struct error *err)
{
	(void)kind, (void)segment;
	struct update *update = owner;
	struct stat from, to;
	if (fstatat(wal_fd, name, &from, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT
		               ? STATUS_OK /* removed meanwhile: then it was in the archive before */
		               : error_set(err, STATUS_IO, errno, "could not look at WAL file \"%s\"", name);
	if (!S_ISREG(from.st_mode)) /* Postgres' user can make anything in there */
		return error_set(err, STATUS_CORRUPT, 0, "WAL file \"%s\" is not a file", name);
	if (linkat(wal_fd, name, update->archive_fd, name, 0) == 0)
		update->linked++;
	else if (errno == ENOENT)
		return STATUS_OK;
	else if (errno != EEXIST)
		return error_set(err, STATUS_IO, errno, "could not archive WAL file \"%s\"", name);
	if (fstatat(update->archive_fd, name, &to, AT_SYMLINK_NOFOLLOW) < 0)
		return error_set(err, STATUS_IO, errno, "could not look at archived WAL file \"%s\"", name);
	if (from.st_ino == to.st_ino && from.st_dev == to.st_dev)
		return STATUS_OK;
	/* It may just have been removed and made again; then the next call sees it. Anything else is W1. */
	struct stat now;
	if (fstatat(wal_fd, name, &now, AT_SYMLINK_NOFOLLOW) < 0 || now.st_ino == to.st_ino)
		return STATUS_OK;
	return error_set(err, STATUS_CORRUPT, 0, "the archive has another WAL file \"%s\"", name);
}

status wal_archive_update(
        const char *wal_path, const char *archive_path, size_t *ret_linked, struct error *err)
{
	CLEANUP(close_fd) int wal_fd = -1;
	CLEANUP(close_fd) int archive_fd = -1;
	status st = open_folder(wal_path, &wal_fd, err);
	if (st == STATUS_OK)
		st = open_folder(archive_path, &archive_fd, err);
	if (st != STATUS_OK)
		return st;
	struct update update = { .archive_fd = archive_fd };
	st = each_file(wal_fd, ANY_SEGMENT_SIZE, take_in, &update, err);
	if (update.linked && fsync(archive_fd) < 0 && st == STATUS_OK)
		st = error_set(err, STATUS_IO, errno, "could not sync folder \"%s\"", archive_path);
	if (st == STATUS_OK)
		*ret_linked = update.linked;
	return st;
}

/* ---- giving out ---- */

static status check_range(const struct wal_range *range, struct error *err)
{
	uint32_t size = range->segment_size;
	if (size < (1u << 20) || size > (1u << 30) || (size & (size - 1)) || range->start_lsn == 0 ||
	        range->start_lsn >= range->end_lsn)
		return error_set(err, STATUS_INVALID, 0, "the range of WAL is not a valid one");
	return STATUS_OK;
}

/* Where the file of a segment is: on the timeline of the last byte that is wanted of it. */
static void name_of(const struct wal_range *range, uint64_t segment, char out[WAL_FILE_NAME_MAX])
{
	uint64_t end = (segment + 1) * range->segment_size;
	uint64_t last = (end < range->end_lsn ? end : range->end_lsn) - 1;
	wal_segment_name(wal_history_timeline_at(range->history, last), segment, range->segment_size, out);
}

static status open_segment(int archive_fd, const char *name, uint32_t segment_size, int *ret_fd,
        struct stat *ret, struct error *err)
{
	CLEANUP(close_fd)
	int fd = openat(archive_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, errno,
		        "could not open WAL segment \"%s\"", name);
	if (fstat(fd, ret) < 0)
		return error_set(err, STATUS_IO, errno, "could not look at WAL segment \"%s\"", name);
	if (!S_ISREG(ret->st_mode) || ret->st_size != segment_size)
		return error_set(err, STATUS_CORRUPT, 0, "WAL segment \"%s\" has %jd bytes instead of %u",
		        name, (intmax_t)ret->st_size, segment_size);
	*ret_fd = TAKE_FD(fd);
	return STATUS_OK;
}

static status copy_bytes(int from, int to, uint64_t len, const char *name, struct error *err)
{
	CLEANUP(free_text) char *chunk = xcalloc(1, COPY_BYTES);
	for (uint64_t done = 0; done < len;) {
		size_t want = len - done < COPY_BYTES ? (size_t)(len - done) : COPY_BYTES;
		ssize_t n = pread(from, chunk, want, (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set(err, STATUS_IO, n < 0 ? errno : EIO,
			        "could not read WAL segment \"%s\"", name);
		status st = file_write_all(to, chunk, (size_t)n, err);
		if (st != STATUS_OK)
			return error_prefix(err, "WAL segment \"%s\"", name);
		done += (uint64_t)n;
	}
	return STATUS_OK;
}

/* What the parent writes behind the end is not in it; a hole reads as zeros, the end of WAL. */
static status copy_tail(int from, const struct stat *from_stat, int wal_fd, const char *name, uint64_t keep,
        const struct system_user *user, struct error *err)
{
	CLEANUP(close_fd)
	int to = openat(wal_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0 ||
	        fchown(to, user ? user->uid : from_stat->st_uid, user ? user->gid : from_stat->st_gid) < 0)
		return error_set(err, STATUS_IO, errno, "could not create WAL segment \"%s\"", name);
	status st = copy_bytes(from, to, keep, name, err);
	if (st == STATUS_OK && ftruncate(to, from_stat->st_size) < 0)
		st = error_set(err, STATUS_IO, errno, "could not create WAL segment \"%s\"", name);
	return st;
}

static status provide_segment(int archive_fd, const struct wal_range *range, uint64_t segment, int wal_fd,
        const struct system_user *user, struct error *err)
{
	char name[WAL_FILE_NAME_MAX];
	name_of(range, segment, name);
	CLEANUP(close_fd) int from = -1;
	struct stat from_stat;
	status st = open_segment(archive_fd, name, range->segment_size, &from, &from_stat, err);
	if (st != STATUS_OK)
		return st;
	uint64_t keep = range->end_lsn - segment * range->segment_size;
	if (keep < range->segment_size)
		return copy_tail(from, &from_stat, wal_fd, name, keep, user, err);
	if (linkat(archive_fd, name, wal_fd, name, 0) < 0)
		return error_set(err, STATUS_IO, errno, "could not link WAL segment \"%s\"", name);
	return STATUS_OK;
}

status wal_archive_provide(const char *archive_path, const struct wal_range *range, const char *wal_path,
        const struct system_user *user, struct error *err)
{
	CLEANUP(close_fd) int archive_fd = -1;
	CLEANUP(close_fd) int wal_fd = -1;
	status st = check_range(range, err);
	if (st == STATUS_OK)
		st = open_folder(archive_path, &archive_fd, err);
	if (st == STATUS_OK)
		st = open_folder(wal_path, &wal_fd, err);
	if (st != STATUS_OK)
		return st;
	uint64_t last = (range->end_lsn - 1) / range->segment_size;
	for (uint64_t segment = range->start_lsn / range->segment_size; segment <= last; segment++) {
		st = provide_segment(archive_fd, range, segment, wal_fd, user, err);
		if (st != STATUS_OK)
			return error_prefix(err, "archive \"%s\"", archive_path);
	}
	return STATUS_OK;
}

status wal_archive_check(const char *archive_path, const struct wal_range *range, struct error *err)
{
	CLEANUP(close_fd) int archive_fd = -1;
	status st = check_range(range, err);
	if (st == STATUS_OK)
		st = open_folder(archive_path, &archive_fd, err);
	if (st != STATUS_OK)
		return st;
	uint64_t last = (range->end_lsn - 1) / range->segment_size;
	for (uint64_t segment = range->start_lsn / range->segment_size; segment <= last; segment++) {
		char name[WAL_FILE_NAME_MAX];
		name_of(range, segment, name);
		CLEANUP(close_fd) int fd = -1;
		struct stat ignored;
		st = open_segment(archive_fd, name, range->segment_size, &fd, &ignored, err);
		if (st != STATUS_OK)
			return error_prefix(err, "archive \"%s\"", archive_path);
	}
	return STATUS_OK;
}

static status sync_file(void *owner, int folder_fd, const char *name, enum wal_file_kind kind,
        uint64_t segment, struct error *err)
{
	(void)owner, (void)kind, (void)segment;
	CLEANUP(close_fd) int fd = openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return error_set(err, STATUS_IO, errno, "could not sync WAL file \"%s\"", name);
	return STATUS_OK;
}

status wal_folder_sync(const char *path, struct error *err)
{
	CLEANUP(close_fd) int fd = -1;
	status st = open_folder(path, &fd, err);
	if (st == STATUS_OK)
		st = each_file(fd, ANY_SEGMENT_SIZE, sync_file, NULL, err);
	if (st == STATUS_OK && fsync(fd) < 0)
		st = error_set(err, STATUS_IO, errno, "could not sync folder \"%s\"", path);
	return st;
}

/* ---- keeping and measuring ---- */

struct retention {
	uint32_t segment_size;
	uint64_t keep_lsn;
	const struct wal_span *spans;
	size_t span_count;
	size_t removed;
};

static status remove_old(void *owner, int archive_fd, const char *name, enum wal_file_kind kind,
        uint64_t segment, struct error *err)
{
	struct retention *retention = owner;
	uint64_t start = segment * retention->segment_size, end = start + retention->segment_size;
	if (kind == WAL_FILE_HISTORY || end > retention->keep_lsn)
		return STATUS_OK;
	for (size_t i = 0; i < retention->span_count; i++)
		if (start < retention->spans[i].to_lsn && end > retention->spans[i].from_lsn)
			return STATUS_OK;
	if (unlinkat(archive_fd, name, 0) < 0 && errno != ENOENT)
		return error_set(err, STATUS_IO, errno, "could not remove archived WAL file \"%s\"", name);
	retention->removed++;
	return STATUS_OK;
}

status wal_archive_retain(const char *archive_path, uint32_t segment_size, uint64_t keep_lsn,
        const struct wal_span *spans, size_t span_count, size_t *ret_removed, struct error *err)
{
	if (segment_size < (1u << 20) || segment_size > (1u << 30) || (segment_size & (segment_size - 1)))
		return error_set(err, STATUS_INVALID, 0, "%u is not a size of WAL segments", segment_size);
	CLEANUP(close_fd) int fd = -1;
	status st = open_folder(archive_path, &fd, err);
	struct retention retention = {
		.segment_size = segment_size, .keep_lsn = keep_lsn, .spans = spans, .span_count = span_count
	};
	if (st == STATUS_OK)
		st = each_file(fd, segment_size, remove_old, &retention, err);
	if (st == STATUS_OK)
		*ret_removed = retention.removed;
	return st;
}

struct measuring {
	int wal_fd, archive_fd; /* -1: none */
	struct wal_space space;
};

static bool is_same_file(int folder_fd, const char *name, const struct stat *file)
{
	struct stat other;
	return folder_fd >= 0 && fstatat(folder_fd, name, &other, AT_SYMLINK_NOFOLLOW) == 0 &&
	       other.st_ino == file->st_ino && other.st_dev == file->st_dev;
}

/* The last segment of a timeline that was left has two names in wal/ and the archive: NAME and NAME.partial. */
static nlink_t links_in(int folder_fd, const char *name, enum wal_file_kind kind, const struct stat *file)
{
	nlink_t links = is_same_file(folder_fd, name, file) ? 1 : 0;
	char other[WAL_FILE_NAME_MAX];
	if (kind == WAL_FILE_SEGMENT)
		(void)snprintf(other, sizeof other, "%.24s.partial", name);
	else if (kind == WAL_FILE_PARTIAL)
		(void)snprintf(other, sizeof other, "%.24s", name);
	else
		return links;
	return links + (is_same_file(folder_fd, other, file) ? 1 : 0);
}

static status measure(struct measuring *m, int folder_fd, const char *name, enum wal_file_kind kind,
        bool is_archive, struct error *err)
{
	struct stat file;
	if (fstatat(folder_fd, name, &file, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT
		               ? STATUS_OK
		               : error_set(err, STATUS_IO, errno, "could not look at WAL file \"%s\"", name);
	nlink_t live = links_in(m->wal_fd, name, kind, &file);
	nlink_t archived = links_in(m->archive_fd, name, kind, &file);
	/* Each file once: in wal/ when it is there, and by the shorter of its names. */
	if (is_archive && live > 0)
		return STATUS_OK;
	char shorter[WAL_FILE_NAME_MAX];
	(void)snprintf(shorter, sizeof shorter, "%.24s", name);
	if (kind == WAL_FILE_PARTIAL && is_same_file(folder_fd, shorter, &file))
		return STATUS_OK;
	int64_t bytes = (int64_t)file.st_blocks * 512;
	if (file.st_nlink > live + archived)
		m->space.shared += bytes;
	else if (is_archive)
		m->space.history += bytes;
	else
		m->space.live += bytes;
	return STATUS_OK;
}

static status measure_live(void *owner, int folder_fd, const char *name, enum wal_file_kind kind,
        uint64_t segment, struct error *err)
{
	(void)segment;
	return measure(owner, folder_fd, name, kind, false, err);
}

static status measure_archived(void *owner, int folder_fd, const char *name, enum wal_file_kind kind,
        uint64_t segment, struct error *err)
{
	(void)segment;
	return measure(owner, folder_fd, name, kind, true, err);
}

status wal_archive_space(
        const char *wal_path, const char *archive_path, struct wal_space *ret, struct error *err)
{
	CLEANUP(close_fd) int wal_fd = -1;
	CLEANUP(close_fd) int archive_fd = -1;
	status st = wal_path ? open_folder(wal_path, &wal_fd, err) : STATUS_OK;
	if (st == STATUS_OK)
		st = open_folder(archive_path, &archive_fd, err);
	struct measuring measuring = { .wal_fd = wal_fd, .archive_fd = archive_fd };
	if (st == STATUS_OK && wal_path)
		st = each_file(wal_fd, ANY_SEGMENT_SIZE, measure_live, &measuring, err);
	if (st == STATUS_OK)
		st = each_file(archive_fd, ANY_SEGMENT_SIZE, measure_archived, &measuring, err);
	if (st == STATUS_OK)
		*ret = measuring.space;
	return st;
}
