/*
 * What a truncation to mid-page cut off never comes back: through power cuts and kills at every call to the disk of a cut, and again of every opening
 * after that, and on a disk that is full just then.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "faulty_disk.h"
#include "page_store/cut_tail.h"
#include "page_store/image.h"

#define BLOCK   3u /* the page that is cut */
#define OFFSET  1000u
#define BEGIN   ((uint64_t)BLOCK * PAGE_BYTES)
#define GROWN   (BEGIN + 3 * PAGE_BYTES)
#define ROOM    12 /* pages */
#define SECRET  0xab
#define KINDS   3 /* where the page is: in the layer itself, in the one below, two below */
#define NO_CALL 0
#define STRIDE  2 /* every other one, and the others at the next call of the cut */

struct fixture {
	struct data_directory dd;
	struct store *store;
	struct image *image;
	struct error err;
};

static void set_up(struct fixture *f, uint64_t seed)
{
	/* Only folders are real. There are thousands of them, and each is synced. */
	CLEANUP(free_text)
	char *path = xasprintf("%s/tarn-tail-XXXXXX", file_exists("/dev/shm") ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(path));
	faulty_disk_reset(seed);
	*f = (struct fixture){ .dd.path = xstrdup(path) };
	assert_int_equal(store_create(&f->dd, "project", &f->store, &f->err), STATUS_OK);
	assert_int_equal(store_lock(f->store, &f->err), STATUS_OK);
	assert_int_equal(image_create(f->store, "vol", NULL, 0, 1000, 1000, &f->err), STATUS_OK);
	store_unlock(f->store);
	assert_int_equal(image_open(&f->dd, f->store, "vol", &f->image, &f->err), STATUS_OK);
}

static void tear_down(struct fixture *f)
{
	if (f->image)
		image_abandon(f->image);
	store_close(f->store);
	assert_int_equal(tree_remove(f->dd.path, &f->err), STATUS_OK);
	free(f->dd.path);
	assert_int_equal(faulty_disk_open_count(), 0);
}

/* The process is gone, with the power or without it. */
static void end(struct fixture *f, bool is_power)
{
	if (f->image)
		image_abandon(f->image);
	f->image = NULL;
	store_close(f->store);
	if (is_power)
		faulty_disk_crash();
	else
		faulty_disk_kill();
	assert_int_equal(store_open(&f->dd, "project", &f->store, &f->err), STATUS_OK);
}

static void cut(struct fixture *f)
{
	struct image_cut made;
	if (image_cut(f->image, &made, &f->err) == STATUS_OK)
		free(made.layers);
}

static void set_size(struct fixture *f, uint64_t inode, uint64_t size)
{
	struct stat st = { .st_size = (off_t)size }, after;
	assert_int_equal(image_set(f->image, inode, &st, IMAGE_SET_SIZE, &after), 0);
}

/* Pages full of secrets, as deep as `kind` says; then a truncation into one of them, and growth, both on their way to the journal. */
static void prepare(struct fixture *f, unsigned kind)
{
	struct stat st;
	uint8_t page[PAGE_BYTES];
	memset(page, SECRET, sizeof page);
	assert_int_equal(image_make(f->image, IMAGE_ROOT, "file", S_IFREG | 0600, 0, 1000, 1000, &st), 0);
	for (uint32_t block = 0; block <= BLOCK + 1; block++)
		assert_int_equal(
		        image_write(f->image, st.st_ino, page, PAGE_BYTES, (uint64_t)block * PAGE_BYTES),
		        PAGE_BYTES);
	assert_int_equal(image_sync_all(f->image), 0);
	for (unsigned i = 0; i < kind; i++) {
		cut(f);
		/* So that there is a layer of its own between. */
		assert_int_equal(image_write(f->image, st.st_ino, page, PAGE_BYTES, 0), PAGE_BYTES);
		assert_int_equal(image_sync_all(f->image), 0);
	}
	set_size(f, st.st_ino, BEGIN + OFFSET);
	set_size(f, st.st_ino, GROWN);
}

/* Either nothing of it has happened, or what was cut off is zeros. */
static void check(struct fixture *f, const char *where)
{
	struct stat st;
	uint8_t page[PAGE_BYTES];
	assert_int_equal(image_resolve(f->image, "file", &st), 0);
	uint64_t size = (uint64_t)st.st_size;
	if (size == BEGIN + 2 * PAGE_BYTES)
		return; /* the truncation is lost */
	assert_true(size == BEGIN + OFFSET || size == GROWN);
	/* What is behind the end must not show when the file grows, either. */
	set_size(f, st.st_ino, GROWN);
	assert_int_equal(image_read(f->image, st.st_ino, page, PAGE_BYTES, BEGIN), PAGE_BYTES);
	for (size_t i = 0; i < PAGE_BYTES; i++) {
		if (page[i] != (i < OFFSET ? SECRET : 0))
			fail_msg("%s: byte %zu of the page is %#x", where, i, page[i]);
	}
	assert_int_equal(image_read(f->image, st.st_ino, page, PAGE_BYTES, BEGIN + PAGE_BYTES), PAGE_BYTES);
	for (size_t i = 0; i < PAGE_BYTES; i++)
		assert_int_equal(page[i], 0);
}

static void open_again(struct fixture *f)
{
	if (image_open(&f->dd, f->store, "vol", &f->image, &f->err) != STATUS_OK)
		fail_msg("%s", f->err.message);
}

/* The cut dies at its nth call, the opening after it at its mth. False: it had no such call. */
static bool die_twice(unsigned kind, uint64_t n, uint64_t m, bool is_power, uint64_t seed, bool *ret_cut_died)
{
	struct fixture f;
	set_up(&f, seed);
	prepare(&f, kind);
	faulty_disk_cut_power(n);
	cut(&f);
	*ret_cut_died = faulty_disk_has_failed();
	end(&f, true);
	bool has_died = false;
	if (m != NO_CALL) {
		faulty_disk_cut_power(m);
		(void)!image_open(&f.dd, f.store, "vol", &f.image, &f.err);
		has_died = faulty_disk_has_failed();
		end(&f, is_power);
	}
	open_again(&f);
	CLEANUP(free_text)
	char *where = xasprintf("kind %u, call %llu of the cut, call %llu of the opening, %s", kind,
	        (unsigned long long)n, (unsigned long long)m, is_power ? "power" : "kill");
	check(&f, where);
	/* Nor later, when all of it is sealed. */
	cut(&f);
	end(&f, false);
	open_again(&f);
	check(&f, where);
	tear_down(&f);
	return has_died;
}

static void nothing_comes_back_through_crashes(void **state)
{
	(void)state;
	uint64_t seed = 1, tried = 0;
	for (unsigned kind = 0; kind < KINDS; kind++) {
		bool cut_died = true;
		for (uint64_t n = 1; cut_died; n++) {
			(void)die_twice(kind, n, NO_CALL, true, seed++, &cut_died);
			bool has_died = cut_died;
			for (uint64_t m = 1 + (n + kind) % STRIDE; has_died; m += STRIDE, tried++)
				has_died = die_twice(kind, n, m, (n + m) % 2 == 0, seed++, &cut_died);
		}
	}
	assert_true(tried > 300);
}

/* What opening needs of the disk may not be there: then it fails, and does its work when it is. */
static void nothing_comes_back_through_a_full_disk(void **state)
{
	(void)state;
	uint64_t seed = 1, refused = 0;
	for (unsigned kind = 0; kind < KINDS; kind++) {
		bool cut_died = true;
		for (uint64_t n = 1; cut_died; n++) {
			for (uint64_t room = (n + kind) % STRIDE; room < ROOM; room += STRIDE) {
				struct fixture f;
				set_up(&f, seed++);
				prepare(&f, kind);
				faulty_disk_cut_power(n);
				cut(&f);
				cut_died = faulty_disk_has_failed();
				end(&f, true);
				faulty_disk_set_room(room * PAGE_BYTES);
				status st = image_open(&f.dd, f.store, "vol", &f.image, &f.err);
				refused += st != STATUS_OK;
				CLEANUP(free_text)
				char *where = xasprintf("kind %u, call %llu of the cut, room for %llu pages",
				        kind, (unsigned long long)n, (unsigned long long)room);
				faulty_disk_set_room(UINT64_MAX);
				if (st == STATUS_OK)
					check(&f, where);
				end(&f, false);
				open_again(&f);
				check(&f, where);
				tear_down(&f);
			}
		}
	}
	assert_true(refused > 0);
}

static void only_what_is_left_is_taken(void **state)
{
	(void)state;
	CLEANUP(cut_tails_done) struct cut_tails tails = { 0 };
	struct cut_tail tail;
	cut_tails_truncate(&tails, 7, BEGIN + OFFSET);
	cut_tails_truncate(&tails, 7, BEGIN + OFFSET + 1); /* it had grown; the first cut is deeper */
	cut_tails_truncate(&tails, 7 + CUT_TAIL_BUCKETS, BEGIN + OFFSET);
	cut_tails_commit(&tails, 7 + CUT_TAIL_BUCKETS, BLOCK);
	cut_tails_truncate(&tails, 8, BEGIN + OFFSET);
	cut_tails_truncate(&tails, 8, BEGIN); /* the page itself is gone */
	assert_true(cut_tails_take(&tails, &tail));
	assert_int_equal(tail.inode, 7);
	assert_int_equal(tail.block, BLOCK);
	assert_int_equal(tail.offset, OFFSET);
	assert_false(cut_tails_take(&tails, &tail));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_is_left_is_taken),
		cmocka_unit_test(nothing_comes_back_through_crashes),
		cmocka_unit_test(nothing_comes_back_through_a_full_disk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
