#include "control_plane/fleet.h"

#include <assert.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "control_plane/fleet_internal.h"

#define FLEET_MAGIC         0x666c6565u
#define DEFAULT_PATIENCE_MS 30000

static struct fleet *fleet_of(void *p)
{
	struct fleet *fleet = p;
	assert(fleet && fleet->magic == FLEET_MAGIC);
	return fleet;
}

const char *fleet_state_name(enum fleet_state state)
{
	static const char *const names[] = {
		[FLEET_ASLEEP] = "asleep",
		[FLEET_STARTING] = "starting",
		[FLEET_RUNNING] = "running",
		[FLEET_STOPPING] = "stopping",
	};
	return (size_t)state < ARRAY_LEN(names) ? names[state] : "unknown";
}

/* Index of the first member whose uid is not below `uid`. */
static size_t find_place(const struct fleet *fleet, const char *uid)
{
	size_t low = 0, high = fleet->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(fleet->members[middle]->uid, uid) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct member *find(const struct fleet *fleet, const char *uid)
{
	size_t place = find_place(fleet, uid);
	bool is_here = place < fleet->count && strcmp(fleet->members[place]->uid, uid) == 0;
	return is_here ? fleet->members[place] : NULL;
}

static void free_when_empty(struct fleet *fleet)
{
	if (!fleet->is_abandoned || !fleet->is_turn_closed || fleet->gone_members > 0)
		return;
	assert(fleet->count == 0 && STAILQ_EMPTY(&fleet->due) && TAILQ_EMPTY(&fleet->steps));
	fleet->magic = 0;
	free(fleet->members);
	free(fleet->binary_path);
	free(fleet);
}

void fleet_member_freed(struct fleet *fleet)
{
	fleet->gone_members--;
	free_when_empty(fleet);
}

static void turn_closed(uv_handle_t *handle)
{
	struct fleet *fleet = fleet_of(handle->data);
	fleet->is_turn_closed = true;
	free_when_empty(fleet);
}

static void call_next_due(struct fleet *fleet)
{
	struct waiter *waiter = STAILQ_FIRST(&fleet->due);
	STAILQ_REMOVE_HEAD(&fleet->due, link);
	const char *uid = waiter->uid[0] ? waiter->uid : NULL;
	const struct error *err = waiter->has_failed ? &waiter->err : NULL;
	if (waiter->point_done)
		waiter->point_done(waiter->arg, uid, err ? NULL : &waiter->point, err);
	else
		waiter->done(waiter->arg, uid, err);
	free(waiter);
}

/*
 * Callbacks first, so that who asked for a suspension can act on it before an open that waits starts the compute again.
 * Only what stood in the lists at the beginning: what the callbacks add waits for the next turn, others get theirs.
 */
static void take_turn(uv_timer_t *turn)
{
	struct fleet *fleet = fleet_of(turn->data);
	size_t due = 0, steps = 0;
	const struct waiter *waiter;
	STAILQ_FOREACH (waiter, &fleet->due, link)
		due++;
	for (; due > 0; due--)
		call_next_due(fleet);
	struct member *m;
	TAILQ_FOREACH (m, &fleet->steps, step_link)
		steps++;
	for (; steps > 0 && (m = TAILQ_FIRST(&fleet->steps)); steps--) {
		TAILQ_REMOVE(&fleet->steps, m, step_link);
		m->needs_step = false;
		member_step(m);
	}
	if (!STAILQ_EMPTY(&fleet->due) || !TAILQ_EMPTY(&fleet->steps))
		(void)uv_timer_start(&fleet->turn, take_turn, 0, 0);
	else if (fleet->is_abandoned && !uv_is_closing((uv_handle_t *)&fleet->turn))
		uv_close((uv_handle_t *)&fleet->turn, turn_closed);
}

static void schedule_turn(struct fleet *fleet)
{
	if (!uv_is_closing((uv_handle_t *)&fleet->turn))
		(void)uv_timer_start(&fleet->turn, take_turn, 0, 0);
}

void fleet_need_step(struct member *m)
{
	if (m->needs_step || m->is_gone)
		return;
	m->needs_step = true;
	TAILQ_INSERT_TAIL(&m->fleet->steps, m, step_link);
	schedule_turn(m->fleet);
}

void fleet_owe(struct fleet *fleet, struct waiter *waiter, const struct error *err)
{
	waiter->has_failed = err != NULL;
	if (err)
		waiter->err = *err;
	STAILQ_INSERT_TAIL(&fleet->due, waiter, link);
	schedule_turn(fleet);
}

void fleet_check_shut_down(struct fleet *fleet)
{
	if (!fleet->is_shutting_down || STAILQ_EMPTY(&fleet->shut_down_waiters))
		return;
	for (size_t i = 0; i < fleet->count; i++)
		if (fleet->members[i]->seen.state != FLEET_ASLEEP)
			return;
	while (!STAILQ_EMPTY(&fleet->shut_down_waiters)) {
		struct waiter *waiter = STAILQ_FIRST(&fleet->shut_down_waiters);
		STAILQ_REMOVE_HEAD(&fleet->shut_down_waiters, link);
		fleet_owe(fleet, waiter, NULL);
	}
}

static status find_postgres_user(struct fleet *fleet, const char *user, struct error *err)
{
	struct passwd entry, *found;
	char texts[16384];
	int rc = getpwnam_r(user, &entry, texts, sizeof texts, &found);
	if (!found) {
		error_fill(err, STATUS_NOT_FOUND, rc, "system user \"%s\" does not exist", user);
		error_hint(err, "Create it, or set another one: tarn up --set postgres_user=NAME.");
		return err->code;
	}
	fleet->postgres_uid = entry.pw_uid;
	fleet->has_postgres_user = true;
	return STATUS_OK;
}

status fleet_create(uv_loop_t *loop, const struct data_directory *dd, const char *binary_path,
        const struct fleet_events *events, void *owner, struct fleet **ret, struct error *err)
{
	struct fleet *fleet = xcalloc(1, sizeof *fleet);
	*fleet = (struct fleet){ .magic = FLEET_MAGIC,
		.loop = loop,
		.dd = dd,
		.events = events,
		.owner = owner,
		.patience_ms = DEFAULT_PATIENCE_MS };
	STAILQ_INIT(&fleet->due);
	STAILQ_INIT(&fleet->shut_down_waiters);
	TAILQ_INIT(&fleet->steps);
	if (dd->settings.postgres_user &&
	        find_postgres_user(fleet, dd->settings.postgres_user, err) != STATUS_OK) {
		free(fleet);
		return err->code;
	}
	fleet->binary_path = xstrdup(binary_path);
	(void)uv_timer_init(loop, &fleet->turn);
	fleet->turn.data = fleet;
	*ret = fleet;
	return STATUS_OK;
}

static bool is_uid(const char *uid)
{
	size_t len = strspn(uid, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
	return len > 0 && len <= FLEET_UID_MAX && uid[len] == '\0';
}

status fleet_register(struct fleet *fleet, const char *uid, bool was_running, struct error *err)
{
	if (!is_uid(uid))
		return error_set(err, STATUS_INVALID, 0, "\"%s\" is not an endpoint uid", uid);
	if (find(fleet, uid))
		return STATUS_OK;
	struct member *m;
	if (member_create(fleet, uid, was_running, &m, err) != STATUS_OK)
		return error_prefix(err, "could not prepare the compute of endpoint \"%s\"", uid);
	if (fleet->count == fleet->capacity) {
		fleet->capacity = fleet->capacity ? fleet->capacity * 2 : 16;
		fleet->members = xrealloc(fleet->members, fleet->capacity * sizeof(struct member *));
	}
	size_t place = find_place(fleet, uid);
	memmove(fleet->members + place + 1, fleet->members + place,
	        (fleet->count - place) * sizeof(struct member *));
	fleet->members[place] = m;
	fleet->count++;
	return STATUS_OK;
}

/* Takes it out of the list; the memory goes when the loop has closed its handles. */
static void drop(struct fleet *fleet, size_t place)
{
	struct member *m = fleet->members[place];
	fleet->count--;
	memmove(fleet->members + place, fleet->members + place + 1,
	        (fleet->count - place) * sizeof(struct member *));
	if (m->needs_step) {
		TAILQ_REMOVE(&fleet->steps, m, step_link);
		m->needs_step = false;
	}
	fleet->gone_members++;
	member_let_go(m);
}

static void answer_all(struct member *m, const struct error *err)
{
	member_answer(m, WAIT_POINT, err);
	member_answer(m, WAIT_FLUSH, err);
	member_answer(m, WAIT_POOL, err);
	member_answer(m, WAIT_OPEN, err);
	member_answer(m, WAIT_SUSPEND, err);
	member_answer(m, WAIT_APPLY, err);
}

status fleet_forget(struct fleet *fleet, const char *uid, struct error *err)
{
	struct member *m = find(fleet, uid);
	if (!m)
		return error_set(err, STATUS_NOT_FOUND, 0, "endpoint \"%s\" is not known", uid);
	if (m->seen.state != FLEET_ASLEEP)
		return error_set(err, STATUS_CONFLICT, 0, "the compute of endpoint \"%s\" is %s", uid,
		        fleet_state_name(m->seen.state));
	status st = tree_remove(m->folder, err);
	if (st != STATUS_OK)
		return st;
	struct error gone;
	error_fill(&gone, STATUS_NOT_FOUND, 0, "endpoint \"%s\" has been deleted", uid);
	answer_all(m, &gone);
	drop(fleet, find_place(fleet, uid));
	return STATUS_OK;
}

const struct fleet_member *fleet_look(const struct fleet *fleet, const char *uid)
{
	const struct member *m = find(fleet, uid);
	return m ? &m->seen : NULL;
}

void fleet_each(const struct fleet *fleet, void (*fn)(void *arg, const struct fleet_member *), void *arg)
{
	for (size_t i = 0; i < fleet->count; i++)
		fn(arg, &fleet->members[i]->seen);
}

int64_t fleet_pooler_clients_ended(const struct fleet *fleet)
{
	return fleet->pooler_clients_ended;
}

char *fleet_socket_dir(const struct fleet *fleet, const char *uid)
{
	return data_directory_path(fleet->dd, "computes/%s/socket", uid);
}

char *fleet_pooler_dir(const struct fleet *fleet, const char *uid)
{
	return data_directory_path(fleet->dd, "computes/%s/pooler", uid);
}

static struct waiter *waiter_new(enum waiter_kind kind, const char *uid, fleet_done_fn done, void *arg)
{
	struct waiter *waiter = xcalloc(1, sizeof *waiter);
	*waiter = (struct waiter){ .kind = kind, .done = done, .arg = arg, .revision = -1 };
	if (uid)
		(void)snprintf(waiter->uid, sizeof waiter->uid, "%s", uid);
	return waiter;
}

/* Puts the callback into the list of the endpoint; answers it when there is no such endpoint. */
static void ask_with(struct fleet *fleet, const char *uid, struct waiter *waiter)
{
	enum waiter_kind kind = waiter->kind;
	struct error err;
	struct member *m = find(fleet, uid);
	if (!m) {
		error_fill(&err, STATUS_NOT_FOUND, 0, "endpoint \"%s\" is not known", uid);
		fleet_owe(fleet, waiter, &err);
	} else if (kind == WAIT_OPEN && fleet->is_shutting_down) {
		error_fill(&err, STATUS_UNAVAILABLE, 0, "Tarn is shutting down");
		fleet_owe(fleet, waiter, &err);
	} else {
		STAILQ_INSERT_TAIL(&m->waiters, waiter, link);
		fleet_need_step(m);
	}
}

static void ask(struct fleet *fleet, const char *uid, enum waiter_kind kind, fleet_done_fn done, void *arg)
{
	ask_with(fleet, uid, waiter_new(kind, uid, done, arg));
}

void fleet_open(struct fleet *fleet, const char *uid, fleet_done_fn done, void *arg)
{
	ask(fleet, uid, WAIT_OPEN, done, arg);
}

void fleet_suspend(struct fleet *fleet, const char *uid, fleet_done_fn done, void *arg)
{
	ask(fleet, uid, WAIT_SUSPEND, done, arg);
}

void fleet_apply(struct fleet *fleet, const char *uid, fleet_done_fn done, void *arg)
{
	ask(fleet, uid, WAIT_APPLY, done, arg);
}

void fleet_point(struct fleet *fleet, const char *uid, fleet_point_fn done, void *arg)
{
	struct waiter *waiter = waiter_new(WAIT_POINT, uid, NULL, arg);
	waiter->point_done = done;
	ask_with(fleet, uid, waiter);
}

void fleet_flush(struct fleet *fleet, const char *uid, fleet_point_fn done, void *arg)
{
	struct waiter *waiter = waiter_new(WAIT_FLUSH, uid, NULL, arg);
	waiter->point_done = done;
	ask_with(fleet, uid, waiter);
}

void fleet_pool(struct fleet *fleet, const char *uid, const char *role, fleet_done_fn done, void *arg)
{
	struct waiter *waiter = waiter_new(WAIT_POOL, uid, done, arg);
	struct error err;
	if (strlen(role) > FLEET_ROLE_MAX) {
		error_fill(&err, STATUS_DENIED, 0, "role \"%s\" does not exist", role);
		fleet_owe(fleet, waiter, &err);
		return;
	}
	(void)snprintf(waiter->role, sizeof waiter->role, "%s", role);
	ask_with(fleet, uid, waiter);
}

void fleet_shut_down(struct fleet *fleet, fleet_done_fn done, void *arg)
{
	struct error err;
	error_fill(&err, STATUS_UNAVAILABLE, 0, "Tarn is shutting down");
	fleet->is_shutting_down = true;
	struct waiter *asker = waiter_new(WAIT_SHUT_DOWN, NULL, done, arg);
	STAILQ_INSERT_TAIL(&fleet->shut_down_waiters, asker, link);
	for (size_t i = 0; i < fleet->count; i++) {
		struct member *m = fleet->members[i];
		member_answer(m, WAIT_OPEN, &err);
		m->wants_start = false;
		m->must_stop = m->seen.state != FLEET_ASLEEP;
		fleet_need_step(m);
	}
	fleet_check_shut_down(fleet);
}

bool fleet_is_shutting_down(const struct fleet *fleet)
{
	return fleet->is_shutting_down;
}

void fleet_abandon(struct fleet *fleet)
{
	struct error err;
	error_fill(&err, STATUS_UNAVAILABLE, 0, "control is ending");
	fleet->is_abandoned = true;
	while (!STAILQ_EMPTY(&fleet->shut_down_waiters)) {
		struct waiter *waiter = STAILQ_FIRST(&fleet->shut_down_waiters);
		STAILQ_REMOVE_HEAD(&fleet->shut_down_waiters, link);
		fleet_owe(fleet, waiter, &err);
	}
	while (fleet->count > 0) {
		answer_all(fleet->members[fleet->count - 1], &err);
		drop(fleet, fleet->count - 1);
	}
	schedule_turn(fleet); /* it closes itself once nothing is due */
}

void fleet_set_patience(struct fleet *fleet, int64_t milliseconds)
{
	fleet->patience_ms = milliseconds;
}
