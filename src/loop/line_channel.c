#include "loop/line_channel.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buffer.h"

#define CHANNEL_MAGIC     0x6c696e65u
#define LISTENER_MAGIC    0x6c697374u
#define LISTENER_PAUSE_MS 100

struct line_channel {
	uint32_t magic;
	uv_poll_t poll;
	int fd;
	const struct line_channel_events *events;
	void *owner;
	struct buffer in, out;
	char reason[128];
	bool is_closing, is_finishing, waits_to_write;
};

struct line_listener {
	uint32_t magic;
	uv_poll_t poll;
	uv_timer_t pause; /* runs while no descriptor is to be had */
	int open_handles;
	int fd;
	line_accept_fn on_accept;
	void *owner;
};

static void channel_poll(struct line_channel *ch, int events);

static struct line_channel *channel_of(void *p)
{
	struct line_channel *ch = p;
	assert(ch && ch->magic == CHANNEL_MAGIC);
	return ch;
}

static struct line_listener *listener_of(void *p)
{
	struct line_listener *listener = p;
	assert(listener && listener->magic == LISTENER_MAGIC);
	return listener;
}

static void channel_closed(uv_handle_t *handle)
{
	struct line_channel *ch = channel_of(handle->data);
	close_fd(&ch->fd);
	ch->events->on_close(ch->owner, ch, ch->reason);
	buffer_done(&ch->in);
	buffer_done(&ch->out);
	ch->magic = 0;
	free(ch);
}

static void channel_close(struct line_channel *ch, const char *reason)
{
	if (ch->is_closing)
		return;
	ch->is_closing = true;
	strncpy(ch->reason, reason, sizeof ch->reason - 1);
	(void)uv_poll_stop(&ch->poll);
	uv_close((uv_handle_t *)&ch->poll, channel_closed);
}

void line_channel_close(struct line_channel *channel)
{
	channel_close(channel, "closed here");
}

static void channel_write(struct line_channel *ch)
{
	while (ch->out.len > 0) {
		ssize_t n = send(ch->fd, ch->out.data, ch->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			if (!ch->waits_to_write) {
				ch->waits_to_write = true;
				channel_poll(ch, UV_READABLE | UV_WRITABLE);
			}
			return;
		}
		if (n < 0) {
			channel_close(ch, strerror(errno));
			return;
		}
		buffer_consume(&ch->out, (size_t)n);
	}
	if (ch->waits_to_write) {
		ch->waits_to_write = false;
		channel_poll(ch, UV_READABLE);
	}
	if (ch->is_finishing)
		channel_close(ch, "finished");
}

static void channel_deliver(struct line_channel *ch)
{
	size_t done = 0;
	while (!ch->is_closing) {
		char *end = memchr(ch->in.data + done, '\n', ch->in.len - done);
		if (!end)
			break;
		struct slice line = { (const uint8_t *)ch->in.data + done,
			(size_t)(end - ch->in.data) - done };
		if (line.len > LINE_MAX_BYTES)
			break;
		done += line.len + 1;
		ch->events->on_line(ch->owner, ch, line);
	}
	buffer_consume(&ch->in, done);
	if (ch->in.len > LINE_MAX_BYTES)
		channel_close(ch, "a line is too long");
}

static void channel_read(struct line_channel *ch)
{
	buffer_reserve(&ch->in, 8192);
	ssize_t n = recv(ch->fd, ch->in.data + ch->in.len, 8192, MSG_DONTWAIT);
	if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
		return;
	if (n <= 0) {
		channel_close(ch, n == 0 ? "the other side closed" : strerror(errno));
		return;
	}
	ch->in.len += (size_t)n;
	ch->in.data[ch->in.len] = '\0';
	channel_deliver(ch);
}

static void channel_ready(uv_poll_t *poll, int poll_status, int events)
{
	struct line_channel *ch = channel_of(poll->data);
	if (poll_status < 0) {
		channel_close(ch, uv_strerror(poll_status));
		return;
	}
	if (events & UV_WRITABLE)
		channel_write(ch);
	if ((events & UV_READABLE) && !ch->is_closing)
		channel_read(ch);
}

static void channel_poll(struct line_channel *ch, int events)
{
	int rc = uv_poll_start(&ch->poll, events, channel_ready);
	assert(rc == 0);
	(void)rc;
}

status line_channel_wrap(uv_loop_t *loop, int fd, const struct line_channel_events *events, void *owner,
        struct line_channel **ret, struct error *err)
{
	struct line_channel *ch = xcalloc(1, sizeof *ch);
	*ch = (struct line_channel){ .magic = CHANNEL_MAGIC, .fd = fd, .events = events, .owner = owner };
	int rc = uv_poll_init(loop, &ch->poll, fd);
	if (rc < 0) {
		free(ch);
		return error_set(err, STATUS_IO, -rc, "could not watch a socket");
	}
	ch->poll.data = ch;
	channel_poll(ch, UV_READABLE);
	*ret = ch;
	return STATUS_OK;
}

status line_channel_connect(uv_loop_t *loop, const char *socket_path,
        const struct line_channel_events *events, void *owner, struct line_channel **ret, struct error *err)
{
	CLEANUP(close_fd) int fd = -1;
	status st = unix_socket_connect(socket_path, &fd, err);
	if (st == STATUS_OK)
		st = line_channel_wrap(loop, fd, events, owner, ret, err);
	if (st == STATUS_OK)
		(void)TAKE_FD(fd);
	return st;
}

void line_channel_send(struct line_channel *channel, const char *text)
{
	struct line_channel *ch = channel_of(channel);
	if (ch->is_closing || ch->is_finishing)
		return;
	if (ch->out.len > LINE_OUT_MAX_BYTES) {
		channel_close(ch, "the other side does not read");
		return;
	}
	bool was_empty = ch->out.len == 0;
	buffer_append_text(&ch->out, text);
	buffer_append(&ch->out, "\n", 1);
	if (was_empty)
		channel_write(ch);
}

void line_channel_finish(struct line_channel *channel)
{
	struct line_channel *ch = channel_of(channel);
	if (ch->is_closing)
		return;
	ch->is_finishing = true;
	if (ch->out.len == 0)
		channel_close(ch, "finished");
}

void line_channel_set_owner(struct line_channel *channel, void *owner)
{
	channel_of(channel)->owner = owner;
}

static void listener_ready(uv_poll_t *poll, int poll_status, int events);

static void listener_resume(uv_timer_t *pause)
{
	struct line_listener *listener = listener_of(pause->data);
	(void)uv_poll_start(&listener->poll, UV_READABLE, listener_ready);
}

static void listener_ready(uv_poll_t *poll, int poll_status, int events)
{
	struct line_listener *listener = listener_of(poll->data);
	if (poll_status < 0 || !(events & UV_READABLE))
		return;
	int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		listener->on_accept(listener->owner, fd);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
		/* Whoever waits goes on waiting; without a pause this would be called again at once, for
		 * ever. */
		(void)uv_poll_stop(poll);
		(void)uv_timer_start(&listener->pause, listener_resume, LISTENER_PAUSE_MS, 0);
	}
}

status line_listener_adopt(uv_loop_t *loop, int fd, line_accept_fn on_accept, void *owner,
        struct line_listener **ret, struct error *err)
{
	struct line_listener *listener = xcalloc(1, sizeof *listener);
	*listener = (struct line_listener){
		.magic = LISTENER_MAGIC, .fd = fd, .on_accept = on_accept, .owner = owner
	};
	int rc = uv_poll_init(loop, &listener->poll, fd);
	if (rc == 0) {
		listener->poll.data = listener;
		rc = uv_poll_start(&listener->poll, UV_READABLE, listener_ready);
	}
	if (rc < 0) {
		free(listener);
		return error_set(err, STATUS_IO, -rc, "could not watch a listening socket");
	}
	(void)uv_timer_init(loop, &listener->pause);
	listener->pause.data = listener;
	listener->open_handles = 2;
	*ret = listener;
	return STATUS_OK;
}

status line_listener_bind(uv_loop_t *loop, const char *socket_path, line_accept_fn on_accept, void *owner,
        struct line_listener **ret, struct error *err)
{
	CLEANUP(close_fd) int fd = -1;
	status st = unix_socket_listen(socket_path, &fd, err);
	if (st == STATUS_OK)
		st = line_listener_adopt(loop, fd, on_accept, owner, ret, err);
	if (st == STATUS_OK)
		(void)TAKE_FD(fd);
	return st;
}

static void listener_closed(uv_handle_t *handle)
{
	struct line_listener *listener = listener_of(handle->data);
	if (--listener->open_handles > 0)
		return;
	close_fd(&listener->fd);
	listener->magic = 0;
	free(listener);
}

void line_listener_close(struct line_listener *listener)
{
	uv_close((uv_handle_t *)&listener_of(listener)->poll, listener_closed);
	uv_close((uv_handle_t *)&listener->pause, listener_closed);
}

static status unix_socket(
        const char *path, int flags, struct sockaddr_un *ret_address, int *ret_fd, struct error *err)
{
	*ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	size_t len = strlen(path);
	if (len >= sizeof ret_address->sun_path)
		return error_set(err, STATUS_INVALID, 0, "socket path \"%s\" is longer than %zu bytes", path,
		        sizeof ret_address->sun_path - 1);
	memcpy(ret_address->sun_path, path, len + 1);
	*ret_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	return *ret_fd < 0 ? error_set(err, STATUS_IO, errno, "could not create a socket") : STATUS_OK;
}

status unix_socket_listen(const char *path, int *ret_fd, struct error *err)
{
	struct sockaddr_un address;
	CLEANUP(close_fd) int fd = -1;
	status st = unix_socket(path, SOCK_NONBLOCK, &address, &fd, err);
	if (st != STATUS_OK)
		return st;
	(void)unlink(path);
	/* fchmod before bind sets the mode of the file that bind creates: never open to others, not even for
	 * a moment. */
	if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
	        listen(fd, 128) < 0)
		return error_set(err, STATUS_IO, errno, "could not listen on socket \"%s\"", path);
	*ret_fd = TAKE_FD(fd);
	return STATUS_OK;
}

status unix_socket_connect(const char *path, int *ret_fd, struct error *err)
{
	struct sockaddr_un address;
	CLEANUP(close_fd) int fd = -1;
	status st = unix_socket(path, 0, &address, &fd, err);
	if (st != STATUS_OK)
		return st;
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		bool nobody = errno == ECONNREFUSED || errno == ENOENT || errno == EAGAIN;
		return error_set(err, nobody ? STATUS_UNAVAILABLE : STATUS_IO, errno,
		        "could not connect to socket \"%s\"", path);
	}
	*ret_fd = TAKE_FD(fd);
	return STATUS_OK;
}
