/*
 * A clone of a running parent (volume.h). What is left out is what pg_basebackup leaves out: things that Postgres makes
 * anew at every start, or that belong to the parent alone (its slots, its pid file).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/number.h"
#include "page_store/control_file.h"
#include "page_store/file_copy.h"
#include "page_store/volume.h"
#include "page_store/volume_folder.h"
#include "wal_store/wal_file.h"

#define HISTORY_MAX_BYTES (1u << 20)

static bool is_one_of(const char *name, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(name, list[i]) == 0)
			return true;
	return false;
}

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static size_t count_digits(const char *text)
{
	return strspn(text, "0123456789");
}

/* "t3_16384", "t3_16384_fsm.1": files of temporary tables. */
static bool is_temporary_relation(const char *name)
{
	size_t backend = name[0] == 't' ? count_digits(name + 1) : 0;
	return backend > 0 && name[1 + backend] == '_' && count_digits(name + 2 + backend) > 0;
}

/*
 * Any fork but "init" of a relation that has one: the table is unlogged. Recovery would throw the content away and put the
 * init fork in its place.
 */
static bool is_unlogged_content(const struct copy_entry *entry)
{
	size_t digits = count_digits(entry->name);
	if (entry->is_folder || digits == 0 || digits > 10 || starts_with(entry->name + digits, "_init") ||
	        !starts_with(entry->path, "base/"))
		return false;
	char init_name[32];
	(void)snprintf(init_name, sizeof init_name, "%.*s_init", (int)digits, entry->name);
	struct stat st;
	return fstatat(entry->folder_fd, init_name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static status choose_from_parent(
        void *owner, const struct copy_entry *entry, enum copy_choice *ret, struct error *err)
{
	static const char *const emptied[] = { "pg_stat_tmp", "pg_replslot", "pg_dynshmem", "pg_notify",
		"pg_serial", "pg_snapshots", "pg_subtrans" };
	static const char *const left_out_everywhere[] = { "postmaster.pid", "postmaster.opts",
		"backup_label", "backup_label.old", "tablespace_map", "tablespace_map.old", "backup_manifest",
		"postgresql.auto.conf.tmp", "current_logfiles.tmp" };
	static const char *const left_out_at_top[] = { "pg_wal", "recovery.signal", "standby.signal" };
	(void)owner;

	if (starts_with(entry->path, "pg_tblspc/")) {
		status st = error_set(err, STATUS_UNSUPPORTED, 0,
		        "the parent has a tablespace, which a branch would share with it");
		error_hint(err, "Move its tables to the default tablespace and drop it.");
		return st;
	}
	bool is_left_out =
	        is_one_of(entry->name, left_out_everywhere, ARRAY_LEN(left_out_everywhere)) ||
	        is_one_of(entry->path, left_out_at_top, ARRAY_LEN(left_out_at_top)) ||
	        strcmp(entry->path, "global/pg_control") == 0 || /* copied last, whole: see below */
	        starts_with(entry->name, "pgsql_tmp") || starts_with(entry->name, "pg_internal.init") ||
	        is_temporary_relation(entry->name) || is_unlogged_content(entry);
	bool is_emptied = is_one_of(entry->path, emptied, ARRAY_LEN(emptied));
	*ret = is_left_out ? COPY_NOTHING : is_emptied ? COPY_EMPTY : COPY_WHOLE;
	return STATUS_OK;
}

static status copy_control_file(const struct volume_folder *folder, int parent_fd, struct error *err)
{
	uint8_t bytes[CONTROL_FILE_BYTES];
	status st = control_file_read_bytes(parent_fd, bytes, err);
	if (st != STATUS_OK)
		return st;
	return volume_folder_add_file(
	        folder, folder->data_fd, "global/pg_control", (struct slice){ bytes, sizeof bytes }, err);
}

static status begin(const struct data_directory *dd, const char *parent_id, const char *id, struct error *err)
{
	CLEANUP(volume_folder_done) struct volume_folder folder = { .data_fd = -1, .wal_fd = -1 };
	CLEANUP(free_text) char *parent = data_directory_path(dd, "volumes/%s/data", parent_id);
	CLEANUP(close_fd) int parent_fd = -1;
	status st = volume_id_check(parent_id, err);
	if (st == STATUS_OK)
		st = volume_folder_create(dd, id, &folder, err);
	if (st == STATUS_OK)
		st = folder_open(parent, &parent_fd, err);
	struct tree_copy copy = {
		.choose = choose_from_parent, .uid = folder.user.uid, .gid = folder.user.gid
	};
	if (st == STATUS_OK)
		st = tree_copy(&copy, parent_fd, folder.data_fd, err);
	if (st == STATUS_OK)
		st = copy_control_file(&folder, parent_fd, err);
	return st == STATUS_OK ? volume_folder_link_wal(&folder, err) : st;
}

status volume_clone_begin(
        const struct data_directory *dd, const char *parent_id, const char *id, struct error *err)
{
	status st = begin(dd, parent_id, id, err);
	if (st == STATUS_OK || st == STATUS_EXISTS)
		return st;
	volume_folder_discard(dd, id);
	return error_prefix(err, "could not copy volume \"%s\"", parent_id);
}

/* One segment of the parent; `keep` bytes of it, zeros behind. */
static status copy_segment(const struct volume_folder *folder, int parent_wal_fd, const char *name,
        uint32_t segment_size, uint64_t keep, struct error *err)
{
	CLEANUP(close_fd)
	int from = openat(parent_wal_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	if (from < 0 || fstat(from, &st) < 0)
		return error_set(err, STATUS_IO, errno, "could not open WAL segment \"%s\"", name);
	if (st.st_size != segment_size)
		return error_set(err, STATUS_CORRUPT, 0, "WAL segment \"%s\" has %jd bytes instead of %u",
		        name, (intmax_t)st.st_size, segment_size);
	CLEANUP(close_fd)
	int to = openat(folder->wal_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0 || fchown(to, folder->user.uid, folder->user.gid) < 0)
		return error_set(err, STATUS_IO, errno, "could not create WAL segment \"%s\"", name);
	status copied = file_copy(from, to, name, err);
	if (copied != STATUS_OK)
		return copied;
	/* Cut off and grown again: what the parent wrote behind is gone, and reads as zeros, the end of WAL. */
	if (keep < segment_size && (ftruncate(to, (off_t)keep) < 0 || ftruncate(to, segment_size) < 0))
		return error_set(err, STATUS_IO, errno, "could not trim WAL segment \"%s\"", name);
	return STATUS_OK;
}

static status copy_wal(const struct volume_folder *folder, int parent_wal_fd,
        const struct restore_point *point, struct error *err)
{
	uint64_t size = point->wal_segment_size;
	uint64_t last = (point->end_lsn - 1) / size;
	for (uint64_t segment = point->redo_lsn / size; segment <= last; segment++) {
		char name[WAL_FILE_NAME_MAX];
		wal_segment_name(point->parent_timeline, segment, point->wal_segment_size, name);
		uint64_t keep = segment < last ? size : point->end_lsn - last * size;
		status st = copy_segment(folder, parent_wal_fd, name, point->wal_segment_size, keep, err);
		if (st != STATUS_OK)
			return st;
	}
	return STATUS_OK;
}

static status read_parent_history(
        int parent_wal_fd, const struct restore_point *point, struct buffer *history, struct error *err)
{
	if (point->parent_timeline == 1) /* the first timeline has none */
		return STATUS_OK;
	char name[WAL_FILE_NAME_MAX];
	wal_history_name(point->parent_timeline, name);
	return file_read_at(parent_wal_fd, name, HISTORY_MAX_BYTES, history, err);
}

/* The history of the reserved timeline: the parent's, and a line that says where we leave it. */
static status add_history(const struct volume_folder *folder, int parent_wal_fd,
        const struct restore_point *point, struct error *err)
{
	CLEANUP(buffer_done) struct buffer history = { 0 };
	status st = read_parent_history(parent_wal_fd, point, &history, err);
	if (st != STATUS_OK)
		return st;
	char lsn[LSN_TEXT_MAX], name[WAL_FILE_NAME_MAX];
	lsn_format(point->end_lsn, lsn);
	buffer_printf(&history, "%s%" PRIu32 "\t%s\tbranch of %s\n", history.len ? "\n" : "",
	        point->parent_timeline, lsn, point->parent_id);
	wal_history_name(point->timeline, name);
	return volume_folder_add_file(folder, folder->wal_fd, name, buffer_slice(&history), err);
}

static status check_point(
        const struct volume_folder *folder, const struct restore_point *point, struct error *err)
{
	uint32_t size = point->wal_segment_size;
	if (size < (1u << 20) || (size & (size - 1)) || point->redo_lsn == 0 ||
	        point->end_lsn <= point->redo_lsn || point->parent_timeline == 0 ||
	        point->timeline % 2 != 0 || !point->backup_label || !volume_id_is_valid(point->parent_id))
		return error_set(err, STATUS_INVALID, 0, "the restore point is not a valid one");
	/* Promotion would else pick a number below its own history, or one that another branch has. */
	if (point->timeline <= point->parent_timeline)
		return error_set(err, STATUS_INVALID, 0, "timeline %u is not newer than the parent's, %u",
		        point->timeline, point->parent_timeline);
	struct control_file control;
	status st = control_file_read(folder->data_fd, &control, err);
	if (st != STATUS_OK)
		return st;
	if (control.wal_segment_size != size)
		return error_set(err, STATUS_CORRUPT, 0, "the parent's WAL segments have %u bytes, not %u",
		        control.wal_segment_size, size);
	return STATUS_OK;
}

static status finish(const struct volume_folder *folder, const struct data_directory *dd, const char *id,
        const struct restore_point *point, struct error *err)
{
	CLEANUP(free_text) char *parent_wal = data_directory_path(dd, "volumes/%s/wal", point->parent_id);
	CLEANUP(close_fd) int parent_wal_fd = -1;
	status st = check_point(folder, point, err);
	if (st == STATUS_OK)
		st = folder_open(parent_wal, &parent_wal_fd, err);
	if (st == STATUS_OK)
		st = copy_wal(folder, parent_wal_fd, point, err);
	if (st == STATUS_OK)
		st = add_history(folder, parent_wal_fd, point, err);
	if (st == STATUS_OK)
		st = volume_folder_add_file(
		        folder, folder->data_fd, "backup_label", slice_from_text(point->backup_label), err);
	if (st == STATUS_OK)
		st = volume_folder_add_file(
		        folder, folder->data_fd, "recovery.signal", (struct slice){ 0 }, err);
	if (st != STATUS_OK)
		return st;
	struct volume_record record = {
		.postgres_major = point->postgres_major,
		.recovery_timeline = point->timeline,
		.needs_hygiene = point->needs_hygiene,
		.created_usec = clock_wall_usec(),
	};
	(void)snprintf(record.id, sizeof record.id, "%s", id);
	(void)snprintf(record.parent_id, sizeof record.parent_id, "%s", point->parent_id);
	return volume_folder_publish(folder, &record, err);
}

status volume_clone_finish(
        const struct data_directory *dd, const char *id, const struct restore_point *point, struct error *err)
{
	CLEANUP(volume_folder_done) struct volume_folder folder = { .data_fd = -1, .wal_fd = -1 };
	status st = volume_folder_open(dd, id, &folder, err);
	if (st == STATUS_OK)
		st = finish(&folder, dd, id, point, err);
	if (st == STATUS_OK || st == STATUS_EXISTS)
		return st;
	volume_folder_discard(dd, id);
	return error_prefix(err, "could not complete volume \"%s\"", id);
}

void volume_clone_abort(const struct data_directory *dd, const char *id)
{
	volume_folder_discard(dd, id);
}
