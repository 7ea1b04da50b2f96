#include "cli/control_request.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "cli/rest.h"
#include "loop/line_channel.h"

/* Appends until there is a whole line; *ret_len is its length without the newline. */
static status read_line(int fd, int64_t deadline, struct buffer *buf, size_t *ret_len, struct error *err)
{
	for (;;) {
		const char *end = buf->len > 0 ? memchr(buf->data, '\n', buf->len) : NULL;
		if (end) {
			*ret_len = (size_t)(end - buf->data);
			return STATUS_OK;
		}
		if (buf->len > LINE_MAX_BYTES)
			return error_set(
			        err, STATUS_CORRUPT, 0, "control answered with a line that is too long");
		int64_t left = deadline - clock_monotonic_usec();
		struct pollfd waiting = { .fd = fd, .events = POLLIN };
		int ready = left > 0 ? poll(&waiting, 1, (int)(left / 1000) + 1) : 0;
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			return error_set(err, STATUS_UNAVAILABLE, 0, "control did not answer in time");
		char bytes[4096];
		ssize_t n = recv(fd, bytes, sizeof bytes, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set(
			        err, STATUS_UNAVAILABLE, n < 0 ? errno : 0, "control closed the connection");
		buffer_append(buf, bytes, (size_t)n);
	}
}

status control_request(const struct data_directory *dd, const char *op, int64_t timeout_usec,
        yyjson_doc **ret, struct error *err)
{
	int64_t deadline = clock_monotonic_usec() + timeout_usec;
	CLEANUP(free_text) char *path = data_directory_path(dd, "run/control.sock");
	CLEANUP(close_fd) int fd = -1;
	status st = unix_socket_connect(path, &fd, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(free_text) char *line = xasprintf("{\"id\":1,\"op\":\"%s\"}\n", op);
	st = file_write_all(fd, line, strlen(line), err);
	if (st != STATUS_OK)
		return error_set(err, STATUS_UNAVAILABLE, err->sys_errno, "could not ask control");

	CLEANUP(buffer_done) struct buffer answer = { 0 };
	size_t len = 0;
	st = read_line(fd, deadline, &answer, &len, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(json_free) yyjson_doc *doc = yyjson_read(answer.data, len, 0);
	yyjson_val *root = yyjson_doc_get_root(doc);
	if (!yyjson_is_obj(root))
		return error_set(
		        err, STATUS_CORRUPT, 0, "control answered with something that is no JSON object");
	if (yyjson_obj_get(root, "error"))
		return error_set(
		        err, STATUS_UNAVAILABLE, 0, "control refused: %s", json_text(root, "error.message"));
	*ret = TAKE_PTR(doc);
	return STATUS_OK;
}
