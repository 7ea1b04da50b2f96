#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* wants the four above */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/role_lock.h"

struct place {
	char folder[64];
	char path[80];
};

static int set_up(void **state)
{
	struct place *place = xcalloc(1, sizeof *place);
	(void)snprintf(place->folder, sizeof place->folder, "/tmp/tarn-unit-lock-XXXXXX");
	assert_non_null(mkdtemp(place->folder));
	(void)snprintf(place->path, sizeof place->path, "%s/x.lock", place->folder);
	*state = place;
	return 0;
}

static int tear_down(void **state)
{
	struct place *place = *state;
	struct error err;
	assert_int_equal(tree_remove(place->folder, &err), STATUS_OK);
	free(place);
	return 0;
}

/* A process that holds the lock until it is told (by closing the pipe) or killed. */
struct holder {
	pid_t pid;
	int hold_fd;
};

static struct holder start_holder(const char *path, const char *text)
{
	int told[2], held[2];
	assert_int_equal(pipe(told), 0);
	assert_int_equal(pipe(held), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct role_lock *lock;
		struct error err;
		char c;
		(void)close(told[0]);
		(void)close(held[1]);
		bool is_held = role_lock_take(path, text, &lock, &err) == STATUS_OK;
		(void)!write(told[1], is_held ? "y" : "n", 1);
		(void)!read(held[0], &c, 1);
		_exit(0);
	}
	assert_true(pid > 0);
	(void)close(told[1]);
	(void)close(held[0]);
	char answer;
	assert_int_equal(read(told[0], &answer, 1), 1);
	assert_int_equal(answer, 'y');
	(void)close(told[0]);
	return (struct holder){ pid, held[1] };
}

static void end_holder(struct holder holder, int signal_number)
{
	if (signal_number)
		assert_int_equal(kill(holder.pid, signal_number), 0);
	(void)close(holder.hold_fd);
	assert_int_equal(waitpid(holder.pid, NULL, 0), holder.pid);
}

static void another_process_holds_it(void **state)
{
	struct place *place = *state;
	struct error err;
	struct role_lock *lock = NULL;
	char text[ROLE_LOCK_TEXT_MAX];
	assert_int_equal(role_lock_look(place->path, text, &err), STATUS_NOT_FOUND);
	struct holder holder = start_holder(place->path, "{\"pid\":1}");
	assert_int_equal(role_lock_look(place->path, text, &err), STATUS_OK);
	assert_string_equal(text, "{\"pid\":1}");
	assert_int_equal(role_lock_take(place->path, "mine", &lock, &err), STATUS_CONFLICT);
	assert_null(lock);
	assert_int_equal(role_lock_look(place->path, text, &err), STATUS_OK);
	assert_string_equal(text, "{\"pid\":1}"); /* the loser has not written */
	end_holder(holder, 0);
	assert_int_equal(role_lock_look(place->path, text, &err), STATUS_NOT_FOUND);
}

static void it_is_free_when_the_holder_is_killed(void **state)
{
	struct place *place = *state;
	struct error err;
	struct role_lock *lock;
	char text[ROLE_LOCK_TEXT_MAX];
	end_holder(start_holder(place->path, "a long text of the first holder"), SIGKILL);
	assert_int_equal(role_lock_look(place->path, text, &err),
	        STATUS_NOT_FOUND); /* though its text is still there */
	assert_int_equal(role_lock_take(place->path, "new", &lock, &err), STATUS_OK);
	assert_int_equal(role_lock_look(place->path, text, &err), STATUS_OK);
	assert_string_equal(text, "new");
	assert_null(role_lock_free(lock));
}

/* A descriptor that a forked and exec'ed child keeps must not keep the lock. */
static void a_child_does_not_inherit_it(void **state)
{
	struct place *place = *state;
	struct error err;
	struct role_lock *lock;
	char text[ROLE_LOCK_TEXT_MAX];
	assert_int_equal(role_lock_take(place->path, "x", &lock, &err), STATUS_OK);
	pid_t pid = fork();
	if (pid == 0) {
		(void)execlp("sleep", "sleep", "30", (char *)NULL);
		_exit(127);
	}
	char link[64], target[256] = "";
	(void)snprintf(link, sizeof link, "/proc/%d/comm", (int)pid);
	while (strcmp(target, "sleep\n") != 0) { /* until it has become another program */
		struct buffer comm = { 0 };
		if (file_read(link, sizeof target - 1, &comm, &err) == STATUS_OK)
			(void)snprintf(target, sizeof target, "%s", comm.data);
		buffer_done(&comm);
	}
	assert_null(role_lock_free(lock));
	assert_int_equal(role_lock_look(place->path, text, &err), STATUS_NOT_FOUND);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void the_text_can_change(void **state)
{
	struct place *place = *state;
	struct error err;
	struct role_lock *lock;
	char text[ROLE_LOCK_TEXT_MAX], long_text[ROLE_LOCK_TEXT_MAX + 1];
	assert_int_equal(role_lock_take(place->path, "a long first text", &lock, &err), STATUS_OK);
	assert_int_equal(role_lock_set_text(lock, "short", &err), STATUS_OK);
	assert_int_equal(role_lock_look(place->path, text, &err), STATUS_OK);
	assert_string_equal(text, "short");
	memset(long_text, 'x', sizeof long_text - 1);
	long_text[ROLE_LOCK_TEXT_MAX] = '\0';
	assert_int_equal(role_lock_set_text(lock, long_text, &err), STATUS_LIMIT);
	long_text[ROLE_LOCK_TEXT_MAX - 1] = '\0';
	assert_int_equal(role_lock_set_text(lock, long_text, &err), STATUS_OK);
	assert_int_equal(role_lock_look(place->path, text, &err), STATUS_OK);
	assert_string_equal(text, long_text);
	role_lock_free(lock);
	assert_null(role_lock_free(NULL));
}

/* Looking used to take a shared lock for a moment, and who wanted the lock at that moment failed. */
static void looking_never_disturbs_who_takes_it(void **state)
{
	struct place *place = *state;
	struct error err;
	struct role_lock *lock;
	assert_int_equal(role_lock_take(place->path, "x", &lock, &err), STATUS_OK); /* the file exists */
	role_lock_free(lock);
	pid_t pid = fork();
	if (pid == 0) {
		char text[ROLE_LOCK_TEXT_MAX];
		for (;;)
			(void)!role_lock_look(place->path, text, &err);
	}
	for (int i = 0; i < 5000; i++) {
		assert_int_equal(role_lock_take(place->path, "x", &lock, &err), STATUS_OK);
		role_lock_free(lock);
	}
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void failures_are_told(void **state)
{
	(void)state;
	struct error err;
	struct role_lock *lock;
	char text[ROLE_LOCK_TEXT_MAX];
	assert_int_equal(role_lock_take("/nowhere/x.lock", "x", &lock, &err), STATUS_IO);
	assert_non_null(strstr(err.message, "/nowhere/x.lock"));
	assert_int_equal(role_lock_look("/nowhere/x.lock", text, &err), STATUS_NOT_FOUND);
	assert_int_equal(role_lock_take("/tmp", "x", &lock, &err), STATUS_IO);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(another_process_holds_it),
		TEST(it_is_free_when_the_holder_is_killed),
		TEST(a_child_does_not_inherit_it),
		TEST(the_text_can_change),
		TEST(looking_never_disturbs_who_takes_it),
		TEST(failures_are_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
