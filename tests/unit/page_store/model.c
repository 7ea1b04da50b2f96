/*
 * Model: random operations on an image, with cuts, clones, folds, kills, power cuts, failing calls and a full disk, against a simple model in
 * memory. What must hold after a crash (image.h I2 to I5):
 *
 *   every page is as it was at one of the writes since its last sync, or at that sync, and whole;
 *   so is the size of a file;
 *   names are as they were at one moment not before the last sync that concerned them;
 *   a cut that was told as made shows exactly what was there, for ever, as a clone.
 *
 * Without arguments it runs for some seconds with seeds from the clock. "model SEED" repeats one and says what it does; "model forever" does not
 * end. A failure prints the seed.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/random.h"
#include "faulty_disk.h"
#include "page_store/image.h"

#define PAGES      48 /* of a file, in the model */
#define NAMES      12 /* 0 to 5 in the root, 6 to 11 in the folder "d" */
#define CUTS       3
#define STEPS      250
#define SECONDS    20
#define FILE_BYTES ((uint64_t)(block_of(PAGES - 1) + 1) * PAGE_BYTES)

/* ---- the model ---- */

struct versions {
	uint8_t **
	        bytes; /* whole pages, zeros behind the end; the last is the content now, the first the synced one */
	size_t count;
};

struct file {
	uint64_t inode;
	struct versions pages[PAGES];
	uint64_t *sizes; /* the same */
	size_t size_count;
	uint64_t last_names; /* number of the last change of names that concerns it */
	bool is_held;        /* and without a name */
	struct file *next;
};

struct names {
	uint64_t number; /* of the change that made them */
	struct file *of[NAMES];
};

struct saved_file {
	uint64_t inode, size;
	uint8_t *pages[PAGES];
};

struct saved_cut {
	char volume[64]; /* of the clone; empty: none */
	struct saved_file files[NAMES];
	bool has[NAMES];
	int64_t logical_bytes;
};

static struct {
	uint64_t seed, random,
	        answer_random; /* the latter on its own, so that known seeds still do what they did */
	bool is_verbose;
	unsigned step;

	struct data_directory dd;
	struct store *store;
	struct image *image;
	char volume[64];
	unsigned volume_number;
	uint64_t folder; /* inode of "d" */

	struct file *files;
	struct names *history; /* since the last moment that must be there; the last is now */
	size_t history_count;
	struct saved_cut cuts[CUTS];
	bool is_faulty; /* calls may fail */
	bool is_full;   /* the disk: nothing that was acknowledged fails for that */
	bool is_broken; /* a sync has failed */
	bool must_crash;
	uint64_t crashes, syncs, cut_count, fold_count, failures, lost;
} model;

static uint32_t block_of(unsigned page)
{
	return page < 40 ? page : page + 468; /* 508 to 515: over the border of a chunk */
}

static uint64_t dice_of(uint64_t *random, uint64_t sides)
{
	uint64_t z = (*random += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % sides;
}

static uint64_t dice(uint64_t sides)
{
	return dice_of(&model.random, sides);
}

PRINTF_LIKE(1) static void note(const char *fmt, ...)
{
	if (!model.is_verbose)
		return;
	va_list args;
	va_start(args, fmt);
	printf("%4u  ", model.step);
	vprintf(fmt, args);
	printf("\n");
	va_end(args);
	(void)fflush(stdout);
}

PRINTF_LIKE(1) static void wrong(const char *fmt, ...)
{
	va_list args;
	(void)fflush(stdout);
	va_start(args, fmt);
	printf("model: seed %llu, step %u: ", (unsigned long long)model.seed, model.step);
	vprintf(fmt, args);
	printf("\nrepeat it with: model %llu\n", (unsigned long long)model.seed);
	(void)fflush(stdout);
	va_end(args);
	abort();
}

static void expect(status s, const struct error *err)
{
	if (s != STATUS_OK)
		wrong("%s", err->message);
}

static uint8_t *page_copy(const uint8_t *bytes)
{
	uint8_t *copy = xcalloc(1, PAGE_BYTES);
	if (bytes)
		memcpy(copy, bytes, PAGE_BYTES);
	return copy;
}

static uint8_t *now(struct versions *versions)
{
	return versions->bytes[versions->count - 1];
}

/* Takes the bytes. */
static void add_version(struct versions *versions, uint8_t *bytes)
{
	versions->bytes = xrealloc(versions->bytes, (versions->count + 1) * sizeof *versions->bytes);
	versions->bytes[versions->count++] = bytes;
}

static void keep_last(struct versions *versions)
{
	uint8_t *last = now(versions);
	for (size_t i = 0; i + 1 < versions->count; i++)
		free(versions->bytes[i]);
	versions->bytes[0] = last;
	versions->count = 1;
}

static uint64_t size_now(const struct file *file)
{
	return file->sizes[file->size_count - 1];
}

static void add_size(struct file *file, uint64_t size)
{
	file->sizes = xrealloc(file->sizes, (file->size_count + 1) * sizeof *file->sizes);
	file->sizes[file->size_count++] = size;
}

static void file_synced(struct file *file)
{
	for (unsigned i = 0; i < PAGES; i++)
		keep_last(&file->pages[i]);
	file->sizes[0] = size_now(file);
	file->size_count = 1;
}

static struct file *file_new(uint64_t inode)
{
	struct file *file = xcalloc(1, sizeof *file);
	file->inode = inode;
	for (unsigned i = 0; i < PAGES; i++)
		add_version(&file->pages[i], page_copy(NULL));
	add_size(file, 0);
	file->next = model.files;
	model.files = file;
	return file;
}

static void file_free(struct file *file)
{
	for (unsigned i = 0; i < PAGES; i++) {
		for (size_t j = 0; j < file->pages[i].count; j++)
			free(file->pages[i].bytes[j]);
		free(file->pages[i].bytes);
	}
	free(file->sizes);
	free(file);
}

static struct names *names_now(void)
{
	return &model.history[model.history_count - 1];
}

/* One more moment, like the last; to be changed by the caller. */
static struct names *change_names(struct file *first, struct file *second)
{
	model.history = xrealloc(model.history, (model.history_count + 1) * sizeof *model.history);
	model.history[model.history_count] = model.history[model.history_count - 1];
	model.history_count++;
	struct names *names = names_now();
	names->number++;
	if (first)
		first->last_names = names->number;
	if (second)
		second->last_names = names->number;
	return names;
}

/* Names are durable as of change `number`, or of a later one. */
static void names_synced(uint64_t number)
{
	size_t drop = 0;
	while (drop + 1 < model.history_count && model.history[drop].number < number)
		drop++;
	memmove(model.history, model.history + drop, (model.history_count - drop) * sizeof *model.history);
	model.history_count -= drop;
}

static bool has_name(const struct names *names, const struct file *file)
{
	for (unsigned i = 0; i < NAMES; i++)
		if (names->of[i] == file)
			return true;
	return false;
}

/* Files that no moment in question has are forgotten. */
static void forget_files(void)
{
	for (struct file **link = &model.files; *link;) {
		struct file *file = *link;
		bool is_needed = file->is_held;
		for (size_t i = 0; i < model.history_count && !is_needed; i++)
			is_needed = has_name(&model.history[i], file);
		if (is_needed) {
			link = &file->next;
			continue;
		}
		*link = file->next;
		file_free(file);
	}
}

static void all_synced(void)
{
	for (struct file *file = model.files; file; file = file->next)
		file_synced(file);
	names_synced(names_now()->number);
	forget_files();
}

/* ---- places ---- */

static uint64_t parent_of(unsigned name)
{
	return name < 6 ? IMAGE_ROOT : model.folder;
}

static const char *text_of(unsigned name)
{
	static const char *const texts[] = { "a", "b", "c", "d0", "e", "f" };
	return texts[name % 6];
}

static int find_name(bool is_taken)
{
	for (int i = 0; i < 30; i++) {
		int name = (int)dice(NAMES);
		if ((names_now()->of[name] != NULL) == is_taken)
			return name;
	}
	return -1;
}

/* A file that has a name, or is held without one. */
static struct file *find_file(void)
{
	if (dice(10) == 0)
		for (struct file *file = model.files; file; file = file->next)
			if (file->is_held)
				return file;
	int name = find_name(true);
	return name < 0 ? NULL : names_now()->of[name];
}

/* ---- comparing ---- */

/* One page as the image has it now; zeros behind the end. False: it cannot be read. */
static bool read_page(struct image *image, uint64_t inode, unsigned page, uint8_t bytes[PAGE_BYTES])
{
	memset(bytes, 0, PAGE_BYTES);
	ssize_t n = image_read(image, inode, bytes, PAGE_BYTES, (uint64_t)block_of(page) * PAGE_BYTES);
	return n >= 0;
}

static void check_holes(struct image *image, uint64_t inode)
{
	uint8_t bytes[PAGE_BYTES];
	uint32_t block = (uint32_t)(40 + dice(468));
	ssize_t n = image_read(image, inode, bytes, PAGE_BYTES, (uint64_t)block * PAGE_BYTES);
	for (ssize_t i = 0; i < n; i++)
		if (bytes[i])
			wrong("inode %llu: block %u is not zeros", (unsigned long long)inode, block);
}

/* Everything as the model has it, without a crash in between. */
static void check_file(struct file *file)
{
	struct stat st;
	int rc = image_stat(model.image, file->inode, &st);
	if (rc < 0 || (uint64_t)st.st_size != size_now(file))
		wrong("inode %llu: size %lld instead of %llu (%d)", (unsigned long long)file->inode,
		        (long long)st.st_size, (unsigned long long)size_now(file), rc);
	for (unsigned i = 0; i < PAGES; i++) {
		uint8_t bytes[PAGE_BYTES];
		if (!read_page(model.image, file->inode, i, bytes))
			wrong("inode %llu: page %u cannot be read", (unsigned long long)file->inode,
			        block_of(i));
		if (memcmp(bytes, now(&file->pages[i]), PAGE_BYTES) != 0)
			wrong("inode %llu: page %u is not what was written", (unsigned long long)file->inode,
			        block_of(i));
	}
	check_holes(model.image, file->inode);
}

struct seen {
	unsigned count;
	uint64_t of[NAMES];
};

static bool see_name(void *owner, const char *name, uint64_t offset, const struct stat *st)
{
	struct seen *seen = owner;
	(void)offset;
	for (unsigned i = 0; i < 6; i++)
		if (strcmp(name, text_of(i)) == 0) {
			seen->of[i] = st->st_ino;
			seen->count++;
		}
	return true;
}

static void see_names(struct image *image, uint64_t of[NAMES])
{
	struct seen root = { 0 }, folder = { 0 };
	struct stat st;
	if (image_resolve(image, "d", &st) < 0 || st.st_ino != model.folder)
		wrong("the folder is gone");
	if (image_read_folder(image, IMAGE_ROOT, 0, see_name, &root) < 0 ||
	        image_read_folder(image, model.folder, 0, see_name, &folder) < 0)
		wrong("the folders cannot be read");
	memcpy(of, root.of, 6 * sizeof *of);
	memcpy(of + 6, folder.of, 6 * sizeof *of);
}

static bool are_names(const struct names *names, const uint64_t of[NAMES])
{
	for (unsigned i = 0; i < NAMES; i++)
		if ((names->of[i] ? names->of[i]->inode : 0) != of[i])
			return false;
	return true;
}

static void check_names(void)
{
	uint64_t of[NAMES] = { 0 };
	see_names(model.image, of);
	if (!are_names(names_now(), of))
		wrong("the names are not what they were made");
}

static void check_all(void)
{
	check_names();
	for (struct file *file = model.files; file; file = file->next)
		if (file->is_held || has_name(names_now(), file))
			check_file(file);
}

/* ---- after a crash ---- */

static void resolve_names(void)
{
	uint64_t of[NAMES] = { 0 };
	see_names(model.image, of);
	for (size_t i = model.history_count; i-- > 0;) {
		if (!are_names(&model.history[i], of))
			continue;
		struct names found = model.history[i];
		model.history[0] = found;
		model.history_count = 1;
		forget_files();
		for (struct file *file = model.files; file; file = file->next)
			file->last_names = found.number; /* later numbers are given once more */
		return;
	}
	for (unsigned i = 0; i < NAMES && model.is_verbose; i++)
		printf("name %u: inode %llu; at the last sync %llu, before the crash %llu\n", i,
		        (unsigned long long)of[i],
		        (unsigned long long)(model.history[0].of[i] ? model.history[0].of[i]->inode : 0),
		        (unsigned long long)(names_now()->of[i] ? names_now()->of[i]->inode : 0));
	wrong("after a crash, names are as they were at no moment since the last sync");
}

static void resolve_page(struct file *file, unsigned page, uint64_t size)
{
	struct versions *versions = &file->pages[page];
	uint64_t begin = (uint64_t)block_of(page) * PAGE_BYTES;
	size_t len = begin >= size ? 0 : size - begin < PAGE_BYTES ? (size_t)(size - begin) : PAGE_BYTES;
	uint8_t bytes[PAGE_BYTES];
	if (!read_page(model.image, file->inode, page, bytes))
		wrong("after a crash, inode %llu: page %u cannot be read", (unsigned long long)file->inode,
		        block_of(page));
	size_t i = versions->count;
	while (i > 0 && memcmp(versions->bytes[i - 1], bytes, len) != 0)
		i--;
	if (i == 0)
		wrong("after a crash, inode %llu: page %u is none of its %zu versions since the last sync",
		        (unsigned long long)file->inode, block_of(page), versions->count);
	add_version(versions, page_copy(bytes));
	keep_last(versions);
}

static void resolve_file(struct file *file)
{
	struct stat st;
	if (image_stat(model.image, file->inode, &st) < 0)
		wrong("after a crash, inode %llu is gone", (unsigned long long)file->inode);
	uint64_t size = (uint64_t)st.st_size;
	size_t i = file->size_count;
	while (i > 0 && file->sizes[i - 1] != size)
		i--;
	if (i == 0)
		wrong("after a crash, inode %llu: size %llu is none since the last sync, at which it was "
		      "%llu",
		        (unsigned long long)file->inode, (unsigned long long)size,
		        (unsigned long long)file->sizes[0]);
	file->sizes[0] = size;
	file->size_count = 1;
	for (unsigned j = 0; j < PAGES; j++)
		resolve_page(file, j, size);
	check_holes(model.image, file->inode);
}

static void open_image(void)
{
	struct error err;
	expect(image_open(&model.dd, model.store, model.volume, &model.image, &err), &err);
}

static void open_store(void)
{
	struct error err;
	expect(store_open(&model.dd, "project", &model.store, &err), &err);
}

/* Opens what a crash left; now and then the first attempts are cut off too. */
static void recover(void)
{
	for (unsigned i = 0; i < 3 && dice(3) == 0; i++) {
		struct error err;
		struct image *image = NULL;
		open_store();
		bool is_power = dice(2) == 0;
		if (is_power)
			faulty_disk_cut_power(1 + dice(30));
		else
			faulty_disk_fail(1 + dice(30), dice(2) ? EIO : ENOSPC);
		if (image_open(&model.dd, model.store, model.volume, &image, &err) == STATUS_OK)
			image_abandon(image);
		else
			note("could not open: %s", err.message);
		store_close(model.store);
		if (is_power)
			faulty_disk_crash();
		else
			faulty_disk_kill();
	}
	open_store();
	open_image();
}

static void crash(bool is_power)
{
	note("%s", is_power ? "power cut" : "kill");
	image_abandon(model.image);
	store_close(model.store);
	if (is_power)
		faulty_disk_crash();
	else
		faulty_disk_kill();
	faulty_disk_set_room(UINT64_MAX);
	if (faulty_disk_open_count() != 0)
		wrong("%zu descriptors have leaked", faulty_disk_open_count());
	recover();
	for (struct file *file = model.files; file; file = file->next)
		file->is_held = false;
	resolve_names();
	for (struct file *file = model.files; file; file = file->next)
		resolve_file(file);
	model.is_faulty = model.is_full = model.is_broken = model.must_crash = false;
	model.crashes++;
}

/* ---- operations ---- */

/* A change of names fails only for want of room in the journal, and then nothing has changed. */
static bool is_refused(int rc, const char *what)
{
	if (rc < 0 && !model.is_faulty && !model.is_broken)
		wrong("%s: %d", what, rc);
	if (rc < 0)
		note("%s gives %d", what, rc);
	return rc < 0;
}

static void make_file(void)
{
	int name = find_name(false);
	if (name < 0)
		return;
	struct stat st;
	int rc = image_make(model.image, parent_of((unsigned)name), text_of((unsigned)name), S_IFREG | 0600,
	        0, 1, 1, &st);
	if (is_refused(rc, "make"))
		return;
	struct file *file = file_new(st.st_ino);
	change_names(file, NULL)->of[name] = file;
	note("make %d: inode %llu", name, (unsigned long long)file->inode);
}

static void lose_name(struct file *file, bool is_held)
{
	if (has_name(names_now(), file))
		return;
	file->is_held = is_held;
	if (is_held)
		return;
	note("inode %llu is gone", (unsigned long long)file->inode);
}

static void unlink_file(void)
{
	int name = find_name(true);
	if (name < 0)
		return;
	struct file *file = names_now()->of[name];
	bool is_held = dice(3) == 0;
	if (is_held)
		image_hold(model.image, file->inode);
	note("unlink %d: inode %llu%s", name, (unsigned long long)file->inode, is_held ? ", held" : "");
	if (is_refused(image_unlink(model.image, parent_of((unsigned)name), text_of((unsigned)name)),
	            "unlink")) {
		if (is_held)
			image_let_go(model.image, file->inode, 1);
		return;
	}
	change_names(file, NULL)->of[name] = NULL;
	lose_name(file, is_held);
	if (is_held && !file->is_held) /* it has another name */
		image_let_go(model.image, file->inode, 1);
}

static void let_go(void)
{
	for (struct file *file = model.files; file; file = file->next)
		if (file->is_held) {
			note("let go of inode %llu", (unsigned long long)file->inode);
			image_let_go(model.image, file->inode, 1);
			file->is_held = false;
			return;
		}
}

static void link_file(void)
{
	int from = find_name(true), to = find_name(false);
	struct stat st;
	if (from < 0 || to < 0)
		return;
	struct file *file = names_now()->of[from];
	note("link %d: inode %llu", to, (unsigned long long)file->inode);
	if (is_refused(
	            image_link(model.image, file->inode, parent_of((unsigned)to), text_of((unsigned)to), &st),
	            "link"))
		return;
	change_names(file, NULL)->of[to] = file;
}

static void rename_file(void)
{
	int from = find_name(true), to = (int)dice(NAMES);
	if (from < 0 || from == to)
		return;
	struct file *file = names_now()->of[from], *target = names_now()->of[to];
	unsigned flags = target && dice(3) == 0 ? RENAME_EXCHANGE : 0;
	note("rename %d to %d: inode %llu%s", from, to, (unsigned long long)file->inode,
	        flags ? ", exchange" : "");
	if (is_refused(image_rename(model.image, parent_of((unsigned)from), text_of((unsigned)from),
	                       parent_of((unsigned)to), text_of((unsigned)to), flags),
	            "rename"))
		return;
	if (target == file)
		return;
	struct names *names = change_names(file, target);
	names->of[to] = file;
	names->of[from] = flags ? target : NULL;
	if (target && !flags)
		lose_name(target, false);
}

/* A page of the model that has this byte; PAGES: none, it is in the hole. */
static unsigned page_at(uint64_t at)
{
	for (unsigned i = 0; i < PAGES; i++)
		if (at / PAGE_BYTES == block_of(i))
			return i;
	return PAGES;
}

static void fill(uint8_t *bytes, size_t len)
{
	uint64_t tag = dice(UINT64_MAX);
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(tag >> (i % 8 * 8)) ^ (uint8_t)(i / 8);
}

/* A write failed, or only a part of it was done: each page is as before or as it would be now. */
static void resolve_failed_write(struct file *file)
{
	model.failures++;
	struct stat st;
	if (image_stat(model.image, file->inode, &st) < 0)
		wrong("inode %llu is gone after a failed write", (unsigned long long)file->inode);
	bool is_lost = false;
	for (unsigned i = 0; i < PAGES; i++) {
		struct versions *versions = &file->pages[i];
		uint8_t bytes[PAGE_BYTES];
		/* The failure that was planned may be in the read: once. */
		if (!read_page(model.image, file->inode, i, bytes) &&
		        !read_page(model.image, file->inode, i, bytes)) {
			is_lost = true;
			continue;
		}
		size_t j = versions->count;
		while (j > 0 && j + 2 > versions->count &&
		        memcmp(versions->bytes[j - 1], bytes, PAGE_BYTES) != 0)
			j--;
		if (j == 0 || j + 2 <= versions->count)
			wrong("inode %llu: page %u is a mix after a failed write",
			        (unsigned long long)file->inode, block_of(i));
		add_version(versions, page_copy(bytes));
	}
	add_size(file, (uint64_t)st.st_size);
	/* What the page is now is not known: the next thing is a crash, after which it must be one of the two. */
	model.must_crash |= is_lost;
}

/* Like the page file system: it answers a write before it is done when it may, or does not. */
struct answer {
	size_t len;
	bool will_answer, is_given, has_waited;
};

static bool answer(void *owner, size_t len)
{
	struct answer *answer = owner;
	if (answer->is_given || answer->has_waited)
		wrong("a write is answered twice, or after it has waited");
	answer->len = len;
	answer->is_given = answer->will_answer;
	return answer->is_given;
}

static void will_wait(void *owner)
{
	struct answer *answer = owner;
	if (answer->is_given || answer->has_waited)
		wrong("a write waits twice, or after its answer");
	answer->has_waited = true;
}

/* It was acknowledged: until the crash nothing becomes durable any more. */
static void resolve_lost_write(struct file *file)
{
	note("the write was answered, and failed");
	model.lost++;
	if (!model.is_faulty && !model.is_broken)
		wrong("inode %llu: a write that was answered fails", (unsigned long long)file->inode);
	if (image_sync(model.image, file->inode) == 0 || image_sync_all(model.image) == 0)
		wrong("a sync succeeds after a lost write");
	model.is_broken = model.must_crash = true;
}

static void write_file(void)
{
	struct file *file = find_file();
	if (!file)
		return;
	unsigned page = (unsigned)dice(PAGES);
	uint64_t at = (uint64_t)block_of(page) * PAGE_BYTES;
	size_t len = PAGE_BYTES;
	switch (dice(4)) {
	case 0: /* anywhere in some pages */
		at += dice(PAGE_BYTES);
		len = 1 + dice(3 * PAGE_BYTES);
		break;
	case 1: /* whole pages */
		len = PAGE_BYTES * (1 + dice(6));
		break;
	}
	uint64_t end = page < 40 ? 40 * PAGE_BYTES : FILE_BYTES;
	if (len > end - at)
		len = (size_t)(end - at);
	uint8_t *bytes = xcalloc(1, len);
	fill(bytes, len);
	note("write inode %llu: %zu bytes at %llu", (unsigned long long)file->inode, len,
	        (unsigned long long)at);
	/* A disk that gets full all of a sudden is not what answers are given on (image_has_ample_space()). */
	struct answer given = { .will_answer = !model.is_full && dice_of(&model.answer_random, 3) > 0 };
	const struct image_writer writer = { .will_wait = will_wait, .answer = answer, .owner = &given };
	ssize_t n = image_write_answered(model.image, &writer, file->inode, bytes, len, at);
	if (given.is_given && (given.len != len || at % PAGE_BYTES || len % PAGE_BYTES))
		wrong("inode %llu: a write of %zu bytes is answered with %zu",
		        (unsigned long long)file->inode, len, given.len);
	if (n != (ssize_t)len && !model.is_faulty && !model.is_broken)
		wrong("inode %llu: a write returns %zd", (unsigned long long)file->inode, n);
	for (size_t done = 0; done < len;) {
		size_t offset = (size_t)((at + done) % PAGE_BYTES), part = PAGE_BYTES - offset;
		if (part > len - done)
			part = len - done;
		struct versions *versions = &file->pages[page_at(at + done)];
		uint8_t *version = page_copy(now(versions));
		memcpy(version + offset, bytes + done, part);
		add_version(versions, version);
		done += part;
	}
	free(bytes);
	uint64_t old = size_now(file);
	if (at + len > old)
		add_size(file, at + len);
	if (n == (ssize_t)len)
		return;
	if (given.is_given) {
		resolve_lost_write(file);
		return;
	}
	note("the write gives %zd", n);
	resolve_failed_write(file);
}

static void truncate_file(void)
{
	struct file *file = find_file();
	if (!file)
		return;
	uint64_t size = 0;
	switch (dice(4)) {
	case 0: /* mostly in mid-page, where there are pages */
		size = dice(dice(4) ? 40 * PAGE_BYTES : FILE_BYTES);
		break;
	case 1:
		size = dice(41) * PAGE_BYTES;
		break;
	case 2:
		size = size_now(file) / 2;
		break;
	}
	struct stat st = { .st_size = (off_t)size }, after;
	note("truncate inode %llu: %llu", (unsigned long long)file->inode, (unsigned long long)size);
	int rc = image_set(model.image, file->inode, &st, IMAGE_SET_SIZE, &after);
	if (rc < 0 && !model.is_faulty && !model.is_broken)
		wrong("inode %llu: a truncation returns %d", (unsigned long long)file->inode, rc);
	/* The tail of the last page may be cleared although the rest failed: that is behind the end, or zeros. */
	for (unsigned i = 0; i < PAGES; i++) {
		uint64_t begin = (uint64_t)block_of(i) * PAGE_BYTES;
		if (begin + PAGE_BYTES <= size)
			continue;
		uint8_t *version = page_copy(now(&file->pages[i]));
		size_t kept = begin >= size ? 0 : (size_t)(size - begin);
		memset(version + kept, 0, PAGE_BYTES - kept);
		add_version(&file->pages[i], version);
	}
	add_size(file, size);
	if (rc < 0) {
		note("the truncation gives %d", rc);
		resolve_failed_write(file);
	}
}

/* A call of a sync returned `rc`. */
static bool sync_result(int rc)
{
	if (rc == 0) {
		if (model.is_broken)
			wrong("a sync succeeds after one that failed");
		model.syncs++;
		return true;
	}
	note("the sync gives %d", rc);
	if (model.is_full)
		wrong("a sync returns %d on a full disk", rc);
	if (!model.is_faulty && !model.is_broken)
		wrong("a sync returns %d", rc);
	model.is_broken = true;
	return false;
}

static void sync_file(void)
{
	struct file *file = find_file();
	if (!file)
		return;
	note("sync inode %llu", (unsigned long long)file->inode);
	if (!sync_result(image_sync(model.image, file->inode)))
		return;
	file_synced(file);
	names_synced(file->last_names);
}

static void sync_folder(void)
{
	bool is_root = dice(2) == 0;
	note("sync a folder");
	if (!sync_result(image_sync(model.image, is_root ? IMAGE_ROOT : model.folder)))
		return;
	/* The last change of a name in it. */
	for (size_t i = model.history_count - 1; i > 0; i--) {
		bool differs = false;
		for (unsigned name = is_root ? 0 : 6; name < (is_root ? 6u : 12u); name++)
			differs |= model.history[i].of[name] != model.history[i - 1].of[name];
		if (!differs)
			continue;
		names_synced(model.history[i].number);
		break;
	}
}

static void sync_all(void)
{
	note("sync all");
	if (sync_result(image_sync_all(model.image)))
		all_synced();
}

/* ---- cuts and clones ---- */

static void forget_cut(struct saved_cut *cut)
{
	for (unsigned i = 0; i < NAMES; i++)
		for (unsigned j = 0; j < PAGES; j++)
			free(cut->files[i].pages[j]);
	*cut = (struct saved_cut){ 0 };
}

static void remove_clone(struct saved_cut *cut)
{
	struct error err;
	if (!cut->volume[0])
		return;
	note("remove %s", cut->volume);
	expect(store_lock(model.store, &err), &err);
	expect(stack_remove(model.store, cut->volume, &err), &err);
	store_unlock(model.store);
	forget_cut(cut);
}

static void save_cut(struct saved_cut *cut, int64_t logical_bytes)
{
	const struct names *names = names_now();
	cut->logical_bytes = logical_bytes;
	for (unsigned i = 0; i < NAMES; i++) {
		cut->has[i] = names->of[i] != NULL;
		if (!cut->has[i])
			continue;
		cut->files[i].inode = names->of[i]->inode;
		cut->files[i].size = size_now(names->of[i]);
		for (unsigned j = 0; j < PAGES; j++)
			cut->files[i].pages[j] = page_copy(now(&names->of[i]->pages[j]));
	}
}

static void check_saved_file(struct image *image, const struct saved_file *file)
{
	struct stat st;
	if (image_stat(image, file->inode, &st) < 0 || (uint64_t)st.st_size != file->size)
		wrong("clone: inode %llu has size %lld instead of %llu", (unsigned long long)file->inode,
		        (long long)st.st_size, (unsigned long long)file->size);
	for (unsigned i = 0; i < PAGES; i++) {
		uint8_t bytes[PAGE_BYTES];
		if (!read_page(image, file->inode, i, bytes))
			wrong("clone: inode %llu: page %u cannot be read", (unsigned long long)file->inode,
			        block_of(i));
		if (memcmp(bytes, file->pages[i], PAGE_BYTES) != 0)
			wrong("clone: inode %llu: page %u is not what it was at the cut",
			        (unsigned long long)file->inode, block_of(i));
	}
}

static void check_clone(const struct saved_cut *cut)
{
	struct error err;
	struct image *image = NULL;
	if (!cut->volume[0])
		return;
	note("check %s", cut->volume);
	expect(image_open(&model.dd, model.store, cut->volume, &image, &err), &err);
	uint64_t of[NAMES] = { 0 };
	see_names(image, of);
	int64_t logical_bytes = 0;
	for (unsigned i = 0; i < NAMES; i++) {
		if (of[i] != (cut->has[i] ? cut->files[i].inode : 0))
			wrong("clone: name %u is not what it was at the cut", i);
		if (cut->has[i])
			check_saved_file(image, &cut->files[i]);
		bool is_first = cut->has[i];
		for (unsigned j = 0; j < i; j++)
			is_first &= of[j] != of[i];
		logical_bytes += is_first ? (int64_t)cut->files[i].size : 0;
	}
	if (logical_bytes != cut->logical_bytes)
		wrong("a cut has %lld bytes and says %lld", (long long)logical_bytes,
		        (long long)cut->logical_bytes);
	image_abandon(image);
}

static void cut_and_clone(bool with_clone)
{
	struct error err;
	struct image_cut made;
	note("cut%s", with_clone ? ", clone" : "");
	status s = image_cut(model.image, &made, &err);
	if (s != STATUS_OK) {
		note("%s", err.message);
		if (!model.is_faulty && !model.is_broken)
			wrong("%s", err.message);
		return;
	}
	if (model.is_broken)
		wrong("a cut succeeds after a failed sync");
	all_synced();
	model.cut_count++;
	struct saved_cut *cut = &model.cuts[dice(CUTS)];
	if (with_clone && !model.is_faulty) {
		remove_clone(cut);
		(void)snprintf(
		        cut->volume, sizeof cut->volume, "clone%llu", (unsigned long long)model.cut_count);
		expect(store_lock(model.store, &err), &err);
		expect(image_create(model.store, cut->volume, made.layers, made.layer_count, 0, 0, &err),
		        &err);
		store_unlock(model.store);
		save_cut(cut, made.logical_bytes);
	}
	free(made.layers);
}

/* Goes on in a clone. */
static void move_on(void)
{
	struct error err;
	struct image_cut made;
	for (struct file *file = model.files; file; file = file->next)
		if (file->is_held)
			return;
	expect(image_cut(model.image, &made, &err), &err);
	all_synced();
	expect(image_close(model.image, &err), &err);
	model.image = NULL;
	char old[64];
	memcpy(old, model.volume, sizeof old);
	(void)snprintf(model.volume, sizeof model.volume, "volume%u", ++model.volume_number);
	note("move on to %s", model.volume);
	expect(store_lock(model.store, &err), &err);
	expect(image_create(model.store, model.volume, made.layers, made.layer_count, 0, 0, &err), &err);
	expect(stack_remove(model.store, old, &err), &err);
	store_unlock(model.store);
	free(made.layers);
	open_image();
}

static void fold_some(void)
{
	struct error err;
	bool is_done = false;
	for (uint64_t steps = 1 + dice(8); steps > 0 && !is_done; steps--) {
		status s = image_fold_step(model.image, &is_done, &err);
		if (s != STATUS_OK) {
			note("fold: %s", err.message);
			if (!model.is_faulty && !model.is_broken)
				wrong("%s", err.message);
			return;
		}
		model.fold_count += !is_done;
	}
	note("fold");
}

static void scrub(void)
{
	struct error err;
	struct image_scrub found;
	if (model.is_faulty || model.is_broken)
		return;
	expect(image_scrub_step(model.image, 1000, &found, &err), &err);
	if (found.pages_bad > 0)
		wrong("scrub: %s", found.first_bad);
}

static void remount(void)
{
	struct error err;
	note("remount");
	status s = image_close(model.image, &err);
	model.image = NULL;
	if (s != STATUS_OK && ((!model.is_faulty && !model.is_broken) || model.is_full))
		wrong("%s", err.message);
	if (s == STATUS_OK && model.is_broken)
		wrong("an image closes well after a failed sync");
	if (s != STATUS_OK) {
		/* As a kill. */
		store_close(model.store);
		faulty_disk_kill();
		faulty_disk_set_room(UINT64_MAX);
		open_store();
		open_image();
		for (struct file *file = model.files; file; file = file->next)
			file->is_held = false;
		resolve_names();
		for (struct file *file = model.files; file; file = file->next)
			resolve_file(file);
		model.is_faulty = model.is_full = model.is_broken = false;
		return;
	}
	all_synced();
	for (struct file *file = model.files; file; file = file->next)
		file->is_held = false;
	forget_files();
	if (model.is_faulty) { /* what was planned may be still to come */
		store_close(model.store);
		faulty_disk_crash();
		faulty_disk_set_room(UINT64_MAX);
		open_store();
		model.is_faulty = model.is_full = false;
	}
	open_image();
	check_all();
}

/* ---- runs ---- */

static void plan_fault(void)
{
	switch (dice(4)) {
	case 0:
		note("a call will fail");
		faulty_disk_fail(1 + dice(40), dice(2) ? EIO : ENOSPC);
		break;
	case 1:
		note("the disk gets full");
		model.is_full = true;
		faulty_disk_set_room(dice(200000));
		break;
	default:
		note("the power will fail");
		faulty_disk_cut_power(1 + dice(80));
		break;
	}
	model.is_faulty = true;
}

static void do_something(void)
{
	switch (dice(40)) {
	case 0:
	case 1:
	case 2:
		make_file();
		break;
	case 3:
		unlink_file();
		break;
	case 4:
		rename_file();
		break;
	case 5:
		link_file();
		break;
	case 6:
		let_go();
		break;
	case 7:
	case 8:
		truncate_file();
		break;
	case 9:
	case 10:
	case 11:
	case 12:
	case 13:
		sync_file();
		break;
	case 14:
		sync_folder();
		break;
	case 15:
		sync_all();
		break;
	case 16:
	case 17:
		cut_and_clone(false);
		break;
	case 18:
		cut_and_clone(true);
		break;
	case 19:
	case 20:
		fold_some();
		break;
	case 21:
		scrub();
		break;
	default:
		write_file();
	}
}

static void step(void)
{
	if (model.must_crash) {
		crash(true);
		return;
	}
	if (model.is_faulty || model.is_broken) {
		if (dice(model.is_full ? 80 : 20) == 0 || (model.is_broken && dice(3) == 0))
			crash(dice(3) > 0);
		else if (dice(60) == 0)
			remount();
		else
			do_something();
		return;
	}
	switch (dice(60)) {
	case 0:
		check_all();
		break;
	case 1:
		crash(true);
		break;
	case 2:
		crash(false);
		break;
	case 3:
		remount();
		break;
	case 4:
		check_clone(&model.cuts[dice(CUTS)]);
		break;
	case 5:
		remove_clone(&model.cuts[dice(CUTS)]);
		break;
	case 6:
		move_on();
		break;
	case 7:
	case 8:
		plan_fault();
		break;
	default:
		do_something();
	}
}

static void begin(const char *path)
{
	struct error err;
	faulty_disk_reset(model.seed);
	model.dd.path = (char *)path;
	expect(store_create(&model.dd, "project", &model.store, &err), &err);
	(void)snprintf(model.volume, sizeof model.volume, "volume0");
	expect(store_lock(model.store, &err), &err);
	expect(image_create(model.store, model.volume, NULL, 0, 0, 0, &err), &err);
	store_unlock(model.store);
	open_image();
	struct stat st;
	if (image_make(model.image, IMAGE_ROOT, "d", S_IFDIR | 0700, 0, 0, 0, &st) < 0 ||
	        image_sync_all(model.image) < 0)
		wrong("could not begin");
	model.folder = st.st_ino;
	model.history = xcalloc(1, sizeof *model.history);
	model.history_count = 1;
}

static void end(void)
{
	struct error err;
	if (model.is_faulty || model.is_broken)
		crash(true);
	check_all();
	for (unsigned i = 0; i < CUTS; i++) {
		check_clone(&model.cuts[i]);
		forget_cut(&model.cuts[i]);
	}
	expect(image_close(model.image, &err), &err);
	store_close(model.store);
	if (faulty_disk_open_count() != 0)
		wrong("%zu descriptors have leaked", faulty_disk_open_count());
	while (model.files) {
		struct file *next = model.files->next;
		file_free(model.files);
		model.files = next;
	}
	free(model.history);
}

static void run(uint64_t seed, bool is_verbose, const char *path)
{
	uint64_t counts[] = { model.crashes, model.syncs, model.cut_count, model.fold_count, model.failures,
		model.lost };
	memset(&model, 0, sizeof model);
	model.crashes = counts[0];
	model.syncs = counts[1];
	model.cut_count = counts[2];
	model.fold_count = counts[3];
	model.failures = counts[4];
	model.lost = counts[5];
	model.seed = model.random = model.answer_random = seed;
	model.is_verbose = is_verbose;
	begin(path);
	for (model.step = 1; model.step <= STEPS; model.step++)
		step();
	end();
	struct error err;
	expect(tree_remove(path, &err), &err);
	if (mkdir(path, 0700) < 0)
		wrong("could not make %s", path);
}

int main(int argc, char **argv)
{
	/* In memory when there is such a place: real folders are synced for nothing. */
	char path[40];
	(void)snprintf(
	        path, sizeof path, "%s/tarn-model-XXXXXX", file_exists("/dev/shm") ? "/dev/shm" : "/tmp");
	if (!mkdtemp(path))
		return 1;
	bool is_forever = argc > 1 && strcmp(argv[1], "forever") == 0;
	struct error err;
	/* The log is full of failures that were asked for. */
	if ((argc == 1 || is_forever) && !freopen("/dev/null", "w", stderr))
		return 1;
	if (argc > 1 && !is_forever) {
		run(strtoull(argv[1], NULL, 10), true, path);
	} else {
		/* Found something once: a truncation to mid-page, growth, and a kill showed what had been cut off. */
		static const uint64_t known[] = { 247666808608128 };
		uint64_t runs = 0;
		for (size_t i = 0; i < ARRAY_LEN(known); i++)
			run(known[i], false, path);
		int64_t until = clock_monotonic_usec() + SECONDS * USEC_PER_SEC;
		for (uint64_t seed = random_u64() >> 16; is_forever || clock_monotonic_usec() < until;
		        seed++) {
			run(seed, false, path);
			if (++runs % 200 == 0)
				printf("%llu runs\n", (unsigned long long)runs);
		}
		printf("%llu runs: %llu crashes, %llu syncs, %llu cuts, %llu steps of folds, %llu failed "
		       "writes, %llu that had been answered\n",
		        (unsigned long long)runs, (unsigned long long)model.crashes,
		        (unsigned long long)model.syncs, (unsigned long long)model.cut_count,
		        (unsigned long long)model.fold_count, (unsigned long long)model.failures,
		        (unsigned long long)model.lost);
	}
	return tree_remove(path, &err) == STATUS_OK ? 0 : 1;
}
