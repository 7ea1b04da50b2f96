/*
 * Session access: ends the sessions of clients that may not be connected any more, because administrators have changed the IP access lists. Control
 * tells that something has changed, and is then asked about the addresses that are there; also after a connection to it was lost, when it may
 * have told nobody.
 *
 * Invariants
 *   C1  after a change every session has either been asked about, or asks itself: its route is asked for with its address.
 *   C2  one question is on its way at a time; one without an answer is asked again with the next look.
 *   C3  clients of this machine are never asked about: they are always let in.
 * Threads: the loop's.
 */
#pragma once

#include "proxy/client_session.h"

#define ACCESS_ADDRESSES_MAX 5000u /* of one question, which is one line */

struct session_access;

/* Borrows home, whose control is set before the first call. */
struct session_access *session_access_create(struct session_home *home);
struct session_access *session_access_free(struct session_access *access); /* NULL is fine; always NULL */

/* Something has changed. */
void session_access_note_change(struct session_access *access);
/* To be called now and then: asks again what is still open. */
void session_access_look(struct session_access *access);
/* No more questions, and no answers. */
void session_access_stop(struct session_access *access);
