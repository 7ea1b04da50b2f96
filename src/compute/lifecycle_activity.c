/* Who uses the compute, when nobody has for long enough, and the pooler, which has a say in that. */
#include "base/clock.h"
#include "base/log.h"
#include "compute/lifecycle_internal.h"
#include "compute/pooler_program.h"
#include "compute/postgres_log.h"

#define ACTIVE_NEWS_USEC (5 * USEC_PER_SEC) /* last_active_time is told no more often */

/* ---- the pooler ---- */

static void pool_answered(void *owner, uint64_t ticket, const char *socket_folder,
        const struct pooler_verdict *verdicts, size_t count, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	if (lc->hub && err)
		report_hub_answer_error(lc->hub, ticket, err);
	else if (lc->hub)
		report_hub_answer_pool(lc->hub, ticket, socket_folder, verdicts, count);
}

void lifecycle_take_pool(void *owner, uint64_t ticket, const char *const *roles, size_t count)
{
	struct lifecycle *lc = lifecycle_of(owner);
	struct error err;
	error_fill(&err, STATUS_UNAVAILABLE, 0, "the compute is not ready");
	if (lc->pooler)
		pooler_ask(lc->pooler, roles, count, ticket, pool_answered, lc);
	else
		report_hub_answer_error(lc->hub, ticket, &err);
}

static void pooler_changed(void *owner)
{
	struct lifecycle *lc = lifecycle_of(owner);
	if (!lifecycle_is_over(lc))
		lifecycle_tell(lc);
}

static void pooler_closed(void *owner)
{
	struct lifecycle *lc = lifecycle_of(owner);
	if (--lc->open_handles == 0)
		lifecycle_let_go(lc);
}

/* Without a user for it nobody can be let in by it; who asks is told. */
void lifecycle_create_pooler(struct lifecycle *lc)
{
	struct error ignored;
	const struct settings *settings = &lc->options.dd->settings;
	bool has_user = pooler_user_find(&lc->user, &lc->pooler_user, &ignored) == STATUS_OK;
	lc->has_pooler_user = has_user && lc->user.is_other;
	const struct pooler_options options = { .folder = lc->folder,
		.postgres_socket_folder = lc->socket_folder,
		.postgres_user = lc->user,
		.user = has_user ? &lc->pooler_user : NULL,
		.clients_max = settings->pooler_clients,
		.wait_sec = settings->pooler_wait_sec,
		.on_change = pooler_changed,
		.on_closed = pooler_closed,
		.owner = lc };
	lc->pooler = pooler_create(lc->loop, &options);
	lc->open_handles++;
}

/* ---- inactivity ---- */

static status work_look(void *input, struct error *err)
{
	struct lifecycle *lc = lifecycle_of(input);
	return activity_look(lc->monitor, &lc->sight, err);
}

static void start_anew(struct lifecycle *lc, const char *reason)
{
	log_info("%s", reason);
	lifecycle_set_state(lc, COMPUTE_STARTING, reason);
	lifecycle_tell(lc);
	lc->is_restarting = true;
	lifecycle_shut_down(lc);
}

/* False: it ends, or begins anew. */
static bool judge_activity(struct lifecycle *lc)
{
	const struct pooler_seen *pooled = pooler_seen(lc->pooler);
	lc->sight.sessions_begun -=
	        lc->own_sessions + storage_sessions(lc->storage) + pooler_sessions(lc->pooler);
	lc->sight.pooled_ended = pooled->ended;
	lc->sight.pooled_queries = pooled->counts.queries;
	int64_t timeout = lc->spec->suspend_timeout_sec * USEC_PER_SEC;
	enum activity_verdict verdict = activity_judge(&lc->activity, &lc->sight, timeout, clock_wall_usec());
	lc->report.last_active_usec = lc->activity.last_active_usec;
	if (verdict == ACTIVITY_SUSPEND && !lc->must_apply) {
		lifecycle_suspend_for(lc, "inactive");
		return false;
	}
	if (lc->sight.has_subscriptions && lc->start.has_no_replication_workers) {
		start_anew(lc, "a subscription was created, whose workers need a new start");
		return false;
	}
	if (lc->report.last_active_usec - lc->told_active_usec >= ACTIVE_NEWS_USEC)
		lifecycle_tell(lc);
	return true;
}

static void look_ended(struct lifecycle *lc)
{
	struct error err;
	if (postgres_log_bound(lc->log_path, &err) != STATUS_OK)
		log_warning("%s", err.message);
	lifecycle_schedule_look(lc);
	lifecycle_step(lc);
}

/* Now both were looked at, the pooler last: what it has closed since Postgres was looked at is known to be its. */
static void pooler_looked(void *owner)
{
	struct lifecycle *lc = lifecycle_of(owner);
	bool is_current = lc->report.state == COMPUTE_READY && lc->watch && lc->shutdown_signals == 0 &&
	                  !lc->suspend_reason && lc->pooler;
	if (is_current && !lc->is_job_running && !judge_activity(lc))
		return;
	if (is_current)
		look_ended(lc);
}

static void look_done(void *owner, void *input, const struct error *err)
{
	struct lifecycle *lc = lifecycle_of(owner);
	(void)input;
	lc->is_looking = false;
	if (!lifecycle_job_ended(lc))
		return;
	if (err) /* not knowing is no reason to suspend */
		log_warning("could not look for activity: %s", err->message);
	else if (pooler_look(lc->pooler, pooler_looked, lc))
		return;
	else if (!judge_activity(lc))
		return;
	look_ended(lc);
}

static void look_due(uv_timer_t *timer)
{
	struct lifecycle *lc = lifecycle_of(timer->data);
	if (lc->report.state != COMPUTE_READY || lc->shutdown_signals > 0)
		return;
	if (lc->is_job_running) {
		lifecycle_schedule_look(lc);
		return;
	}
	lc->is_looking = true;
	lifecycle_run_job(lc, work_look, look_done);
}

void lifecycle_schedule_look(struct lifecycle *lc)
{
	int64_t timeout = lc->spec->suspend_timeout_sec * USEC_PER_SEC;
	int64_t wait = activity_next_look_usec(&lc->activity, timeout, clock_wall_usec());
	(void)uv_timer_start(&lc->look, look_due, (uint64_t)((wait + 999) / 1000), 0);
}
