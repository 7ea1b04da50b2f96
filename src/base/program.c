#include "base/program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
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

/* ---- what went wrong ---- */

#define COMPLAINT_MAX 300

static bool is_telling(struct slice line)
{
	static const char *const words[] = { "error", "fatal", "panic", "could not" };
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		size_t len = strlen(words[i]);
		for (size_t at = 0; at + len <= line.len; at++)
			if (strncasecmp((const char *)line.data + at, words[i], len) == 0)
				return true;
	}
	return false;
}

static bool is_empty(struct slice line)
{
	for (size_t i = 0; i < line.len; i++)
		if (line.data[i] > ' ' && line.data[i] != 0x7f)
			return false;
	return true;
}

/*
 * The first line that tells of a failure: what follows is advice, a summary, or another failure because of it. Without one the last that is
 * not empty. `is_data`: the lines before the last words may have any words, so the last that tells counts.
 */
static struct slice find_complaint(struct slice text, bool is_data)
{
	struct slice telling = { 0 }, last = { 0 };
	while (text.len > 0) {
		const uint8_t *newline = memchr(text.data, '\n', text.len);
		struct slice line = { text.data, newline ? (size_t)(newline - text.data) : text.len };
		size_t taken = newline ? line.len + 1 : line.len;
		text = (struct slice){ text.data + taken, text.len - taken };
		if (is_empty(line))
			continue;
		last = line;
		if ((is_data || !telling.data) && is_telling(line))
			telling = line;
	}
	return telling.data ? telling : last;
}

/* Of one line, without control characters, not cut within a character. */
static void copy_complaint(struct slice line, char out[COMPLAINT_MAX])
{
	size_t len = 0;
	for (size_t i = 0; i < line.len; i++) {
		uint8_t c = line.data[i] == '\t' ? ' ' : line.data[i];
		if (c < ' ' || c == 0x7f)
			continue;
		if (len == COMPLAINT_MAX - 1) {
			while (len > 0 && (c & 0xc0) == 0x80)
				c = (uint8_t)out[--len];
			break;
		}
		out[len++] = (char)c;
	}
	while (len > 0 && out[len - 1] == ' ')
		len--;
	out[len] = '\0';
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
	struct slice said = { (const uint8_t *)text, output->data ? output->len - output_start : 0 };
	char line[COMPLAINT_MAX];
	copy_complaint(find_complaint(said, program->on_output != NULL), line);
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
