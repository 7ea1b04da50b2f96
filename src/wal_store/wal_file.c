#include "wal_store/wal_file.h"

#include <stdio.h>

void wal_segment_name(uint32_t timeline, uint64_t segment, uint32_t segment_size, char out[WAL_FILE_NAME_MAX])
{
	uint64_t per_id = (UINT64_C(1) << 32) / segment_size;
	(void)snprintf(out, WAL_FILE_NAME_MAX, "%08X%08X%08X", timeline, (uint32_t)(segment / per_id),
	        (uint32_t)(segment % per_id));
}

void wal_history_name(uint32_t timeline, char out[WAL_FILE_NAME_MAX])
{
	(void)snprintf(out, WAL_FILE_NAME_MAX, "%08X.history", timeline);
}

bool wal_file_is_of_timeline(const char *name, uint32_t timeline)
{
	char prefix[9];
	(void)snprintf(prefix, sizeof prefix, "%08X", timeline);
	size_t digits = strspn(name, "0123456789ABCDEF");
	return strncmp(name, prefix, 8) == 0 && (digits == 24 || strcmp(name + 8, ".history") == 0);
}

static bool read_hex(const char *text, uint32_t *ret)
{
	uint32_t value = 0;
	for (size_t i = 0; i < 8; i++) {
		char c = text[i];
		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'F')))
			return false;
		value = value << 4 | (uint32_t)(c <= '9' ? c - '0' : c - 'A' + 10);
	}
	*ret = value;
	return true;
}

enum wal_file_kind wal_file_parse(const char *name, uint32_t segment_size, uint64_t *ret_segment)
{
	uint32_t timeline, high, low, offset;
	size_t len = strlen(name);
	if (len == 16 && read_hex(name, &timeline) && timeline > 0 && strcmp(name + 8, ".history") == 0) {
		*ret_segment = 0;
		return WAL_FILE_HISTORY;
	}
	uint64_t per_id = (UINT64_C(1) << 32) / segment_size;
	if (len < 24 || !read_hex(name, &timeline) || timeline == 0 || !read_hex(name + 8, &high) ||
	        !read_hex(name + 16, &low) || low >= per_id)
		return WAL_FILE_FOREIGN;
	enum wal_file_kind kind = WAL_FILE_FOREIGN;
	if (len == 24)
		kind = WAL_FILE_SEGMENT;
	else if (strcmp(name + 24, ".partial") == 0)
		kind = WAL_FILE_PARTIAL;
	else if (len == 40 && name[24] == '.' && read_hex(name + 25, &offset) &&
	         strcmp(name + 33, ".backup") == 0)
		kind = WAL_FILE_BACKUP;
	if (kind != WAL_FILE_FOREIGN)
		*ret_segment = high * per_id + low;
	return kind;
}
