#include "cli/operation.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define FIRST_PAUSE_USEC   10000
#define LONGEST_PAUSE_USEC 500000
#define PAUSE_SHARE        20 /* of what it has taken so far: nobody waits much longer than it takes */
#define SILENCE_USEC       (300 * 1000)        /* no progress line for what is done sooner */
#define LINE_EVERY_USEC    (10 * USEC_PER_SEC) /* into a log, where lines stay */
#define OUTAGE_MAX_USEC    (30 * USEC_PER_SEC) /* a control that restarts is back within seconds */

static volatile sig_atomic_t is_interrupted; /* by Ctrl-C, while waiting */

status operation_get(struct rest *rest, const char *name, yyjson_doc **ret, struct error *err)
{
	CLEANUP(buffer_done) struct buffer path = { 0 };
	buffer_append_text(&path, API_PREFIX);
	path_append_name(&path, name);
	return rest_call(rest, "GET", path.data, NULL, ret, err);
}

static void pause_usec(int64_t usec)
{
	struct timespec ts = { .tv_sec = usec / USEC_PER_SEC, .tv_nsec = usec % USEC_PER_SEC * 1000 };
	if (!is_interrupted)
		(void)nanosleep(&ts, NULL);
}

/* What people see while they wait. */
struct progress {
	const char *title;
	bool is_terminal;
	bool was_shown; /* a line that is to be wiped */
	int64_t next_line_usec;
};

static void show_progress(struct progress *progress, int64_t elapsed_usec)
{
	if (progress->is_terminal && elapsed_usec >= SILENCE_USEC) {
		(void)fprintf(
		        stderr, "\r\033[K%s … %.1f s", progress->title, (double)elapsed_usec / USEC_PER_SEC);
		(void)fflush(stderr);
		progress->was_shown = true;
	} else if (!progress->is_terminal && elapsed_usec >= progress->next_line_usec) {
		(void)fprintf(
		        stderr, "%s … %lld s\n", progress->title, (long long)(elapsed_usec / USEC_PER_SEC));
		progress->next_line_usec += LINE_EVERY_USEC;
	}
}

static void hide_progress(struct progress *progress)
{
	if (progress->was_shown)
		(void)fputs("\r\033[K", stderr);
	progress->was_shown = false;
}

static void note_interrupt(int number)
{
	(void)number;
	is_interrupted = 1;
}

struct interrupt_guard {
	struct sigaction before;
	bool is_set;
};

/* A shell that started us in the background has SIGINT ignored: so it stays. */
static struct interrupt_guard guard_interrupts(void)
{
	struct interrupt_guard guard = { .is_set = false };
	struct sigaction ours = { .sa_handler = note_interrupt }; /* no SA_RESTART: it shall end a pause */
	sigemptyset(&ours.sa_mask);
	if (sigaction(SIGINT, NULL, &guard.before) == 0 && guard.before.sa_handler != SIG_IGN)
		guard.is_set = sigaction(SIGINT, &ours, NULL) == 0;
	return guard;
}

static void release_interrupts(struct interrupt_guard *guard)
{
	if (guard->is_set)
		(void)sigaction(SIGINT, &guard->before, NULL);
}

/* As a process ends that does not care for Ctrl-C, so that a script which waits for us ends, too. */
static void end_interrupted(struct progress *progress, const char *name)
{
	hide_progress(progress);
	(void)fprintf(stderr,
	        "%s: not waited for any longer; the operation goes on.\nLook at it with: tarn postgres "
	        "get-operation %s\n",
	        progress->title, name);
	(void)fflush(NULL);
	(void)signal(SIGINT, SIG_DFL);
	(void)raise(SIGINT);
}

static status judge(yyjson_val *operation, struct error *err)
{
	yyjson_val *failure = yyjson_obj_get(operation, "error");
	if (!failure)
		return STATUS_OK;
	return error_set(err, STATUS_INVALID, 0, "operation failed: [%s] %s",
	        json_text(failure, "error_code"), json_text(failure, "message"));
}

static status wait_for_end(struct rest *rest, yyjson_doc *operation, int64_t timeout_usec, const char *title,
        yyjson_doc **ret, struct error *err)
{
	CLEANUP(json_free) yyjson_doc *doc = operation;
	CLEANUP(free_text) char *name = xstrdup(json_text(yyjson_doc_get_root(doc), "name"));
	CLEANUP(hide_progress)
	struct progress progress = {
		.title = title, .is_terminal = isatty(STDERR_FILENO), .next_line_usec = LINE_EVERY_USEC
	};
	const int64_t start = clock_monotonic_usec();
	int64_t last_answer = start;

	for (;;) {
		if (yyjson_is_true(yyjson_obj_get(yyjson_doc_get_root(doc), "done")))
			break;
		if (*name == '\0')
			return error_set(err, STATUS_INTERNAL, 0,
			        "the server answered with an operation without a name");
		int64_t elapsed = clock_monotonic_usec() - start;
		if (timeout_usec > 0 && elapsed >= timeout_usec) {
			status st = error_set(err, STATUS_UNAVAILABLE, 0,
			        "gave up waiting for operation \"%s\"; it goes on", name);
			error_hint(err, "Look at it with: tarn postgres get-operation %s", name);
			return st;
		}
		int64_t pause = elapsed / PAUSE_SHARE;
		if (pause < FIRST_PAUSE_USEC)
			pause = FIRST_PAUSE_USEC;
		if (pause > LONGEST_PAUSE_USEC)
			pause = LONGEST_PAUSE_USEC;
		if (timeout_usec > 0 && pause > timeout_usec - elapsed)
			pause = timeout_usec - elapsed;
		show_progress(&progress, elapsed);
		pause_usec(pause);
		if (is_interrupted)
			end_interrupted(&progress, name);

		yyjson_doc *next = NULL;
		status st = operation_get(rest, name, &next, err);
		int64_t now = clock_monotonic_usec();
		if (st == STATUS_OK) {
			json_free(&doc);
			doc = next;
			last_answer = now;
		} else if (st != STATUS_UNAVAILABLE || now - last_answer > OUTAGE_MAX_USEC) {
			return st;
		}
	}
	status st = judge(yyjson_doc_get_root(doc), err);
	if (st != STATUS_OK)
		return st;
	*ret = TAKE_PTR(doc);
	return STATUS_OK;
}

status operation_wait(struct rest *rest, yyjson_doc *operation, int64_t timeout_usec, const char *title,
        yyjson_doc **ret, struct error *err)
{
	struct interrupt_guard guard = guard_interrupts();
	status st = wait_for_end(rest, operation, timeout_usec, title, ret, err);
	release_interrupts(&guard);
	return st;
}
