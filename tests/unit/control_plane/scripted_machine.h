/*
 * Scripted machine: stands beneath the control plane in place of computes, volumes and Postgres. It keeps in memory what
 * exists, checks that it is used as the real ones demand, and fails or waits where a test says so.
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "base/base.h"
#include "compute/inventory.h"
#include "control_plane/fleet.h"

enum machine_step {
	STEP_TEMPLATE,
	STEP_VOLUME_CREATE,
	STEP_CLONE,
	STEP_KEEP, /* a snapshot */
	STEP_FORGET_SNAPSHOT,
	STEP_FIND_END, /* of a volume that sleeps */
	STEP_POINT,    /* of a compute that runs */
	STEP_FLUSH,
	STEP_DESTROY,
	STEP_DESTROY_STORE,
	STEP_RETENTION,
	STEP_ARCHIVE,
	STEP_REGISTER,
	STEP_OPEN,
	STEP_SUSPEND,
	STEP_APPLY,
	STEP_FORGET,
	STEP_LOOK,   /* at the roles and databases */
	STEP_READ,   /* what a sleeping compute has left of them */
	STEP_CHANGE, /* of a role or database */
	STEP_MARK,   /* what roles stand for */
	STEP_ANSWER, /* to a change that was made */
	MACHINE_STEPS,
};

struct machine {
	uv_loop_t *loop;
	int done[MACHINE_STEPS]; /* how often each was asked for */
	/* The next `fail_times` calls of this step fail. */
	status fail_with[MACHINE_STEPS];
	int fail_times[MACHINE_STEPS];
	/* Opens, suspensions and applies are answered only when machine_release() is called. */
	bool is_holding;
	bool is_shutting_down;
	volatile bool is_archiving_for_ever; /* folding ends only when it is told to */
	bool is_unclean; /* volumes that sleep did not go to sleep cleanly: only a start tells where they end */
	uint64_t cloned_lsn; /* what the last clone or snapshot was asked for: its moment's LSN */
	int64_t window_usec; /* of the last retention */
	bool has_clients;    /* every compute that runs */
	int points_removed;  /* by every retention */
	int archives_cut;    /* foldings that somebody did not wait for */
	volatile bool is_retention_waiting; /* retention ends only when it is told to */
	int64_t more_bytes;                 /* that a volume has on disk */
	int cloned_kind, lineage_count;     /* enum moment_kind, and of how many volumes */
	/* Clones are made, but their worker threads do not come back before machine_release_clones(). */
	bool is_holding_clones;
};

/* One per test, in one thread; volumes and computes outlive a restart of the control plane. */
struct machine *machine_start(uv_loop_t *loop);
void machine_stop(void);
/* A new control process: computes go on, callbacks of the old one are lost. */
void machine_forget_callers(uv_loop_t *loop);
struct fleet *machine_fleet(void);
void machine_release(void);
void machine_release_clones(void);

bool machine_has_volume(const char *id);
int machine_volume_count(void);
int machine_snapshot_count(void);
int machine_compute_count(void); /* registered ones */
enum fleet_state machine_state(const char *uid);
void machine_set_state(const char *uid, enum fleet_state state);
/* Beside what every project begins with; as if made by SQL. */
void machine_set_poolers(const struct fleet_pooler *pooler); /* of all computes */
struct inventory_role *machine_add_role(const char *name);
void machine_forget_roles(void); /* all of them */
/* It is one of an older version, where only the rows knew what roles stood for. */
void machine_forget_markers(void);
bool machine_has_markers(void);
/* A supervisor has left the roles and databases of that volume as they are; stamp 0: none has. */
void machine_leave_inventory(const char *volume_id, int64_t stamp);
struct inventory_database *machine_add_database(const char *name, const char *owner);
/* NULL: there is none. As SQL finds and drops them. */
struct inventory_role *machine_find_role(const char *name);
struct inventory_database *machine_find_database(const char *name);
void machine_drop_role(const char *name);

/* Inside: takes note of a call; the failure the test has ordered for it, if any. */
status machine_note(enum machine_step step, struct error *err);
void machine_postgres_start(void);
