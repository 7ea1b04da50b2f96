/*
 * Control link: the proxy's questions to control, over run/control.sock (docs/architecture.md, "control.sock").
 *
 * Control may be away for a moment (it is restarted when it dies): the link connects again, and questions without an
 * answer are asked again, for CONTROL_PATIENCE_MS; both questions may be asked twice without harm.
 *
 * Invariants
 *   C1  every question is answered exactly once, from the loop, never within the asking call; or it is cancelled.
 *   C2  answers are hostile input like any other: what is too long or malformed is an answer of kind CONTROL_FAILED.
 *       A login with a verifier that is none is such an answer, too: nobody gets in by mistake.
 *   C3  after control_link_close() no answer comes; the owner has cancelled its questions before.
 * Threads: the loop's.
 */
#pragma once

#include <uv.h>

#include "auth/scram_verifier.h"
#include "base/base.h"

#define CONTROL_PATIENCE_MS  10000u  /* without a connection to control */
#define CONTROL_ROUTE_MAX_MS 20000u  /* for the answer to a route */
#define CONTROL_OPEN_MAX_MS  120000u /* a start may include crash recovery */
#define ENDPOINT_UID_MAX     63u
#define ENDPOINT_NAME_MAX    255u
#define SOCKET_DIR_MAX       90u /* a socket path ends at 107 bytes */

struct control_link;
struct control_question;
struct yyjson_mut_doc;
struct yyjson_val;

struct endpoint {
	char uid[ENDPOINT_UID_MAX + 1];
	char name[ENDPOINT_NAME_MAX + 1];   /* "projects/p/branches/b/endpoints/e" */
	char project[ENDPOINT_UID_MAX + 1]; /* uid; "": control did not say */
	/* How many clients may be connected: directly, through the pooler, to all of the project. 0: control did not say. */
	uint64_t connections_max, pooled_connections_max, project_connections_max;
	bool is_disabled;
	bool is_read_only;
	bool allows_passwords; /* native login is on in its project */
	bool refuses_tokens; /* of the role that was asked for: its identity is gone, or deactivated; or it is being deleted */
	bool is_pooled; /* it was asked for by the address of its pooler */
};

/* How the role that was asked for logs in to it. */
struct role_login {
	bool has_password; /* else a token */
	/* The rest of a password that may be used: */
	bool is_permitted;              /* false: not even with the right one */
	bool is_fresh;                  /* as of Postgres that runs; else to be asked again once it does */
	struct scram_verifier verifier; /* always there; one that nothing fits when no password is right */
	char reason[128];               /* why none is; for the log only */
};

enum control_answer_kind {
	CONTROL_OK,
	CONTROL_NOT_FOUND,
	CONTROL_NOT_ALLOWED, /* from that address */
	CONTROL_DISABLED,
	CONTROL_START_FAILED,
	CONTROL_SHUTTING_DOWN,
	CONTROL_BUSY,        /* more questions wait there than it keeps */
	CONTROL_REFUSED,     /* for good; the client may read it as it is */
	CONTROL_NOT_NOW,     /* in a moment */
	CONTROL_UNREACHABLE, /* nobody answered in time */
	CONTROL_FAILED,      /* anything else */
};

struct control_answer {
	enum control_answer_kind kind;
	struct endpoint endpoint; /* of a route that is CONTROL_OK */
	struct role_login login;  /* of one that was asked for a role */
	char socket_dir[SOCKET_DIR_MAX +
	                1]; /* of an open that is CONTROL_OK; of a route when the compute runs, else empty */
	bool has_waited;    /* the compute did not run when that was asked */
	char sqlstate[6];   /* of one that is CONTROL_REFUSED */
	char message[384];  /* of any other kind */
	struct yyjson_val *denied; /* control_answer_denied() */
	char hint[192];            /* may be empty */
};

/* The question is over when this is called; `answer` is valid during the call only. */
typedef void (*control_answer_fn)(void *owner, const struct control_answer *answer);

/* Never fails: without control the link waits for it. on_access: other addresses are let in than before; from the loop. NULL is fine. */
struct control_link *control_link_open(
        uv_loop_t *loop, const char *socket_path, void (*on_access)(void *owner), void *owner);
void control_link_close(struct control_link *link); /* frees itself from the loop */

/*
 * uid and address are plain text (letters, digits, "-", ".", ":"), one of them NULL. role is any text; what is not UTF-8 is asked for as the
 * empty name, which no role has. client: the address that the client comes from.
 */
struct control_question *control_ask_route(struct control_link *link, const char *uid, const char *address,
        const char *role, const char *client, control_answer_fn on_answer, void *owner);
/* Which of these addresses may not be connected any more? Borrows them during the call. */
struct control_question *control_ask_access(struct control_link *link, const char *const *clients,
        size_t count, control_answer_fn on_answer, void *owner);
/* The i-th one of such an answer; NULL behind the last. */
const char *control_answer_denied(const struct control_answer *answer, size_t i);
/* pooled_role: who wants to use the pooler, whose socket is asked for then; NULL: Postgres' socket. */
struct control_question *control_ask_open(struct control_link *link, const char *uid, const char *pooled_role,
        control_answer_fn on_answer, void *owner);
/* Tells what has been counted: the object of the document, which gets "id" and "op"; borrowed during the call. May be told twice. */
struct control_question *control_tell_report(
        struct control_link *link, struct yyjson_mut_doc *report, control_answer_fn on_answer, void *owner);
/* Connects, should there be no connection just now. How many there have been so far: with another one control may be another process. */
uint64_t control_link_connections(struct control_link *link);
/* Forgets the question: no answer comes. */
void control_question_cancel(struct control_question *question);
