#include "control_plane/fleet_report.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yyjson.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/number.h"

#define REPORT_MAX_BYTES 65536
#define LOG_TAIL_BYTES   16384
#define TIMING_MAX_MS    1e9
#define STORAGE_MAX      1e15

static void doc_freep(yyjson_doc **doc)
{
	yyjson_doc_free(*doc);
}

/* Length of the well-formed UTF-8 character at the start of `text`, 0 when there is none (RFC 3629, section 4). */
static size_t character_len(struct slice text)
{
	uint8_t first = text.data[0];
	if (first < 0x80)
		return 1;
	size_t len = first >= 0xc2 && first < 0xe0   ? 2
	             : first >= 0xe0 && first < 0xf0 ? 3
	             : first >= 0xf0 && first < 0xf5 ? 4
	                                             : 0;
	if (len == 0 || len > text.len)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((text.data[i] & 0xc0) != 0x80)
			return 0;
	uint8_t second = text.data[1];
	bool is_overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
	bool is_beyond = (first == 0xed && second > 0x9f) || (first == 0xf4 && second > 0x8f);
	return is_overlong || is_beyond ? 0 : len;
}

/* Copies the characters that fit; a byte that could forge a line or spoil a JSON text becomes '?'. */
static void copy_printable(struct slice text, char out[FLEET_REASON_MAX])
{
	size_t to = 0;
	while (text.len > 0) {
		size_t len = character_len(text);
		bool is_printable = len > 1 || (len == 1 && text.data[0] >= 0x20 && text.data[0] != 0x7f);
		size_t take = is_printable ? len : 1;
		if (to + take > FLEET_REASON_MAX - 1)
			break;
		if (is_printable)
			memcpy(out + to, text.data, take);
		else
			out[to] = '?';
		to += take;
		text.data += take;
		text.len -= take;
	}
	out[to] = '\0';
}

static status read_state(yyjson_val *root, enum fleet_report_state *ret, struct error *err)
{
	static const char *const names[] = {
		[REPORT_STARTING] = "starting",
		[REPORT_READY] = "ready",
		[REPORT_SUSPENDING] = "suspending",
		[REPORT_STOPPED] = "stopped",
		[REPORT_FAILED] = "failed",
	};
	yyjson_val *value = yyjson_obj_get(root, "state");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (yyjson_equals_str(value, names[i])) {
			*ret = (enum fleet_report_state)i;
			return STATUS_OK;
		}
	}
	return error_set(err, STATUS_INVALID, 0, "\"state\" is missing or unknown");
}

/* An absent member leaves *ret as it is; so does null. */
static status read_integer(yyjson_val *root, const char *name, int64_t max, int64_t *ret, struct error *err)
{
	yyjson_val *value = yyjson_obj_get(root, name);
	if (!value || yyjson_is_null(value))
		return STATUS_OK;
	if (!yyjson_is_uint(value) || yyjson_get_uint(value) > (uint64_t)max)
		return error_set(err, STATUS_INVALID, 0, "\"%s\" is not a whole number in its range", name);
	*ret = (int64_t)yyjson_get_uint(value);
	return STATUS_OK;
}

static status read_text(yyjson_val *root, const char *name, char ret[FLEET_REASON_MAX], struct error *err)
{
	yyjson_val *value = yyjson_obj_get(root, name);
	if (!value || yyjson_is_null(value))
		return STATUS_OK;
	if (!yyjson_is_str(value))
		return error_set(err, STATUS_INVALID, 0, "\"%s\" is not a string", name);
	copy_printable((struct slice){ (const uint8_t *)yyjson_get_str(value), yyjson_get_len(value) }, ret);
	return STATUS_OK;
}

static status read_last_active(yyjson_val *root, int64_t *ret, struct error *err)
{
	yyjson_val *value = yyjson_obj_get(root, "last_active_time");
	if (!value || yyjson_is_null(value))
		return STATUS_OK;
	struct slice text = { (const uint8_t *)yyjson_get_str(value), yyjson_get_len(value) };
	if (!yyjson_is_str(value) || !clock_parse_timestamp(text, ret))
		return error_set(err, STATUS_INVALID, 0, "\"last_active_time\" is not a timestamp");
	return STATUS_OK;
}

static status read_timing(yyjson_val *root, struct fleet_timing *ret, struct error *err)
{
	yyjson_val *timing = yyjson_obj_get(root, "timing");
	if (!timing || yyjson_is_null(timing))
		return STATUS_OK;
	if (!yyjson_is_obj(timing))
		return error_set(err, STATUS_INVALID, 0, "\"timing\" is not an object");
	struct {
		const char *name;
		double *to;
	} members[] = {
		{ "prepare_ms", &ret->prepare_ms },
		{ "postgres_ms", &ret->postgres_ms },
		{ "reconcile_ms", &ret->reconcile_ms },
	};
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		yyjson_val *value = yyjson_obj_get(timing, members[i].name);
		if (!value || yyjson_is_null(value))
			continue;
		double number = yyjson_is_num(value) ? yyjson_get_num(value) : -1;
		if (!(number >= 0 && number <= TIMING_MAX_MS))
			return error_set(err, STATUS_INVALID, 0,
			        "timing \"%s\" is not a number of milliseconds", members[i].name);
		*members[i].to = number;
	}
	return STATUS_OK;
}

static status read_number(yyjson_val *root, const char *name, double max, double *ret, struct error *err)
{
	yyjson_val *value = yyjson_obj_get(root, name);
	if (!value || yyjson_is_null(value))
		return STATUS_OK;
	double number = yyjson_is_num(value) ? yyjson_get_num(value) : -1;
	if (!(number >= 0 && number <= max))
		return error_set(err, STATUS_INVALID, 0, "\"%s\" is not a number in its range", name);
	*ret = number;
	return STATUS_OK;
}

static status read_lsn(yyjson_val *root, const char *name, uint64_t *ret, struct error *err)
{
	yyjson_val *value = yyjson_obj_get(root, name);
	struct slice text = { (const uint8_t *)yyjson_get_str(value), yyjson_get_len(value) };
	if (!yyjson_is_str(value) || !lsn_parse(text, ret))
		return error_set(err, STATUS_INVALID, 0, "\"%s\" is not an LSN", name);
	return STATUS_OK;
}

static status read_storage(yyjson_val *root, struct fleet_storage *ret, struct error *err)
{
	yyjson_val *object = yyjson_obj_get(root, "storage");
	if (!object || yyjson_is_null(object))
		return STATUS_OK;
	if (!yyjson_is_obj(object))
		return error_set(err, STATUS_INVALID, 0, "\"storage\" is not an object");
	struct fleet_storage storage = { .is_known = true };
	status st = STATUS_OK;
	if (yyjson_obj_get(object, "newest_lsn"))
		st = read_lsn(object, "newest_lsn", &storage.newest_lsn, err);
	if (st == STATUS_OK)
		st = read_integer(object, "points", INT64_MAX, &storage.points, err);
	if (st == STATUS_OK)
		st = read_integer(object, "depth", INT64_MAX, &storage.depth, err);
	if (st == STATUS_OK)
		st = read_integer(object, "open_pages", INT64_MAX, &storage.open_pages, err);
	if (st == STATUS_OK)
		st = read_integer(object, "logical_bytes", INT64_MAX, &storage.logical_bytes, err);
	if (st == STATUS_OK)
		st = read_number(object, "replay_estimate_ms", STORAGE_MAX, &storage.replay_estimate_ms, err);
	if (st == STATUS_OK)
		st = read_number(object, "point_cost_ms", STORAGE_MAX, &storage.point_cost_ms, err);
	if (st == STATUS_OK)
		st = read_number(object, "replay_speed_mb_s", STORAGE_MAX, &storage.replay_speed_mb_s, err);
	if (st == STATUS_OK)
		st = read_text(object, "alarm", storage.alarm, err);
	if (st == STATUS_OK)
		*ret = storage;
	return st;
}

static status read_pooler(yyjson_val *root, struct fleet_pooler *ret, struct error *err)
{
	yyjson_val *object = yyjson_obj_get(root, "pooler");
	if (!object || yyjson_is_null(object))
		return STATUS_OK;
	if (!yyjson_is_obj(object))
		return error_set(err, STATUS_INVALID, 0, "\"pooler\" is not an object");
	struct fleet_pooler pooler = { 0 };
	const struct {
		const char *name;
		int64_t *to;
	} members[] = {
		{ "pid", &pooler.pid },
		{ "connections", &pooler.connections },
		{ "clients", &pooler.clients },
		{ "waiting", &pooler.waiting },
		{ "longest_wait_usec", &pooler.longest_wait_usec },
		{ "servers_active", &pooler.servers_active },
		{ "servers_idle", &pooler.servers_idle },
		{ "transactions", &pooler.transactions },
		{ "queries", &pooler.queries },
		{ "wait_usec", &pooler.wait_usec },
		{ "received_bytes", &pooler.received_bytes },
		{ "sent_bytes", &pooler.sent_bytes },
		{ "clients_ended", &pooler.clients_ended },
	};
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		status st = read_integer(object, members[i].name, INT64_MAX, members[i].to, err);
		if (st != STATUS_OK)
			return st;
	}
	*ret = pooler;
	return STATUS_OK;
}

void fleet_pool_report_done(struct fleet_pool_report *report)
{
	for (size_t i = 0; i < report->refused_count; i++)
		free(report->refused[i].role);
	free(report->refused);
	*report = (struct fleet_pool_report){ 0 };
}

/* As a supervisor gives them; anything else is a failure that may pass. */
static status pool_failure_code(yyjson_val *value)
{
	static const struct {
		const char *text;
		status code;
	} codes[] = {
		{ "UNSUPPORTED", STATUS_UNSUPPORTED },
		{ "INVALID", STATUS_UNSUPPORTED }, /* a place where it cannot work */
		{ "IO", STATUS_IO },
		{ "NO_SPACE", STATUS_NO_SPACE },
	};
	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (yyjson_equals_str(value, codes[i].text))
			return codes[i].code;
	return STATUS_UNAVAILABLE;
}

static status read_pool_failure(yyjson_val *failure, struct error *ret, struct error *err)
{
	char message[FLEET_REASON_MAX] = "", hint[FLEET_REASON_MAX] = "";
	if (!yyjson_is_obj(failure))
		return error_set(err, STATUS_INVALID, 0, "\"error\" is not an object");
	status st = read_text(failure, "message", message, err);
	if (st == STATUS_OK)
		st = read_text(failure, "hint", hint, err);
	if (st != STATUS_OK)
		return st;
	error_fill(ret, pool_failure_code(yyjson_obj_get(failure, "code")), 0, "%s",
	        message[0] ? message : "the compute gave no reason");
	error_hint(ret, "%s", hint);
	return STATUS_OK;
}

static status read_refusals(yyjson_val *list, struct fleet_pool_report *report, struct error *err)
{
	size_t i, max;
	yyjson_val *item;
	if (!yyjson_is_arr(list))
		return error_set(err, STATUS_INVALID, 0, "\"refused\" is not a list");
	report->refused = xcalloc(yyjson_arr_size(list) + 1, sizeof *report->refused);
	yyjson_arr_foreach(list, i, max, item)
	{
		const char *role = yyjson_get_str(yyjson_obj_get(item, "role"));
		struct fleet_refusal *refusal = &report->refused[report->refused_count];
		if (!role)
			return error_set(err, STATUS_INVALID, 0, "a refusal names no \"role\"");
		status st = read_text(item, "message", refusal->message, err);
		if (st != STATUS_OK)
			return st;
		refusal->role = xstrdup(role);
		report->refused_count++;
	}
	return STATUS_OK;
}

static status read_pool(yyjson_val *object, struct fleet_pool_report *ret, struct error *err)
{
	CLEANUP(fleet_pool_report_done) struct fleet_pool_report report = { .id = -1 };
	status st = read_integer(object, "id", INT64_MAX, &report.id, err);
	if (st == STATUS_OK && report.id < 0)
		st = error_set(err, STATUS_INVALID, 0, "the answer to a \"pool\" has no \"id\"");
	if (st != STATUS_OK)
		return st;
	yyjson_val *failure = yyjson_obj_get(object, "error");
	st = failure ? read_pool_failure(failure, &report.failure, err)
	             : read_refusals(yyjson_obj_get(object, "refused"), &report, err);
	if (st != STATUS_OK)
		return st;
	*ret = report;
	report = (struct fleet_pool_report){ 0 };
	return STATUS_OK;
}

status fleet_report_parse_pool(
        struct slice line, bool *ret_is_pool, struct fleet_pool_report *ret, struct error *err)
{
	CLEANUP(doc_freep)
	yyjson_doc *doc = yyjson_read((const char *)line.data, line.len, YYJSON_READ_ALLOW_INVALID_UNICODE);
	yyjson_val *pool = yyjson_obj_get(yyjson_doc_get_root(doc), "pool");
	*ret_is_pool = yyjson_is_obj(pool);
	return *ret_is_pool ? read_pool(pool, ret, err) : STATUS_OK;
}

/*
 * The codes that a supervisor may give as text; anything else is a failure that may pass. A conflict too (a fold was faster): the fleet's
 * own STATUS_CONFLICT means asleep.
 */
static status point_failure_code(yyjson_val *value)
{
	static const struct {
		const char *text;
		status code;
	} codes[] = {
		{ "UNSUPPORTED", STATUS_UNSUPPORTED },
		{ "NO_SPACE", STATUS_NO_SPACE },
		{ "IO", STATUS_IO },
		{ "CORRUPT", STATUS_CORRUPT },
		{ "INTERNAL", STATUS_INTERNAL },
	};
	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (yyjson_equals_str(value, codes[i].text))
			return codes[i].code;
	return STATUS_UNAVAILABLE;
}

static status read_point(yyjson_val *object, struct fleet_point_report *ret, struct error *err)
{
	struct fleet_point_report report = { .id = -1 };
	int64_t timeline = 0;
	status st = read_integer(object, "id", INT64_MAX, &report.id, err);
	if (st == STATUS_OK && report.id < 0)
		st = error_set(err, STATUS_INVALID, 0, "the answer to a \"point\" has no \"id\"");
	if (st != STATUS_OK)
		return st;
	yyjson_val *failure = yyjson_obj_get(object, "error");
	if (failure) {
		char message[FLEET_REASON_MAX] = "";
		st = yyjson_is_obj(failure) ? read_text(failure, "message", message, err)
		                            : error_set(err, STATUS_INVALID, 0, "\"error\" is not an object");
		if (st == STATUS_OK)
			error_fill(&report.failure, point_failure_code(yyjson_obj_get(failure, "code")), 0,
			        "%s", message[0] ? message : "the compute gave no reason");
	} else {
		st = read_integer(object, "number", INT64_MAX, &report.point.number, err);
		if (st == STATUS_OK)
			st = read_lsn(object, "lsn", &report.point.lsn, err);
		if (st == STATUS_OK)
			st = read_integer(object, "timeline", UINT32_MAX, &timeline, err);
		if (st == STATUS_OK)
			st = read_integer(object, "time_usec", INT64_MAX, &report.point.time_usec, err);
		if (st == STATUS_OK && (timeline == 0 || report.point.lsn == 0))
			st = error_set(err, STATUS_INVALID, 0, "a restore point has no position");
		report.point.timeline = (uint32_t)timeline;
	}
	if (st == STATUS_OK)
		*ret = report;
	return st;
}

status fleet_report_parse_point(
        struct slice line, bool *ret_is_point, struct fleet_point_report *ret, struct error *err)
{
	CLEANUP(doc_freep)
	yyjson_doc *doc = yyjson_read((const char *)line.data, line.len, YYJSON_READ_ALLOW_INVALID_UNICODE);
	yyjson_val *point = yyjson_obj_get(yyjson_doc_get_root(doc), "point");
	*ret_is_point = yyjson_is_obj(point);
	return *ret_is_point ? read_point(point, ret, err) : STATUS_OK;
}

status fleet_report_parse(struct slice line, struct fleet_report *ret, struct error *err)
{
	/* A reason may quote what Postgres logged in another encoding; copy_printable() sorts that out. */
	CLEANUP(doc_freep)
	yyjson_doc *doc = yyjson_read((const char *)line.data, line.len, YYJSON_READ_ALLOW_INVALID_UNICODE);
	yyjson_val *root = yyjson_doc_get_root(doc);
	if (!yyjson_is_obj(root))
		return error_set(err, STATUS_INVALID, 0, "not a JSON object");
	struct fleet_report report = { 0 };
	int64_t pid = 0, postgres_pid = 0;
	status st = read_state(root, &report.state, err);
	if (st == STATUS_OK)
		st = read_text(root, "reason", report.reason, err);
	if (st == STATUS_OK)
		st = read_integer(root, "pid", INT_MAX, &pid, err);
	if (st == STATUS_OK)
		st = read_integer(root, "postgres_pid", INT_MAX, &postgres_pid, err);
	if (st == STATUS_OK)
		st = read_integer(root, "applied_revision", INT64_MAX, &report.applied_revision, err);
	if (st == STATUS_OK)
		st = read_last_active(root, &report.last_active_usec, err);
	if (st == STATUS_OK)
		st = read_timing(root, &report.timing, err);
	if (st == STATUS_OK)
		st = read_storage(root, &report.storage, err);
	if (st == STATUS_OK)
		st = read_pooler(root, &report.pooler, err);
	if (st != STATUS_OK)
		return st;
	report.pid = (pid_t)pid;
	report.postgres_pid = (pid_t)postgres_pid;
	*ret = report;
	return STATUS_OK;
}

status fleet_report_read(const char *last_exit_path, struct fleet_report *ret, struct error *err)
{
	CLEANUP(buffer_done) struct buffer content = { 0 };
	status st = file_read(last_exit_path, REPORT_MAX_BYTES, &content, err);
	if (st == STATUS_OK && fleet_report_parse(buffer_slice(&content), ret, err) != STATUS_OK)
		st = error_prefix(err, "file \"%s\"", last_exit_path);
	return st;
}

pid_t fleet_report_lock_pid(struct slice text)
{
	CLEANUP(doc_freep) yyjson_doc *doc = yyjson_read((const char *)text.data, text.len, 0);
	yyjson_val *root = yyjson_doc_get_root(doc);
	int64_t pid = 0;
	struct error err;
	if (!yyjson_is_obj(root) || read_integer(root, "pid", INT_MAX, &pid, &err) != STATUS_OK)
		return 0;
	return (pid_t)pid;
}

off_t fleet_log_size(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 ? st.st_size : 0;
}

static bool find_text(struct slice line, const char *text, size_t *ret_at)
{
	const uint8_t *at = line.len ? memmem(line.data, line.len, text, strlen(text)) : NULL;
	if (at)
		*ret_at = (size_t)(at - line.data);
	return at != NULL;
}

/* Clients that come while Postgres starts get a FATAL of their own, which is nobody's trouble. */
static bool is_complaint(struct slice line, struct slice *ret)
{
	size_t at, ignored;
	if (!find_text(line, "FATAL:", &at) && !find_text(line, "PANIC:", &at))
		return false;
	if (find_text(line, "the database system is ", &ignored))
		return false;
	*ret = (struct slice){ line.data + at, line.len - at };
	return true;
}

bool fleet_log_complaint(const char *path, off_t since, bool any_line, char ret[FLEET_REASON_MAX])
{
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	off_t from = st.st_size > LOG_TAIL_BYTES ? st.st_size - LOG_TAIL_BYTES : 0;
	if (since > from && since <= st.st_size) /* a smaller size than then: the log was begun anew */
		from = since;
	uint8_t tail[LOG_TAIL_BYTES];
	ssize_t len = pread(fd, tail, sizeof tail, from);
	struct slice last_line = { 0 }, complaint = { 0 };
	for (size_t start = 0, i = 0; len > 0 && i <= (size_t)len; i++) {
		if (i < (size_t)len && tail[i] != '\n')
			continue;
		struct slice line = { tail + start, i - start };
		start = i + 1;
		if (line.len == 0)
			continue;
		last_line = line;
		struct slice found;
		if (is_complaint(line, &found))
			complaint = found;
	}
	if (complaint.len == 0 && any_line)
		complaint = last_line;
	if (complaint.len == 0)
		return false;
	copy_printable(complaint, ret);
	return true;
}
