#include "scripted_machine.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "compute/branching.h"
#include "compute/template.h"
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
	char volumes[THINGS_MAX][64];
	struct compute computes[THINGS_MAX];
	struct answer *answers; /* all, until the test ends */
} m = { .lock = PTHREAD_MUTEX_INITIALIZER, .clones_released = PTHREAD_COND_INITIALIZER };

struct machine *machine_start(uv_loop_t *loop)
{
	memset(&m.machine, 0, sizeof m.machine);
	memset(m.volumes, 0, sizeof m.volumes);
	memset(m.computes, 0, sizeof m.computes);
	m.machine.loop = loop;
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

/* Takes note of a call; the failure the test has ordered for it, if any. */
static status note(enum machine_step step, struct error *err)
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
	find_compute(uid)->member.state = state;
}

status template_prepare(const struct data_directory *dd, const struct installation *installation,
        char **ret_path, struct error *err)
{
	(void)installation;
	status st = note(STEP_TEMPLATE, err);
	if (st == STATUS_OK)
		*ret_path = data_directory_path(dd, "templates");
	return st;
}

status volume_create(const struct data_directory *dd, const char *id, const char *template_path,
        const char *bin_dir, int postgres_major, struct error *err)
{
	(void)dd, (void)template_path, (void)bin_dir, (void)postgres_major;
	status st = note(STEP_VOLUME_CREATE, err);
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
	status st = note(STEP_DESTROY, err);
	if (st != STATUS_OK)
		return st;
	pthread_mutex_lock(&m.lock);
	char *volume = find_volume(id);
	if (volume && *id)
		volume[0] = '\0';
	pthread_mutex_unlock(&m.lock);
	return STATUS_OK;
}

status volume_space(const struct data_directory *dd, const char *id, int64_t *ret_bytes, struct error *err)
{
	(void)dd;
	if (!machine_has_volume(id))
		return error_set(err, STATUS_NOT_FOUND, 0, "there is no volume \"%s\"", id);
	*ret_bytes = 4096;
	return STATUS_OK;
}

status branching_clone(const struct data_directory *dd, const char *parent_id, const char *parent_socket_dir,
        const char *id, uint32_t timeline, struct branching_result *ret, struct error *err)
{
	(void)dd, (void)parent_socket_dir;
	status st = note(STEP_CLONE, err);
	if (st != STATUS_OK)
		return st;
	assert(timeline % 2 == 0 && timeline > 0);
	assert(machine_has_volume(parent_id));
	add_volume(id);
	pthread_mutex_lock(&m.lock);
	while (m.machine.is_holding_clones)
		pthread_cond_wait(&m.clones_released, &m.lock);
	pthread_mutex_unlock(&m.lock);
	*ret = (struct branching_result){ .lsn = 0x3000120, .wall_usec = 1800000000000000 };
	return STATUS_OK;
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

char *fleet_socket_dir(const struct fleet *fleet, const char *uid)
{
	(void)fleet;
	return xasprintf("/nowhere/%s", uid);
}

status fleet_register(struct fleet *fleet, const char *uid, bool was_running, struct error *err)
{
	(void)fleet, (void)was_running;
	status st = note(STEP_REGISTER, err);
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
	status st = note(STEP_FORGET, err);
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
	if (compute && a->err.code == STATUS_OK)
		compute->member.state = a->state;
	else if (compute)
		compute->member.state = FLEET_ASLEEP;
	a->done(a->arg, a->uid, a->err.code == STATUS_OK ? NULL : &a->err);
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
	(void)!note(step, &a->err);
	if (a->err.code == STATUS_OK && compute->member.state != state)
		compute->member.state = meanwhile;
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
