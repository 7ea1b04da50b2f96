/*
 * Page tokens: where a LIST goes on. A token names the last row that was seen (key-set, so inserts between two pages
 * neither repeat nor skip a row) and is bound to what was listed: used for another list it is refused.
 */
#pragma once

#include "base/base.h"
#include "control_plane/api_error.h"
#include "http/request.h"

#define PAGE_TOKEN_LEN    33 /* 16 hex digits, "-", 16 hex digits */
#define PAGE_SIZE_DEFAULT 100
#define PAGE_SIZE_MAX     1000

struct page {
	int64_t after_id; /* 0: from the start */
	int64_t size;
	bool with_deleted;
};

/* `list` names what is listed: "branches of 12". The text of with_deleted is part of the binding. */
void page_token_make(const char *list, bool with_deleted, int64_t last_id, char out[PAGE_TOKEN_LEN + 1]);
/* Reads page_size, page_token and (when offered) show_deleted from the query. */
bool page_read(const struct http_request *request, const char *list, bool offers_deleted, int64_t size_max,
        struct page *ret, struct api_error *error);
/* "true", "false", "" or absent. */
bool query_switch(const struct http_request *request, const char *name, bool *ret, struct api_error *error);
