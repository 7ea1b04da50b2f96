#include "data_directory/data_directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/api_token.h"
#include "auth/authority.h"
#include "auth/token.h"
#include "base/file.h"
#include "base/random.h"
#include "data_directory/postgres_user.h"
#include "data_directory/settings_file.h"

#define SETTINGS_FILE "settings.json"

static const struct {
	const char *name;
	mode_t mode;
} folders[] = {
	{ "run", 0700 },
	{ "templates", 0711 },
	{ "volumes", 0711 },
	{ "computes", 0711 },
};

/* What this module writes, each durably through NAME.new. */
static const char *const files[] = { SETTINGS_FILE, "admin.token", "authority.key", "authority.crt",
	"token.key" };

char *data_directory_default(void)
{
	const char *chosen = getenv("TARN_DATA");
	if (chosen && *chosen)
		return xstrdup(chosen);
	if (geteuid() == 0)
		return xstrdup("/var/lib/tarn");
	const char *home = getenv("HOME");
	if (!home || home[0] != '/') {
		const struct passwd *entry = getpwuid(geteuid());
		home = entry ? entry->pw_dir : "/";
	}
	return xasprintf("%s/.tarn", home);
}

/* Absolute, without doubled or trailing slashes and "." components. ".." stays: what it means the kernel
 * knows. */
static status normalise(const char *path, char **ret, struct error *err)
{
	if (*path == '\0')
		return error_set(err, STATUS_INVALID, 0, "the path of the data directory is empty");
	CLEANUP(free_text) char *whole = NULL;
	if (path[0] == '/') {
		whole = xstrdup(path);
	} else {
		char here[PATH_MAX];
		if (!getcwd(here, sizeof here))
			return error_set(err, STATUS_IO, errno, "could not tell the current folder");
		whole = xasprintf("%s/%s", here, path);
	}
	CLEANUP(buffer_done) struct buffer out = { 0 };
	for (char *rest = whole, *part; (part = strsep(&rest, "/"));) {
		if (*part == '\0' || strcmp(part, ".") == 0)
			continue;
		buffer_append_text(&out, "/");
		buffer_append_text(&out, part);
	}
	for (size_t i = 0; i < out.len; i++) {
		/* It stands in Postgres configuration files, shell lines and logs. */
		if ((unsigned char)out.data[i] < 0x20 || out.data[i] == 0x7f)
			return error_set(err, STATUS_INVALID, 0,
			        "the path of the data directory has control characters");
	}
	if (out.len == 0)
		return error_set(err, STATUS_INVALID, 0, "the data directory cannot be \"/\"");
	if (out.len > DATA_DIRECTORY_PATH_MAX) {
		status st = error_set(err, STATUS_LIMIT, 0,
		        "the path of the data directory is too long: \"%s\" has %zu bytes, the limit is %d",
		        out.data, out.len, DATA_DIRECTORY_PATH_MAX);
		error_hint(err, "Paths of sockets must be short. Choose a shorter path with --data.");
		return st;
	}
	*ret = xstrdup(out.data);
	return STATUS_OK;
}

static status make_folder(const char *path, struct error *err)
{
	status st = folder_make(path, 0711, err);
	if (st != STATUS_OK) {
		if (err->sys_errno == ENOENT)
			error_hint(err, "The folder above it must exist: create it first, or choose another "
			                "path with --data.");
		else
			error_hint(err, "Choose a folder that you can write to with --data.");
		return st;
	}
	struct stat info;
	if (stat(path, &info) < 0)
		return error_set(err, STATUS_IO, errno, "could not look at folder \"%s\"", path);
	/* Its owner could replace our keys, and files we create would not be theirs: one directory, one user.
	 */
	if (info.st_uid != geteuid()) {
		const struct passwd *owner = getpwuid(info.st_uid);
		st = error_set(err, STATUS_DENIED, 0, "data directory \"%s\" belongs to user \"%s\"", path,
		        owner ? owner->pw_name : "?");
		error_hint(err, "Run tarn as that user, or choose another path with --data.");
		return st;
	}
	if (access(path, W_OK) < 0)
		return error_set(err, STATUS_IO, errno, "cannot write to data directory \"%s\"", path);
	return STATUS_OK;
}

/* Postgres must be able to pass through, nobody needs to list; an existing folder keeps its other bits. */
static status allow_passage(const char *path, struct error *err)
{
	struct stat info;
	if (stat(path, &info) < 0)
		return error_set(err, STATUS_IO, errno, "could not look at folder \"%s\"", path);
	if ((info.st_mode & 0111) != 0111 && chmod(path, (info.st_mode | 0111) & 07777) < 0)
		return error_set(err, STATUS_IO, errno, "could not set the mode of folder \"%s\"", path);
	return STATUS_OK;
}

static bool is_ours(const char *name)
{
	static const char *const others[] = { ".", "..", "lost+found", "metadata.db", "metadata.db-wal",
		"metadata.db-shm" };
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (strcmp(name, others[i]) == 0)
			return true;
	for (size_t i = 0; i < ARRAY_LEN(folders); i++)
		if (strcmp(name, folders[i].name) == 0)
			return true;
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		size_t len = strlen(files[i]);
		if (strncmp(name, files[i], len) == 0 &&
		        (name[len] == '\0' || strcmp(name + len, ".new") == 0))
			return true;
	}
	return false;
}

/* Before the first settings.json: a folder with things of somebody else in it was named by mistake. */
static status check_not_foreign(const char *path, struct error *err)
{
	DIR *dir = opendir(path);
	if (!dir)
		return error_set(err, STATUS_IO, errno, "could not list folder \"%s\"", path);
	status st = STATUS_OK;
	for (const struct dirent *entry; st == STATUS_OK && (entry = readdir(dir));) {
		if (is_ours(entry->d_name))
			continue;
		st = error_set(err, STATUS_CONFLICT, 0,
		        "folder \"%s\" is not empty and not a data directory of Tarn", path);
		error_hint(err, "Choose an empty or new folder with --data.");
	}
	(void)closedir(dir);
	return st;
}

static bool folder_is_empty(const char *path)
{
	DIR *dir = opendir(path);
	if (!dir)
		return true;
	bool is_empty = true;
	for (const struct dirent *entry; (entry = readdir(dir));)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			is_empty = false;
	(void)closedir(dir);
	return is_empty;
}

static bool texts_equal(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* What cannot change once there is data: its files belong to one user, its databases to the first identity.
 */
static status check_changes(
        const char *path, const struct settings *before, const struct settings *after, struct error *err)
{
	if (!texts_equal(before->workspace_id, after->workspace_id) ||
	        !texts_equal(before->admin_login, after->admin_login))
		return error_set(err, STATUS_CONFLICT, 0,
		        "the workspace id and the admin's login of data directory \"%s\" cannot change",
		        path);
	if (texts_equal(before->postgres_user, after->postgres_user))
		return STATUS_OK;
	CLEANUP(free_text) char *volumes = xasprintf("%s/volumes", path);
	CLEANUP(free_text) char *templates = xasprintf("%s/templates", path);
	if (folder_is_empty(volumes) && folder_is_empty(templates))
		return STATUS_OK;
	status st = error_set(err, STATUS_CONFLICT, 0,
	        "the Postgres user of data directory \"%s\" cannot change from \"%s\": its databases belong "
	        "to that user",
	        path, before->postgres_user ? before->postgres_user : "(whoever runs tarn)");
	error_hint(err, "Leave --postgres-user out, or start with a new directory.");
	return st;
}

/* The settings this run shall leave behind; *ret_is_new when there are none on the disk or others. */
static status decide_settings(const char *path, const struct settings *changes, struct settings *ret,
        bool *ret_is_new, struct error *err)
{
	CLEANUP(free_text) char *file = xasprintf("%s/" SETTINGS_FILE, path);
	CLEANUP(settings_done) struct settings before = { 0 }, after = { 0 };
	status st = settings_file_read(file, &before, err);
	bool is_first = st == STATUS_NOT_FOUND;
	if (st != STATUS_OK && !is_first)
		return st;

	settings_set_defaults(&after);
	settings_change(&after, &before);
	if (is_first) {
		st = check_not_foreign(path, err);
		if (st != STATUS_OK)
			return st;
		after.workspace_id =
		        xasprintf("%" PRIu64, 1000000000000000u + random_u64() % 9000000000000000u);
	}
	settings_change(&after, changes);
	if (!after.postgres_user) {
		st = postgres_user_default(&after.postgres_user, err);
		if (st != STATUS_OK)
			return st;
	}
	st = settings_check(&after, err);
	if (st == STATUS_OK && !is_first)
		st = check_changes(path, &before, &after, err);
	if (st == STATUS_OK)
		st = allow_passage(path, err);
	if (st == STATUS_OK)
		st = postgres_user_check(after.postgres_user, path, err);
	if (st != STATUS_OK)
		return st;
	*ret_is_new = is_first || !settings_equal(&before, &after);
	*ret = after;
	after = (struct settings){ 0 };
	return STATUS_OK;
}

static status make_authority(const char *path, struct error *err)
{
	CLEANUP(free_text) char *key = xasprintf("%s/authority.key", path);
	CLEANUP(free_text) char *certificate = xasprintf("%s/authority.crt", path);
	if (!file_exists(certificate)) {
		/* The certificate comes last: a key without one was left by a crash and has signed nothing.
		 */
		if (unlink(key) < 0 && errno != ENOENT)
			return error_set(err, STATUS_IO, errno, "could not remove file \"%s\"", key);
		status st = authority_create(key, certificate, err);
		if (st != STATUS_OK)
			return st;
	}
	struct authority *authority = NULL;
	status st = authority_load(key, certificate, &authority, err);
	authority_free(authority);
	if (st == STATUS_NOT_FOUND || st == STATUS_CORRUPT)
		error_hint(err, "Restore %s and %s from a backup, or remove both to get a new authority.",
		        "authority.key", "authority.crt");
	return st;
}

static status make_token_key(const char *path, struct error *err)
{
	CLEANUP(free_text) char *key_path = xasprintf("%s/token.key", path);
	if (!file_exists(key_path)) {
		status st = token_key_create(key_path, err);
		if (st != STATUS_OK)
			return st;
	}
	struct token_key *key = NULL;
	status st = token_key_load(key_path, &key, err);
	token_key_free(key);
	if (st == STATUS_CORRUPT)
		error_hint(err, "Remove it to get a new one: database tokens that are out stop working, "
		                "nothing else.");
	return st;
}

static status make_admin_token(const char *path, struct error *err)
{
	CLEANUP(free_text) char *token_path = xasprintf("%s/admin.token", path);
	if (file_exists(token_path))
		return STATUS_OK;
	char token[API_TOKEN_LEN + 2];
	api_token_generate(token);
	token[API_TOKEN_LEN] = '\n';
	token[API_TOKEN_LEN + 1] = '\0';
	return file_replace_durably(token_path, slice_from_text(token), 0600, err);
}

static status initialise_locked(const char *path, const struct settings *changes, struct error *err)
{
	CLEANUP(settings_done) struct settings settings = { 0 };
	bool is_new = false;
	status st = decide_settings(path, changes, &settings, &is_new, err);
	if (st != STATUS_OK)
		return st;

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		CLEANUP(free_text) char *left_over = xasprintf("%s/%s.new", path, files[i]);
		(void)unlink(left_over); /* of a crash; the next writer would replace it anyway */
	}
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		CLEANUP(free_text) char *folder = xasprintf("%s/%s", path, folders[i].name);
		st = folder_make(folder, folders[i].mode, err);
		if (st != STATUS_OK)
			return st;
	}
	st = make_authority(path, err);
	if (st == STATUS_OK)
		st = make_token_key(path, err);
	if (st == STATUS_OK)
		st = make_admin_token(path, err);
	/* Last, and only when all else is durable: settings.json says that the directory is complete. */
	if (st == STATUS_OK)
		st = folder_sync(path, err);
	if (st == STATUS_OK && is_new) {
		CLEANUP(free_text) char *file = xasprintf("%s/" SETTINGS_FILE, path);
		st = settings_file_write(file, &settings, err);
	}
	return st;
}

status data_directory_initialise(const char *path, const struct settings *changes, struct error *err)
{
	CLEANUP(free_text) char *whole = NULL;
	status st = normalise(path, &whole, err);
	if (st == STATUS_OK)
		st = make_folder(whole, err);
	if (st != STATUS_OK)
		return st;
	/* Two first runs at the same time would each make keys; the second waits here and finds everything
	 * made. */
	CLEANUP(close_fd) int fd = open(whole, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		return error_set(err, STATUS_IO, errno, "could not lock folder \"%s\"", whole);
	return initialise_locked(whole, changes, err);
}

status data_directory_open(const char *path, struct data_directory **ret, struct error *err)
{
	CLEANUP(free_text) char *whole = NULL;
	status st = normalise(path, &whole, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *file = xasprintf("%s/" SETTINGS_FILE, whole);
	struct settings settings;
	st = settings_file_read(file, &settings, err);
	if (st == STATUS_NOT_FOUND) {
		st = error_set(err, STATUS_NOT_FOUND, 0, "\"%s\" is not a data directory of Tarn", whole);
		error_hint(err, "tarn up --data %s makes one; --data names another.", whole);
	}
	if (st != STATUS_OK)
		return st;
	struct data_directory *dd = xcalloc(1, sizeof *dd);
	dd->path = TAKE_PTR(whole);
	dd->settings = settings;
	*ret = dd;
	return STATUS_OK;
}

struct data_directory *data_directory_free(struct data_directory *dd)
{
	if (dd) {
		free(dd->path);
		settings_done(&dd->settings);
		free(dd);
	}
	return NULL;
}

char *data_directory_path(const struct data_directory *dd, const char *fmt, ...)
{
	CLEANUP(buffer_done) struct buffer out = { 0 };
	buffer_printf(&out, "%s/", dd->path);
	char *rest = NULL;
	va_list args;
	va_start(args, fmt);
	int len = vasprintf(&rest, fmt, args);
	va_end(args);
	if (len < 0)
		abort();
	buffer_append_text(&out, rest);
	free(rest);
	return TAKE_PTR(out.data);
}
