/*
 * Page process: the `tarn pagefs` of a compute's volume: its start, its messages (docs/architecture.md, "pagefs"), its end.
 *
 *     MOUNTING ──"mounted"──▶ MOUNTED ──unmount──▶ UNMOUNTING ──▶ ended
 *        │                       └── dies, hangs, is killed ──▶ lost, then ended
 *        └── "failed", dies ──▶ ended
 *
 * Invariants
 *   P1  the process cannot outlive us: SIGKILL is its parent-death signal.
 *   P2  on_lost comes at most once, at once when a mounted process dies or is given up; on_end comes exactly once, last, and only when
 *       the process is no more. Requests that have no answer are failed before it. The page process frees itself after it.
 *   P3  a process that answers no look for PAGE_PROCESS_ALARM_USEC is told of, after PAGE_PROCESS_PATIENCE_USEC it is killed.
 *
 * Threads: the loop's, which must be the process's main thread (parent-death signals belong to a thread).
 */
#pragma once

#include <sys/types.h>
#include <uv.h>

#include "base/base.h"
#include "base/clock.h"
#include "page_store/layer.h"

#define PAGE_PROCESS_LOOK_USEC     (10 * USEC_PER_SEC)
#define PAGE_PROCESS_ALARM_USEC    (30 * USEC_PER_SEC)
#define PAGE_PROCESS_PATIENCE_USEC (120 * USEC_PER_SEC)

struct page_process;

struct page_process_command {
	const char *program; /* "/proc/self/exe"; tests have another */
	const char *data_path, *store, *volume_id, *mount_path;
	int64_t look_usec, alarm_usec, patience_usec; /* 0: as above; tests have no time */
};

struct page_process_events {
	void (*on_mounted)(void *owner);
	void (*on_lost)(void *owner); /* from now on nothing on the mount may be trusted: Postgres must go */
	/* silent_usec 0: it answers again */
	void (*on_silence)(void *owner, int64_t silent_usec);
	void (*on_seen)(void *owner); /* a look shows another size than the one before */
	/* err NULL: unmounted as asked. STATUS_CONFLICT: another process has the image open. */
	void (*on_end)(void *owner, const struct error *err);
};

MUST_CHECK status page_process_start(uv_loop_t *loop, const struct page_process_command *command,
        const struct page_process_events *events, void *owner, struct page_process **ret, struct error *err);
pid_t page_process_pid(const struct page_process *process);
bool page_process_is_mounted(const struct page_process *process);
void page_process_kill(struct page_process *process); /* SIGKILL; on_lost and on_end follow */

/* What a cut made; valid during the callback. */
struct page_cut {
	struct layer_ref *layers; /* sealed, bottom first; take it with TAKE_PTR to keep it */
	size_t layer_count;
	uint64_t pages;
	int64_t pause_usec, logical_bytes;
};
typedef void (*page_cut_fn)(void *owner, struct page_cut *cut, const struct error *err); /* err NULL: made */
void page_process_cut(struct page_process *process, page_cut_fn on_cut, void *owner);

struct page_look {
	int64_t logical_bytes;
	uint64_t open_pages, unsynced_pages, pages_bad;
	int64_t depth;
	char first_bad[256];
};
/* The newest one; looks are made every PAGE_PROCESS_LOOK_USEC, and when asked for. */
const struct page_look *page_process_seen(const struct page_process *process);
typedef void (*page_done_fn)(void *owner, const struct error *err); /* err NULL: done */
void page_process_look(struct page_process *process, page_done_fn on_done, void *owner);
void page_process_sync(struct page_process *process, page_done_fn on_done, void *owner);
/* Syncs, unmounts, ends; on_end tells. */
void page_process_unmount(struct page_process *process);
