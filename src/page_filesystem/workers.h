/*
 * Workers: the threads that take the kernel's requests from a FUSE session and answer them.
 *
 * One of them at a time *leads*: it alone reads requests. What is over at once it serves itself and reads on, so that a stream of small writes
 * keeps one thread, and its caches, warm, and nobody is woken but who asked. Before it does what can take long it hands the lead to another, the one
 * that rested last. (libfuse's own loop lets all wait for the device: each request wakes the one that has slept longest.)
 *
 *            wakes, or finds no leader                      hands over, or is relieved
 *   RESTING ─────────────────────────────▶ LEADING ─────────────────────────────────▶ SERVING ──▶ RESTING, or LEADING if nobody is
 *
 * Invariants
 *   K1  at most one leads. There is a leader, or the lead is vacant and all workers serve, of which there are WORKERS_MAX or as many as could be
 *       started: the first that is done takes it.
 *   K2  a request whose writer was answered before it was done is served by the leader, and no request is read until it is: whoever asks after
 *       that answer finds what was written (image.h I1). Nobody relieves a leader meanwhile.
 *   K3  otherwise a leader that is held up (a lock, a slow disk) for more than RELIEF_MSEC is relieved: another leads.
 *
 * While the volume is busy and processors have nothing else to do the leader looks for the next request for some microseconds before it sleeps
 * (docs/decisions/0008-processors-that-poll.md).
 *
 * Threads: workers_serve() blocks the calling thread; the rest is called by workers, while they serve.
 */
#pragma once

#include "page_filesystem/operations.h"

#define WORKERS_MAX 32 /* so many requests can wait for the disk at the same time */
#define RELIEF_MSEC 5

struct workers;

/* Serves until the file system is unmounted. `operations` as given to fuse_session_new(). */
MUST_CHECK status workers_serve(
        struct fuse_session *session, struct operations *operations, struct error *err);

/* What follows may take long. Nothing happens when the caller does not lead, or is no worker. */
void workers_hand_over(void);
/* May the request that is being served be answered before it is done (K2)? It is then, by the caller, at once. */
MUST_CHECK bool workers_may_answer(void);
