/*
 * Readers, writers, syncs, changes of names, cuts, folds and the scrub at the same time; also run under the thread sanitizer.
 *
 * A writer writes its pages in turn, and each page says by whom and as the how many-th write. So a reader knows which ones it may see; and a
 * cut, which must be between two writes of every writer, shows for each of them exactly the pages of its first N writes.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "page_store/fold.h"
#include "page_store/image.h"

#define WRITERS   3
#define FILES     4
#define PAGES     200 /* of a writer; over all files */
#define CUTS      500
#define LOG       99 /* as a writer */
#define LOG_PAGES 500
#define SECONDS   4

struct writer {
	unsigned number;
	struct threads *all;
	_Atomic uint64_t begun, answered,
	        done; /* writes: 1, 2, …; every other one is answered before it is done */
	bool has_waited;
	_Atomic uint64_t early, waits;
};

struct saved_cut {
	struct image_cut cut;
	uint64_t done[WRITERS], begun[WRITERS]; /* before and after it */
	bool has_clone;
};

struct threads {
	struct data_directory dd;
	struct store *store;
	struct image *image;
	uint64_t files[FILES], log;
	struct writer writers[WRITERS];
	_Atomic bool must_end;
	_Atomic uint64_t reads, syncs, folds, names;
	struct saved_cut cuts[CUTS];
	size_t cut_count;
};

struct stamp {
	uint64_t writer, number, page;
};

/* Not assert_*: those work in the main thread only. */
#define must(condition)                                                                                      \
	do {                                                                                                 \
		if (!(condition)) {                                                                          \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);              \
			abort();                                                                             \
		}                                                                                            \
	} while (0)

#define must_ok(call)                                                                                        \
	do {                                                                                                 \
		struct error err_;                                                                           \
		struct error *err = &err_;                                                                   \
		if ((call) != STATUS_OK) {                                                                   \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, err_.message);                    \
			abort();                                                                             \
		}                                                                                            \
	} while (0)

static void place_of(unsigned writer, uint64_t page, unsigned *ret_file, uint64_t *ret_at)
{
	*ret_file = (unsigned)(page % FILES);
	*ret_at = (page / FILES * WRITERS + writer) * PAGE_BYTES;
}

static void stamp_page(uint8_t bytes[PAGE_BYTES], struct stamp stamp)
{
	for (size_t i = 0; i + sizeof stamp <= PAGE_BYTES; i += sizeof stamp)
		memcpy(bytes + i, &stamp, sizeof stamp);
}

/* The number of the write that a page is from; 0: none. A page is whole. */
static uint64_t read_stamp(struct image *image, const struct threads *all, unsigned writer, uint64_t page)
{
	uint8_t bytes[PAGE_BYTES] = { 0 };
	unsigned file = 0;
	uint64_t at = 0;
	place_of(writer, page, &file, &at);
	ssize_t n = image_read(image, all->files[file], bytes, PAGE_BYTES, at);
	must(n == PAGE_BYTES || n == 0);
	struct stamp first, other;
	memcpy(&first, bytes, sizeof first);
	for (size_t i = 0; i + sizeof other <= PAGE_BYTES; i += sizeof other) {
		memcpy(&other, bytes + i, sizeof other);
		must(memcmp(&first, &other, sizeof first) == 0);
	}
	must(first.number == 0 || (first.writer == writer && first.page == page));
	return first.number;
}

static bool answer(void *owner, size_t len)
{
	struct writer *writer = owner;
	must(len == PAGE_BYTES && !writer->has_waited);
	writer->answered = writer->begun;
	writer->early++;
	return true;
}

static void will_wait(void *owner)
{
	struct writer *writer = owner;
	must(!writer->has_waited && writer->answered < writer->begun);
	writer->has_waited = true;
	writer->waits++;
}

static void *write_pages(void *p)
{
	struct writer *writer = p;
	struct threads *all = writer->all;
	uint8_t bytes[PAGE_BYTES] = { 0 };
	for (uint64_t number = 1; !all->must_end; number++) {
		unsigned file = 0;
		uint64_t at = 0, page = number % PAGES;
		place_of(writer->number, page, &file, &at);
		stamp_page(bytes, (struct stamp){ writer->number, number, page });
		writer->begun = number;
		const struct image_writer events = {
			.will_wait = will_wait, .answer = answer, .owner = writer
		};
		writer->has_waited = false;
		must(image_write_answered(all->image, number % 2 ? &events : NULL, all->files[file], bytes,
		             PAGE_BYTES, at) == PAGE_BYTES);
		writer->answered = writer->done = number;
	}
	return NULL;
}

static void *read_pages(void *p)
{
	struct threads *all = p;
	for (uint64_t i = 0; !all->must_end; i++) {
		struct writer *writer = &all->writers[i % WRITERS];
		uint64_t page = i * 7 % PAGES;
		uint64_t done = writer->done;
		uint64_t number = read_stamp(all->image, all, writer->number, page);
		uint64_t begun = writer->begun;
		must(number <= begun);
		must(number + PAGES > done || done < page);
		all->reads++;
	}
	return NULL;
}

static void *sync_files(void *p)
{
	struct threads *all = p;
	for (unsigned i = 0; !all->must_end; i++) {
		must((i % 10 == 0 ? image_sync_all(all->image)
		                  : image_sync(all->image, all->files[i % FILES])) == 0);
		all->syncs++;
	}
	return NULL;
}

/* A file that grows by a page at a time, and begins anew now and then: at a cut its size and its pages must belong together. */
static void *append_pages(void *p)
{
	struct threads *all = p;
	uint8_t bytes[PAGE_BYTES] = { 0 };
	for (uint64_t round = 1; !all->must_end; round++) {
		for (uint64_t page = 0; page < LOG_PAGES && !all->must_end; page++) {
			stamp_page(bytes, (struct stamp){ LOG, round, page });
			must(image_write(all->image, all->log, bytes, PAGE_BYTES, page * PAGE_BYTES) ==
			        PAGE_BYTES);
		}
		struct stat empty = { .st_size = 0 }, after;
		must(image_set(all->image, all->log, &empty, IMAGE_SET_SIZE, &after) == 0);
	}
	return NULL;
}

static void check_log(struct image *image, const struct threads *all)
{
	struct stat st;
	must(image_stat(image, all->log, &st) == 0 && st.st_size % PAGE_BYTES == 0);
	uint64_t round = 0;
	for (uint64_t page = 0; page < (uint64_t)st.st_size / PAGE_BYTES; page++) {
		struct stamp stamp;
		must(image_read(image, all->log, &stamp, sizeof stamp, page * PAGE_BYTES) == sizeof stamp);
		round = page == 0 ? stamp.number : round;
		must(stamp.writer == LOG && stamp.page == page && stamp.number == round);
	}
}

static bool count_entry(void *owner, const char *name, uint64_t offset, const struct stat *st)
{
	(void)name;
	(void)offset;
	(void)st;
	(*(unsigned *)owner)++;
	return true;
}

static void *change_names(void *p)
{
	struct threads *all = p;
	struct image *image = all->image;
	uint8_t bytes[PAGE_BYTES];
	memset(bytes, 7, sizeof bytes);
	for (unsigned i = 0; !all->must_end; i++) {
		struct stat st, after, shorter = { .st_size = 100 };
		must(image_make(image, IMAGE_ROOT, "new", S_IFREG | 0600, 0, 0, 0, &st) == 0);
		image_hold(image, st.st_ino);
		must(image_write(image, st.st_ino, bytes, PAGE_BYTES, 0) == PAGE_BYTES);
		must(image_set(image, st.st_ino, &shorter, IMAGE_SET_SIZE, &after) == 0);
		must(image_rename(image, IMAGE_ROOT, "new", IMAGE_ROOT, "newer", 0) == 0);
		if (i % 3 == 0)
			must(image_sync(image, IMAGE_ROOT) == 0);
		must(image_unlink(image, IMAGE_ROOT, "newer") == 0);
		must(image_write(image, st.st_ino, bytes, PAGE_BYTES, 5 * PAGE_BYTES) == PAGE_BYTES);
		must(image_read(image, st.st_ino, bytes, 1, 50) == 1 && bytes[0] == 7);
		image_let_go(image, st.st_ino, 1);
		/* A sync or a cut may be at work with it still; then it goes when that is done. */
		for (int pause = 0; i == 0 && image_stat(image, st.st_ino, &after) == 0; pause++) {
			must(pause < 10000);
			(void)usleep(1000);
		}
		unsigned count = 0;
		must(image_read_folder(image, IMAGE_ROOT, 0, count_entry, &count) == 0);
		must(count == FILES + 3);
		all->names++;
	}
	return NULL;
}

/* A fold may have replaced layers of the cut since: the stack has those that show the same. */
static void keep_as_clone(struct threads *all, struct saved_cut *saved, size_t number)
{
	CLEANUP(free_text) char *name = xasprintf("clone%zu", number);
	CLEANUP(stack_done) struct stack stack = { 0 };
	must_ok(store_lock(all->store, err));
	must_ok(stack_read(all->store, "vol", &stack, err));
	size_t count = fold_find_cut(&stack, saved->cut.layers, saved->cut.layer_count);
	if (count > 0)
		must_ok(image_create(all->store, name, stack.layers, count, 0, 0, err));
	store_unlock(all->store);
	saved->has_clone = count > 0;
}

static void *make_cuts(void *p)
{
	struct threads *all = p;
	while (!all->must_end && all->cut_count < CUTS) {
		struct saved_cut *saved = &all->cuts[all->cut_count];
		for (unsigned i = 0; i < WRITERS; i++)
			saved->done[i] = all->writers[i].answered;
		must_ok(image_cut(all->image, &saved->cut, err));
		for (unsigned i = 0; i < WRITERS; i++)
			saved->begun[i] = all->writers[i].begun;
		if (all->cut_count % 4 == 0)
			keep_as_clone(all, saved, all->cut_count);
		all->cut_count++;
		(void)usleep(5000);
	}
	return NULL;
}

static void *keep_house(void *p)
{
	struct threads *all = p;
	while (!all->must_end) {
		bool is_done = false;
		must_ok(image_fold_step(all->image, &is_done, err));
		all->folds += !is_done;
		struct image_scrub scrub = { 0 };
		must_ok(image_scrub_step(all->image, 100, &scrub, err));
		must(scrub.pages_bad == 0);
		struct image_usage usage;
		image_look(all->image, &usage);
		(void)usleep(1000);
	}
	return NULL;
}

/* For each writer exactly what its first N writes made, with N in the given range. */
static void check_prefix(struct image *image, const struct threads *all, const struct saved_cut *saved)
{
	for (unsigned i = 0; i < WRITERS; i++) {
		uint64_t numbers[PAGES], newest = 0;
		for (uint64_t page = 0; page < PAGES; page++) {
			numbers[page] = read_stamp(image, all, i, page);
			newest = numbers[page] > newest ? numbers[page] : newest;
		}
		must(newest >= saved->done[i] && newest <= saved->begun[i]);
		for (uint64_t page = 0; page < PAGES; page++) {
			uint64_t back = (newest % PAGES + PAGES - page) % PAGES;
			must(numbers[page] == (back < newest ? newest - back : 0));
		}
	}
}

static int64_t check_cuts(struct threads *all)
{
	int64_t longest = 0;
	for (size_t i = 0; i < all->cut_count; i++) {
		struct saved_cut *saved = &all->cuts[i];
		if (saved->has_clone) {
			CLEANUP(free_text) char *name = xasprintf("clone%zu", i);
			struct image *image = NULL;
			must_ok(image_open(&all->dd, all->store, name, &image, err));
			check_prefix(image, all, saved);
			check_log(image, all);
			image_abandon(image);
		}
		longest = saved->cut.pause_usec > longest ? saved->cut.pause_usec : longest;
		free(saved->cut.layers);
	}
	return longest;
}

static void test_threads(void **state)
{
	(void)state;
	struct threads *all = xcalloc(1, sizeof *all);
	/* In memory when there is such a place: more happens at the same time than with a disk to wait for. */
	char path[40];
	(void)snprintf(
	        path, sizeof path, "%s/tarn-image-XXXXXX", file_exists("/dev/shm") ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(path));
	all->dd.path = path;
	must_ok(store_create(&all->dd, "project", &all->store, err));
	must_ok(store_lock(all->store, err));
	must_ok(image_create(all->store, "vol", NULL, 0, 0, 0, err));
	store_unlock(all->store);
	must_ok(image_open(&all->dd, all->store, "vol", &all->image, err));
	for (unsigned i = 0; i < FILES; i++) {
		char name[] = { (char)('a' + i), '\0' };
		struct stat st;
		must(image_make(all->image, IMAGE_ROOT, name, S_IFREG | 0600, 0, 0, 0, &st) == 0);
		all->files[i] = st.st_ino;
	}

	struct stat log;
	must(image_make(all->image, IMAGE_ROOT, "log", S_IFREG | 0600, 0, 0, 0, &log) == 0);
	all->log = log.st_ino;

	void *(*const others[])(void *) = { append_pages, read_pages, read_pages, sync_files, change_names,
		make_cuts, keep_house };
	pthread_t threads[WRITERS + ARRAY_LEN(others)];
	for (unsigned i = 0; i < WRITERS; i++) {
		all->writers[i].number = i;
		all->writers[i].all = all;
		must(pthread_create(&threads[i], NULL, write_pages, &all->writers[i]) == 0);
	}
	for (unsigned i = 0; i < ARRAY_LEN(others); i++)
		must(pthread_create(&threads[WRITERS + i], NULL, others[i], all) == 0);
	(void)sleep(SECONDS);
	all->must_end = true;
	for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
		must(pthread_join(threads[i], NULL) == 0);

	/* All is there, also after a kill behind the last sync. */
	struct saved_cut whole;
	for (unsigned i = 0; i < WRITERS; i++)
		whole.done[i] = whole.begun[i] = all->writers[i].done;
	check_prefix(all->image, all, &whole);
	must(image_sync_all(all->image) == 0);
	image_abandon(all->image);
	must_ok(image_open(&all->dd, all->store, "vol", &all->image, err));
	check_prefix(all->image, all, &whole);
	must_ok(image_close(all->image, err));
	uint64_t early = 0, waits = 0;
	for (unsigned i = 0; i < WRITERS; i++) {
		early += all->writers[i].early;
		waits += all->writers[i].waits;
	}
	must(early > 0 && waits > 0);
	size_t cut_count = all->cut_count;
	int64_t longest = check_cuts(all);
	printf("%llu writes (%llu answered early, %llu waited), %llu reads, %llu syncs, %llu changes of "
	       "names, %zu cuts (longest pause %lld "
	       "us), %llu steps of "
	       "folds\n",
	        (unsigned long long)(whole.done[0] + whole.done[1] + whole.done[2]),
	        (unsigned long long)early, (unsigned long long)waits, (unsigned long long)all->reads,
	        (unsigned long long)all->syncs, (unsigned long long)all->names, cut_count, (long long)longest,
	        (unsigned long long)all->folds);
	store_close(all->store);
	must_ok(tree_remove(path, err));
	free(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_threads) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
