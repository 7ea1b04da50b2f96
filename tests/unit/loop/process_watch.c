#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* wants the four above */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "loop/process_watch.h"

struct ending {
	int calls;
	pid_t pid;
	int exit_status;
};

static void on_end(void *owner, pid_t pid, int exit_status)
{
	struct ending *ending = owner;
	ending->calls++;
	ending->pid = pid;
	ending->exit_status = exit_status;
}

static int set_up(void **state)
{
	uv_loop_t *loop = xcalloc(1, sizeof *loop);
	assert_int_equal(uv_loop_init(loop), 0);
	*state = loop;
	return 0;
}

static int tear_down(void **state)
{
	uv_loop_t *loop = *state;
	(void)uv_run(loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(loop), 0);
	free(loop);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nobody is left */
	assert_int_equal(errno, ECHILD);
	return 0;
}

/* A child that waits for the pipe to close, then exits with that code. */
static pid_t start_child(int code, int *ret_hold_fd)
{
	int hold[2];
	assert_int_equal(pipe(hold), 0);
	pid_t pid = fork();
	if (pid == 0) {
		char c;
		(void)close(hold[1]);
		(void)!read(hold[0], &c, 1);
		_exit(code);
	}
	assert_true(pid > 0);
	(void)close(hold[0]);
	*ret_hold_fd = hold[1];
	return pid;
}

static void tells_how_a_child_ended(void **state)
{
	uv_loop_t *loop = *state;
	struct ending first = { 0 }, second = { 0 };
	struct process_watch *watch, *other;
	struct error err;
	int hold, other_hold;
	pid_t pid = start_child(7, &hold), killed = start_child(0, &other_hold);
	assert_int_equal(process_watch_start(loop, pid, on_end, &first, &watch, &err), STATUS_OK);
	assert_int_equal(process_watch_start(loop, killed, on_end, &second, &other, &err), STATUS_OK);
	(void)uv_run(loop, UV_RUN_NOWAIT);
	assert_int_equal(first.calls + second.calls, 0);
	(void)close(hold);
	assert_int_equal(process_watch_signal(other, SIGKILL, &err), STATUS_OK);
	(void)uv_run(loop, UV_RUN_DEFAULT);
	assert_int_equal(first.calls, 1);
	assert_int_equal(first.pid, pid);
	assert_true(WIFEXITED(first.exit_status) && WEXITSTATUS(first.exit_status) == 7);
	assert_int_equal(second.calls, 1);
	assert_true(WIFSIGNALED(second.exit_status) && WTERMSIG(second.exit_status) == SIGKILL);
	(void)close(other_hold);
}

static void a_child_that_has_ended_already(void **state)
{
	uv_loop_t *loop = *state;
	struct ending ending = { 0 };
	struct process_watch *watch;
	struct error err;
	int hold;
	pid_t pid = start_child(3, &hold);
	(void)close(hold);
	siginfo_t info;
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0); /* it is a zombie now */
	assert_int_equal(process_watch_start(loop, pid, on_end, &ending, &watch, &err), STATUS_OK);
	assert_int_equal(process_watch_signal(watch, SIGTERM, &err), STATUS_OK); /* too late is no error */
	(void)uv_run(loop, UV_RUN_DEFAULT);
	assert_int_equal(ending.calls, 1);
	assert_int_equal(WEXITSTATUS(ending.exit_status), 3);
}

/* A grandchild whose parent has ended: what a new control finds after the old one died. */
static void an_adopted_process(void **state)
{
	uv_loop_t *loop = *state;
	struct ending ending = { 0 };
	struct process_watch *watch;
	struct error err;
	int told[2], hold[2];
	assert_int_equal(pipe(told), 0);
	assert_int_equal(pipe(hold), 0);
	pid_t middle = fork();
	if (middle == 0) {
		pid_t grandchild = fork();
		if (grandchild == 0) {
			char c;
			(void)close(hold[1]);
			(void)!read(hold[0], &c, 1);
			_exit(5);
		}
		(void)!write(told[1], &grandchild, sizeof grandchild);
		_exit(0);
	}
	pid_t grandchild;
	assert_int_equal(read(told[0], &grandchild, sizeof grandchild), sizeof grandchild);
	assert_int_equal(waitpid(middle, NULL, 0), middle);
	(void)close(hold[0]);
	assert_int_equal(process_watch_start(loop, grandchild, on_end, &ending, &watch, &err), STATUS_OK);
	(void)uv_run(loop, UV_RUN_NOWAIT);
	assert_int_equal(ending.calls, 0);
	(void)close(hold[1]);
	(void)uv_run(loop, UV_RUN_DEFAULT);
	assert_int_equal(ending.calls, 1);
	assert_int_equal(ending.pid, grandchild);
	assert_int_equal(ending.exit_status, -1); /* only a parent learns that */
	(void)close(told[0]);
	(void)close(told[1]);
}

static void cancelled_means_no_callback(void **state)
{
	uv_loop_t *loop = *state;
	struct ending ending = { 0 };
	struct process_watch *watch;
	struct error err;
	int hold;
	pid_t pid = start_child(0, &hold);
	assert_int_equal(process_watch_start(loop, pid, on_end, &ending, &watch, &err), STATUS_OK);
	process_watch_cancel(watch);
	(void)close(hold);
	(void)uv_run(loop, UV_RUN_DEFAULT);
	assert_int_equal(ending.calls, 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid); /* the caller's again */
}

static void nobody_there(void **state)
{
	uv_loop_t *loop = *state;
	struct ending ending = { 0 };
	struct process_watch *watch = NULL;
	struct error err;
	int hold;
	pid_t pid = start_child(0, &hold);
	(void)close(hold);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(process_watch_start(loop, pid, on_end, &ending, &watch, &err), STATUS_NOT_FOUND);
	assert_int_equal(process_watch_start(loop, -5, on_end, &ending, &watch, &err), STATUS_IO);
	assert_null(watch);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(tells_how_a_child_ended),
		TEST(a_child_that_has_ended_already),
		TEST(an_adopted_process),
		TEST(cancelled_means_no_callback),
		TEST(nobody_there),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
