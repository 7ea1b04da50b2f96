/*
 * Write brake: what is done to those who write while disk space runs out, so that Postgres never meets a full disk, which ends in
 * PANIC. A pure function of the free space; configuration.c makes settings of it, which a reload brings to every session.
 *
 *     free space
 *        ▲
 *        │  BRAKE_OFF
 *        ├ 2 x limit ─ BRAKE_SLOW   every commit waits, 1 to 100 ms, the longer the less there is (commit_delay); an alarm
 *        ├ limit ───── BRAKE_STOP   new transactions are read-only unless they say otherwise (so that space can be freed);
 *        │                          statements of transactions that wrote before are cancelled; no scheduled restore points
 *        ├ limit / 4 ─ BRAKE_HARD   the same, and whoever writes all the same is cancelled
 *        └ 0
 *
 * The limit is max(1 GiB, 2 % of the disk). Each step back needs a quarter more than the step that led there.
 */
#pragma once

#include "base/base.h"

#define BRAKE_LIMIT_BYTES   (INT64_C(1) << 30)
#define BRAKE_LIMIT_PERCENT 2

enum brake_level { BRAKE_OFF, BRAKE_SLOW, BRAKE_STOP, BRAKE_HARD };

struct write_brake {
	enum brake_level level;
	int commit_delay_usec; /* with BRAKE_SLOW and above */
};

/* Takes the space into account; true when anything of *brake is another than before. */
bool write_brake_judge(struct write_brake *brake, int64_t free_bytes, int64_t total_bytes);
/* When to look again: before the disk could be full, and never for nothing. */
int64_t write_brake_next_look_ms(const struct write_brake *brake, int64_t free_bytes, int64_t total_bytes);
/* One line for people; empty when there is nothing to tell. */
void write_brake_describe(
        const struct write_brake *brake, int64_t free_bytes, int64_t total_bytes, char *out, size_t size);
