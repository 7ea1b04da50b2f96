#include "proxy/cancel_delivery.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/buffer.h"
#include "pgwire/startup.h"
#include "proxy/backend_connection.h"

#define DELIVERY_MAGIC 0x63616e63u

struct cancel_delivery {
	uint32_t magic;
	uv_poll_t poll;
	int fd;
	cancel_done_fn done;
	void *owner;
};

static struct cancel_delivery *delivery_of(void *p)
{
	struct cancel_delivery *delivery = p;
	assert(delivery && delivery->magic == DELIVERY_MAGIC);
	return delivery;
}

static void delivery_closed(uv_handle_t *handle)
{
	struct cancel_delivery *delivery = delivery_of(handle->data);
	close_fd(&delivery->fd);
	delivery->magic = 0;
	free(delivery);
}

void cancel_delivery_close(struct cancel_delivery *delivery)
{
	if (delivery)
		uv_close((uv_handle_t *)&delivery_of(delivery)->poll, delivery_closed);
}

static void delivery_ready(uv_poll_t *poll, int poll_status, int events)
{
	struct cancel_delivery *delivery = delivery_of(poll->data);
	(void)events;
	char ignored[64];
	ssize_t n = poll_status < 0 ? 0 : recv(delivery->fd, ignored, sizeof ignored, MSG_DONTWAIT);
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	(void)uv_poll_stop(poll);
	delivery->done(delivery->owner);
}

struct cancel_delivery *cancel_delivery_start(
        uv_loop_t *loop, const char *socket_path, struct cancel_key key, cancel_done_fn done, void *owner)
{
	CLEANUP(close_fd) int fd = -1;
	struct error err;
	if (backend_socket_connect(socket_path, &fd, &err) != STATUS_OK)
		return NULL;
	CLEANUP(buffer_done) struct buffer packet = { 0 };
	cancel_request_append(&packet, key);
	/* A fresh local socket has room for 16 bytes. */
	if (send(fd, packet.data, packet.len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)packet.len)
		return NULL;
	struct cancel_delivery *delivery = xcalloc(1, sizeof *delivery);
	*delivery =
	        (struct cancel_delivery){ .magic = DELIVERY_MAGIC, .fd = fd, .done = done, .owner = owner };
	if (uv_poll_init(loop, &delivery->poll, fd) < 0) {
		free(delivery);
		return NULL;
	}
	(void)TAKE_FD(fd);
	delivery->poll.data = delivery;
	if (uv_poll_start(&delivery->poll, UV_READABLE, delivery_ready) < 0) {
		cancel_delivery_close(delivery);
		return NULL;
	}
	return delivery;
}
