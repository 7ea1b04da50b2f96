/*
 * Reconcile: gives a new project's compute the roles and databases of its spec. What the spec does not name is left alone, and later
 * specs name nothing: from then on Postgres is the truth (catalog_change.h). Idempotent: after a crash it is done again.
 *
 * Threads: any; blocks on Postgres.
 */
#pragma once

#include "base/base.h"
#include "compute/spec.h"

MUST_CHECK status reconcile(const char *socket_folder, const struct spec *spec, struct error *err);

/*
 * Rids a fresh clone of what would act on the outside in its parent's name (T15, T17): subscriptions are disabled and cut off
 * from their slots, prepared transactions are rolled back. The server must have been started quietly (volume.h).
 */
MUST_CHECK status reconcile_clone(const char *socket_folder, bool *ret_was_clean, struct error *err);

/* What Postgres will not accept of the configuration on disk; STATUS_INVALID with the first complaint. */
MUST_CHECK status reconcile_check_settings(const char *socket_folder, struct error *err);
