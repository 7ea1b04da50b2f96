#include "control_plane/oauth_exchange.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/federated_token.h"
#include "base/clock.h"
#include "base/log.h"
#include "control_plane/federation_policy.h"
#include "control_plane/issuer_keys.h"
#include "control_plane/oauth_client.h"
#include "control_plane/oauth_grant.h"
#include "control_plane/oauth_token.h"
#include "control_plane/request_limit.h"

#define TOKEN_TYPE        "urn:ietf:params:oauth:token-type:"
#define NOBODY            (-1) /* as a principal: one without policies */
#define AUDIENCES_MAX     20
#define UNAVAILABLE_RETRY "30" /* seconds: when keys may be fetched again (issuer_keys.h, K2) */

/* One exchange while policies are tried: the best reason so far why it is refused. */
struct attempt {
	struct federated_token token;
	struct federated_claims claims; /* once a policy has accepted it */
	bool is_unavailable;            /* keys that might have proven it could not be had */
	bool is_proven;                 /* by a policy's key: the reason may be told (E2) */
	struct error reason;
};

static void attempt_done(struct attempt *attempt)
{
	federated_token_done(&attempt->token);
}

/* ---- The request ---- */

static bool is_one_of(const char *text, const char *const *known, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(text, known[i]) == 0)
			return true;
	return false;
}

/* What may be asked for. False: it is answered. */
static bool request_is_good(struct call *call, const struct http_form *form)
{
	static const char *const types[] = { TOKEN_TYPE "jwt", TOKEN_TYPE "id_token" };
	static const char *const requested[] = { TOKEN_TYPE "access_token" };
	static const char *const unknown[] = { "actor_token", "resource", "assume_group",
		"authorization_details" };
	const char *type = http_form_text(form, "subject_token_type"),
	           *wanted = http_form_text(form, "requested_token_type"),
	           *audience = http_form_text(form, "audience");
	bool is_offline;
	if (call->request->authorization || http_form_text(form, "client_secret"))
		return !oauth_answer_error(call, 400, "invalid_request",
		        "a token exchange is proven by its subject_token: send no client secret and no "
		        "Authorization header");
	if (!http_form_text(form, "subject_token") || !type)
		return !oauth_answer_error(
		        call, 400, "invalid_request", "subject_token and subject_token_type are required");
	if (!is_one_of(type, types, ARRAY_LEN(types)))
		return !oauth_answer_error(call, 400, "invalid_request",
		        "subject_token_type must be " TOKEN_TYPE "jwt or " TOKEN_TYPE "id_token");
	if (wanted && !is_one_of(wanted, requested, ARRAY_LEN(requested)))
		return !oauth_answer_error(call, 400, "invalid_request",
		        "requested_token_type must be " TOKEN_TYPE "access_token");
	/* Each of them would make the result worth less; to leave it out would make it worth more than was asked for. */
	for (size_t i = 0; i < ARRAY_LEN(unknown); i++)
		if (http_form_text(form, unknown[i]))
			return !oauth_answer_error(call, 400,
			        strcmp(unknown[i], "resource") == 0 ? "invalid_target" : "invalid_request",
			        "%s is not available in a token exchange", unknown[i]);
	if (audience && strcmp(audience, federation_account_id(call->services)) != 0)
		return !oauth_answer_error(call, 400, "invalid_target",
		        "audience can only be the account of this Tarn, '%s'",
		        federation_account_id(call->services));
	if (!oauth_scope_is_known(http_form_text(form, "scope"), &is_offline))
		return !oauth_answer_error(call, 400, "invalid_scope", "the only scope is all-apis");
	return true;
}

/* ---- Policies ---- */

/* Keeps the reason of whichever came furthest. */
static void note_refusal(struct attempt *attempt, const struct federation_policy_row *policy,
        const struct call *call, bool is_proven, const struct error *reason)
{
	CLEANUP(free_text) char *name = federation_policy_name(call->services, policy);
	log_info("%s refuses a token: %s, trace %s", name, reason->message, call->request->trace_id);
	if (attempt->is_proven && !is_proven)
		return;
	attempt->is_proven = is_proven;
	attempt->reason = *reason;
}

/* The list of a policy, or what stands for an empty one. `doc` owns the texts. */
static size_t read_audiences(const struct call *call, yyjson_doc *doc, const char *audiences[AUDIENCES_MAX])
{
	size_t count = 0;
	yyjson_val *one;
	yyjson_arr_iter iter = yyjson_arr_iter_with(yyjson_doc_get_root(doc));
	while (count < AUDIENCES_MAX && (one = yyjson_arr_iter_next(&iter)))
		if (yyjson_is_str(one))
			audiences[count++] = yyjson_get_str(one);
	if (count == 0)
		audiences[count++] = federation_account_id(call->services);
	return count;
}

static status check_terms(struct call *call, const struct federation_policy_row *policy,
        struct attempt *attempt, struct error *err)
{
	const char *audiences[AUDIENCES_MAX];
	yyjson_doc *doc = yyjson_read(policy->audiences, strlen(policy->audiences), 0);
	const struct federated_terms terms = {
		.issuer = policy->issuer,
		.audiences = audiences,
		.audience_count = read_audiences(call, doc, audiences),
		.subject_claim = policy->subject_claim ? policy->subject_claim : FEDERATED_SUBJECT_CLAIM,
		.subject = policy->subject,
	};
	status st = federated_token_check(&attempt->token, &terms, call->now_usec, &attempt->claims, err);
	yyjson_doc_free(doc);
	return st;
}

enum verdict { VERDICT_ACCEPTED, VERDICT_REFUSED, VERDICT_HELD };

static enum verdict try_policy(
        struct call *call, const struct federation_policy_row *policy, struct attempt *attempt)
{
	struct error err;
	CLEANUP(web_key_set_freep) struct web_key_set *own = NULL;
	const struct web_key_set *keys = NULL;
	enum issuer_keys_answer answer = ISSUER_KEYS_READY;
	if (policy->jwks_json) {
		if (web_key_set_parse(slice_from_text(policy->jwks_json), &own, &err) != STATUS_OK)
			answer = ISSUER_KEYS_UNAVAILABLE;
		keys = own;
	} else {
		answer = issuer_keys_find(call, policy->issuer, policy->jwks_uri,
		        federated_token_key_id(&attempt->token), attempt->token.algorithm, &keys, &err);
	}
	if (answer == ISSUER_KEYS_HELD)
		return VERDICT_HELD;
	if (answer == ISSUER_KEYS_UNAVAILABLE) {
		attempt->is_unavailable = true;
		note_refusal(attempt, policy, call, false, &err);
		return VERDICT_REFUSED;
	}
	if (federated_token_prove(&attempt->token, keys, &err) != STATUS_OK) {
		note_refusal(attempt, policy, call, false, &err);
		return VERDICT_REFUSED;
	}
	if (check_terms(call, policy, attempt, &err) != STATUS_OK) {
		note_refusal(attempt, policy, call, true, &err);
		return VERDICT_REFUSED;
	}
	return VERDICT_ACCEPTED;
}

/* The first policy that accepts the token becomes *ret. STATUS_NOT_FOUND: none does; STATUS_UNAVAILABLE: the request is held. */
static status find_policy(struct call *call, int64_t principal, struct attempt *attempt,
        struct federation_policy_row *ret, struct error *err)
{
	CLEANUP(statement_done) struct statement st = { 0 };
	status code = federation_policy_row_list_of_issuer(
	        call->services->md, principal, attempt->token.issuer, &st, err);
	while (code == STATUS_OK) {
		CLEANUP(federation_policy_row_done) struct federation_policy_row policy = { 0 };
		code = federation_policy_row_next(&st, &policy, err);
		if (code != STATUS_OK)
			break;
		enum verdict verdict = try_policy(call, &policy, attempt);
		if (verdict == VERDICT_HELD)
			return STATUS_UNAVAILABLE;
		if (verdict == VERDICT_ACCEPTED) {
			*ret = policy;
			policy = (struct federation_policy_row){ 0 };
			return STATUS_OK;
		}
	}
	return code;
}

/* ---- Identities ---- */

/* Whose policies count. NOBODY for an application id that there is not: it is refused like one without policies. */
static status find_principal(
        struct call *call, const char *client_id, int64_t *ret_principal, struct error *err)
{
	struct identity_row row;
	*ret_principal = 0;
	if (!client_id)
		return STATUS_OK;
	status st = identity_row_find(call->services->md, IDENTITY_SERVICE_PRINCIPAL, client_id, &row, err);
	bool is_found = st == STATUS_OK && strcmp(row.login, client_id) == 0;
	*ret_principal = is_found ? row.id : NOBODY;
	return st == STATUS_NOT_FOUND ? STATUS_OK : st;
}

/* Who the token is for, by a policy that has accepted it. STATUS_DENIED with a reason for the caller. */
static status find_identity(struct call *call, const struct federation_policy_row *policy,
        const struct federated_claims *claims, struct identity_row *ret, struct error *err)
{
	struct metadata *md = call->services->md;
	struct identity_row row;
	status st = STATUS_NOT_FOUND;
	if (policy->principal != 0)
		st = identity_row_get(md, policy->principal, &row, err);
	else if (strlen(claims->subject) <= LOGIN_MAX)
		st = identity_row_find(md, IDENTITY_USER, claims->subject, &row, err);
	if (st == STATUS_NOT_FOUND && policy->principal == 0)
		st = identity_row_find(md, IDENTITY_SERVICE_PRINCIPAL, claims->subject, &row, err);
	if (st == STATUS_NOT_FOUND)
		return error_set(err, STATUS_DENIED, 0,
		        "there is no user or service principal here of the name that the token has as its "
		        "subject: an administrator can make one");
	if (st == STATUS_OK && !row.is_active)
		return error_set(err, STATUS_DENIED, 0, "%s has been deactivated",
		        row.kind == IDENTITY_USER ? "the user" : "the service principal");
	if (st == STATUS_OK)
		*ret = row;
	return st;
}

/* ---- Answers ---- */

static bool refuse(struct call *call, const char *message)
{
	request_limit_note_bad_login(call);
	/* RFC 8693 section 2.2.2: whatever is wrong with the subject's token. */
	return oauth_answer_error(call, 400, "invalid_request", "%s", message);
}

static bool refuse_attempt(struct call *call, const struct attempt *attempt)
{
	if (attempt->is_proven)
		return refuse(call, attempt->reason.message);
	if (attempt->is_unavailable) {
		http_response_add_header(call->response, "Retry-After", UNAVAILABLE_RETRY);
		return oauth_answer_error(call, 503, "temporarily_unavailable",
		        "the keys of the token's issuer could not be fetched; the log of Tarn says why "
		        "(trace %s)",
		        call->request->trace_id);
	}
	return refuse(call,
	        "no federation policy accepts the token: its issuer is not trusted for this client_id, or "
	        "(without one) for users, or the signature is not by the issuer's key; for administrators, "
	        "`tarn auth trust list` shows what is trusted");
}

static bool give(struct call *call, const struct federation_policy_row *policy, const struct attempt *attempt)
{
	struct error err;
	struct oauth_grant grant = { 0 };
	struct identity_row identity;
	struct metadata *md = call->services->md;
	int64_t life_sec = ACCESS_LIFE_SEC, left_usec = attempt->claims.expires_usec +
	                                                FEDERATED_LEEWAY_SEC * USEC_PER_SEC - call->now_usec;
	if (left_usec < life_sec * USEC_PER_SEC)
		life_sec = (left_usec + USEC_PER_SEC - 1) / USEC_PER_SEC;
	call->policy = federation_policy_name(call->services, policy);
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = transaction_begin(md, &tx, &err);
	if (st == STATUS_OK)
		st = find_identity(call, policy, &attempt->claims, &identity, &err);
	if (st == STATUS_DENIED) {
		log_info("%s: %s, trace %s", call->policy, err.message, call->request->trace_id);
		return refuse(call, err.message);
	}
	const struct token_row origin = { .identity = identity.id, .policy = policy->id };
	if (st != STATUS_OK || oauth_grant_access(call, &origin, life_sec, &grant, &err) != STATUS_OK ||
	        transaction_commit(&tx, &err) != STATUS_OK)
		return oauth_answer_failure(call, &err);
	call->caller = identity;
	return oauth_grant_answer_exchange(call, &grant, call->policy);
}

bool oauth_exchange(struct call *call, const struct http_form *form)
{
	struct error err;
	int64_t principal;
	CLEANUP(attempt_done) struct attempt attempt = { 0 };
	CLEANUP(federation_policy_row_done) struct federation_policy_row policy = { 0 };
	if (!request_is_good(call, form))
		return true;
	if (!request_limit_admit_login(call))
		return false;
	const char *text = http_form_text(form, "subject_token");
	if (federated_token_read(slice_from_text(text), &attempt.token, &err) != STATUS_OK)
		return refuse(call, err.message);
	status st = find_principal(call, http_form_text(form, "client_id"), &principal, &err);
	if (st == STATUS_OK)
		st = find_policy(call, principal, &attempt, &policy, &err);
	if (call->is_held)
		return false;
	if (st == STATUS_NOT_FOUND)
		return refuse_attempt(call, &attempt);
	return st == STATUS_OK ? give(call, &policy, &attempt) : oauth_answer_failure(call, &err);
}
