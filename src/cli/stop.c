#include "cli/stop.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mount_table.h"
#include "cli/control_request.h"
#include "cli/rest.h"
#include "cli/role.h"

#define PROXY_TIMEOUT_USEC   (10 * USEC_PER_SEC)
#define CONTROL_TIMEOUT_USEC (10 * USEC_PER_SEC)
/* A clean shutdown of Postgres writes everything it has in memory; on a slow disk that takes its time. */
#define SUSPEND_TIMEOUT_USEC (180 * USEC_PER_SEC)

static void say(const char *text)
{
	(void)puts(text);
	(void)fflush(stdout);
}

static status stop_proxy(const struct data_directory *dd, size_t *count, struct error *err)
{
	struct role_state state;
	status st = role_look(dd, "run/proxy.lock", &state, err);
	if (st != STATUS_OK || state.pid == 0)
		return st;
	bool was_killed = false;
	st = role_stop(state.pid, PROXY_TIMEOUT_USEC, &was_killed, err);
	if (st != STATUS_OK)
		return error_prefix(err, "proxy");
	*count += 1;
	say(was_killed ? "proxy killed: it did not stop when asked" : "proxy stopped");
	return STATUS_OK;
}

static status stop_control(const struct data_directory *dd, size_t *count, struct error *err)
{
	struct role_state state;
	status st = role_look(dd, "run/control.lock", &state, err);
	if (st != STATUS_OK || state.pid == 0)
		return st;
	*count += 1;
	CLEANUP(json_free) yyjson_doc *answer = NULL;
	struct error problem;
	if (control_request(dd, "shutdown", SUSPEND_TIMEOUT_USEC, &answer, &problem) == STATUS_OK) {
		int64_t suspended = yyjson_get_sint(yyjson_obj_get(yyjson_doc_get_root(answer), "suspended"));
		CLEANUP(free_text)
		char *line = xasprintf(
		        "control suspended %lld compute%s", (long long)suspended, suspended == 1 ? "" : "s");
		say(line);
		if (process_wait(state.pid, CONTROL_TIMEOUT_USEC)) {
			say("control stopped");
			return STATUS_OK;
		}
	} else {
		CLEANUP(free_text)
		char *line =
		        xasprintf("control could not suspend the computes (%s): they are asked one by one",
		                problem.message);
		say(line);
	}
	/* It must be gone before the computes are, or it would start them again. */
	bool was_killed = false;
	st = role_stop(state.pid, CONTROL_TIMEOUT_USEC, &was_killed, err);
	if (st != STATUS_OK)
		return error_prefix(err, "control");
	say(was_killed ? "control killed: it did not stop when asked" : "control stopped");
	return STATUS_OK;
}

/* Computes that no control looks after. SIGTERM makes a supervisor suspend its Postgres cleanly. */
static status stop_computes(const struct data_directory *dd, size_t *count, struct error *err)
{
	struct compute {
		char *uid;
		pid_t pid;
	} *found = NULL;
	size_t found_count = 0;
	CLEANUP(free_text) char *path = data_directory_path(dd, "computes");
	DIR *dir = opendir(path);
	if (!dir)
		return STATUS_OK;
	status st = STATUS_OK;
	for (const struct dirent *entry; st == STATUS_OK && (entry = readdir(dir));) {
		if (entry->d_name[0] == '.')
			continue;
		CLEANUP(free_text) char *lock = xasprintf("computes/%s/supervisor.lock", entry->d_name);
		struct role_state state;
		st = role_look(dd, lock, &state, err);
		if (st != STATUS_OK || state.pid == 0)
			continue;
		found = xrealloc(found, (found_count + 1) * sizeof *found);
		found[found_count++] = (struct compute){ .uid = xstrdup(entry->d_name), .pid = state.pid };
		(void)kill(state.pid, SIGTERM);
	}
	(void)closedir(dir);

	/* All were asked before the first is waited for: they write to the disk at the same time. */
	int64_t deadline = clock_monotonic_usec() + SUSPEND_TIMEOUT_USEC;
	for (size_t i = 0; i < found_count; i++) {
		int64_t left = deadline - clock_monotonic_usec();
		if (process_wait(found[i].pid, left > 0 ? left : 0)) {
			CLEANUP(free_text) char *line = xasprintf("compute %s suspended", found[i].uid);
			say(line);
		} else if (st == STATUS_OK) {
			st = error_set(err, STATUS_UNAVAILABLE, 0, "compute \"%s\" (process %d) did not stop",
			        found[i].uid, (int)found[i].pid);
			error_hint(err, "Look at %s/computes/%s/postgres.log.", dd->path, found[i].uid);
		}
		free(found[i].uid);
	}
	free(found);
	*count += found_count;
	return st;
}

/* Of computes whose supervisor was killed, and control too before it could start another. */
static status detach_mounts(const struct data_directory *dd, struct error *err)
{
	size_t count;
	CLEANUP(free_text) char *volumes = data_directory_path(dd, "volumes");
	return mount_table_detach_dead(volumes, "fuse.tarn", &count, err);
}

status stop_all(const struct data_directory *dd, size_t *ret_count, struct error *err)
{
	size_t count = 0;
	status st = stop_proxy(dd, &count, err);
	if (st == STATUS_OK)
		st = stop_control(dd, &count, err);
	if (st == STATUS_OK)
		st = stop_computes(dd, &count, err);
	if (st == STATUS_OK)
		st = detach_mounts(dd, err);
	*ret_count = count;
	return st;
}
