/* IP access lists: addresses that may, or may not, reach this Tarn. */
#pragma once

#include "base/base.h"
#include "base/random.h"
#include "metadata/metadata.h"
#include "metadata/statement.h"

struct ip_access_list_row {
	int64_t id;
	char list_id[UUID_TEXT_LEN + 1]; /* public */
	char *label;
	bool is_block; /* else an allow list */
	bool is_enabled;
	char *addresses; /* JSON list of texts: addresses and ranges, as they were written */
	int64_t create_usec, update_usec;
	int64_t created_by, updated_by; /* identities, which may be gone */
};

void ip_access_list_row_done(struct ip_access_list_row *row); /* for CLEANUP */

MUST_CHECK status ip_access_list_row_insert(
        struct metadata *md, struct ip_access_list_row *row, struct error *err); /* sets id and list_id */
MUST_CHECK status ip_access_list_row_update(
        struct metadata *md, const struct ip_access_list_row *row, struct error *err);
/* STATUS_NOT_FOUND */
MUST_CHECK status ip_access_list_row_find(
        struct metadata *md, const char *list_id, struct ip_access_list_row *ret, struct error *err);
MUST_CHECK status ip_access_list_row_remove(struct metadata *md, int64_t id, struct error *err);
/* In the order they were made. */
MUST_CHECK status ip_access_list_row_list(struct metadata *md, struct statement *ret, struct error *err);
MUST_CHECK status ip_access_list_row_next(
        struct statement *st, struct ip_access_list_row *ret, struct error *err);
