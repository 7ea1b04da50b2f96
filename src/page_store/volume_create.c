/* A template's image, and a new volume on it (volume.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/number.h"
#include "base/program.h"
#include "page_store/control_file.h"
#include "page_store/image.h"
#include "page_store/volume.h"
#include "page_store/volume_folder.h"
#include "page_store/volume_tree.h"
#include "wal_store/wal_archive.h"
#include "wal_store/wal_file.h"

#define TEMPLATE_VOLUME "template" /* the one volume of a template's store; it has a point and no folder */

static bool is_template_store(const char *store)
{
	return strncmp(store, STORE_TEMPLATE_PREFIX, strlen(STORE_TEMPLATE_PREFIX)) == 0;
}

/* ---- the template ---- */

static bool choose_from_template(void *owner, const char *path)
{
	(void)owner;
	/* pg_resetwal writes the first segment anew; the rest is remains of the template's own life. */
	static const char *const left_out[] = { "pg_wal", "postmaster.opts", "postmaster.pid",
		"base/pgsql_tmp" };
	for (size_t i = 0; i < ARRAY_LEN(left_out); i++)
		if (strcmp(path, left_out[i]) == 0)
			return false;
	return true;
}

static status read_major(struct image *image, int *ret, struct error *err)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	status st = volume_tree_read(image, "PG_VERSION", 64, &text, err);
	if (st != STATUS_OK)
		return st;
	int64_t major;
	struct slice line = buffer_slice(&text);
	while (line.len && line.data[line.len - 1] == '\n')
		line.len--;
	if (!number_parse(line, 1, 999, &major))
		return error_set(err, STATUS_CORRUPT, 0, "the template's PG_VERSION is not a number");
	*ret = (int)major;
	return STATUS_OK;
}

static status check_template(struct image *image, struct control_file *ret, struct error *err)
{
	CLEANUP(buffer_done) struct buffer bytes = { 0 };
	status st = volume_tree_read(image, "global/pg_control", CONTROL_FILE_BYTES, &bytes, err);
	if (st == STATUS_OK)
		st = control_file_parse(buffer_slice(&bytes), ret, err);
	if (st == STATUS_OK && ret->state != CONTROL_SHUT_DOWN)
		st = error_set(err, STATUS_CONFLICT, 0, "the template was not shut down cleanly");
	if (st == STATUS_OK && ret->checksum_version == 0)
		st = error_set(err, STATUS_CONFLICT, 0, "the template was made without data checksums");
	return st;
}

static status fill_template(
        struct image *image, const char *template_path, const struct system_user *user, struct error *err)
{
	CLEANUP(close_fd) int from_fd = open(template_path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (from_fd < 0)
		return error_set(err, STATUS_IO, errno, "could not open folder \"%s\"", template_path);
	status st = volume_tree_import(image, from_fd, choose_from_template, NULL, err);
	/* Relative to where the image is mounted: volumes/ID/data. */
	if (st == STATUS_OK)
		st = volume_tree_make_link(image, "pg_wal", "../wal", user->uid, user->gid, err);
	if (st == STATUS_OK)
		st = volume_tree_make_link(image, "base/pgsql_tmp", "../../temp", user->uid, user->gid, err);
	return st;
}

/* The point is what makes the template complete; its WAL positions are those of a cluster that no volume continues. */
static status seal_template(
        struct store *store, struct image *image, const struct control_file *control, struct error *err)
{
	struct image_cut cut;
	int major = 0;
	status st = read_major(image, &major, err);
	if (st == STATUS_OK)
		st = image_cut(image, &cut, err);
	if (st != STATUS_OK)
		return st;
	struct restore_point point = { .layers = cut.layers,
		.layer_count = cut.layer_count,
		.redo_lsn = control->redo_lsn,
		.end_lsn = control->redo_lsn + 1,
		.redo_timeline = control->checkpoint_timeline,
		.timeline = control->checkpoint_timeline,
		.wal_segment_size = control->wal_segment_size,
		.postgres_major = major,
		.is_shut_down = true,
		.time_usec = clock_wall_usec(),
		.logical_bytes = cut.logical_bytes };
	(void)snprintf(point.volume_id, sizeof point.volume_id, TEMPLATE_VOLUME);
	st = restore_point_add(store, &point, err);
	restore_point_done(&point);
	return st;
}

static status import_template(const struct data_directory *dd, struct store *store, const char *template_path,
        const struct system_user *user, struct error *err)
{
	status st = store_lock(store, err);
	if (st != STATUS_OK)
		return st;
	st = image_create(store, TEMPLATE_VOLUME, NULL, 0, user->uid, user->gid, err);
	store_unlock(store);
	struct image *image = NULL;
	if (st == STATUS_OK)
		st = image_open(dd, store, TEMPLATE_VOLUME, &image, err);
	if (st != STATUS_OK)
		return st;
	struct control_file control;
	st = fill_template(image, template_path, user, err);
	if (st == STATUS_OK)
		st = check_template(image, &control, err);
	if (st == STATUS_OK)
		st = seal_template(store, image, &control, err);
	if (st != STATUS_OK) {
		image_abandon(image);
		return st;
	}
	return image_close(image, err);
}

static status read_template(const struct data_directory *dd, const char *template_store,
        struct restore_point *ret, struct error *err)
{
	CLEANUP(store_closep) struct store *store = NULL;
	status st = store_open(dd, template_store, &store, err);
	return st == STATUS_OK ? restore_point_read(store, TEMPLATE_VOLUME, 1, ret, err) : st;
}

bool volume_has_template(const struct data_directory *dd, const char *template_store)
{
	CLEANUP(restore_point_done) struct restore_point point = { 0 };
	struct error err;
	return read_template(dd, template_store, &point, &err) == STATUS_OK;
}

status volume_import_template(const struct data_directory *dd, const char *template_store,
        const char *template_path, struct error *err)
{
	if (!is_template_store(template_store))
		return error_set(err, STATUS_INVALID, 0, "\"%s\" is not the name of a template's store",
		        template_store);
	CLEANUP(restore_point_done) struct restore_point point = { 0 };
	status st = read_template(dd, template_store, &point, err);
	if (st != STATUS_NOT_FOUND)
		return st;
	/* Without its point nobody can have used it: what is there is half-made. */
	CLEANUP(free_text) char *path = data_directory_path(dd, "stores/%s", template_store);
	CLEANUP(store_closep) struct store *store = NULL;
	struct system_user user;
	st = system_user_find(dd->settings.postgres_user, &user, err);
	if (st == STATUS_OK)
		st = tree_remove(path, err);
	if (st == STATUS_OK)
		st = store_create(dd, template_store, &store, err);
	if (st == STATUS_OK)
		st = import_template(dd, store, template_path, &user, err);
	return st == STATUS_OK ? st : error_prefix(err, "could not import template \"%s\"", template_path);
}

/* ---- a new volume ---- */

struct creation {
	const struct data_directory *dd;
	const char *id, *bin_dir;
	struct volume_folder folder;
	struct store *store;
	struct image *image;
	struct restore_point template;
	int postgres_major;
};

static void creation_done(struct creation *creation)
{
	if (creation->image)
		image_abandon(creation->image);
	volume_folder_done(&creation->folder);
	restore_point_done(&creation->template);
	store_close(creation->store);
}

static status start_image(struct creation *c, struct error *err)
{
	/* The volume does not exist, so a stack of that name is what an attempt before left behind. */
	status st = volume_remove_references(c->store, c->id, err);
	if (st == STATUS_OK)
		st = store_lock(c->store, err);
	if (st != STATUS_OK)
		return st;
	st = image_create(c->store, c->id, c->template.layers, c->template.layer_count, c->folder.user.uid,
	        c->folder.user.gid, err);
	store_unlock(c->store);
	return st == STATUS_OK ? image_open(c->dd, c->store, c->id, &c->image, err) : st;
}

static status add_file(const struct creation *c, const char *folder, const char *name, struct slice content,
        struct error *err)
{
	CLEANUP(free_text) char *path = xasprintf("%s/%s", folder, name);
	CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fchown(fd, c->folder.user.uid, c->folder.user.gid) < 0)
		return error_set(err, STATUS_IO, errno, "could not create file \"%s\"", path);
	return file_write_all(fd, content.data, content.len, err);
}

/* All of a cluster that pg_resetwal looks at; its pg_wal is the volume's. */
static status make_skeleton(
        const struct creation *c, const char *skeleton, struct slice control, struct error *err)
{
	CLEANUP(buffer_done) struct buffer version = { 0 };
	CLEANUP(free_text) char *global = xasprintf("%s/global", skeleton);
	CLEANUP(free_text) char *link = xasprintf("%s/pg_wal", skeleton);
	status st = volume_tree_read(c->image, "PG_VERSION", 64, &version, err);
	if (st == STATUS_OK)
		st = folder_make(skeleton, 0700, err);
	if (st == STATUS_OK)
		st = folder_make(global, 0700, err);
	if (st == STATUS_OK)
		st = add_file(c, skeleton, "PG_VERSION", buffer_slice(&version), err);
	if (st == STATUS_OK)
		st = add_file(c, global, "pg_control", control, err);
	if (st != STATUS_OK)
		return st;
	if (symlink("../wal", link) < 0)
		return error_set(err, STATUS_IO, errno, "could not create link \"%s\"", link);
	return tree_give_to(skeleton, c->folder.user.uid, c->folder.user.gid, err);
}

static status run_resetwal(const struct creation *c, const char *skeleton, struct error *err)
{
	CLEANUP(free_text) char *program_path = xasprintf("%s/pg_resetwal", c->bin_dir);
	const char *const argv[] = { program_path, "-D", skeleton, NULL };
	struct program program = { .argv = argv, .user = &c->folder.user };
	CLEANUP(buffer_done) struct buffer output = { 0 };
	return program_run(&program, &output, err);
}

static status read_skeleton(const char *skeleton, uint8_t control[CONTROL_FILE_BYTES], struct error *err)
{
	CLEANUP(close_fd) int fd = open(skeleton, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, STATUS_IO, errno, "could not open folder \"%s\"", skeleton);
	return control_file_read_bytes(fd, control, err);
}

/* A system identifier of its own, and a first WAL segment that goes with it. */
static status give_identity(const struct creation *c, struct control_file *ret, struct error *err)
{
	CLEANUP(buffer_done) struct buffer before = { 0 };
	CLEANUP(free_text) char *skeleton = xasprintf("%s/reset", c->folder.path);
	uint8_t control[CONTROL_FILE_BYTES];
	status st = volume_tree_read(c->image, "global/pg_control", sizeof control, &before, err);
	if (st != STATUS_OK)
		return st;
	if (before.len != sizeof control)
		return error_set(
		        err, STATUS_CORRUPT, 0, "the template's pg_control has %zu bytes", before.len);
	memcpy(control, before.data, sizeof control);
	st = control_file_set_system_identifier(control, control_file_new_system_identifier(), err);
	if (st == STATUS_OK)
		st = make_skeleton(c, skeleton, (struct slice){ control, sizeof control }, err);
	if (st == STATUS_OK)
		st = run_resetwal(c, skeleton, err);
	if (st == STATUS_OK)
		st = read_skeleton(skeleton, control, err);
	if (st == STATUS_OK)
		st = control_file_set_wal_level_logical(control, err);
	if (st == STATUS_OK)
		st = tree_remove(skeleton, err);
	if (st == STATUS_OK)
		st = control_file_parse((struct slice){ control, sizeof control }, ret, err);
	if (st == STATUS_OK)
		st = volume_tree_write(c->image, "global/pg_control",
		        (struct slice){ control, sizeof control }, c->folder.user.uid, c->folder.user.gid,
		        err);
	return st;
}

/* The end of the shutdown checkpoint that pg_resetwal wrote: its record begins with its length. */
static status find_end(
        const struct creation *c, const struct control_file *control, uint64_t *ret, struct error *err)
{
	char name[WAL_FILE_NAME_MAX];
	uint64_t segment = control->checkpoint_lsn / control->wal_segment_size;
	wal_segment_name(control->checkpoint_timeline, segment, control->wal_segment_size, name);
	CLEANUP(free_text) char *path = xasprintf("%s/%s", c->folder.wal_path, name);
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	uint32_t length = 0;
	off_t at = (off_t)(control->checkpoint_lsn % control->wal_segment_size);
	if (fd < 0 || pread(fd, &length, sizeof length, at) != sizeof length)
		return error_set(err, STATUS_IO, errno, "could not read the first WAL segment \"%s\"", path);
	if (length < 24 || length > 1024) /* XLogRecord's own size, and far more than a CheckPoint */
		return error_set(err, STATUS_CORRUPT, 0,
		        "the first WAL segment \"%s\" does not begin with a checkpoint", path);
	*ret = control->checkpoint_lsn + ((uint64_t)length + 7) / 8 * 8;
	return STATUS_OK;
}

/* So that a project whose database never ran can be branched. */
static status add_first_point(struct creation *c, const struct control_file *control,
        const struct image_cut *cut, struct error *err)
{
	struct restore_point point = { .layers = cut->layers,
		.layer_count = cut->layer_count,
		.redo_lsn = control->redo_lsn,
		.redo_timeline = control->checkpoint_timeline,
		.timeline = control->checkpoint_timeline,
		.wal_segment_size = control->wal_segment_size,
		.postgres_major = c->postgres_major,
		.is_shut_down = true,
		.time_usec = clock_wall_usec(),
		.logical_bytes = cut->logical_bytes };
	(void)snprintf(point.volume_id, sizeof point.volume_id, "%s", c->id);
	status st = find_end(c, control, &point.end_lsn, err);
	return st == STATUS_OK ? restore_point_add(c->store, &point, err) : st;
}

static status create(struct creation *c, const char *store, struct error *err)
{
	struct control_file control;
	struct image_cut cut = { 0 };
	status st = store_create(c->dd, store, &c->store, err);
	if (st == STATUS_OK)
		st = start_image(c, err);
	if (st == STATUS_OK)
		st = give_identity(c, &control, err);
	if (st == STATUS_OK)
		st = image_cut(c->image, &cut, err);
	if (st == STATUS_OK)
		st = add_first_point(c, &control, &cut, err);
	free(cut.layers);
	if (st == STATUS_OK)
		st = image_close(TAKE_PTR(c->image), err);
	return st == STATUS_OK ? volume_folder_publish(&c->folder, err) : st;
}

status volume_create(const struct data_directory *dd, const char *store, const char *id,
        const char *template_store, const char *bin_dir, int postgres_major, struct error *err)
{
	CLEANUP(creation_done)
	struct creation creation = {
		.dd = dd, .id = id, .bin_dir = bin_dir, .postgres_major = postgres_major
	};
	struct volume_record record = { .postgres_major = postgres_major, .created_usec = clock_wall_usec() };
	status st = volume_id_check(id, err);
	if (st != STATUS_OK)
		return st;
	if (is_template_store(store) || strlen(store) > STORE_ID_MAX)
		return error_set(err, STATUS_INVALID, 0, "\"%.80s\" is not the name of a store", store);
	(void)snprintf(record.id, sizeof record.id, "%s", id);
	(void)snprintf(record.store, sizeof record.store, "%s", store);
	st = read_template(dd, template_store, &creation.template, err);
	if (st == STATUS_OK)
		st = volume_folder_create(dd, &record, &creation.folder, err);
	if (st == STATUS_EXISTS)
		return st;
	if (st == STATUS_OK)
		st = create(&creation, store, err);
	if (st == STATUS_OK || st == STATUS_EXISTS)
		return st;
	if (creation.image)
		image_abandon(TAKE_PTR(creation.image));
	volume_discard(dd, creation.store, id);
	return error_prefix(err, "could not create volume \"%s\"", id);
}
