/* Federation policies and the exchange of tokens by them, with keys that stand in the policy: nothing is fetched here (issuer_keys.c is about that). */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "control_fixture.h"
#include "outside_issuer.h"

#define ADMIN   "Bearer dapi00000000000000000000000000000000"
#define SCIM    "/api/2.0/preview/scim/v2"
#define ACCOUNT "1234567890123456"
#define PATH    "/api/2.0/accounts/" ACCOUNT "/federationPolicies"
#define ISSUER  "https://idp.example.com"
#define EXCHANGE                                                                                             \
	"grant_type=urn:ietf:params:oauth:grant-type:token-exchange"                                         \
	"&subject_token_type=urn:ietf:params:oauth:token-type:jwt"

static struct outside_key *key, *other_key;

static int make_keys(void **state)
{
	(void)state;
	key = outside_key_make(WEB_KEY_ES256, "k1");
	other_key = outside_key_make(WEB_KEY_ES256, "k2");
	return 0;
}

static int drop_keys(void **state)
{
	(void)state;
	key = outside_key_free(key);
	other_key = outside_key_free(other_key);
	return 0;
}

/* A JSON text with its quotes escaped, as a text inside of JSON. */
static char *quoted(const char *json)
{
	CLEANUP(buffer_done) struct buffer out = { 0 };
	for (; *json; json++)
		buffer_printf(&out, "%s%c", *json == '"' ? "\\" : "", *json);
	return xstrdup(out.data);
}

/* A policy whose keys are those of `signer`; `more` are further members of oidc_policy: ",\"subject\":\"a\"". */
static void make_policy(struct control_fixture *f, const char *path, const char *id,
        const struct outside_key *signer, const char *more)
{
	CLEANUP(free_text) char *keys = outside_key_set(signer, NULL);
	CLEANUP(free_text) char *text = quoted(keys);
	CLEANUP(free_text) char *where = xasprintf("%s?policy_id=%s", path, id);
	CLEANUP(free_text)
	char *body =
	        xasprintf("{\"oidc_policy\":{\"issuer\":\"" ISSUER "\",\"jwks_json\":\"%s\"%s}}", text, more);
	call_raw(f, "POST", where, body, ADMIN);
	if (f->http_status != 200)
		fail_msg("%s", text_at(f, "/message"));
}

/* The path of a new service principal's policies; *ret_application is its application id. The caller frees both. */
static char *make_robot(struct control_fixture *f, char **ret_application, char **ret_id)
{
	call_raw(f, "POST", SCIM "/ServicePrincipals", "{\"displayName\":\"robot\"}", ADMIN);
	*ret_application = xstrdup(text_at(f, "/applicationId"));
	*ret_id = xstrdup(text_at(f, "/id"));
	return xasprintf("/api/2.0/accounts/" ACCOUNT "/servicePrincipals/%s/federationPolicies", *ret_id);
}

/* The answer is the user. */
static void make_user(struct control_fixture *f, const char *name)
{
	CLEANUP(free_text) char *body = xasprintf("{\"userName\":\"%s\"}", name);
	call_raw(f, "POST", SCIM "/Users", body, ADMIN);
	assert_int_equal(f->http_status / 100, 2);
}

/* A token by `signer` that is good for `life_sec` from now on. */
static char *make_token(
        const struct outside_key *signer, const char *subject, const char *audience, int life_sec)
{
	CLEANUP(free_text)
	char *claims =
	        xasprintf("{\"iss\":\"" ISSUER
	                  "\",\"sub\":\"%s\",\"aud\":\"%s\",\"exp\":%lld,\"email\":\"ANN@example.com\"}",
	                subject, audience, (long long)(clock_wall_usec() / USEC_PER_SEC + life_sec));
	return outside_token(signer, claims);
}

static void show(struct control_fixture *f, const char *client_id, const char *token, const char *more)
{
	CLEANUP(free_text)
	char *form = xasprintf(EXCHANGE "&subject_token=%s%s%s%s", token, client_id ? "&client_id=" : "",
	        client_id ? client_id : "", more);
	call_token(f, form, NULL);
}

/* The access token, which the caller frees. */
static char *get_access(struct control_fixture *f, const char *client_id, const char *token)
{
	show(f, client_id, token, "&scope=all-apis");
	if (f->http_status != 200)
		fail_msg("%s: %s", text_at(f, "/error"), text_at(f, "/error_description"));
	assert_string_equal(text_at(f, "/token_type"), "Bearer");
	assert_string_equal(
	        text_at(f, "/issued_token_type"), "urn:ietf:params:oauth:token-type:access_token");
	assert_false(has(f, "/refresh_token"));
	return xstrdup(text_at(f, "/access_token"));
}

static bool is_accepted(struct control_fixture *f, const char *token, const char *login)
{
	CLEANUP(free_text) char *bearer = xasprintf("Bearer %s", token);
	call_raw(f, "GET", SCIM "/Me", NULL, bearer);
	return f->http_status == 200 && strcmp(text_at(f, "/userName"), login) == 0;
}

static void expect_refused(
        struct control_fixture *f, const char *client_id, const char *token, const char *message)
{
	show(f, client_id, token, "");
	expect_oauth_error(f, 400, "invalid_request");
	if (!strstr(text_at(f, "/error_description"), message))
		fail_msg("\"%s\" is not in \"%s\"", message, text_at(f, "/error_description"));
	assert_null(strstr(text_at(f, "/error_description"), token));
}

#define NOT_TRUSTED "no federation policy accepts the token"

/* ---- Policies ---- */

static void a_policy_comes_back_as_it_was_sent(void **state)
{
	struct control_fixture *f = *state;
	call_raw(f, "POST", PATH "?policy_id=company",
	        "{\"description\":\"our company\",\"oidc_policy\":{\"issuer\":\"" ISSUER
	        "\",\"audiences\":[\"a\","
	        "\"b\"],\"subject_claim\":\"email\",\"jwks_uri\":\"https://idp.example.com/keys?x=y\"}}",
	        ADMIN);
	assert_int_equal(f->http_status, 200);
	assert_string_equal(text_at(f, "/name"), "accounts/" ACCOUNT "/federationPolicies/company");
	assert_string_equal(text_at(f, "/policy_id"), "company");
	assert_string_equal(text_at(f, "/description"), "our company");
	assert_string_equal(text_at(f, "/oidc_policy/audiences/1"), "b");
	assert_string_equal(text_at(f, "/oidc_policy/jwks_uri"), "https://idp.example.com/keys?x=y");
	assert_true(has(f, "/uid") && has(f, "/create_time") && has(f, "/update_time"));
	assert_false(has(f, "/service_principal_id") || has(f, "/oidc_policy/subject"));
	CLEANUP(free_text) char *before = yyjson_val_write(f->json, 0, NULL);
	control_fixture_crash(f);
	call_raw(f, "GET", PATH "/company", NULL, ADMIN);
	CLEANUP(free_text) char *after = yyjson_val_write(f->json, 0, NULL);
	assert_string_equal(before, after);
	call_raw(f, "GET", PATH, NULL, ADMIN);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "policies")), 1);
	call_raw(f, "DELETE", PATH "/company", NULL, ADMIN);
	assert_int_equal(f->http_status, 200);
	call_raw(f, "GET", PATH "/company", NULL, ADMIN);
	expect_error(f, 404, "NOT_FOUND", "there is no federation policy \"company\"");
}

static void ids_are_unique_and_made_up_if_need_be(void **state)
{
	struct control_fixture *f = *state;
	char *application, *id;
	CLEANUP(free_text) char *of_robot = make_robot(f, &application, &id);
	make_policy(f, PATH, "a", key, "");
	make_policy(f, PATH, "", key, "");
	assert_int_equal(strlen(text_at(f, "/policy_id")), 36);
	call_raw(f, "POST", PATH "?policy_id=a", "{\"oidc_policy\":{\"issuer\":\"" ISSUER "\"}}", ADMIN);
	assert_int_equal(f->http_status, 409);
	/* The same id is free for a service principal. */
	make_policy(f, of_robot, "a", key, ",\"subject\":\"x\"");
	CLEANUP(free_text)
	char *name = xasprintf("accounts/" ACCOUNT "/servicePrincipals/%s/federationPolicies/a", id);
	assert_string_equal(text_at(f, "/name"), name);
	assert_int_equal(yyjson_get_sint(yyjson_obj_get(f->json, "service_principal_id")), atoll(id));
	/* Pages. */
	call_raw(f, "GET", PATH "?page_size=1", NULL, ADMIN);
	assert_string_equal(text_at(f, "/policies/0/policy_id"), "a");
	CLEANUP(free_text)
	char *next = xasprintf(PATH "?page_size=1&page_token=%s", text_at(f, "/next_page_token"));
	call_raw(f, "GET", next, NULL, ADMIN);
	assert_int_equal(strlen(text_at(f, "/policies/0/policy_id")), 36);
	assert_false(has(f, "/next_page_token"));
	/* As many as there may be. */
	for (int i = 2; i < 20; i++)
		make_policy(f, PATH, "", key, "");
	call_raw(f, "POST", PATH, "{\"oidc_policy\":{\"issuer\":\"" ISSUER "\"}}", ADMIN);
	assert_string_equal(text_at(f, "/error_code"), "QUOTA_EXCEEDED");
	free(application);
	free(id);
}

static void bad_policies_are_refused(void **state)
{
	struct control_fixture *f = *state;
	static const struct {
		const char *query, *part, *message;
	} cases[] = {
		{ "", "{}", "Field 'oidc_policy.issuer' is required." },
		{ "", "{\"issuer\":7}", "Field 'oidc_policy.issuer' must be a string." },
		{ "", "{\"issuer\":\"http://idp.example.com\"}",
		        "Field 'oidc_policy.issuer' must begin with https://" },
		{ "", "{\"issuer\":\"https://a@b\"}",
		        "Field 'oidc_policy.issuer' must have a path or nothing" },
		{ "", "{\"issuer\":\"https://a\\nb\"}", "Field 'oidc_policy.issuer' must have at most" },
		{ "", "{\"issuer\":\"" ISSUER "\",\"audience\":\"x\"}",
		        "Field 'oidc_policy.audience' is not known" },
		{ "", "{\"issuer\":\"" ISSUER "\",\"audiences\":\"x\"}",
		        "Field 'oidc_policy.audiences' must be a list." },
		{ "", "{\"issuer\":\"" ISSUER "\",\"audiences\":[\"\"]}",
		        "Field 'oidc_policy.audiences' must be a list of at most" },
		{ "", "{\"issuer\":\"" ISSUER "\",\"audiences\":[1]}",
		        "Field 'oidc_policy.audiences' must be a list of at most" },
		{ "", "{\"issuer\":\"" ISSUER "\",\"subject\":\"x\"}",
		        "Field 'oidc_policy.subject' is for policies of a service principal" },
		{ "", "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"http://a\"}",
		        "Field 'oidc_policy.jwks_uri' must begin with https://" },
		{ "", "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"https://a\",\"jwks_json\":\"{}\"}",
		        "Only one of the fields" },
		{ "", "{\"issuer\":\"" ISSUER "\",\"jwks_json\":\"{}\"}",
		        "Field 'oidc_policy.jwks_json': the key set is no JSON object" },
		{ "", "{\"issuer\":\"" ISSUER "\",\"jwks_json\":\"{\\\"keys\\\":[{\\\"d\\\":1}]}\"}",
		        "Field 'oidc_policy.jwks_json': the key set has a private key" },
		{ "?policy_id=A", "{\"issuer\":\"" ISSUER "\"}", "Field 'policy_id' must have" },
		{ "?policy_id=a%2Fb", "{\"issuer\":\"" ISSUER "\"}", "Field 'policy_id' must have" },
		{ "?policy_id=-a", "{\"issuer\":\"" ISSUER "\"}", "Field 'policy_id' must have" },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(free_text) char *path = xasprintf(PATH "%s", cases[i].query);
		CLEANUP(free_text) char *body = xasprintf("{\"oidc_policy\":%s}", cases[i].part);
		call_raw(f, "POST", path, body, ADMIN);
		expect_error(f, 400, "INVALID_PARAMETER_VALUE", cases[i].message);
	}
	char *application, *id;
	CLEANUP(free_text) char *of_robot = make_robot(f, &application, &id);
	call_raw(f, "POST", of_robot, "{\"oidc_policy\":{\"issuer\":\"" ISSUER "\"}}", ADMIN);
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field 'oidc_policy.subject' is required");
	call_raw(f, "GET", PATH, NULL, ADMIN);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "policies")), 0);
	free(application);
	free(id);
}

static void policies_are_for_administrators_of_this_account(void **state)
{
	struct control_fixture *f = *state;
	make_policy(f, PATH, "a", key, ",\"audiences\":[\"tarn\"]");
	make_user(f, "bob@example.com");
	CLEANUP(free_text) char *token = make_token(key, "bob@example.com", "tarn", 300);
	CLEANUP(free_text) char *access = get_access(f, NULL, token);
	CLEANUP(free_text) char *bob = xasprintf("Bearer %s", access);
	static const struct {
		const char *method, *path, *body;
	} calls[] = { { "GET", PATH, NULL }, { "GET", PATH "/a", NULL }, { "POST", PATH, "{}" },
		{ "PATCH", PATH "/a", "{}" }, { "DELETE", PATH "/a", NULL } };
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		call_raw(f, calls[i].method, calls[i].path, calls[i].body, bob);
		expect_error(f, 403, "PERMISSION_DENIED", "this call is for administrators");
		call_raw(f, calls[i].method, calls[i].path, calls[i].body, NULL);
		assert_int_equal(f->http_status, 401);
	}
	call_raw(f, "GET", "/api/2.0/accounts/other/federationPolicies", NULL, ADMIN);
	expect_error(f, 404, "NOT_FOUND", "there is no account 'other'");
	call_raw(f, "GET", "/api/2.0/accounts/" ACCOUNT "/servicePrincipals/1/federationPolicies", NULL,
	        ADMIN);
	assert_int_equal(f->http_status, 404);
	/* Clients learn both from the discovery document. */
	call_raw(f, "GET", "/.well-known/databricks-config", NULL, NULL);
	assert_string_equal(text_at(f, "/account_id"), ACCOUNT);
	assert_string_equal(text_at(f, "/token_federation_default_oidc_audiences/0"), ACCOUNT);
}

static void a_patch_changes_what_its_mask_says(void **state)
{
	struct control_fixture *f = *state;
	make_policy(f, PATH, "a", key, ",\"audiences\":[\"x\"],\"subject_claim\":\"email\"");
	call_raw(f, "PATCH", PATH "/a?update_mask=oidc_policy.audiences,description",
	        "{\"description\":\"d\",\"oidc_policy\":{\"audiences\":[\"y\"],\"subject_claim\":\"ignored\"}"
	        "}",
	        ADMIN);
	assert_int_equal(f->http_status, 200);
	assert_string_equal(text_at(f, "/oidc_policy/audiences/0"), "y");
	assert_string_equal(text_at(f, "/oidc_policy/subject_claim"), "email");
	assert_string_equal(text_at(f, "/description"), "d");
	/* Without a mask what the body has is set, and nothing else changes. */
	call_raw(f, "PATCH", PATH "/a", "{\"oidc_policy\":{\"subject_claim\":\"sub\"}}", ADMIN);
	assert_string_equal(text_at(f, "/oidc_policy/subject_claim"), "sub");
	assert_string_equal(text_at(f, "/oidc_policy/audiences/0"), "y");
	/* What a mask names and the body lacks is taken away. */
	call_raw(f, "PATCH", PATH "/a?update_mask=description,oidc_policy.subject_claim", "{}", ADMIN);
	assert_false(has(f, "/description") || has(f, "/oidc_policy/subject_claim"));
	call_raw(f, "PATCH", PATH "/a?update_mask=oidc_policy",
	        "{\"oidc_policy\":{\"issuer\":\"https://b\"}}", ADMIN);
	assert_string_equal(text_at(f, "/oidc_policy/issuer"), "https://b");
	assert_false(has(f, "/oidc_policy/jwks_json") || has(f, "/oidc_policy/audiences"));
	/* The whole must stay good. */
	call_raw(f, "PATCH", PATH "/a?update_mask=*", "{}", ADMIN);
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field 'oidc_policy.issuer' is required.");
	call_raw(f, "PATCH", PATH "/a?update_mask=policy_id", "{}", ADMIN);
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Unknown field path");
	call_raw(f, "GET", PATH "/a", NULL, ADMIN);
	assert_string_equal(text_at(f, "/oidc_policy/issuer"), "https://b");
	call_raw(f, "PATCH", PATH "/b", "{}", ADMIN);
	assert_int_equal(f->http_status, 404);
}

/* ---- Exchange ---- */

static void a_user_is_who_the_account_s_issuer_says(void **state)
{
	struct control_fixture *f = *state;
	make_user(f, "ann@example.com");
	make_policy(f, PATH, "a", key, "");
	CLEANUP(free_text) char *token = make_token(key, "ann@example.com", ACCOUNT, 7200);
	CLEANUP(free_text) char *access = get_access(f, NULL, token);
	assert_int_equal(yyjson_get_int(yyjson_obj_get(f->json, "expires_in")), 3600);
	assert_true(is_accepted(f, access, "ann@example.com"));
	/* By another claim; names are compared without case, as everywhere. */
	call_raw(f, "PATCH", PATH "/a", "{\"oidc_policy\":{\"subject_claim\":\"email\"}}", ADMIN);
	CLEANUP(free_text) char *by_mail = make_token(key, "0815", ACCOUNT, 7200);
	CLEANUP(free_text) char *again = get_access(f, NULL, by_mail);
	assert_true(is_accepted(f, again, "ann@example.com"));
	/* The policy changed, and what was got by it before ended with it. */
	assert_false(is_accepted(f, access, "ann@example.com"));
	/* Deleted: what was got by it ends. */
	call_raw(f, "DELETE", PATH "/a", NULL, ADMIN);
	assert_false(is_accepted(f, again, "ann@example.com"));
	expect_refused(f, NULL, by_mail, NOT_TRUSTED);
}

static void a_service_principal_is_who_its_policy_says(void **state)
{
	struct control_fixture *f = *state;
	char *application, *id;
	CLEANUP(free_text) char *of_robot = make_robot(f, &application, &id);
	make_policy(f, of_robot, "ci", key, ",\"subject\":\"repo:a/b\",\"audiences\":[\"ci\"]");
	CLEANUP(free_text) char *token = make_token(key, "repo:a/b", "ci", 300);
	CLEANUP(free_text) char *access = get_access(f, application, token);
	assert_true(is_accepted(f, access, application));
	/* Not longer than the token that was shown, but for the leeway of clocks. */
	show(f, application, token, "");
	int64_t life = yyjson_get_int(yyjson_obj_get(f->json, "expires_in"));
	assert_true(life > 300 && life <= 360);

	CLEANUP(free_text) char *other = make_token(key, "repo:a/c", "ci", 300);
	expect_refused(f, application, other, "another subject");
	/* Without client_id it is the account's policies that count, and they name no such principal. */
	expect_refused(f, NULL, token, NOT_TRUSTED);
	make_policy(f, PATH, "all", key, ",\"audiences\":[\"ci\"]");
	expect_refused(f, NULL, token, "there is no user or service principal");
	/* The account's policy knows principals by their application id. */
	CLEANUP(free_text) char *own = make_token(key, application, "ci", 300);
	CLEANUP(free_text) char *by_account = get_access(f, NULL, own);
	assert_true(is_accepted(f, by_account, application));
	/* With client_id its own policies count, and they do not take that. */
	expect_refused(f, application, own, "another subject");
	/* It goes with everything that is its own. */
	CLEANUP(free_text) char *path = xasprintf(SCIM "/ServicePrincipals/%s", id);
	call_raw(f, "DELETE", path, NULL, ADMIN);
	assert_false(is_accepted(f, access, application));
	expect_refused(f, application, token, NOT_TRUSTED);
	free(application);
	free(id);
}

static void what_does_not_fit_is_refused(void **state)
{
	struct control_fixture *f = *state;
	make_user(f, "ann@example.com");
	CLEANUP(free_text) char *ann = xstrdup(text_at(f, "/id"));
	make_policy(f, PATH, "a", key, ",\"audiences\":[\"tarn\"]");
	CLEANUP(free_text) char *expired = make_token(key, "ann@example.com", "tarn", -61);
	CLEANUP(free_text) char *foreign = make_token(key, "ann@example.com", ACCOUNT, 300);
	CLEANUP(free_text) char *forged = make_token(other_key, "ann@example.com", "tarn", 300);
	CLEANUP(free_text) char *nobody = make_token(key, "nobody@example.com", "tarn", 300);
	CLEANUP(free_text) char *group = make_token(key, "admins", "tarn", 300);
	CLEANUP(free_text) char *good = make_token(key, "ann@example.com", "tarn", 300);
	expect_refused(f, NULL, expired, "expired");
	expect_refused(f, NULL, foreign, "audience");
	expect_refused(f, NULL, forged, NOT_TRUSTED);
	expect_refused(f, NULL, nobody, "there is no user or service principal");
	expect_refused(f, NULL, group, "there is no user or service principal");
	expect_refused(f, NULL, "e30.e30.AA", "not signed with");
	expect_refused(f, NULL, "dapi00000000000000000000000000000000", "no signed JSON Web Token");
	/* E2: all the same, whatever there is. */
	expect_refused(f, "11111111-2222-3333-4444-555555555555", good, NOT_TRUSTED);
	expect_refused(f, "databricks-cli", good, NOT_TRUSTED);
	expect_refused(f, "ann%40example.com", good, NOT_TRUSTED);
	/* Deactivated and activated again. */
	CLEANUP(free_text) char *path = xasprintf(SCIM "/Users/%s", ann);
	CLEANUP(free_text) char *access = get_access(f, NULL, good);
	static const char patch[] =
	        "{\"Operations\":[{\"op\":\"replace\",\"path\":\"active\",\"value\":%s}]}";
	char body[200];
	(void)snprintf(body, sizeof body, patch, "false");
	call_raw(f, "PATCH", path, body, ADMIN);
	assert_false(is_accepted(f, access, "ann@example.com"));
	expect_refused(f, NULL, good, "the user has been deactivated");
	(void)snprintf(body, sizeof body, patch, "true");
	call_raw(f, "PATCH", path, body, ADMIN);
	assert_true(is_accepted(f, access, "ann@example.com"));
}

static void the_request_must_be_a_plain_exchange(void **state)
{
	struct control_fixture *f = *state;
	static const struct {
		const char *more, *error;
	} cases[] = {
		{ "&client_secret=x", "invalid_request" },
		{ "&actor_token=x", "invalid_request" },
		{ "&assume_group=1", "invalid_request" },
		{ "&authorization_details=%5B%5D", "invalid_request" },
		{ "&requested_token_type=urn:ietf:params:oauth:token-type:refresh_token", "invalid_request" },
		{ "&resource=https://a", "invalid_target" },
		{ "&audience=other", "invalid_target" },
		{ "&scope=sql", "invalid_scope" },
	};
	make_user(f, "ann@example.com");
	make_policy(f, PATH, "a", key, "");
	CLEANUP(free_text) char *token = make_token(key, "ann@example.com", ACCOUNT, 300);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		show(f, NULL, token, cases[i].more);
		expect_oauth_error(f, 400, cases[i].error);
	}
	show(f, NULL, token,
	        "&audience=" ACCOUNT "&requested_token_type=urn:ietf:params:oauth:token-type:access_token");
	assert_int_equal(f->http_status, 200);
	call_token(f, EXCHANGE, NULL);
	expect_oauth_error(f, 400, "invalid_request");
	CLEANUP(free_text)
	char *typed = xasprintf("grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=%s"
	                        "&subject_token_type=urn:ietf:params:oauth:token-type:saml2",
	        token);
	call_token(f, typed, NULL);
	expect_oauth_error(f, 400, "invalid_request");
	CLEANUP(free_text) char *form = xasprintf(EXCHANGE "&subject_token=%s", token);
	call_token(f, form, "Basic YTpi");
	expect_oauth_error(f, 400, "invalid_request");
	call_raw(f, "GET", "/oidc/.well-known/oauth-authorization-server", NULL, NULL);
	assert_string_equal(
	        text_at(f, "/grant_types_supported/3"), "urn:ietf:params:oauth:grant-type:token-exchange");
}

/* Of several policies for one issuer any may accept. */
static void each_policy_of_an_issuer_has_its_say(void **state)
{
	struct control_fixture *f = *state;
	make_user(f, "ann@example.com");
	make_policy(f, PATH, "a", other_key, ",\"audiences\":[\"one\"]");
	make_policy(f, PATH, "b", key, ",\"audiences\":[\"two\"]");
	make_policy(f, PATH, "c", key, ",\"audiences\":[\"three\"]");
	CLEANUP(free_text) char *token = make_token(key, "ann@example.com", "three", 300);
	CLEANUP(free_text) char *access = get_access(f, NULL, token);
	assert_true(is_accepted(f, access, "ann@example.com"));
	call_raw(f, "DELETE", PATH "/b", NULL, ADMIN);
	assert_true(is_accepted(f, access, "ann@example.com"));
	/* A key is good for its own policy only. */
	CLEANUP(free_text) char *mixed = make_token(key, "ann@example.com", "one", 300);
	expect_refused(f, NULL, mixed, "audience");
	call_raw(f, "DELETE", PATH "/c", NULL, ADMIN);
	assert_false(is_accepted(f, access, "ann@example.com"));
	expect_refused(f, NULL, mixed, NOT_TRUSTED);
}

/* The access token is in metadata.db before it is answered. */
static void access_outlives_a_crash_and_so_does_its_end(void **state)
{
	struct control_fixture *f = *state;
	make_user(f, "ann@example.com");
	make_policy(f, PATH, "a", key, "");
	CLEANUP(free_text) char *token = make_token(key, "ann@example.com", ACCOUNT, 300);
	CLEANUP(free_text) char *access = get_access(f, NULL, token);
	control_fixture_crash(f);
	assert_true(is_accepted(f, access, "ann@example.com"));
	CLEANUP(free_text) char *again = get_access(f, NULL, token);
	call_raw(f, "DELETE", PATH "/a", NULL, ADMIN);
	control_fixture_crash(f);
	assert_false(is_accepted(f, access, "ann@example.com") || is_accepted(f, again, "ann@example.com"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, control_fixture_set_up, control_fixture_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_policy_comes_back_as_it_was_sent),
		TEST(ids_are_unique_and_made_up_if_need_be),
		TEST(bad_policies_are_refused),
		TEST(policies_are_for_administrators_of_this_account),
		TEST(a_patch_changes_what_its_mask_says),
		TEST(a_user_is_who_the_account_s_issuer_says),
		TEST(a_service_principal_is_who_its_policy_says),
		TEST(what_does_not_fit_is_refused),
		TEST(the_request_must_be_a_plain_exchange),
		TEST(each_policy_of_an_issuer_has_its_say),
		TEST(access_outlives_a_crash_and_so_does_its_end),
	};
	return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
