#include "compute/haste.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "base/number.h"

/*
 * Seventy times the share of another (sched_prio_to_weight in Linux' kernel/sched/core.c): as good as alone, while it lasts. Real-time priority was
 * no faster.
 */
#define NICE_IN_HASTE (-19)

static void set_threads(pid_t pid, int nice)
{
	char path[64];
	(void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	CLEANUP(close_listing) DIR *tasks = opendir(path);
	for (struct dirent *item; tasks && (item = readdir(tasks));) {
		int64_t thread;
		if (number_parse(slice_from_text(item->d_name), 1, INT32_MAX, &thread))
			(void)setpriority(PRIO_PROCESS, (id_t)thread, nice);
	}
}

static void set_session(pid_t pid, int nice)
{
	char path[64], text[16];
	(void)snprintf(path, sizeof path, "/proc/%d/autogroup", (int)pid);
	CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CLOEXEC);
	int len = snprintf(text, sizeof text, "%d", nice);
	if (fd >= 0)
		(void)!write(fd, text, (size_t)len);
}

void haste_set(pid_t pid, bool is_on)
{
	if (pid <= 0)
		return;
	set_threads(pid, is_on ? NICE_IN_HASTE : getpriority(PRIO_PROCESS, 0));
	set_session(pid, is_on ? NICE_IN_HASTE : 0);
}
