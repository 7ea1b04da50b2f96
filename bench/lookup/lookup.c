/*
 * What finding and reading a page costs at a given depth of layers: our own processor time, without Postgres, without FUSE, everything in
 * memory. bench/lookup/README.md says how to run and read it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "base/file.h"
#include "page_store/image.h"
#include "page_store/page.h"

#define PAGES       16384u /* 128 MiB */
#define LAYER_PAGES 2048u  /* of each layer but the first */
#define FILES       1000u
#define ROUNDS      400000u

static uint64_t random_state = 1;

static uint32_t dice(uint32_t sides)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)((random_state >> 33) % sides);
}

static void must(status s, const struct error *err)
{
	if (s == STATUS_OK)
		return;
	fprintf(stderr, "lookup: %s\n", err->message);
	exit(1);
}

static double cpu_usec(void)
{
	struct timespec used;
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (double)used.tv_sec * 1e6 + (double)used.tv_nsec / 1e3;
}

static void write_page(struct image *image, uint64_t inode, uint32_t block)
{
	uint8_t page[PAGE_BYTES];
	memset(page, (int)dice(256), sizeof page);
	if (image_write(image, inode, page, sizeof page, (uint64_t)block * PAGE_BYTES) != PAGE_BYTES) {
		fprintf(stderr, "lookup: could not write\n");
		exit(1);
	}
}

static uint64_t fill(struct image *image, unsigned depth)
{
	struct stat st;
	if (image_make(image, IMAGE_ROOT, "file", S_IFREG | 0600, 0, 0, 0, &st) < 0)
		exit(1);
	for (uint32_t block = 0; block < PAGES; block++)
		write_page(image, st.st_ino, block);
	for (unsigned layer = 1; layer < depth; layer++) {
		struct image_cut cut;
		struct error err;
		must(image_cut(image, &cut, &err), &err);
		free(cut.layers);
		for (uint32_t i = 0; i < LAYER_PAGES; i++)
			write_page(image, st.st_ino, dice(PAGES));
	}
	return st.st_ino;
}

/* As many files as a small cluster has. */
static void make_files(struct image *image)
{
	for (unsigned i = 0; i < FILES; i++) {
		char name[20];
		struct stat st;
		(void)snprintf(name, sizeof name, "%u", 16384 + i);
		if (image_make(image, IMAGE_ROOT, name, S_IFREG | 0600, 0, 0, 0, &st) < 0)
			exit(1);
		write_page(image, st.st_ino, 0);
	}
}

static void measure(struct image *image, uint64_t inode)
{
	static uint8_t bytes[1 << 20];
	int64_t sum = 0;
	double begin = cpu_usec();
	for (uint32_t i = 0; i < ROUNDS; i++)
		sum += image_seek(image, inode, (int64_t)dice(PAGES) * PAGE_BYTES, SEEK_DATA);
	double lookup = (cpu_usec() - begin) / ROUNDS;

	begin = cpu_usec();
	for (uint32_t i = 0; i < ROUNDS / 10; i++)
		sum += image_read(image, inode, bytes, PAGE_BYTES, (uint64_t)dice(PAGES) * PAGE_BYTES);
	double read = (cpu_usec() - begin) / (ROUNDS / 10);

	begin = cpu_usec();
	for (uint32_t i = 0; i < ROUNDS / 10; i++)
		sum += page_checksum((uint64_t)sum, inode, i, bytes);
	double checksum = (cpu_usec() - begin) / (ROUNDS / 10);

	begin = cpu_usec();
	uint32_t pieces = PAGES / (sizeof bytes / PAGE_BYTES);
	for (uint32_t i = 0; i < 4 * pieces; i++)
		sum += image_read(image, inode, bytes, sizeof bytes, (uint64_t)(i % pieces) * sizeof bytes);
	double sequential = (cpu_usec() - begin) / (4 * PAGES);
	printf("lookup %.2f us, random read %.2f us (checksum %.2f us), sequential read %.2f us per page%s\n",
	        lookup, read, checksum, sequential, sum == 0 ? " " : "");
}

int main(int argc, char **argv)
{
	unsigned depth = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 16;
	char path[40];
	(void)snprintf(
	        path, sizeof path, "%s/tarn-lookup-XXXXXX", file_exists("/dev/shm") ? "/dev/shm" : "/tmp");
	if (depth < 1 || depth > 1000 || !mkdtemp(path))
		return 1;
	struct error err;
	struct data_directory dd = { .path = path };
	struct store *store = NULL;
	struct image *image = NULL;
	must(store_create(&dd, "lookup", &store, &err), &err);
	must(store_lock(store, &err), &err);
	must(image_create(store, "volume", NULL, 0, 0, 0, &err), &err);
	store_unlock(store);
	must(image_open(&dd, store, "volume", &image, &err), &err);
	make_files(image);
	uint64_t inode = fill(image, depth);
	must(image_close(image, &err), &err);

	double begin = cpu_usec();
	must(image_open(&dd, store, "volume", &image, &err), &err);
	printf("depth %u: open %.0f us, with %u files\n", depth, cpu_usec() - begin, FILES);
	for (int i = 0; i < 3; i++)
		measure(image, inode);
	image_abandon(image);
	store_close(store);
	must(tree_remove(path, &err), &err);
	return 0;
}
