/* Reports of supervisors: what is accepted is in its range, printable, and the same again after it was written out. */
#include <stdlib.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "control_plane/fleet_report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text)
{
	if (strlen(text) >= FLEET_REASON_MAX)
		abort();
	for (const char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			abort();
}

static void append_escaped(struct buffer *out, const char *text)
{
	for (const char *c = text; *c; c++)
		buffer_printf(out, *c == '"' || *c == '\\' ? "\\%c" : "%c", *c);
}

/* The reason has been made printable, so reading it again must change nothing. */
static void check_again(const struct fleet_report *report)
{
	static const char *const names[] = { "starting", "ready", "suspending", "stopped", "failed" };
	CLEANUP(buffer_done) struct buffer line = { 0 };
	char active[CLOCK_TEXT_MAX];
	clock_format_timestamp(report->last_active_usec, active);
	buffer_printf(&line,
	        "{\"state\":\"%s\",\"pid\":%d,\"postgres_pid\":%d,\"applied_revision\":%lld,\"last_active_"
	        "time\":\"%s\","
	        "\"reason\":\"",
	        names[report->state], (int)report->pid, (int)report->postgres_pid,
	        (long long)report->applied_revision, active);
	append_escaped(&line, report->reason);
	buffer_append_text(&line, "\"}");
	struct fleet_report again;
	struct error err;
	if (fleet_report_parse(buffer_slice(&line), &again, &err) != STATUS_OK ||
	        again.state != report->state || again.pid != report->pid ||
	        again.postgres_pid != report->postgres_pid ||
	        again.applied_revision != report->applied_revision ||
	        again.last_active_usec != report->last_active_usec ||
	        strcmp(again.reason, report->reason) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice line = { data, size };
	struct fleet_report report;
	struct error err = { 0 };
	if (fleet_report_lock_pid(line) < 0)
		abort();
	struct fleet_point_report point;
	bool is_point = false;
	status st = fleet_report_parse_point(line, &is_point, &point, &err);
	if (st != STATUS_OK && (st != STATUS_INVALID || !is_point || err.message[0] == '\0'))
		abort();
	if (st == STATUS_OK && is_point) {
		check_text(point.failure.message);
		if (point.id < 0 || (point.failure.code == STATUS_OK &&
		                            (point.point.lsn == 0 || point.point.timeline == 0 ||
		                                    point.point.number < 0)))
			abort();
	}
	CLEANUP(fleet_pool_report_done) struct fleet_pool_report pool = { 0 };
	bool is_pool = false;
	st = fleet_report_parse_pool(line, &is_pool, &pool, &err);
	if (st != STATUS_OK && (st != STATUS_INVALID || !is_pool || err.message[0] == '\0'))
		abort();
	if (st == STATUS_OK && is_pool && pool.id < 0)
		abort();
	for (size_t i = 0; i < pool.refused_count; i++)
		check_text(pool.refused[i].message);
	if (fleet_report_parse(line, &report, &err) != STATUS_OK) {
		if (err.code != STATUS_INVALID || err.message[0] == '\0')
			abort();
		return 0;
	}
	if (report.pid < 0 || report.postgres_pid < 0 || report.applied_revision < 0 ||
	        report.last_active_usec < 0)
		abort();
	check_text(report.reason);
	check_text(report.storage.alarm);
	if (report.pooler.clients < 0 || report.pooler.queries < 0 || report.pooler.clients_ended < 0)
		abort();
	if (report.storage.points < 0 || report.storage.depth < 0 || report.storage.logical_bytes < 0)
		abort();
	check_again(&report);
	return 0;
}
