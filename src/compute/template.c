#include "compute/template.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/program.h"
#include "compute/system_objects.h"
#include "page_store/volume.h"

/* To be raised with every change of what a template has in it: old ones are then left alone. */
#define TEMPLATE_REVISION 3

/*
 * Statements for single-user mode, each with an empty line behind it. Later databases get what is granted in template1; those that are
 * restored from a dump come from template0.
 */
static const char roles[] = "CREATE ROLE databricks_superuser NOLOGIN CREATEDB CREATEROLE BYPASSRLS;\n\n"
                            "GRANT pg_read_all_data, pg_write_all_data, pg_monitor, pg_signal_backend"
                            " TO databricks_superuser;\n\n";
/* Only where Postgres has a user of its own: a subscription's connection is let in by "peer" before it is refused. */
static const char roles_own_user[] = "GRANT pg_create_subscription TO databricks_superuser;\n\n";
static const char roles_since_17[] = "GRANT pg_maintain TO databricks_superuser;\n\n";
static const char first_database[] = "CREATE DATABASE databricks_postgres;\n\n";

static status run_initdb(const struct installation *installation, const struct system_user *user,
        const char *data, struct error *err)
{
	CLEANUP(free_text) char *initdb = xasprintf("%s/initdb", installation->bin_dir);
	const char *argv[16] = { initdb, "--pgdata", data, "--username=cloud_admin", "--encoding=UTF8",
		"--locale=C.UTF-8", "--data-checksums", "--auth=peer", "--no-sync", "--no-instructions" };
	size_t count = 10;
	if (installation->major >= 17) {
		/* Fast, the same on every machine, and never changed by an update of the C library. */
		argv[count++] = "--locale-provider=builtin";
		argv[count++] = "--builtin-locale=C.UTF-8";
	}
	argv[count] = NULL;
	struct program program = { .argv = argv, .user = user };
	CLEANUP(buffer_done) struct buffer output = { 0 };
	return program_run(&program, &output, err);
}

static status run_single(const struct installation *installation, const struct system_user *user,
        const char *data, const char *database, const struct buffer *statements, struct error *err)
{
	CLEANUP(free_text) char *postgres = xasprintf("%s/postgres", installation->bin_dir);
	/* Without exit_on_error single-user mode goes on after a failed statement and says nothing in the end. */
	const char *const argv[] = { postgres, "--single", "-j", "-D", data, "-c", "exit_on_error=on", "-c",
		"fsync=off", "-c", "log_checkpoints=off", "-c", "search_path=pg_catalog", database, NULL };
	struct program program = { .argv = argv, .user = user, .input = buffer_slice(statements) };
	CLEANUP(buffer_done) struct buffer output = { 0 };
	return program_run(&program, &output, err);
}

static status run_set_up(const struct installation *installation, const struct system_user *user,
        const char *data, struct error *err)
{
	static const char *const databases[] = { "template0", "template1", "postgres" };
	CLEANUP(buffer_done) struct buffer statements = { 0 };
	buffer_append_text(&statements, roles);
	if (user->is_other)
		buffer_append_text(&statements, roles_own_user);
	if (installation->major >= 17)
		buffer_append_text(&statements, roles_since_17);
	buffer_printf(&statements, "%s\n%s\n", system_objects_shared, system_objects_note);
	status st = STATUS_OK;
	for (size_t i = 0; i < ARRAY_LEN(databases) && st == STATUS_OK; i++) {
		buffer_printf(&statements, "%s\n", system_objects_in_database);
		if (strcmp(databases[i], "template1") == 0)
			buffer_append_text(&statements, first_database);
		st = run_single(installation, user, data, databases[i], &statements, err);
		buffer_consume(&statements, statements.len);
	}
	return st;
}

static status build(const struct data_directory *dd, const struct installation *installation,
        const char *fresh, struct error *err)
{
	struct system_user user;
	CLEANUP(free_text) char *data = xasprintf("%s/data", fresh);
	status st = system_user_find(dd->settings.postgres_user, &user, err);
	if (st == STATUS_OK)
		st = tree_remove(fresh, err);
	if (st == STATUS_OK)
		st = folder_make(fresh, 0711, err);
	if (st == STATUS_OK)
		st = folder_make(data, 0700, err);
	if (st == STATUS_OK && chown(data, user.uid, user.gid) < 0)
		st = error_set(err, STATUS_IO, errno, "could not change the owner of folder \"%s\"", data);
	if (st == STATUS_OK)
		st = run_initdb(installation, &user, data, err);
	if (st == STATUS_OK)
		st = run_set_up(installation, &user, data, err);
	return st;
}

/* The import makes it durable, whole or not at all; the cluster itself need not survive a crash. */
static status build_and_import(const struct data_directory *dd, const struct installation *installation,
        const char *templates, const char *store, struct error *err)
{
	CLEANUP(free_text) char *fresh = xasprintf("%s/%s.new", templates, store);
	CLEANUP(free_text) char *data = xasprintf("%s/data", fresh);
	status st = build(dd, installation, fresh, err);
	if (st == STATUS_OK)
		st = volume_import_template(dd, store, data, err);
	struct error ignored;
	(void)!tree_remove(fresh, &ignored); /* what is left is removed before the next one is built */
	return st;
}

/* Waits: another thread that is at it takes a second or two. */
static status take_lock(const char *templates, int *ret_fd, struct error *err)
{
	CLEANUP(free_text) char *path = xasprintf("%s/lock", templates);
	CLEANUP(close_fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set(err, STATUS_IO, errno, "could not open lock \"%s\"", path);
	while (flock(fd, LOCK_EX) < 0) {
		if (errno != EINTR)
			return error_set(err, STATUS_IO, errno, "could not lock \"%s\"", path);
	}
	*ret_fd = TAKE_FD(fd);
	return STATUS_OK;
}

/* "template-17-11-2" */
static void name_store(const struct installation *installation, char ret[STORE_ID_MAX + 1])
{
	(void)snprintf(ret, STORE_ID_MAX + 1, STORE_TEMPLATE_PREFIX "%s-%d", installation->version,
	        TEMPLATE_REVISION);
	for (char *c = ret; *c; c++)
		if (!isalnum((unsigned char)*c))
			*c = '-';
}

status template_prepare(const struct data_directory *dd, const struct installation *installation,
        char ret_store[STORE_ID_MAX + 1], struct error *err)
{
	char store[STORE_ID_MAX + 1];
	name_store(installation, store);
	if (!volume_has_template(dd, store)) {
		CLEANUP(free_text) char *templates = data_directory_path(dd, "templates");
		CLEANUP(close_fd) int lock = -1;
		status st = folder_make(templates, 0711, err);
		if (st == STATUS_OK)
			st = take_lock(templates, &lock, err);
		if (st == STATUS_OK && !volume_has_template(dd, store))
			st = build_and_import(dd, installation, templates, store, err);
		if (st != STATUS_OK)
			return error_prefix(
			        err, "could not make the template of Postgres %s", installation->version);
	}
	memcpy(ret_store, store, sizeof store);
	return STATUS_OK;
}
