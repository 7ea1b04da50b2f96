/*
 * Journals: whatever is in the file, opening it gives whole records or an error; and what it gave it gives again, with what was appended.
 * The input is a journal of layer "v.1".
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "page_store/disk.h"
#include "page_store/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	uint64_t records, bytes, sum;
};

static status note(void *owner, struct slice changes, struct error *err)
{
	(void)err;
	struct seen *seen = owner;
	seen->records++;
	seen->bytes += changes.len;
	for (size_t i = 0; i < changes.len; i++)
		seen->sum = seen->sum * 31 + changes.data[i];
	return STATUS_OK;
}

static status open_journal(int folder, struct seen *seen, struct journal **ret)
{
	*seen = (struct seen){ 0 };
	uint64_t tag = 0;
	struct error err;
	return journal_open(folder, "v.1", note, seen, ret, &tag, &err);
}

static void check(int folder)
{
	struct seen first, second;
	struct journal *journal = NULL;
	if (open_journal(folder, &first, &journal) != STATUS_OK)
		return;
	static const uint8_t appended[] = "appended";
	struct error err;
	uint64_t end = journal_append(journal, (struct slice){ appended, sizeof appended });
	if (journal_sync(journal, end, &err) != STATUS_OK || journal_synced(journal) != end)
		abort();
	journal = journal_close(journal);
	(void)note(&first, (struct slice){ appended, sizeof appended }, &err);
	if (open_journal(folder, &second, &journal) != STATUS_OK ||
	        memcmp(&first, &second, sizeof first) != 0)
		abort();
	(void)journal_close(journal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[] = "/tmp/tarn-fuzz-journal-XXXXXX";
	if (!mkdtemp(path))
		abort();
	int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = disk_open(folder, "journal", O_RDWR | O_CREAT, 0600);
	if (fd < 0 || (size > 0 && disk_write(fd, data, size, 0) < 0))
		abort();
	(void)disk_close(fd);
	check(folder);
	if (disk_unlink(folder, "journal") < 0 || rmdir(path) < 0)
		abort();
	(void)close(folder);
	return 0;
}
