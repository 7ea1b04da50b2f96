#include "data_directory/postgres_user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUPS_MAX 1024

status postgres_user_default(char **ret, struct error *err)
{
	static const char *const names[] = { "tarn", "postgres" };
	if (geteuid() != 0) {
		*ret = NULL;
		return STATUS_OK;
	}
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (getpwnam(names[i])) {
			*ret = xstrdup(names[i]);
			return STATUS_OK;
		}
	}
	status st = error_set(err, STATUS_NOT_FOUND, 0,
	        "Postgres refuses to run as root, and neither user \"tarn\" nor user \"postgres\" exists");
	error_hint(err, "Create one with: useradd --system tarn");
	return st;
}

struct person {
	uid_t uid;
	gid_t groups[GROUPS_MAX];
	int group_count;
};

static bool may_enter(const struct person *person, const struct stat *st)
{
	if (st->st_uid == person->uid)
		return st->st_mode & S_IXUSR;
	for (int i = 0; i < person->group_count; i++)
		if (person->groups[i] == st->st_gid)
			return st->st_mode & S_IXGRP;
	return st->st_mode & S_IXOTH;
}

static status check_folder(
        const struct person *person, const char *user, const char *folder, struct error *err)
{
	struct stat st;
	if (stat(folder, &st) < 0)
		return error_set(err, STATUS_IO, errno, "could not look at folder \"%s\"", folder);
	if (may_enter(person, &st))
		return STATUS_OK;
	status result = error_set(err, STATUS_DENIED, 0,
	        "user \"%s\", which Postgres runs as, cannot enter folder \"%s\"", user, folder);
	error_hint(err, "Choose another place with --data, or allow it with: chmod o+x %s", folder);
	return result;
}

status postgres_user_check(const char *user, const char *path, struct error *err)
{
	const struct passwd *entry = user ? getpwnam(user) : getpwuid(geteuid());
	if (!entry && user) {
		status st = error_set(err, STATUS_NOT_FOUND, 0,
		        "user \"%s\", which Postgres shall run as, does not exist", user);
		error_hint(err, "Create it with: useradd --system %s", user);
		return st;
	}
	if (!entry) /* a user id without a name runs its own Postgres and reaches what it owns */
		return STATUS_OK;
	if (entry->pw_uid == 0) {
		status st = error_set(err, STATUS_INVALID, 0, "Postgres refuses to run as root");
		error_hint(err,
		        "Name an unprivileged user with --postgres-user; useradd --system tarn creates one.");
		return st;
	}
	if (geteuid() != 0 && entry->pw_uid != geteuid()) {
		status st = error_set(
		        err, STATUS_DENIED, 0, "only root can run Postgres as another user (\"%s\")", user);
		error_hint(err, "Leave --postgres-user out, or run tarn as root.");
		return st;
	}

	struct person person = { .uid = entry->pw_uid, .group_count = GROUPS_MAX };
	CLEANUP(free_text) char *name = xstrdup(entry->pw_name);
	if (getgrouplist(name, entry->pw_gid, person.groups, &person.group_count) < 0)
		person.group_count = 0; /* in more than GROUPS_MAX groups: judged by the other bits alone */

	status st = check_folder(&person, name, "/", err);
	CLEANUP(free_text) char *prefix = xstrdup(path);
	for (char *slash = prefix + 1; st == STATUS_OK && slash && *slash;) {
		slash = strchr(slash, '/');
		if (slash)
			*slash = '\0';
		st = check_folder(&person, name, prefix, err);
		if (slash)
			*slash++ = '/';
	}
	return st;
}
