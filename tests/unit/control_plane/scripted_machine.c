#include "scripted_machine.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "compute/activity.h"
#include "compute/template.h"
#include "control_plane/origin.h"
#include "page_store/retention.h"
#include "page_store/store.h"
#include "page_store/volume.h"

#define THINGS_MAX 256

struct compute {
	struct fleet_member member;
	char uid[64];
};

/* An answer on its way. */
struct answer {
	uv_timer_t timer;
	fleet_done_fn done;
	fleet_point_fn point_done; /* in place of done */
	void *arg;
	char uid[64];
	enum fleet_state state; /* what the compute is then */
	struct error err;
	bool is_sent;
	struct answer *next;
};

/* The real fleet is opaque; this one has nothing in it. */
struct fleet {
	int unused;
};

static struct {
	struct machine machine;
	struct fleet fleet;
	pthread_mutex_t lock; /* volumes are made in worker threads */
	pthread_cond_t clones_released;
	char volumes[THINGS_MAX][64], snapshots[THINGS_MAX][64];
	struct compute computes[THINGS_MAX];
	struct answer *answers; /* all, until the test ends */
} m = { .lock = PTHREAD_MUTEX_INITIALIZER, .clones_released = PTHREAD_COND_INITIALIZER };

struct machine *machine_start(uv_loop_t *loop)
{
	memset(&m.machine, 0, sizeof m.machine);
	memset(m.volumes, 0, sizeof m.volumes);
	memset(m.snapshots, 0, sizeof m.snapshots);
	memset(m.computes, 0, sizeof m.computes);
	m.machine.loop = loop;
	machine_postgres_start();
	return &m.machine;
}

void machine_stop(void)
{
	while (m.answers) {
		struct answer *answer = m.answers;
		m.answers = answer->next;
		free(answer);
	}
}

static void close_answers(void)
{
	for (struct answer *a = m.answers; a; a = a->next) {
		if (!uv_is_closing((uv_handle_t *)&a->timer))
			uv_close((uv_handle_t *)&a->timer, NULL);
	}
}

void machine_forget_callers(uv_loop_t *loop)
{
	close_answers();
	(void)uv_run(m.machine.loop, UV_RUN_NOWAIT);
	m.machine.loop = loop;
	m.machine.is_holding = false;
	/* What was on its way up or down arrives without its caller. */
	for (int i = 0; i < THINGS_MAX; i++) {
		struct fleet_member *member = &m.computes[i].member;
		if (member->state == FLEET_STARTING)
			member->state = FLEET_RUNNING;
		if (member->state == FLEET_STOPPING)
			member->state = FLEET_ASLEEP;
	}
}

struct fleet *machine_fleet(void)
{
	return &m.fleet;
}

static void set_state(struct compute *compute, enum fleet_state state)
{
	compute->member.state = state;
	compute->member.since_usec = clock_wall_usec();
}

status machine_note(enum machine_step step, struct error *err)
{
	status st = STATUS_OK;
	pthread_mutex_lock(&m.lock);
	m.machine.done[step]++;
	if (m.machine.fail_times[step] > 0) {
		m.machine.fail_times[step]--;
		st = error_set(err, m.machine.fail_with[step], 0, "scripted failure of step %d", (int)step);
	}
	pthread_mutex_unlock(&m.lock);
	return st;
}

static char *find_volume(const char *id)
{
	for (int i = 0; i < THINGS_MAX; i++) {
		if (strcmp(m.volumes[i], id) == 0)
			return m.volumes[i];
	}
	return NULL;
}

static void add_volume(const char *id)
{
	pthread_mutex_lock(&m.lock);
	assert(!find_volume(id));
	(void)snprintf(find_volume(""), sizeof m.volumes[0], "%s", id);
	pthread_mutex_unlock(&m.lock);
}

bool machine_has_volume(const char *id)
{
	pthread_mutex_lock(&m.lock);
	bool has = find_volume(id) != NULL;
	pthread_mutex_unlock(&m.lock);
	return has;
}

int machine_volume_count(void)
{
	int count = 0;
	pthread_mutex_lock(&m.lock);
	for (int i = 0; i < THINGS_MAX; i++)
		count += m.volumes[i][0] != '\0';
	pthread_mutex_unlock(&m.lock);
	return count;
}

int machine_snapshot_count(void)
{
	int count = 0;
	pthread_mutex_lock(&m.lock);
	for (int i = 0; i < THINGS_MAX; i++)
		count += m.snapshots[i][0] != '\0';
	pthread_mutex_unlock(&m.lock);
	return count;
}

static struct compute *find_compute(const char *uid)
{
	for (int i = 0; i < THINGS_MAX; i++) {
		if (strcmp(m.computes[i].uid, uid) == 0)
			return &m.computes[i];
	}
	return NULL;
}

int machine_compute_count(void)
{
	int count = 0;
	for (int i = 0; i < THINGS_MAX; i++)
		count += m.computes[i].uid[0] != '\0';
	return count;
}

enum fleet_state machine_state(const char *uid)
{
	const struct compute *compute = find_compute(uid);
	return compute ? compute->member.state : FLEET_ASLEEP;
}

void machine_set_state(const char *uid, enum fleet_state state)
{
	set_state(find_compute(uid), state);
}

status template_prepare(const struct data_directory *dd, const struct installation *installation,
        char ret_store[STORE_ID_MAX + 1], struct error *err)
{
	(void)dd, (void)installation;
	status st = machine_note(STEP_TEMPLATE, err);
	if (st == STATUS_OK)
		strcpy(ret_store, "template-17");
	return st;
}

status volume_create(const struct data_directory *dd, const char *store, const char *id,
        const char *template_store, const char *bin_dir, int postgres_major, struct error *err)
{
	(void)dd, (void)bin_dir, (void)postgres_major;
	assert(*store && strcmp(template_store, "template-17") == 0);
	status st = machine_note(STEP_VOLUME_CREATE, err);
	if (st != STATUS_OK)
		return st;
	if (machine_has_volume(id))
		return error_set(err, STATUS_EXISTS, 0, "volume \"%s\" is there", id);
	add_volume(id);
	return STATUS_OK;
}

status volume_destroy(const struct data_directory *dd, const char *id, struct error *err)
{
	(void)dd;
	status st = machine_note(STEP_DESTROY, err);
	if (st != STATUS_OK)
		return st;
	pthread_mutex_lock(&m.lock);
	char *volume = find_volume(id);
	if (volume && *id)
		volume[0] = '\0';
	pthread_mutex_unlock(&m.lock);
	return STATUS_OK;
}

status store_destroy(const struct data_directory *dd, const char *id, struct error *err)
{
	(void)dd;
	status st = machine_note(STEP_DESTROY_STORE, err);
	assert(*id);
	if (st == STATUS_OK) {
		pthread_mutex_lock(&m.lock);
		memset(m.snapshots, 0,
		        sizeof m.snapshots); /* tests have one project with snapshots at most */
		pthread_mutex_unlock(&m.lock);
	}
	return st;
}

status retention_apply(const struct data_directory *dd, const char *volume_id,
        const struct retention *retention, struct retention_result *ret, struct error *err)
{
	(void)dd;
	status st = machine_note(STEP_RETENTION, err);
	if (st == STATUS_OK && !machine_has_volume(volume_id))
		st = error_set(err, STATUS_NOT_FOUND, 0, "there is no volume \"%s\"", volume_id);
	if (st != STATUS_OK)
		return st;
	m.machine.window_usec = retention->window_usec;
	while (m.machine.is_retention_waiting)
		sched_yield();
	*ret = (struct retention_result){ .points_kept = 1,
		.points_removed = (size_t)m.machine.points_removed };
	return STATUS_OK;
}

status volume_archive(const struct data_directory *dd, const char *id, const atomic_bool *shall_stop,
        struct volume_archived *ret, struct error *err)
{
	(void)dd;
	*ret = (struct volume_archived){ .is_whole = true };
	if (!machine_has_volume(id))
		return error_set(err, STATUS_NOT_FOUND, 0, "there is no volume \"%s\"", id);
	status st = machine_note(STEP_ARCHIVE, err);
	/* Until somebody wants it. */
	while (st == STATUS_OK && m.machine.is_archiving_for_ever && !atomic_load(shall_stop))
		sched_yield();
	m.machine.archives_cut += atomic_load(shall_stop);
	return st;
}

status volume_usage(
        const struct data_directory *dd, const char *id, struct volume_usage *ret, struct error *err)
{
	(void)dd;
	if (!machine_has_volume(id))
		return error_set(err, STATUS_NOT_FOUND, 0, "there is no volume \"%s\"", id);
	*ret = (struct volume_usage){
		.logical_bytes = 4096, .own_bytes = 1024 + m.machine.more_bytes, .wal_bytes = 512
	};
	return STATUS_OK;
}

/* What every use of a source has to obey. */
static void take_origin(const struct origin_request *request, struct origin_result *ret)
{
	bool is_snapshot = request->moment.kind == MOMENT_SNAPSHOT;
	assert(request->store[0] && request->bin_dir[0] && request->window_usec > 0);
	assert(is_snapshot || request->lineage.count > 0);
	assert(is_snapshot || machine_has_volume(request->lineage.volumes[0].id));
	assert(is_snapshot || request->end.lsn != 0);
	m.machine.cloned_lsn = request->moment.lsn;
	m.machine.cloned_kind = (int)request->moment.kind;
	m.machine.lineage_count = (int)request->lineage.count;
	*ret = (struct origin_result){ .lsn = request->moment.kind == MOMENT_LSN ? request->moment.lsn
		                                                                 : 0x3000120,
		.time_usec = 1800000000000000,
		.logical_bytes = 4096 };
	if (!is_snapshot)
		(void)snprintf(ret->volume, sizeof ret->volume, "%s", request->lineage.volumes[0].id);
}

status origin_clone(const struct data_directory *dd, const struct origin_request *request,
        const char *volume_id, uint32_t timeline, struct origin_result *ret, struct error *err)
{
	(void)dd;
	status st = machine_note(STEP_CLONE, err);
	if (st != STATUS_OK)
		return st;
	assert(timeline % 2 == 0 && timeline > 0);
	struct origin_result result;
	take_origin(request, &result);
	if (!machine_has_volume(volume_id)) /* else it is made anew */
		add_volume(volume_id);
	pthread_mutex_lock(&m.lock);
	while (m.machine.is_holding_clones)
		pthread_cond_wait(&m.clones_released, &m.lock);
	pthread_mutex_unlock(&m.lock);
	*ret = result;
	return STATUS_OK;
}

static char *find_snapshot(const char *uid)
{
	for (int i = 0; i < THINGS_MAX; i++)
		if (strcmp(m.snapshots[i], uid) == 0)
			return m.snapshots[i];
	return NULL;
}

status origin_keep(const struct data_directory *dd, const struct origin_request *request, const char *uid,
        struct origin_result *ret, struct error *err)
{
	(void)dd;
	status st = machine_note(STEP_KEEP, err);
	if (st != STATUS_OK)
		return st;
	take_origin(request, ret);
	pthread_mutex_lock(&m.lock);
	if (!find_snapshot(uid))
		(void)snprintf(find_snapshot(""), sizeof m.snapshots[0], "%s", uid);
	pthread_mutex_unlock(&m.lock);
	return STATUS_OK;
}

status origin_forget(const struct data_directory *dd, const char *store, const char *uid, struct error *err)
{
	(void)dd, (void)store;
	status st = machine_note(STEP_FORGET_SNAPSHOT, err);
	if (st != STATUS_OK)
		return st;
	pthread_mutex_lock(&m.lock);
	char *snapshot = find_snapshot(uid);
	if (snapshot && *uid)
		snapshot[0] = '\0';
	pthread_mutex_unlock(&m.lock);
	return STATUS_OK;
}

status origin_find_end(const struct data_directory *dd, const char *store, const char *volume_id,
        struct fleet_point *ret, struct error *err)
{
	(void)dd;
	status st = machine_note(STEP_FIND_END, err);
	assert(*store && machine_has_volume(volume_id));
	if (st == STATUS_OK && m.machine.is_unclean)
		st = error_set(err, STATUS_CONFLICT, 0, "not shut down cleanly");
	if (st == STATUS_OK)
		*ret = (struct fleet_point){
			.number = 3, .lsn = 0x3000120, .timeline = 1, .time_usec = 1800000000000000
		};
	return st;
}

status origin_window(const struct data_directory *dd, const char *store, const struct lineage *lineage,
        int64_t window_usec, struct origin_window *ret, struct error *err)
{
	(void)dd, (void)window_usec;
	if (!machine_has_volume(lineage->volumes[0].id) || !*store)
		return error_set(err, STATUS_NOT_FOUND, 0, "nothing yet");
	*ret = (struct origin_window){ .earliest_lsn = 0x2000000,
		.earliest_usec = 1700000000000000,
		.latest_lsn = 0x4000000,
		.latest_usec = 1800000000000000 };
	return STATUS_OK;
}

status origin_check(
        const struct origin_window *window, const struct moment *moment, int64_t now_usec, struct error *err)
{
	(void)now_usec;
	bool is_inside = moment->kind != MOMENT_LSN ||
	                 (moment->lsn >= window->earliest_lsn && moment->lsn <= window->latest_lsn);
	return is_inside ? STATUS_OK : error_set(err, STATUS_INVALID, 0, "outside the window");
}

bool fleet_is_shutting_down(const struct fleet *fleet)
{
	(void)fleet;
	return m.machine.is_shutting_down;
}

const struct fleet_member *fleet_look(const struct fleet *fleet, const char *uid)
{
	(void)fleet;
	const struct compute *compute = find_compute(uid);
	return compute && *uid ? &compute->member : NULL;
}

int64_t fleet_pooler_clients_ended(const struct fleet *fleet)
{
	(void)fleet;
	return 42;
}

void machine_set_poolers(const struct fleet_pooler *pooler)
{
	for (size_t i = 0; i < THINGS_MAX; i++)
		m.computes[i].member.pooler = *pooler;
}

void fleet_each(const struct fleet *fleet, void (*fn)(void *arg, const struct fleet_member *), void *arg)
{
	(void)fleet;
	for (size_t i = 0; i < THINGS_MAX; i++)
		if (m.computes[i].uid[0])
			fn(arg, &m.computes[i].member);
}

const char *fleet_state_name(enum fleet_state state)
{
	static const char *const names[] = { "asleep", "starting", "running", "stopping" };
	return names[state];
}

status fleet_register(struct fleet *fleet, const char *uid, bool was_running, struct error *err)
{
	(void)fleet, (void)was_running;
	status st = machine_note(STEP_REGISTER, err);
	if (st != STATUS_OK || find_compute(uid))
		return st;
	struct compute *compute = find_compute("");
	(void)snprintf(compute->uid, sizeof compute->uid, "%s", uid);
	compute->member = (struct fleet_member){ .uid = compute->uid };
	return STATUS_OK;
}

status fleet_forget(struct fleet *fleet, const char *uid, struct error *err)
{
	(void)fleet;
	status st = machine_note(STEP_FORGET, err);
	if (st != STATUS_OK)
		return st;
	struct compute *compute = find_compute(uid);
	if (!compute)
		return error_set(err, STATUS_NOT_FOUND, 0, "unknown endpoint");
	if (compute->member.state != FLEET_ASLEEP)
		return error_set(err, STATUS_CONFLICT, 0, "not asleep");
	*compute = (struct compute){ 0 };
	return STATUS_OK;
}

static void send_answer(uv_timer_t *timer)
{
	struct answer *a = timer->data;
	a->is_sent = true;
	uv_close((uv_handle_t *)timer, NULL);
	struct compute *compute = find_compute(a->uid);
	if (a->point_done) {
		static const struct fleet_point point = {
			.number = 4, .lsn = 0x3000120, .timeline = 1, .time_usec = 1800000000000000
		};
		bool is_asleep = compute->member.state != FLEET_RUNNING;
		if (a->err.code == STATUS_OK && is_asleep)
			error_fill(&a->err, STATUS_CONFLICT, 0, "asleep");
		bool has_failed = a->err.code != STATUS_OK;
		a->point_done(a->arg, a->uid, has_failed ? NULL : &point, has_failed ? &a->err : NULL);
		return;
	}
	if (compute && a->err.code == STATUS_OK)
		set_state(compute, a->state);
	else if (compute)
		set_state(compute, FLEET_ASLEEP);
	a->done(a->arg, a->uid, a->err.code == STATUS_OK ? NULL : &a->err);
}

static void answer_point_later(enum machine_step step, const char *uid, fleet_point_fn done, void *arg)
{
	struct answer *a = xcalloc(1, sizeof *a);
	*a = (struct answer){ .point_done = done, .arg = arg, .next = m.answers };
	m.answers = a;
	(void)snprintf(a->uid, sizeof a->uid, "%s", uid);
	assert(find_compute(uid) && "the control plane asked a compute that it had not registered");
	if (find_compute(uid)->member.state == FLEET_RUNNING)
		(void)!machine_note(step, &a->err);
	(void)uv_timer_init(m.machine.loop, &a->timer);
	a->timer.data = a;
	if (!m.machine.is_holding)
		(void)uv_timer_start(&a->timer, send_answer, 0, 0);
}

static void answer_later(enum machine_step step, const char *uid, enum fleet_state meanwhile,
        enum fleet_state state, fleet_done_fn done, void *arg)
{
	struct answer *a = xcalloc(1, sizeof *a);
	*a = (struct answer){ .done = done, .arg = arg, .state = state, .next = m.answers };
	m.answers = a;
	(void)snprintf(a->uid, sizeof a->uid, "%s", uid);
	struct compute *compute = find_compute(uid);
	assert(compute && "the control plane used a compute that it had not registered");
	(void)!machine_note(step, &a->err);
	if (a->err.code == STATUS_OK && compute->member.state != state)
		set_state(compute, meanwhile);
	(void)uv_timer_init(m.machine.loop, &a->timer);
	a->timer.data = a;
	if (!m.machine.is_holding)
		(void)uv_timer_start(&a->timer, send_answer, 0, 0);
}

void machine_release_clones(void)
{
	pthread_mutex_lock(&m.lock);
	m.machine.is_holding_clones = false;
	pthread_cond_broadcast(&m.clones_released);
	pthread_mutex_unlock(&m.lock);
}

void machine_release(void)
{
	m.machine.is_holding = false;
	for (struct answer *a = m.answers; a; a = a->next) {
		if (!a->is_sent && !uv_is_closing((uv_handle_t *)&a->timer))
			(void)uv_timer_start(&a->timer, send_answer, 0, 0);
	}
}

void fleet_open(struct fleet *fleet, const char *uid, fleet_done_fn done, void *arg)
{
	(void)fleet;
	answer_later(STEP_OPEN, uid, FLEET_STARTING, FLEET_RUNNING, done, arg);
}

void fleet_suspend(struct fleet *fleet, const char *uid, fleet_done_fn done, void *arg)
{
	(void)fleet;
	answer_later(STEP_SUSPEND, uid, FLEET_STOPPING, FLEET_ASLEEP, done, arg);
}

void fleet_apply(struct fleet *fleet, const char *uid, fleet_done_fn done, void *arg)
{
	(void)fleet;
	enum fleet_state state = find_compute(uid)->member.state;
	answer_later(STEP_APPLY, uid, state, state, done, arg);
}

void fleet_point(struct fleet *fleet, const char *uid, fleet_point_fn done, void *arg)
{
	(void)fleet;
	answer_point_later(STEP_POINT, uid, done, arg);
}

void fleet_flush(struct fleet *fleet, const char *uid, fleet_point_fn done, void *arg)
{
	(void)fleet;
	answer_point_later(STEP_FLUSH, uid, done, arg);
}

char *fleet_socket_dir(const struct fleet *fleet, const char *uid)
{
	(void)fleet;
	return xasprintf("/nowhere/%s", uid);
}

status activity_has_clients(const char *socket_folder, bool *ret, struct error *err)
{
	(void)socket_folder, (void)err;
	*ret = m.machine.has_clients;
	return STATUS_OK;
}
