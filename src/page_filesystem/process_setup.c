#include "page_filesystem/process_setup.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* A killed pagefs takes its Postgres down: others go first. Postgres' own postmaster asks for -1000 in its documentation. */
#define OOM_SCORE "-800"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

static void raise_descriptors(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void lower_oom_score(void)
{
	CLEANUP(close_fd) int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)!write(fd, OOM_SCORE, sizeof OOM_SCORE - 1);
}

void process_setup(bool dies_with_parent)
{
	if (dies_with_parent)
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(
	        SIGXFSZ, SIG_IGN); /* a limit of file sizes is an error of the write, as a full disk is */
	/* The working folder could be below the mount point. */
	(void)!chdir("/");
	raise_descriptors();
	lower_oom_score();
	/* We write what the kernel writes through us: it must not make us wait for that to get memory. Threads inherit it. */
	(void)prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
}
