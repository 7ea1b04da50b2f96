/*
 * Counts calls to the allocator by who makes them, for tests: LD_PRELOAD it, and name in TARN_ALLOCATIONS the file where the numbers shall be. They are
 * there at any time, three of them (uint64, the machine's byte order): calls by the program itself, by OpenSSL, and by all other libraries. What the C
 * library allocates for the program (strdup, asprintf) is among the last.
 */
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum caller { CALLER_PROGRAM, CALLER_OPENSSL, CALLER_OTHER, CALLERS };

#define RANGES_MAX 32

static struct {
	uintptr_t begin, end;
	enum caller caller;
} ranges[RANGES_MAX];
static size_t range_count;
static uint64_t *counts; /* NULL: nothing is counted (yet) */

/* glibc's own names of what is replaced here. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static int note_object(struct dl_phdr_info *info, size_t size, void *is_first)
{
	(void)size;
	enum caller caller = CALLER_OTHER;
	if (*(bool *)is_first) /* dl_iterate_phdr(3): the main program comes first */
		caller = CALLER_PROGRAM;
	else if (strstr(info->dlpi_name, "/libcrypto.so") || strstr(info->dlpi_name, "/libssl.so"))
		caller = CALLER_OPENSSL;
	*(bool *)is_first = false;
	for (int i = 0; caller != CALLER_OTHER && i < info->dlpi_phnum && range_count < RANGES_MAX; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X))
			continue;
		ranges[range_count].begin = info->dlpi_addr + segment->p_vaddr;
		ranges[range_count].end = ranges[range_count].begin + segment->p_memsz;
		ranges[range_count++].caller = caller;
	}
	return 0;
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("TARN_ALLOCATIONS");
	if (!path)
		return;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, CALLERS * sizeof *counts) < 0)
		abort();
	void *map = mmap(NULL, CALLERS * sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		abort();
	(void)close(fd);
	bool is_first = true;
	(void)dl_iterate_phdr(note_object, &is_first);
	counts = map;
}

static void count(const void *return_address)
{
	if (!counts)
		return;
	enum caller caller = CALLER_OTHER;
	for (size_t i = 0; i < range_count; i++)
		if ((uintptr_t)return_address >= ranges[i].begin && (uintptr_t)return_address < ranges[i].end)
			caller = ranges[i].caller;
	__atomic_fetch_add(&counts[caller], 1, __ATOMIC_RELAXED);
}

void *malloc(size_t size)
{
	count(__builtin_return_address(0));
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	count(__builtin_return_address(0));
	return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
	count(__builtin_return_address(0));
	return __libc_realloc(old, size);
}
