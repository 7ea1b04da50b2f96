/*
 * A clone of a volume at a restore point (volume.h). What is left out of the image is what pg_basebackup leaves out: things that Postgres
 * makes anew at every start, or that belong to the source alone (its slots, its pid file).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "page_store/control_file.h"
#include "page_store/image.h"
#include "page_store/volume.h"
#include "page_store/volume_folder.h"
#include "page_store/volume_tree.h"
#include "wal_store/wal_archive.h"
#include "wal_store/wal_file.h"

struct cloning {
	const struct data_directory *dd;
	const struct volume_clone *clone;
	const struct restore_point *point;
	struct wal_history history; /* of the source's timeline */
	struct volume_folder folder;
	struct store *store;
	struct image *image;
	struct layer_ref *layers; /* the point's, as they are now; the clone's stack keeps them so */
	size_t layer_count;
};

static void cloning_done(struct cloning *c)
{
	if (c->image)
		image_abandon(c->image);
	wal_history_done(&c->history);
	volume_folder_done(&c->folder);
	store_close(c->store);
	free(c->layers);
}

static status check(const struct volume_clone *clone, struct error *err)
{
	const struct restore_point *point = clone->point;
	status st = volume_id_check(clone->id, err);
	if (st != STATUS_OK)
		return st;
	if (clone->lsn < point->end_lsn)
		return error_set(err, STATUS_INVALID, 0,
		        "the position is before restore point %" PRIu64 " of volume \"%s\"", point->number,
		        point->volume_id);
	if (clone->timeline % 2 != 0 || clone->timeline == 0)
		return error_set(
		        err, STATUS_INVALID, 0, "timeline %u is not one for a clone", clone->timeline);
	/* Promotion would else pick a number below its own history, or one that another branch has. */
	if (clone->timeline <= clone->source_timeline || clone->source_timeline < point->timeline)
		return error_set(err, STATUS_INVALID, 0, "timeline %u is not newer than the source's, %u",
		        clone->timeline, clone->source_timeline);
	return STATUS_OK;
}

/*
 * The point's layers as a reference names them now, under the store's lock: a fold may have replaced some since the caller read the point.
 * A point that is gone may live on in a snapshot.
 */
static status find_layers(struct cloning *c, struct error *err)
{
	CLEANUP(restore_point_done) struct restore_point now = { 0 };
	status st = restore_point_read(c->store, c->point->volume_id, c->point->number, &now, err);
	if (st == STATUS_NOT_FOUND || (st == STATUS_OK && !restore_point_is_same(&now, c->point))) {
		restore_point_done(&now);
		st = snapshot_find(c->store, c->point, &now, err);
	}
	if (st != STATUS_OK)
		return st;
	c->layers = TAKE_PTR(now.layers);
	c->layer_count = now.layer_count;
	return STATUS_OK;
}

static status start_image_locked(struct cloning *c, struct error *err)
{
	status st = find_layers(c, err);
	if (st != STATUS_OK)
		return st;
	return image_create(c->store, c->clone->id, c->layers, c->layer_count, c->folder.user.uid,
	        c->folder.user.gid, err);
}

static status start_image(struct cloning *c, struct error *err)
{
	/* The volume does not exist, so a stack of that name is what an attempt before left behind. */
	status st = volume_remove_references(c->store, c->clone->id, err);
	if (st == STATUS_OK)
		st = store_lock(c->store, err);
	if (st != STATUS_OK)
		return st;
	st = start_image_locked(c, err);
	store_unlock(c->store);
	return st == STATUS_OK ? image_open(c->dd, c->store, c->clone->id, &c->image, err) : st;
}

/* ---- the image ---- */

static status refuse_tablespaces(const struct cloning *c, struct error *err)
{
	size_t count = 0;
	status st = volume_tree_count(c->image, "pg_tblspc", &count, err);
	if (st != STATUS_OK || count == 0)
		return st;
	st = error_set(err, STATUS_UNSUPPORTED, 0,
	        "the source has a tablespace, which a branch would share with it");
	error_hint(err, "Move its tables to the default tablespace and drop it.");
	return st;
}

static status edit_control(const struct cloning *c, struct control_file *ret, struct error *err)
{
	CLEANUP(buffer_done) struct buffer bytes = { 0 };
	status st = volume_tree_read(c->image, "global/pg_control", CONTROL_FILE_BYTES, &bytes, err);
	if (st == STATUS_OK)
		st = control_file_parse(buffer_slice(&bytes), ret, err);
	if (st == STATUS_OK && ret->wal_segment_size != c->point->wal_segment_size)
		st = error_set(err, STATUS_CORRUPT, 0, "the WAL segments of the source have %u bytes, not %u",
		        ret->wal_segment_size, c->point->wal_segment_size);
	if (st == STATUS_OK)
		st = control_file_set_archive_recovery(
		        (uint8_t *)bytes.data, c->point->end_lsn, c->point->timeline, err);
	if (st == STATUS_OK)
		st = volume_tree_write(c->image, "global/pg_control", buffer_slice(&bytes),
		        c->folder.user.uid, c->folder.user.gid, err);
	return st;
}

static status remove_what_is_the_sources(const struct cloning *c, struct error *err)
{
	static const char *const removed[] = { "postmaster.pid", "postmaster.opts", "backup_label",
		"backup_label.old", "tablespace_map", "tablespace_map.old", "backup_manifest",
		"standby.signal", "recovery.signal", "promote" };
	static const char *const emptied[] = { "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial",
		"pg_snapshots", "pg_subtrans", "pg_stat_tmp" };
	status st = STATUS_OK;
	for (size_t i = 0; st == STATUS_OK && i < ARRAY_LEN(removed); i++)
		st = volume_tree_remove(c->image, removed[i], err);
	for (size_t i = 0; st == STATUS_OK && i < ARRAY_LEN(emptied); i++)
		st = volume_tree_empty(c->image, emptied[i], err);
	return st;
}

static status prepare_image(const struct cloning *c, struct control_file *ret, struct error *err)
{
	status st = refuse_tablespaces(c, err);
	if (st == STATUS_OK)
		st = edit_control(c, ret, err);
	if (st == STATUS_OK)
		st = remove_what_is_the_sources(c, err);
	if (st == STATUS_OK)
		st = volume_tree_write(c->image, "standby.signal", (struct slice){ 0 }, c->folder.user.uid,
		        c->folder.user.gid, err);
	return st;
}

/* ---- WAL ---- */

/* The reserved timeline's history: the source's, and a line that says where it is left. */
static status add_history(const struct cloning *c, struct error *err)
{
	CLEANUP(wal_history_done) struct wal_history history = { 0 };
	CLEANUP(buffer_done) struct buffer text = { 0 };
	CLEANUP(free_text) char *reason = xasprintf("branch of %s", c->point->volume_id);
	char name[WAL_FILE_NAME_MAX];
	wal_history_branch(&c->history, c->clone->lsn, c->clone->timeline, &history);
	wal_history_format(&history, reason, &text);
	wal_history_name(c->clone->timeline, name);
	return volume_folder_add_wal_file(&c->folder, name, buffer_slice(&text), err);
}

/*
 * From where the image's own checkpoint begins, which is not later than the point says unless a checkpoint came between. Postgres'
 * user made pg_control; a position that is far off is missing in the archive.
 */
static status add_wal(const struct cloning *c, const struct control_file *control, struct error *err)
{
	uint64_t start = control->redo_lsn < c->point->redo_lsn ? control->redo_lsn : c->point->redo_lsn;
	struct wal_range range = { .history = &c->history,
		.start_lsn = start,
		.end_lsn = c->clone->lsn,
		.segment_size = c->point->wal_segment_size };
	status st =
	        wal_archive_provide(c->clone->archive_path, &range, c->folder.wal_path, &c->folder.user, err);
	return st == STATUS_OK ? add_history(c, err) : st;
}

/*
 * The clone's point 1 is the point that it came from: moments between the fork and the clone's own first point can be branched from it.
 * Its WAL is in the clone's archive.
 */
static status add_first_point(const struct cloning *c, struct error *err)
{
	struct restore_point point = *c->point;
	(void)snprintf(point.volume_id, sizeof point.volume_id, "%s", c->clone->id);
	point.layers = c->layers;
	point.layer_count = c->layer_count;
	point.replay_usec = 0;
	return restore_point_add(c->store, &point, err);
}

static status make(struct cloning *c, struct error *err)
{
	struct control_file control;
	status st = store_open(c->dd, c->clone->store, &c->store, err);
	if (st == STATUS_OK)
		st = start_image(c, err);
	if (st == STATUS_OK)
		st = prepare_image(c, &control, err);
	if (st == STATUS_OK)
		st = add_wal(c, &control, err);
	if (st == STATUS_OK)
		st = image_close(TAKE_PTR(c->image), err);
	if (st == STATUS_OK)
		st = add_first_point(c, err);
	return st == STATUS_OK ? volume_folder_publish(&c->folder, err) : st;
}

status volume_clone(const struct data_directory *dd, const struct volume_clone *clone, struct error *err)
{
	CLEANUP(cloning_done)
	struct cloning cloning = { .dd = dd, .clone = clone, .point = clone->point };
	struct volume_record record = { .postgres_major = clone->point->postgres_major,
		.recovery_timeline = clone->timeline,
		.needs_hygiene = clone->point->needs_hygiene,
		.created_usec = clock_wall_usec() };
	status st = check(clone, err);
	if (st != STATUS_OK)
		return st;
	(void)snprintf(record.id, sizeof record.id, "%s", clone->id);
	(void)snprintf(record.parent_id, sizeof record.parent_id, "%s", clone->point->volume_id);
	(void)snprintf(record.store, sizeof record.store, "%s", clone->store);
	st = volume_folder_create(dd, &record, &cloning.folder, err);
	if (st == STATUS_EXISTS)
		return st;
	if (st == STATUS_OK)
		st = wal_history_read(clone->archive_path, clone->source_timeline, &cloning.history, err);
	if (st == STATUS_OK)
		st = make(&cloning, err);
	if (st == STATUS_OK || st == STATUS_EXISTS)
		return st;
	if (cloning.image)
		image_abandon(TAKE_PTR(cloning.image));
	volume_discard(dd, cloning.store, clone->id);
	return error_prefix(err, "could not branch volume \"%s\"", clone->point->volume_id);
}
