/*
 * Role removal: a role goes, and what it owns anywhere on the branch goes to another one or keeps it.
 *
 * Threads: any; blocks on Postgres, on every database in which the role has something.
 */
#pragma once

#include "base/base.h"

/*
 * Drops a role and ends its sessions. Done already is done: it can be repeated after a crash at any point.
 *
 * reassign_to NULL: STATUS_CONFLICT, with Postgres' DETAIL as the hint, when anything depends on the role; then nothing has changed. Else
 * all that the role owns belongs to reassign_to afterwards, also what is created meanwhile; its privileges are gone, and the memberships that it has granted
 * stay, granted by the system. When that fails half-way, or we die, what has been handed over stays so, its sessions may have been ended, and the role is as it
 * was: nothing about it changes before it goes.
 *
 * STATUS_NOT_FOUND: there is no reassign_to. STATUS_INVALID: a superuser or a role of the system on either side, or both the same.
 * STATUS_UNAVAILABLE: somebody else's transaction holds a lock on what is to be handed over, or has made something the role's.
 */
MUST_CHECK status role_removal(
        const char *socket_folder, const char *role, const char *reassign_to, struct error *err);
