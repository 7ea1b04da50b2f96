/*
 * Watcher: keeps control and proxy running. The heart of `tarn up`.
 *
 *             start (nobody holds the lock)             ready
 *   ABSENT ───────────────────────────────▶ STARTING ──────────▶ READY
 *     ▲ └── lock is held: adopt ─────────────▲  │                  │
 *     │                                         │ died             │ died
 *     └───────────── after the back-off ◀───────┴──────────────────┘
 *
 * Invariants
 *   W1  a role is started only when nobody holds its lock; who holds it is adopted, and restarted first if it runs
 *       another binary or other settings than ours.
 *   W2  proxy is started only once control was ready.
 *   W3  until both were ready once, the death of a role is the end: a person is waiting and shall see the reason. What
 *       this watcher started is stopped then, what it adopted goes on.
 *   W4  later a role that died is started again after 0, 0.1, 0.2, … 5 s; ten seconds in READY begin that anew.
 *   W5  roles outlive the watcher, however it ends.
 * Threads: one, with a loop of its own.
 */
#pragma once

#include "base/base.h"
#include "base/role_lock.h"
#include "data_directory/data_directory.h"

/*
 * Runs until SIGTERM or SIGINT (then *ret_shall_stop is true and the roles still run) or until a first start failed.
 * Prints a line per ready role to stdout, and writes "ready" into the lock once all are.
 */
MUST_CHECK status watcher_run(
        const struct data_directory *dd, struct role_lock *lock, bool *ret_shall_stop, struct error *err);
