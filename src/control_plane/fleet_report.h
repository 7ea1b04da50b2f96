/*
 * Fleet report: what a supervisor says about itself (docs/architecture.md, "supervisor.sock"), read strictly:
 * the state lines, the same line in last_exit.json, and, for a person, why a start failed according to the
 * logs.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

enum fleet_report_state { REPORT_STARTING, REPORT_READY, REPORT_SUSPENDING, REPORT_STOPPED, REPORT_FAILED };

#define FLEET_REASON_MAX 256

/* Where the time of a start went, in milliseconds. */
struct fleet_timing {
	double prepare_ms, postgres_ms, reconcile_ms; /* as the supervisor measured them */
	double start_ms; /* as control saw it: from the decision to start to "ready" */
};

struct fleet_report {
	enum fleet_report_state state;
	char reason[FLEET_REASON_MAX]; /* printable, may be empty; longer ones are cut */
	pid_t pid, postgres_pid;       /* 0: not said */
	int64_t last_active_usec;      /* 0: not said */
	int64_t applied_revision;      /* 0: not said */
	struct fleet_timing timing;
};

/* STATUS_INVALID, with what is wrong, when the line is not an object with a known state and members of the
 * right types. */
MUST_CHECK status fleet_report_parse(struct slice line, struct fleet_report *ret, struct error *err);
/* STATUS_NOT_FOUND when there is none. */
MUST_CHECK status fleet_report_read(const char *last_exit_path, struct fleet_report *ret, struct error *err);
static inline bool fleet_report_is_last(const struct fleet_report *report)
{
	return report->state == REPORT_STOPPED || report->state == REPORT_FAILED;
}

/* The "pid" in the text of a supervisor's lock; 0 when there is none. */
pid_t fleet_report_lock_pid(struct slice text);

/* Size of a log now, to be given to fleet_log_complaint() later; 0 when there is none. */
off_t fleet_log_size(const char *path);
/*
 * What a log says since it was `since` bytes long, from its last 16 KiB: the last FATAL or PANIC message,
 * without what stands before it; with `any_line`, else the last line. Printable. False when there is nothing.
 */
bool fleet_log_complaint(const char *path, off_t since, bool any_line, char ret[FLEET_REASON_MAX]);
