/*
 * Fleet, inside: fleet.c keeps the members and answers callers, fleet_member.c is the state machine of one of them.
 */
#pragma once

#include <sys/queue.h>
#include <sys/types.h>
#include <uv.h>

#include "base/base.h"
#include "control_plane/fleet.h"
#include "control_plane/fleet_report.h"
#include "loop/line_channel.h"
#include "loop/process_watch.h"

enum waiter_kind { WAIT_OPEN, WAIT_SUSPEND, WAIT_APPLY, WAIT_POINT, WAIT_FLUSH, WAIT_POOL, WAIT_SHUT_DOWN };

/* One callback that is owed. It stands in its member's list, then in the fleet's list of those that are due. */
struct waiter {
	STAILQ_ENTRY(waiter) link;
	enum waiter_kind kind;
	fleet_done_fn done;
	void *arg;
	char uid[FLEET_UID_MAX + 1];   /* empty: the callback gets NULL */
	int64_t revision;              /* of an apply that was sent; -1 before */
	fleet_point_fn point_done;     /* of a point or flush, in place of done */
	int64_t request;               /* of a point, flush or pool that was sent; 0 before */
	struct fleet_point point;      /* the answer, unless has_failed */
	char role[FLEET_ROLE_MAX + 1]; /* of a pool */
	bool has_failed;
	struct error err; /* counts when has_failed */
};
STAILQ_HEAD(waiter_list, waiter);

/*
 * Facts that hold (member_check)
 *   ASLEEP     nothing is engaged, no timer runs
 *   STARTING   engaged, or the retry timer runs (back-off)
 *   RUNNING, STOPPING   engaged
 *   engaged    as far as we know a supervisor process exists: with a watch, unless its pid is not known yet; with a channel,
 *              or the retry timer runs to connect again, or the process has ended and only its last words are awaited
 */
struct member {
	uint32_t magic;
	struct fleet *fleet;
	struct fleet_member seen; /* what others see; seen.state is written by member_set_state() alone */
	char uid[FLEET_UID_MAX + 1];
	char *folder; /* DIR/computes/UID */
	struct waiter_list waiters;
	TAILQ_ENTRY(member) step_link;
	bool needs_step; /* stands in the fleet's list of steps */
	bool is_gone;    /* forgotten or abandoned: freed when its handles are closed */
	int open_handles;

	/* The supervisor process, all cleared when none is engaged. */
	bool is_engaged, is_child, has_ended, has_served, is_suspend_sent, is_suspending;
	bool has_report; /* it has said something since it was engaged */
	struct fleet_report report;
	struct line_channel *channel;
	struct process_watch *watch;
	int exit_status;
	int64_t start_usec, ready_usec; /* monotonic */
	off_t postgres_log_size,
	        supervisor_log_size; /* when it was started: what is older is not its complaint */
	const char *kill_reason;     /* why we killed it; NULL: we did not */

	bool wants_start; /* should be up although nobody waits: it died while it served */
	bool must_stop;   /* the fleet shuts down */
	int failures;     /* starts in a row that ended before "ready" */
	int streak;       /* restarts in a row without a time of quiet; the back-off grows with it */
	int reconnects;   /* in a row without a valid line */

	uv_timer_t retry;     /* not engaged: the next start; engaged: the next attempt to connect */
	uv_timer_t deadline;  /* silence, or last words without an end */
	uv_timer_t applying;  /* an apply without an answer */
	uv_timer_t pointing;  /* a point or flush without an answer */
	uv_timer_t pooling;   /* a pool without an answer */
	int64_t pool_request; /* the one pool that was sent and has no answer yet; 0: none */
};

struct fleet {
	uint32_t magic;
	uv_loop_t *loop;
	const struct data_directory *dd;
	char *binary_path;
	const struct fleet_events *events;
	void *owner;
	uid_t postgres_uid;
	bool has_postgres_user;  /* else Postgres runs as ourselves */
	struct member **members; /* in the order of the uids */
	size_t count, capacity;
	size_t gone_members; /* let go, but not freed yet */
	TAILQ_HEAD(member_steps, member) steps;
	struct waiter_list due, shut_down_waiters;
	uv_timer_t turn; /* fires at once when there are steps or due callbacks */
	int64_t patience_ms;
	int64_t last_request; /* id of the last point, flush or pool that was sent */
	int64_t pooler_clients_ended;
	bool is_shutting_down, is_abandoned, is_turn_closed;
};

/* fleet.c */
void fleet_need_step(struct member *m); /* member_step() will be called from the loop */
void fleet_owe(struct fleet *fleet, struct waiter *waiter,
        const struct error *err);                /* takes waiter; err may be NULL */
void fleet_check_shut_down(struct fleet *fleet); /* after a member has fallen asleep */
void fleet_member_freed(struct fleet *fleet);    /* the last handle of a member that is gone was closed */

/* fleet_member.c */
struct member *member_of(void *p); /* of a callback, checked */
MUST_CHECK status member_create(
        struct fleet *fleet, const char *uid, bool was_running, struct member **ret, struct error *err);
void member_step(struct member *m);
void member_answer(struct member *m, enum waiter_kind kind, const struct error *err); /* all of that kind */
void member_let_go(
        struct member *m); /* closes everything, leaves the supervisor alone; frees itself from the loop */

/* fleet_apply.c */
void member_send_applies(struct member *m); /* those that were not sent yet; it has a channel */
/* Those that were sent and whose revision the supervisor has reached; with err, all that were sent. */
void member_answer_applies(struct member *m, const struct error *err);

/* fleet_point.c */
void member_send_points(struct member *m); /* those that were not sent yet; it has a channel */
void member_take_point(struct member *m, const struct fleet_point_report *report);
void member_forget_points(
        struct member *m); /* the channel is gone: those that were sent will be sent again */
void member_refuse_points(struct member *m); /* it is asleep */

/* fleet_pool.c */
void member_send_pools(struct member *m); /* all that wait, in one question; it has a channel */
void member_take_pool(struct member *m, const struct fleet_pool_report *report);
void member_forget_pools(struct member *m); /* the channel is gone: it will be asked again */
void member_refuse_pools(struct member *m); /* it is asleep */
