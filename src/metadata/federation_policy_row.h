/*
 * Federation policies: which outside issuers are trusted to say who somebody is; for one service principal, or for everybody (principal 0). A policy
 * goes with its principal, and the access tokens that were got by it go with the policy. A row is a copy that owns its texts.
 */
#pragma once

#include "base/base.h"
#include "base/random.h"
#include "metadata/metadata.h"
#include "metadata/statement.h"

#define FEDERATION_POLICY_ID_MAX 63

struct federation_policy_row {
	int64_t id;
	char uid[UUID_TEXT_LEN + 1];
	int64_t principal; /* 0: an account's policy, for everybody */
	char policy_id[FEDERATION_POLICY_ID_MAX +
	               1]; /* unique among those of its principal, or of the account */
	char *description; /* NULL in all texts: not set */
	char *issuer;      /* never NULL */
	char *audiences;   /* JSON list of texts, never NULL */
	char *subject, *subject_claim;
	char *jwks_uri, *jwks_json; /* at most one of them */
	int64_t create_usec, update_usec;
};

void federation_policy_row_done(struct federation_policy_row *row); /* for CLEANUP */

/* Sets id and uid. STATUS_EXISTS when the policy_id is taken. */
MUST_CHECK status federation_policy_row_insert(
        struct metadata *md, struct federation_policy_row *row, struct error *err);
/* All but the ids, the principal and create_usec; the access tokens that were got by it end. */
MUST_CHECK status federation_policy_row_update(
        struct metadata *md, const struct federation_policy_row *row, struct error *err);
/* With the access tokens that were got by it. */
MUST_CHECK status federation_policy_row_remove(struct metadata *md, int64_t id, struct error *err);

/* STATUS_NOT_FOUND with a message for people. */
MUST_CHECK status federation_policy_row_find(struct metadata *md, int64_t principal, const char *policy_id,
        struct federation_policy_row *ret, struct error *err);
/* In creation order, those behind after_id; then federation_policy_row_next() until STATUS_NOT_FOUND. */
MUST_CHECK status federation_policy_row_list(
        struct metadata *md, int64_t principal, int64_t after_id, struct statement *ret, struct error *err);
/* The same, those that trust that issuer. */
MUST_CHECK status federation_policy_row_list_of_issuer(
        struct metadata *md, int64_t principal, const char *issuer, struct statement *ret, struct error *err);
MUST_CHECK status federation_policy_row_next(
        struct statement *st, struct federation_policy_row *ret, struct error *err);
MUST_CHECK status federation_policy_row_count(
        struct metadata *md, int64_t principal, int64_t *ret, struct error *err);
