/*
 * Folds: a store with random layers, restore points and foreign references, each of which must show the same before and after any number of
 * folds, whatever call fails and wherever the power goes.
 */
#include "page_store/fold.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "faulty_disk.h"
#include "page_store/disk.h"
#include "page_store/fold_references.h"
#include "page_store/restore_point.h"

#define STORE   "pr-fold"
#define VOLUME  "br-a"
#define FILES   5u /* inodes 2 … */
#define BLOCKS  40u
#define LAYERS  8u
#define NOT_OUR 1000u

static uint64_t random_state;

static uint64_t dice(uint64_t sides)
{
	uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % sides;
}

/* What a volume shows: a number for each page, 0 for zeros. */
struct content {
	bool exists[FILES], is_gone[FILES];
	uint32_t pages[FILES][BLOCKS];
};

struct fixture {
	char path[64];
	struct data_directory dd;
	struct store *store;
	struct content cuts[LAYERS + 1]; /* what it showed when layer i was sealed */
	size_t sealed;
	bool has_point[LAYERS + 1]; /* number i + 1 ends at layer i */
	size_t foreign_end;         /* another volume's stack has layers below it; 0: there is none */
	uint64_t folds;
};

static void fill_page(uint32_t value, uint8_t page[PAGE_BYTES])
{
	memset(page, 0, PAGE_BYTES);
	for (size_t i = 0; value && i < PAGE_BYTES / 4; i++) {
		uint32_t word = value * (uint32_t)(i + 1);
		memcpy(page + 4 * i, &word, 4);
	}
}

static struct layer_ref name_layer(size_t number)
{
	struct layer_ref ref = { .store = STORE };
	(void)snprintf(ref.id, sizeof ref.id, VOLUME ".%zu", number);
	return ref;
}

static void ok(status s, const struct error *err)
{
	if (s != STATUS_OK)
		print_error("%s\n", err->message);
	assert_int_equal(s, STATUS_OK);
}

static void add_tree(struct manifest_writer *writer, const struct content *content)
{
	struct buffer tree = { 0 };
	change_encode(&(struct change){ .type = CHANGE_INODE, .inode = 1, .mode = S_IFDIR | 0700 }, &tree);
	for (uint32_t i = 0; i < FILES; i++) {
		if (!content->exists[i])
			continue;
		char name[2] = { (char)('a' + i), 0 };
		change_encode(&(struct change){ .type = CHANGE_NAME,
		                      .inode = 2 + i,
		                      .parent = 1,
		                      .name = slice_from_text(name) },
		        &tree);
		change_encode(&(struct change){ .type = CHANGE_INODE,
		                      .inode = 2 + i,
		                      .mode = S_IFREG | 0600,
		                      .size = BLOCKS * PAGE_BYTES },
		        &tree);
	}
	manifest_writer_add_tree(writer, buffer_slice(&tree));
	buffer_done(&tree);
}

/* Changes `content` at random, and writes what is changed as a sealed layer. */
static void make_layer(struct fixture *f, size_t number, struct content *content)
{
	struct error err;
	struct layer_ref ref = name_layer(number);
	int fd = -1;
	struct layer *layer = NULL;
	ok(store_lock(f->store, &err), &err);
	ok(store_make_layer_folder(f->store, ref.id, &fd, &err), &err);
	store_unlock(f->store);
	ok(layer_create(fd, &ref, &layer, &err), &err);
	struct manifest_writer *writer = manifest_writer_new(layer_tag(layer), 2 + FILES);
	for (uint32_t i = 0; i < FILES; i++) {
		if (content->exists[i] && dice(12) == 0) {
			content->exists[i] = false; /* and never comes back: inodes are not used again */
			content->is_gone[i] = true;
			memset(content->pages[i], 0, sizeof content->pages[i]);
		} else if (!content->exists[i] && !content->is_gone[i] && dice(2) == 0) {
			content->exists[i] = true;
		}
	}
	add_tree(writer, content);
	for (uint32_t i = 0; i < FILES; i++) {
		struct page_entry entries[BLOCKS];
		size_t count = 0;
		uint32_t shadow = PAGE_BLOCKS_MAX;
		if (!content->exists[i] && !content->is_gone[i])
			continue;
		if (dice(4) == 0) {
			shadow = (uint32_t)dice(BLOCKS + 1);
			for (uint32_t block = shadow; block < BLOCKS; block++)
				content->pages[i][block] = 0;
		}
		uint64_t density = dice(5);
		for (uint32_t block = 0; block < BLOCKS; block++) {
			uint8_t page[PAGE_BYTES];
			uint32_t slot = (uint32_t)dice(2);
			if (density == 0 || dice(density) != 0)
				continue;
			fill_page((uint32_t)dice(1u << 31), page);
			if (dice(3) == 0) /* what was before, in the other slot */
				assert_int_equal(layer_write_page(layer, 2 + i, block, 1 - slot, page), 0);
			uint32_t value = 1 + (uint32_t)dice(1u << 31);
			fill_page(value, page);
			assert_int_equal(layer_write_page(layer, 2 + i, block, slot, page), 0);
			entries[count++] = (struct page_entry){ .block = block,
				.slot = slot,
				.crc = page_checksum(layer_tag(layer), 2 + i, block, page) };
			if (content->exists[i])
				content->pages[i][block] = value;
		}
		assert_int_equal(layer_sync_pages(layer, 2 + i, 3), 0);
		if (count > 0 || shadow < PAGE_BLOCKS_MAX)
			manifest_writer_add_file(writer, 2 + i, shadow, entries, count);
	}
	ok(manifest_writer_publish(writer, layer_folder(layer), &ref, &err), &err);
	(void)layer_release(layer);
}

static void make_open_layer(struct fixture *f, size_t number)
{
	struct error err;
	struct layer_ref ref = name_layer(number);
	int fd = -1;
	struct layer *layer = NULL;
	ok(store_lock(f->store, &err), &err);
	ok(store_make_layer_folder(f->store, ref.id, &fd, &err), &err);
	store_unlock(f->store);
	ok(layer_create(fd, &ref, &layer, &err), &err);
	(void)layer_release(layer);
}

static void write_references(struct fixture *f)
{
	struct error err;
	struct stack stack = { .next_layer = NOT_OUR, .next_point = NOT_OUR };
	ok(store_lock(f->store, &err), &err);
	for (size_t i = 0; i < f->sealed; i++) {
		struct layer_ref ref = name_layer(i);
		stack_push(&stack, &ref);
		f->has_point[i] = dice(3) == 0;
		if (!f->has_point[i])
			continue;
		struct restore_point point = { .number = i + 1,
			.volume_id = VOLUME,
			.layers = stack.layers,
			.layer_count = stack.count,
			.redo_lsn = 1000 + i,
			.end_lsn = 2000 + i,
			.redo_timeline = 1,
			.timeline = 1,
			.wal_segment_size = 16 << 20,
			.postgres_major = 17,
			.time_usec = (int64_t)i };
		ok(restore_point_write(f->store, &point, &err), &err);
	}
	struct layer_ref open = name_layer(f->sealed);
	stack_push(&stack, &open);
	ok(stack_write(f->store, VOLUME, &stack, &err), &err);
	f->foreign_end = dice(3) == 0 ? dice(f->sealed) + 1 : 0;
	if (f->foreign_end) {
		stack.layers[f->foreign_end] = name_layer(NOT_OUR); /* its own open one */
		stack.count = f->foreign_end + 1;
		ok(stack_write(f->store, "br-b", &stack, &err), &err);
	}
	store_unlock(f->store);
	stack_done(&stack);
}

static void begin(struct fixture *f, uint64_t seed)
{
	random_state = seed;
	faulty_disk_reset(seed);
	*f = (struct fixture){
		.path = "/dev/shm/tarn-fold-XXXXXX"
	}; /* folders are real ones: not on a slow disk */
	if (!mkdtemp(f->path)) {
		(void)snprintf(f->path, sizeof f->path, "/tmp/tarn-fold-XXXXXX");
		assert_non_null(mkdtemp(f->path));
	}
	f->dd.path = f->path;
	struct error err;
	ok(store_create(&f->dd, STORE, &f->store, &err), &err);
	struct content content = { 0 };
	f->sealed = 2 + dice(LAYERS - 1);
	for (size_t i = 0; i < f->sealed; i++) {
		make_layer(f, i, &content);
		f->cuts[i] = content;
	}
	make_open_layer(f, f->sealed);
	write_references(f);
}

static void end(struct fixture *f)
{
	struct error err;
	f->store = store_close(f->store);
	ok(tree_remove(f->path, &err), &err);
	assert_int_equal(faulty_disk_open_count(), 0);
}

static void reopen_store(struct fixture *f)
{
	struct error err;
	f->store = store_close(f->store);
	ok(store_open(&f->dd, STORE, &f->store, &err), &err);
}

/* ---- what the references show ---- */

static void find_page(
        struct layer *const *layers, size_t count, uint64_t inode, uint32_t block, uint8_t page[PAGE_BYTES])
{
	memset(page, 0, PAGE_BYTES);
	for (size_t i = count; i-- > 0;) {
		struct layer_file file;
		struct page_entry entry;
		if (!layer_find_file(layers[i], inode, &file))
			continue;
		if (layer_file_find_page(&file, block, &entry)) {
			assert_int_equal(layer_read_page(layers[i], inode, block, entry.slot, page), 0);
			assert_int_equal(entry.crc, page_checksum(layer_tag(layers[i]), inode, block, page));
			return;
		}
		if (block >= file.shadow_block)
			return;
	}
}

static void check_tree(const struct layer *top, const struct content *expected)
{
	bool exists[FILES] = { 0 };
	for (struct slice rest = layer_tree(top); rest.len > 0;) {
		struct change change;
		struct error err;
		ok(change_decode(&rest, &change, &err), &err);
		if (change.type == CHANGE_INODE && change.inode > 1)
			exists[change.inode - 2] = true;
	}
	assert_memory_equal(exists, expected->exists, sizeof exists);
}

static void check_layers(
        const struct fixture *f, const struct layer_ref *refs, size_t count, const struct content *expected)
{
	struct layer *layers[LAYERS + 1];
	struct error err;
	for (size_t i = 0; i < count; i++) {
		int fd = -1;
		ok(store_open_layer_folder(f->store, &refs[i], &fd, &err), &err);
		ok(layer_open_sealed(fd, &refs[i], &layers[i], &err), &err);
	}
	check_tree(layers[count - 1], expected);
	for (uint32_t i = 0; i < FILES; i++) {
		for (uint32_t block = 0; expected->exists[i] && block < BLOCKS; block++) {
			uint8_t page[PAGE_BYTES], wanted[PAGE_BYTES];
			find_page(layers, count, 2 + i, block, page);
			fill_page(expected->pages[i][block], wanted);
			assert_memory_equal(page, wanted, PAGE_BYTES);
		}
	}
	for (size_t i = 0; i < count; i++)
		(void)layer_release(layers[i]);
}

static size_t check_all(const struct fixture *f)
{
	struct error err;
	struct stack stack = { 0 };
	ok(stack_read(f->store, VOLUME, &stack, &err), &err);
	check_layers(f, stack.layers, stack.count - 1, &f->cuts[f->sealed - 1]);
	size_t depth = stack.count;
	stack_done(&stack);
	for (size_t i = 0; i < f->sealed; i++) {
		if (!f->has_point[i])
			continue;
		struct restore_point point = { 0 };
		ok(restore_point_read(f->store, VOLUME, i + 1, &point, &err), &err);
		check_layers(f, point.layers, point.layer_count, &f->cuts[i]);
		restore_point_done(&point);
	}
	if (f->foreign_end) {
		ok(stack_read(f->store, "br-b", &stack, &err), &err);
		check_layers(f, stack.layers, stack.count - 1, &f->cuts[f->foreign_end - 1]);
		stack_done(&stack);
	}
	return depth;
}

/* One fold, or as far as it gets. */
static status fold_once(struct fixture *f, bool *ret_done, struct error *err)
{
	struct fold *fold = NULL;
	status s = fold_choose(f->store, VOLUME, &fold, err);
	if (s != STATUS_OK)
		return s;
	*ret_done = !fold;
	bool is_copied = false, is_published = false;
	while (s == STATUS_OK && fold && !is_copied)
		s = fold_pages(fold, 1 + dice(30), &is_copied, err);
	if (s == STATUS_OK && fold)
		s = fold_publish(fold, &is_published, err);
	if (s == STATUS_OK && fold) {
		assert_true(is_published);
		assert_string_equal(layer_name(fold_result(fold))->id, fold_lower(fold)->id);
		f->folds++;
	}
	(void)fold_free(fold);
	return s;
}

static void fold_all(struct fixture *f)
{
	struct error err;
	for (bool is_done = false; !is_done;) {
		ok(fold_once(f, &is_done, &err), &err);
		(void)check_all(f);
	}
}

/* No two layers may be left that a fold could have joined. */
static void check_minimal(const struct fixture *f, size_t depth)
{
	size_t expected = 1; /* the bottom */
	for (size_t i = 1; i < f->sealed; i++) {
		bool is_separated = f->has_point[i - 1] || f->foreign_end >= i || i == f->sealed - 1;
		expected += is_separated;
	}
	assert_int_equal(depth, expected + 1);
}

static void test_everything_shows_the_same(void **state)
{
	(void)state;
	uint64_t folds = 0;
	for (uint64_t seed = 1; seed <= 30; seed++) {
		struct fixture f;
		begin(&f, seed);
		(void)check_all(&f);
		fold_all(&f);
		size_t depth = check_all(&f);
		check_minimal(&f, depth);

		/* What is not needed any more goes, and nothing else. */
		uint64_t before = faulty_disk_used();
		struct error err;
		ok(store_collect_garbage(f.store, NULL, &err), &err);
		assert_true(f.folds == 0 || faulty_disk_used() <= before);
		assert_int_equal(check_all(&f), depth);
		faulty_disk_crash();
		reopen_store(&f);
		assert_int_equal(check_all(&f), depth);
		folds += f.folds;
		end(&f);
	}
	assert_true(folds > 30);
}

/*
 * Mode 0: the power goes at the nth call; 1: that call fails; 2: the same as a full disk; 3: the process is killed at that call, others
 * go on with what it had not synced, and then the power goes.
 */
static void interrupt(int mode, uint64_t first_seed, uint64_t seeds, uint64_t step)
{
	/* Every call of many stores, for a long run: TARN_FOLD_ROUNDS=20. */
	const char *rounds = getenv("TARN_FOLD_ROUNDS");
	if (rounds) {
		seeds *= strtoull(rounds, NULL, 10);
		step = 1;
	}
	uint64_t failures = 0;
	for (uint64_t seed = first_seed; seed < first_seed + seeds; seed++) {
		for (uint64_t nth = 1 + dice(step);; nth += step) {
			struct fixture f;
			begin(&f, seed);
			random_state = seed * 1000 + nth;
			struct error err;
			bool is_done = false;
			if (mode == 0 || mode == 3)
				faulty_disk_cut_power(nth);
			else
				faulty_disk_fail(nth, mode == 1 ? EIO : ENOSPC);
			status s = STATUS_OK;
			while (s == STATUS_OK && !is_done)
				s = fold_once(&f, &is_done, &err);
			bool has_failed = faulty_disk_has_failed();
			assert_true(has_failed || s == STATUS_OK);
			failures += s != STATUS_OK;
			faulty_disk_fail(0, 0);
			if (mode == 3) {
				faulty_disk_kill();
				reopen_store(&f);
				for (uint64_t folds = dice(4); folds > 0; folds--)
					ok(fold_once(&f, &is_done, &err), &err);
				if (dice(4))
					ok(store_collect_garbage(f.store, NULL, &err), &err);
			}
			if (mode == 0 || mode == 3 || dice(2)) {
				faulty_disk_crash();
				reopen_store(&f);
			}
			(void)check_all(&f);
			if (dice(2)) {
				ok(store_collect_garbage(f.store, NULL, &err), &err);
				(void)check_all(&f);
			}
			fold_all(&f);
			check_minimal(&f, check_all(&f));
			ok(store_collect_garbage(f.store, NULL, &err), &err);
			(void)check_all(&f);
			end(&f);
			if (!has_failed)
				break;
		}
	}
	assert_true(failures > 5);
}

static void test_power_goes_at_every_call(void **state)
{
	(void)state;
	interrupt(0, 100, 6, 23);
}

/* A reference that the killed one had renamed, but not synced, may come back as it was: what it names has to be there. */
static void test_power_goes_after_a_kill(void **state)
{
	(void)state;
	interrupt(3, 100, 6, 5);
}

static void test_every_call_fails(void **state)
{
	(void)state;
	interrupt(1, 100, 3, 23);
	interrupt(2, 200, 3, 23);
}

/* A clone made of a point while pages are copied: the fold is given up, and nothing has changed. */
static void test_a_new_reference_meanwhile(void **state)
{
	(void)state;
	unsigned refusals = 0;
	for (uint64_t seed = 300; seed < 320; seed++) {
		struct fixture f;
		begin(&f, seed);
		struct error err;
		struct fold *fold = NULL;
		ok(fold_choose(f.store, VOLUME, &fold, &err), &err);
		if (!fold) {
			end(&f);
			continue;
		}
		struct stack stack = { 0 };
		ok(stack_read(f.store, VOLUME, &stack, &err), &err);
		size_t at = 0;
		while (strcmp(stack.layers[at].id, fold_lower(fold)->id) != 0)
			at++;
		stack.count = at + 2 +
		              dice(2); /* ends at the lower one, or at the upper one, and its own open one */
		stack.layers[stack.count - 1] = name_layer(NOT_OUR);
		ok(store_lock(f.store, &err), &err);
		ok(stack_write(f.store, "br-c", &stack, &err), &err);
		store_unlock(f.store);
		bool is_copied = false, is_published = true;
		while (!is_copied)
			ok(fold_pages(fold, 7, &is_copied, &err), &err);
		ok(fold_publish(fold, &is_published, &err), &err);
		assert_false(is_published);
		refusals++;
		(void)fold_free(fold);
		(void)check_all(&f);
		check_layers(&f, stack.layers, stack.count - 1, &f.cuts[stack.count - 2]);
		ok(store_collect_garbage(f.store, NULL, &err), &err);
		check_layers(&f, stack.layers, stack.count - 1, &f.cuts[stack.count - 2]);
		fold_all(&f);
		check_layers(&f, stack.layers, stack.count - 1, &f.cuts[stack.count - 2]);
		stack_done(&stack);
		end(&f);
	}
	assert_true(refusals > 3);
}

/* Who reads the old version goes on doing so, whatever is collected and folded meanwhile. */
static void test_readers_of_the_old_version(void **state)
{
	(void)state;
	unsigned checked = 0;
	for (uint64_t seed = 400; seed < 415; seed++) {
		struct fixture f;
		begin(&f, seed);
		struct error err;
		struct stack stack = { 0 };
		struct layer *layers[LAYERS + 1] = { 0 };
		ok(stack_read(f.store, VOLUME, &stack, &err), &err);
		for (size_t i = 0; i + 1 < stack.count; i++) {
			int fd = -1;
			ok(store_open_layer_folder(f.store, &stack.layers[i], &fd, &err), &err);
			ok(layer_open_sealed(fd, &stack.layers[i], &layers[i], &err), &err);
		}
		fold_all(&f);
		ok(store_collect_garbage(f.store, NULL, &err), &err);
		fold_all(&f);
		const struct content *expected = &f.cuts[f.sealed - 1];
		for (uint32_t i = 0; i < FILES; i++) {
			for (uint32_t block = 0; expected->exists[i] && block < BLOCKS; block++) {
				uint8_t page[PAGE_BYTES], wanted[PAGE_BYTES];
				find_page(layers, stack.count - 1, 2 + i, block, page);
				fill_page(expected->pages[i][block], wanted);
				assert_memory_equal(page, wanted, PAGE_BYTES);
			}
		}
		for (size_t i = 0; i + 1 < stack.count; i++)
			(void)layer_release(layers[i]);
		checked += f.folds > 0;
		/* Nobody reads them now: what was left for them goes, and folding goes on. */
		ok(store_collect_garbage(f.store, NULL, &err), &err);
		fold_all(&f);
		check_minimal(&f, check_all(&f));
		stack_done(&stack);
		end(&f);
	}
	assert_true(checked > 5);
}

static void test_damaged_pages_are_not_folded(void **state)
{
	(void)state;
	unsigned refused = 0;
	for (uint64_t seed = 500; seed < 515; seed++) {
		struct fixture f;
		begin(&f, seed);
		struct error err;
		struct fold *fold = NULL;
		ok(fold_choose(f.store, VOLUME, &fold, &err), &err);
		if (!fold || fold_page_count(fold) == 0) {
			(void)fold_free(fold);
			end(&f);
			continue;
		}
		int fd = -1;
		struct layer *upper = NULL;
		struct layer_ref upper_ref = *fold_upper(fold);
		ok(store_open_layer_folder(f.store, &upper_ref, &fd, &err), &err);
		ok(layer_open_sealed(fd, &upper_ref, &upper, &err), &err);
		/* The last page of the last file that the tree has. */
		bool is_damaged = false;
		for (size_t i = layer_file_count(upper); i-- > 0 && !is_damaged;) {
			struct layer_file file = layer_file_at(upper, i);
			if (file.entry_count == 0 ||
			        !f.cuts[atoi(strchr(upper_ref.id, '.') + 1)].exists[file.inode - 2])
				continue;
			struct page_entry entry =
			        page_entry_unpack(file.entries + (file.entry_count - 1) * PAGE_ENTRY_BYTES);
			char name[32];
			(void)snprintf(
			        name, sizeof name, "%016llx.%u", (unsigned long long)file.inode, entry.slot);
			assert_true(faulty_disk_flip_bit(layer_folder(upper), name,
			        (uint64_t)entry.block * PAGE_BYTES + dice(PAGE_BYTES), 3));
			is_damaged = true;
		}
		(void)layer_release(upper);
		status s = STATUS_OK;
		bool is_copied = false;
		while (s == STATUS_OK && !is_copied)
			s = fold_pages(fold, 9, &is_copied, &err);
		assert_int_equal(s, is_damaged ? STATUS_CORRUPT : STATUS_OK);
		refused += is_damaged;
		if (is_damaged)
			assert_non_null(strstr(err.message, upper_ref.id));
		(void)fold_free(fold);
		end(&f);
	}
	assert_true(refused > 3);
}

/* Nothing but what the layer's version names is in its slot files. */
static void check_no_garbage(const struct fixture *f, const struct layer_ref *ref)
{
	struct error err;
	struct layer *layer = NULL;
	int fd = -1;
	ok(store_open_layer_folder(f->store, ref, &fd, &err), &err);
	ok(layer_open_sealed(fd, ref, &layer, &err), &err);
	for (uint64_t inode = 2; inode < 2 + FILES; inode++) {
		struct layer_file file = { 0 };
		bool has_file = layer_find_file(layer, inode, &file);
		for (uint32_t at = 0; at < 2 * BLOCKS; at++) {
			static const uint8_t zeros[PAGE_BYTES];
			uint8_t page[PAGE_BYTES];
			struct page_entry entry;
			if ((has_file && layer_file_find_page(&file, at / 2, &entry) &&
			            entry.slot == at % 2) ||
			        layer_read_page(layer, inode, at / 2, at % 2, page) != 0) /* no such file */
				continue;
			assert_memory_equal(page, zeros, PAGE_BYTES);
		}
	}
	(void)layer_release(layer);
}

/* Else each attempt would make a full disk fuller. */
static void test_failed_folds_give_back(void **state)
{
	(void)state;
	unsigned failures = 0;
	for (uint64_t seed = 600; seed < 612; seed++) {
		for (uint64_t nth = 1 + dice(20);; nth += 20) {
			struct fixture f;
			begin(&f, seed);
			struct error err;
			struct fold *fold = NULL;
			ok(fold_choose(f.store, VOLUME, &fold, &err), &err);
			if (!fold) {
				end(&f);
				break;
			}
			struct layer_ref lower = *fold_lower(fold);
			bool is_copied = false, is_published = false;
			faulty_disk_fail(nth, ENOSPC);
			status s = STATUS_OK;
			while (s == STATUS_OK && !is_copied)
				s = fold_pages(fold, 25, &is_copied, &err);
			bool is_copying = s != STATUS_OK;
			if (s == STATUS_OK)
				s = fold_publish(fold, &is_published, &err);
			(void)fold_free(fold);
			bool has_failed = faulty_disk_has_failed();
			faulty_disk_fail(0, 0);
			if (is_copying) {
				check_no_garbage(&f, &lower);
				failures++;
			}
			(void)check_all(&f);
			end(&f);
			if (!has_failed)
				break;
		}
	}
	assert_true(failures > 10);
}

static void test_find_cut(void **state)
{
	(void)state;
	struct layer_ref refs[4] = { name_layer(0), name_layer(1), name_layer(2), name_layer(3) };
	struct stack stack = { .layers = refs, .count = 4 };
	struct layer_ref cut[3] = { name_layer(7), name_layer(8), name_layer(2) };
	assert_int_equal(fold_find_cut(&stack, cut, 3), 3);
	cut[2].version = 1; /* it has been folded with what came after the cut */
	assert_int_equal(fold_find_cut(&stack, cut, 3), 0);
	cut[2] = refs[3]; /* the open one is no cut */
	assert_int_equal(fold_find_cut(&stack, cut, 3), 0);
	assert_int_equal(fold_find_cut(&stack, cut, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything_shows_the_same),
		cmocka_unit_test(test_power_goes_at_every_call),
		cmocka_unit_test(test_power_goes_after_a_kill),
		cmocka_unit_test(test_every_call_fails),
		cmocka_unit_test(test_a_new_reference_meanwhile),
		cmocka_unit_test(test_readers_of_the_old_version),
		cmocka_unit_test(test_damaged_pages_are_not_folded),
		cmocka_unit_test(test_failed_folds_give_back),
		cmocka_unit_test(test_find_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
