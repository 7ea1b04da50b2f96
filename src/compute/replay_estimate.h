/*
 * Replay estimate: how long would recovery take that replays this much? WAL bytes alone mislead (18 times as many with full-page
 * images, and the same time), so records and distinct pages count too. The estimate learns: every recovery that is seen is
 * measured, and a smoothed factor between estimated and real time is kept for the machine, in DIR/replay_speed.json:
 *
 *     {"version":1,"factor":0.83,"mb_s":140.5,"recoveries":12}
 *
 *     factor       real time / estimated time, 0.05 to 20
 *     mb_s         WAL replayed per second, smoothed; for people
 *     recoveries   how many were measured
 *
 * The file may be lost or broken at any time: then estimating begins anew. Supervisors write it one after the other or over each other.
 */
#pragma once

#include "base/base.h"
#include "base/buffer.h"
#include "data_directory/data_directory.h"

struct replay_work {
	int64_t wal_bytes, records, pages; /* distinct pages */
};

struct replay_speed {
	double factor, mb_s;
	int64_t recoveries;
};

void replay_speed_begin(struct replay_speed *speed); /* nothing measured yet */
int64_t replay_estimate_usec(const struct replay_speed *speed, const struct replay_work *work);
/* A recovery took this long. Short ones, where the start counts more than the replay, weigh little. */
void replay_speed_learn(struct replay_speed *speed, const struct replay_work *work, int64_t elapsed_usec);

MUST_CHECK status replay_speed_parse(struct slice text, struct replay_speed *ret, struct error *err);
void replay_speed_format(const struct replay_speed *speed, struct buffer *out);
/* Begins anew when there is none that makes sense. */
void replay_speed_read(const struct data_directory *dd, struct replay_speed *ret);
MUST_CHECK status replay_speed_write(
        const struct data_directory *dd, const struct replay_speed *speed, struct error *err);
