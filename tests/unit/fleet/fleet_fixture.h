/*
 * Fleet fixture: a data directory with nothing but what the fleet needs, a loop, a fleet whose supervisors follow a script
 * (scripted_supervisor.c), and what its callbacks said. Every test ends with the same checks: no descriptor, no handle and
 * no process more than before.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include <cmocka.h> /* wants the four above */

#include "base/buffer.h"
#include "control_plane/fleet.h"

struct fixture {
	uv_loop_t loop;
	uv_timer_t ticker;
	int64_t turns_since_usec; /* a test that waits too long is ended */
	struct data_directory dd;
	struct fleet *fleet;
	struct fleet_events events;
	struct buffer changes; /* "ep:starting ep:running …" */
	int spec_writes, revision;
	const char *spec_failure; /* NULL: write_spec succeeds */
	char *forget_when_asleep; /* on_change forgets this one; NULL: none */
	int descriptors;
	bool is_in_call; /* a callback that comes now comes from inside a call */
};

/* What one callback of the fleet said. */
struct outcome {
	struct fixture *fixture;
	int calls;
	char *uid;
	struct error err;
	bool has_failed;
	bool forgets; /* forgets the endpoint from inside the callback */
	status forget_status;
	struct fleet_point point; /* of a point or flush */
};

int fixture_set_up(void **state);
int fixture_tear_down(void **state);

void fixture_script(struct fixture *f, const char *uid, const char *script); /* and registers it */
void fixture_write(struct fixture *f, const char *uid, const char *name, const char *text);
char *fixture_read(struct fixture *f, const char *uid, const char *name);
int fixture_starts(struct fixture *f, const char *uid);
void fixture_new_fleet(struct fixture *f); /* a second control: the old one is abandoned */
void fixture_changes(struct fixture *f, const char *expected); /* compares and clears */

void outcome_done(
        void *arg, const char *uid, const struct error *err); /* a fleet_done_fn; arg: struct outcome */
void outcome_clear(struct outcome *outcome);
void fixture_open(struct fixture *f, const char *uid, struct outcome *outcome);
void fixture_suspend(struct fixture *f, const char *uid, struct outcome *outcome);
void fixture_apply(struct fixture *f, const char *uid, struct outcome *outcome);
void fixture_point(struct fixture *f, const char *uid, struct outcome *outcome);
void fixture_flush(struct fixture *f, const char *uid, struct outcome *outcome);
void fixture_pool(struct fixture *f, const char *uid, const char *role, struct outcome *outcome);
void fixture_await(struct fixture *f, struct outcome *outcome); /* runs the loop until it was called; once */
void fixture_await_state(struct fixture *f, const char *uid, enum fleet_state state);
void fixture_await_file(struct fixture *f, const char *uid, const char *name);
void fixture_turn(struct fixture *f); /* one turn of the loop */

int count_descriptors(void);
