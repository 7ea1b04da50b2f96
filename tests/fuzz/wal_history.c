/* Timeline histories: what parses ascends, is the same after it was written and read again, and a branch of it ends where it shall. */
#include <stdlib.h>

#include "wal_store/wal_history.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct wal_history *history)
{
	for (size_t i = 0; i < history->count; i++)
		if (history->lines[i].timeline == 0 || history->lines[i].end_lsn == 0 ||
		        history->lines[i].timeline >= (i + 1 < history->count ? history->lines[i + 1].timeline
		                                                              : history->timeline) ||
		        (i > 0 && history->lines[i].end_lsn < history->lines[i - 1].end_lsn))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(wal_history_done) struct wal_history history = { 0 };
	CLEANUP(wal_history_done) struct wal_history again = { 0 };
	CLEANUP(wal_history_done) struct wal_history branch = { 0 };
	CLEANUP(buffer_done) struct buffer text = { 0 };
	struct error err;
	const uint32_t timeline = 2000000000;
	if (wal_history_parse((struct slice){ data, size }, timeline, &history, &err) != STATUS_OK)
		return 0;
	check(&history);
	wal_history_format(&history, "reason", &text);
	if (wal_history_parse(buffer_slice(&text), timeline, &again, &err) != STATUS_OK ||
	        again.count != history.count ||
	        (history.count &&
	                memcmp(again.lines, history.lines, history.count * sizeof *history.lines) != 0))
		abort();
	uint64_t end = history.count ? history.lines[history.count / 2].end_lsn + (size % 3) - 1 : 4711;
	if (end == 0)
		return 0;
	wal_history_branch(&history, end, timeline + 2, &branch);
	check(&branch);
	if (branch.lines[branch.count - 1].end_lsn != end ||
	        wal_history_timeline_at(&branch, end) != timeline + 2 ||
	        wal_history_timeline_at(&branch, end - 1) != wal_history_timeline_at(&history, end - 1))
		abort();
	return 0;
}
