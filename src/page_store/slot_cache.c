#include "page_store/slot_cache.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "page_store/disk.h"

#define SHARDS         16u
#define BUCKETS        1024u /* of a shard */
#define CAPACITY_MAX   32768u
#define CAPACITY_MIN   (2 * SHARDS)
#define WRITE_BACK     (UINT64_C(256) << 10)
#define CLEAN_LOOK_MAX 8 /* so many of the oldest are looked through for a clean one */

struct slot_file {
	struct slot_owner *owner;
	uint64_t inode;
	uint32_t slot;
	int fd;
	unsigned users;       /* with the shard's lock */
	atomic_bool is_dirty; /* written to since the last sync */
	/* Written without a gap, and not on its way to the disk yet. Two writers at a time would only mislead it. */
	_Atomic uint64_t run_begin, run_end;
	pthread_mutex_t sync_lock;       /* held from a sync until its failure is known to the owner */
	struct slot_file *same;          /* next in the bucket */
	struct slot_file *newer, *older; /* of the idle ones: users == 0 */
};

struct shard {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* somebody gave back */
	struct slot_file *buckets[BUCKETS];
	struct slot_file *newest, *oldest; /* idle ones */
	unsigned idle;
};

/* Initialised by hand: static initialisers of pthread types, one per shard. */
#define SHARD                                                                                                \
	{                                                                                                    \
		.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER                       \
	}
#define SHARD_4 SHARD, SHARD, SHARD, SHARD
static struct shard shards[SHARDS] = { SHARD_4, SHARD_4, SHARD_4, SHARD_4 };
static atomic_uint idle_max; /* of a shard; 0: not yet known */
static atomic_uint_fast64_t last_serial;

static unsigned find_idle_max(void)
{
	unsigned known = atomic_load_explicit(&idle_max, memory_order_relaxed);
	if (known)
		return known;
	/* Half of what the process may have: the other half is for sockets, manifests, journals and what is in use. */
	struct rlimit limit;
	unsigned capacity = CAPACITY_MIN;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		capacity = limit.rlim_cur / 2 > CAPACITY_MAX ? CAPACITY_MAX : (unsigned)(limit.rlim_cur / 2);
	if (capacity < CAPACITY_MIN)
		capacity = CAPACITY_MIN;
	atomic_store_explicit(&idle_max, capacity / SHARDS, memory_order_relaxed);
	return capacity / SHARDS;
}

void slot_cache_set_capacity(unsigned capacity)
{
	atomic_store(&idle_max, capacity && capacity < SHARDS ? 1 : capacity / SHARDS);
}

void slot_name(char out[SLOT_NAME_BYTES], uint64_t inode, uint32_t slot)
{
	(void)snprintf(out, SLOT_NAME_BYTES, "%016llx.%u", (unsigned long long)inode, slot & 1);
}

bool slot_name_parse(const char *name, uint64_t *ret_inode, uint32_t *ret_slot)
{
	if (strlen(name) != 18 || strspn(name, "0123456789abcdef") != 16 || name[16] != '.' ||
	        (name[17] != '0' && name[17] != '1'))
		return false;
	*ret_inode = strtoull(name, NULL, 16);
	*ret_slot = (uint32_t)(name[17] - '0');
	return true;
}

void slot_owner_init(struct slot_owner *owner, int folder_fd)
{
	*owner = (struct slot_owner){ .serial = atomic_fetch_add(&last_serial, 1) + 1,
		.folder_fd = folder_fd };
	(void)pthread_mutex_init(&owner->folder_lock, NULL);
}

/* ---- lists, all with the shard's lock ---- */

static uint64_t place_hash(const struct slot_owner *owner, uint64_t inode, uint32_t slot)
{
	uint64_t h = (inode * 2 + slot) ^ (owner->serial << 40);
	h = (h ^ (h >> 32)) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ (h >> 29);
}

static struct shard *shard_of(uint64_t hash)
{
	return &shards[hash % SHARDS];
}

static struct slot_file **bucket_of(struct shard *shard, uint64_t hash)
{
	return &shard->buckets[(hash / SHARDS) % BUCKETS];
}

static struct slot_file *find(
        struct shard *shard, uint64_t hash, const struct slot_owner *owner, uint64_t inode, uint32_t slot)
{
	struct slot_file *file = *bucket_of(shard, hash);
	while (file && (file->owner != owner || file->inode != inode || file->slot != slot))
		file = file->same;
	return file;
}

static void list_idle(struct shard *shard, struct slot_file *file)
{
	file->newer = NULL;
	file->older = shard->newest;
	*(shard->newest ? &shard->newest->newer : &shard->oldest) = file;
	shard->newest = file;
	shard->idle++;
}

static void unlist_idle(struct shard *shard, struct slot_file *file)
{
	*(file->newer ? &file->newer->older : &shard->newest) = file->older;
	*(file->older ? &file->older->newer : &shard->oldest) = file->newer;
	file->newer = file->older = NULL;
	assert(shard->idle > 0);
	shard->idle--;
}

static void hold(struct shard *shard, struct slot_file *file)
{
	if (file->users++ == 0)
		unlist_idle(shard, file);
}

static void let_go(struct shard *shard, struct slot_file *file)
{
	assert(file->users > 0);
	if (--file->users == 0) {
		list_idle(shard, file);
		(void)pthread_cond_broadcast(&shard->changed);
	}
}

/* Out of the bucket and the idle list; the caller frees. */
static void take_out(struct shard *shard, struct slot_file *file)
{
	assert(file->users == 0);
	unlist_idle(shard, file);
	struct slot_file **link = bucket_of(shard, place_hash(file->owner, file->inode, file->slot));
	while (*link != file)
		link = &(*link)->same;
	*link = file->same;
}

static struct slot_file *file_free(struct slot_file *file)
{
	(void)disk_close(file->fd);
	(void)pthread_mutex_destroy(&file->sync_lock);
	free(file);
	return NULL;
}

/* ---- syncing and evicting ---- */

static void note_failure(struct slot_owner *owner, int failure)
{
	int none = 0;
	(void)atomic_compare_exchange_strong(&owner->failure, &none, failure ? failure : EIO);
}

/* Of a file that is held. The owner knows of a failure when this returns, whoever met it. */
static void sync_held(struct slot_file *file)
{
	(void)pthread_mutex_lock(&file->sync_lock);
	if (atomic_exchange(&file->is_dirty, false) && disk_sync(file->fd) < 0)
		note_failure(file->owner, errno);
	(void)pthread_mutex_unlock(&file->sync_lock);
}

/* Closes the oldest idle file of the shard, a clean one if there is one among the oldest. False: none is idle. With the lock, which is
 * released meanwhile if it has to sync. */
static bool evict(struct shard *shard)
{
	for (;;) {
		struct slot_file *victim = shard->oldest;
		if (!victim)
			return false;
		struct slot_file *file = victim;
		for (int i = 0; i < CLEAN_LOOK_MAX && file; i++, file = file->newer) {
			if (!atomic_load(&file->is_dirty)) {
				take_out(shard, file);
				(void)file_free(file);
				return true;
			}
		}
		hold(shard, victim);
		(void)pthread_mutex_unlock(&shard->lock);
		sync_held(victim); /* C2 */
		(void)pthread_mutex_lock(&shard->lock);
		bool is_last = victim->users == 1;
		let_go(shard, victim);
		if (!is_last)
			continue; /* somebody wants it */
		if (!atomic_load(&victim->is_dirty)) {
			take_out(shard, victim);
			(void)file_free(victim);
			return true;
		}
	}
}

static bool evict_anywhere(void)
{
	for (unsigned i = 0; i < SHARDS; i++) {
		(void)pthread_mutex_lock(&shards[i].lock);
		bool has_closed = evict(&shards[i]);
		(void)pthread_mutex_unlock(&shards[i].lock);
		if (has_closed)
			return true;
	}
	return false;
}

static void make_room(struct shard *shard)
{
	unsigned max = find_idle_max();
	while (shard->idle > max && evict(shard))
		;
}

/* ---- use ---- */

static int open_slot(struct slot_owner *owner, uint64_t inode, uint32_t slot, bool may_make)
{
	char name[SLOT_NAME_BYTES];
	slot_name(name, inode, slot);
	for (;;) {
		int fd = disk_open(owner->folder_fd, name, O_RDWR, 0);
		if (fd < 0 && errno == ENOENT && may_make) {
			/* With the lock, so that nobody who finds the file there can miss that its name is to be synced. */
			(void)pthread_mutex_lock(&owner->folder_lock);
			fd = disk_open(owner->folder_fd, name, O_RDWR | O_CREAT, 0600);
			int saved = errno;
			if (fd >= 0)
				owner->made++;
			(void)pthread_mutex_unlock(&owner->folder_lock);
			errno = saved;
		}
		if (fd >= 0)
			return fd;
		int failure = errno;
		if ((failure != EMFILE && failure != ENFILE) || !evict_anywhere())
			return -(failure ? failure : EIO);
	}
}

int slot_cache_take(
        struct slot_owner *owner, uint64_t inode, uint32_t slot, bool may_make, struct slot_file **ret)
{
	uint64_t hash = place_hash(owner, inode, slot);
	struct shard *shard = shard_of(hash);
	(void)pthread_mutex_lock(&shard->lock);
	struct slot_file *file = find(shard, hash, owner, inode, slot);
	if (file)
		hold(shard, file);
	(void)pthread_mutex_unlock(&shard->lock);
	if (file) {
		*ret = file;
		return 0;
	}

	/* Opened without the lock: a cold folder may take its time. If somebody was faster, theirs is used. */
	int fd = open_slot(owner, inode, slot, may_make);
	if (fd < 0)
		return fd;
	struct slot_file *fresh = xcalloc(1, sizeof *fresh);
	*fresh = (struct slot_file){ .owner = owner, .inode = inode, .slot = slot, .fd = fd, .users = 1 };
	(void)pthread_mutex_init(&fresh->sync_lock, NULL);
	(void)pthread_mutex_lock(&shard->lock);
	file = find(shard, hash, owner, inode, slot);
	if (file) {
		hold(shard, file);
	} else {
		struct slot_file **bucket = bucket_of(shard, hash);
		fresh->same = *bucket;
		*bucket = fresh;
		file = TAKE_PTR(fresh);
	}
	make_room(shard);
	(void)pthread_mutex_unlock(&shard->lock);
	if (fresh)
		(void)file_free(fresh);
	*ret = file;
	return 0;
}

int slot_file_fd(const struct slot_file *file)
{
	return file->fd;
}

/* Where the run begins that ends with these bytes. */
static uint64_t run_with(const struct slot_file *file, uint64_t at)
{
	return at == atomic_load_explicit(&file->run_end, memory_order_relaxed)
	               ? atomic_load_explicit(&file->run_begin, memory_order_relaxed)
	               : at;
}

bool slot_file_is_due(const struct slot_file *file, uint64_t at, uint64_t len)
{
	return at + len - run_with(file, at) >= WRITE_BACK;
}

void slot_file_note(struct slot_file *file, uint64_t at, uint64_t len)
{
	uint64_t begin = run_with(file, at), end = at + len;
	if (end - begin >= WRITE_BACK) {
		disk_begin_write_back(file->fd, begin, end - begin);
		begin = end;
	}
	atomic_store_explicit(&file->run_begin, begin, memory_order_relaxed);
	atomic_store_explicit(&file->run_end, end, memory_order_relaxed);
}

void slot_cache_give_back(struct slot_file *file, bool was_written)
{
	if (was_written)
		atomic_store(&file->is_dirty, true);
	struct shard *shard = shard_of(place_hash(file->owner, file->inode, file->slot));
	(void)pthread_mutex_lock(&shard->lock);
	let_go(shard, file);
	(void)pthread_mutex_unlock(&shard->lock);
}

static void sync_folder(struct slot_owner *owner)
{
	(void)pthread_mutex_lock(&owner->folder_lock);
	if (owner->made != owner->made_and_synced) {
		if (disk_sync(owner->folder_fd) < 0)
			note_failure(owner, errno);
		else
			owner->made_and_synced = owner->made;
	}
	(void)pthread_mutex_unlock(&owner->folder_lock);
}

int slot_cache_sync(struct slot_owner *owner, uint64_t inode, uint32_t slot)
{
	uint64_t hash = place_hash(owner, inode, slot);
	struct shard *shard = shard_of(hash);
	(void)pthread_mutex_lock(&shard->lock);
	struct slot_file *file = find(shard, hash, owner, inode, slot);
	if (file)
		hold(shard, file);
	(void)pthread_mutex_unlock(&shard->lock);
	if (file) { /* else it is clean (C2) */
		sync_held(file);
		slot_cache_give_back(file, false);
	}
	sync_folder(owner);
	return -atomic_load(&owner->failure);
}

void slot_cache_forget(struct slot_owner *owner, uint64_t inode, uint32_t slot)
{
	uint64_t hash = place_hash(owner, inode, slot);
	struct shard *shard = shard_of(hash);
	(void)pthread_mutex_lock(&shard->lock);
	struct slot_file *file = find(shard, hash, owner, inode, slot);
	while (file && file->users > 0) { /* somebody is syncing it to make room */
		(void)pthread_cond_wait(&shard->changed, &shard->lock);
		file = find(shard, hash, owner, inode, slot);
	}
	if (file) {
		take_out(shard, file);
		(void)file_free(file);
	}
	(void)pthread_mutex_unlock(&shard->lock);
}

static void close_all_of(struct shard *shard, struct slot_file **bucket, const struct slot_owner *owner)
{
	struct slot_file *file = *bucket;
	while (file) {
		if (file->owner != owner) {
			file = file->same;
			continue;
		}
		if (file->users > 0) { /* somebody is syncing it to make room */
			(void)pthread_cond_wait(&shard->changed, &shard->lock);
		} else {
			take_out(shard, file);
			(void)file_free(file);
		}
		file = *bucket;
	}
}

void slot_owner_done(struct slot_owner *owner)
{
	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *shard = &shards[i];
		(void)pthread_mutex_lock(&shard->lock);
		for (unsigned j = 0; j < BUCKETS; j++)
			close_all_of(shard, &shard->buckets[j], owner);
		(void)pthread_mutex_unlock(&shard->lock);
	}
	(void)pthread_mutex_destroy(&owner->folder_lock);
}
