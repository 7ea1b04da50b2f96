/*
 * Branch inventory: keeps the role and database rows of a branch what Postgres says they are.
 *
 * Postgres is the truth about them; somebody may have changed it by SQL a moment ago. While the compute runs it is asked, in a worker thread, for
 * every call that shows or checks them: the request is held and asked again when the answer is in the rows. While it sleeps nothing changes,
 * and the supervisor left a file when it suspended. Questions that come together are answered from one
 * inventory, and the connection for it is kept for some seconds.
 *
 * Invariants
 *   I1  what a call shows is not older than its beginning: an inventory that was begun before one that is in the rows already is not taken. When what
 *       Postgres said cannot be written into them (a full disk), the call fails: it would show them as they were.
 *   I2  ids and times stay with a role or database as long as Postgres has it, also when it is renamed (by oid) or made anew under its name.
 *   I3  a row whose create operation is open is left alone but for what Postgres says of its name. It goes when another role or database
 *       was given that name meanwhile, and its operation fails.
 *   I4  what a role of a branch without markers stands for (an older version's, inventory.lacks_markers) is what its row says, as long as it has that oid. So
 *       nobody becomes an identity by SQL there either. The next look, or change, gives it its marker.
 * Threads: the loop's; asking Postgres happens in worker threads, on copies.
 */
#pragma once

#include "base/base.h"
#include "compute/inventory.h"
#include "control_plane/call.h"

struct branch_inventory;

struct branch_inventory *branch_inventory_create(struct services *services);
/* Who waits is answered, not freshly; what is in worker threads runs out, which holds the loop open. */
void branch_inventory_close(struct branch_inventory *inventory);

/*
 * True: the rows are right, go on. False: the request is held (call->is_held) or call->error is filled. To be called before anything of the
 * roles or databases of the branch is read.
 */
bool branch_inventory_refresh(struct call *call, const struct branch_row *branch);

/*
 * The same for a caller without a request. is_fresh: the rows are what Postgres, which runs, said after the question. Otherwise they are what is
 * known of a compute that sleeps: right after a clean suspension, older after a crash; so too of one that could not be asked for some seconds,
 * or whose branch is being made or reset. Called once, from the loop, perhaps within the call.
 */
typedef void (*branch_inventory_fn)(void *arg, bool is_fresh);
void branch_inventory_ask(
        struct branch_inventory *inventory, int64_t branch, branch_inventory_fn done, void *arg);

/* What the supervisor of a compute that sleeps left, if the rows do not have it yet: before it starts, which removes the file. */
void branch_inventory_take_over(
        const struct services *services, const struct branch_row *branch, const char *uid);

/* Order of inventories: taken before one is begun, in any thread. Wall clock in microseconds, as the stamp of a supervisor's file, but never the same twice. */
uint64_t branch_inventory_ticket(void);
/* Inside the caller's transaction: the rows become what the inventory says, unless a newer one is in them. Older ones that are under way are not taken any more. */
MUST_CHECK status branch_inventory_absorb(const struct services *services, int64_t branch, uint64_t ticket,
        const struct inventory *inventory, int64_t now_usec, struct error *err);
