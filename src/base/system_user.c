#include "base/system_user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

status system_user_find(const char *name, struct system_user *ret, struct error *err)
{
	if (!name) {
		*ret = (struct system_user){ .uid = geteuid(), .gid = getegid() };
		return STATUS_OK;
	}
	/* The reentrant form: worker threads look users up. 64 KiB holds any sane entry. */
	size_t size = 65536;
	CLEANUP(free_text) char *memory = xcalloc(1, size);
	struct passwd entry, *found = NULL;
	int rc = getpwnam_r(name, &entry, memory, size, &found);
	if (rc != 0)
		return error_set(err, STATUS_IO, rc, "could not look up system user \"%s\"", name);
	if (!found)
		return error_set(err, STATUS_NOT_FOUND, 0, "system user \"%s\" does not exist", name);
	*ret = (struct system_user){
		.uid = entry.pw_uid, .gid = entry.pw_gid, .is_other = entry.pw_uid != geteuid()
	};
	return STATUS_OK;
}

bool system_user_become(const struct system_user *user)
{
	if (!user->is_other)
		return true;
	/* The order matters: once the user id is dropped, groups cannot be changed any more. */
	return setgroups(1, &user->gid) == 0 && setgid(user->gid) == 0 && setuid(user->uid) == 0 &&
	       setuid(0) < 0; /* the last one must fail, or the rights are not gone */
}
