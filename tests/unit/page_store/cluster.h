/*
 * Volumes of the cluster fixture, and Postgres started on one without a mount: its image is copied out to where it would be mounted
 * (volumes/ID/data). What Postgres then changes there is not in the image; its WAL is the volume's.
 */
#pragma once

#include <sys/types.h>

#include "cluster_fixture.h"
#include "page_store/control_file.h"
#include "page_store/image.h"
#include "page_store/restore_point.h"
#include "page_store/store.h"
#include "page_store/volume.h"

char *cluster_volume_path(const struct cluster_fixture *f, const char *name); /* volumes/NAME */
bool cluster_has(const struct cluster_fixture *f, const char *name);          /* is there volumes/NAME? */
void cluster_destroy(const struct cluster_fixture *f, const char *id);
status cluster_clone(const struct cluster_fixture *f, const char *from, const char *id,
        const struct restore_point *point, uint64_t lsn, uint32_t source_timeline, uint32_t timeline,
        struct error *err);
struct image *cluster_open_image(const struct cluster_fixture *f, const char *id, struct store **store);
void cluster_close_image(struct image *image, struct store *store);
struct control_file cluster_control(
        const struct cluster_fixture *f, const char *id); /* as the image has it */
size_t cluster_number(const char *command);               /* that a shell command prints */
/* How many entries a folder of the project's store has; locks do not count. */
size_t cluster_count(const struct cluster_fixture *f, const char *folder);
/* Copies the image out to volumes/ID/data, anew. */
void cluster_export(const struct cluster_fixture *f, const char *id);

struct postgres {
	const struct cluster_fixture *f;
	char id[64];
	pid_t pid;
};
/* Plans the start as a supervisor does, waits until Postgres takes writes, and tells what volume_check_recovery() then says of a clone. */
status postgres_start_checked(
        const struct cluster_fixture *f, const char *id, struct postgres *ret, struct error *err);
/* The same; what it says must be good. */
void postgres_start(const struct cluster_fixture *f, const char *id, struct postgres *ret);
/* A new volume with Postgres on it. */
void cluster_start_volume(const struct cluster_fixture *f, const char *id, struct postgres *ret);
void postgres_stop(struct postgres *postgres); /* cleanly */
void postgres_kill(struct postgres *postgres); /* SIGKILL, all of it */
/* Runs SQL in database databricks_postgres; the last line of its answer, to be freed. Fails the test when it fails. */
char *postgres_ask(const struct postgres *postgres, const char *sql);
void postgres_do(const struct postgres *postgres, const char *sql);
uint64_t postgres_flushed(
        const struct postgres *postgres); /* after flushing; and the archive is brought up to date */
/* The newest point; to be done. */
struct restore_point cluster_newest_point(const struct cluster_fixture *f, const char *id);
