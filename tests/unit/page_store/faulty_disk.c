#include "faulty_disk.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "page_store/disk.h"

#define BLOCK   8192u
#define SECTOR  512u
#define BUCKETS 64u
#define FD_BASE (1 << 24) /* above every real descriptor */

struct block {
	uint64_t index;
	bool is_dirty;
	bool has_data; /* else it was only reserved */
	uint8_t current[BLOCK], durable[BLOCK];
	struct block *next;
};

struct entry {
	char name[256];
	struct node *node;
};

struct entries {
	struct entry *list;
	size_t count;
};

/* A change of a folder that was not synced: name is node (NULL: gone), and `from`, if any, is gone at the same time. */
struct step {
	char name[256], from[256];
	struct node *node;
};

struct node {
	bool is_folder;
	uint64_t number;
	unsigned holders; /* entries, current and durable, steps, descriptors */
	struct block *buckets[BUCKETS];
	uint64_t current_size, durable_size;
	bool is_size_dirty;
	struct entries current, durable;
	struct step *steps;
	size_t step_count;
	/* folders: who they are */
	char name[64];
	uint64_t device, inode, birth;
	struct node *next_folder;
};

struct descriptor {
	struct node *node;
	int lock; /* 0, LOCK_SH, LOCK_EX */
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t unlocked; /* a flock has ended */
	uint64_t random;
	struct node *folders;
	struct descriptor *descriptors;
	size_t descriptor_count;
	uint64_t calls, punches, fail_at, cut_at, last_number;
	int fail_errno;
	bool has_failed, is_unlimited;
	uint64_t used, limit;
} disk = { .lock = PTHREAD_MUTEX_INITIALIZER, .unlocked = PTHREAD_COND_INITIALIZER, .is_unlimited = true };

static uint64_t dice(uint64_t sides)
{
	uint64_t z = (disk.random += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % sides;
}

/* ---- nodes ---- */

static struct node *node_hold(struct node *node)
{
	if (node)
		node->holders++;
	return node;
}

static void node_let_go(struct node *node)
{
	if (!node || --node->holders > 0)
		return;
	assert(!node->is_folder);
	for (unsigned i = 0; i < BUCKETS; i++) {
		for (struct block *block = node->buckets[i], *next; block; block = next) {
			next = block->next;
			free(block);
			disk.used -= BLOCK;
		}
	}
	free(node);
}

static struct entry *entries_find(struct entries *entries, const char *name)
{
	for (size_t i = 0; i < entries->count; i++) {
		if (strcmp(entries->list[i].name, name) == 0)
			return &entries->list[i];
	}
	return NULL;
}

static void entries_remove(struct entries *entries, const char *name)
{
	struct entry *entry = entries_find(entries, name);
	if (!entry)
		return;
	node_let_go(entry->node);
	*entry = entries->list[--entries->count];
}

static void entries_set(struct entries *entries, const char *name, struct node *node)
{
	(void)node_hold(node);
	entries_remove(entries, name);
	entries->list = xrealloc(entries->list, (entries->count + 1) * sizeof *entries->list);
	struct entry *entry = &entries->list[entries->count++];
	*entry = (struct entry){ .node = node };
	(void)snprintf(entry->name, sizeof entry->name, "%s", name);
}

static void entries_clear(struct entries *entries)
{
	for (size_t i = 0; i < entries->count; i++)
		node_let_go(entries->list[i].node);
	free(entries->list);
	*entries = (struct entries){ 0 };
}

static void entries_copy(struct entries *to, const struct entries *from)
{
	entries_clear(to);
	for (size_t i = 0; i < from->count; i++)
		entries_set(to, from->list[i].name, from->list[i].node);
}

static void steps_clear(struct node *folder)
{
	for (size_t i = 0; i < folder->step_count; i++)
		node_let_go(folder->steps[i].node);
	free(folder->steps);
	folder->steps = NULL;
	folder->step_count = 0;
}

static void apply(struct entries *entries, const struct step *step)
{
	if (step->from[0]) {
		if (!entries_find(entries, step->from))
			return; /* what it renamed never got there */
		entries_remove(entries, step->from);
	}
	if (step->node)
		entries_set(entries, step->name, step->node);
	else
		entries_remove(entries, step->name);
}

static void folder_change(struct node *folder, const char *name, const char *from, struct node *node)
{
	struct step step = { .node = node_hold(node) };
	(void)snprintf(step.name, sizeof step.name, "%s", name);
	(void)snprintf(step.from, sizeof step.from, "%s", from);
	apply(&folder->current, &step);
	folder->steps = xrealloc(folder->steps, (folder->step_count + 1) * sizeof *folder->steps);
	folder->steps[folder->step_count++] = step;
}

static struct block *find_block(struct node *node, uint64_t index)
{
	struct block *block = node->buckets[index % BUCKETS];
	while (block && block->index != index)
		block = block->next;
	return block;
}

/* NULL: the disk is full. */
static struct block *get_block(struct node *node, uint64_t index)
{
	struct block *block = find_block(node, index);
	if (block)
		return block;
	if (!disk.is_unlimited && disk.used + BLOCK > disk.limit)
		return NULL;
	block = xcalloc(1, sizeof *block);
	block->index = index;
	block->next = node->buckets[index % BUCKETS];
	node->buckets[index % BUCKETS] = block;
	disk.used += BLOCK;
	return block;
}

/* ---- descriptors ---- */

static struct node *node_of(int fd)
{
	size_t index = (size_t)fd - FD_BASE;
	return fd >= FD_BASE && index < disk.descriptor_count ? disk.descriptors[index].node : NULL;
}

static int open_descriptor(struct node *node)
{
	size_t index = 0;
	while (index < disk.descriptor_count && disk.descriptors[index].node)
		index++;
	if (index == disk.descriptor_count) {
		disk.descriptors = xrealloc(disk.descriptors, (index + 1) * sizeof *disk.descriptors);
		disk.descriptor_count++;
	}
	disk.descriptors[index] = (struct descriptor){ .node = node_hold(node) };
	return FD_BASE + (int)index;
}

static struct node *add_folder(const char *name, uint64_t device, uint64_t inode, uint64_t birth)
{
	for (struct node *node = disk.folders; node; node = node->next_folder) {
		if (strcmp(node->name, name) == 0 && node->device == device && node->inode == inode &&
		        node->birth == birth)
			return node;
	}
	struct node *node = xcalloc(1, sizeof *node);
	*node = (struct node){ .is_folder = true,
		.number = ++disk.last_number,
		.holders = 1,
		.device = device,
		.inode = inode,
		.birth = birth,
		.next_folder = disk.folders };
	(void)snprintf(node->name, sizeof node->name, "%s", name);
	disk.folders = node;
	return node;
}

/* Of a descriptor of ours or of a real folder; NULL with errno. */
static struct node *folder_of(int fd)
{
	if (fd >= FD_BASE) {
		struct node *node = node_of(fd);
		if (!node || !node->is_folder) {
			errno = node ? ENOTDIR : EBADF;
			return NULL;
		}
		return node;
	}
	struct statx st;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &st) < 0)
		return NULL;
	return add_folder("", (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor, st.stx_ino,
	        (uint64_t)st.stx_btime.tv_sec * 1000000000u + st.stx_btime.tv_nsec);
}

/* ---- failures ---- */

/* Counts a call; false: it is to fail, errno is set. */
static bool goes_well(void)
{
	disk.calls++;
	if (disk.cut_at && disk.calls >= disk.cut_at) {
		disk.has_failed = true;
		errno = EIO;
		return false;
	}
	if (disk.fail_at && disk.calls == disk.fail_at) {
		disk.has_failed = true;
		errno = disk.fail_errno;
		return false;
	}
	return true;
}

static bool is_power_off(void)
{
	return disk.cut_at && disk.calls >= disk.cut_at;
}

void faulty_disk_fail(uint64_t nth, int error)
{
	(void)pthread_mutex_lock(&disk.lock);
	disk.fail_at = nth ? disk.calls + nth : 0;
	disk.fail_errno = error;
	disk.has_failed = false;
	(void)pthread_mutex_unlock(&disk.lock);
}

void faulty_disk_cut_power(uint64_t nth)
{
	(void)pthread_mutex_lock(&disk.lock);
	disk.cut_at = nth ? disk.calls + nth : 0;
	disk.has_failed = false;
	(void)pthread_mutex_unlock(&disk.lock);
}

bool faulty_disk_has_failed(void)
{
	(void)pthread_mutex_lock(&disk.lock);
	bool has_failed = disk.has_failed;
	(void)pthread_mutex_unlock(&disk.lock);
	return has_failed;
}

uint64_t faulty_disk_calls(void)
{
	(void)pthread_mutex_lock(&disk.lock);
	uint64_t calls = disk.calls;
	(void)pthread_mutex_unlock(&disk.lock);
	return calls;
}

uint64_t faulty_disk_punches(void)
{
	(void)pthread_mutex_lock(&disk.lock);
	uint64_t punches = disk.punches;
	(void)pthread_mutex_unlock(&disk.lock);
	return punches;
}

void faulty_disk_set_room(uint64_t bytes)
{
	(void)pthread_mutex_lock(&disk.lock);
	disk.is_unlimited = bytes == UINT64_MAX;
	disk.limit = disk.used + (disk.is_unlimited ? 0 : bytes);
	(void)pthread_mutex_unlock(&disk.lock);
}

uint64_t faulty_disk_used(void)
{
	(void)pthread_mutex_lock(&disk.lock);
	uint64_t used = disk.used;
	(void)pthread_mutex_unlock(&disk.lock);
	return used;
}

size_t faulty_disk_open_count(void)
{
	(void)pthread_mutex_lock(&disk.lock);
	size_t count = 0;
	for (size_t i = 0; i < disk.descriptor_count; i++)
		count += disk.descriptors[i].node != NULL;
	(void)pthread_mutex_unlock(&disk.lock);
	return count;
}

/* ---- life and death ---- */

static void close_all(void)
{
	for (size_t i = 0; i < disk.descriptor_count; i++) {
		node_let_go(disk.descriptors[i].node);
		disk.descriptors[i] = (struct descriptor){ 0 };
	}
	(void)pthread_cond_broadcast(&disk.unlocked);
	disk.fail_at = disk.cut_at = 0;
}

void faulty_disk_reset(uint64_t seed)
{
	(void)pthread_mutex_lock(&disk.lock);
	close_all();
	for (struct node *folder = disk.folders; folder; folder = folder->next_folder) {
		steps_clear(folder);
		entries_clear(&folder->current);
		entries_clear(&folder->durable);
	}
	while (disk.folders) {
		struct node *next = disk.folders->next_folder;
		free(disk.folders);
		disk.folders = next;
	}
	free(disk.descriptors);
	disk.descriptors = NULL;
	disk.descriptor_count = 0;
	disk.random = seed;
	disk.calls = 0;
	disk.has_failed = false;
	disk.is_unlimited = true;
	assert(disk.used == 0);
	(void)pthread_mutex_unlock(&disk.lock);
}

int faulty_disk_folder(const char *name)
{
	(void)pthread_mutex_lock(&disk.lock);
	int fd = open_descriptor(add_folder(name, 0, 0, 0));
	(void)pthread_mutex_unlock(&disk.lock);
	return fd;
}

static void settle_file(struct node *node)
{
	for (unsigned i = 0; i < BUCKETS; i++) {
		for (struct block *block = node->buckets[i]; block; block = block->next) {
			for (unsigned at = 0; block->is_dirty && at < BLOCK; at += SECTOR) {
				if (dice(2))
					memcpy(block->durable + at, block->current + at, SECTOR);
			}
			block->is_dirty = false;
			memcpy(block->current, block->durable, BLOCK);
		}
	}
	if (node->is_size_dirty && dice(2))
		node->durable_size = node->current_size;
	node->is_size_dirty = false;
	node->current_size = node->durable_size;
	/* Nothing is behind the end. */
	for (unsigned i = 0; i < BUCKETS; i++) {
		for (struct block *block = node->buckets[i]; block; block = block->next) {
			uint64_t start = block->index * BLOCK;
			uint64_t kept = node->current_size > start ? node->current_size - start : 0;
			if (kept < BLOCK) {
				memset(block->current + kept, 0, BLOCK - kept);
				memset(block->durable + kept, 0, BLOCK - kept);
			}
		}
	}
}

void faulty_disk_crash(void)
{
	(void)pthread_mutex_lock(&disk.lock);
	close_all();
	for (struct node *folder = disk.folders; folder; folder = folder->next_folder) {
		/* Sometimes all of the steps so far, as on a file system with a journal; sometimes any of them. */
		bool is_ordered = dice(2);
		size_t kept = dice(folder->step_count + 1);
		for (size_t i = 0; i < folder->step_count; i++) {
			if (is_ordered ? i < kept : dice(2))
				apply(&folder->durable, &folder->steps[i]);
		}
		steps_clear(folder);
		entries_copy(&folder->current, &folder->durable);
		for (size_t i = 0; i < folder->current.count; i++)
			settle_file(folder->current.list[i].node);
	}
	(void)pthread_mutex_unlock(&disk.lock);
}

void faulty_disk_kill(void)
{
	(void)pthread_mutex_lock(&disk.lock);
	close_all();
	(void)pthread_mutex_unlock(&disk.lock);
}

bool faulty_disk_flip_bit(int folder_fd, const char *name, uint64_t at, unsigned bit)
{
	(void)pthread_mutex_lock(&disk.lock);
	struct node *folder = folder_of(folder_fd);
	struct entry *entry = folder ? entries_find(&folder->current, name) : NULL;
	struct block *block =
	        entry && at < entry->node->current_size ? get_block(entry->node, at / BLOCK) : NULL;
	if (block) {
		block->current[at % BLOCK] ^= (uint8_t)(1u << bit);
		block->durable[at % BLOCK] = block->current[at % BLOCK];
	}
	(void)pthread_mutex_unlock(&disk.lock);
	return block != NULL;
}

/* ---- disk.h ---- */

static int real_open(int folder_fd, const char *name, int flags, mode_t mode)
{
	return openat(folder_fd, name, flags | O_CLOEXEC | O_NOFOLLOW, mode);
}

int disk_open(int folder_fd, const char *name, int flags, mode_t mode)
{
	if (flags & O_DIRECTORY && folder_fd < FD_BASE && strcmp(name, ".") != 0)
		return real_open(folder_fd, name, flags, mode);
	int fd = -1;
	(void)pthread_mutex_lock(&disk.lock);
	struct node *folder = folder_of(folder_fd);
	struct entry *entry = folder ? entries_find(&folder->current, name) : NULL;
	if (folder && !entry && folder_fd < FD_BASE && !(flags & O_CREAT) && strcmp(name, ".") != 0) {
		/* Made by somebody who does not use disk.h, or not there. */
		(void)pthread_mutex_unlock(&disk.lock);
		return real_open(folder_fd, name, flags, mode);
	}
	if (!folder || !goes_well()) {
		(void)pthread_mutex_unlock(&disk.lock);
		return -1;
	}
	if (strcmp(name, ".") == 0) {
		fd = open_descriptor(folder);
	} else if (entry && flags & O_EXCL && flags & O_CREAT) {
		errno = EEXIST;
	} else if (entry) {
		if (flags & O_TRUNC) {
			struct node *node = entry->node;
			node->current_size = 0;
			node->is_size_dirty = true;
			for (unsigned i = 0; i < BUCKETS; i++) {
				for (struct block *block = node->buckets[i]; block; block = block->next) {
					memset(block->current, 0, BLOCK);
					block->is_dirty = true;
				}
			}
		}
		fd = open_descriptor(entry->node);
	} else if (flags & O_CREAT) {
		struct node *node = xcalloc(1, sizeof *node);
		node->number = ++disk.last_number;
		node->holders = 1;
		folder_change(folder, name, "", node);
		fd = open_descriptor(node);
		node_let_go(node);
	} else {
		errno = ENOENT;
	}
	(void)pthread_mutex_unlock(&disk.lock);
	return fd;
}

/* The file behind a descriptor, with the lock taken; NULL (lock released, errno set) when the call fails. */
static struct node *begin(int fd)
{
	(void)pthread_mutex_lock(&disk.lock);
	struct node *node = node_of(fd);
	if (!node || node->is_folder)
		errno = node ? EISDIR : EBADF;
	else if (goes_well())
		return node;
	(void)pthread_mutex_unlock(&disk.lock);
	return NULL;
}

static ssize_t read_locked(struct node *node, void *bytes, size_t len, uint64_t at)
{
	if (at >= node->current_size)
		return 0;
	if (len > node->current_size - at)
		len = node->current_size - at;
	for (size_t done = 0; done < len;) {
		uint64_t place = at + done;
		size_t part = BLOCK - place % BLOCK;
		if (part > len - done)
			part = len - done;
		struct block *block = find_block(node, place / BLOCK);
		if (block)
			memcpy((char *)bytes + done, block->current + place % BLOCK, part);
		else
			memset((char *)bytes + done, 0, part);
		done += part;
	}
	return (ssize_t)len;
}

ssize_t disk_read(int fd, void *bytes, size_t len, uint64_t at)
{
	if (fd < FD_BASE)
		return pread(fd, bytes, len, (off_t)at);
	struct node *node = begin(fd);
	if (!node)
		return -1;
	ssize_t n = read_locked(node, bytes, len, at);
	(void)pthread_mutex_unlock(&disk.lock);
	return n;
}

ssize_t disk_read_pieces(int fd, const struct iovec *pieces, int count, uint64_t at)
{
	size_t done = 0;
	for (int i = 0; i < count; i++) {
		ssize_t n = disk_read(fd, pieces[i].iov_base, pieces[i].iov_len, at + done);
		if (n < 0)
			return -1;
		done += (size_t)n;
		if ((size_t)n < pieces[i].iov_len)
			break;
	}
	return (ssize_t)done;
}

/* The kernel may have written back what is about to be overwritten. */
static void write_back_some(struct block *block)
{
	if (!block->is_dirty || dice(4) != 0)
		return;
	for (unsigned at = 0; at < BLOCK; at += SECTOR) {
		if (dice(2))
			memcpy(block->durable + at, block->current + at, SECTOR);
	}
}

static ssize_t write_locked(struct node *node, const void *bytes, size_t len, uint64_t at)
{
	for (size_t done = 0; done < len;) {
		uint64_t place = at + done;
		size_t part = BLOCK - place % BLOCK;
		if (part > len - done)
			part = len - done;
		struct block *block = get_block(node, place / BLOCK);
		if (!block) {
			errno = ENOSPC;
			return -1;
		}
		write_back_some(block);
		memcpy(block->current + place % BLOCK, (const char *)bytes + done, part);
		block->is_dirty = block->has_data = true;
		done += part;
		if (place + part > node->current_size) {
			node->current_size = place + part;
			node->is_size_dirty = true;
		}
	}
	return (ssize_t)len;
}

ssize_t disk_write(int fd, const void *bytes, size_t len, uint64_t at)
{
	(void)pthread_mutex_lock(&disk.lock);
	struct node *node = node_of(fd);
	ssize_t n = -1;
	if (!node || node->is_folder) {
		errno = EBADF;
	} else if (goes_well()) {
		n = write_locked(node, bytes, len, at);
	} else {
		/* A part of it may have got there, as far as the last write before the power went; not after. */
		int saved = errno;
		if (!is_power_off() || disk.calls == disk.cut_at)
			(void)!write_locked(node, bytes, dice(len / SECTOR + 1) * SECTOR, at);
		errno = saved;
	}
	(void)pthread_mutex_unlock(&disk.lock);
	return n;
}

static void sync_node(struct node *node, bool is_failing)
{
	if (node->is_folder) {
		for (size_t i = 0; i < node->step_count; i++) {
			if (!is_failing || dice(2))
				apply(&node->durable, &node->steps[i]);
		}
		if (!is_failing)
			entries_copy(&node->durable, &node->current);
		steps_clear(node);
		return;
	}
	for (unsigned i = 0; i < BUCKETS; i++) {
		for (struct block *block = node->buckets[i]; block; block = block->next) {
			for (unsigned at = 0; block->is_dirty && at < BLOCK; at += SECTOR) {
				if (!is_failing || dice(2))
					memcpy(block->durable + at, block->current + at, SECTOR);
			}
			block->is_dirty = false; /* forgotten if it failed: T11 */
		}
	}
	if (!is_failing || dice(2))
		node->durable_size = node->current_size;
	node->is_size_dirty = false;
}

int disk_sync(int fd)
{
	(void)pthread_mutex_lock(&disk.lock);
	struct node *node = fd >= FD_BASE ? node_of(fd) : folder_of(fd);
	int rc = -1;
	if (!node) {
		errno = EBADF;
	} else if (goes_well()) {
		sync_node(node, false);
		rc = 0;
	} else if (!is_power_off()) {
		int saved = errno;
		sync_node(node, true);
		errno = saved;
	}
	(void)pthread_mutex_unlock(&disk.lock);
	return rc;
}

int disk_allocate(int fd, uint64_t at, uint64_t len)
{
	struct node *node = begin(fd);
	if (!node)
		return -1;
	int rc = 0;
	for (uint64_t index = at / BLOCK; rc == 0 && index * BLOCK < at + len; index++) {
		if (!get_block(node, index)) {
			errno = ENOSPC;
			rc = -1;
		}
	}
	(void)pthread_mutex_unlock(&disk.lock);
	return rc;
}

/* A freed block's space is given back only when that is durable: it stays, zeroed. */
static void zero(struct node *node, uint64_t at, uint64_t end)
{
	for (unsigned i = 0; i < BUCKETS; i++) {
		for (struct block *block = node->buckets[i]; block; block = block->next) {
			uint64_t start = block->index * BLOCK, stop = start + BLOCK;
			uint64_t from = at > start ? at : start, to = end < stop ? end : stop;
			if (from >= to)
				continue;
			memset(block->current + (from - start), 0, to - from);
			block->is_dirty = true;
		}
	}
}

void disk_begin_write_back(int fd, uint64_t at, uint64_t len)
{
	(void)fd, (void)at, (void)len;
}

int disk_punch(int fd, uint64_t at, uint64_t len)
{
	struct node *node = begin(fd);
	if (!node)
		return -1;
	disk.punches++;
	zero(node, at, at + len);
	(void)pthread_mutex_unlock(&disk.lock);
	return 0;
}

int disk_truncate(int fd, uint64_t len)
{
	struct node *node = begin(fd);
	if (!node)
		return -1;
	zero(node, len, UINT64_MAX);
	node->current_size = len;
	node->is_size_dirty = true;
	(void)pthread_mutex_unlock(&disk.lock);
	return 0;
}

static bool is_named(const struct node *wanted)
{
	for (struct node *folder = disk.folders; folder; folder = folder->next_folder) {
		for (size_t i = 0; i < folder->current.count; i++) {
			if (folder->current.list[i].node == wanted)
				return true;
		}
	}
	return false;
}

int disk_stat(int fd, struct stat *ret)
{
	if (fd < FD_BASE)
		return fstat(fd, ret);
	(void)pthread_mutex_lock(&disk.lock);
	struct node *node = node_of(fd);
	int rc = -1;
	if (!node) {
		errno = EBADF;
	} else if (goes_well()) {
		*ret = (struct stat){ .st_mode = node->is_folder ? S_IFDIR | 0700 : S_IFREG | 0600,
			.st_ino = node->number,
			.st_nlink = node->is_folder || is_named(node),
			.st_size = (off_t)node->current_size };
		for (unsigned i = 0; i < BUCKETS; i++) {
			for (struct block *block = node->buckets[i]; block; block = block->next)
				ret->st_blocks += BLOCK / 512;
		}
		rc = 0;
	}
	(void)pthread_mutex_unlock(&disk.lock);
	return rc;
}

int64_t disk_seek_data(int fd, uint64_t at)
{
	struct node *node = begin(fd);
	if (!node)
		return -1;
	int64_t found = INT64_MAX;
	for (unsigned i = 0; i < BUCKETS; i++) {
		for (struct block *block = node->buckets[i]; block; block = block->next) {
			uint64_t start = block->index * BLOCK;
			uint64_t first = start < at ? at : start;
			if (block->has_data && start + BLOCK > at && (int64_t)first < found)
				found = (int64_t)first;
		}
	}
	(void)pthread_mutex_unlock(&disk.lock);
	return found;
}

int disk_statvfs(int fd, struct statvfs *ret)
{
	(void)fd;
	(void)pthread_mutex_lock(&disk.lock);
	uint64_t left = disk.is_unlimited        ? UINT64_C(1) << 40
	                : disk.limit > disk.used ? disk.limit - disk.used
	                                         : 0;
	(void)pthread_mutex_unlock(&disk.lock);
	*ret = (struct statvfs){
		.f_bsize = BLOCK, .f_frsize = BLOCK, .f_bfree = left / BLOCK, .f_bavail = left / BLOCK
	};
	return 0;
}

int disk_rename(int folder_fd, const char *from, const char *to)
{
	(void)pthread_mutex_lock(&disk.lock);
	struct node *folder = folder_of(folder_fd);
	int rc = -1;
	if (folder && !entries_find(&folder->current, from) && folder_fd < FD_BASE) {
		rc = renameat(folder_fd, from, folder_fd, to);
	} else if (folder && goes_well()) {
		struct entry *entry = entries_find(&folder->current, from);
		if (entry) {
			folder_change(folder, to, from, entry->node);
			rc = 0;
		} else {
			errno = ENOENT;
		}
	}
	(void)pthread_mutex_unlock(&disk.lock);
	return rc;
}

int disk_unlink(int folder_fd, const char *name)
{
	(void)pthread_mutex_lock(&disk.lock);
	struct node *folder = folder_of(folder_fd);
	int rc = -1;
	if (folder && goes_well()) {
		rc = 0;
		if (entries_find(&folder->current, name))
			folder_change(folder, name, "", NULL);
		else if (folder_fd < FD_BASE && unlinkat(folder_fd, name, 0) < 0 && errno != ENOENT)
			rc = -1;
	}
	(void)pthread_mutex_unlock(&disk.lock);
	return rc;
}

int disk_make_folder(int folder_fd, const char *name, mode_t mode)
{
	return mkdirat(folder_fd, name, mode);
}

int disk_close(int fd)
{
	if (fd < FD_BASE)
		return close(fd);
	(void)pthread_mutex_lock(&disk.lock);
	struct node *node = node_of(fd);
	if (node) {
		node_let_go(node);
		disk.descriptors[fd - FD_BASE] = (struct descriptor){ 0 };
		(void)pthread_cond_broadcast(&disk.unlocked);
	}
	(void)pthread_mutex_unlock(&disk.lock);
	if (!node)
		errno = EBADF; /* after a crash: nothing to close any more */
	return node ? 0 : -1;
}

static int list_real(int folder_fd, disk_name_fn on_name, void *owner)
{
	int fd = real_open(folder_fd, ".", O_RDONLY | O_DIRECTORY, 0);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	if (!folder)
		return -1;
	for (struct dirent *entry; (entry = readdir(folder));) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		        !on_name(owner, entry->d_name))
			break;
	}
	return closedir(folder);
}

int disk_list(int folder_fd, disk_name_fn on_name, void *owner)
{
	(void)pthread_mutex_lock(&disk.lock);
	struct node *folder = folder_of(folder_fd);
	if (!folder || !goes_well()) {
		(void)pthread_mutex_unlock(&disk.lock);
		return -1;
	}
	struct entries names = { 0 };
	entries_copy(&names, &folder->current);
	(void)pthread_mutex_unlock(&disk.lock);

	bool goes_on = true;
	for (size_t i = 0; goes_on && i < names.count; i++)
		goes_on = on_name(owner, names.list[i].name);
	(void)pthread_mutex_lock(&disk.lock);
	entries_clear(&names);
	(void)pthread_mutex_unlock(&disk.lock);
	return goes_on && folder_fd < FD_BASE ? list_real(folder_fd, on_name, owner) : 0;
}

static bool is_locked_by_other(const struct node *node, size_t own, int kind)
{
	for (size_t i = 0; i < disk.descriptor_count; i++) {
		const struct descriptor *other = &disk.descriptors[i];
		if (other->node == node && i != own && other->lock &&
		        (kind == LOCK_EX || other->lock == LOCK_EX))
			return true;
	}
	return false;
}

int disk_lock(int fd, int operation)
{
	if (fd < FD_BASE)
		return flock(fd, operation);
	(void)pthread_mutex_lock(&disk.lock);
	size_t index = (size_t)fd - FD_BASE;
	int rc = -1, kind = operation & ~LOCK_NB;
	struct node *node = node_of(fd);
	if (!node) {
		errno = EBADF;
	} else if (kind == LOCK_UN) {
		disk.descriptors[index].lock = 0;
		(void)pthread_cond_broadcast(&disk.unlocked);
		rc = 0;
	} else if (goes_well()) {
		bool may_wait = !(operation & LOCK_NB);
		while (may_wait && node_of(fd) == node && is_locked_by_other(node, index, kind))
			(void)pthread_cond_wait(&disk.unlocked, &disk.lock);
		if (node_of(fd) != node) {
			errno = EBADF;
		} else if (is_locked_by_other(node, index, kind)) {
			errno = EWOULDBLOCK;
		} else {
			disk.descriptors[index].lock = kind;
			rc = 0;
		}
	}
	(void)pthread_mutex_unlock(&disk.lock);
	return rc;
}

void *disk_map(int fd, size_t len)
{
	struct node *node = begin(fd);
	if (!node)
		return MAP_FAILED;
	void *copy = malloc(len);
	if (copy) {
		ssize_t n = read_locked(node, copy, len, 0);
		memset((char *)copy + n, 0, len - (size_t)n);
	}
	(void)pthread_mutex_unlock(&disk.lock);
	if (!copy)
		errno = ENOMEM;
	return copy ? copy : MAP_FAILED;
}

void disk_unmap(void *bytes, size_t len)
{
	(void)len;
	free(bytes);
}
