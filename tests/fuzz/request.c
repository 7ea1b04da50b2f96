/*
 * A REST request: the first line is the URI, the rest the JSON body, read as every resource that a client can write. What
 * is accepted keeps all rules of rest-api.md 4.2: sizes, times, settings, lengths; and every text is valid UTF-8.
 */
#include <stdlib.h>
#include <yyjson.h>

#include "base/clock.h"
#include "control_plane/branch_fields.h"
#include "control_plane/cadence.h"
#include "control_plane/endpoint_fields.h"
#include "control_plane/instance_fields.h"
#include "control_plane/page_token.h"
#include "control_plane/pg_settings.h"
#include "control_plane/project_fields.h"
#include "http/request.h"

#define NOW (1800000000 * USEC_PER_SEC)

static const struct settings limits = { .suspend_timeout_min_sec = 60,
	.suspend_timeout_max_sec = 604800,
	.branch_ttl_max_sec = 2592000,
	.history_retention_min_sec = 172800,
	.history_retention_max_sec = 3024000,
	.cu_max = 112,
	.autoscale_cu_max = 64,
	.autoscale_cu_spread = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct update_mask everything = { .fields = UINT64_MAX };
static const struct update_mask present = { .present = UINT64_MAX };

static void expect(bool holds)
{
	if (!holds)
		abort();
}

static void expect_text(const char *text)
{
	struct slice s = slice_from_text(text);
	expect(utf8_valid_prefix(s) == s.len);
}

static void check_uri(const char *uri)
{
	struct error err;
	struct api_error error;
	struct page page;
	bool with_deleted;
	CLEANUP(http_request_done) struct http_request request = { 0 };
	if (http_request_parse_uri(&request, uri, &err) != STATUS_OK)
		return;
	expect(request.segment_count >= 1);
	expect_text(request.path);
	for (size_t i = 0; i < request.segment_count; i++)
		expect_text(request.segments[i]);
	for (size_t i = 0; i < request.query_count; i++) {
		expect_text(request.query[i].name);
		expect_text(request.query[i].value);
	}
	if (page_read(&request, "list", true, PAGE_SIZE_MAX, &page, &error))
		expect(page.size >= 1 && page.size <= PAGE_SIZE_MAX && page.after_id >= 0);
	if (query_switch(&request, "show_deleted", &with_deleted, &error) && with_deleted)
		expect(strcmp(http_request_query(&request, "show_deleted"), "true") == 0);
}

/* Accepted settings are accepted again as they are stored, and stay the same. */
static void check_settings(const char *json)
{
	struct api_error error;
	CLEANUP(free_text) char *again = NULL;
	yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
	expect(doc && pg_settings_read(yyjson_doc_get_root(doc), "x", &again, &error));
	yyjson_doc_free(doc);
	expect(strcmp(json, again) == 0);
}

static void check_values(double min_cu, double max_cu, int64_t suspend_usec, const char *settings)
{
	struct api_error error;
	expect(compute_size_check(min_cu, max_cu, &limits, "x", &error));
	expect(suspend_usec == 0 || (suspend_usec >= limits.suspend_timeout_min_sec * USEC_PER_SEC &&
	                                    suspend_usec <= limits.suspend_timeout_max_sec * USEC_PER_SEC));
	check_settings(settings);
}

static void check_project(yyjson_val *spec, const struct update_mask *mask)
{
	struct api_error error;
	CLEANUP(project_fields_done) struct project_fields fields = { 0 };
	CLEANUP(project_row_done) struct project_row row = { .project_id = "p" };
	project_fields_set_defaults(&row);
	if (project_fields_read(spec, &limits, &fields, &error) &&
	        project_fields_update(&row, &fields, mask, &limits, &error)) {
		check_values(row.min_cu, row.max_cu, row.suspend_usec, row.pg_settings);
		size_t characters = utf8_count(slice_from_text(row.display_name));
		expect(characters >= 1 && characters <= DISPLAY_NAME_MAX_CHARACTERS);
		expect(row.pg_version >= 16 && row.pg_version <= 18);
		expect(row.history_retention_usec >= limits.history_retention_min_sec * USEC_PER_SEC &&
		        row.history_retention_usec <= limits.history_retention_max_sec * USEC_PER_SEC);
		yyjson_doc *tags = yyjson_read(row.custom_tags, strlen(row.custom_tags), 0);
		expect(yyjson_is_arr(yyjson_doc_get_root(tags)));
		yyjson_doc_free(tags);
	}
}

static void check_branch(yyjson_val *spec, const struct update_mask *mask)
{
	struct api_error error;
	struct branch_fields fields;
	struct branch_row row = { .create_usec = NOW - USEC_PER_SEC };
	if (branch_fields_read(spec, &fields, &error) &&
	        branch_fields_update(&row, &fields, mask, &limits, NOW, &error))
		expect(row.expire_usec == 0 ||
		        (row.expire_usec > NOW &&
		                row.expire_usec <= NOW + limits.branch_ttl_max_sec * USEC_PER_SEC));
}

static void check_endpoint(yyjson_val *spec, const struct update_mask *mask)
{
	struct api_error error;
	CLEANUP(endpoint_fields_done) struct endpoint_fields fields = { 0 };
	CLEANUP(project_row_done) struct project_row project = { .project_id = "p" };
	CLEANUP(endpoint_row_done)
	struct endpoint_row row = { .min_cu = 1, .max_cu = 1, .pg_settings = xstrdup("{}") };
	project_fields_set_defaults(&project);
	if (endpoint_fields_read(spec, &limits, &fields, &error) &&
	        endpoint_fields_update(&row, &fields, mask, &project, &limits, "spec", &error))
		check_values(row.min_cu, row.max_cu, row.suspend_usec, row.pg_settings);
}

/* A DatabaseInstance of the older API: what is accepted has a size and is within its limits. */
static void check_instance(yyjson_val *root)
{
	struct api_error error;
	CLEANUP(instance_fields_done) struct instance_fields fields = { 0 };
	struct instance_origin origin;
	char id[RESOURCE_ID_MAX + 1];
	if (instance_fields_read(root, &fields, &error)) {
		if (fields.name.is_set && instance_name_is_valid(fields.name.text)) {
			instance_id(fields.name.text, id);
			expect(instance_name_is_valid(id) && strlen(id) == strlen(fields.name.text));
		}
		expect(!fields.capacity.is_set ||
		        strcmp(instance_capacity(instance_capacity_cu(fields.capacity.text)),
		                fields.capacity.text) == 0);
		expect(!fields.retention_days.is_set ||
		        (fields.retention_days.value >= INSTANCE_RETENTION_MIN_DAYS &&
		                fields.retention_days.value <= INSTANCE_RETENTION_MAX_DAYS));
		expect(!fields.node_count.is_set || fields.node_count.value == 1);
		if (fields.custom_tags) {
			yyjson_doc *tags = yyjson_read(fields.custom_tags, strlen(fields.custom_tags), 0);
			expect(yyjson_is_arr(yyjson_doc_get_root(tags)));
			yyjson_doc_free(tags);
		}
	}
	if (instance_origin_read(root, &origin, &error))
		expect(!origin.has_parent || origin.parent_name.is_set || origin.parent_uid.is_set);
}

/* What is accepted is accepted again as it is shown, and every cadence fires, at a full hour, within a month and a day. */
static void check_schedule(yyjson_val *values)
{
	struct api_error error;
	struct cadence_list list, again;
	if (!cadence_list_read(values, &list, &error))
		return;
	yyjson_mut_doc *out = yyjson_mut_doc_new(NULL);
	yyjson_mut_doc_set_root(out, cadence_list_to_json(out, &list));
	CLEANUP(free_text) char *text = yyjson_mut_write(out, 0, NULL);
	yyjson_mut_doc_free(out);
	yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
	expect(cadence_list_read(yyjson_doc_get_root(doc), &again, &error) && again.count == list.count);
	yyjson_doc_free(doc);
	for (size_t i = 0; i < list.count; i++) {
		int64_t next = cadence_next(&list.cadences[i], NOW);
		expect(next == cadence_next(&again.cadences[i], NOW));
		expect(next > NOW && next <= NOW + 32 * 86400 * USEC_PER_SEC);
		expect(next % (3600 * USEC_PER_SEC) == 0);
		expect(list.cadences[i].retention_usec >= CADENCE_RETENTION_MIN_SEC * USEC_PER_SEC);
	}
	expect((list.count == 0) == (cadence_list_next(&list, NOW) == INT64_MAX));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *newline = size > 0 ? memchr(data, '\n', size) : NULL;
	size_t uri_len = newline ? (size_t)(newline - data) : size;
	CLEANUP(free_text) char *uri = xstrndup(data, uri_len);
	check_uri(uri);
	if (!newline)
		return 0;
	yyjson_doc *doc = yyjson_read((const char *)newline + 1, size - uri_len - 1, 0);
	yyjson_val *root = yyjson_doc_get_root(doc);
	struct api_error error;
	yyjson_val *spec;
	if (yyjson_is_obj(root))
		check_instance(root);
	if (yyjson_is_obj(root) && field_object(root, "", "spec", &spec, &error)) {
		check_project(spec, &everything);
		check_project(spec, &present);
		check_branch(spec, &everything);
		check_branch(spec, &present);
		check_endpoint(spec, &everything);
		check_endpoint(spec, &present);
	}
	if (yyjson_is_obj(root) && field_array(root, "", "schedule", &spec, &error))
		check_schedule(spec);
	yyjson_doc_free(doc);
	return 0;
}
