/*
 * What page_store/disk.c has, on real files, with a power switch. Linked in its place it gives a `tarn` whose page store loses power when its process gets SIGUSR2: every write that no sync has covered is kept, lost, or torn at a sector, by chance; files and
 * names that no folder's sync has covered are lost or kept; then the process is gone. What is on the real disk afterwards is what a power cut
 * could have left. TARN_POWER_SEED seeds the chance.
 *
 * TARN_POWER_ONE_SLOT=1 takes the protection away that is under test: both slot files of a page are one, so pages are overwritten in place. A
 * test that does not fail then does not test anything.
 *
 * How: a write remembers the bytes it replaces until a sync of its file has begun after it and ended well. A cut goes through what is
 * remembered, newest first. One lock, held shared by every call and exclusively (for ever) by the cut, makes it one moment.
 */
#include "page_store/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#define SECTOR_BYTES 512u

enum undo_kind { UNDO_WRITE, UNDO_SIZE, UNDO_CREATE, UNDO_RENAME };

/* A file or folder that something is remembered of, with one descriptor for all of it. */
struct target {
	dev_t device;
	ino_t inode;
	int fd;
	size_t users;
	LIST_ENTRY(target) link;
};

struct undo {
	enum undo_kind kind;
	struct target *target; /* the file; for names: the folder, whose sync settles them */
	int fd;                /* the target's */
	uint64_t sync;         /* number of the sync that is about to settle it; 0: none */
	uint64_t at;
	size_t len;   /* of what the write replaced */
	uint8_t *old; /* bytes that were there, as far as the file went */
	size_t old_len;
	char *name, *other; /* RENAME: name became other; kept is a link to what other was, if anything */
	char *kept;
	TAILQ_ENTRY(undo) link;
};

static pthread_rwlock_t power = PTHREAD_RWLOCK_INITIALIZER;
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static TAILQ_HEAD(undo_list, undo) undos = TAILQ_HEAD_INITIALIZER(undos);
static LIST_HEAD(target_list, target) targets = LIST_HEAD_INITIALIZER(targets);
static uint64_t syncs;
static unsigned kept_names;
static unsigned short chance[3];
static pthread_once_t begun = PTHREAD_ONCE_INIT;

/* Under list_lock. */
static void leave_target(struct target *target)
{
	if (--target->users > 0)
		return;
	LIST_REMOVE(target, link);
	(void)close(target->fd);
	free(target);
}

/* Under list_lock. */
static struct target *find_target(int fd)
{
	struct stat st;
	struct target *target;
	if (fstat(fd, &st) < 0)
		abort();
	LIST_FOREACH (target, &targets, link)
		if (target->device == st.st_dev && target->inode == st.st_ino)
			return target;
	return NULL;
}

/* Under list_lock. */
static struct target *join_target(int fd)
{
	struct stat st;
	struct target *target = find_target(fd);
	if (!target) {
		if (fstat(fd, &st) < 0)
			abort();
		target = xcalloc(1, sizeof *target);
		target->device = st.st_dev;
		target->inode = st.st_ino;
		/* Opened anew, because the caller's may be for writing only; a folder is only duplicated. */
		char path[64];
		(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		target->fd =
		        S_ISDIR(st.st_mode) ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : open(path, O_RDWR | O_CLOEXEC);
		if (target->fd < 0)
			abort(); /* the test wants a higher descriptor limit */
		LIST_INSERT_HEAD(&targets, target, link);
	}
	target->users++;
	return target;
}

/* Under list_lock. */
static void free_undo(struct undo *undo)
{
	leave_target(undo->target);
	free(undo->old);
	free(undo->name);
	free(undo->other);
	free(undo->kept);
	free(undo);
}

/* What is not the whole page store's doing but the test's own: nothing can be done but say so. */
static void must(int result, const char *what)
{
	if (result < 0)
		(void)fprintf(stderr, "power cut: %s: %s\n", what, strerror(errno));
}

static void lose_bytes(const struct undo *undo)
{
	double fate = erand48(chance);
	if (fate < 0.4)
		return; /* it had reached the disk */
	bool is_torn = fate < 0.7;
	for (size_t i = 0; i < undo->old_len; i += SECTOR_BYTES) {
		size_t len = undo->old_len - i < SECTOR_BYTES ? undo->old_len - i : SECTOR_BYTES;
		if (is_torn && erand48(chance) < 0.5)
			continue;
		must((int)pwrite(undo->fd, undo->old + i, len, (off_t)(undo->at + i)), "write");
	}
}

static void lose(const struct undo *undo)
{
	switch (undo->kind) {
	case UNDO_WRITE:
		lose_bytes(undo);
		break;
	case UNDO_SIZE:
		if (erand48(chance) < 0.5)
			must(ftruncate(undo->fd, (off_t)undo->at), "truncate");
		break;
	case UNDO_CREATE:
		if (erand48(chance) < 0.5)
			must(unlinkat(undo->fd, undo->name, 0) < 0 && errno != ENOENT ? -1 : 0, "unlink");
		break;
	case UNDO_RENAME:
		if (erand48(chance) < 0.5)
			break;
		must(renameat(undo->fd, undo->other, undo->fd, undo->name), "rename back");
		if (undo->kept)
			must(renameat(undo->fd, undo->kept, undo->fd, undo->other), "rename back");
		break;
	}
}

static void *wait_for_cut(void *arg)
{
	sigset_t set;
	int number;
	(void)arg;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGUSR2);
	while (sigwait(&set, &number) != 0)
		;
	(void)pthread_rwlock_wrlock(&power); /* for ever */
	struct undo *undo;
	unsigned count = 0;
	TAILQ_FOREACH_REVERSE(undo, &undos, undo_list, link)
	{
		lose(undo);
		count++;
	}
	/* A rename that stayed leaves the link to what it replaced. */
	TAILQ_FOREACH (undo, &undos, link)
		if (undo->kept)
			(void)unlinkat(undo->fd, undo->kept, 0);
	(void)fprintf(stderr, "power cut: %u changes were not on the disk\n", count);
	_exit(137);
}

static void begin(void)
{
	const char *text = getenv("TARN_POWER_SEED");
	unsigned long seed = text ? strtoul(text, NULL, 10) : (unsigned long)getpid();
	chance[0] = (unsigned short)seed;
	chance[1] = (unsigned short)(seed >> 16);
	chance[2] = 0x330e;
	pthread_t thread;
	if (pthread_create(&thread, NULL, wait_for_cut, NULL) == 0)
		(void)pthread_detach(thread);
}

/* Before main(), so that every thread has the signal blocked. */
__attribute__((constructor)) static void block_signal(void)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGUSR2);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
}

static void power_on(void)
{
	(void)pthread_once(&begun, begin);
	(void)pthread_rwlock_rdlock(&power);
}

static void power_done(void)
{
	int saved = errno;
	(void)pthread_rwlock_unlock(&power);
	errno = saved;
}

static struct undo *remember(enum undo_kind kind, int fd)
{
	struct undo *undo = xcalloc(1, sizeof *undo);
	undo->kind = kind;
	(void)pthread_mutex_lock(&list_lock);
	undo->target = join_target(fd);
	(void)pthread_mutex_unlock(&list_lock);
	undo->fd = undo->target->fd;
	return undo;
}

static void add(struct undo *undo)
{
	(void)pthread_mutex_lock(&list_lock);
	TAILQ_INSERT_TAIL(&undos, undo, link);
	(void)pthread_mutex_unlock(&list_lock);
}

static void drop(struct undo *undo)
{
	(void)pthread_mutex_lock(&list_lock);
	free_undo(undo);
	(void)pthread_mutex_unlock(&list_lock);
}

/* What is remembered of this file up to now is what a sync that begins now settles if it ends well. */
static uint64_t begin_sync(int fd)
{
	struct undo *undo;
	(void)pthread_mutex_lock(&list_lock);
	uint64_t number = ++syncs;
	struct target *target = find_target(fd);
	TAILQ_FOREACH (undo, &undos, link)
		if (target && undo->target == target && undo->sync == 0)
			undo->sync = number;
	(void)pthread_mutex_unlock(&list_lock);
	return number;
}

static void end_sync(uint64_t number, bool is_good)
{
	(void)pthread_mutex_lock(&list_lock);
	struct undo *next;
	for (struct undo *undo = TAILQ_FIRST(&undos); undo; undo = next) {
		next = TAILQ_NEXT(undo, link);
		if (undo->sync != number)
			continue;
		undo->sync = 0;
		if (!is_good)
			continue;
		TAILQ_REMOVE(&undos, undo, link);
		if (undo->kept)
			(void)unlinkat(undo->fd, undo->kept, 0);
		free_undo(undo);
	}
	(void)pthread_mutex_unlock(&list_lock);
}

static const char *slot_name(const char *name, char out[64])
{
	size_t len = strlen(name);
	const char *one = getenv("TARN_POWER_ONE_SLOT");
	if (!one || *one != '1' || len < 3 || len >= 64 || strcmp(name + len - 2, ".1") != 0 ||
	        strspn(name, "0123456789abcdef") != len - 2)
		return name;
	(void)snprintf(out, 64, "%.*s.0", (int)(len - 2), name);
	return out;
}

int disk_open(int folder_fd, const char *name, int flags, mode_t mode)
{
	char other[64];
	power_on();
	name = slot_name(name, other);
	bool is_new = (flags & O_CREAT) && faccessat(folder_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
	int fd = openat(folder_fd, name, flags | O_CLOEXEC, mode);
	if (fd >= 0 && is_new) {
		struct undo *undo = remember(UNDO_CREATE, folder_fd);
		undo->name = xstrdup(name);
		add(undo);
	}
	power_done();
	return fd;
}

ssize_t disk_write(int fd, const void *bytes, size_t len, uint64_t at)
{
	power_on();
	struct undo *undo = remember(UNDO_WRITE, fd);
	undo->at = at;
	undo->len = len;
	undo->old = xcalloc(1, len ? len : 1);
	undo->old_len = len;
	ssize_t was = disk_read(undo->fd, undo->old, len, at);
	size_t done = 0;
	while (was >= 0 && done < len) {
		ssize_t n = pwrite(fd, (const uint8_t *)bytes + done, len - done, (off_t)(at + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		done += (size_t)n;
	}
	/* A write that went behind the end may also be lost as size; zeros stand for it otherwise. */
	add(undo);
	power_done();
	return was >= 0 && done == len ? (ssize_t)len : -1;
}

static int sync_with(int fd, int (*sync)(int))
{
	power_on();
	uint64_t number = begin_sync(fd);
	power_done();
	int result = sync(fd);
	int saved = errno;
	power_on();
	end_sync(number, result == 0);
	power_done();
	errno = saved;
	return result;
}

int disk_sync(int fd)
{
	struct stat st;
	return sync_with(fd, fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? fsync : fdatasync);
}

int disk_allocate(int fd, uint64_t at, uint64_t len)
{
	power_on();
	int result = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)len);
	power_done();
	return result;
}

void disk_begin_write_back(int fd, uint64_t at, uint64_t len)
{
	(void)fd, (void)at, (void)len;
}

int disk_punch(int fd, uint64_t at, uint64_t len)
{
	power_on();
	int result = fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, (off_t)at, (off_t)len);
	power_done();
	return result;
}

int disk_truncate(int fd, uint64_t len)
{
	struct stat st;
	power_on();
	int result = fstat(fd, &st);
	struct undo *undo = NULL;
	if (result == 0 && (uint64_t)st.st_size < len) {
		undo = remember(UNDO_SIZE, fd);
		undo->at = (uint64_t)st.st_size;
	}
	if (result == 0)
		result = ftruncate(fd, (off_t)len);
	if (undo)
		add(undo);
	power_done();
	return result;
}

int disk_stat(int fd, struct stat *ret)
{
	return fstat(fd, ret);
}

int disk_statvfs(int fd, struct statvfs *ret)
{
	return fstatvfs(fd, ret);
}

int disk_rename(int folder_fd, const char *from, const char *to)
{
	power_on();
	struct undo *undo = remember(UNDO_RENAME, folder_fd);
	undo->name = xstrdup(from);
	undo->other = xstrdup(to);
	undo->kept = xasprintf("%s.kept-%u", to, __atomic_add_fetch(&kept_names, 1, __ATOMIC_RELAXED));
	if (linkat(folder_fd, to, folder_fd, undo->kept, 0) < 0) {
		free(undo->kept);
		undo->kept = NULL;
	}
	int result = renameat(folder_fd, from, folder_fd, to);
	if (result < 0 && undo->kept)
		(void)unlinkat(folder_fd, undo->kept, 0);
	if (result == 0)
		add(undo);
	else
		drop(undo);
	power_done();
	return result;
}

int disk_unlink(int folder_fd, const char *name)
{
	char other[64];
	power_on();
	int result = unlinkat(folder_fd, slot_name(name, other), 0);
	power_done();
	return result < 0 && errno == ENOENT ? 0 : result;
}

int disk_make_folder(int folder_fd, const char *name, mode_t mode)
{
	power_on();
	int result = mkdirat(folder_fd, name, mode);
	power_done();
	return result;
}

int disk_close(int fd)
{
	return close(fd);
}
