/*
 * Disk space: what files take, each counted once however many names it has (WAL in pg_wal and in the archive is the same file).
 * Threads: any; blocks on the disk.
 */
#pragma once

#include "base/base.h"
#include "data_directory/data_directory.h"

struct disk_space; /* remembers what has been counted */
struct disk_space *disk_space_new(void);
struct disk_space *disk_space_free(struct disk_space *space);
static inline void disk_space_freep(struct disk_space **space)
{
	*space = disk_space_free(*space);
}
int64_t disk_space_total(const struct disk_space *space);

/*
 * Adds everything below a folder of the data directory, without following links. Files that vanish meanwhile do not count, and a
 * missing folder has none.
 */
void disk_space_add_store(struct disk_space *space, const struct data_directory *dd, const char *store);
/* All of a volume but data/, where a file system may be mounted whose files are the store's. */
void disk_space_add_volume(struct disk_space *space, const struct data_directory *dd, const char *volume);
