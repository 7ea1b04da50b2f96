#include "proxy/backend_connection.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#define BACKEND_MAGIC 0x62636b64u
#define READ_BYTES    4096u

struct backend_connection {
	uint32_t magic;
	uv_loop_t *loop;
	uv_poll_t poll;
	int fd;
	struct slice startup; /* what of it has not been sent */
	struct buffer words;
	struct greeting greeting;
	backend_outcome_fn on_outcome;
	void *owner;
	char reason[160];
};

static struct backend_connection *connection_of(void *p)
{
	struct backend_connection *connection = p;
	assert(connection && connection->magic == BACKEND_MAGIC);
	return connection;
}

static void connection_closed(uv_handle_t *handle)
{
	struct backend_connection *connection = connection_of(handle->data);
	close_fd(&connection->fd);
	buffer_done(&connection->words);
	connection->magic = 0;
	free(connection);
}

void backend_connection_close(struct backend_connection *connection)
{
	if (!connection)
		return;
	connection_of(connection)->on_outcome = NULL;
	uv_close((uv_handle_t *)&connection->poll, connection_closed);
}

int backend_connection_take(struct backend_connection *connection)
{
	assert(connection_of(connection)->greeting.state == GREETING_READY);
	int fd = TAKE_FD(connection->fd);
	backend_connection_close(connection);
	return fd;
}

static void connection_end(
        struct backend_connection *connection, enum backend_outcome outcome, const char *reason)
{
	(void)uv_poll_stop(&connection->poll);
	(void)snprintf(connection->reason, sizeof connection->reason, "%s", reason);
	connection->on_outcome(connection->owner, outcome);
}

/* Class 57P: the server is being started or stopped; its word is for an administrator, not for this client. */
static bool is_passing(const char *sqlstate)
{
	return strcmp(sqlstate, "57P01") == 0 || strcmp(sqlstate, "57P02") == 0 ||
	       strcmp(sqlstate, "57P03") == 0;
}

static void connection_judge(struct backend_connection *connection)
{
	const struct greeting *greeting = &connection->greeting;
	switch (greeting->state) {
	case GREETING_READY:
		connection_end(connection, BACKEND_READY, "ready");
		break;
	case GREETING_REFUSED:
		if (is_passing(greeting->sqlstate))
			connection_end(
			        connection, BACKEND_NOT_NOW, "the server is starting up or shutting down");
		else
			connection_end(connection, BACKEND_REFUSED, "the server refused the session");
		break;
	case GREETING_UNEXPECTED:
		connection_end(connection, BACKEND_BROKEN,
		        "the compute's server asked for authentication or sent an unexpected message");
		break;
	case GREETING_WAITING:
	case GREETING_SETTING_UP:
		if (connection->words.len >= BACKEND_GREETING_MAX)
			connection_end(connection, BACKEND_BROKEN,
			        "the compute's server sends too much before it is ready");
	}
}

/* False when nothing was there to read. */
static bool connection_read(struct backend_connection *connection)
{
	struct buffer *words = &connection->words;
	buffer_reserve(words, READ_BYTES);
	ssize_t n = recv(connection->fd, words->data + words->len, READ_BYTES, MSG_DONTWAIT);
	if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
		return false;
	if (n <= 0) {
		connection_end(connection, BACKEND_NOT_NOW, "the server closed the connection");
		return true;
	}
	struct slice bytes = { (const uint8_t *)words->data + words->len, (size_t)n };
	words->len += (size_t)n;
	words->data[words->len] = '\0';
	(void)greeting_feed(&connection->greeting, bytes); /* what follows belongs to the words as well */
	connection_judge(connection);
	return true;
}

static void connection_ready(uv_poll_t *poll, int poll_status, int events);

static bool connection_send(struct backend_connection *connection)
{
	struct slice *left = &connection->startup;
	while (left->len > 0) {
		ssize_t n = send(connection->fd, left->data, left->len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break; /* full: later; broken: what it said, or its end, is there to be read */
		left->data += n;
		left->len -= (size_t)n;
	}
	bool is_waiting = left->len > 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
	return uv_poll_start(&connection->poll, UV_READABLE | (is_waiting ? UV_WRITABLE : 0),
	               connection_ready) == 0;
}

static void connection_ready(uv_poll_t *poll, int poll_status, int events)
{
	struct backend_connection *connection = connection_of(poll->data);
	if (poll_status < 0) {
		/* A socket in error still has what was said before; libuv has stopped to watch it. */
		while (!connection->reason[0] && connection_read(connection))
			;
		if (!connection->reason[0])
			connection_end(connection, BACKEND_NOT_NOW, "the server closed the connection");
		return;
	}
	if ((events & UV_WRITABLE) && connection->startup.len > 0 && !connection_send(connection)) {
		connection_end(connection, BACKEND_NOT_NOW, "the server closed the connection");
		return;
	}
	if (events & UV_READABLE)
		(void)connection_read(connection);
}

/*
 * Non-blocking connect on a Unix socket succeeds or fails at once; EAGAIN means a full backlog (unix(7)), so a server
 * that is too busy to accept is a matter of a little later, as one that does not listen yet.
 */
status backend_socket_connect(const char *path, int *ret_fd, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	if (len >= sizeof address.sun_path)
		return error_set(err, STATUS_INTERNAL, 0, "socket path \"%s\" is too long", path);
	memcpy(address.sun_path, path, len + 1);
	CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(err, STATUS_IO, errno, "could not create a socket");
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		bool not_now = errno == ECONNREFUSED || errno == ENOENT || errno == EAGAIN;
		return error_set(err, not_now ? STATUS_UNAVAILABLE : STATUS_IO, errno,
		        "could not connect to the compute");
	}
	*ret_fd = TAKE_FD(fd);
	return STATUS_OK;
}

status backend_connection_open(uv_loop_t *loop, const char *socket_path, struct slice startup,
        backend_outcome_fn on_outcome, void *owner, struct backend_connection **ret, struct error *err)
{
	CLEANUP(close_fd) int fd = -1;
	status st = backend_socket_connect(socket_path, &fd, err);
	if (st != STATUS_OK)
		return st;
	struct backend_connection *connection = xcalloc(1, sizeof *connection);
	*connection = (struct backend_connection){ .magic = BACKEND_MAGIC,
		.loop = loop,
		.fd = fd,
		.startup = startup,
		.on_outcome = on_outcome,
		.owner = owner };
	int rc = uv_poll_init(loop, &connection->poll, fd);
	if (rc < 0) {
		free(connection);
		return error_set(err, STATUS_IO, -rc, "could not watch a connection to the compute");
	}
	(void)TAKE_FD(fd);
	connection->poll.data = connection;
	if (!connection_send(connection)) {
		backend_connection_close(connection);
		return error_set(err, STATUS_IO, 0, "could not watch a connection to the compute");
	}
	*ret = connection;
	return STATUS_OK;
}

struct slice backend_connection_words(const struct backend_connection *connection)
{
	return buffer_slice(&connection->words);
}

const struct greeting *backend_connection_greeting(const struct backend_connection *connection)
{
	return &connection->greeting;
}

const char *backend_connection_reason(const struct backend_connection *connection)
{
	return connection->reason;
}
