/* Services: what the parts of the control plane share. Made by control.c; tests make their own. All are borrowed. */
#pragma once

#include <uv.h>

#include "auth/sealer.h"
#include "auth/token.h"
#include "compute/installation.h"
#include "control_plane/fleet.h"
#include "data_directory/data_directory.h"
#include "metadata/metadata.h"

struct audit_trail;
struct branch_inventory;
struct endpoint_traffic;
struct operation_waits;
struct health;
struct housekeeper;
struct issuer_keys;
struct http_server;
struct ip_access;
struct metrics;
struct reaper;
struct reconciler;
struct request_limits;

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
	struct operation_waits *waits;
	struct issuer_keys *issuer_keys;
	const struct sealer *sealer;
	const struct installation *installations;
	size_t installation_count;
	/* NULL in most tests: then nothing is audited, counted, limited. */
	struct audit_trail *audit;
	struct metrics *metrics;
	struct endpoint_traffic *traffic;
	struct request_limits *limits;
	struct ip_access *access;
	struct health *health;
	const struct http_server *http;
};

/* The accepted installation of that major version; NULL when there is none. */
const struct installation *services_find_installation(const struct services *services, int major);
