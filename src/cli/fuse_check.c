#include "cli/fuse_check.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/mount_table.h"

#define CHECK      "FUSE"
#define DEVICE     "/dev/fuse"
#define OUTPUT_MAX 1024
#define IN_DOCKER  "--device /dev/fuse --cap-add SYS_ADMIN --security-opt apparmor=unconfined"

extern char **environ;

static void add_failure(struct findings *findings, char *text, const char *fix)
{
	findings_add(findings, FINDING_FAILURE, CHECK, text, xstrdup(fix));
}

static void explain_device(struct findings *findings, int code)
{
	if (code == EACCES || code == EPERM)
		add_failure(findings, xasprintf("%s cannot be opened: %s", DEVICE, strerror(code)),
		        "let every user open it, which is the default: chmod 666 /dev/fuse; a container must "
		        "be started with "
		        "--device /dev/fuse");
	else
		add_failure(findings, xasprintf("%s cannot be opened: %s", DEVICE, strerror(code)),
		        "load the kernel's module on the host: modprobe fuse; a container must be started "
		        "with " IN_DOCKER);
}

/* Nobody answers it, and nobody looks into it: it is gone with the descriptor. 0 or an errno. */
static int try_mount(int device, const char *folder)
{
	char options[96];
	(void)snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
	if (mount("tarn-doctor", folder, "fuse", MS_NOSUID | MS_NODEV, options) < 0)
		return errno;
	(void)umount2(folder, MNT_DETACH);
	return 0;
}

static void check_as_root(struct findings *findings, int device, const char *folder)
{
	int code = try_mount(device, folder);
	if (code == 0)
		findings_add(findings, FINDING_OK, CHECK, xstrdup("file systems can be mounted"), NULL);
	else
		add_failure(findings, xasprintf("file systems cannot be mounted: %s", strerror(code)),
		        code == EPERM || code == EACCES
		                ? "in a container, even root may not: start it with " IN_DOCKER
		                : "look at the kernel's messages: dmesg");
}

/* Runs `argv` with its output in *output and one more variable; its exit status, -1 when it did not run. */
static int run_helper(char *const argv[], char *variable, struct buffer *output)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	size_t count = 0;
	while (environ[count])
		count++;
	char **variables = xcalloc(count + 2, sizeof *variables);
	variables[0] = variable;
	memcpy(variables + 1, environ, count * sizeof *variables);
	posix_spawn_file_actions_t actions;
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	(void)posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
	pid_t pid;
	int rc = posix_spawn(&pid, argv[0], &actions, NULL, argv, variables), wait_status = -1;
	(void)posix_spawn_file_actions_destroy(&actions);
	free(variables);
	close_fd(&ends[1]);
	char bytes[256];
	for (ssize_t n; rc == 0 && (n = read(ends[0], bytes, sizeof bytes)) > 0;)
		if (output->len < OUTPUT_MAX)
			buffer_append(output, bytes, (size_t)n);
	close_fd(&ends[0]);
	if (rc != 0 || waitpid(pid, &wait_status, 0) < 0)
		return -1;
	return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
}

/* As libfuse asks fusermount3: it mounts, and sends the device's descriptor through a socket that it finds in _FUSE_COMMFD. */
static bool try_helper(const char *helper, const char *folder, struct buffer *output)
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		return false;
	(void)fcntl(ends[0], F_SETFD, FD_CLOEXEC);
	char variable[32], unused[] = "TARN_DOCTOR=1";
	(void)snprintf(variable, sizeof variable, "_FUSE_COMMFD=%d", ends[1]);
	char *const mount_argv[] = { (char *)(uintptr_t)helper, "-o", "fsname=tarn-doctor", "--",
		(char *)(uintptr_t)folder, NULL };
	char *const unmount_argv[] = { (char *)(uintptr_t)helper, "-u", "-z", "--", (char *)(uintptr_t)folder,
		NULL };
	bool worked = run_helper(mount_argv, variable, output) == 0;
	if (worked) {
		CLEANUP(buffer_done) struct buffer ignored = { 0 };
		(void)run_helper(unmount_argv, unused, &ignored);
	}
	close_fd(&ends[0]);
	close_fd(&ends[1]);
	return worked;
}

static void check_as_user(struct findings *findings, const char *folder)
{
	const char *helper = mount_table_find_helper();
	struct stat st;
	if (!helper) {
		add_failure(findings, xstrdup("fusermount3 is missing, through which ordinary users mount"),
		        "apt install fuse3");
		return;
	}
	CLEANUP(buffer_done) struct buffer output = { 0 };
	if (try_helper(helper, folder, &output)) {
		findings_add(findings, FINDING_OK, CHECK,
		        xasprintf("file systems can be mounted through %s", helper), NULL);
		return;
	}
	char *text = output.data ? output.data : "";
	text[strcspn(text, "\n")] = '\0';
	if (stat(helper, &st) == 0 && (st.st_uid != 0 || !(st.st_mode & S_ISUID)))
		add_failure(findings, xasprintf("%s may not mount: it is not set-user-id root", helper),
		        "install the package fuse3 again, or as root: chown root /usr/bin/fusermount3; chmod "
		        "u+s "
		        "/usr/bin/fusermount3");
	else
		add_failure(findings,
		        xasprintf("%s cannot mount: %s", helper, *text ? text : "it says nothing"),
		        "a container must be started with " IN_DOCKER
		        ", and must not forbid set-user-id programs "
		        "(no-new-privileges)");
}

void check_fuse(struct findings *findings)
{
	CLEANUP(close_fd) int device = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (device < 0) {
		explain_device(findings, errno);
		return;
	}
	const char *temporary = getenv("TMPDIR");
	CLEANUP(free_text)
	char *folder =
	        xasprintf("%s/tarn-doctor.XXXXXX", temporary && *temporary == '/' ? temporary : "/tmp");
	if (!mkdtemp(folder)) {
		findings_add(findings, FINDING_WARNING, CHECK,
		        xasprintf("%s is there; mounting could not be tried: no temporary folder: %s", DEVICE,
		                strerror(errno)),
		        NULL);
		return;
	}
	if (geteuid() == 0)
		check_as_root(findings, device, folder);
	else
		check_as_user(findings, folder);
	(void)rmdir(folder);
}
