/* Haste and children: a process of ours, with a thread, gets ahead and back. */
#include "compute/haste.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "compute/children.h"

static void *tell_thread(void *arg)
{
	pid_t thread = (pid_t)syscall(SYS_gettid);
	(void)!write(*(int *)arg, &thread, sizeof thread);
	(void)pause();
	return NULL;
}

/* A child in a session of its own, as Postgres' processes are; *ret_thread is its second thread. */
static pid_t start_child(pid_t *ret_thread)
{
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		pthread_t thread;
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (setsid() < 0 || pthread_create(&thread, NULL, tell_thread, &ends[1]) != 0)
			_exit(1);
		(void)pause();
		_exit(0);
	}
	assert_true(child > 0);
	assert_int_equal(read(ends[0], ret_thread, sizeof *ret_thread), sizeof *ret_thread);
	(void)close(ends[0]);
	(void)close(ends[1]);
	return child;
}

static void end_child(pid_t child)
{
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

static int nice_of(pid_t pid)
{
	errno = 0;
	int nice = getpriority(PRIO_PROCESS, (id_t)pid);
	assert_int_equal(errno, 0);
	return nice;
}

/* "/autogroup-123 nice -19"; false where the kernel has no such groups. */
static bool session_nice(pid_t pid, int *ret)
{
	char path[64], text[128] = "";
	(void)snprintf(path, sizeof path, "/proc/%d/autogroup", (int)pid);
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	const char *found = n > 0 ? strstr(text, "nice ") : NULL;
	if (!found)
		return false;
	*ret = (int)strtol(found + strlen("nice "), NULL, 10);
	return true;
}

static void test_on_and_off(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	pid_t thread = 0, child = start_child(&thread);
	int own = getpriority(PRIO_PROCESS, 0), session = 0;
	haste_set(child, true);
	assert_true(nice_of(child) < own - 10);
	assert_int_equal(nice_of(thread), nice_of(child));
	if (session_nice(child, &session))
		assert_true(session < -10);
	haste_set(child, false);
	assert_int_equal(nice_of(child), own);
	assert_int_equal(nice_of(thread), own);
	if (session_nice(child, &session))
		assert_int_equal(session, 0);
	end_child(child);
}

static void test_nobody_is_fine(void **state)
{
	(void)state;
	pid_t thread = 0, child = start_child(&thread);
	int own = getpriority(PRIO_PROCESS, 0);
	end_child(child);
	haste_set(child, true);
	haste_set(0, true); /* not ourselves either, as 0 means elsewhere */
	assert_int_equal(getpriority(PRIO_PROCESS, 0), own);
}

struct count {
	pid_t wanted;
	int found;
};

static void count_child(void *owner, pid_t child)
{
	struct count *count = owner;
	count->found += child == count->wanted;
}

static void test_children(void **state)
{
	(void)state;
	pid_t thread = 0, child = start_child(&thread);
	struct count count = { .wanted = child };
	children_each(getpid(), count_child, &count);
	assert_int_equal(count.found, 1);
	/* It has our command line. */
	char own[64] = "";
	CLEANUP(close_fd) int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	assert_true(read(fd, own, sizeof own - 1) > 0);
	assert_int_equal(children_find(getpid(), own), child);
	assert_int_equal(children_find(getpid(), "postgres: startup"), 0);
	assert_int_equal(children_find(child, own), 0);
	end_child(child);
	assert_int_equal(children_find(getpid(), own), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_on_and_off),
		cmocka_unit_test(test_nobody_is_fine),
		cmocka_unit_test(test_children),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
