/* Client session, the part that client_session.c (life, events, end) and session_login.c (until RELAYING) share. */
#pragma once

#include <netinet/in.h>
#include <openssl/ssl.h>

#include "auth/scram_server.h"
#include "base/buffer.h"
#include "proxy/backend_connection.h"
#include "proxy/cancel_delivery.h"
#include "proxy/client_session.h"
#include "proxy/refusal.h"
#include "proxy/relay.h"
#include "proxy/route.h"
#include "proxy/traffic.h"

enum session_state {
	SESSION_KNOCKING,
	SESSION_HANDSHAKE,
	SESSION_STARTUP,
	SESSION_ROUTING,
	SESSION_PASSWORD,
	SESSION_OPENING,
	SESSION_CHECKING,
	SESSION_CONNECTING,
	SESSION_GREETING,
	SESSION_RELAYING,
	SESSION_CANCELLING,
	SESSION_LINGERING,
	SESSION_CLOSED,
};

#define KNOCK_MAX 16u /* the longest plain packet that we act on: CancelRequest */

/* What is needed until RELAYING only. */
struct session_login {
	uint8_t knock[KNOCK_MAX];
	size_t knock_len;
	bool tls_was_asked, gss_was_asked, is_direct, has_moved;
	char address[INET6_ADDRSTRLEN]; /* the one that the client connected to */
	struct server_name server_name;
	char uid[ENDPOINT_UID_MAX + 1]; /* empty: the address decides */
	bool wants_read_only;           /* by the name of its host */
	struct endpoint endpoint;
	struct role_login role;
	struct login_attempt attempt;
	struct scram_server *scram;                  /* NULL: a token is awaited */
	char mechanism[sizeof SCRAM_MECHANISM_PLUS]; /* that the client has chosen; empty: not yet */
	bool is_challenged;                          /* the client has our server-first */
	bool has_waited;                             /* for a compute to start */
	bool must_check;       /* by a running compute, whether the password is still the role's */
	bool has_pooler;       /* socket_path is the pooler's, which has taken the role */
	struct buffer forward; /* the start-up packet for the compute */
	struct control_question *question;
	struct backend_connection *connection;
	struct cancel_delivery *delivery;
	char *socket_path;      /* of the compute when it was last said to run, or NULL */
	uint64_t not_now_since; /* loop time; 0: the compute has not said "not now" yet */
	uint64_t pause_ms;
};

struct client_session {
	uint32_t magic;
	enum session_state state;
	struct session_home *home;
	struct client_session *prev, *next;
	int fd, backend_fd;
	uv_poll_t client_poll, backend_poll;
	uv_timer_t timer;
	int client_mask, backend_mask; /* what is polled for */
	unsigned handles;              /* that libuv has not closed yet */
	bool has_backend_poll, tls_is_up, tls_wants_write, is_said, has_heard;
	bool is_remote;   /* on another machine, which may go silent */
	bool has_hung_up; /* the client closed its side while nothing could be read from it */
	bool is_pooled;   /* through the endpoint's pooler */
	SSL *ssl;
	struct block *in;            /* of the login */
	struct buffer out;           /* to the client, before RELAYING */
	struct session_login *login; /* NULL from RELAYING on */
	struct relay relay;
	struct cancel_entry *cancel;
	uint64_t started, last_active; /* loop time */
	struct half_open_seat seat;
	struct admission_place place;
	/* What is counted of it: */
	struct traffic_entry *traffic; /* NULL: the endpoint is not known */
	enum { SESSION_OUTSIDE, SESSION_LET_IN, SESSION_OPEN } counted_as;
	uint64_t counted_received, counted_sent; /* of the relay's bytes */
	/* For the log; NULL: not known. */
	char *uid, *user, *database, *application;
	const char *refused, *login_method;
	int64_t login_ms; /* -1: it did not come to that */
	bool was_wake, is_cancel_request;
	char address[INET6_ADDRSTRLEN];  /* that the client comes from */
	char peer[INET6_ADDRSTRLEN + 8]; /* the same with its port, for the log */
	bool is_local;                   /* from this machine */
	uint64_t access_round;           /* in which control was asked about it */
};

/* client_session.c */
struct client_session *session_of(void *p);
void session_enter(struct client_session *s, enum session_state state);
void session_start_timer(struct client_session *s, uint64_t ms);
/* Writes what is in `out`; false when the session ended over it. */
bool session_flush(struct client_session *s);
/* Reads into `in` what is there; false when the session ended. */
bool session_fill(struct client_session *s);
/* Tells the client and lingers. */
void session_refuse(struct client_session *s, const struct refusal *refusal);
/* For those who tell it in other words: counts a refusal. */
void session_note_refusal(struct client_session *s, enum refusal_reason reason);
void session_note_let_in(struct client_session *s);
void session_note_open(struct client_session *s);
/* Lets the client read what `out` has, then closes. */
PRINTF_LIKE(2) void session_say_goodbye(struct client_session *s, const char *reason, ...);
PRINTF_LIKE(2) void session_end(struct client_session *s, const char *reason, ...);
void session_drop_login(struct client_session *s);
/* The handshake has named an endpoint: the session counts as half-open there. False when there was no room, and it ended. */
bool session_move_to(struct client_session *s, const char *uid);

/* session_login.c: one step each, as far as bytes are there. Called in the state of that name only. */
void session_knock(struct client_session *s);
void session_handshake(struct client_session *s);
void session_read_login(struct client_session *s); /* STARTUP and PASSWORD */
void session_ask_open(struct client_session *s);
void session_connect(struct client_session *s); /* socket_path is known */
void session_greet(struct client_session *s);
void session_login_timeout(struct client_session *s); /* of any state before RELAYING */

/* session_password.c: PASSWORD. */
void session_ask_password(struct client_session *s); /* the endpoint and how the role logs in are known */
void session_read_password(struct client_session *s);
/* The bytes that are there; and those that were understood, wiped. */
struct slice session_unread(const struct client_session *s);
void session_consume(struct client_session *s, size_t len);
