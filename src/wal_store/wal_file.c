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
