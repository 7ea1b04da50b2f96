#include "cli/operation.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define FIRST_PAUSE_USEC   10000
#define LONGEST_PAUSE_USEC 500000
#define PAUSE_SHARE        20 /* of what it has taken so far: nobody waits much longer than it takes */
#define SILENCE_USEC       (300 * 1000)        /* no progress line for what is done sooner */
#define OUTAGE_MAX_USEC    (30 * USEC_PER_SEC) /* a control that restarts is back within seconds */

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
	(void)nanosleep(&ts, NULL);
}

static void show_progress(const char *title, int64_t elapsed_usec)
{
	(void)fprintf(stderr, "\r\033[K%s … %.1f s", title, (double)elapsed_usec / USEC_PER_SEC);
	(void)fflush(stderr);
}

static void hide_progress(bool *was_shown)
{
	if (*was_shown)
		(void)fputs("\r\033[K", stderr);
}

static status judge(yyjson_val *operation, struct error *err)
{
	yyjson_val *failure = yyjson_obj_get(operation, "error");
	if (!failure)
		return STATUS_OK;
	return error_set(err, STATUS_INVALID, 0, "operation failed: [%s] %s",
	        json_text(failure, "error_code"), json_text(failure, "message"));
}

status operation_wait(struct rest *rest, yyjson_doc *operation, int64_t timeout_usec, const char *title,
        yyjson_doc **ret, struct error *err)
{
	CLEANUP(json_free) yyjson_doc *doc = operation;
	CLEANUP(free_text) char *name = xstrdup(json_text(yyjson_doc_get_root(doc), "name"));
	CLEANUP(hide_progress) bool was_shown = false;
	const bool is_terminal = isatty(STDERR_FILENO);
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
		if (is_terminal && elapsed >= SILENCE_USEC) {
			show_progress(title, elapsed);
			was_shown = true;
		}
		pause_usec(pause);

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
