/* Runs a fuzz target over every file of its corpus folder, for the normal test run. An empty corpus is a
 * failure. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/file.h"

#define CORPUS_FILE_MAX (4u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
	CLEANUP(buffer_done) struct buffer content = { 0 };
	struct error err;
	if (file_read(path, CORPUS_FILE_MAX, &content, &err) != STATUS_OK) {
		(void)fprintf(stderr, "%s\n", err.message);
		return -1;
	}
	/* An exact copy on the heap, so that the address sanitizer sees a read beyond the end. */
	uint8_t *bytes = xcalloc(1, content.len);
	if (content.len)
		memcpy(bytes, content.data, content.len);
	(void)fprintf(stderr, "replay %s\n", path); /* the last line names the culprit of an abort */
	int rc = LLVMFuzzerTestOneInput(bytes, content.len);
	free(bytes);
	return rc;
}

int main(int argc, char **argv)
{
	DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
	if (!folder) {
		(void)fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
		return 2;
	}
	int count = 0, failures = 0;
	for (struct dirent *entry; (entry = readdir(folder));) {
		if (entry->d_name[0] == '.')
			continue;
		CLEANUP(free_text) char *path = xasprintf("%s/%s", argv[1], entry->d_name);
		count++;
		failures += replay(path) != 0;
	}
	(void)closedir(folder);
	if (count == 0)
		(void)fprintf(stderr, "no inputs in %s\n", argv[1]);
	return count == 0 || failures > 0;
}
