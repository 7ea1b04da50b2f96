#include "control_plane/branch_inventory.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "compute/catalog_change.h"
#include "control_plane/inventory_rows.h"
#include "http/server.h"

#define INVENTORY_PAUSE_MS    10
#define KEPT_MAX              32 /* connections; each is one of Postgres' few for superusers */
#define KEPT_IDLE_MS          3000
#define INVENTORY_PATIENCE_MS 15000 /* for a compute that is neither asleep nor to be asked */

/* Who waits for an inventory: a request that is held, or a caller with a callback. */
struct question {
	TAILQ_ENTRY(question) link;
	struct http_hold *hold; /* NULL: the callback */
	branch_inventory_fn done;
	void *arg;
};
TAILQ_HEAD(question_list, question);

/*
 * One inventory, for everybody who asked before it was begun. Of a branch there is at most one that is being taken, and one that waits: behind
 * that one, or until the compute is where it can be asked. So questions in any number cost as many inventories as fit one after another.
 */
struct refresh {
	TAILQ_ENTRY(refresh) link;
	struct branch_inventory *owner;
	struct question_list questions;
	int64_t branch;
	int64_t give_up_usec; /* monotonic */
	bool is_told;         /* in the log, that it could not be taken */
	bool is_taking;       /* a worker thread has it; what is below is set then */
	uint64_t ticket;
	struct kept *kept;
	struct identity_mark *marks; /* to be given first */
	size_t mark_count;
	uv_work_t work;
	struct inventory inventory;
	struct error error; /* code STATUS_OK: it was taken */
};

/* A connection that is kept for the next inventory of that compute. In the list while no worker thread has it. */
struct kept {
	TAILQ_ENTRY(kept) link;
	char *socket_dir;
	struct inventory_session *session;
	int64_t used_usec; /* monotonic */
};

/* Which file it was: supervisors replace it, they never write into it. */
struct file_identity {
	uint64_t inode;
	int64_t size, changed_sec, changed_nsec;
};

/* What is in the rows of a branch: of the last inventory that was committed, and of one whose transaction is open. */
struct newest {
	int64_t branch;
	uint64_t ticket, open_ticket; /* open_ticket 0: none is */
	bool lacks_markers, open_lacks_markers;
	struct error unwritten; /* code STATUS_OK: Postgres has said nothing since that could not be noted */
	struct file_identity file; /* that was taken over last, for the volume the branch then had */
	char volume_id[RESOURCE_ID_MAX + 1];
};

struct branch_inventory {
	struct services *services;
	struct newest *newest;
	size_t newest_count;
	bool has_open;                    /* one of them has an open_ticket */
	TAILQ_HEAD(kept_list, kept) kept; /* the one used last at the end */
	size_t kept_count;
	uv_timer_t idle; /* runs while there are some */
	int open_timers;
	TAILQ_HEAD(refresh_list, refresh) refreshes;
	uv_timer_t timer; /* runs while a refresh waits for its compute */
	bool is_closed;
};

/* Only then is an inventory in the rows: what is older is not taken from then on. */
static void transaction_ended(void *arg, bool is_committed)
{
	struct branch_inventory *owner = arg;
	for (size_t i = 0; i < owner->newest_count && owner->has_open; i++) {
		struct newest *newest = &owner->newest[i];
		if (is_committed && newest->open_ticket != 0) {
			newest->ticket = newest->open_ticket;
			newest->lacks_markers = newest->open_lacks_markers;
			newest->unwritten = (struct error){ 0 };
		}
		newest->open_ticket = 0;
	}
	owner->has_open = false;
}

struct branch_inventory *branch_inventory_create(struct services *services)
{
	struct branch_inventory *inventory = xcalloc(1, sizeof *inventory);
	inventory->services = services;
	TAILQ_INIT(&inventory->refreshes);
	TAILQ_INIT(&inventory->kept);
	(void)uv_timer_init(services->loop, &inventory->timer);
	(void)uv_timer_init(services->loop, &inventory->idle);
	inventory->timer.data = inventory->idle.data = inventory;
	inventory->open_timers = 2;
	metadata_watch(services->md, transaction_ended, inventory);
	services->inventory = inventory;
	return inventory;
}

static void free_when_unused(struct branch_inventory *inventory)
{
	if (inventory->open_timers > 0 || !TAILQ_EMPTY(&inventory->refreshes))
		return;
	free(inventory->newest);
	free(inventory);
}

uint64_t branch_inventory_ticket(void)
{
	/* Of the process: a step in a worker thread may outlive everything else of control at its exit. */
	static _Atomic uint64_t tickets;
	uint64_t last = atomic_load(&tickets), next;
	do {
		int64_t now = clock_wall_usec();
		next = now > 0 && (uint64_t)now > last ? (uint64_t)now : last + 1;
	} while (!atomic_compare_exchange_weak(&tickets, &last, next));
	return next;
}

static struct newest *find_newest(struct branch_inventory *owner, int64_t branch)
{
	for (size_t i = 0; i < owner->newest_count; i++) {
		if (owner->newest[i].branch == branch)
			return &owner->newest[i];
	}
	owner->newest = xrealloc(owner->newest, (owner->newest_count + 1) * sizeof *owner->newest);
	owner->newest[owner->newest_count] = (struct newest){ .branch = branch };
	return &owner->newest[owner->newest_count++];
}

/* ---- in the rows ---- */

status branch_inventory_absorb(const struct services *services, int64_t branch, uint64_t ticket,
        const struct inventory *inventory, int64_t now_usec, struct error *err)
{
	struct newest *newest = find_newest(services->inventory, branch);
	if (ticket < newest->ticket || ticket < newest->open_ticket)
		return STATUS_OK; /* I1 */
	status st = inventory_rows_absorb(services->md, branch, inventory, now_usec, err);
	if (st != STATUS_OK)
		return st;
	newest->open_ticket = ticket;
	newest->open_lacks_markers = inventory->lacks_markers;
	services->inventory->has_open = true;
	return STATUS_OK;
}

/* ---- connections ---- */

static void kept_free(struct kept *kept)
{
	inventory_session_free(kept->session);
	free(kept->socket_dir);
	free(kept);
}

static void kept_end(struct branch_inventory *owner, struct kept *kept)
{
	TAILQ_REMOVE(&owner->kept, kept, link);
	owner->kept_count--;
	kept_free(kept);
}

static void end_idle_ones(uv_timer_t *timer)
{
	struct branch_inventory *owner = timer->data;
	int64_t limit = clock_monotonic_usec() - KEPT_IDLE_MS * 1000;
	while (!TAILQ_EMPTY(&owner->kept) && TAILQ_FIRST(&owner->kept)->used_usec <= limit)
		kept_end(owner, TAILQ_FIRST(&owner->kept));
	if (TAILQ_EMPTY(&owner->kept))
		(void)uv_timer_stop(timer);
}

/* Takes socket_dir. */
static struct kept *kept_take(struct branch_inventory *owner, char *socket_dir)
{
	struct kept *kept;
	TAILQ_FOREACH (kept, &owner->kept, link) {
		if (strcmp(kept->socket_dir, socket_dir) == 0) {
			TAILQ_REMOVE(&owner->kept, kept, link);
			owner->kept_count--;
			free(socket_dir);
			return kept;
		}
	}
	kept = xcalloc(1, sizeof *kept);
	kept->socket_dir = socket_dir;
	kept->session = inventory_session_create(socket_dir);
	return kept;
}

static void kept_give(struct branch_inventory *owner, struct kept *kept)
{
	while (owner->kept_count >= KEPT_MAX)
		kept_end(owner, TAILQ_FIRST(&owner->kept));
	kept->used_usec = clock_monotonic_usec();
	TAILQ_INSERT_TAIL(&owner->kept, kept, link);
	owner->kept_count++;
	if (!uv_is_active((uv_handle_t *)&owner->idle))
		(void)uv_timer_start(&owner->idle, end_idle_ones, KEPT_IDLE_MS, KEPT_IDLE_MS / 3);
}

/* ---- asking ---- */

static void ask(uv_work_t *work)
{
	struct refresh *refresh = work->data;
	struct error err = { 0 };
	if (refresh->mark_count > 0 && catalog_mark_identities(refresh->kept->socket_dir, refresh->marks,
	                                       refresh->mark_count, &err) != STATUS_OK)
		log_warning("could not mark which roles stand for somebody: %s", err.message);
	if (inventory_session_take(refresh->kept->session, &refresh->inventory, &err) != STATUS_OK)
		refresh->error = err;
}

/* The rows are older than what Postgres has said: nobody is shown them, until it is noted. */
static void note_unwritten(struct branch_inventory *owner, int64_t branch, const struct error *err)
{
	find_newest(owner, branch)->unwritten = *err;
	log_error("could not note the roles and databases of a branch: %s", err->message);
}

/* *ret_is_fresh: the rows are now what the inventory says, or something newer. */
static status absorb_refresh(const struct refresh *refresh, bool *ret_is_fresh, struct error *err)
{
	const struct services *services = refresh->owner->services;
	struct branch_row branch;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = transaction_begin(services->md, &tx, err);
	if (st == STATUS_OK)
		st = branch_row_get(services->md, refresh->branch, &branch, err);
	if (st == STATUS_NOT_FOUND || (st == STATUS_OK && (!branch.is_ready || branch.is_resetting)))
		return STATUS_OK; /* an operation is about to say what is there */
	if (st == STATUS_OK)
		st = branch_inventory_absorb(services, refresh->branch, refresh->ticket, &refresh->inventory,
		        clock_wall_usec(), err);
	if (st == STATUS_OK)
		st = transaction_commit(&tx, err);
	*ret_is_fresh = st == STATUS_OK;
	return st;
}

/* Takes the list: an answer may ask again. */
static void answer_all(struct question_list *questions, bool is_fresh)
{
	struct question *question;
	while ((question = TAILQ_FIRST(questions))) {
		TAILQ_REMOVE(questions, question, link);
		if (question->hold)
			http_release(question->hold);
		else
			question->done(question->arg, is_fresh);
		free(question);
	}
}

static void refresh_end(struct refresh *refresh, bool is_fresh)
{
	struct branch_inventory *owner = refresh->owner;
	TAILQ_REMOVE(&owner->refreshes, refresh, link);
	answer_all(&refresh->questions, is_fresh);
	free(refresh);
}

/* Requests show what was last known; the others wait until Postgres can be asked, or was shut down. */
static void release_holds(struct refresh *refresh)
{
	struct question_list held = TAILQ_HEAD_INITIALIZER(held);
	for (struct question *question = TAILQ_FIRST(&refresh->questions), *next; question; question = next) {
		next = TAILQ_NEXT(question, link);
		if (!question->hold)
			continue;
		TAILQ_REMOVE(&refresh->questions, question, link);
		TAILQ_INSERT_TAIL(&held, question, link);
	}
	answer_all(&held, false);
}

static struct refresh *find_refresh(struct branch_inventory *owner, int64_t branch, bool is_taking)
{
	struct refresh *refresh;
	TAILQ_FOREACH (refresh, &owner->refreshes, link) {
		if (refresh->branch == branch && refresh->is_taking == is_taking)
			return refresh;
	}
	return NULL;
}

static void refresh_go_on(struct refresh *refresh);
static void wait_a_little(struct branch_inventory *owner);

static void asked(uv_work_t *work, int code)
{
	struct refresh *refresh = work->data;
	struct branch_inventory *owner = refresh->owner;
	int64_t branch = refresh->branch;
	struct error err;
	bool is_fresh = false, was_taken = code == 0 && refresh->error.code == STATUS_OK;
	/* Not reached: it has just fallen asleep, or has no connection left. The rows are what was last known. */
	if (!was_taken && !refresh->is_told)
		log_info("roles and databases are as last known: %s", refresh->error.message);
	else if (was_taken && !owner->is_closed && absorb_refresh(refresh, &is_fresh, &err) != STATUS_OK)
		note_unwritten(owner, branch, &err);
	inventory_done(&refresh->inventory);
	free(TAKE_PTR(refresh->marks));
	refresh->mark_count = 0;
	if (was_taken && !owner->is_closed)
		kept_give(owner, refresh->kept);
	else
		kept_free(refresh->kept);
	refresh->kept = NULL;
	refresh->is_taking = false;
	if (was_taken || owner->is_closed) {
		refresh_end(refresh, is_fresh);
	} else {
		release_holds(refresh);
		refresh->is_told = true;
		refresh->error = (struct error){ 0 };
		if (TAILQ_EMPTY(&refresh->questions))
			refresh_end(refresh, false);
	}
	/* Whoever has asked meanwhile, or could not be answered. */
	if (!owner->is_closed && (refresh = find_refresh(owner, branch, false))) {
		if (was_taken)
			refresh_go_on(refresh);
		else
			wait_a_little(owner);
	}
	free_when_unused(owner);
}

static void take(struct refresh *refresh, const char *uid)
{
	struct services *services = refresh->owner->services;
	struct error err;
	if (find_newest(refresh->owner, refresh->branch)->lacks_markers &&
	        inventory_rows_marks(services->md, refresh->branch, &refresh->marks, &refresh->mark_count,
	                &err) != STATUS_OK)
		log_error("%s", err.message);
	refresh->is_taking = true;
	refresh->ticket = branch_inventory_ticket();
	refresh->kept = kept_take(refresh->owner, fleet_socket_dir(services->fleet, uid));
	refresh->work.data = refresh;
	(void)uv_queue_work(services->loop, &refresh->work, ask, asked);
}

static status absorb_file(const struct services *services, const struct branch_row *branch,
        const struct inventory_file *file, struct error *err)
{
	int64_t stamp = 0;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = branch_row_inventory_stamp(services->md, branch->id, &stamp, err);
	if (st != STATUS_OK || stamp == file->stamp || strcmp(file->volume_id, branch->volume_id) != 0)
		return st;
	/* From the future, if the clock has been set back: nothing would be newer for long. */
	uint64_t ticket = (uint64_t)file->stamp, now = branch_inventory_ticket();
	st = transaction_begin(services->md, &tx, err);
	if (st == STATUS_OK)
		st = branch_inventory_absorb(services, branch->id, ticket < now ? ticket : now,
		        &file->inventory, clock_wall_usec(), err);
	if (st == STATUS_OK)
		st = branch_row_note_inventory(services->md, branch->id, file->stamp, err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

static bool find_file(const char *path, struct file_identity *ret)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return false;
	*ret = (struct file_identity){ st.st_ino, st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec };
	return true;
}

/*
 * Of a compute that sleeps: what its supervisor left, unless it is in the rows already. One that cannot be read is as good as none: then more
 * than what was last known is not to be had. Logins at a sleeping branch come here too, from whoever can reach the port, so a file of
 * megabytes is read once and then only looked at from outside.
 */
static void take_over_file(const struct services *services, const struct branch_row *branch, const char *uid)
{
	CLEANUP(free_text) char *path = data_directory_path(services->dd, "computes/%s/inventory.json", uid);
	CLEANUP(inventory_file_done) struct inventory_file file = { 0 };
	struct newest *known = find_newest(services->inventory, branch->id);
	struct file_identity identity;
	struct error err;
	known->unwritten = (struct error){ 0 };
	bool is_there = find_file(path, &identity);
	if (is_there && memcmp(&identity, &known->file, sizeof identity) == 0 &&
	        strcmp(known->volume_id, branch->volume_id) == 0)
		return;
	status st = inventory_read(path, &file, &err);
	if (st != STATUS_OK && st != STATUS_NOT_FOUND)
		log_error("%s", err.message);
	if (st == STATUS_OK && absorb_file(services, branch, &file, &err) != STATUS_OK) {
		note_unwritten(services->inventory, branch->id, &err);
	} else if (st == STATUS_OK && is_there) {
		known = find_newest(services->inventory, branch->id);
		known->file = identity;
		memcpy(known->volume_id, branch->volume_id, sizeof known->volume_id);
	}
}

/* The state of the compute that writes to the branch; *ret_uid is its endpoint. */
static status look_at_compute(const struct services *services, int64_t branch, struct endpoint_row *ret,
        enum fleet_state *ret_state, struct error *err)
{
	status st = endpoint_row_find_writer(services->md, branch, ret, err);
	if (st == STATUS_OK) {
		const struct fleet_member *member = fleet_look(services->fleet, ret->uid);
		*ret_state = member ? member->state : FLEET_ASLEEP;
	}
	return st;
}

void branch_inventory_take_over(
        const struct services *services, const struct branch_row *branch, const char *uid)
{
	if (branch->is_ready)
		take_over_file(services, branch, uid);
}

/* One that is not being taken: begins, ends because the compute sleeps, or waits on. */
static void refresh_go_on(struct refresh *refresh)
{
	struct branch_inventory *owner = refresh->owner;
	const struct services *services = owner->services;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	struct branch_row branch;
	enum fleet_state state = FLEET_ASLEEP;
	struct error err;
	if (find_refresh(owner, refresh->branch, true))
		return; /* behind it */
	status st = branch_row_get(services->md, refresh->branch, &branch, &err);
	if (st == STATUS_OK)
		st = look_at_compute(services, refresh->branch, &endpoint, &state, &err);
	if (st != STATUS_OK || clock_monotonic_usec() >= refresh->give_up_usec) {
		refresh_end(refresh, false);
	} else if (state == FLEET_RUNNING) {
		take(refresh, endpoint.uid);
	} else if (state == FLEET_ASLEEP) {
		branch_inventory_take_over(services, &branch, endpoint.uid);
		refresh_end(refresh, false);
	} else {
		wait_a_little(owner);
	}
}

static void pause_is_over(uv_timer_t *timer)
{
	struct branch_inventory *owner = timer->data;
	(void)uv_timer_stop(timer);
	/* Those that are there now: one that waits on starts the timer again. */
	for (struct refresh *refresh = TAILQ_FIRST(&owner->refreshes), *next; refresh; refresh = next) {
		next = TAILQ_NEXT(refresh, link);
		if (!refresh->is_taking)
			refresh_go_on(refresh);
	}
}

static void wait_a_little(struct branch_inventory *owner)
{
	if (!uv_is_active((uv_handle_t *)&owner->timer))
		(void)uv_timer_start(&owner->timer, pause_is_over, INVENTORY_PAUSE_MS, 0);
}

/* Takes the question, into an inventory that has not been begun. */
static void put(struct branch_inventory *owner, int64_t branch, struct question *question)
{
	struct refresh *refresh = find_refresh(owner, branch, false);
	if (refresh) {
		TAILQ_INSERT_TAIL(&refresh->questions, question, link);
		return;
	}
	refresh = xcalloc(1, sizeof *refresh);
	refresh->owner = owner;
	refresh->branch = branch;
	refresh->give_up_usec = clock_monotonic_usec() + INVENTORY_PATIENCE_MS * 1000;
	TAILQ_INIT(&refresh->questions);
	TAILQ_INSERT_TAIL(&refresh->questions, question, link);
	TAILQ_INSERT_TAIL(&owner->refreshes, refresh, link);
	refresh_go_on(refresh);
}

static bool check_written(struct call *call, int64_t branch)
{
	const struct error *unwritten = &find_newest(call->services->inventory, branch)->unwritten;
	if (unwritten->code == STATUS_OK)
		return true;
	struct error err = *unwritten;
	(void)!error_prefix(&err,
	        "what Postgres says of the roles and databases cannot be noted, so they cannot be shown");
	return call_fail(call, &err);
}

bool branch_inventory_refresh(struct call *call, const struct branch_row *branch)
{
	const struct services *services = call->services;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	enum fleet_state state = FLEET_ASLEEP;
	struct error err;
	if (!branch->is_ready || branch->is_resetting)
		return true;
	if (call->request->holds > 0 || !http_can_hold(call->request))
		return check_written(call, branch->id);
	if (look_at_compute(services, branch->id, &endpoint, &state, &err) != STATUS_OK)
		return call_fail(call, &err);
	/* One that is stopping leaves a file in a moment; what one that is starting has was taken over when it began to (compute_spec.c). */
	if (state == FLEET_RUNNING || state == FLEET_STOPPING) {
		struct question *question = xcalloc(1, sizeof *question);
		question->hold = http_hold(call->request);
		call->is_held = true;
		put(services->inventory, branch->id, question);
		return false;
	}
	if (state == FLEET_ASLEEP)
		branch_inventory_take_over(services, branch, endpoint.uid);
	return check_written(call, branch->id);
}

void branch_inventory_ask(
        struct branch_inventory *inventory, int64_t branch, branch_inventory_fn done, void *arg)
{
	struct question *question = xcalloc(1, sizeof *question);
	*question = (struct question){ .done = done, .arg = arg };
	put(inventory, branch, question);
}

static void timer_closed(uv_handle_t *handle)
{
	struct branch_inventory *inventory = handle->data;
	inventory->open_timers--;
	free_when_unused(inventory);
}

void branch_inventory_close(struct branch_inventory *inventory)
{
	inventory->is_closed = true;
	metadata_watch(inventory->services->md, NULL, NULL);
	for (struct refresh *refresh = TAILQ_FIRST(&inventory->refreshes), *next; refresh; refresh = next) {
		next = TAILQ_NEXT(refresh, link);
		if (!refresh->is_taking)
			refresh_end(refresh, false);
	}
	while (!TAILQ_EMPTY(&inventory->kept))
		kept_end(inventory, TAILQ_FIRST(&inventory->kept));
	uv_close((uv_handle_t *)&inventory->timer, timer_closed);
	uv_close((uv_handle_t *)&inventory->idle, timer_closed);
}
