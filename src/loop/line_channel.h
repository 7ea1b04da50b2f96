/*
 * Line channel: text lines over a local stream socket, both ways, on a libuv loop. Roles of one machine talk
 * in JSON, a line a message; this module knows lines, its users know JSON.
 *
 * Invariants
 *   L1  on_line gets a whole line without its newline, valid only during the call.
 *   L2  a line longer than LINE_MAX_BYTES closes the channel (on_close says why).
 *   L3  after on_close no callback comes any more; the channel frees itself after it. After
 * line_channel_close() on_close still comes, later, from the loop, once. L4  when more than
 * LINE_OUT_MAX_BYTES wait for a side that does not read, the next send closes the channel. Threads:
 * everything on the loop's thread.
 */
#pragma once

#include <uv.h>

#include "base/base.h"

#define LINE_MAX_BYTES     (1u << 20)
#define LINE_OUT_MAX_BYTES (16u << 20)

struct line_channel;

struct line_channel_events {
	void (*on_line)(void *owner, struct line_channel *channel, struct slice line);
	void (*on_close)(void *owner, struct line_channel *channel, const char *reason);
};

/* Connects to a listening Unix socket (connect() to a local listener does not block). `events` is borrowed
 * for ever. */
MUST_CHECK status line_channel_connect(uv_loop_t *loop, const char *socket_path,
        const struct line_channel_events *events, void *owner, struct line_channel **ret, struct error *err);
/* Wraps a connected stream socket; takes fd on success. */
MUST_CHECK status line_channel_wrap(uv_loop_t *loop, int fd, const struct line_channel_events *events,
        void *owner, struct line_channel **ret, struct error *err);
/* Sends text (without newline) as one line; queued, never blocks. After a close it does nothing. */
void line_channel_send(struct line_channel *channel, const char *text);
void line_channel_close(struct line_channel *channel);
/* Closes when everything sent so far has left. */
void line_channel_finish(struct line_channel *channel);
void line_channel_set_owner(struct line_channel *channel, void *owner);

/* Accepts connections on an already listening descriptor or a path it binds (0600) itself. */
struct line_listener;
typedef void (*line_accept_fn)(void *owner, int fd); /* takes fd */
MUST_CHECK status line_listener_bind(uv_loop_t *loop, const char *socket_path, line_accept_fn on_accept,
        void *owner, struct line_listener **ret, struct error *err);
MUST_CHECK status line_listener_adopt(uv_loop_t *loop, int fd, line_accept_fn on_accept, void *owner,
        struct line_listener **ret, struct error *err);   /* takes fd on success */
void line_listener_close(struct line_listener *listener); /* frees itself from the loop */

/*
 * A listening Unix socket at path (an old file there is replaced), mode 0600, close-on-exec, non-blocking.
 * For handing to a child process, so that nobody can come too early to connect.
 */
MUST_CHECK status unix_socket_listen(const char *path, int *ret_fd, struct error *err);
/* A connected one, blocking. STATUS_UNAVAILABLE when nobody listens. */
MUST_CHECK status unix_socket_connect(const char *path, int *ret_fd, struct error *err);
