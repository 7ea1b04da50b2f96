/*
 * Federation policies: trust in outside issuers, as administrators manage it: /api/2.0/accounts/{account}/federationPolicies (everybody, by what the
 * token calls him) and …/accounts/{account}/servicePrincipals/{id}/federationPolicies (one service principal). The paths, fields and rules are those
 * of Databricks' account API, so that the SDKs, the `databricks` CLI and Terraform manage them as they are.
 *
 * A Tarn is one workspace and its own account: the account's id is the workspace's.
 */
#pragma once

#include "control_plane/call.h"
#include "metadata/federation_policy_row.h"

bool federation_policy_create(struct call *call);
bool federation_policy_get(struct call *call);
bool federation_policy_list(struct call *call);
bool federation_policy_update(struct call *call);
bool federation_policy_delete(struct call *call);

/* The account's id; for whom a token is when its policy names no audience. Borrowed. */
const char *federation_account_id(const struct services *services);
/* "accounts/1234567890123456/federationPolicies/company". Caller frees. */
char *federation_policy_name(const struct services *services, const struct federation_policy_row *policy);
