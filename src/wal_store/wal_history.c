#include "wal_store/wal_history.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/number.h"
#include "wal_store/wal_file.h"

void wal_history_done(struct wal_history *history)
{
	free(history->lines);
	*history = (struct wal_history){ 0 };
}

static void add_line(struct wal_history *history, uint32_t timeline, uint64_t end_lsn)
{
	history->lines = xrealloc(history->lines, (history->count + 1) * sizeof *history->lines);
	history->lines[history->count].timeline = timeline;
	history->lines[history->count].end_lsn = end_lsn;
	history->count++;
}

static struct slice take_line(struct slice *text)
{
	const uint8_t *end = text->len ? memchr(text->data, '\n', text->len) : NULL;
	size_t len = end ? (size_t)(end - text->data) : text->len;
	struct slice line = { text->data, len };
	text->data += end ? len + 1 : len;
	text->len -= end ? len + 1 : len;
	return line;
}

static struct slice take_word(struct slice *line)
{
	while (line->len && isspace(line->data[0])) {
		line->data++;
		line->len--;
	}
	struct slice word = { line->data, 0 };
	while (word.len < line->len && !isspace(line->data[word.len]))
		word.len++;
	line->data += word.len;
	line->len -= word.len;
	return word;
}

/* As readTimeLineHistory() does: blank lines and comments are passed by, what follows the position is the reason. */
static status parse_line(struct slice line, struct wal_history *history, struct error *err)
{
	struct slice timeline_text = take_word(&line);
	if (timeline_text.len == 0 || timeline_text.data[0] == '#')
		return STATUS_OK;
	struct slice lsn_text = take_word(&line);
	int64_t timeline;
	uint64_t lsn;
	if (!number_parse(timeline_text, 1, UINT32_MAX, &timeline) || !lsn_parse(lsn_text, &lsn) || lsn == 0)
		return error_set(
		        err, STATUS_CORRUPT, 0, "it has a line that is not a timeline and a position");
	uint32_t before = history->count ? history->lines[history->count - 1].timeline : 0;
	if (timeline <= before)
		return error_set(err, STATUS_CORRUPT, 0, "its timelines do not ascend");
	add_line(history, (uint32_t)timeline, lsn);
	return STATUS_OK;
}

/*
 * The recovery of a branch of an older Tarn may have ended in front of the position at which its reserved timeline begins. A line with
 * a lower position than those before it counts, as in tliOfPointInHistory(), which looks from the newest on.
 */
static void make_ascending(struct wal_history *history)
{
	for (size_t i = history->count; i-- > 1;)
		if (history->lines[i - 1].end_lsn > history->lines[i].end_lsn)
			history->lines[i - 1].end_lsn = history->lines[i].end_lsn;
}

status wal_history_parse(struct slice text, uint32_t timeline, struct wal_history *ret, struct error *err)
{
	CLEANUP(wal_history_done) struct wal_history history = { .timeline = timeline };
	if (timeline == 0 || text.len > WAL_HISTORY_MAX_BYTES)
		return error_set(err, STATUS_CORRUPT, 0, "it is not one");
	while (text.len) {
		status st = parse_line(take_line(&text), &history, err);
		if (st != STATUS_OK)
			return st;
	}
	if (history.count && history.lines[history.count - 1].timeline >= timeline)
		return error_set(err, STATUS_CORRUPT, 0, "its timelines do not end below %" PRIu32, timeline);
	make_ascending(&history);
	*ret = history;
	history = (struct wal_history){ 0 };
	return STATUS_OK;
}

status wal_history_read(const char *folder, uint32_t timeline, struct wal_history *ret, struct error *err)
{
	if (timeline == 1) {
		*ret = (struct wal_history){ .timeline = 1 };
		return STATUS_OK;
	}
	char name[WAL_FILE_NAME_MAX];
	wal_history_name(timeline, name);
	CLEANUP(free_text) char *path = xasprintf("%s/%s", folder, name);
	CLEANUP(buffer_done) struct buffer text = { 0 };
	status st = file_read(path, WAL_HISTORY_MAX_BYTES, &text, err);
	if (st == STATUS_LIMIT)
		st = error_set(err, STATUS_CORRUPT, 0, "it is too large");
	if (st == STATUS_OK)
		st = wal_history_parse(buffer_slice(&text), timeline, ret, err);
	return st == STATUS_OK ? st : error_prefix(err, "timeline history \"%s\"", path);
}

void wal_history_branch(
        const struct wal_history *parent, uint64_t end_lsn, uint32_t timeline, struct wal_history *ret)
{
	struct wal_history history = { .timeline = timeline };
	size_t i = 0;
	for (; i < parent->count && parent->lines[i].end_lsn < end_lsn; i++)
		add_line(&history, parent->lines[i].timeline, parent->lines[i].end_lsn);
	add_line(&history, i < parent->count ? parent->lines[i].timeline : parent->timeline, end_lsn);
	*ret = history;
}

void wal_history_format(const struct wal_history *history, const char *reason, struct buffer *out)
{
	for (size_t i = 0; i < history->count; i++) {
		char lsn[LSN_TEXT_MAX];
		lsn_format(history->lines[i].end_lsn, lsn);
		buffer_printf(out, "%" PRIu32 "\t%s\t%s\n", history->lines[i].timeline, lsn, reason);
	}
}

uint32_t wal_history_timeline_at(const struct wal_history *history, uint64_t lsn)
{
	for (size_t i = 0; i < history->count; i++)
		if (lsn < history->lines[i].end_lsn)
			return history->lines[i].timeline;
	return history->timeline;
}
