#include "compute/supervisor.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <uv.h>
#include <yyjson.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/number.h"
#include "base/role_lock.h"
#include "compute/lifecycle.h"
#include "compute/spec.h"

#define EXIT_FAILED 1
#define EXIT_USAGE  2

struct supervisor {
	uv_loop_t loop;
	uv_signal_t terminate, interrupt;
	struct lifecycle *lifecycle; /* NULL once it is over */
	struct role_lock *lock;
	const char *data_path;
	bool has_failed, has_told_ready;
};

struct arguments {
	const char *data, *endpoint;
};

static bool is_uid(const char *text)
{
	size_t len = strlen(text);
	return len >= 1 && len <= SPEC_UID_MAX &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == len;
}

static bool parse_arguments(int argc, char **argv, struct arguments *ret)
{
	static const struct option options[] = {
		{ "data", required_argument, NULL, 'd' },
		{ "endpoint", required_argument, NULL, 'e' },
		{ NULL, 0, NULL, 0 },
	};
	*ret = (struct arguments){ 0 };
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 'd')
			ret->data = optarg;
		else if (c == 'e')
			ret->endpoint = optarg;
		else
			return false;
	}
	return ret->data && ret->endpoint && optind == argc && is_uid(ret->endpoint);
}

/* {"pid":1,"ready":true,"arguments":"--data … --endpoint …"} */
static char *lock_text(const struct arguments *arguments, bool is_ready)
{
	CLEANUP(free_text)
	char *all = xasprintf("--data %s --endpoint %s", arguments->data, arguments->endpoint);
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_int(doc, root, "pid", getpid());
	yyjson_mut_obj_add_bool(doc, root, "ready", is_ready);
	yyjson_mut_obj_add_str(doc, root, "arguments", all);
	char *text = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, NULL);
	yyjson_mut_doc_free(doc);
	return text ? text : xstrdup("{}");
}

static void tell_ready(void)
{
	const char *text = getenv("TARN_READY_FD");
	int64_t fd;
	if (!text || !number_parse(slice_from_text(text), 3, 1000, &fd))
		return;
	(void)!write((int)fd, "ready\n", 6);
	(void)close((int)fd);
}

static void compute_ready(void *owner)
{
	struct supervisor *supervisor = owner;
	if (!supervisor->has_told_ready)
		tell_ready();
	supervisor->has_told_ready = true;
}

static void compute_ended(void *owner, bool has_failed)
{
	struct supervisor *supervisor = owner;
	supervisor->lifecycle = NULL;
	supervisor->has_failed = has_failed;
	uv_close((uv_handle_t *)&supervisor->terminate, NULL);
	uv_close((uv_handle_t *)&supervisor->interrupt, NULL);
}

static void stop_asked(uv_signal_t *handle, int number)
{
	struct supervisor *supervisor = handle->data;
	(void)number;
	if (supervisor->lifecycle)
		lifecycle_suspend(supervisor->lifecycle);
}

static status run(struct supervisor *supervisor, const struct data_directory *dd, const char *endpoint,
        int64_t begun_usec, struct error *err)
{
	int rc = uv_loop_init(&supervisor->loop);
	if (rc < 0)
		return error_set(err, STATUS_IO, -rc, "could not create an event loop");
	supervisor->terminate.data = supervisor->interrupt.data = supervisor;
	(void)uv_signal_init(&supervisor->loop, &supervisor->terminate);
	(void)uv_signal_init(&supervisor->loop, &supervisor->interrupt);
	(void)uv_signal_start(&supervisor->terminate, stop_asked, SIGTERM);
	(void)uv_signal_start(&supervisor->interrupt, stop_asked, SIGINT);
	struct lifecycle_options options = { .dd = dd,
		.endpoint_uid = endpoint,
		.begun_usec = begun_usec,
		.on_ready = compute_ready,
		.on_end = compute_ended,
		.owner = supervisor };
	status st = lifecycle_start(&supervisor->loop, &options, &supervisor->lifecycle, err);
	if (st != STATUS_OK)
		compute_ended(supervisor, true);
	(void)uv_run(&supervisor->loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&supervisor->loop);
	return st;
}

int supervisor_main(int argc, char **argv)
{
	int64_t begun_usec = clock_monotonic_usec();
	struct arguments arguments;
	log_set_role("compute");
	if (!parse_arguments(argc, argv, &arguments)) {
		(void)fprintf(stderr, "usage: tarn compute --data DIR --endpoint UID\n");
		return EXIT_USAGE;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	/* Backends of a postmaster that was killed become our children, and can be ended (leftovers.h). */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		log_warning("could not become a subreaper: %s", strerror(errno));
	CLEANUP(data_directory_freep) struct data_directory *dd = NULL;
	struct supervisor supervisor = { 0 };
	struct error err;
	status st = data_directory_open(arguments.data, &dd, &err);
	if (st == STATUS_OK) {
		CLEANUP(free_text) char *text = lock_text(&arguments, false);
		CLEANUP(free_text)
		char *path = data_directory_path(dd, "computes/%s/supervisor.lock", arguments.endpoint);
		st = role_lock_take(path, text, &supervisor.lock, &err);
	}
	if (st == STATUS_OK)
		st = run(&supervisor, dd, arguments.endpoint, begun_usec, &err);
	if (st != STATUS_OK)
		log_error("%s", err.message);
	role_lock_free(supervisor.lock);
	return st != STATUS_OK || supervisor.has_failed ? EXIT_FAILED : 0;
}
