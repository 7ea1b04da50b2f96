/*
 * Report: the supervisor's state as it tells it, one line of JSON (docs/architecture.md, "supervisor.sock"), and who is told:
 * every connection gets the whole line when it comes and whenever something in it changed.
 *
 * Threads: the loop's.
 */
#pragma once

#include <sys/types.h>
#include <uv.h>

#include "base/base.h"
#include "base/buffer.h"
#include "compute/pooler.h"

enum compute_state { COMPUTE_STARTING, COMPUTE_READY, COMPUTE_SUSPENDING, COMPUTE_STOPPED, COMPUTE_FAILED };

/* Member "storage". */
struct storage_report {
	int64_t points; /* -1: not known, then only the alarm is told */
	uint64_t newest_lsn;
	int64_t replay_estimate_usec;
	int64_t point_cost_usec; /* of the last one that was made; 0: not known */
	double replay_speed_mb_s;
	int64_t depth, open_pages, logical_bytes;
	char alarm[384];
};

#define REPORT_REASON_MAX 384

struct compute_report {
	enum compute_state state;
	char reason[REPORT_REASON_MAX];
	pid_t postgres_pid;       /* 0: none */
	pid_t pagefs_pid;         /* 0: none */
	int64_t last_active_usec; /* 0: not known */
	int64_t applied_revision;
	double prepare_ms, postgres_ms, reconcile_ms; /* where the last start's time went */
	struct storage_report storage;
	struct pooler_seen pooler;
};

/* Without a newline. */
void compute_report_format(const struct compute_report *report, struct buffer *out);

enum report_order { ORDER_SUSPEND, ORDER_APPLY, ORDER_POINT, ORDER_FLUSH, ORDER_POOL };

struct report_events {
	/* A point and a flush are answered: once, with report_hub_answer_*() and their ticket. */
	void (*on_order)(void *owner, enum report_order order, uint64_t ticket);
	/* May these roles use the pooler? Answered once; roles are the hub's. */
	void (*on_pool)(void *owner, uint64_t ticket, const char *const *roles, size_t count);
	/* After report_hub_finish(): everything has been sent or given up. */
	void (*on_finished)(void *owner);
};

struct report_hub;
/*
 * Listens on TARN_LISTEN_FD if that is set, else on a socket of its own at socket_path. `report` is the owner's, read whenever a
 * line is made.
 */
MUST_CHECK status report_hub_open(uv_loop_t *loop, const char *socket_path,
        const struct compute_report *report, const struct report_events *events, void *owner,
        struct report_hub **ret, struct error *err);
void report_hub_send(struct report_hub *hub); /* to everybody */

/* The answer goes to the connection that asked, if it is still there. */
struct report_point {
	uint64_t number, lsn;
	uint32_t timeline;
	int64_t time_usec;
};
void report_hub_answer_point(struct report_hub *hub, uint64_t ticket, const struct report_point *point);
void report_hub_answer_pool(struct report_hub *hub, uint64_t ticket, const char *socket_folder,
        const struct pooler_verdict *verdicts, size_t count);
void report_hub_answer_error(struct report_hub *hub, uint64_t ticket, const struct error *err);
/* Sends what waits, closes everything; on_finished comes from the loop, the hub frees itself after it. */
void report_hub_finish(struct report_hub *hub);
