#include "compute/pooler.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "compute/job.h"
#include "compute/leashed_process.h"
#include "compute/pooler_configuration.h"
#include "compute/pooler_work.h"
#include "compute/postgres_log.h"
#include "loop/line_channel.h"
#include "loop/process_watch.h"

#define POOLER_MAGIC 0x706f6f6cu
#define PROBE_MS     2

enum pooler_state { POOLER_STOPPED, POOLER_STARTING, POOLER_RUNNING, POOLER_ENDING };

struct question {
	STAILQ_ENTRY(question) link;
	char **roles;
	size_t count;
	uint64_t ticket;
	pooler_answer_fn on_answer;
	void *owner;
};
STAILQ_HEAD(question_list, question);

struct looker {
	STAILQ_ENTRY(looker) link;
	pooler_looked_fn on_looked;
	void *owner;
};
STAILQ_HEAD(looker_list, looker);

struct pooler {
	uint32_t magic;
	uv_loop_t *loop;
	struct pooler_options options; /* of it only on_change, on_closed and owner are valid */
	enum pooler_state state;       /* pooler_set_state() writes it */
	struct process_watch *watch;
	struct pooler_postgres postgres;
	bool has_postgres, is_new_postgres, is_closing, must_look, is_job_running;
	struct question_list waiting, current; /* current: those of the round that is on */
	struct looker_list lookers, current_lookers;
	uv_timer_t probe, look;
	int64_t started_usec;
	off_t log_start;
	struct pooler_work work; /* a job's while one runs */
	bool is_look;            /* what the job is */
	const char **names;      /* that it asks about, the questions' */
	size_t name_count;
	struct pooler_server *servers; /* as of the last look */
	size_t server_count;
	struct pooler_counts last; /* the totals of that look as they were told */
	struct pooler_seen seen;
	int64_t sessions;
	int open_handles;
};

static void pooler_step(struct pooler *p);

static struct pooler *pooler_of(void *pointer)
{
	struct pooler *p = pointer;
	assert(p && p->magic == POOLER_MAGIC);
	return p;
}

static void pooler_check(const struct pooler *p)
{
	assert((p->state == POOLER_STOPPED) == (p->watch == NULL));
	assert((p->seen.pid > 0) == (p->watch != NULL));
	assert(p->has_postgres || p->state == POOLER_STOPPED || p->state == POOLER_ENDING); /* P1 */
}

static void pooler_set_state(struct pooler *p, enum pooler_state state)
{
	p->state = state;
	if (state != POOLER_RUNNING)
		(void)uv_timer_stop(&p->look);
	if (state != POOLER_STARTING)
		(void)uv_timer_stop(&p->probe);
}

/* ---- questions ---- */

static void question_free(struct question *question)
{
	for (size_t i = 0; i < question->count; i++)
		free(question->roles[i]);
	free(question->roles);
	free(question);
}

static void refuse_all(struct question_list *list, const struct error *err)
{
	struct question *question;
	while ((question = STAILQ_FIRST(list))) {
		STAILQ_REMOVE_HEAD(list, link);
		question->on_answer(question->owner, question->ticket, NULL, NULL, 0, err);
		question_free(question);
	}
}

static void judge(const struct pooler *p, const char *name, struct error *ret)
{
	const struct pooler_role *role = pooler_roles_find(&p->work.roles, name);
	if (!role || role->found == 0)
		error_fill(ret, STATUS_DENIED, 0, "role \"%s\" does not exist", name);
	else if (!role->may_log_in)
		error_fill(ret, STATUS_DENIED, 0, "role \"%s\" is not permitted to log in", name);
	else
		*ret = (struct error){ .code = STATUS_OK };
}

static void answer_current(struct pooler *p)
{
	struct question *question;
	while ((question = STAILQ_FIRST(&p->current))) {
		STAILQ_REMOVE_HEAD(&p->current, link);
		struct error *errors = xcalloc(question->count + 1, sizeof *errors);
		struct pooler_verdict *verdicts = xcalloc(question->count + 1, sizeof *verdicts);
		for (size_t i = 0; i < question->count; i++) {
			judge(p, question->roles[i], &errors[i]);
			verdicts[i] = (struct pooler_verdict){ .role = question->roles[i],
				.err = errors[i].code == STATUS_OK ? NULL : &errors[i] };
		}
		question->on_answer(question->owner, question->ticket, p->work.socket_folder, verdicts,
		        question->count, NULL);
		free(verdicts);
		free(errors);
		question_free(question);
	}
}

/* They are asked about again in the next round. */
static void put_back_current(struct pooler *p)
{
	STAILQ_CONCAT(&p->current, &p->waiting); /* the older ones first */
	STAILQ_CONCAT(&p->waiting, &p->current);
}

static void answer_lookers(struct looker_list *list)
{
	struct looker_list due = STAILQ_HEAD_INITIALIZER(due);
	STAILQ_CONCAT(&due, list);
	struct looker *looker;
	while ((looker = STAILQ_FIRST(&due))) {
		STAILQ_REMOVE_HEAD(&due, link);
		looker->on_looked(looker->owner);
		free(looker);
	}
}

static void no_postgres(struct error *ret)
{
	error_fill(ret, STATUS_UNAVAILABLE, 0, "the compute is not ready");
}

/* ---- what was seen ---- */

static bool is_among(pid_t pid, const struct pooler_server *servers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (servers[i].pid == pid)
			return true;
	return false;
}

/* Takes servers. */
static void note_servers(struct pooler *p, struct pooler_server *servers, size_t count)
{
	for (size_t i = 0; i < p->server_count; i++)
		p->seen.ended += !is_among(p->servers[i].pid, servers, count); /* P4 */
	free(p->servers);
	p->servers = servers;
	p->server_count = count;
}

/* Totals of PgBouncer begin at 0 with each process, and fall when it forgets a database that nobody uses. */
static void add_total(int64_t *total, int64_t now, int64_t *last)
{
	*total += now > *last ? now - *last : 0;
	*last = now;
}

static void note_counts(struct pooler *p, const struct pooler_counts *now)
{
	struct pooler_counts *total = &p->seen.counts, *last = &p->last;
	total->clients = now->clients;
	total->waiting = now->waiting;
	total->longest_wait_usec = now->longest_wait_usec;
	total->servers_active = now->servers_active;
	total->servers_idle = now->servers_idle;
	add_total(&total->transactions, now->transactions, &last->transactions);
	add_total(&total->queries, now->queries, &last->queries);
	add_total(&total->wait_usec, now->wait_usec, &last->wait_usec);
	add_total(&total->received_bytes, now->received_bytes, &last->received_bytes);
	add_total(&total->sent_bytes, now->sent_bytes, &last->sent_bytes);
}

/* ---- the process ---- */

static void kill_process(struct pooler *p)
{
	struct error err;
	if (!p->watch || p->state == POOLER_ENDING)
		return;
	pooler_set_state(p, POOLER_ENDING);
	if (process_watch_signal(p->watch, SIGKILL, &err) != STATUS_OK)
		log_error("%s", err.message);
}

/* The last line that it wrote. */
static void describe_end(const struct pooler *p, int exit_status, struct error *ret)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	struct error ignored;
	char how[64];
	if (exit_status != -1 && WIFSIGNALED(exit_status))
		(void)snprintf(how, sizeof how, "was ended by signal %d", WTERMSIG(exit_status));
	else
		(void)snprintf(how, sizeof how, "exited with code %d",
		        exit_status == -1 ? -1 : WEXITSTATUS(exit_status));
	const char *last = "";
	if (file_read(p->work.log_path, POSTGRES_LOG_MAX_BYTES * 2, &text, &ignored) == STATUS_OK &&
	        text.data && (size_t)p->log_start < text.len) {
		while (text.len > 0 && text.data[text.len - 1] == '\n')
			text.data[--text.len] = '\0';
		const char *line = strrchr(text.data + p->log_start, '\n');
		last = line ? line + 1 : text.data + p->log_start;
	}
	error_fill(ret, STATUS_IO, 0, "the pooler %s%s%.200s", how, *last ? ": " : "", last);
	error_hint(ret, "Its log is " POOLER_LOG " in the compute's folder.");
}

static void free_when_done(struct pooler *p);

static void process_ended(void *owner, pid_t pid, int exit_status)
{
	struct pooler *p = pooler_of(owner);
	bool was_starting = p->state == POOLER_STARTING, was_expected = p->state == POOLER_ENDING;
	struct error err;
	(void)pid;
	p->watch = NULL;
	p->seen.pid = 0;
	pooler_set_state(p, POOLER_STOPPED);
	if (!was_expected) {
		describe_end(p, exit_status, &err);
		log_error("%s", err.message);
	}
	p->seen.clients_ended += p->seen.counts.clients;
	note_servers(p, NULL, 0);
	note_counts(p, &(struct pooler_counts){ 0 });
	if (was_starting)
		refuse_all(&p->current, &err);
	if (!p->is_closing)
		p->options.on_change(p->options.owner);
	pooler_step(p);
	free_when_done(p);
}

static void look_due(uv_timer_t *timer)
{
	struct pooler *p = pooler_of(timer->data);
	p->must_look = true;
	pooler_step(p);
}

static void probe_due(uv_timer_t *timer)
{
	struct pooler *p = pooler_of(timer->data);
	CLEANUP(free_text) char *socket = xasprintf("%s/" POOLER_SOCKET, p->work.socket_folder);
	CLEANUP(close_fd) int fd = -1;
	struct error err;
	if (unix_socket_connect(socket, &fd, &err) == STATUS_OK) {
		pooler_set_state(p, POOLER_RUNNING);
		(void)uv_timer_start(&p->look, look_due, POOLER_LOOK_MS, POOLER_LOOK_MS);
		answer_current(p);
		p->options.on_change(p->options.owner);
		pooler_step(p);
	} else if (clock_monotonic_usec() - p->started_usec > POOLER_START_MS * 1000ll) {
		error_fill(&err, STATUS_UNAVAILABLE, 0, "the pooler did not answer in %d s",
		        POOLER_START_MS / 1000);
		log_error("%s", err.message);
		refuse_all(&p->current, &err);
		kill_process(p);
	}
}

static status launch(struct pooler *p, struct error *err)
{
	const struct pooler_work *work = &p->work;
	const char *const argv[] = { work->program.path, p->work.ini_path, NULL };
	const char *const writable[] = { p->work.socket_folder, "/dev/null" };
	const struct leashed_command command = { .argv = argv,
		.log_path = p->work.log_path,
		.writable = writable,
		.writable_count = ARRAY_LEN(writable),
		.user = p->work.user,
		.death_signal = SIGKILL,
		.descriptors =
		        (uint64_t)(p->work.clients + 2 * p->postgres.connections + POOLER_DESCRIPTORS_OWN) };
	pid_t pid = 0;
	p->log_start = postgres_log_size(p->work.log_path);
	status st = leashed_process_start(&command, &pid, err);
	if (st == STATUS_OK)
		st = process_watch_start(p->loop, pid, process_ended, p, &p->watch, err);
	if (st != STATUS_OK) {
		if (pid > 0)
			(void)kill(pid, SIGKILL); /* not waited for yet, so it is still our child */
		return st;
	}
	p->seen.pid = pid;
	p->seen.connections = p->postgres.connections;
	p->started_usec = clock_monotonic_usec();
	pooler_set_state(p, POOLER_STARTING);
	(void)uv_timer_start(&p->probe, probe_due, PROBE_MS, PROBE_MS);
	log_info("pooler started: PgBouncer %s, %lld clients on %d connections", work->program.version,
	        (long long)p->work.clients, p->postgres.connections);
	return STATUS_OK;
}

/* ---- steps ---- */

static void look_taken(struct pooler *p)
{
	struct pooler_work *work = &p->work;
	if (!work->has_sight || p->state != POOLER_RUNNING)
		return;
	struct pooler_seen before = p->seen;
	work->has_sight = false;
	note_servers(p, TAKE_PTR(work->sight.servers), work->sight.server_count);
	note_counts(p, &work->sight.counts);
	pooler_sight_done(&work->sight);
	if (memcmp(&before, &p->seen, sizeof before) != 0)
		p->options.on_change(p->options.owner);
}

static void round_done(struct pooler *p, const struct error *err)
{
	struct error problem;
	if (!p->has_postgres) {
		no_postgres(&problem);
		refuse_all(&p->current, &problem);
	} else if (p->work.must_start_anew || p->state == POOLER_ENDING ||
	           p->work.is_running != (p->state == POOLER_RUNNING)) {
		put_back_current(p);
		kill_process(p);
	} else if (err) {
		log_warning("nobody can be let in by the pooler: %s", err->message);
		refuse_all(&p->current, err);
	} else if (p->state == POOLER_RUNNING) {
		answer_current(p);
	} else if (launch(p, &problem) != STATUS_OK) {
		log_error("%s", problem.message);
		refuse_all(&p->current, &problem);
	}
}

static void job_done(void *owner, void *input, const struct error *err)
{
	struct pooler *p = pooler_of(owner);
	struct pooler_work *work = &p->work;
	(void)input;
	p->is_job_running = false;
	p->sessions = work->sessions;
	look_taken(p);
	free(p->names);
	p->names = NULL;
	if (!p->is_look)
		round_done(p, err);
	else if (err && p->has_postgres)
		log_warning("could not look at the pooler: %s", err->message);
	if (p->state == POOLER_RUNNING && (work->has_hung_up || work->must_start_anew)) {
		if (work->has_hung_up)
			log_error("the pooler does not do as it is told; ending it");
		kill_process(p);
	}
	answer_lookers(&p->current_lookers);
	pooler_step(p);
	free_when_done(p);
}

static status work_let_in(void *input, struct error *err)
{
	struct pooler *p = pooler_of(input);
	return pooler_work_let_in(&p->work, p->names, p->name_count, err);
}

static status work_look(void *input, struct error *err)
{
	return pooler_work_look(&pooler_of(input)->work, err);
}

static void collect_names(struct pooler *p)
{
	const struct question *question;
	p->name_count = 0;
	STAILQ_FOREACH (question, &p->current, link) {
		p->names = xrealloc(p->names, (p->name_count + question->count + 1) * sizeof *p->names);
		for (size_t i = 0; i < question->count; i++)
			p->names[p->name_count++] = question->roles[i];
	}
}

static void run_job(struct pooler *p, bool is_look)
{
	struct pooler_work *work = &p->work;
	p->is_look = is_look;
	work->postgres = p->postgres;
	work->is_running = p->state == POOLER_RUNNING;
	work->must_reconnect = p->is_new_postgres;
	p->is_new_postgres = false;
	p->is_job_running = true;
	if (!is_look)
		collect_names(p);
	job_start(p->loop, is_look ? work_look : work_let_in, p, job_done, p);
}

/* What is there to do? */
static void pooler_step(struct pooler *p)
{
	struct error err;
	pooler_check(p);
	if (!p->has_postgres) {
		no_postgres(&err);
		refuse_all(&p->waiting, &err);
	}
	if (p->is_job_running)
		return;
	if (p->state != POOLER_RUNNING)
		answer_lookers(&p->lookers);
	bool is_settled = p->state == POOLER_STOPPED || p->state == POOLER_RUNNING;
	/* Looks first: they are rare, and questions may come without an end. */
	if (p->state == POOLER_RUNNING && (p->must_look || !STAILQ_EMPTY(&p->lookers))) {
		p->must_look = false;
		STAILQ_CONCAT(&p->current_lookers, &p->lookers);
		run_job(p, true);
	} else if (is_settled && !STAILQ_EMPTY(&p->waiting)) {
		STAILQ_CONCAT(&p->current, &p->waiting);
		run_job(p, false);
	}
}

void pooler_ask(struct pooler *p, const char *const *roles, size_t count, uint64_t ticket,
        pooler_answer_fn on_answer, void *owner)
{
	struct question *question = xcalloc(1, sizeof *question);
	assert(count <= POOLER_ROLES_MAX);
	*question = (struct question){ .roles = xcalloc(count + 1, sizeof *question->roles),
		.count = count,
		.ticket = ticket,
		.on_answer = on_answer,
		.owner = owner };
	for (size_t i = 0; i < count; i++)
		question->roles[i] = xstrdup(roles[i]);
	STAILQ_INSERT_TAIL(&pooler_of(p)->waiting, question, link);
	pooler_step(p);
}

bool pooler_look(struct pooler *p, pooler_looked_fn on_looked, void *owner)
{
	if (pooler_of(p)->state != POOLER_RUNNING)
		return false;
	struct looker *looker = xcalloc(1, sizeof *looker);
	*looker = (struct looker){ .on_looked = on_looked, .owner = owner };
	STAILQ_INSERT_TAIL(&p->lookers, looker, link);
	pooler_step(p);
	return true;
}

const struct pooler_seen *pooler_seen(const struct pooler *p)
{
	return &p->seen;
}

int64_t pooler_sessions(const struct pooler *p)
{
	return p->sessions;
}

/* ---- beginning and end ---- */

void pooler_begin(struct pooler *p, const struct pooler_postgres *postgres)
{
	pooler_of(p)->postgres = *postgres;
	p->has_postgres = p->is_new_postgres = true;
	pooler_step(p);
}

void pooler_stop(struct pooler *p)
{
	struct error err;
	pooler_of(p)->has_postgres = false;
	if (p->state == POOLER_STARTING && !p->is_job_running) {
		no_postgres(&err);
		refuse_all(&p->current, &err);
	}
	kill_process(p);
	pooler_step(p);
}

struct pooler *pooler_create(uv_loop_t *loop, const struct pooler_options *options)
{
	struct pooler *p = xcalloc(1, sizeof *p);
	*p = (struct pooler){ .magic = POOLER_MAGIC, .loop = loop, .options = *options };
	pooler_work_init(&p->work, options);
	STAILQ_INIT(&p->waiting);
	STAILQ_INIT(&p->current);
	STAILQ_INIT(&p->lookers);
	STAILQ_INIT(&p->current_lookers);
	(void)uv_timer_init(loop, &p->probe);
	(void)uv_timer_init(loop, &p->look);
	p->probe.data = p->look.data = p;
	p->open_handles = 2;
	return p;
}

static void handle_closed(uv_handle_t *handle)
{
	struct pooler *p = pooler_of(handle->data);
	if (--p->open_handles > 0)
		return;
	void (*on_closed)(void *owner) = p->options.on_closed;
	void *owner = p->options.owner;
	pooler_work_done(&p->work);
	free(p->servers);
	p->magic = 0;
	free(p);
	on_closed(owner);
}

/* Once nothing of it runs any more. */
static void free_when_done(struct pooler *p)
{
	if (!p->is_closing || p->watch || p->is_job_running || uv_is_closing((uv_handle_t *)&p->probe))
		return;
	uv_close((uv_handle_t *)&p->probe, handle_closed);
	uv_close((uv_handle_t *)&p->look, handle_closed);
}

void pooler_close(struct pooler *p)
{
	pooler_stop(p);
	p->is_closing = true;
	free_when_done(p);
}
