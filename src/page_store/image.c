#include "page_store/image.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/condition.h"
#include "base/log.h"
#include "page_store/disk.h"
#include "page_store/fold.h"
#include "page_store/image_internal.h"

/* A journal of this length is worth a cut, so that the next mount has little to replay. */
#define JOURNAL_CUT_BYTES  (UINT64_C(256) << 20)
#define FLUSH_INTERVAL_SEC 1

int64_t image_now_nsec(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int image_break(struct image *image, int failure)
{
	int none = 0;
	(void)atomic_compare_exchange_strong(&image->broken_errno, &none, failure ? failure : EIO);
	return -EIO;
}

/* ---- inodes ---- */

static void on_add(void *owner, struct inode *base)
{
	(void)owner;
	struct image_inode *inode = image_inode_of(base);
	(void)pthread_mutex_init(&inode->io, NULL);
	(void)pthread_mutex_init(&inode->lock, NULL);
	(void)pthread_cond_init(&inode->is_synced, NULL);
}

static void on_remove(void *owner, struct inode *base)
{
	struct image *image = owner;
	struct image_inode *inode = image_inode_of(base);
	unsealed_free(image, TAKE_PTR(inode->open));
	unsealed_free(image, TAKE_PTR(inode->sealing));
	page_map_done(&inode->map);
	(void)pthread_mutex_destroy(&inode->io);
	(void)pthread_mutex_destroy(&inode->lock);
	(void)pthread_cond_destroy(&inode->is_synced);
}

struct image_inode *image_take(struct image *image, uint64_t number)
{
	(void)pthread_rwlock_rdlock(&image->tree_lock);
	struct inode *found = file_tree_find(image->tree, number);
	if (found)
		(void)atomic_fetch_add(&image_inode_of(found)->use_count, 1);
	(void)pthread_rwlock_unlock(&image->tree_lock);
	return found ? image_inode_of(found) : NULL;
}

void image_remove_if_unused(struct image *image, struct image_inode *inode)
{
	if (inode->base.name_count > 0 || inode->base.number == IMAGE_ROOT ||
	        atomic_load(&inode->hold_count) > 0 || atomic_load(&inode->use_count) > 0)
		return;
	(void)pthread_mutex_lock(&image->epoch_lock);
	const struct epoch *open = atomic_load(&image->open);
	/* What it changed before a cut that is not sealed belongs to that cut (I5): the sealer comes by. */
	bool is_wanted = inode->sealing || (inode->open && inode->open->epoch != open);
	if (!is_wanted && inode->open) {
		image->removals =
		        xrealloc(image->removals, (image->removal_count + 1) * sizeof *image->removals);
		image->removals[image->removal_count++] = (struct removal){ .epoch = open->number,
			.inode = inode->base.number,
			.position = inode->record_epoch == open->number ? inode->record_end : 0 };
	}
	(void)pthread_mutex_unlock(&image->epoch_lock);
	if (!is_wanted)
		file_tree_remove(image->tree, &inode->base);
}

void image_give_back(struct image *image, struct image_inode *inode)
{
	/* While it has a name, nobody removes it: only the last one who is at work with a file without a name needs the lock for writing. */
	(void)pthread_rwlock_rdlock(&image->tree_lock);
	bool has_name = inode->base.name_count > 0 || inode->base.number == IMAGE_ROOT;
	if (has_name)
		(void)atomic_fetch_sub(&inode->use_count, 1);
	(void)pthread_rwlock_unlock(&image->tree_lock);
	if (has_name)
		return;
	(void)pthread_rwlock_wrlock(&image->tree_lock);
	(void)atomic_fetch_sub(&inode->use_count, 1);
	image_remove_if_unused(image, inode);
	(void)pthread_rwlock_unlock(&image->tree_lock);
}

int image_take_file(struct image *image, uint64_t number, struct image_inode **ret)
{
	struct image_inode *inode = image_take(image, number);
	if (!inode)
		return -ESTALE;
	if (!S_ISREG(inode->base.attributes.mode)) {
		int rc = inode->base.folder ? -EISDIR : -EINVAL;
		image_give_back(image, inode);
		return rc;
	}
	*ret = inode;
	return 0;
}

void image_hold(struct image *image, uint64_t number)
{
	(void)pthread_rwlock_rdlock(&image->tree_lock);
	struct inode *inode = file_tree_find(image->tree, number);
	if (inode)
		(void)atomic_fetch_add(&image_inode_of(inode)->hold_count, 1);
	(void)pthread_rwlock_unlock(&image->tree_lock);
}

void image_let_go(struct image *image, uint64_t number, uint64_t count)
{
	struct image_inode *inode = image_take(image, number);
	if (!inode)
		return;
	uint64_t held = atomic_load(&inode->hold_count);
	while (!atomic_compare_exchange_weak(&inode->hold_count, &held, held > count ? held - count : 0))
		;
	image_give_back(image, inode);
}

/* ---- create ---- */

static void close_folder(int *fd)
{
	if (*fd >= 0)
		(void)disk_close(*fd);
}

static void layer_releasep(struct layer **layer)
{
	*layer = layer_release(*layer);
}

/* The folder and journal of a layer, durable. Under the store's lock. */
static status make_layer(
        struct store *store, const struct layer_ref *ref, struct layer **ret, struct error *err)
{
	CLEANUP(close_folder) int folder_fd = -1;
	status s = store_make_layer_folder(store, ref->id, &folder_fd, err);
	if (s == STATUS_OK)
		s = layer_create(folder_fd, ref, ret, err);
	if (s == STATUS_OK)
		(void)TAKE_FD(folder_fd);
	return s;
}

static status next_layer_ref(const struct store *store, const char *volume_id, uint64_t number,
        struct layer_ref *ret, struct error *err)
{
	*ret = (struct layer_ref){ 0 };
	(void)snprintf(ret->store, sizeof ret->store, "%s", store_id(store));
	int len = snprintf(ret->id, sizeof ret->id, "%s.%llu", volume_id, (unsigned long long)number);
	if (len < 0 || (size_t)len >= sizeof ret->id)
		return error_set(err, STATUS_INVALID, 0, "the name of volume \"%s\" is too long", volume_id);
	return STATUS_OK;
}

status image_make_next_layer(struct store *store, const char *volume_id, const struct stack *stack,
        struct layer **ret, struct error *err)
{
	struct layer_ref ref;
	status s = next_layer_ref(store, volume_id, stack->next_layer, &ref, err);
	return s == STATUS_OK ? make_layer(store, &ref, ret, err) : s;
}

static status add_root(struct layer *layer, uint32_t uid, uint32_t gid, struct error *err)
{
	CLEANUP(buffer_done) struct buffer changes = { 0 };
	int64_t now = image_now_nsec();
	struct change change = { .type = CHANGE_INODE,
		.inode = IMAGE_ROOT,
		.mode = S_IFDIR | 0700,
		.uid = uid,
		.gid = gid,
		.mtime_nsec = now,
		.ctime_nsec = now };
	change_encode(&change, &changes);
	uint64_t end = journal_append(layer_journal(layer), buffer_slice(&changes));
	return journal_sync(layer_journal(layer), end, err);
}

status image_create(struct store *store, const char *volume_id, const struct layer_ref *layers,
        size_t layer_count, uint32_t uid, uint32_t gid, struct error *err)
{
	CLEANUP(stack_done) struct stack stack = { 0 };
	status s = stack_read(store, volume_id, &stack, err);
	if (s == STATUS_OK)
		return error_set(err, STATUS_EXISTS, 0, "volume \"%s\" has an image", volume_id);
	if (s != STATUS_NOT_FOUND)
		return s;
	if (layer_count >= STACK_LAYERS_MAX)
		return error_set(err, STATUS_LIMIT, 0, "volume \"%s\" would have too many layers", volume_id);
	stack.next_layer = 1;
	stack.next_point = 1;
	for (size_t i = 0; i < layer_count; i++)
		stack_push(&stack, &layers[i]);
	CLEANUP(layer_releasep) struct layer *open = NULL;
	s = image_make_next_layer(store, volume_id, &stack, &open, err);
	if (s == STATUS_OK && layer_count == 0)
		s = add_root(open, uid, gid, err);
	if (s != STATUS_OK)
		return error_prefix(err, "could not create the image of volume \"%s\"", volume_id);
	stack_push(&stack, layer_name(open));
	stack.next_layer++;
	return stack_write(store, volume_id, &stack, err);
}

/* ---- open ---- */

struct epoch *image_epoch_new(uint64_t number, struct layer *layer, uint64_t begin)
{
	struct epoch *epoch = xcalloc(1, sizeof *epoch);
	epoch->number = number;
	epoch->layer = layer;
	epoch->begin = begin;
	return epoch;
}

struct epoch *image_epoch_free(struct epoch *epoch)
{
	if (!epoch)
		return NULL;
	assert(!epoch->first);
	(void)layer_release(epoch->layer);
	free(epoch);
	return NULL;
}

static status take_lock(struct image *image, struct error *err)
{
	CLEANUP(free_text) char *name = xasprintf("stacks/%s.lock", image->volume_id);
	image->lock_fd = disk_open(store_folder(image->store), name, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (image->lock_fd < 0)
		return error_set(err, STATUS_IO, errno,
		        "could not open the lock of the image of volume \"%s\"", image->volume_id);
	if (disk_lock(image->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return STATUS_OK;
	if (errno != EWOULDBLOCK)
		return error_set(
		        err, STATUS_IO, errno, "could not lock the image of volume \"%s\"", image->volume_id);
	status s = error_set(
	        err, STATUS_CONFLICT, 0, "the image of volume \"%s\" is open elsewhere", image->volume_id);
	error_hint(err, "Another process serves it; end that one first.");
	return s;
}

static struct image *image_new(struct store *store, const char *volume_id)
{
	struct image *image = xcalloc(1, sizeof *image);
	image->store = store;
	image->volume_id = xstrdup(volume_id);
	image->lock_fd = -1;
	image->answer_end = image_answer_end();
	/* A writer of the tree does not starve behind readers, who are always some. */
	pthread_rwlockattr_t attributes;
	(void)pthread_rwlockattr_init(&attributes);
	(void)pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	(void)pthread_rwlock_init(&image->tree_lock, &attributes);
	(void)pthread_rwlock_init(&image->layers_lock, &attributes);
	(void)pthread_rwlockattr_destroy(&attributes);
	(void)pthread_mutex_init(&image->fold_lock, NULL);
	(void)pthread_mutex_init(&image->scrub_lock, NULL);
	(void)pthread_mutex_init(&image->cut_lock, NULL);
	(void)pthread_mutex_init(&image->epoch_lock, NULL);
	(void)pthread_mutex_init(&image->flusher_lock, NULL);
	condition_init(&image->flusher_wake);
	image->layers = xcalloc(1, sizeof(struct layer *));
	image->index_count = 1;
	struct file_tree_owner owner = { .inode_bytes = sizeof(struct image_inode),
		.on_add = on_add,
		.on_remove = on_remove,
		.owner = image };
	image->tree = file_tree_new(&owner);
	return image;
}

static struct open_map *map_of(void *owner, struct inode *inode)
{
	return &image_enter(owner, image_inode_of(inode))->map;
}

/* After a cut that did not end: it may be that the stack was written, and that making it durable failed. */
static status write_stack_again(struct image *image, struct error *err)
{
	status s = store_lock(image->store, err);
	if (s != STATUS_OK)
		return s;
	s = stack_write(image->store, image->volume_id, &image->stack, err);
	store_unlock(image->store);
	return s;
}

static void free_list(struct layer ***list)
{
	free(*list); /* the image has the layers */
}

/* Opens the sealed layers; those that a crash left unsealed get their manifest, all but the last. */
static status open_sealed_layers(struct image *image, struct error *err)
{
	CLEANUP(free_list) struct layer **below = xcalloc(image->stack.count, sizeof(struct layer *));
	for (size_t i = 0; i + 1 < image->stack.count; i++) {
		const struct layer_ref *ref = &image->stack.layers[i];
		struct layer *layer = NULL;
		status s = image_open_layer(image->store, ref, &layer, err);
		if (s == STATUS_NOT_FOUND) {
			struct sealed sealed;
			s = write_stack_again(image, err);
			if (s == STATUS_OK)
				s = image_seal_layer(image->store, ref, below, i, NULL, NULL, &sealed, err);
			layer = s == STATUS_OK ? sealed.layer : NULL;
		}
		if (s != STATUS_OK)
			return s;
		(void)image_push_layer(image, layer);
		below[i] = layer;
	}
	return STATUS_OK;
}

/* The tree of the newest sealed layer, and what the open one's journal has changed since. */
static status open_last_layer(struct image *image, struct cut_tails *tails, struct error *err)
{
	struct replay replay = { .tree = image->tree, .map_of = map_of, .owner = image, .tails = tails };
	status s = STATUS_OK;
	if (image->order_count > 0) {
		const struct layer *below = image->layers[image->order[image->order_count - 1]];
		s = replay_changes(&replay, layer_tree(below), err);
		if (s != STATUS_OK)
			return error_prefix(
			        err, "the tree of layer \"%s\" is damaged", layer_name(below)->id);
		file_tree_set_next_inode(image->tree, layer_next_inode(below));
	}
	/* The maps of the replay need an epoch, which gets its layer when that is open. */
	struct epoch *epoch = image_epoch_new(1, NULL, 0);
	atomic_store(&image->open, epoch);
	const struct layer_ref *ref = &image->stack.layers[image->stack.count - 1];
	size_t records_below = replay.record_count;
	CLEANUP(close_folder) int folder_fd = -1;
	s = store_open_layer_folder(image->store, ref, &folder_fd, err);
	if (s == STATUS_OK)
		s = layer_open_unsealed(folder_fd, ref, replay_changes, &replay, &epoch->layer, err);
	if (s != STATUS_OK)
		return s;
	(void)TAKE_FD(folder_fd);
	if (replay.record_count == records_below)
		epoch->begin = journal_end(layer_journal(epoch->layer));
	return replay_check_root(image->tree, err);
}

/* An inode without a name is gone: nobody holds one yet. */
static void finish_replay(struct image *image)
{
	struct epoch *epoch = atomic_load(&image->open);
	size_t count = 0;
	struct inode **list = file_tree_list(image->tree, &count);
	for (size_t i = 0; i < count; i++) {
		struct image_inode *inode = image_inode_of(list[i]);
		if (inode->base.folder && inode->base.name_count == 0 && inode->base.number != IMAGE_ROOT &&
		        !file_tree_is_empty(&inode->base))
			continue; /* not reachable, and nothing that we make */
		if (inode->open)
			(void)atomic_fetch_add(&epoch->page_count, inode->open->map.page_count);
		inode->is_counted = inode->base.name_count > 0 && S_ISREG(inode->base.attributes.mode);
		if (inode->is_counted)
			(void)atomic_fetch_add(&image->logical_bytes, (int64_t)inode->base.attributes.size);
		image_remove_if_unused(image, inode);
	}
	free(list);
	image->generation++;
}

/*
 * A process that was killed may have replaced the stack without making that durable. Nothing may be built on what a power loss could
 * take back: the layer that it names would be forgotten.
 */
static status sync_stacks(struct image *image, struct error *err)
{
	CLEANUP(close_folder)
	int fd = disk_open(store_folder(image->store), "stacks", O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0 || disk_sync(fd) < 0)
		return error_set(err, STATUS_IO, errno, "could not sync the folder of stacks");
	return STATUS_OK;
}

/* Of the open layer. Durable before anything is built on it: a later replay finds the record of the truncation no more once its layer is sealed. */
static status clear_cut_tails(struct image *image, struct cut_tails *tails, struct error *err)
{
	struct cut_tail tail;
	while (cut_tails_take(tails, &tail)) {
		int rc = image_clear_page_tail(image, tail.inode, tail.block, tail.offset);
		if (rc > 0)
			rc = image_sync(image, tail.inode);
		if (rc < 0)
			return error_set(err, STATUS_IO, -rc, "could not clear the end of inode %llu",
			        (unsigned long long)tail.inode);
	}
	return STATUS_OK;
}

static status open_image(struct image *image, struct error *err)
{
	CLEANUP(cut_tails_done) struct cut_tails tails = { 0 };
	status s = take_lock(image, err);
	if (s == STATUS_OK)
		s = sync_stacks(image, err);
	if (s == STATUS_OK)
		s = stack_read(image->store, image->volume_id, &image->stack, err);
	if (s == STATUS_OK && image->stack.count == 0)
		s = error_set(err, STATUS_CORRUPT, 0, "its stack is empty");
	if (s == STATUS_OK)
		s = open_sealed_layers(image, err);
	if (s == STATUS_OK)
		s = open_last_layer(image, &tails, err);
	if (s != STATUS_OK)
		return s;
	finish_replay(image);
	return clear_cut_tails(image, &tails, err);
}

/* ---- the flusher ---- */

static void self_cut(struct image *image)
{
	struct error err;
	struct image_cut cut;
	if (image_cut(image, &cut, &err) == STATUS_OK)
		free(cut.layers);
	else
		log_error("volume \"%s\": could not cut a long journal: %s", image->volume_id, err.message);
}

static bool is_journal_long(struct image *image)
{
	(void)pthread_mutex_lock(&image->epoch_lock);
	const struct epoch *open = atomic_load(&image->open);
	bool is_long = journal_end(layer_journal(open->layer)) - open->begin > JOURNAL_CUT_BYTES;
	(void)pthread_mutex_unlock(&image->epoch_lock);
	return is_long;
}

static void *flusher(void *owner)
{
	struct image *image = owner;
	(void)pthread_mutex_lock(&image->flusher_lock);
	while (!image->flusher_must_end) {
		struct timespec until = condition_deadline(FLUSH_INTERVAL_SEC * USEC_PER_SEC);
		(void)pthread_cond_timedwait(&image->flusher_wake, &image->flusher_lock, &until);
		if (image->flusher_must_end || atomic_load(&image->broken_errno))
			continue;
		(void)pthread_mutex_unlock(&image->flusher_lock);
		image_flush_times(image);
		/* A failure has been logged, and the next sync of Postgres will be told. */
		if (image_sync_journals(image) == 0) {
			image_do_removals(image);
			image_finish_seals(image);
			if (is_journal_long(image))
				self_cut(image);
		}
		(void)pthread_mutex_lock(&image->flusher_lock);
	}
	(void)pthread_mutex_unlock(&image->flusher_lock);
	return NULL;
}

static void end_flusher(struct image *image)
{
	if (!image->has_flusher)
		return;
	(void)pthread_mutex_lock(&image->flusher_lock);
	image->flusher_must_end = true;
	(void)pthread_cond_signal(&image->flusher_wake);
	(void)pthread_mutex_unlock(&image->flusher_lock);
	(void)pthread_join(image->flusher, NULL);
	image->has_flusher = false;
}

status image_open(const struct data_directory *dd, struct store *store, const char *volume_id,
        struct image **ret, struct error *err)
{
	(void)dd;
	struct image *image = image_new(store, volume_id);
	status s = open_image(image, err);
	if (s == STATUS_OK) {
		int rc = pthread_create(&image->flusher, NULL, flusher, image);
		if (rc != 0)
			s = error_set(err, STATUS_IO, rc, "could not start a thread");
		image->has_flusher = rc == 0;
	}
	if (s != STATUS_OK) {
		image_abandon(image);
		return error_prefix(err, "could not open the image of volume \"%s\"", volume_id);
	}
	*ret = image;
	return STATUS_OK;
}

/* ---- close ---- */

void image_abandon(struct image *image)
{
	if (!image)
		return;
	end_flusher(image);
	image->fold = fold_free(image->fold);
	image->scrub_layer = layer_release(image->scrub_layer);
	image->tree = file_tree_free(image->tree); /* takes what is unsealed out of the epochs */
	(void)image_epoch_free(atomic_load(&image->open));
	(void)image_epoch_free(image->sealing);
	for (size_t i = 0; i < image->order_count; i++)
		(void)layer_release(image->layers[image->order[i]]);
	free(image->layers);
	free(image->order);
	for (size_t i = 0; i < image->unfinished_count; i++)
		(void)layer_release(image->unfinished[i]);
	free(image->unfinished);
	free(image->removals);
	free(image->new_times);
	stack_done(&image->stack);
	(void)pthread_rwlock_destroy(&image->tree_lock);
	(void)pthread_rwlock_destroy(&image->layers_lock);
	(void)pthread_mutex_destroy(&image->fold_lock);
	(void)pthread_mutex_destroy(&image->scrub_lock);
	(void)pthread_mutex_destroy(&image->cut_lock);
	(void)pthread_mutex_destroy(&image->epoch_lock);
	(void)pthread_mutex_destroy(&image->flusher_lock);
	(void)pthread_cond_destroy(&image->flusher_wake);
	if (image->lock_fd >= 0)
		(void)disk_close(image->lock_fd);
	free(image->volume_id);
	free(image);
}

status image_close(struct image *image, struct error *err)
{
	if (!image)
		return STATUS_OK;
	end_flusher(image);
	status s = STATUS_OK;
	if (image_sync_all(image) < 0)
		s = error_set(err, STATUS_IO, atomic_load(&image->broken_errno),
		        "could not sync the image of volume \"%s\"", image->volume_id);
	else
		image_do_removals(image);
	journal_give_back(layer_journal(atomic_load(&image->open)->layer));
	image_abandon(image);
	return s;
}

/* ---- looking ---- */

void image_look(struct image *image, struct image_usage *ret)
{
	*ret = (struct image_usage){ .logical_bytes = atomic_load(&image->logical_bytes),
		.broken_errno = atomic_load(&image->broken_errno) };
	(void)pthread_rwlock_rdlock(&image->layers_lock);
	ret->depth = image->order_count + 1;
	(void)pthread_rwlock_unlock(&image->layers_lock);
	(void)pthread_mutex_lock(&image->epoch_lock);
	const struct epoch *open = atomic_load(&image->open);
	ret->open_pages = atomic_load(&open->page_count);
	ret->unsynced_pages = atomic_load(&open->dirty_count);
	if (image->sealing) {
		ret->depth++;
		ret->unsynced_pages += atomic_load(&image->sealing->dirty_count);
	}
	(void)pthread_mutex_unlock(&image->epoch_lock);
}

int image_statfs(struct image *image, struct statvfs *ret)
{
	(void)pthread_mutex_lock(&image->epoch_lock);
	struct layer *layer = layer_hold(atomic_load(&image->open)->layer);
	(void)pthread_mutex_unlock(&image->epoch_lock);
	int rc = disk_statvfs(layer_folder(layer), ret) < 0 ? -errno : 0;
	(void)layer_release(layer);
	if (rc == 0)
		ret->f_namemax = CHANGE_NAME_MAX;
	return rc;
}
