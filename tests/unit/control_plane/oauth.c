/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>

#include "auth/pkce.h"
#include "base/clock.h"
#include "control_fixture.h"
#include "control_plane/api.h"
#include "control_plane/oauth_client.h"
#include "control_plane/oauth_token.h"
#include "metadata/oauth_row.h"

#define ADMIN_TOKEN "dapi00000000000000000000000000000000"
#define ADMIN       "Bearer " ADMIN_TOKEN
#define FORM        "application/x-www-form-urlencoded"
#define VERIFIER    "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" /* RFC 7636, appendix B */
#define CHALLENGE   "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
#define REDIRECT    "http://localhost:8020"
#define WISH                                                                                                 \
	"response_type=code&client_id=databricks-cli&redirect_uri=http%3A%2F%2Flocalhost%3A8020"             \
	"&scope=offline_access+all-apis&state=a%26b%3D1&code_challenge=" CHALLENGE                           \
	"&code_challenge_method=S256"
#define SCIM "/api/2.0/preview/scim/v2"

struct reply {
	int http_status;
	char location[2048];
	char *body;
};

static void reply_done(struct reply *page)
{
	free(page->body);
}

/* Any request; the answer need not be JSON. */
static struct reply call_page(struct control_fixture *f, const char *method, const char *path,
        const char *type, const char *body, const char *authorization)
{
	struct error err;
	struct reply page = { 0 };
	CLEANUP(http_request_done) struct http_request request = { 0 };
	CLEANUP(http_response_done) struct http_response response = { 0 };
	strcpy(request.method, method);
	strcpy(request.trace_id, "0123456789abcdef0123456789abcdef");
	assert_int_equal(http_request_parse_uri(&request, path, &err), STATUS_OK);
	request.host = xstrdup("127.0.0.1:18080");
	request.content_type = type ? xstrdup(type) : NULL;
	request.authorization = authorization ? xstrdup(authorization) : NULL;
	if (body)
		buffer_append_text(&request.body, body);
	api_handle(&f->services, &request, &response);
	page.http_status = response.status;
	page.body = xstrndup(response.body ? response.body : "", response.body_len);
	for (size_t i = 0; i < response.header_count; i++)
		if (strcmp(response.headers[i].name, "Location") == 0)
			snprintf(page.location, sizeof page.location, "%s", response.headers[i].value);
	return page;
}

static bool is_accepted(struct control_fixture *f, const char *token)
{
	CLEANUP(free_text) char *bearer = xasprintf("Bearer %s", token);
	call_raw(f, "GET", SCIM "/Me", NULL, bearer);
	return f->http_status == 200;
}

/* Signs in with a secret; the code, which the caller frees. */
static char *sign_in(struct control_fixture *f, const char *secret)
{
	CLEANUP(free_text) char *form = xasprintf("%s&secret=%s", WISH, secret);
	CLEANUP(reply_done) struct reply page = call_page(f, "POST", "/oidc/v1/authorize", FORM, form, NULL);
	assert_int_equal(page.http_status, 302);
	const char beginning[] = REDIRECT "?code=";
	assert_int_equal(strncmp(page.location, beginning, sizeof beginning - 1), 0);
	const char *code = page.location + sizeof beginning - 1, *end = strchr(code, '&');
	assert_string_equal(end, "&state=a%26b%3D1");
	return xstrndup(code, (size_t)(end - code));
}

static void exchange(struct control_fixture *f, const char *code)
{
	CLEANUP(free_text)
	char *form = xasprintf("grant_type=authorization_code&client_id=databricks-cli&redirect_uri=" REDIRECT
	                       "&code_verifier=" VERIFIER "&code=%s",
	        code);
	call_token(f, form, NULL);
}

static void refresh(struct control_fixture *f, const char *token)
{
	CLEANUP(free_text)
	char *form = xasprintf("grant_type=refresh_token&client_id=databricks-cli&refresh_token=%s", token);
	call_token(f, form, NULL);
}

/* ---- Service principals ---- */

struct robot {
	char *id, *application, *secret, *secret_id;
};

static void robot_done(struct robot *robot)
{
	free(robot->id);
	free(robot->application);
	free(robot->secret);
	free(robot->secret_id);
}

static struct robot make_robot(struct control_fixture *f)
{
	struct robot robot = { 0 };
	call_raw(f, "POST", SCIM "/ServicePrincipals", "{\"displayName\":\"robot\"}", ADMIN);
	robot.id = xstrdup(text_at(f, "/id"));
	robot.application = xstrdup(text_at(f, "/applicationId"));
	CLEANUP(free_text)
	char *path = xasprintf("/api/2.0/accounts/servicePrincipals/%s/credentials/secrets", robot.id);
	call_raw(f, "POST", path, NULL, ADMIN);
	robot.secret = xstrdup(text_at(f, "/secret"));
	robot.secret_id = xstrdup(text_at(f, "/id"));
	return robot;
}

static char *get_access(struct control_fixture *f, const struct robot *robot)
{
	CLEANUP(free_text)
	char *form = xasprintf("grant_type=client_credentials&scope=all-apis&client_id=%s&client_secret=%s",
	        robot->application, robot->secret);
	call_token(f, form, NULL);
	assert_int_equal(f->http_status, 200);
	assert_string_equal(text_at(f, "/token_type"), "Bearer");
	assert_int_equal(yyjson_get_int(yyjson_obj_get(f->json, "expires_in")), 3600);
	assert_string_equal(text_at(f, "/scope"), "all-apis");
	assert_false(has(f, "/refresh_token"));
	return xstrdup(text_at(f, "/access_token"));
}

static void service_principals_get_tokens_for_secrets(void **state)
{
	struct control_fixture *f = *state;
	CLEANUP(robot_done) struct robot robot = make_robot(f);
	CLEANUP(free_text) char *one = get_access(f, &robot), *two = get_access(f, &robot);
	assert_string_not_equal(one, two);
	assert_true(is_accepted(f, one) && is_accepted(f, two));
	assert_string_equal(text_at(f, "/userName"), robot.application);

	CLEANUP(free_text)
	char *wrong = xasprintf(
	        "grant_type=client_credentials&client_id=%s&client_secret=dose0", robot.application);
	call_token(f, wrong, NULL);
	expect_oauth_error(f, 401, "invalid_client");
	static const char *const refused[] = {
		("grant_type=client_credentials&client_id=alice%40example.com&client_secret=" ADMIN_TOKEN),
		"grant_type=client_credentials&client_id=nobody&client_secret=x",
		"grant_type=client_credentials&client_id=nobody",
		"grant_type=client_credentials",
		"grant_type=client_credentials&client_id=databricks-cli&client_secret=x",
	};
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		call_token(f, refused[i], NULL);
		expect_oauth_error(f, 401, "invalid_client");
	}
	call_token(f, "grant_type=client_credentials&client_id=databricks-cli", NULL);
	expect_oauth_error(f, 400, "unauthorized_client");
	call_token(f, "grant_type=password&client_id=databricks-cli", NULL);
	expect_oauth_error(f, 400, "unsupported_grant_type");
	call_token(f, "grant_type=client_credentials&client_id=databricks-cli&scope=sql", NULL);
	expect_oauth_error(f, 400, "invalid_scope");
	call_token(f, "client_id=databricks-cli", NULL);
	expect_oauth_error(f, 400, "invalid_request");
	call_token(f, "grant_type=a&grant_type=b", NULL);
	expect_oauth_error(f, 400, "invalid_request");
	call_token(f, "grant_type=%zz", NULL);
	expect_oauth_error(f, 400, "invalid_request");
	CLEANUP(reply_done)
	struct reply page = call_page(f, "POST", "/oidc/v1/token", "application/json", "{}", NULL);
	assert_int_equal(page.http_status, 400);
	assert_non_null(strstr(page.body, "invalid_request"));

	/* What was got with a secret goes with it. */
	CLEANUP(free_text)
	char *path = xasprintf(
	        "/api/2.0/accounts/servicePrincipals/%s/credentials/secrets/%s", robot.id, robot.secret_id);
	call_raw(f, "DELETE", path, NULL, ADMIN);
	assert_int_equal(f->http_status, 200);
	assert_false(is_accepted(f, one) || is_accepted(f, two));
}

static void basic_headers_name_the_client_too(void **state)
{
	struct control_fixture *f = *state;
	static const char *const refused[] = { "Basic", "Basic ", "Basic !", "Basic YTpi", "Bearer x",
		"Basic YQ==", "Basic YTpi=" };
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		call_token(f, "grant_type=client_credentials", refused[i]);
		expect_oauth_error(f, 401, "invalid_client");
	}
	/* databricks-cli: */
	call_token(f, "grant_type=client_credentials", "Basic ZGF0YWJyaWNrcy1jbGk6");
	expect_oauth_error(f, 400, "unauthorized_client");
	call_token(f, "grant_type=client_credentials&client_id=other", "Basic ZGF0YWJyaWNrcy1jbGk6");
	expect_oauth_error(f, 400, "invalid_request");
}

static void a_deactivated_principal_gets_nothing(void **state)
{
	struct control_fixture *f = *state;
	CLEANUP(robot_done) struct robot robot = make_robot(f);
	CLEANUP(free_text) char *access = get_access(f, &robot);
	CLEANUP(free_text) char *path = xasprintf(SCIM "/ServicePrincipals/%s", robot.id);
	call_raw(f, "PATCH", path,
	        "{\"Operations\":[{\"op\":\"replace\",\"path\":\"active\",\"value\":false}]}", ADMIN);
	assert_int_equal(f->http_status, 200);
	assert_false(is_accepted(f, access));
	CLEANUP(free_text)
	char *form = xasprintf("grant_type=client_credentials&client_id=%s&client_secret=%s",
	        robot.application, robot.secret);
	call_token(f, form, NULL);
	expect_oauth_error(f, 401, "invalid_client");
	call_raw(f, "DELETE", path, NULL, ADMIN);
	call_token(f, form, NULL);
	expect_oauth_error(f, 401, "invalid_client");
}

/* ---- Users ---- */

static void the_page_shows_what_it_was_asked_and_nothing_else(void **state)
{
	struct control_fixture *f = *state;
	CLEANUP(reply_done)
	struct reply page = call_page(f, "GET", "/oidc/v1/authorize?" WISH, NULL, NULL, NULL);
	assert_int_equal(page.http_status, 200);
	assert_non_null(strstr(page.body, "name=\"state\" value=\"a&amp;b=1\""));
	assert_non_null(strstr(page.body, "name=\"secret\""));
	static const struct {
		const char *query, *text; /* on a page of its own: nowhere is redirected to */
	} bad[] = {
		{ "", "client_id must be" },
		{ "client_id=%3Cscript%3E", "client_id must be" },
		{ "client_id=databricks-cli", "redirect_uri must be" },
		{ "client_id=databricks-cli&redirect_uri=https://evil.example", "redirect_uri must be" },
		{ "client_id=databricks-cli&redirect_uri=http://localhost:80.evil.example",
		        "redirect_uri must be" },
		{ "client_id=databricks-cli&redirect_uri=http://localhost:8020@evil.example",
		        "redirect_uri must be" },
		{ "client_id=databricks-cli&redirect_uri=http://localhost:8020/%22%3E",
		        "redirect_uri must be" },
		{ "client_id=databricks-cli&redirect_uri=javascript:alert(1)", "redirect_uri must be" },
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CLEANUP(free_text) char *path = xasprintf("/oidc/v1/authorize?%s", bad[i].query);
		CLEANUP(reply_done) struct reply answer = call_page(f, "GET", path, NULL, NULL, NULL);
		assert_int_equal(answer.http_status, 400);
		assert_string_equal(answer.location, "");
		assert_non_null(strstr(answer.body, bad[i].text));
		assert_null(strstr(answer.body, "<script"));
	}
	static const struct {
		const char *query, *location;
	} told[] = {
		{ "client_id=databricks-cli&redirect_uri=" REDIRECT, "?error=unsupported_response_type" },
		{ "response_type=code&client_id=databricks-cli&redirect_uri=" REDIRECT "&state=%22%0d%0aX:",
		        "?error=invalid_request" },
		{ "response_type=code&client_id=databricks-cli&redirect_uri=" REDIRECT
		  "&code_challenge=" CHALLENGE "&code_challenge_method=plain",
		        "?error=invalid_request" },
		{ WISH "&scope=sql", "" }, /* the first one counts in a query */
		{ "response_type=code&client_id=databricks-cli&redirect_uri=" REDIRECT
		  "&code_challenge=" CHALLENGE "&code_challenge_method=S256&scope=sql",
		        "?error=invalid_scope" },
	};
	for (size_t i = 0; i < ARRAY_LEN(told); i++) {
		CLEANUP(free_text) char *path = xasprintf("/oidc/v1/authorize?%s", told[i].query);
		CLEANUP(reply_done) struct reply answer = call_page(f, "GET", path, NULL, NULL, NULL);
		if (!told[i].location[0])
			continue;
		assert_int_equal(answer.http_status, 302);
		CLEANUP(free_text) char *expected = xasprintf(REDIRECT "%s", told[i].location);
		assert_int_equal(strncmp(answer.location, expected, strlen(expected)), 0);
		assert_null(strchr(answer.location, '\n'));
	}
}

static void a_user_signs_in_and_stays_signed_in(void **state)
{
	struct control_fixture *f = *state;
	CLEANUP(free_text) char *code = sign_in(f, ADMIN_TOKEN);
	exchange(f, code);
	assert_int_equal(f->http_status, 200);
	assert_string_equal(text_at(f, "/scope"), "offline_access all-apis");
	CLEANUP(free_text) char *access = xstrdup(text_at(f, "/access_token"));
	CLEANUP(free_text) char *first = xstrdup(text_at(f, "/refresh_token"));
	assert_true(is_accepted(f, access));
	assert_string_equal(text_at(f, "/userName"), "alice@example.com");
	assert_false(is_accepted(f, first) || is_accepted(f, code));

	refresh(f, first);
	assert_int_equal(f->http_status, 200);
	CLEANUP(free_text) char *second = xstrdup(text_at(f, "/refresh_token"));
	CLEANUP(free_text) char *later = xstrdup(text_at(f, "/access_token"));
	assert_string_not_equal(first, second);
	assert_true(is_accepted(f, later) && is_accepted(f, access));
	refresh(f, second);
	CLEANUP(free_text) char *third = xstrdup(text_at(f, "/refresh_token"));
	assert_int_equal(f->http_status, 200);
	/* Somebody has kept an old one: the whole session ends. */
	refresh(f, second);
	expect_oauth_error(f, 400, "invalid_grant");
	refresh(f, third);
	expect_oauth_error(f, 400, "invalid_grant");
	assert_false(is_accepted(f, later) || is_accepted(f, access));
}

static void codes_are_used_once_by_who_asked_for_them(void **state)
{
	struct control_fixture *f = *state;
	CLEANUP(free_text) char *code = sign_in(f, ADMIN_TOKEN);
	exchange(f, code);
	CLEANUP(free_text) char *access = xstrdup(text_at(f, "/access_token"));
	assert_true(is_accepted(f, access));
	exchange(f, code);
	expect_oauth_error(f, 400, "invalid_grant");
	assert_false(is_accepted(f, access));

	static const char *const others[] = {
		"redirect_uri=http://localhost:8021&code_verifier=" VERIFIER,
		"redirect_uri=" REDIRECT "&code_verifier=eBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
		"redirect_uri=" REDIRECT "&code_verifier=short",
	};
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		CLEANUP(free_text) char *stolen = sign_in(f, ADMIN_TOKEN);
		CLEANUP(free_text)
		char *form = xasprintf("grant_type=authorization_code&client_id=databricks-cli&code=%s&%s",
		        stolen, others[i]);
		call_token(f, form, NULL);
		expect_oauth_error(f, 400, "invalid_grant");
		exchange(f, stolen); /* there is no second try */
		expect_oauth_error(f, 400, "invalid_grant");
	}
	/* One whose time is over. */
	struct error err;
	struct authorization_code_row row = { .identity = 3, .expire_usec = 5 };
	strcpy(row.client, "databricks-cli");
	strcpy(row.redirect_uri, REDIRECT);
	strcpy(row.challenge, CHALLENGE);
	api_token_hash(slice_from_text("doac-old"), row.hash);
	assert_int_equal(authorization_code_row_insert(f->services.md, &row, &err), STATUS_OK);
	exchange(f, "doac-old");
	expect_oauth_error(f, 400, "invalid_grant");
}

static void sign_in_codes_work_once(void **state)
{
	struct control_fixture *f = *state;
	call_raw(f, "POST", SCIM "/Users", "{\"userName\":\"bob@example.com\"}", ADMIN);
	CLEANUP(free_text) char *user = xasprintf(SCIM "/Users/%s", text_at(f, "/id"));
	CLEANUP(free_text) char *path = xasprintf("%s/sign-in-code", user);
	call_raw(f, "POST", path, NULL, ADMIN);
	CLEANUP(free_text) char *first = xstrdup(text_at(f, "/code"));
	call_raw(f, "POST", path, NULL, ADMIN);
	CLEANUP(free_text) char *second = xstrdup(text_at(f, "/code"));
	const char *const bad[] = { "", "x", first, second };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (i == 3) { /* the newest is the one that works, once */
			CLEANUP(free_text) char *code = sign_in(f, second);
			exchange(f, code);
			assert_int_equal(f->http_status, 200);
		}
		CLEANUP(free_text) char *form = xasprintf("%s&secret=%s", WISH, bad[i]);
		CLEANUP(reply_done)
		struct reply page = call_page(f, "POST", "/oidc/v1/authorize", FORM, form, NULL);
		assert_int_equal(page.http_status, 401);
		assert_string_equal(page.location, "");
		assert_non_null(strstr(page.body, "class=\"bad\""));
		if (bad[i][0] && bad[i][1])
			assert_null(strstr(page.body, bad[i]));
	}
	/* Deleting the user ends the session. */
	CLEANUP(free_text) char *refresh_token = xstrdup(text_at(f, "/refresh_token"));
	call_raw(f, "DELETE", user, NULL, ADMIN);
	refresh(f, refresh_token);
	expect_oauth_error(f, 400, "invalid_grant");
}

static void revoking_ends_what_it_names(void **state)
{
	struct control_fixture *f = *state;
	CLEANUP(free_text) char *code = sign_in(f, ADMIN_TOKEN);
	exchange(f, code);
	CLEANUP(free_text) char *access = xstrdup(text_at(f, "/access_token"));
	CLEANUP(free_text) char *token = xstrdup(text_at(f, "/refresh_token"));
	static const char *const nothing[] = { "token=x", "token=" ADMIN_TOKEN };
	for (size_t i = 0; i < ARRAY_LEN(nothing); i++) {
		CLEANUP(reply_done)
		struct reply page = call_page(f, "POST", "/oidc/v1/revoke", FORM, nothing[i], NULL);
		assert_int_equal(page.http_status, 200);
	}
	assert_true(is_accepted(f, access) && is_accepted(f, ADMIN_TOKEN));
	refresh(f, token);
	CLEANUP(free_text) char *later = xstrdup(text_at(f, "/access_token"));
	CLEANUP(free_text) char *last = xstrdup(text_at(f, "/refresh_token"));
	CLEANUP(free_text) char *one = xasprintf("token=%s&token_type_hint=access_token", access);
	CLEANUP(reply_done) struct reply page = call_page(f, "POST", "/oidc/v1/revoke", FORM, one, NULL);
	assert_int_equal(page.http_status, 200);
	assert_false(is_accepted(f, access));
	assert_true(is_accepted(f, later));
	CLEANUP(free_text) char *all = xasprintf("token=%s", last);
	CLEANUP(reply_done) struct reply second = call_page(f, "POST", "/oidc/v1/revoke", FORM, all, NULL);
	assert_int_equal(second.http_status, 200);
	assert_false(is_accepted(f, later));
	refresh(f, last);
	expect_oauth_error(f, 400, "invalid_grant");
	/* With the personal token goes what was signed in with it. */
	call_raw(f, "POST", "/api/2.0/token/create", "{}", ADMIN);
	CLEANUP(free_text) char *personal = xstrdup(text_at(f, "/token_value"));
	CLEANUP(free_text)
	char *body = xasprintf("{\"token_id\":\"%s\"}", text_at(f, "/token_info/token_id"));
	CLEANUP(free_text) char *its_code = sign_in(f, personal);
	exchange(f, its_code);
	CLEANUP(free_text) char *its_access = xstrdup(text_at(f, "/access_token"));
	assert_true(is_accepted(f, its_access));
	/* An access token is none to sign in with. */
	CLEANUP(free_text) char *form = xasprintf("%s&secret=%s", WISH, its_access);
	CLEANUP(reply_done)
	struct reply refused = call_page(f, "POST", "/oidc/v1/authorize", FORM, form, NULL);
	assert_int_equal(refused.http_status, 401);
	call_raw(f, "POST", "/api/2.0/token/delete", body, ADMIN);
	assert_int_equal(f->http_status, 200);
	assert_false(is_accepted(f, its_access));
}

static status replace_admin_token(struct control_fixture *f, const char *token, struct error *err)
{
	char hash[API_TOKEN_HASH_LEN + 1];
	struct identity_row admin;
	struct metadata *md = f->services.md;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	api_token_hash(slice_from_text(token), hash);
	status st = transaction_begin(md, &tx, err);
	if (st == STATUS_OK)
		st = identity_row_find(md, IDENTITY_USER, f->dd.settings.admin_login, &admin, err);
	if (st == STATUS_OK)
		st = token_row_set_admin_file(md, admin.id, hash, 1, err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

/* Who has seen admin.token has nothing left once it is another one. */
static void a_new_admin_token_ends_what_the_old_one_began(void **state)
{
	struct control_fixture *f = *state;
	struct error err;
	CLEANUP(free_text) char *code = sign_in(f, ADMIN_TOKEN);
	exchange(f, code);
	CLEANUP(free_text) char *access = xstrdup(text_at(f, "/access_token"));
	CLEANUP(free_text) char *token = xstrdup(text_at(f, "/refresh_token"));
	call_token(
	        f, "grant_type=" OAUTH_SIGN_IN_GRANT "&client_id=databricks-cli&secret=" ADMIN_TOKEN, NULL);
	CLEANUP(free_text) char *direct = xstrdup(text_at(f, "/access_token"));
	assert_true(is_accepted(f, access) && is_accepted(f, direct));
	assert_int_equal(replace_admin_token(f, ADMIN_TOKEN, &err), STATUS_OK);
	assert_true(is_accepted(f, access) && is_accepted(f, direct)); /* it is the same */
	assert_int_equal(replace_admin_token(f, "another", &err), STATUS_OK);
	assert_false(is_accepted(f, ADMIN_TOKEN));
	assert_false(is_accepted(f, access) || is_accepted(f, direct));
	refresh(f, token);
	expect_oauth_error(f, 400, "invalid_grant");
}

/* A token for one thing is not one for another. */
static void database_tokens_and_api_tokens_do_not_mix(void **state)
{
	struct control_fixture *f = *state;
	struct error err;
	struct token_claims claims;
	perform(f, "POST", "/projects?project_id=p", "{}");
	call_api(f, "POST", "/credentials",
	        "{\"endpoint\":\"projects/p/branches/production/endpoints/primary\"}");
	CLEANUP(free_text) char *database = xstrdup(text_at(f, "/token"));
	assert_false(is_accepted(f, database));
	CLEANUP(free_text) char *code = sign_in(f, ADMIN_TOKEN);
	exchange(f, code);
	assert_int_equal(token_verify(f->token_key, slice_from_text(text_at(f, "/access_token")),
	                         clock_wall_usec(), &claims, &err),
	        STATUS_DENIED);
	CLEANUP(free_text) char *form = xasprintf("%s&secret=%s", WISH, database);
	CLEANUP(reply_done) struct reply page = call_page(f, "POST", "/oidc/v1/authorize", FORM, form, NULL);
	assert_int_equal(page.http_status, 401);
}

static void discovery_names_every_endpoint(void **state)
{
	struct control_fixture *f = *state;
	call_raw(f, "GET", "/oidc/.well-known/oauth-authorization-server", NULL, NULL);
	assert_string_equal(text_at(f, "/issuer"), "http://127.0.0.1:18080/oidc");
	assert_string_equal(text_at(f, "/token_endpoint"), "http://127.0.0.1:18080/oidc/v1/token");
	assert_string_equal(
	        text_at(f, "/authorization_endpoint"), "http://127.0.0.1:18080/oidc/v1/authorize");
	call_raw(f, "GET", "/oidc/jwks.json", NULL, NULL);
	assert_string_equal(text_at(f, "/keys/0/kty"), "RSA");
	assert_string_equal(text_at(f, "/keys/0/e"), "AQAB");
	assert_int_equal(strlen(text_at(f, "/keys/0/n")), 342); /* 2048 bits */
	assert_false(has(f, "/keys/0/d") || has(f, "/keys/0/p"));
}

/* A crash between two exchanges leaves the one before or behind. */
static void sessions_outlive_a_crash(void **state)
{
	struct control_fixture *f = *state;
	CLEANUP(free_text) char *code = sign_in(f, ADMIN_TOKEN);
	control_fixture_crash(f);
	exchange(f, code);
	CLEANUP(free_text) char *access = xstrdup(text_at(f, "/access_token"));
	CLEANUP(free_text) char *token = xstrdup(text_at(f, "/refresh_token"));
	control_fixture_crash(f);
	assert_true(is_accepted(f, access));
	refresh(f, token);
	assert_int_equal(f->http_status, 200);
	control_fixture_crash(f);
	refresh(f, token);
	expect_oauth_error(f, 400, "invalid_grant");
}

static void redirects_stay_on_this_machine(void **state)
{
	(void)state;
	static const char *const good[] = { "http://localhost:8020", "http://127.0.0.1:1",
		"http://localhost:65535/" };
	static const char *const bad[] = { "", "http://localhost", "http://localhost:", "http://localhost:0",
		"http://localhost:65536", "http://localhost:08020", "https://localhost:8020",
		"http://localhost:8020/x", "http://localhost:8020?x", "http://localhost:8020#x",
		"http://localhost.evil:80", "http://LOCALHOST:8020", "http://[::1]:8020",
		"http://localhost:8020//", "http://localhost:8020@x", "http://localhost:-1" };
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_true(oauth_redirect_is_valid(good[i]));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (oauth_redirect_is_valid(bad[i]))
			fail_msg("%s", bad[i]);
}

int main(void)
{
#define STORY(fn) cmocka_unit_test_setup_teardown(fn, control_fixture_set_up, control_fixture_tear_down)
	const struct CMUnitTest tests[] = {
		STORY(service_principals_get_tokens_for_secrets),
		STORY(basic_headers_name_the_client_too),
		STORY(a_deactivated_principal_gets_nothing),
		STORY(the_page_shows_what_it_was_asked_and_nothing_else),
		STORY(a_user_signs_in_and_stays_signed_in),
		STORY(codes_are_used_once_by_who_asked_for_them),
		STORY(sign_in_codes_work_once),
		STORY(a_new_admin_token_ends_what_the_old_one_began),
		STORY(revoking_ends_what_it_names),
		STORY(database_tokens_and_api_tokens_do_not_mix),
		STORY(discovery_names_every_endpoint),
		STORY(sessions_outlive_a_crash),
		cmocka_unit_test(redirects_stay_on_this_machine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
