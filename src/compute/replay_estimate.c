#include "compute/replay_estimate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <yyjson.h>

#include "base/clock.h"
#include "base/file.h"

/*
 * What replaying costs on the machine that we measured on, warm; the factor does the rest. Stock 17: 19,000 TPC-B transactions, about
 * 140,000 records that touch 25,000 pages, took 2.8 to 3.5 s with a cold cache on a busy machine, 4,000 of them 0.2 s when warm.
 */
#define USEC_PER_RECORD 6.0
#define USEC_PER_PAGE   40.0
#define USEC_PER_MB     2000.0
#define MB              1048576.0

#define FACTOR_MIN         0.05
#define FACTOR_MAX         20.0
#define SPEED_DEFAULT_MB_S 100.0
#define SPEED_MAX_MB_S     1e6
#define WEIGHT_MAX         0.5
#define SPEED_FILE_MAX     4096
#define SPEED_VERSION      1

static double clamp(double value, double min, double max)
{
	return value < min ? min : value > max ? max : value;
}

static double work_usec(const struct replay_work *work)
{
	return (double)work->records * USEC_PER_RECORD + (double)work->pages * USEC_PER_PAGE +
	       (double)work->wal_bytes / MB * USEC_PER_MB;
}

void replay_speed_begin(struct replay_speed *speed)
{
	*speed = (struct replay_speed){ .factor = 1.0, .mb_s = SPEED_DEFAULT_MB_S };
}

int64_t replay_estimate_usec(const struct replay_speed *speed, const struct replay_work *work)
{
	return (int64_t)(work_usec(work) * speed->factor);
}

void replay_speed_learn(struct replay_speed *speed, const struct replay_work *work, int64_t elapsed_usec)
{
	double expected = work_usec(work);
	if (expected <= 0 || elapsed_usec <= 0 || work->wal_bytes <= 0)
		return;
	double weight = clamp(expected / (double)USEC_PER_SEC, 0, WEIGHT_MAX);
	double factor = clamp((double)elapsed_usec / expected, FACTOR_MIN, FACTOR_MAX);
	double mb_s = clamp((double)work->wal_bytes / MB / ((double)elapsed_usec / (double)USEC_PER_SEC), 0,
	        SPEED_MAX_MB_S);
	speed->factor += (factor - speed->factor) * weight;
	speed->mb_s += (mb_s - speed->mb_s) * weight;
	speed->recoveries++;
}

status replay_speed_parse(struct slice text, struct replay_speed *ret, struct error *err)
{
	yyjson_doc *doc = yyjson_read((const char *)text.data, text.len, 0);
	yyjson_val *root = yyjson_doc_get_root(doc);
	yyjson_val *version = yyjson_obj_get(root, "version"), *factor = yyjson_obj_get(root, "factor"),
	           *mb_s = yyjson_obj_get(root, "mb_s"), *recoveries = yyjson_obj_get(root, "recoveries");
	bool is_good = yyjson_is_int(version) && yyjson_get_sint(version) == SPEED_VERSION &&
	               yyjson_is_num(factor) && yyjson_is_num(mb_s) && yyjson_is_int(recoveries);
	struct replay_speed speed = { .factor = yyjson_get_num(factor),
		.mb_s = yyjson_get_num(mb_s),
		.recoveries = yyjson_get_sint(recoveries) };
	yyjson_doc_free(doc);
	/* Written so that a NaN fails. */
	if (!is_good || !(speed.factor >= FACTOR_MIN && speed.factor <= FACTOR_MAX) ||
	        !(speed.mb_s >= 0 && speed.mb_s <= SPEED_MAX_MB_S) || speed.recoveries < 0)
		return error_set(err, STATUS_CORRUPT, 0, "the measured replay speed makes no sense");
	*ret = speed;
	return STATUS_OK;
}

void replay_speed_format(const struct replay_speed *speed, struct buffer *out)
{
	buffer_printf(out, "{\"version\":%d,\"factor\":%.4f,\"mb_s\":%.1f,\"recoveries\":%" PRId64 "}\n",
	        SPEED_VERSION, speed->factor, speed->mb_s, speed->recoveries);
}

void replay_speed_read(const struct data_directory *dd, struct replay_speed *ret)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	CLEANUP(free_text) char *path = data_directory_path(dd, "replay_speed.json");
	struct error err;
	if (file_read(path, SPEED_FILE_MAX, &text, &err) != STATUS_OK ||
	        replay_speed_parse(buffer_slice(&text), ret, &err) != STATUS_OK)
		replay_speed_begin(ret);
}

status replay_speed_write(
        const struct data_directory *dd, const struct replay_speed *speed, struct error *err)
{
	CLEANUP(buffer_done) struct buffer text = { 0 };
	CLEANUP(free_text) char *path = data_directory_path(dd, "replay_speed.json");
	replay_speed_format(speed, &text);
	return file_replace_durably(path, buffer_slice(&text), 0644, err);
}
