#include "page_filesystem/mount.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mount_table.h"
#include "base/program.h"
#include "page_filesystem/workers.h"

#define DEVICE "/dev/fuse"
#define TYPE   "fuse.tarn"
#define SOURCE "tarn"
/* Stacked dead mounts are a riddle, not a loop. */
#define STALE_MAX 16
/* For files that are read in sequence; the kernel's own 128 kB made cold scans 0.4 times as fast as ext4's (architecture.md 3.1). */
#define READ_AHEAD_KB 8192

struct mount {
	char *path;
	struct fuse_session *session;
	struct operations *operations; /* borrowed */
	bool is_by_helper, is_mounted;
};

/* libfuse's own words: rare, and worth having. */
__attribute__((format(printf, 2, 0))) static void log_library(
        enum fuse_log_level level, const char *fmt, va_list arguments)
{
	char text[512];
	(void)vsnprintf(text, sizeof text, fmt, arguments);
	text[strcspn(text, "\n")] = '\0';
	if (level <= FUSE_LOG_ERR)
		log_error("%s", text);
	else if (level <= FUSE_LOG_WARNING)
		log_warning("%s", text);
}

/*
 * Asks the file system at the path, not the kernel's memory of it: attributes of a dead file system's root are still good for a day.
 * Whoever is alive there is not of this volume: its image is locked by us.
 */
static status remove_stale(const char *path, struct error *err)
{
	for (int i = 0; i < STALE_MAX; i++) {
		struct statfs fs;
		int rc = statfs(path, &fs) < 0 ? errno : 0;
		if (rc == 0 && fs.f_type == FUSE_SUPER_MAGIC) {
			struct stat here, above;
			CLEANUP(free_text) char *parent = xasprintf("%s/..", path);
			if (lstat(path, &here) == 0 && lstat(parent, &above) == 0 &&
			        here.st_dev == above.st_dev)
				return STATUS_OK; /* the data directory itself is on a FUSE file system */
			return error_set(
			        err, STATUS_CONFLICT, 0, "another file system is mounted at \"%s\"", path);
		}
		if (rc == 0)
			return STATUS_OK;
		if (rc != ENOTCONN && rc != ECONNABORTED)
			return error_set(err, rc == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, rc,
			        "cannot mount at \"%s\"", path);
		status st = mount_table_detach_once(path, err);
		if (st != STATUS_OK)
			return st;
		log_warning("removed the mount that a dead process left at \"%s\"", path);
	}
	return error_set(err, STATUS_CONFLICT, 0, "there are too many dead mounts at \"%s\"", path);
}

static status explain(int code, const char *path, struct error *err)
{
	if (code == EPERM || code == EACCES) {
		error_fill(err, STATUS_DENIED, code, "could not mount at \"%s\"", path);
		error_hint(err,
		        "In a container, allow it: --device /dev/fuse --cap-add SYS_ADMIN --security-opt "
		        "apparmor=unconfined.");
	} else if (code == ENODEV) {
		error_fill(err, STATUS_UNSUPPORTED, code, "could not mount at \"%s\": the kernel has no FUSE",
		        path);
		error_hint(err, "Load the module on the host: modprobe fuse.");
	} else {
		error_fill(err, STATUS_IO, code, "could not mount at \"%s\"", path);
	}
	return err->code;
}

static status open_device(int *ret_fd, struct error *err)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		*ret_fd = fd;
		return STATUS_OK;
	}
	int code = errno;
	if (code == ENOENT || code == ENODEV || code == ENXIO) {
		error_fill(err, STATUS_UNSUPPORTED, code, "could not open " DEVICE);
		error_hint(err, "Load the module on the host: modprobe fuse; give it to a container: "
		                "--device /dev/fuse.");
	} else if (code == EACCES || code == EPERM) {
		error_fill(err, STATUS_DENIED, code, "could not open " DEVICE);
		error_hint(err, "Make it usable (chmod 666 /dev/fuse, which is the default), or in a "
		                "container give --device "
		                "/dev/fuse.");
	} else {
		error_fill(err, STATUS_IO, code, "could not open " DEVICE);
	}
	return err->code;
}

static int mount_at(const char *path, const char *options)
{
	return mount(SOURCE, path, TYPE, MS_NOSUID | MS_NODEV | MS_NOATIME, options) < 0 ? errno : 0;
}

/* With the system call, not through libfuse: that would lose the errno which says what to do. */
static status mount_as_root(struct mount *mount, struct error *err)
{
	CLEANUP(close_fd) int fd = -1;
	status st = open_device(&fd, err);
	if (st != STATUS_OK)
		return st;
	char options[160], place[32];
	(void)snprintf(options, sizeof options,
	        "fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions,allow_other", fd,
	        (unsigned)geteuid(), (unsigned)getegid());
	int code = mount_at(mount->path, options);
	if (code != 0)
		return explain(code, mount->path, err);
	mount->is_mounted = true;
	(void)snprintf(place, sizeof place, "/dev/fd/%d", fd);
	if (fuse_session_mount(mount->session, place) != 0)
		return error_set(err, STATUS_INTERNAL, 0, "libfuse does not take its own device");
	(void)TAKE_FD(fd);
	return STATUS_OK;
}

static status mount_by_helper(struct mount *mount, struct error *err)
{
	/* libfuse opens it, too, before it asks fusermount3; but we know better what to say. */
	CLEANUP(close_fd) int probe = -1;
	status st = open_device(&probe, err);
	if (st != STATUS_OK)
		return st;
	if (!mount_table_find_helper()) {
		error_fill(err, STATUS_UNSUPPORTED, 0,
		        "cannot mount as an ordinary user: fusermount3 is missing");
		error_hint(err, "Install it: apt install fuse3.");
		return err->code;
	}
	mount->is_by_helper = true;
	if (fuse_session_mount(mount->session, mount->path) != 0) {
		error_fill(
		        err, STATUS_DENIED, 0, "could not mount at \"%s\" through fusermount3", mount->path);
		error_hint(err, "The lines above say why. fusermount3 must be owned by root and set-user-id; "
		                "containers "
		                "often forbid that.");
		return err->code;
	}
	mount->is_mounted = true;
	return STATUS_OK;
}

/* The kernel's greeting, INIT, which says what both sides can do. It is there as soon as the mount is. */
static status answer_greeting(struct mount *mount, struct error *err)
{
	struct fuse_buf greeting = { 0 };
	int n;
	do
		n = fuse_session_receive_buf(mount->session, &greeting);
	while (n == -EINTR);
	if (n <= 0)
		return error_set(err, STATUS_IO, -n, "the kernel did not greet the file system at \"%s\"",
		        mount->path);
	fuse_session_process_buf(mount->session, &greeting);
	free(greeting.mem);
	return STATUS_OK;
}

/* After the greeting, whose answer can only make it smaller. What the kernel remembers of the root is enough here: no request is made. */
static void set_read_ahead(const struct mount *mount)
{
	struct statx st;
	if (statx(AT_FDCWD, mount->path, AT_STATX_DONT_SYNC | AT_SYMLINK_NOFOLLOW, STATX_TYPE, &st) < 0)
		return;
	char path[64], text[16];
	(void)snprintf(
	        path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", st.stx_dev_major, st.stx_dev_minor);
	int len = snprintf(text, sizeof text, "%d", READ_AHEAD_KB);
	CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CLOEXEC);
	/* Not permitted: sequential reads are slower, that is all. */
	if (fd < 0 || write(fd, text, (size_t)len) != len)
		log_info("could not raise the read-ahead: %s", strerror(errno));
}

static void fuse_args_done(struct fuse_args *args)
{
	fuse_opt_free_args(args);
}

static status make_session(struct mount *mount, struct operations *operations, struct error *err)
{
	CLEANUP(fuse_args_done) struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	if (fuse_opt_add_arg(&args, "tarn") != 0 ||
	        (geteuid() != 0 && (fuse_opt_add_arg(&args, "-odefault_permissions,noatime,fsname=" SOURCE
	                                                    ",subtype=tarn") != 0)))
		return error_set(err, STATUS_NO_MEMORY, 0, "could not set up FUSE: no memory");
	mount->session = fuse_session_new(&args, &operations_table, sizeof operations_table, operations);
	if (!mount->session)
		return error_set(err, STATUS_INTERNAL, 0, "could not set up a FUSE session");
	return STATUS_OK;
}

static void mount_freep(struct mount **mount)
{
	*mount = mount_free(*mount);
}

status mount_open(const char *path, struct operations *operations, struct mount **ret, struct error *err)
{
	CLEANUP(mount_freep) struct mount *mount = xcalloc(1, sizeof *mount);
	mount->path = xstrdup(path);
	mount->operations = operations;
	fuse_set_log_func(log_library);
	status st = remove_stale(path, err);
	if (st == STATUS_OK)
		st = make_session(mount, operations, err);
	if (st == STATUS_OK)
		st = geteuid() == 0 ? mount_as_root(mount, err) : mount_by_helper(mount, err);
	if (st == STATUS_OK)
		st = answer_greeting(mount, err);
	if (st != STATUS_OK)
		return st;
	set_read_ahead(mount);
	*ret = TAKE_PTR(mount);
	return STATUS_OK;
}

status mount_serve(struct mount *mount, struct error *err)
{
	status st = workers_serve(mount->session, mount->operations, err);
	mount->is_mounted = false;
	return st == STATUS_OK ? STATUS_OK
	                       : error_prefix(err, "the file system at \"%s\" ended", mount->path);
}

status mount_detach(struct mount *mount, struct error *err)
{
	return mount_table_detach_once(mount->path, err);
}

struct mount *mount_free(struct mount *mount)
{
	if (!mount)
		return NULL;
	struct error ignored;
	if (mount->is_mounted && mount_table_detach_once(mount->path, &ignored) != STATUS_OK)
		log_warning("%s", ignored.message);
	if (mount->session) {
		if (mount->is_by_helper)
			fuse_session_unmount(mount->session);
		fuse_session_destroy(mount->session);
	}
	free(mount->path);
	free(mount);
	return NULL;
}
