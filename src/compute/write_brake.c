#include "compute/write_brake.h"

#include <inttypes.h>
#include <stdio.h>

#define MB                (INT64_C(1) << 20)
#define FILL_BYTES_PER_MS (INT64_C(1) << 20) /* no disk of ours fills faster than 1 GiB/s */
#define LOOK_MIN_MS       200
#define LOOK_MAX_MS       5000

static int64_t limit_of(int64_t total_bytes)
{
	int64_t share = total_bytes / 100 * BRAKE_LIMIT_PERCENT;
	return share > BRAKE_LIMIT_BYTES ? share : BRAKE_LIMIT_BYTES;
}

/* Below how much a level begins. */
static int64_t begins_at(enum brake_level level, int64_t limit)
{
	switch (level) {
	case BRAKE_SLOW:
		return 2 * limit;
	case BRAKE_STOP:
		return limit;
	case BRAKE_HARD:
		return limit / 4;
	case BRAKE_OFF:
		break;
	}
	return INT64_MAX;
}

static enum brake_level judge_level(enum brake_level old, int64_t free_bytes, int64_t limit)
{
	enum brake_level level = BRAKE_OFF;
	while (level < BRAKE_HARD && free_bytes < begins_at(level + 1, limit))
		level++;
	/* Back only with a margin, or it would go to and fro. */
	while (level < old && free_bytes < begins_at(level + 1, limit) + begins_at(level + 1, limit) / 4)
		level++;
	return level;
}

/* A few steps only: each change is a reload. */
static int delay_of(enum brake_level level, int64_t free_bytes, int64_t limit)
{
	static const int steps[] = { 1000, 5000, 20000, 50000, 100000 };
	if (level == BRAKE_OFF)
		return 0;
	if (level > BRAKE_SLOW || free_bytes <= limit)
		return steps[ARRAY_LEN(steps) - 1];
	int64_t missing = 2 * limit - free_bytes;
	size_t step = missing <= 0 ? 0 : (size_t)(missing * (int64_t)ARRAY_LEN(steps) / limit);
	return steps[step < ARRAY_LEN(steps) ? step : ARRAY_LEN(steps) - 1];
}

bool write_brake_judge(struct write_brake *brake, int64_t free_bytes, int64_t total_bytes)
{
	int64_t limit = limit_of(total_bytes);
	struct write_brake old = *brake;
	brake->level = judge_level(old.level, free_bytes, limit);
	brake->commit_delay_usec = delay_of(brake->level, free_bytes, limit);
	return brake->level != old.level || brake->commit_delay_usec != old.commit_delay_usec;
}

int64_t write_brake_next_look_ms(const struct write_brake *brake, int64_t free_bytes, int64_t total_bytes)
{
	int64_t limit = limit_of(total_bytes);
	int64_t room = brake->level == BRAKE_OFF ? free_bytes - 2 * limit : limit / 4;
	int64_t wait = room / FILL_BYTES_PER_MS;
	return wait < LOOK_MIN_MS ? LOOK_MIN_MS : wait > LOOK_MAX_MS ? LOOK_MAX_MS : wait;
}

void write_brake_describe(
        const struct write_brake *brake, int64_t free_bytes, int64_t total_bytes, char *out, size_t size)
{
	int64_t limit = limit_of(total_bytes);
	int64_t back = begins_at(brake->level, limit);
	out[0] = '\0';
	if (brake->level == BRAKE_OFF)
		return;
	(void)snprintf(out, size,
	        "the disk is nearly full: %" PRId64 " MB are free; %s until %" PRId64 " MB are",
	        free_bytes / MB,
	        brake->level == BRAKE_SLOW ? "commits are delayed" : "new transactions are read-only",
	        (back + back / 4) / MB);
}
