/* Services: what the parts of the control plane share. Made by control.c; tests make their own. All are borrowed. */
#pragma once

#include <uv.h>

#include "auth/sealer.h"
#include "auth/token.h"
#include "compute/installation.h"
#include "control_plane/fleet.h"
#include "data_directory/data_directory.h"
#include "metadata/metadata.h"

struct branch_inventory;
struct housekeeper;
struct reaper;
struct reconciler;

struct services {
	uv_loop_t *loop;
	const struct data_directory *dd;
	struct metadata *md;
	struct fleet *fleet;
	const struct token_key *token_key;
	struct reconciler *reconciler;
	struct reaper *reaper;
	struct housekeeper *housekeeper;
	struct branch_inventory *inventory;
	const struct sealer *sealer;
	const struct installation *installations;
	size_t installation_count;
};

/* The accepted installation of that major version; NULL when there is none. */
const struct installation *services_find_installation(const struct services *services, int major);
