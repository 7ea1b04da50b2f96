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

enum compute_state { COMPUTE_STARTING, COMPUTE_READY, COMPUTE_SUSPENDING, COMPUTE_STOPPED, COMPUTE_FAILED };

struct compute_report {
	enum compute_state state;
	char reason[384];
	pid_t postgres_pid;       /* 0: none */
	int64_t last_active_usec; /* 0: not known */
	int64_t applied_revision;
	double prepare_ms, postgres_ms, reconcile_ms; /* where the last start's time went */
};

/* Without a newline. */
void compute_report_format(const struct compute_report *report, struct buffer *out);

enum report_order { ORDER_SUSPEND, ORDER_APPLY };

struct report_events {
	void (*on_order)(void *owner, enum report_order order);
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
/* Sends what waits, closes everything; on_finished comes from the loop, the hub frees itself after it. */
void report_hub_finish(struct report_hub *hub);
