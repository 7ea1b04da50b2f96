#include "page_store/volume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/number.h"
#include "base/role_lock.h"
#include "page_store/control_file.h"
#include "page_store/file_copy.h"
#include "page_store/store.h"
#include "page_store/volume_folder.h"
#include "wal_store/wal_file.h"
#include "wal_store/wal_history.h"

#define RECOVERY_PREPARED_MIN                                                                                \
	256 /* prepared transactions, of a clone's first start: some MB of shared memory */

struct volume {
	char *path;                                /* volumes/<id> */
	char *data_path, *wal_path, *archive_path; /* inside */
	struct volume_record record;
	struct role_lock *lease; /* V2 */
	struct system_user user; /* Postgres' */
};

static status take_lease(const char *path, const char *id, struct role_lock **ret, struct error *err)
{
	char text[64];
	(void)snprintf(text, sizeof text, "{\"pid\":%d}", (int)getpid());
	CLEANUP(free_text) char *lease_path = xasprintf("%s/lease", path);
	status st = role_lock_take(lease_path, text, ret, err);
	if (st == STATUS_CONFLICT)
		return error_set(err, STATUS_CONFLICT, 0, "volume \"%s\" is in use by another process", id);
	return st;
}

static status open_checked(struct volume *volume, const char *id, struct error *err)
{
	if (!file_exists(volume->path))
		return error_set(err, STATUS_NOT_FOUND, 0, "volume \"%s\" does not exist", id);
	status st = take_lease(volume->path, id, &volume->lease, err);
	if (st == STATUS_OK)
		st = volume_record_read(volume->path, &volume->record, err);
	if (st == STATUS_OK && strcmp(volume->record.id, id) != 0)
		st = error_set(
		        err, STATUS_CORRUPT, 0, "volume \"%s\" says it is \"%s\"", id, volume->record.id);
	return st;
}

status volume_open(const struct data_directory *dd, const char *id, struct volume **ret, struct error *err)
{
	status st = volume_id_check(id, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(volume_closep) struct volume *volume = xcalloc(1, sizeof *volume);
	volume->path = data_directory_path(dd, "volumes/%s", id);
	volume->data_path = data_directory_path(dd, "volumes/%s/data", id);
	volume->wal_path = data_directory_path(dd, "volumes/%s/wal", id);
	volume->archive_path = data_directory_path(dd, "volumes/%s/archive", id);
	st = system_user_find(dd->settings.postgres_user, &volume->user, err);
	if (st == STATUS_OK)
		st = open_checked(volume, id, err);
	if (st != STATUS_OK)
		return st;
	*ret = TAKE_PTR(volume);
	return STATUS_OK;
}

status volume_find_store(
        const struct data_directory *dd, const char *id, char ret_store[STORE_ID_MAX + 1], struct error *err)
{
	status st = volume_id_check(id, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *path = data_directory_path(dd, "volumes/%s", id);
	if (!file_exists(path))
		return error_set(err, STATUS_NOT_FOUND, 0, "volume \"%s\" does not exist", id);
	struct volume_record record;
	st = volume_record_read(path, &record, err);
	if (st == STATUS_OK)
		memcpy(ret_store, record.store, sizeof record.store);
	return st;
}

struct volume *volume_close(struct volume *volume)
{
	if (!volume)
		return NULL;
	role_lock_free(volume->lease);
	free(volume->path);
	free(volume->data_path);
	free(volume->wal_path);
	free(volume->archive_path);
	free(volume);
	return NULL;
}

const char *volume_store(const struct volume *volume)
{
	return volume->record.store;
}

const char *volume_data_path(const struct volume *volume)
{
	return volume->data_path;
}

const char *volume_wal_path(const struct volume *volume)
{
	return volume->wal_path;
}

const char *volume_archive_path(const struct volume *volume)
{
	return volume->archive_path;
}

int volume_postgres_major(const struct volume *volume)
{
	return volume->record.postgres_major;
}

uint32_t volume_recovery_timeline(const struct volume *volume)
{
	return volume->record.recovery_timeline;
}

int64_t volume_applied_revision(const struct volume *volume)
{
	return volume->record.applied_revision;
}

/* The one place that changes the record: memory follows the disk, never the other way. */
static status replace_record(struct volume *volume, const struct volume_record *record, struct error *err)
{
	status st = volume_record_write(volume->path, record, err);
	if (st == STATUS_OK)
		volume->record = *record;
	return st;
}

status volume_set_applied_revision(struct volume *volume, int64_t revision, struct error *err)
{
	struct volume_record record = volume->record;
	record.applied_revision = revision;
	return replace_record(volume, &record, err);
}

status volume_set_hygiene_done(struct volume *volume, struct error *err)
{
	struct volume_record record = volume->record;
	record.needs_hygiene = false;
	return replace_record(volume, &record, err);
}

/* What an interrupted promotion wrote of its new timeline; the next one shall find the number free again. */
static status remove_timeline(const char *path, uint32_t timeline, struct error *err)
{
	CLEANUP(close_fd) int fd = -1;
	status st = folder_open(path, &fd, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(close_fd) int listed_fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(close_listing) DIR *folder = listed_fd < 0 ? NULL : fdopendir(listed_fd);
	if (!folder)
		return error_set(err, STATUS_IO, errno, "could not list folder \"%s\"", path);
	(void)TAKE_FD(listed_fd); /* closedir() closes it */
	bool has_removed = false;
	for (struct dirent *item; (item = readdir(folder));) {
		if (!wal_file_is_of_timeline(item->d_name, timeline))
			continue;
		if (unlinkat(fd, item->d_name, 0) < 0 && errno != ENOENT)
			return error_set(err, STATUS_IO, errno, "could not remove file \"%s\"", item->d_name);
		has_removed = true;
	}
	if (has_removed && fsync(fd) < 0)
		return error_set(err, STATUS_IO, errno, "could not sync folder \"%s\"", path);
	return STATUS_OK;
}

/*
 * Postgres removes standby.signal before the promotion is complete in pg_control. A crash between the two would make the
 * next start a crash recovery that goes on in the parent's timeline, which rule 3 forbids (T4). What the archive took of the timeline that
 * did not come to be would get in the way of the one that will (W1).
 */
static status arm_recovery(const struct volume *volume, int data_fd, bool has_signal, struct error *err)
{
	uint32_t timeline = volume->record.recovery_timeline + 1;
	status st = remove_timeline(volume->wal_path, timeline, err);
	if (st == STATUS_OK)
		st = remove_timeline(volume->archive_path, timeline, err);
	/* A clone of an older Tarn has that one; the other one wins, and this would stay for ever. */
	if (st == STATUS_OK && unlinkat(data_fd, "recovery.signal", 0) < 0 && errno != ENOENT)
		st = error_set(err, STATUS_IO, errno, "could not remove file \"recovery.signal\"");
	if (st != STATUS_OK || has_signal)
		return st;
	CLEANUP(close_fd)
	int fd =
	        openat(data_fd, "standby.signal", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fchown(fd, volume->user.uid, volume->user.gid) < 0 || fsync(fd) < 0 ||
	        fsync(data_fd) < 0)
		return error_set(err, STATUS_IO, errno, "could not create file \"standby.signal\"");
	return STATUS_OK;
}

/*
 * CreateEndOfRecoveryRecord() in Postgres' xlog.c makes the new timeline that of the minimum recovery point, durably, before anybody can write; the
 * first checkpoint on it comes later and takes that away. From then on a crash is followed by crash recovery, on the timeline that is ours.
 */
static bool is_promoted(const struct control_file *control, uint32_t recovery_timeline)
{
	return control->checkpoint_timeline > recovery_timeline ||
	       control->min_recovery_timeline > recovery_timeline;
}

/* Where the timeline in front of this one was left, as its history in wal/ says. */
static status read_fork(const struct volume *volume, uint32_t timeline, uint64_t *ret_lsn, struct error *err)
{
	CLEANUP(wal_history_done) struct wal_history history = { 0 };
	status st = wal_history_read(volume->wal_path, timeline, &history, err);
	if (st == STATUS_NOT_FOUND || (st == STATUS_OK && history.count == 0))
		return error_set(err, STATUS_CORRUPT, 0,
		        "volume \"%s\" has no history of timeline %u in its WAL, so nobody can tell where "
		        "its "
		        "recovery ended",
		        volume->record.id, timeline);
	if (st == STATUS_OK)
		*ret_lsn = history.lines[history.count - 1].end_lsn;
	return st;
}

/*
 * The one history is ours: it says where the reserved timeline begins. The other one Postgres wrote when it left that for its own, at the end of the
 * last record that it had replayed (FinishWalRecovery() in xlogrecovery.c). Both are ends of records, and the same one when all is well.
 */
status volume_check_recovery(const struct volume *volume, struct error *err)
{
	uint32_t timeline = volume->record.recovery_timeline;
	uint64_t wanted = 0, reached = 0;
	status st = read_fork(volume, timeline, &wanted, err);
	if (st == STATUS_OK)
		st = read_fork(volume, timeline + 1, &reached, err);
	if (st != STATUS_OK || reached == wanted)
		return st;
	char wanted_text[LSN_TEXT_MAX], reached_text[LSN_TEXT_MAX];
	lsn_format(wanted, wanted_text);
	lsn_format(reached, reached_text);
	if (reached > wanted) {
		st = error_set(err, STATUS_CORRUPT, 0,
		        "the recovery of branch volume \"%s\" went on to LSN %s, behind LSN %s, for which it "
		        "was "
		        "made",
		        volume->record.id, reached_text, wanted_text);
		error_hint(err, "Create the branch anew.");
		return st;
	}
	st = error_set(err, STATUS_CORRUPT, 0,
	        "the recovery of branch volume \"%s\" ended at LSN %s and not at LSN %s: the WAL in between "
	        "is "
	        "damaged or missing",
	        volume->record.id, reached_text, wanted_text);
	error_hint(err,
	        "Branch from a moment up to LSN %s, or again when the source's archived WAL is repaired.",
	        reached_text);
	return st;
}

bool volume_may_have_prepared(int data_fd)
{
	CLEANUP(close_fd)
	int fd = openat(data_fd, "pg_twophase", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	CLEANUP(close_listing) DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	if (!folder)
		return true;
	(void)TAKE_FD(fd); /* closedir() closes it */
	bool is_empty = true;
	for (struct dirent *item; (item = readdir(folder));)
		is_empty = is_empty && item->d_name[0] == '.';
	return !is_empty;
}

status volume_plan_start(struct volume *volume, struct volume_start *ret, struct error *err)
{
	const struct volume_record *record = &volume->record;
	if (record->recovery_timeline == 0) {
		*ret = (struct volume_start){ .is_quiet = record->needs_hygiene,
			.has_no_replication_workers = record->needs_hygiene };
		return STATUS_OK;
	}
	CLEANUP(close_fd) int data_fd = -1;
	struct control_file control;
	status st = folder_open(volume->data_path, &data_fd, err);
	if (st == STATUS_OK)
		st = control_file_read(data_fd, &control, err);
	if (st != STATUS_OK)
		return error_prefix(err, "volume \"%s\"", record->id);
	struct stat signal_st;
	bool has_signal = fstatat(data_fd, "standby.signal", &signal_st, AT_SYMLINK_NOFOLLOW) == 0;
	bool has_promoted = is_promoted(&control, record->recovery_timeline);
	if (!has_promoted)
		st = arm_recovery(volume, data_fd, has_signal, err);
	if (st != STATUS_OK)
		return error_prefix(err, "volume \"%s\"", record->id);
	/* Nothing was ever applied: whoever saw the promotion may have died before it compared. Everybody else has been let in. */
	if (has_promoted && record->applied_revision == 0)
		st = volume_check_recovery(volume, err);
	if (st != STATUS_OK)
		return st;
	*ret = (struct volume_start){ .recovery_timeline = has_promoted ? 0 : record->recovery_timeline,
		.is_quiet = record->needs_hygiene,
		.has_no_replication_workers = record->needs_hygiene };
	/*
	 * Until its own first checkpoint a crash is followed by a replay of the source's WAL, too. And clients may have prepared
	 * transactions on the clone's first start, whose setting is the source's: what is there must find its place (T15).
	 */
	bool has_checkpoint = control.checkpoint_timeline > record->recovery_timeline;
	if (!has_checkpoint || record->needs_hygiene || control.state != CONTROL_SHUT_DOWN ||
	        volume_may_have_prepared(data_fd))
		ret->min_prepared_transactions = control.max_prepared_transactions;
	/* The source may have raised its setting, and prepared more, between the point and the moment that is recovered to. */
	if (!has_promoted && record->needs_hygiene && ret->min_prepared_transactions < RECOVERY_PREPARED_MIN)
		ret->min_prepared_transactions = RECOVERY_PREPARED_MIN;
	return STATUS_OK;
}

/* ---- the end of a volume ---- */

/*
 * Renamed first: from then on the name is free. What is left, in the order in which a crash may leave it: the folder, the references, the
 * layers; each is found by the sweep.
 */
static status bury(const struct data_directory *dd, const char *path, const char *id, struct error *err)
{
	CLEANUP(free_text) char *dead = data_directory_path(dd, "volumes/%s.dead", id);
	CLEANUP(free_text) char *parent = data_directory_path(dd, "volumes");
	status st = tree_remove(dead, err);
	if (st != STATUS_OK)
		return st;
	if (rename(path, dead) < 0)
		return error_set(err, STATUS_IO, errno, "could not rename folder \"%s\"", path);
	st = folder_sync(parent, err);
	return st == STATUS_OK ? tree_remove(dead, err) : st;
}

static status remove_layers(
        const struct data_directory *dd, const char *store_name, const char *id, struct error *err)
{
	CLEANUP(store_closep) struct store *store = NULL;
	status st = store_open(dd, store_name, &store, err);
	if (st == STATUS_NOT_FOUND)
		return STATUS_OK; /* purged with its project */
	if (st == STATUS_OK)
		st = volume_remove_references(store, id, err);
	return st == STATUS_OK ? store_collect_garbage(store, NULL, err) : st;
}

status volume_destroy(const struct data_directory *dd, const char *id, struct error *err)
{
	status st = volume_id_check(id, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *path = data_directory_path(dd, "volumes/%s", id);
	if (!file_exists(path))
		return STATUS_OK;
	struct role_lock *lease = NULL;
	struct volume_record record = { 0 };
	struct error ignored;
	st = take_lease(path, id, &lease, err); /* held to the end: V3 */
	/* One whose record cannot be read goes too; the sweep then finds its references without it. */
	bool has_record = st == STATUS_OK && volume_record_read(path, &record, &ignored) == STATUS_OK &&
	                  strcmp(record.id, id) == 0;
	if (st == STATUS_OK)
		st = bury(dd, path, id, err);
	if (st == STATUS_OK && has_record)
		st = remove_layers(dd, record.store, id, err);
	role_lock_free(lease);
	return st == STATUS_OK ? STATUS_OK : error_prefix(err, "could not destroy volume \"%s\"", id);
}
