/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compute/page_process.h"

#define LIMIT_MS 20000

/* What was heard of one process, in the order of events. */
struct heard {
	uv_loop_t loop;
	uv_timer_t limit;
	struct page_process *process; /* NULL once ended */
	char order[256];              /* "mounted, cut, lost, ended" */
	struct error error;           /* of the end */
	struct error answer_error;    /* of the last request */
	struct page_cut cut;          /* layers are ours */
	int seen_count;
	void (*when_mounted)(struct heard *heard);
	void (*when_silent)(struct heard *heard);
};

static void note(struct heard *heard, const char *what)
{
	size_t len = strlen(heard->order);
	(void)snprintf(heard->order + len, sizeof heard->order - len, "%s%s", len ? ", " : "", what);
}

static void mounted(void *owner)
{
	struct heard *heard = owner;
	note(heard, "mounted");
	assert_true(page_process_is_mounted(heard->process));
	if (heard->when_mounted)
		heard->when_mounted(heard);
}

static void lost(void *owner)
{
	struct heard *heard = owner;
	note(heard, "lost");
	assert_false(page_process_is_mounted(heard->process));
}

static void silence(void *owner, int64_t silent_usec)
{
	struct heard *heard = owner;
	if (!strstr(heard->order, "silent"))
		note(heard, silent_usec > 0 ? "silent" : "answers again");
	if (heard->when_silent)
		heard->when_silent(heard);
}

static void ended(void *owner, const struct error *err)
{
	struct heard *heard = owner;
	note(heard, err ? "failed" : "ended");
	if (err)
		heard->error = *err;
	heard->process = NULL;
	uv_close((uv_handle_t *)&heard->limit, NULL);
}

static void seen(void *owner)
{
	struct heard *heard = owner;
	heard->seen_count++;
}

static void cut_made(void *owner, struct page_cut *cut, const struct error *err)
{
	struct heard *heard = owner;
	note(heard, err ? "no cut" : "cut");
	if (err) {
		heard->answer_error = *err;
		return;
	}
	heard->cut = *cut;
	cut->layers = NULL;
	page_process_unmount(heard->process);
}

static void done(void *owner, const struct error *err)
{
	struct heard *heard = owner;
	note(heard, err ? "refused" : "done");
	if (err)
		heard->answer_error = *err;
}

static void limit_passed(uv_timer_t *timer)
{
	struct heard *heard = timer->data;
	fail_msg("it hangs after \"%s\"", heard->order);
}

/* Runs the stand-in in this mode until its end. */
static void hear(struct heard *heard, const char *mode)
{
	static const struct page_process_events events = { .on_mounted = mounted,
		.on_lost = lost,
		.on_silence = silence,
		.on_seen = seen,
		.on_end = ended };
	const struct page_process_command command = { .program = getenv("TEST_STAND_IN"),
		.data_path = "/d",
		.store = "s",
		.volume_id = mode,
		.mount_path = "/m",
		.look_usec = 20000,
		.alarm_usec = 100000,
		.patience_usec = 400000 };
	struct error err;
	assert_non_null(command.program);
	assert_int_equal(uv_loop_init(&heard->loop), 0);
	(void)uv_timer_init(&heard->loop, &heard->limit);
	heard->limit.data = heard;
	(void)uv_timer_start(&heard->limit, limit_passed, LIMIT_MS, 0);
	assert_int_equal(
	        page_process_start(&heard->loop, &command, &events, heard, &heard->process, &err), STATUS_OK);
	pid_t pid = page_process_pid(heard->process);
	assert_true(pid > 1);
	(void)uv_run(&heard->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&heard->loop), 0);
	assert_null(heard->process);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), -1); /* nothing is left to wait for */
}

static void ask_for_cut(struct heard *heard)
{
	page_process_look(heard->process, done, heard);
	page_process_look(heard->process, done, heard);
	page_process_sync(heard->process, done, heard);
	page_process_cut(heard->process, cut_made, heard);
}

static void cuts_and_unmounts(void **state)
{
	(void)state;
	struct heard heard = { .when_mounted = ask_for_cut };
	hear(&heard, "good");
	assert_string_equal(heard.order, "mounted, done, done, done, cut, ended");
	assert_int_equal(heard.cut.layer_count, 2);
	assert_string_equal(heard.cut.layers[0].store, "template-17");
	assert_string_equal(heard.cut.layers[1].id, "good.2");
	assert_int_equal(heard.cut.layers[1].version, 3);
	assert_int_equal(heard.cut.pages, 123);
	assert_int_equal(heard.cut.logical_bytes, 4096);
	free(heard.cut.layers);
}

static void look_and_unmount(void *owner, const struct error *err)
{
	struct heard *heard = owner;
	assert_null(err);
	const struct page_look *look = page_process_seen(heard->process);
	assert_int_equal(look->open_pages, 7);
	assert_int_equal(look->depth, 4);
	assert_int_equal(look->pages_bad, 1);
	assert_string_equal(look->first_bad, "base/1/2 page 3");
	page_process_unmount(heard->process);
	/* Nothing can be asked of one that goes. */
	page_process_sync(heard->process, done, heard);
}

static void ask_for_look(struct heard *heard)
{
	page_process_look(heard->process, look_and_unmount, heard);
}

static void looks(void **state)
{
	(void)state;
	struct heard heard = { .when_mounted = ask_for_look };
	hear(&heard, "good");
	assert_string_equal(heard.order, "mounted, refused, ended");
	assert_int_equal(heard.answer_error.code, STATUS_UNAVAILABLE);
	assert_int_equal(heard.seen_count, 1);

	heard = (struct heard){ .when_mounted = ask_for_cut };
	hear(&heard, "good"); /* a second look in a row shows nothing new */
	assert_int_equal(heard.seen_count, 1);
	free(heard.cut.layers);
}

static void a_failed_mount_says_why(void **state)
{
	(void)state;
	struct heard heard = { 0 };
	hear(&heard, "conflict");
	assert_string_equal(heard.order, "failed");
	assert_int_equal(heard.error.code, STATUS_CONFLICT);
	assert_string_equal(heard.error.message, "in use");
	assert_string_equal(heard.error.hint, "Wait.");

	heard = (struct heard){ 0 };
	hear(&heard, "stillborn");
	assert_string_equal(heard.order, "failed");
	assert_non_null(strstr(heard.error.message, "exited with code 7"));
}

static void a_dead_one_is_lost_at_once(void **state)
{
	(void)state;
	struct heard heard = { .when_mounted = ask_for_cut };
	hear(&heard, "dies");
	/* Lost comes before the requests are given up. */
	assert_string_equal(heard.order, "mounted, lost, refused, refused, refused, no cut, failed");
	assert_non_null(strstr(heard.error.message, "signal 9"));
}

/* It is lost when it says so, not when it has ended; and why is known. */
static void one_that_breaks_is_lost_and_says_why(void **state)
{
	(void)state;
	struct heard heard = { .when_mounted = ask_for_cut };
	hear(&heard, "breaks");
	assert_string_equal(heard.order, "mounted, lost, refused, refused, refused, no cut, failed");
	assert_int_equal(heard.error.code, STATUS_IO);
	assert_string_equal(heard.error.message, "no disk");
}

static void kill_it(struct heard *heard)
{
	page_process_kill(heard->process);
}

static void one_that_is_killed_is_lost(void **state)
{
	(void)state;
	struct heard heard = { .when_mounted = kill_it };
	hear(&heard, "good");
	assert_string_equal(heard.order, "mounted, lost, failed");
	assert_non_null(strstr(heard.error.message, "signal 9"));
}

static void a_silent_one_is_told_of_and_killed(void **state)
{
	(void)state;
	struct heard heard = { 0 };
	int64_t begun = clock_monotonic_usec();
	hear(&heard, "silent");
	assert_string_equal(heard.order, "mounted, silent, lost, failed");
	assert_true(clock_monotonic_usec() - begun >= 400000);
}

static void nonsense_ends_it(void **state)
{
	(void)state;
	struct heard heard = { .when_mounted = ask_for_cut };
	hear(&heard, "nonsense");
	assert_string_equal(heard.order, "mounted, refused, lost, refused, refused, no cut, failed");
	heard = (struct heard){ .when_mounted = ask_for_cut };
	hear(&heard, "stranger");
	assert_string_equal(heard.order, "mounted, lost, refused, refused, refused, no cut, failed");
	/* One that is not even mounted */
	heard = (struct heard){ 0 };
	hear(&heard, "babble");
	assert_string_equal(heard.order, "failed");
}

static void unmount_after_refusal(struct heard *heard)
{
	page_process_cut(heard->process, cut_made, heard);
	page_process_unmount(heard->process);
}

static void refusals_are_handed_on(void **state)
{
	(void)state;
	struct heard heard = { .when_mounted = unmount_after_refusal };
	hear(&heard, "refuses");
	assert_string_equal(heard.order, "mounted, no cut, lost, failed");
	assert_int_equal(heard.answer_error.code, STATUS_NO_SPACE);
	assert_string_equal(heard.answer_error.message, "no room");
	assert_int_equal(heard.error.code, STATUS_NO_SPACE);
}

static void a_program_that_is_not_there(void **state)
{
	(void)state;
	assert_int_equal(setenv("TEST_STAND_IN", "/nonexistent", 1), 0);
	struct heard heard = { 0 };
	hear(&heard, "good");
	assert_string_equal(heard.order, "failed");
	assert_non_null(strstr(heard.error.message, "127"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cuts_and_unmounts), cmocka_unit_test(looks),
		cmocka_unit_test(a_failed_mount_says_why), cmocka_unit_test(a_dead_one_is_lost_at_once),
		cmocka_unit_test(one_that_breaks_is_lost_and_says_why),
		cmocka_unit_test(one_that_is_killed_is_lost),
		cmocka_unit_test(a_silent_one_is_told_of_and_killed), cmocka_unit_test(nonsense_ends_it),
		cmocka_unit_test(refusals_are_handed_on),
		cmocka_unit_test(a_program_that_is_not_there), /* last: it changes the environment */
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
