#include "control_plane/lineage.h"

status lineage_of_branch(
        struct metadata *md, const struct branch_row *branch, struct lineage *ret, struct error *err)
{
	struct branch_row row = *branch;
	ret->count = 0;
	while (ret->count < ORIGIN_LINEAGE_MAX) {
		struct lineage_volume *volume = &ret->volumes[ret->count++];
		memcpy(volume->id, row.volume_id, sizeof volume->id);
		volume->fork_lsn = row.origin_lsn;
		if (row.origin_volume[0] == '\0')
			break;
		char origin[RESOURCE_ID_MAX + 1];
		memcpy(origin, row.origin_volume, sizeof origin);
		status st = branch_row_find_volume(md, origin, &row, err);
		if (st == STATUS_NOT_FOUND)
			break;
		if (st != STATUS_OK)
			return st;
	}
	return STATUS_OK;
}
