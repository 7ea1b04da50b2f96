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

/* What the compute's volume says of itself. */
struct fleet_storage {
	bool is_known;                                /* there is a restore point; else all of it is 0 */
	int64_t points;                               /* restore points */
	uint64_t newest_lsn;                          /* of the newest one */
	double replay_estimate_ms, replay_speed_mb_s; /* what a crash would cost now */
	double point_cost_ms;                         /* what the last restore point took; 0: not known */
	int64_t depth, open_pages, logical_bytes;
	char alarm[FLEET_REASON_MAX]; /* for a person, printable; may be empty */
};

/* The answer to "point" and "flush". */
struct fleet_point {
	int64_t number; /* of the restore point; 0: a flush made none */
	uint64_t lsn;   /* everything committed before the request is before it, on disk and in the archive */
	uint32_t timeline;
	int64_t time_usec;
};
struct fleet_point_report {
	int64_t id; /* of the request */
	struct fleet_point point;
	struct error failure; /* code STATUS_OK: none */
};

/* What the compute's pooler says of itself. */
struct fleet_pooler {
	int64_t pid;         /* 0: it does not run */
	int64_t connections; /* that the pools of a database may have; 0: nobody has used the pooler */
	int64_t clients, waiting, longest_wait_usec, servers_active, servers_idle;
	/* Since the compute was started: */
	int64_t transactions, queries, wait_usec, received_bytes, sent_bytes;
	int64_t clients_ended; /* with the pooler */
};

/* The answer to "pool". */
struct fleet_refusal {
	char *role;
	char message[FLEET_REASON_MAX];
};
struct fleet_pool_report {
	int64_t id; /* of the request */
	struct fleet_refusal *refused;
	size_t refused_count;
	struct error failure; /* of all; code STATUS_OK: none */
};
void fleet_pool_report_done(struct fleet_pool_report *report); /* for CLEANUP */

struct fleet_report {
	enum fleet_report_state state;
	char reason[FLEET_REASON_MAX]; /* printable, may be empty; longer ones are cut */
	pid_t pid, postgres_pid;       /* 0: not said */
	int64_t last_active_usec;      /* 0: not said */
	int64_t applied_revision;      /* 0: not said */
	struct fleet_timing timing;
	struct fleet_storage storage;
	struct fleet_pooler pooler;
};

/* STATUS_INVALID, with what is wrong, when the line is not an object with a known state and members of the
 * right types. */
MUST_CHECK status fleet_report_parse(struct slice line, struct fleet_report *ret, struct error *err);
/* Is the line an answer to "point" or "flush"? Then *ret is filled, or STATUS_INVALID says what is wrong with it. */
MUST_CHECK status fleet_report_parse_point(
        struct slice line, bool *ret_is_point, struct fleet_point_report *ret, struct error *err);
/* The same for "pool". The caller frees what was filled. */
MUST_CHECK status fleet_report_parse_pool(
        struct slice line, bool *ret_is_pool, struct fleet_pool_report *ret, struct error *err);
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
