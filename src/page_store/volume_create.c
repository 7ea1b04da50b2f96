/* A new volume from a template (volume.h). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/program.h"
#include "page_store/control_file.h"
#include "page_store/file_copy.h"
#include "page_store/volume.h"
#include "page_store/volume_folder.h"

static status choose_from_template(
        void *owner, const struct copy_entry *entry, enum copy_choice *ret, struct error *err)
{
	(void)owner, (void)err;
	/* pg_resetwal writes the first segment anew; the rest is remains of the template's own life. */
	bool is_left_out = strcmp(entry->path, "pg_wal") == 0 || strcmp(entry->path, "postmaster.opts") == 0;
	*ret = is_left_out ? COPY_NOTHING : COPY_WHOLE;
	return STATUS_OK;
}

static status copy_template(const struct volume_folder *folder, const char *template_path, struct error *err)
{
	CLEANUP(free_text) char *data = xasprintf("%s/data", template_path);
	CLEANUP(close_fd) int from_fd = -1;
	status st = folder_open(data, &from_fd, err);
	if (st != STATUS_OK)
		return st;
	struct tree_copy copy = {
		.choose = choose_from_template, .uid = folder->user.uid, .gid = folder->user.gid
	};
	return tree_copy(&copy, from_fd, folder->data_fd, err);
}

static status reset_wal(const struct volume_folder *folder, const char *bin_dir, struct error *err)
{
	CLEANUP(free_text) char *program_path = xasprintf("%s/pg_resetwal", bin_dir);
	CLEANUP(free_text) char *data_path = xasprintf("%s/data", folder->path);
	const char *const argv[] = { program_path, "-D", data_path, NULL };
	struct program program = { .argv = argv, .user = &folder->user };
	CLEANUP(buffer_done) struct buffer output = { 0 };
	return program_run(&program, &output, err);
}

static status fill(const struct volume_folder *folder, const char *template_path, const char *bin_dir,
        const struct volume_record *record, struct error *err)
{
	status st = copy_template(folder, template_path, err);
	if (st == STATUS_OK)
		st = volume_folder_link_wal(folder, err);
	if (st == STATUS_OK)
		st = control_file_set_system_identifier(
		        folder->data_fd, control_file_new_system_identifier(), err);
	if (st == STATUS_OK)
		st = reset_wal(folder, bin_dir, err);
	return st == STATUS_OK ? volume_folder_publish(folder, record, err) : st;
}

status volume_create(const struct data_directory *dd, const char *id, const char *template_path,
        const char *bin_dir, int postgres_major, struct error *err)
{
	CLEANUP(volume_folder_done) struct volume_folder folder = { .data_fd = -1, .wal_fd = -1 };
	status st = volume_folder_create(dd, id, &folder, err);
	if (st == STATUS_EXISTS)
		return st;
	if (st == STATUS_OK) {
		struct volume_record record = { .postgres_major = postgres_major,
			.created_usec = clock_wall_usec() };
		(void)snprintf(record.id, sizeof record.id, "%s", id);
		st = fill(&folder, template_path, bin_dir, &record, err);
	}
	if (st == STATUS_OK)
		return STATUS_OK;
	volume_folder_discard(dd, id);
	return error_prefix(err, "could not create volume \"%s\"", id);
}
