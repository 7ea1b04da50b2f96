#include "compute/confinement.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Version 1 knows no renaming from one folder to another, which Postgres needs; 3 brought truncation, which these headers may not know. */
#define VERSION_NEEDED      2
#define VERSION_OF_TRUNCATE 3
#define ACCESS_TRUNCATE     (1ull << 14)
#define ACCESS_TO_FILES     (LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_TRUNCATE)
#define ACCESS_TO_FOLDERS                                                                                    \
	(LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |     \
	        LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |   \
	        LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM | \
	        LANDLOCK_ACCESS_FS_REFER)

static status allow(int ruleset, const char *path, uint64_t access, struct error *err)
{
	CLEANUP(close_fd) int fd = open(path, O_PATH | O_CLOEXEC);
	struct stat st;
	if (fd < 0 && errno == ENOENT)
		return STATUS_OK;
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(err, STATUS_IO, errno, "could not look at \"%s\"", path);
	struct landlock_path_beneath_attr rule = {
		.allowed_access = S_ISDIR(st.st_mode) ? access : access & ACCESS_TO_FILES, .parent_fd = fd
	};
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return error_set(err, STATUS_IO, errno, "could not confine Postgres to \"%s\"", path);
	return STATUS_OK;
}

status confinement_prepare(const char *const *paths, size_t count, int *ret_fd, struct error *err)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (version < VERSION_NEEDED) {
		*ret_fd = -1;
		return STATUS_OK;
	}
	uint64_t access = ACCESS_TO_FILES | ACCESS_TO_FOLDERS;
	if (version < VERSION_OF_TRUNCATE)
		access &= ~ACCESS_TRUNCATE;
	const struct landlock_ruleset_attr attributes = { .handled_access_fs = access };
	CLEANUP(close_fd)
	int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0);
	if (ruleset < 0)
		return error_set(err, STATUS_IO, errno, "could not confine Postgres");
	for (size_t i = 0; i < count; i++) {
		status st = allow(ruleset, paths[i], access, err);
		if (st != STATUS_OK)
			return st;
	}
	*ret_fd = TAKE_FD(ruleset);
	return STATUS_OK;
}

bool confinement_enter(int fd)
{
	return fd < 0 || (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	                         syscall(SYS_landlock_restrict_self, fd, 0) == 0);
}
