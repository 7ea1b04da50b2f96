#include "base/program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

/* Postgres' tools need no more; LC_ALL=C keeps their messages in the language our patterns know. */
static const char *const environment[] = { "PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "TZ=UTC", NULL };

/* In the child, after fork: only async-signal-safe calls. */
__attribute__((noreturn)) static void run_child(
        const struct program *program, pid_t parent, int input, int output)
{
	if (dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0 || close_range(3, ~0u, 0) < 0)
		_exit(126);
	if (chdir(program->working_folder ? program->working_folder : "/") < 0)
		_exit(126);
	if (program->user && !system_user_become(program->user))
		_exit(126);
	/* After the change of user, which clears it. The parent may have died before: then nobody would
	 * signal us. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(126);
	sigset_t none;
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	execve(program->argv[0], (char *const *)program->argv, (char *const *)environment);
	_exit(errno == ENOENT ? 127 : 126);
}

static status input_descriptor(struct slice input, int *ret_fd, struct error *err)
{
	/* A file in memory instead of a pipe: nobody has to feed it while the output is read. */
	CLEANUP(close_fd) int fd = memfd_create("tarn-input", MFD_CLOEXEC);
	if (fd < 0)
		return error_set(err, STATUS_IO, errno, "could not create a file in memory");
	if (file_write_all(fd, input.data, input.len, err) != STATUS_OK)
		return err->code;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return error_set(err, STATUS_IO, errno, "could not rewind a file in memory");
	*ret_fd = TAKE_FD(fd);
	return STATUS_OK;
}

#define OUTPUT_TAIL (8u << 10) /* kept of a program whose output goes elsewhere, for its last words */

static void keep_output(
        const struct program *program, struct buffer *output, size_t start, const char *bytes, size_t len)
{
	size_t kept = output->len - start;
	if (program->on_output && kept > 2 * OUTPUT_TAIL) {
		memmove(output->data + start, output->data + output->len - OUTPUT_TAIL, OUTPUT_TAIL);
		output->len = start + OUTPUT_TAIL;
	} else if (!program->on_output && len > PROGRAM_OUTPUT_MAX - kept) {
		len = PROGRAM_OUTPUT_MAX - kept;
	}
	buffer_append(output, bytes, len);
}

/* False: somebody had enough before the end. */
static bool read_output(const struct program *program, int fd, struct buffer *output)
{
	char chunk[4096];
	size_t start = output->len;
	for (;;) {
		ssize_t n = read(fd, chunk, sizeof chunk);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return true;
		keep_output(program, output, start, chunk, (size_t)n);
		if (program->on_output && !program->on_output(program->owner, chunk, (size_t)n))
			return false;
	}
}

/* The last line that is not empty, as a copy. */
static char *last_line(const char *text, size_t len)
{
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
		len--;
	size_t start = len;
	while (start > 0 && text[start - 1] != '\n')
		start--;
	return xstrndup(text + start, len - start);
}

static status judge(const struct program *program, int exit_status, const struct buffer *output,
        size_t output_start, struct error *err)
{
	if (WIFEXITED(exit_status) && WEXITSTATUS(exit_status) == 0)
		return STATUS_OK;
	const char *name = program->argv[0];
	if (WIFSIGNALED(exit_status))
		return error_set(err, STATUS_INTERNAL, 0, "program \"%s\" was ended by signal %d", name,
		        WTERMSIG(exit_status));
	if (WEXITSTATUS(exit_status) == 127 && output->len == output_start)
		return error_set(err, STATUS_NOT_FOUND, 0, "program \"%s\" does not exist", name);
	const char *text = output->data ? output->data + output_start : "";
	CLEANUP(free_text) char *line = last_line(text, output->data ? output->len - output_start : 0);
	bool disk_is_full = strstr(text, strerror(ENOSPC)) || strstr(text, strerror(EDQUOT));
	return error_set(err, disk_is_full ? STATUS_NO_SPACE : STATUS_INTERNAL, 0,
	        "program \"%s\" failed with exit code %d: %s%s", name, WEXITSTATUS(exit_status),
	        disk_is_full ? "no space left on device: " : "", *line ? line : "it said nothing");
}

status program_run(const struct program *program, struct buffer *output, struct error *err)
{
	size_t output_start = output->len;
	CLEANUP(close_fd) int input = -1;
	if (input_descriptor(program->input, &input, err) != STATUS_OK)
		return err->code;
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set(err, STATUS_IO, errno, "could not create a pipe");
	CLEANUP(close_fd) int reader = ends[0];
	CLEANUP(close_fd) int writer = ends[1];

	pid_t parent = getpid();
	pid_t child = fork();
	if (child < 0)
		return error_set(err, STATUS_IO, errno, "could not start program \"%s\"", program->argv[0]);
	if (child == 0)
		run_child(program, parent, input, writer);
	close_fd(&writer);
	bool is_at_end = read_output(program, reader, output);
	if (!is_at_end)
		(void)kill(child, SIGKILL); /* not waited for yet, so the number is still its own */
	int exit_status;
	while (waitpid(child, &exit_status, 0) < 0) {
		if (errno != EINTR)
			return error_set(
			        err, STATUS_IO, errno, "could not wait for program \"%s\"", program->argv[0]);
	}
	return is_at_end ? judge(program, exit_status, output, output_start, err) : STATUS_OK;
}
