#include "loop/process_watch.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define WATCH_MAGIC 0x70776174u

struct process_watch {
	uint32_t magic;
	uv_poll_t poll;
	int pidfd;
	pid_t pid;
	process_end_fn on_end; /* NULL once cancelled or called */
	void *owner;
	int exit_status;
};

static struct process_watch *watch_of(void *p)
{
	struct process_watch *watch = p;
	assert(watch && watch->magic == WATCH_MAGIC);
	return watch;
}

static void watch_closed(uv_handle_t *handle)
{
	struct process_watch *watch = watch_of(handle->data);
	close_fd(&watch->pidfd);
	if (watch->on_end)
		watch->on_end(watch->owner, watch->pid, watch->exit_status);
	watch->magic = 0;
	free(watch);
}

static void watch_ready(uv_poll_t *poll, int poll_status, int events)
{
	(void)poll_status, (void)events;
	struct process_watch *watch = watch_of(poll->data);
	int status_word;
	watch->exit_status = waitpid(watch->pid, &status_word, WNOHANG) == watch->pid ? status_word : -1;
	(void)uv_poll_stop(poll);
	uv_close((uv_handle_t *)poll, watch_closed);
}

status process_watch_start(uv_loop_t *loop, pid_t pid, process_end_fn on_end, void *owner,
        struct process_watch **ret, struct error *err)
{
	CLEANUP(close_fd)
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0); /* glibc 2.36 has no wrapper without headers */
	if (pidfd < 0)
		return error_set(err, errno == ESRCH ? STATUS_NOT_FOUND : STATUS_IO, errno,
		        "could not watch process %d", (int)pid);
	struct process_watch *watch = xcalloc(1, sizeof *watch);
	*watch = (struct process_watch){
		.magic = WATCH_MAGIC, .pidfd = pidfd, .pid = pid, .on_end = on_end, .owner = owner
	};
	int rc = uv_poll_init(loop, &watch->poll, pidfd);
	if (rc == 0) {
		watch->poll.data = watch;
		rc = uv_poll_start(&watch->poll, UV_READABLE, watch_ready);
	}
	if (rc < 0) {
		free(watch);
		return error_set(err, STATUS_IO, -rc, "could not watch process %d", (int)pid);
	}
	(void)TAKE_FD(pidfd);
	*ret = watch;
	return STATUS_OK;
}

void process_watch_cancel(struct process_watch *watch)
{
	watch_of(watch)->on_end = NULL;
	if (!uv_is_closing((uv_handle_t *)&watch->poll))
		uv_close((uv_handle_t *)&watch->poll, watch_closed);
}

status process_watch_signal(struct process_watch *watch, int signal_number, struct error *err)
{
	if (syscall(SYS_pidfd_send_signal, watch_of(watch)->pidfd, signal_number, NULL, 0) < 0 &&
	        errno != ESRCH)
		return error_set(err, STATUS_IO, errno, "could not signal process %d", (int)watch->pid);
	return STATUS_OK;
}
