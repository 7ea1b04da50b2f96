/*
 * Line channel: bytes that arrive in pieces of any size come out as the same lines that a split of the whole
 * gives. First byte of the input: piece size. The rest: what the other side sends.
 */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "loop/line_channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct receiver {
	struct buffer lines; /* every line with its newline again */
	bool is_closed;
};

static void receive_line(void *owner, struct line_channel *channel, struct slice line)
{
	(void)channel;
	struct receiver *rx = owner;
	buffer_append(&rx->lines, line.data, line.len);
	buffer_append(&rx->lines, "\n", 1);
}

static void receive_close(void *owner, struct line_channel *channel, const char *reason)
{
	(void)channel, (void)reason;
	((struct receiver *)owner)->is_closed = true;
}

static const struct line_channel_events events = { .on_line = receive_line, .on_close = receive_close };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || size > 65536)
		return 0;
	size_t piece = (size_t)data[0] + 1;
	data++, size--;

	uv_loop_t loop;
	int pair[2];
	struct error err;
	struct receiver rx = { 0 };
	struct line_channel *channel = NULL;
	if (uv_loop_init(&loop) != 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0 ||
	        line_channel_wrap(&loop, pair[1], &events, &rx, &channel, &err) != STATUS_OK)
		abort();
	for (size_t sent = 0; sent < size;) {
		size_t len = size - sent < piece ? size - sent : piece;
		ssize_t n = send(pair[0], data + sent, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0)
			sent += (size_t)n;
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	}
	(void)close(pair[0]);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&loop) != 0 || !rx.is_closed)
		abort();

	/* Everything up to the last newline, and nothing else, was delivered. */
	const uint8_t *last = size ? memrchr(data, '\n', size) : NULL;
	size_t expected = last ? (size_t)(last - data) + 1 : 0;
	if (rx.lines.len != expected || (expected && memcmp(rx.lines.data, data, expected) != 0))
		abort();
	buffer_done(&rx.lines);
	return 0;
}
