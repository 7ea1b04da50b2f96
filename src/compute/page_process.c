#include "compute/page_process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <yyjson.h>

#include "base/log.h"
#include "loop/line_channel.h"
#include "loop/process_watch.h"
#include "page_store/stack.h"

#define PROCESS_MAGIC 0x70616765u
#define DRAIN_MS      500 /* for the last words of a process that has ended */

enum request_kind { REQUEST_CUT, REQUEST_LOOK, REQUEST_SYNC, REQUEST_UNMOUNT };

struct request {
	STAILQ_ENTRY(request) link;
	int64_t id;
	enum request_kind kind;
	page_cut_fn on_cut;
	page_done_fn on_done; /* both NULL: our own look, an unmount */
	void *owner;
};

struct page_process {
	uint32_t magic;
	uv_loop_t *loop;
	struct page_process_events events;
	void *owner;
	struct process_watch *watch;  /* NULL: the process is no more */
	struct line_channel *channel; /* NULL: closed */
	pid_t pid;
	int exit_status;
	bool is_mounted, is_unmounting, is_lost, was_killed, is_silent;
	bool is_stillborn; /* page_process_start() has failed: nobody is told anything */
	bool has_error;    /* of the start, as the process told it */
	struct error error;
	STAILQ_HEAD(, request) requests;
	int64_t next_id;
	int64_t silent_since; /* oldest look without an answer was sent; 0: none */
	int64_t look_usec, alarm_usec, patience_usec;
	uv_timer_t timer; /* looks; in the end: for the channel to drain */
	struct page_look seen;
};

static struct page_process *process_of(void *p)
{
	struct page_process *process = p;
	assert(process && process->magic == PROCESS_MAGIC);
	return process;
}

static void process_check(const struct page_process *process)
{
	assert(!process->is_lost || process->is_mounted);
	assert(!process->is_unmounting || process->is_mounted);
	assert(process->is_mounted || STAILQ_EMPTY(&process->requests));
}

/* ---- the end ---- */

static void fail_requests(struct page_process *process)
{
	struct request *request;
	struct error err;
	error_fill(&err, STATUS_UNAVAILABLE, 0, "the page file system is gone");
	while ((request = STAILQ_FIRST(&process->requests))) {
		STAILQ_REMOVE_HEAD(&process->requests, link);
		if (request->on_cut)
			request->on_cut(request->owner, &(struct page_cut){ 0 }, &err);
		if (request->on_done)
			request->on_done(request->owner, &err);
		free(request);
	}
}

/* Why it ended, when nobody wanted it to. */
static void describe_end(struct page_process *process)
{
	if (process->has_error)
		return;
	const char *what = "the page file system";
	int exit_status = process->exit_status;
	if (exit_status != -1 && WIFSIGNALED(exit_status))
		error_fill(&process->error, STATUS_UNAVAILABLE, 0, "%s was ended by signal %d", what,
		        WTERMSIG(exit_status));
	else
		error_fill(&process->error, STATUS_IO, 0, "%s exited with code %d", what,
		        exit_status == -1 ? -1 : WEXITSTATUS(exit_status));
}

static void timer_closed(uv_handle_t *handle)
{
	struct page_process *process = process_of(handle->data);
	bool is_clean = process->is_unmounting && process->exit_status != -1 &&
	                WIFEXITED(process->exit_status) && WEXITSTATUS(process->exit_status) == 0;
	if (!is_clean)
		describe_end(process);
	if (!process->is_stillborn)
		process->events.on_end(process->owner, is_clean ? NULL : &process->error);
	process->magic = 0;
	free(process);
}

/* P2. When the process and the channel are gone. */
static void end_if_done(struct page_process *process)
{
	if (process->watch || process->channel || uv_is_closing((uv_handle_t *)&process->timer))
		return;
	fail_requests(process);
	uv_close((uv_handle_t *)&process->timer, timer_closed);
}

static void lose(struct page_process *process)
{
	if (!process->is_mounted || process->is_lost)
		return;
	process->is_lost = true;
	process->events.on_lost(process->owner);
}

static void drain_over(uv_timer_t *timer)
{
	struct page_process *process = process_of(timer->data);
	if (process->channel)
		line_channel_close(process->channel);
}

static void process_ended(void *owner, pid_t pid, int exit_status)
{
	struct page_process *process = process_of(owner);
	(void)pid;
	process->watch = NULL;
	process->exit_status = exit_status;
	bool is_clean = process->is_unmounting && exit_status != -1 && WIFEXITED(exit_status) &&
	                WEXITSTATUS(exit_status) == 0;
	if (!is_clean)
		lose(process);
	(void)uv_timer_start(&process->timer, drain_over, DRAIN_MS, 0);
	end_if_done(process);
}

void page_process_kill(struct page_process *process)
{
	struct error err;
	process_of(process)->was_killed = true;
	if (process->watch && process_watch_signal(process->watch, SIGKILL, &err) != STATUS_OK)
		log_error("%s", err.message);
}

static void channel_closed(void *owner, struct line_channel *channel, const char *reason)
{
	struct page_process *process = process_of(owner);
	(void)channel;
	process->channel = NULL;
	/* A process that cannot be talked to is of no use; of one that ends by itself the channel closes just before. */
	if (process->watch && process->has_error && !process->is_mounted) {
		process->silent_since = clock_monotonic_usec(); /* it tidies up; not for ever */
	} else if (process->watch && !process->is_unmounting) {
		if (process->is_mounted && !process->is_lost)
			log_error("the page file system has closed its channel: %s", reason);
		lose(process);
		page_process_kill(process);
	}
	end_if_done(process);
}

/* ---- messages ---- */

/* What it tells is checked like any input: it is another process, and may be an older one. */
static bool read_number(yyjson_val *object, const char *name, int64_t *ret)
{
	yyjson_val *value = yyjson_obj_get(object, name);
	if (!yyjson_is_int(value) || yyjson_get_sint(value) < 0)
		return false;
	*ret = yyjson_get_sint(value);
	return true;
}

static void read_error(yyjson_val *object, struct error *ret)
{
	static const struct {
		const char *name;
		status code;
	} codes[] = {
		{ "INVALID", STATUS_INVALID },
		{ "NOT_FOUND", STATUS_NOT_FOUND },
		{ "CONFLICT", STATUS_CONFLICT },
		{ "LIMIT", STATUS_LIMIT },
		{ "UNSUPPORTED", STATUS_UNSUPPORTED },
		{ "UNAVAILABLE", STATUS_UNAVAILABLE },
		{ "CORRUPT", STATUS_CORRUPT },
		{ "NO_SPACE", STATUS_NO_SPACE },
		{ "DENIED", STATUS_DENIED },
	};
	const char *code = yyjson_get_str(yyjson_obj_get(object, "code"));
	const char *message = yyjson_get_str(yyjson_obj_get(object, "message"));
	const char *hint = yyjson_get_str(yyjson_obj_get(object, "hint"));
	status st = STATUS_IO;
	for (size_t i = 0; code && i < ARRAY_LEN(codes); i++)
		if (strcmp(code, codes[i].name) == 0)
			st = codes[i].code;
	error_fill(ret, st, 0, "%s", message ? message : "the page file system told no reason");
	if (hint)
		error_hint(ret, "%s", hint);
}

static bool read_layer(yyjson_val *object, struct layer_ref *ret)
{
	yyjson_val *store = yyjson_obj_get(object, "store"), *id = yyjson_obj_get(object, "id");
	int64_t version;
	if (!yyjson_is_str(store) || yyjson_get_len(store) > STORE_ID_MAX || !yyjson_is_str(id) ||
	        yyjson_get_len(id) > LAYER_ID_MAX || !read_number(object, "version", &version) ||
	        version > UINT32_MAX)
		return false;
	*ret = (struct layer_ref){ .version = (uint32_t)version };
	memcpy(ret->store, yyjson_get_str(store), yyjson_get_len(store));
	memcpy(ret->id, yyjson_get_str(id), yyjson_get_len(id));
	return true;
}

static bool read_cut(yyjson_val *root, struct page_cut *ret)
{
	yyjson_val *layers = yyjson_obj_get(root, "layers"), *layer;
	size_t count = yyjson_arr_size(layers), at, max;
	int64_t pages;
	if (count == 0 || count > STACK_LAYERS_MAX || !read_number(root, "pages", &pages) ||
	        !read_number(root, "pause_usec", &ret->pause_usec) ||
	        !read_number(root, "logical_bytes", &ret->logical_bytes))
		return false;
	ret->pages = (uint64_t)pages;
	ret->layers = xcalloc(count, sizeof *ret->layers);
	ret->layer_count = count;
	yyjson_arr_foreach(layers, at, max, layer)
	{
		if (!read_layer(layer, &ret->layers[at]))
			return false;
	}
	return true;
}

static bool read_look(yyjson_val *root, struct page_look *ret)
{
	int64_t open_pages, unsynced_pages, pages_bad = 0;
	if (!read_number(root, "logical_bytes", &ret->logical_bytes) ||
	        !read_number(root, "open_pages", &open_pages) ||
	        !read_number(root, "unsynced_pages", &unsynced_pages) ||
	        !read_number(root, "depth", &ret->depth))
		return false;
	(void)!read_number(root, "pages_bad", &pages_bad);
	ret->open_pages = (uint64_t)open_pages;
	ret->unsynced_pages = (uint64_t)unsynced_pages;
	ret->pages_bad = (uint64_t)pages_bad;
	const char *first = yyjson_get_str(yyjson_obj_get(root, "first_bad"));
	(void)snprintf(ret->first_bad, sizeof ret->first_bad, "%s", first ? first : "");
	return true;
}

static void heard(struct page_process *process)
{
	process->silent_since = 0;
	if (process->is_silent)
		process->events.on_silence(process->owner, 0);
	process->is_silent = false;
}

/* False: the answer makes no sense. */
static bool take_answer(struct page_process *process, struct request *request, yyjson_val *root)
{
	struct error err;
	struct page_cut cut = { 0 };
	yyjson_val *problem = yyjson_obj_get(root, "error");
	const struct error *told = problem ? &err : NULL;
	bool makes_sense = true, has_news = false;
	if (problem)
		read_error(problem, &err);
	if (request->kind == REQUEST_LOOK) {
		struct page_look look = { 0 };
		heard(process);
		makes_sense = problem || read_look(root, &look);
		has_news = !problem && makes_sense &&
		           (look.logical_bytes != process->seen.logical_bytes ||
		                   look.open_pages != process->seen.open_pages);
		if (!problem && makes_sense)
			process->seen = look;
	}
	if (request->kind == REQUEST_CUT && !problem)
		makes_sense = read_cut(root, &cut);
	if (!makes_sense) {
		error_fill(&err, STATUS_INTERNAL, 0, "the page file system's answer makes no sense");
		told = &err;
	}
	if (request->kind == REQUEST_UNMOUNT && problem) {
		process->has_error = true;
		process->error = err;
		page_process_kill(process); /* the mount is detached from outside */
	}
	if (has_news)
		process->events.on_seen(process->owner);
	if (request->on_cut)
		request->on_cut(request->owner, &cut, told);
	if (request->on_done)
		request->on_done(request->owner, told);
	free(cut.layers);
	return makes_sense;
}

static bool take_state(struct page_process *process, const char *state, yyjson_val *root)
{
	if (strcmp(state, "failed") == 0 && !process->has_error) {
		process->has_error = true;
		read_error(yyjson_obj_get(root, "error"), &process->error);
		/* Long after the mount: nothing becomes durable any more. What it still does by itself is not waited for. */
		if (process->is_mounted && !process->is_unmounting) {
			lose(process);
			page_process_kill(process);
		}
		return true;
	}
	if (strcmp(state, "mounted") != 0 || process->is_mounted || process->has_error)
		return false;
	process->is_mounted = true;
	process->events.on_mounted(process->owner);
	return true;
}

static bool take_message(struct page_process *process, yyjson_val *root)
{
	const char *state = yyjson_get_str(yyjson_obj_get(root, "state"));
	if (state)
		return take_state(process, state, root);
	int64_t id;
	if (!read_number(root, "id", &id))
		return false;
	struct request *request;
	STAILQ_FOREACH (request, &process->requests, link)
		if (request->id == id)
			break;
	if (!request)
		return false;
	STAILQ_REMOVE(&process->requests, request, request, link);
	bool makes_sense = take_answer(process, request, root);
	free(request);
	return makes_sense;
}

static void take_line(void *owner, struct line_channel *channel, struct slice line)
{
	struct page_process *process = process_of(owner);
	yyjson_doc *doc = yyjson_read((const char *)line.data, line.len, 0);
	if (!take_message(process, yyjson_doc_get_root(doc))) {
		log_error("the page file system says what makes no sense: %.*s",
		        (int)(line.len < 200 ? line.len : 200), (const char *)line.data);
		line_channel_close(channel);
	}
	yyjson_doc_free(doc);
}

static void ask(struct page_process *process, enum request_kind kind, page_cut_fn on_cut,
        page_done_fn on_done, void *owner)
{
	static const char *const names[] = { "cut", "look", "sync", "unmount" };
	process_check(process);
	if (!process->is_mounted || process->is_lost || process->is_unmounting || !process->channel) {
		struct error err;
		error_fill(&err, STATUS_UNAVAILABLE, 0, "the page file system is not mounted");
		if (on_cut)
			on_cut(owner, &(struct page_cut){ 0 }, &err);
		if (on_done)
			on_done(owner, &err);
		return;
	}
	struct request *request = xcalloc(1, sizeof *request);
	*request = (struct request){
		.id = ++process->next_id, .kind = kind, .on_cut = on_cut, .on_done = on_done, .owner = owner
	};
	STAILQ_INSERT_TAIL(&process->requests, request, link);
	if ((kind == REQUEST_LOOK || kind == REQUEST_UNMOUNT) && process->silent_since == 0)
		process->silent_since = clock_monotonic_usec();
	CLEANUP(free_text)
	char *line = xasprintf("{\"id\":%" PRId64 ",\"do\":\"%s\"}", request->id, names[kind]);
	line_channel_send(process->channel, line);
}

void page_process_cut(struct page_process *process, page_cut_fn on_cut, void *owner)
{
	ask(process_of(process), REQUEST_CUT, on_cut, NULL, owner);
}

void page_process_look(struct page_process *process, page_done_fn on_done, void *owner)
{
	ask(process_of(process), REQUEST_LOOK, NULL, on_done, owner);
}

void page_process_sync(struct page_process *process, page_done_fn on_done, void *owner)
{
	ask(process_of(process), REQUEST_SYNC, NULL, on_done, owner);
}

void page_process_unmount(struct page_process *process)
{
	ask(process_of(process), REQUEST_UNMOUNT, NULL, NULL, NULL);
	process->is_unmounting = process->is_mounted;
}

const struct page_look *page_process_seen(const struct page_process *process)
{
	return &process->seen;
}

pid_t page_process_pid(const struct page_process *process)
{
	return process->watch ? process->pid : 0;
}

bool page_process_is_mounted(const struct page_process *process)
{
	return process->is_mounted && !process->is_lost && !process->is_unmounting;
}

/* P3 */
static void look_due(uv_timer_t *timer)
{
	struct page_process *process = process_of(timer->data);
	bool is_talking = process->is_mounted || process->silent_since != 0;
	if (!process->watch || !is_talking || process->was_killed)
		return;
	int64_t silent = process->silent_since ? clock_monotonic_usec() - process->silent_since : 0;
	if (silent >= process->patience_usec) {
		log_error("the page file system has not answered for %" PRId64 " s: killing it",
		        (int64_t)(silent / USEC_PER_SEC));
		lose(process);
		page_process_kill(process);
		return;
	}
	if (!process->is_mounted)
		return;
	if (silent >= process->alarm_usec) {
		process->is_silent = true;
		process->events.on_silence(process->owner, silent);
	}
	if (!process->silent_since && !process->is_unmounting)
		ask(process, REQUEST_LOOK, NULL, NULL, NULL);
}

/* ---- the beginning ---- */

/* In the child, after fork: only async-signal-safe calls. A failure to execute is the exit code 127. */
__attribute__((noreturn)) static void run_child(
        int channel, pid_t parent, const char *program, char *const *argv)
{
	int null_fd = open("/dev/null", O_RDONLY);
	sigset_t none;
	sigemptyset(&none);
	struct sigaction by_default = { .sa_handler = SIG_DFL };
	for (int number = 1; number < 32; number++)
		(void)sigaction(number, &by_default, NULL);
	/* stdout may be anything of ours: it gets where stderr goes. */
	bool is_ready = null_fd >= 0 && dup2(null_fd, 0) >= 0 && dup2(2, 1) >= 0 && dup2(channel, 3) >= 0 &&
	                fcntl(3, F_SETFD, 0) == 0 && close_range(4, ~0u, 0) == 0 && setsid() > 0 &&
	                chdir("/") == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
	                sigprocmask(SIG_SETMASK, &none, NULL) == 0;
	/* If the parent died before prctl, the signal will never come. */
	if (is_ready && getppid() == parent)
		execv(program, argv);
	_exit(127);
}

static status spawn(
        struct page_process *process, const struct page_process_command *command, struct error *err)
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return error_set(err, STATUS_IO, errno, "could not create a socket pair");
	CLEANUP(close_fd) int ours = ends[0];
	CLEANUP(close_fd) int theirs = ends[1];
	char *const argv[] = { "tarn", "pagefs", "--data", (char *)(uintptr_t)command->data_path, "--store",
		(char *)(uintptr_t)command->store, "--volume", (char *)(uintptr_t)command->volume_id,
		"--mount", (char *)(uintptr_t)command->mount_path, NULL };
	static const struct line_channel_events channel_events = { .on_line = take_line,
		.on_close = channel_closed };
	status st = line_channel_wrap(process->loop, ours, &channel_events, process, &process->channel, err);
	if (st != STATUS_OK)
		return st;
	(void)TAKE_FD(ours);
	pid_t parent = getpid();
	pid_t child = fork();
	if (child == 0)
		run_child(theirs, parent, command->program, argv);
	if (child < 0) {
		st = error_set(err, STATUS_IO, errno, "could not start the page file system");
	} else {
		process->pid = child;
		st = process_watch_start(process->loop, child, process_ended, process, &process->watch, err);
		if (st != STATUS_OK) {
			(void)kill(child, SIGKILL);
			(void)waitpid(child, NULL, 0);
		}
	}
	if (st != STATUS_OK)
		line_channel_close(process->channel); /* which frees the process, later */
	return st;
}

status page_process_start(uv_loop_t *loop, const struct page_process_command *command,
        const struct page_process_events *events, void *owner, struct page_process **ret, struct error *err)
{
	struct page_process *process = xcalloc(1, sizeof *process);
	*process = (struct page_process){
		.magic = PROCESS_MAGIC,
		.loop = loop,
		.events = *events,
		.owner = owner,
		.look_usec = command->look_usec ? command->look_usec : PAGE_PROCESS_LOOK_USEC,
		.alarm_usec = command->alarm_usec ? command->alarm_usec : PAGE_PROCESS_ALARM_USEC,
		.patience_usec = command->patience_usec ? command->patience_usec : PAGE_PROCESS_PATIENCE_USEC,
	};
	STAILQ_INIT(&process->requests);
	(void)uv_timer_init(loop, &process->timer);
	process->timer.data = process;
	status st = spawn(process, command, err);
	if (st != STATUS_OK) {
		process->is_stillborn = true;
		if (!process->channel)
			uv_close((uv_handle_t *)&process->timer, timer_closed);
		return st;
	}
	uint64_t period_ms = (uint64_t)process->look_usec / 1000;
	(void)uv_timer_start(&process->timer, look_due, period_ms, period_ms);
	*ret = process;
	return STATUS_OK;
}
