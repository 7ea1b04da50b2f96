/*
 * Role login: how a role logs in to an endpoint, for the proxy: with a database token, or with a password of Postgres and which verifier it
 * has. Whoever connects may ask about any name, so the answer must not be one about names.
 *
 * Invariants
 *   W1  a name that no role has is answered like a role with a password, with a verifier that looks like one and that no password fits; always
 *       the same one in a project, since its branches inherit roles. So are roles without a password, or with one that cannot be used.
 *   W2  a name that is an identity's, or looks like it (an e-mail, an application id), is asked for a token, unless it is a role with a password in a
 *       project that allows native login.
 *   W3  is_fresh: not older than the question (branch_inventory.h). Where native login is off, no verifier is told, and
 *       Postgres is not asked about identities.
 *   W4  a token of a name that no active identity has is refused, however long it would be good: deactivating takes effect with the next login.
 *       So is the password of an identity's role, which whoever logs in as it can set: it is answered like W1.
 *   W5  nobody logs in as a role whose deletion has begun, for as long as its operation is open: he could hold it up for ever.
 * What an outsider can still tell: whether native login is on; and that a name that does not look like an identity's is one (a group's).
 * Threads: the loop's.
 */
#pragma once

#include "control_plane/control_socket.h"
#include "control_plane/services.h"

/* As in struct control_answers. */
void role_login_ask(
        const struct services *services, const char *uid, const char *role, control_login_fn done, void *arg);
