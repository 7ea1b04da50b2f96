/*
 * Reconciler: carries open operations out, step by step, until what runs is what metadata says.
 *
 * Invariants
 *   R1  an operation is worked on by at most one job, and jobs whose work touches (operation_must_wait) go in the order in
 *       which their operations were recorded.
 *   R2  every step can be repeated: a job that a crash cut off begins again at the last durable step.
 *   R3  the transaction that ends an operation is the one that makes its result visible (READY, or the rows removed).
 *   R4  a create that fails leaves nothing behind: compute, volume and rows are removed before its error is recorded.
 *   R5  stopping (control's exit, `tarn down`) fails no operation: it stays open and goes on at the next start.
 * Threads: the loop's; steps that block on disks or on Postgres run in libuv's worker threads on copies of what they need.
 */
#pragma once

#include "base/base.h"
#include "control_plane/services.h"

struct reconciler;

/* services->reconciler is set to it; services is borrowed until reconciler_free(). */
struct reconciler *reconciler_create(struct services *services);
/* After every commit that recorded operations, and once at the start: begins what can begin. From the loop's next turn. */
void reconciler_kick(struct reconciler *reconciler);
/* Somebody wants this compute: what is done to its branch only because nobody did ends as soon as it can. */
void reconciler_interrupt(struct reconciler *reconciler, const char *endpoint_uid);
/* No step begins any more. */
void reconciler_stop(struct reconciler *reconciler);
/* A step is still in a worker thread, which cannot be interrupted. */
bool reconciler_is_working(const struct reconciler *reconciler);
/* Operations that are not finished. */
size_t reconciler_open_jobs(const struct reconciler *reconciler);
struct reconciler_numbers {
	size_t open, waiting; /* operations that have not ended; of those: not begun yet */
	int64_t oldest_usec;  /* age of the oldest; 0: there is none */
	bool is_able;         /* it begins operations: neither stopping, nor unable to read them */
};
void reconciler_look(const struct reconciler *reconciler, struct reconciler_numbers *ret);
/* After stop; frees itself from the loop, once no step is in a worker thread. */
void reconciler_free(struct reconciler *reconciler);

/* May the compute of a disabled endpoint run now, because a branch is being made of it? */
bool reconciler_needs(const struct reconciler *reconciler, const char *endpoint_uid);
