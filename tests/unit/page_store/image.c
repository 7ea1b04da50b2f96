/* The image on a disk without faults: names, content, syncs, cuts, clones, folds, mounts. tests/unit/page_store/model.c has the faults. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "faulty_disk.h"
#include "page_store/image.h"

struct fixture {
	struct data_directory dd;
	struct store *store;
	struct image *image;
	struct error err;
};

#define assert_ok(fixture, call)                                                                             \
	do {                                                                                                 \
		if ((call) != STATUS_OK)                                                                     \
			fail_msg("%s", (fixture)->err.message);                                              \
	} while (0)

static void open_volume(struct fixture *f, const char *volume)
{
	assert_ok(f, image_open(&f->dd, f->store, volume, &f->image, &f->err));
}

static void create_volume(struct fixture *f, const char *volume, const struct layer_ref *layers, size_t count)
{
	assert_ok(f, store_lock(f->store, &f->err));
	status s = image_create(f->store, volume, layers, count, 1000, 1000, &f->err);
	store_unlock(f->store);
	assert_ok(f, s);
}

static void close_volume(struct fixture *f)
{
	assert_ok(f, image_close(f->image, &f->err));
	f->image = NULL;
}

static void reopen(struct fixture *f)
{
	close_volume(f);
	open_volume(f, "vol");
}

/* As after a kill -9: what is not synced may be there or not. */
static void crash(struct fixture *f)
{
	image_abandon(f->image);
	f->image = NULL;
	open_volume(f, "vol");
}

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);
	char path[] = "/tmp/tarn-image-XXXXXX";
	assert_non_null(mkdtemp(path));
	f->dd.path = xstrdup(path);
	assert_ok(f, store_create(&f->dd, "project", &f->store, &f->err));
	create_volume(f, "vol", NULL, 0);
	open_volume(f, "vol");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	if (f->image)
		image_abandon(f->image);
	store_close(f->store);
	assert_ok(f, tree_remove(f->dd.path, &f->err));
	free(f->dd.path);
	free(f);
	return 0;
}

/* ---- short forms ---- */

static uint64_t make(struct fixture *f, uint64_t parent, const char *name, mode_t mode)
{
	struct stat st;
	assert_int_equal(image_make(f->image, parent, name, mode, 0, 1000, 1000, &st), 0);
	return st.st_ino;
}

static uint64_t make_file(struct fixture *f, const char *name)
{
	return make(f, IMAGE_ROOT, name, S_IFREG | 0600);
}

static uint64_t number_of(struct fixture *f, const char *path)
{
	struct stat st;
	return image_resolve(f->image, path, &st) == 0 ? st.st_ino : 0;
}

static void fill(uint8_t *page, unsigned seed)
{
	for (size_t i = 0; i < PAGE_BYTES; i++)
		page[i] = (uint8_t)(seed * 31 + i * 7 + i / 256);
}

static void write_page(struct fixture *f, uint64_t inode, uint32_t block, unsigned seed)
{
	uint8_t page[PAGE_BYTES];
	fill(page, seed);
	assert_int_equal(
	        image_write(f->image, inode, page, PAGE_BYTES, (uint64_t)block * PAGE_BYTES), PAGE_BYTES);
}

static void check_page(struct fixture *f, uint64_t inode, uint32_t block, unsigned seed)
{
	uint8_t page[PAGE_BYTES], expected[PAGE_BYTES];
	fill(expected, seed);
	assert_int_equal(
	        image_read(f->image, inode, page, PAGE_BYTES, (uint64_t)block * PAGE_BYTES), PAGE_BYTES);
	assert_memory_equal(page, expected, PAGE_BYTES);
}

static void check_zeros(struct fixture *f, uint64_t inode, uint64_t at, size_t len)
{
	uint8_t *bytes = xcalloc(1, len);
	memset(bytes, 1, len);
	assert_int_equal(image_read(f->image, inode, bytes, len, at), len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(bytes[i], 0);
	free(bytes);
}

static void set_size(struct fixture *f, uint64_t inode, off_t size)
{
	struct stat st = { .st_size = size }, after;
	assert_int_equal(image_set(f->image, inode, &st, IMAGE_SET_SIZE, &after), 0);
	assert_int_equal(after.st_size, size);
}

static off_t size_of(struct fixture *f, uint64_t inode)
{
	struct stat st;
	assert_int_equal(image_stat(f->image, inode, &st), 0);
	return st.st_size;
}

static struct image_cut cut(struct fixture *f)
{
	struct image_cut made;
	assert_ok(f, image_cut(f->image, &made, &f->err));
	return made;
}

static void just_cut(struct fixture *f)
{
	free(cut(f).layers);
}

/* ---- names ---- */

static void test_names(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	uint64_t base = make(f, IMAGE_ROOT, "base", S_IFDIR | 0700);
	uint64_t one = make(f, base, "1", S_IFDIR | 0700);
	uint64_t file = make(f, one, "1259", S_IFREG | 0600);
	assert_int_equal(number_of(f, "base/1/1259"), file);
	assert_int_equal(number_of(f, "/base//1/../1/./1259"), file);
	assert_int_equal(image_resolve(f->image, "base/2", &st), -ENOENT);
	assert_int_equal(image_resolve(f->image, "base/1/1259/x", &st), -ENOTDIR);
	assert_int_equal(image_make(f->image, one, "1259", S_IFREG, 0, 0, 0, &st), -EEXIST);
	assert_int_equal(image_make(f->image, file, "x", S_IFREG, 0, 0, 0, &st), -ENOTDIR);
	char long_name[300];
	memset(long_name, 'x', sizeof long_name);
	long_name[256] = '\0';
	assert_int_equal(image_make(f->image, one, long_name, S_IFREG, 0, 0, 0, &st), -ENAMETOOLONG);
	long_name[255] = '\0';
	assert_int_equal(image_make(f->image, one, long_name, S_IFREG, 0, 0, 0, &st), 0);
	assert_int_equal(image_unlink(f->image, one, long_name), 0);

	assert_int_equal(image_remove_folder(f->image, base, "1"), -ENOTEMPTY);
	assert_int_equal(image_remove_folder(f->image, one, "1259"), -ENOTDIR);
	assert_int_equal(image_unlink(f->image, base, "1"), -EISDIR);
	assert_int_equal(image_link(f->image, one, base, "again", &st), -EPERM);
	assert_int_equal(image_link(f->image, file, base, "again", &st), 0);
	assert_int_equal(st.st_nlink, 2);
	assert_int_equal(image_unlink(f->image, one, "1259"), 0);
	assert_int_equal(image_stat(f->image, base, &st), 0);
	assert_int_equal(st.st_nlink, 3);
	assert_int_equal(image_remove_folder(f->image, base, "1"), 0);
	assert_int_equal(image_stat(f->image, base, &st), 0);
	assert_int_equal(st.st_nlink, 2);
	assert_int_equal(number_of(f, "base/again"), file);

	char target[100];
	assert_int_equal(image_make_link(f->image, base, "link", "../wal", 1, 1, &st), 0);
	assert_int_equal(image_read_link(f->image, st.st_ino, target, sizeof target), 6);
	assert_memory_equal(target, "../wal", 6);
	reopen(f);
	assert_int_equal(number_of(f, "base/again"), file);
	assert_int_equal(number_of(f, "base/1"), 0);
	assert_int_equal(image_read_link(f->image, number_of(f, "base/link"), target, sizeof target), 6);
	assert_int_equal(image_stat(f->image, file, &st), 0);
	assert_int_equal(st.st_nlink, 1);
}

static void test_rename(void **state)
{
	struct fixture *f = *state;
	uint64_t a = make(f, IMAGE_ROOT, "a", S_IFDIR | 0700), b = make(f, IMAGE_ROOT, "b", S_IFDIR | 0700);
	uint64_t x = make(f, a, "x", S_IFREG | 0600), y = make(f, b, "y", S_IFREG | 0600);
	struct image *image = f->image;
	assert_int_equal(image_rename(image, a, "x", b, "y", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(image_rename(image, a, "x", b, "z", RENAME_EXCHANGE), -ENOENT);
	assert_int_equal(image_rename(image, a, "x", b, "y", RENAME_EXCHANGE), 0);
	assert_int_equal(number_of(f, "a/x"), y);
	assert_int_equal(number_of(f, "b/y"), x);
	assert_int_equal(image_rename(image, a, "x", b, "y", 0), 0);
	assert_int_equal(number_of(f, "b/y"), y);
	assert_int_equal(number_of(f, "a/x"), 0);
	struct stat st;
	assert_int_equal(image_stat(image, x, &st), -ESTALE);
	assert_int_equal(image_rename(image, IMAGE_ROOT, "a", a, "inside", 0), -EINVAL);
	assert_int_equal(image_rename(image, IMAGE_ROOT, "a", b, "y", 0), -ENOTDIR);
	assert_int_equal(image_rename(image, b, "y", IMAGE_ROOT, "a", 0), -EISDIR);
	assert_int_equal(image_rename(image, IMAGE_ROOT, "a", IMAGE_ROOT, "b", 0), -ENOTEMPTY);
	assert_int_equal(image_rename(image, IMAGE_ROOT, "b", IMAGE_ROOT, "a", 0), 0);
	assert_int_equal(number_of(f, "a/y"), y);
	assert_int_equal(number_of(f, "b"), 0);
	assert_int_equal(image_link(image, y, IMAGE_ROOT, "y", &st), 0);
	assert_int_equal(
	        image_rename(image, b, "y", IMAGE_ROOT, "y", 0), 0); /* the same file: nothing happens */
	assert_int_equal(number_of(f, "a/y"), y);
	reopen(f);
	assert_int_equal(number_of(f, "a/y"), y);
	assert_int_equal(number_of(f, "a"), b);
}

struct listing {
	char names[4096];
	uint64_t last;
	int left;
};

static bool on_entry(void *owner, const char *name, uint64_t offset, const struct stat *st)
{
	struct listing *listing = owner;
	assert_true(offset > listing->last && st->st_ino > 0);
	if (listing->left-- == 0)
		return false;
	listing->last = offset;
	strcat(strcat(listing->names, name), " ");
	return true;
}

/* Files come and go between two reads of a folder: nothing that stays is left out or shown twice. */
static void test_read_folder(void **state)
{
	struct fixture *f = *state;
	char name[20];
	for (int i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof name, "f%d", i);
		(void)make_file(f, name);
	}
	struct listing listing = { .left = 12 };
	assert_int_equal(image_read_folder(f->image, IMAGE_ROOT, 0, on_entry, &listing), 0);
	assert_string_equal(listing.names, ". .. f0 f1 f2 f3 f4 f5 f6 f7 f8 f9 ");
	for (int i = 0; i < 95; i++) {
		(void)snprintf(name, sizeof name, "f%d", i);
		assert_int_equal(image_unlink(f->image, IMAGE_ROOT, name), 0);
	}
	(void)make_file(f, "new");
	listing.left = 1000;
	listing.names[0] = '\0';
	assert_int_equal(image_read_folder(f->image, IMAGE_ROOT, listing.last, on_entry, &listing), 0);
	assert_string_equal(listing.names, "f95 f96 f97 f98 f99 new ");
}

/* ---- content ---- */

static void test_content(void **state)
{
	struct fixture *f = *state;
	uint64_t file = make_file(f, "file");
	uint8_t bytes[50000], back[60000];
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 13 + i / 999);
	assert_int_equal(image_write(f->image, file, bytes, sizeof bytes, 1000), sizeof bytes);
	assert_int_equal(size_of(f, file), 51000);
	check_zeros(f, file, 0, 1000);
	assert_int_equal(image_read(f->image, file, back, sizeof back, 1000), sizeof bytes);
	assert_memory_equal(back, bytes, sizeof bytes);
	assert_int_equal(image_read(f->image, file, back, 10, 51000), 0);
	assert_int_equal(image_write(f->image, file, "xyz", 3, 20000), 3);
	memcpy(bytes + 19000, "xyz", 3);
	assert_int_equal(image_read(f->image, file, back, sizeof back, 1000), sizeof bytes);
	assert_memory_equal(back, bytes, sizeof bytes);
	assert_int_equal(image_sync(f->image, file), 0);
	assert_int_equal(image_write(f->image, file, "abc", 3, 20003), 3);
	memcpy(bytes + 19003, "abc", 3);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(image_read(f->image, file, back, sizeof back, 1000), sizeof bytes);
		assert_memory_equal(back, bytes, sizeof bytes);
		reopen(f);
	}
	assert_int_equal(image_read(f->image, IMAGE_ROOT, back, 10, 0), -EISDIR);
	assert_int_equal(image_write(f->image, file, "x", 1, PAGE_BLOCKS_MAX * PAGE_BYTES), -EFBIG);
	assert_int_equal(image_write(f->image, 4711, "x", 1, 0), -ESTALE);
}

/* What was cut off never shows again, in any layer. */
static void test_truncate(void **state)
{
	struct fixture *f = *state;
	uint64_t file = make_file(f, "file");
	for (int round = 0; round < 3; round++) {
		for (uint32_t block = 0; block < 10; block++)
			write_page(f, file, block, block);
		if (round == 1)
			just_cut(f);
		if (round == 2)
			assert_int_equal(image_sync(f->image, file), 0);
		set_size(f, file, 5 * PAGE_BYTES + 100);
		set_size(f, file, 20 * PAGE_BYTES);
		check_zeros(f, file, 5 * PAGE_BYTES + 100, 15 * PAGE_BYTES - 100);
		check_page(f, file, 4, 4);
		just_cut(f);
		check_zeros(f, file, 5 * PAGE_BYTES + 100, 15 * PAGE_BYTES - 100);
		reopen(f);
		check_zeros(f, file, 5 * PAGE_BYTES + 100, 15 * PAGE_BYTES - 100);
		check_page(f, file, 4, 4);
		assert_int_equal(size_of(f, file), 20 * PAGE_BYTES);
	}
	set_size(f, file, 100);
	assert_int_equal(image_write(f->image, file, "x", 1, 3 * PAGE_BYTES), 1);
	check_zeros(f, file, 100, 3 * PAGE_BYTES - 100);
}

static void test_allocate_and_seek(void **state)
{
	struct fixture *f = *state;
	uint64_t file = make_file(f, "file");
	assert_int_equal(image_allocate(f->image, file, 0, 0, 4 * PAGE_BYTES), 0);
	assert_int_equal(size_of(f, file), 4 * PAGE_BYTES);
	assert_int_equal(image_allocate(f->image, file, FALLOC_FL_KEEP_SIZE, 0, 9 * PAGE_BYTES), 0);
	assert_int_equal(size_of(f, file), 4 * PAGE_BYTES);
	check_zeros(f, file, 0, 4 * PAGE_BYTES);
	write_page(f, file, 1, 1);
	write_page(f, file, 2, 2);
	assert_int_equal(image_seek(f->image, file, 0, SEEK_DATA), PAGE_BYTES);
	assert_int_equal(image_seek(f->image, file, 9000, SEEK_DATA), 9000);
	assert_int_equal(image_seek(f->image, file, 9000, SEEK_HOLE), 3 * PAGE_BYTES);
	assert_int_equal(image_seek(f->image, file, 3 * PAGE_BYTES, SEEK_DATA), -ENXIO);
	assert_int_equal(
	        image_allocate(f->image, file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 9000, PAGE_BYTES),
	        0);
	check_zeros(f, file, 9000, PAGE_BYTES);
	assert_int_equal(
	        image_allocate(f->image, file, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE_BYTES), -EOPNOTSUPP);
	assert_int_equal(image_allocate(f->image, file, FALLOC_FL_ZERO_RANGE, 0, 5 * PAGE_BYTES), 0);
	assert_int_equal(size_of(f, file), 5 * PAGE_BYTES);
	check_zeros(f, file, 0, 5 * PAGE_BYTES);
}

static void test_attributes(void **state)
{
	struct fixture *f = *state;
	uint64_t file = make_file(f, "file");
	struct stat st = { .st_mode = 0640, .st_uid = 5, .st_gid = 6, .st_mtim = { 1234, 5678 } }, after;
	assert_int_equal(
	        image_set(f->image, file, &st,
	                IMAGE_SET_MODE | IMAGE_SET_OWNER | IMAGE_SET_GROUP | IMAGE_SET_MTIME, &after),
	        0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(image_stat(f->image, file, &after), 0);
		assert_int_equal(after.st_mode, S_IFREG | 0640);
		assert_int_equal(after.st_uid, 5);
		assert_int_equal(after.st_gid, 6);
		assert_int_equal(after.st_mtim.tv_sec, 1234);
		assert_int_equal(after.st_mtim.tv_nsec, 5678);
		if (i == 1)
			just_cut(f);
		reopen(f);
	}
}

/* ---- files without a name ---- */

/* A held file lives on without a name, over cuts too, and is gone with the last hold. */
static void test_orphans(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	uint64_t file = make_file(f, "file");
	image_hold(f->image, file);
	image_hold(f->image, file);
	write_page(f, file, 0, 1);
	write_page(f, file, 1, 2);
	assert_int_equal(image_unlink(f->image, IMAGE_ROOT, "file"), 0);
	just_cut(f);
	check_page(f, file, 0, 1);
	write_page(f, file, 0, 3);
	assert_int_equal(image_sync(f->image, file), 0);
	(void)make_file(f, "other");
	just_cut(f);
	check_page(f, file, 0, 3);
	check_page(f, file, 1, 2);
	image_let_go(f->image, file, 1);
	check_page(f, file, 1, 2);
	assert_int_equal(image_link(f->image, file, IMAGE_ROOT, "back", &st), -ENOENT);
	image_let_go(f->image, file, 1);
	assert_int_equal(image_stat(f->image, file, &st), -ESTALE);
	reopen(f);
	assert_int_equal(image_stat(f->image, file, &st), -ESTALE);
}

/* ---- cuts ---- */

static void test_cut_and_clone(void **state)
{
	struct fixture *f = *state;
	uint64_t file = make_file(f, "file"), gone = make_file(f, "gone");
	for (uint32_t block = 0; block < 600; block++)
		write_page(f, file, block, block);
	write_page(f, gone, 0, 9);
	struct image_cut first = cut(f);
	assert_int_equal(first.layer_count, 1);
	assert_int_equal(first.pages, 601);
	assert_int_equal(first.logical_bytes, 601 * PAGE_BYTES);

	struct image_cut same = cut(f);
	assert_int_equal(same.layer_count, 1);
	assert_string_equal(same.layers[0].id, first.layers[0].id);
	assert_int_equal(same.pages, 0);
	free(same.layers);

	write_page(f, file, 5, 1005);
	set_size(f, file, 10 * PAGE_BYTES);
	assert_int_equal(image_unlink(f->image, IMAGE_ROOT, "gone"), 0);
	struct image_cut second = cut(f);
	assert_int_equal(second.layer_count, 2);
	write_page(f, file, 6, 1006);
	check_page(f, file, 5, 1005);
	close_volume(f);

	create_volume(f, "clone", first.layers, first.layer_count);
	open_volume(f, "clone");
	check_page(f, file, 5, 5);
	check_page(f, file, 599, 599);
	check_page(f, gone, 0, 9);
	assert_int_equal(number_of(f, "gone"), gone);
	write_page(f, file, 0, 77);
	close_volume(f);
	create_volume(f, "clone2", second.layers, second.layer_count);
	open_volume(f, "clone2");
	check_page(f, file, 5, 1005);
	check_page(f, file, 6, 6);
	assert_int_equal(size_of(f, file), 10 * PAGE_BYTES);
	assert_int_equal(number_of(f, "gone"), 0);
	close_volume(f);
	open_volume(f, "vol");
	check_page(f, file, 0, 0);
	check_page(f, file, 6, 1006);
	free(first.layers);
	free(second.layers);
}

/* Unsynced content belongs to a cut, and what comes after it does not. */
static void test_many_cuts(void **state)
{
	struct fixture *f = *state;
	uint64_t file = make_file(f, "file");
	struct image_cut cuts[20];
	for (unsigned i = 0; i < 20; i++) {
		write_page(f, file, i, i);
		write_page(f, file, 100, 100 + i);
		if (i % 3 == 0)
			assert_int_equal(image_sync(f->image, file), 0);
		cuts[i] = cut(f);
		assert_int_equal(cuts[i].layer_count, i + 1);
		if (i % 5 == 0)
			crash(f);
	}
	for (unsigned i = 0; i < 20; i++)
		check_page(f, file, i, i);
	close_volume(f);
	for (unsigned i = 0; i < 20; i++) {
		char name[20];
		(void)snprintf(name, sizeof name, "clone%u", i);
		create_volume(f, name, cuts[i].layers, cuts[i].layer_count);
		open_volume(f, name);
		check_page(f, file, 100, 100 + i);
		check_page(f, file, i, i);
		if (i < 19)
			check_zeros(f, file, (i + 1) * (uint64_t)PAGE_BYTES, PAGE_BYTES);
		close_volume(f);
		free(cuts[i].layers);
	}
	open_volume(f, "vol");
}

/* ---- folds ---- */

static void fold_all(struct fixture *f)
{
	bool done = false;
	while (!done)
		assert_ok(f, image_fold_step(f->image, &done, &f->err));
}

static size_t depth(struct fixture *f)
{
	struct image_usage usage;
	image_look(f->image, &usage);
	return usage.depth;
}

static void check_scrub(struct fixture *f, uint64_t pages)
{
	struct image_scrub scrub = { 0 };
	uint64_t checked = 0;
	while (!scrub.is_round_over) {
		assert_ok(f, image_scrub_step(f->image, 7, &scrub, &f->err));
		assert_int_equal(scrub.pages_bad, 0);
		checked += scrub.pages_checked;
	}
	assert_int_equal(checked, pages);
}

/* Content stays the same while layers become fewer, in maps that were made before and in new ones. */
static void test_fold(void **state)
{
	struct fixture *f = *state;
	uint64_t file = make_file(f, "file"), gone = make_file(f, "gone"), cropped = make_file(f, "cropped");
	for (uint32_t block = 0; block < 40; block++)
		write_page(f, cropped, block, block);
	for (unsigned round = 0; round < 8; round++) {
		for (uint32_t block = 0; block < 100; block++)
			if (block % (round + 1) == 0)
				write_page(f, file, block, round * 1000 + block);
		if (round <= 6)
			write_page(f, gone, round, round);
		if (round == 3)
			set_size(f, cropped, 5 * PAGE_BYTES);
		if (round == 4)
			set_size(f, cropped, 40 * PAGE_BYTES);
		if (round == 6)
			assert_int_equal(image_unlink(f->image, IMAGE_ROOT, "gone"), 0);
		just_cut(f);
		check_page(f, file, 0, round * 1000);
	}
	assert_int_equal(depth(f), 9);
	for (int i = 0; i < 3; i++) {
		if (i < 2) {
			fold_all(f);
			assert_int_equal(depth(f), 3); /* all into one, but the newest */
		}
		for (uint32_t block = 0; block < 100; block++) {
			unsigned last = 0;
			for (unsigned round = 0; round < 8; round++)
				if (block % (round + 1) == 0)
					last = round;
			check_page(f, file, block, last * 1000 + block);
		}
		check_page(f, cropped, 4, 4);
		check_zeros(f, cropped, 5 * PAGE_BYTES, 35 * PAGE_BYTES);
		reopen(f);
	}
	check_scrub(f, 100 + 5 + 13); /* 13 are also in the newest layer */
}

/* Layers that a clone shares stay as they are. */
static void test_fold_spares_others(void **state)
{
	struct fixture *f = *state;
	uint64_t file = make_file(f, "file");
	struct image_cut cuts[6];
	for (unsigned i = 0; i < 6; i++) {
		write_page(f, file, 0, i);
		write_page(f, file, i, i);
		cuts[i] = cut(f);
	}
	create_volume(f, "clone", cuts[2].layers, cuts[2].layer_count);
	fold_all(f);
	assert_int_equal(depth(f), 6); /* 0 1 2 (3 4) 5 and the open one */
	check_page(f, file, 4, 4);
	close_volume(f);
	open_volume(f, "clone");
	check_page(f, file, 0, 2);
	check_page(f, file, 1, 1);
	close_volume(f);
	open_volume(f, "vol");
	check_page(f, file, 0, 5);
	for (unsigned i = 0; i < 6; i++)
		free(cuts[i].layers);
}

/* A file that is held without a name keeps its pages from being dropped by a fold. */
static void test_fold_waits_for_orphans(void **state)
{
	struct fixture *f = *state;
	uint64_t file = make_file(f, "file");
	image_hold(f->image, file);
	write_page(f, file, 0, 1);
	just_cut(f);
	assert_int_equal(image_unlink(f->image, IMAGE_ROOT, "file"), 0);
	for (int i = 0; i < 4; i++) {
		char name[20];
		(void)snprintf(name, sizeof name, "other%d", i);
		(void)make_file(f, name);
		just_cut(f);
	}
	fold_all(f);
	check_page(f, file, 0, 1);
	assert_true(depth(f) > 3);
	image_let_go(f->image, file, 1);
	fold_all(f);
	assert_int_equal(depth(f), 3);
}

/* ---- mounts ---- */

static void test_lock(void **state)
{
	struct fixture *f = *state;
	struct image *other = NULL;
	assert_int_equal(image_open(&f->dd, f->store, "vol", &other, &f->err), STATUS_CONFLICT);
	assert_int_equal(image_open(&f->dd, f->store, "none", &other, &f->err), STATUS_NOT_FOUND);
	assert_null(other);
	status s = store_lock(f->store, &f->err);
	assert_int_equal(s, STATUS_OK);
	assert_int_equal(image_create(f->store, "vol", NULL, 0, 0, 0, &f->err), STATUS_EXISTS);
	store_unlock(f->store);
}

static void test_synced_survives(void **state)
{
	struct fixture *f = *state;
	uint64_t file = make_file(f, "file");
	for (unsigned round = 0; round < 6; round++) {
		for (uint32_t block = 0; block < 20; block++)
			write_page(f, file, block, block + round);
		assert_int_equal(image_sync(f->image, file), 0);
		for (uint32_t block = 0; block < 20; block++)
			write_page(f, file, block, 999);
		crash(f);
		for (uint32_t block = 0; block < 20; block++)
			check_page(f, file, block, block + round);
	}
	assert_int_equal(image_rename(f->image, IMAGE_ROOT, "file", IMAGE_ROOT, "renamed", 0), 0);
	assert_int_equal(image_sync(f->image, IMAGE_ROOT), 0);
	crash(f);
	assert_int_equal(number_of(f, "renamed"), file);
	assert_int_equal(number_of(f, "file"), 0);
}

static void test_usage(void **state)
{
	struct fixture *f = *state;
	uint64_t file = make_file(f, "file");
	struct image_usage usage;
	write_page(f, file, 0, 1);
	write_page(f, file, 9, 1);
	image_look(f->image, &usage);
	assert_int_equal(usage.logical_bytes, 10 * PAGE_BYTES);
	assert_int_equal(usage.open_pages, 2);
	assert_int_equal(usage.unsynced_pages, 2);
	assert_int_equal(usage.depth, 1);
	assert_int_equal(image_sync(f->image, file), 0);
	set_size(f, file, PAGE_BYTES);
	image_look(f->image, &usage);
	assert_int_equal(usage.open_pages, 1);
	assert_int_equal(usage.unsynced_pages, 0);
	just_cut(f);
	image_look(f->image, &usage);
	assert_int_equal(usage.open_pages, 0);
	assert_int_equal(usage.depth, 2);
	reopen(f);
	image_look(f->image, &usage);
	assert_int_equal(usage.logical_bytes, PAGE_BYTES);
	assert_int_equal(image_unlink(f->image, IMAGE_ROOT, "file"), 0);
	image_look(f->image, &usage);
	assert_int_equal(usage.logical_bytes, 0);
	struct statvfs st;
	assert_int_equal(image_statfs(f->image, &st), 0);
}

/* ---- writes that are answered before they are done ---- */

struct writer {
	struct fixture *f;
	uint64_t inode;
	size_t answered; /* bytes */
	unsigned answers, waits;
	bool refuses, has_seen_old;
	uint64_t fail_at; /* the nth call to the disk after the answer */
	bool fills;       /* the disk, by then */
};

static bool on_answer(void *owner, size_t len)
{
	struct writer *writer = owner;
	uint8_t page[PAGE_BYTES], old[PAGE_BYTES];
	writer->answers++;
	if (writer->refuses)
		return false;
	writer->answered = len;
	/* It really comes first: the page is not there yet. */
	fill(old, 1);
	writer->has_seen_old =
	        image_read(writer->f->image, writer->inode, page, PAGE_BYTES, 0) == PAGE_BYTES &&
	        memcmp(page, old, PAGE_BYTES) == 0;
	if (writer->fail_at)
		faulty_disk_fail(writer->fail_at, EIO);
	if (writer->fills)
		faulty_disk_set_room(0);
	return true;
}

static void on_wait(void *owner)
{
	struct writer *writer = owner;
	writer->waits++;
}

static ssize_t write_answered(struct writer *writer, unsigned seed, size_t len, uint64_t at)
{
	const struct image_writer events = { .will_wait = on_wait, .answer = on_answer, .owner = writer };
	uint8_t *bytes = xcalloc(2, PAGE_BYTES);
	fill(bytes, seed);
	fill(bytes + PAGE_BYTES, seed);
	writer->answers = writer->waits = 0;
	writer->answered = 0;
	ssize_t n = image_write_answered(writer->f->image, &events, writer->inode, bytes, len, at);
	free(bytes);
	return n;
}

static void test_answered(void **state)
{
	struct fixture *f = *state;
	struct writer writer = { .f = f, .inode = make_file(f, "a") };
	write_page(f, writer.inode, 0, 1);
	assert_int_equal(image_sync(f->image, writer.inode), 0);

	assert_int_equal(write_answered(&writer, 2, PAGE_BYTES, 0), PAGE_BYTES);
	assert_int_equal(writer.answers, 1);
	assert_int_equal(writer.answered, PAGE_BYTES);
	assert_true(writer.has_seen_old);
	assert_int_equal(writer.waits, 0);
	check_page(f, writer.inode, 0, 2);
	/* Behind the end: the size follows. */
	assert_int_equal(write_answered(&writer, 3, PAGE_BYTES, 5 * PAGE_BYTES), PAGE_BYTES);
	assert_int_equal(writer.answers, 1);
	check_page(f, writer.inode, 5, 3);
	check_zeros(f, writer.inode, PAGE_BYTES, 4 * PAGE_BYTES);
	/* Synced, it is there after a kill. */
	assert_int_equal(image_sync(f->image, writer.inode), 0);
	crash(f);
	check_page(f, writer.inode, 0, 2);
	check_page(f, writer.inode, 5, 3);
}

static void test_not_answered(void **state)
{
	struct fixture *f = *state;
	struct writer writer = { .f = f, .inode = make_file(f, "a"), .refuses = true };
	write_page(f, writer.inode, 0, 1);
	/* Who is asked may say no, and is told the result as ever. */
	assert_int_equal(write_answered(&writer, 2, PAGE_BYTES, 0), PAGE_BYTES);
	assert_int_equal(writer.answers, 1);
	check_page(f, writer.inode, 0, 2);
	faulty_disk_fail(1, EIO);
	assert_true(write_answered(&writer, 3, PAGE_BYTES, PAGE_BYTES) < 0);
	faulty_disk_fail(0, 0);
	check_page(f, writer.inode, 0, 2);
	assert_int_equal(image_sync(f->image, writer.inode), 0);

	/* Parts of pages are not asked for. */
	writer.refuses = false;
	assert_int_equal(write_answered(&writer, 4, 100, 0), 100);
	assert_int_equal(writer.answers, 0);
	assert_int_equal(write_answered(&writer, 4, PAGE_BYTES + 1, 0), PAGE_BYTES + 1);
	assert_int_equal(writer.answers, 0);
	/* Nor two pages of which each goes to another slot: that is two calls, and the second may fail for itself. */
	write_page(f, writer.inode, 0, 5);
	write_page(f, writer.inode, 1, 5);
	assert_int_equal(image_sync(f->image, writer.inode), 0);
	bool is_answered = false, is_refused = false;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(write_answered(&writer, 6, 2 * PAGE_BYTES, 0), 2 * PAGE_BYTES);
		is_answered |= writer.answers == 1 && writer.answered == 2 * PAGE_BYTES;
		is_refused |= writer.answers == 0;
		check_page(f, writer.inode, 1, 6);
		assert_int_equal(image_sync(f->image, writer.inode), 0);
		write_page(f, writer.inode, 1, 6);
		assert_int_equal(image_sync(f->image, writer.inode), 0);
	}
	assert_true(is_answered);
	assert_true(is_refused);

	/* Nor anything on a disk that is nearly full. */
	faulty_disk_set_room(UINT64_C(100) << 20);
	usleep(150000); /* what it knows of the disk is a moment old */
	assert_int_equal(write_answered(&writer, 7, PAGE_BYTES, 0), PAGE_BYTES);
	assert_int_equal(writer.answers, 0);
	faulty_disk_set_room(UINT64_MAX);
	usleep(150000);
	assert_int_equal(write_answered(&writer, 8, PAGE_BYTES, 0), PAGE_BYTES);
	assert_int_equal(writer.answers, 1);
}

/* It was acknowledged and is lost: nothing becomes durable any more; opened anew it is as of the last sync. */
static void test_answered_and_lost(void **state)
{
	struct fixture *f = *state;
	struct writer writer = { .f = f, .inode = make_file(f, "a") };
	uint64_t other = make_file(f, "b");
	struct image_usage usage;
	write_page(f, writer.inode, 0, 1);
	write_page(f, other, 0, 9);
	assert_int_equal(image_sync_all(f->image), 0);
	writer.fail_at = 1;
	assert_true(write_answered(&writer, 2, PAGE_BYTES, 0) < 0);
	assert_int_equal(writer.answered, PAGE_BYTES);
	assert_true(faulty_disk_has_failed());
	assert_int_equal(image_sync(f->image, writer.inode), -EIO);
	assert_int_equal(image_sync(f->image, other), -EIO);
	assert_int_equal(image_sync_all(f->image), -EIO);
	image_look(f->image, &usage);
	assert_int_not_equal(usage.broken_errno, 0);
	struct image_cut cut = { 0 };
	assert_int_not_equal(image_cut(f->image, &cut, &f->err), STATUS_OK);
	/* Whoever writes from now on is not answered early. */
	(void)write_answered(&writer, 3, PAGE_BYTES, PAGE_BYTES);
	assert_int_equal(writer.answers, 0);
	crash(f);
	check_page(f, writer.inode, 0, 1);
	check_page(f, other, 0, 9);
}

static void *make_room(void *p)
{
	(void)p;
	(void)usleep(100000);
	faulty_disk_set_room(UINT64_MAX);
	return NULL;
}

/* Others fill the disk right after the answer: it waits for room, and is lost only if there comes none. */
static void test_answered_and_full(void **state)
{
	struct fixture *f = *state;
	struct writer writer = { .f = f, .inode = make_file(f, "a"), .fills = true };
	pthread_t other;
	write_page(f, writer.inode, 0, 1);
	assert_int_equal(image_sync_all(f->image), 0);
	assert_int_equal(pthread_create(&other, NULL, make_room, NULL), 0);
	assert_int_equal(write_answered(&writer, 2, PAGE_BYTES, 50 * PAGE_BYTES), PAGE_BYTES);
	assert_int_equal(pthread_join(other, NULL), 0);
	assert_int_equal(writer.answered, PAGE_BYTES);
	check_page(f, writer.inode, 50, 2);
	assert_int_equal(image_sync_all(f->image), 0);

	assert_true(write_answered(&writer, 3, PAGE_BYTES, 100 * PAGE_BYTES) < 0);
	assert_int_equal(writer.answered, PAGE_BYTES);
	faulty_disk_set_room(UINT64_MAX);
	assert_int_equal(image_sync_all(f->image), -EIO);
	crash(f);
	check_page(f, writer.inode, 0, 1);
	check_page(f, writer.inode, 50, 2);
}

/*
 * On a full disk a change is refused, and everything that was not refused can be synced, whatever runs out first: the pages' space or
 * the journal's, which pages that have their space use up here. What the last of it is kept for still goes.
 */
static void test_full_disk(void **state)
{
	struct fixture *f = *state;
	struct image_usage usage;
	uint64_t file = make_file(f, "file");
	for (unsigned round = 0; round < 3; round++) { /* both slots of the pages */
		for (uint32_t block = 0; block < 8; block++)
			write_page(f, file, block, round);
		assert_int_equal(image_sync(f->image, file), 0);
	}
	for (unsigned i = 0; i < 20; i++) {
		char name[8];
		(void)snprintf(name, sizeof name, "f%u", i);
		(void)make_file(f, name);
	}
	faulty_disk_set_room(0);
	unsigned seed[8] = { 2, 2, 2, 2, 2, 2, 2, 2 }, syncs = 0;
	ssize_t n = PAGE_BYTES;
	for (unsigned i = 0; n == PAGE_BYTES && i < 100000; i++) {
		uint8_t page[PAGE_BYTES];
		fill(page, i);
		n = image_write(f->image, file, page, sizeof page, (uint64_t)(i % 8) * PAGE_BYTES);
		if (n == PAGE_BYTES)
			seed[i % 8] = i;
		if (i % 3 == 0) {
			assert_int_equal(image_sync(f->image, file), 0);
			syncs++;
		}
	}
	assert_int_equal(n, -ENOSPC);
	assert_true(syncs > 100);
	assert_int_equal(image_sync_all(f->image), 0);
	image_look(f->image, &usage);
	assert_int_equal(usage.broken_errno, 0);
	/* Pages that do not have their space, and many names. */
	uint8_t pages[4 * PAGE_BYTES] = { 0 };
	assert_int_equal(image_write(f->image, file, pages, sizeof pages, 100 * PAGE_BYTES), -ENOSPC);
	for (unsigned i = 0; i < 20; i++) {
		char name[8];
		(void)snprintf(name, sizeof name, "f%u", i);
		assert_int_equal(image_unlink(f->image, IMAGE_ROOT, name), 0);
	}
	int rc = 0;
	for (unsigned i = 0; rc == 0 && i < 100000; i++) {
		rc = image_rename(f->image, IMAGE_ROOT, i % 2 ? "file2" : "file", IMAGE_ROOT,
		        i % 2 ? "file" : "file2", 0);
		assert_int_equal(image_sync(f->image, IMAGE_ROOT), 0);
	}
	assert_int_equal(rc, -ENOSPC);
	struct image_cut cut;
	assert_int_equal(image_cut(f->image, &cut, &f->err), STATUS_NO_SPACE);
	assert_int_equal(image_sync_all(f->image), 0);
	faulty_disk_set_room(UINT64_MAX);
	for (uint32_t block = 0; block < 8; block++)
		check_page(f, file, block, seed[block]);
	write_page(f, file, 100, 7);
	just_cut(f);
	crash(f);
	check_page(f, file, 100, 7);
	for (uint32_t block = 0; block < 8; block++)
		check_page(f, file, block, seed[block]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rename, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_folder, setup, teardown),
		cmocka_unit_test_setup_teardown(test_content, setup, teardown),
		cmocka_unit_test_setup_teardown(test_truncate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_allocate_and_seek, setup, teardown),
		cmocka_unit_test_setup_teardown(test_attributes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_orphans, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut_and_clone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_cuts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fold, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fold_spares_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fold_waits_for_orphans, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
		cmocka_unit_test_setup_teardown(test_synced_survives, setup, teardown),
		cmocka_unit_test_setup_teardown(test_usage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_answered_and_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_answered_and_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
