/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>

#include "auth/token.h"
#include "base/clock.h"
#include "control_fixture.h"
#include "control_plane/identity.h"
#include "control_plane/identity_name.h"
#include "control_plane/scim_filter.h"
#include "metadata/token_row.h"

#define SCIM        "/api/2.0/preview/scim/v2"
#define ADMIN       "Bearer dapi00000000000000000000000000000000"
#define PERMISSIONS "/api/2.0/permissions/database-projects/"

/* ---- Callers ---- */

struct caller {
	char id[32];
	char bearer[64];
};

static void call_admin(struct control_fixture *f, const char *method, const char *path, const char *body)
{
	call_raw(f, method, path, body, ADMIN);
}

static void expect_ok(const struct control_fixture *f)
{
	if (f->http_status != 200)
		fail_msg("expected 200, got %d: %s", f->http_status, text_at(f, "/message"));
}

/* A user with a token of his own, got as a new user gets one: an administrator cannot make it for him, so it is put into metadata. */
static struct caller make_user(struct control_fixture *f, const char *login)
{
	struct caller caller;
	struct error err;
	struct token_row token = { .kind = TOKEN_PERSONAL, .create_usec = 1 };
	CLEANUP(free_text) char *body = xasprintf("{\"userName\":\"%s\"}", login);
	call_admin(f, "POST", SCIM "/Users", body);
	expect_ok(f);
	snprintf(caller.id, sizeof caller.id, "%s", text_at(f, "/id"));
	char secret[API_TOKEN_LEN + 1];
	api_token_generate(secret);
	api_token_hash(slice_from_text(secret), token.hash);
	assert_true(identity_id_parse(caller.id, &token.identity));
	assert_int_equal(token_row_insert(f->services.md, &token, &err), STATUS_OK);
	snprintf(caller.bearer, sizeof caller.bearer, "Bearer %s", secret);
	return caller;
}

static void grant(
        struct control_fixture *f, const char *project, const char *key, const char *name, const char *level)
{
	CLEANUP(free_text) char *path = xasprintf(PERMISSIONS "%s", project);
	CLEANUP(free_text)
	char *body = xasprintf(
	        "{\"access_control_list\":[{\"%s\":\"%s\",\"permission_level\":\"%s\"}]}", key, name, level);
	call_admin(f, "PATCH", path, body);
}

/* ---- Stories ---- */

static void strangers_see_nothing_and_grants_open_step_by_step(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=mine", "{}");
	struct caller bob = make_user(f, "bob@example.com");
	call_raw(f, "GET", "/api/2.0/postgres/projects", NULL, bob.bearer);
	expect_ok(f);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "projects")), 0);
	static const char *const reads[] = { "", "/branches", "/branches/production",
		"/branches/production/endpoints", "/branches/production/roles", "/snapshots",
		"/branches/production/endpoints/primary/compute-instances" };
	for (size_t i = 0; i < ARRAY_LEN(reads); i++) {
		CLEANUP(free_text) char *path = xasprintf("/api/2.0/postgres/projects/mine%s", reads[i]);
		call_raw(f, "GET", path, NULL, bob.bearer);
		expect_error(f, 403, "PERMISSION_DENIED", "this call needs CAN_USE on project 'mine'");
	}
	call_raw(f, "GET", "/api/2.0/postgres/projects/other", NULL, bob.bearer);
	expect_error(f, 404, "NOT_FOUND", "project id not found");

	grant(f, "mine", "user_name", "BOB@example.com", "CAN_USE");
	expect_ok(f);
	for (size_t i = 0; i < ARRAY_LEN(reads); i++) {
		CLEANUP(free_text) char *path = xasprintf("/api/2.0/postgres/projects/mine%s", reads[i]);
		call_raw(f, "GET", path, NULL, bob.bearer);
		expect_ok(f);
	}
	call_raw(f, "GET", "/api/2.0/postgres/projects", NULL, bob.bearer);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "projects")), 1);
	call_raw(f, "POST", "/api/2.0/postgres/projects/mine/branches?branch_id=dev",
	        "{\"spec\":{\"no_expiry\":true}}", bob.bearer);
	expect_error(f, 403, "PERMISSION_DENIED",
	        "this call needs CAN_MANAGE on project 'mine', and you have CAN_USE");
	call_raw(f, "DELETE", "/api/2.0/postgres/projects/mine", NULL, bob.bearer);
	expect_error(f, 403, "PERMISSION_DENIED", "");
	call_raw(f, "POST", "/api/2.0/postgres/credentials",
	        "{\"endpoint\":\"projects/mine/branches/production/endpoints/primary\"}", bob.bearer);
	expect_ok(f);

	grant(f, "mine", "user_name", "bob@example.com", "CAN_MANAGE");
	expect_ok(f);
	call_raw(f, "PATCH", "/api/2.0/postgres/projects/mine?update_mask=spec.display_name",
	        "{\"spec\":{\"display_name\":\"x\"}}", bob.bearer);
	expect_ok(f);
}

static void groups_carry_permissions(void **state)
{
	struct control_fixture *f = *state;
	perform(f, "POST", "/projects?project_id=mine", "{}");
	struct caller bob = make_user(f, "bob@example.com");
	call_admin(f, "POST", SCIM "/Groups", "{\"displayName\":\"team\"}");
	expect_ok(f);
	CLEANUP(free_text) char *group = xasprintf(SCIM "/Groups/%s", text_at(f, "/id"));
	grant(f, "mine", "group_name", "team", "CAN_USE");
	expect_ok(f);
	call_raw(f, "GET", "/api/2.0/postgres/projects/mine", NULL, bob.bearer);
	expect_error(f, 403, "PERMISSION_DENIED", "");
	CLEANUP(free_text)
	char *add = xasprintf(
	        "{\"Operations\":[{\"op\":\"add\",\"path\":\"members\",\"value\":[{\"value\":\"%s\"}]}]}",
	        bob.id);
	call_admin(f, "PATCH", group, add);
	expect_ok(f);
	assert_string_equal(text_at(f, "/members/0/value"), bob.id);
	call_raw(f, "GET", "/api/2.0/postgres/projects/mine", NULL, bob.bearer);
	expect_ok(f);
	call_raw(f, "GET", SCIM "/Me", NULL, bob.bearer);
	assert_string_equal(text_at(f, "/groups/0/display"), "team");

	/* A token for the group's role, for members only. */
	static const char credential[] =
	        "{\"endpoint\":\"projects/mine/branches/production/endpoints/primary\","
	        "\"group_name\":\"team\"}";
	call_raw(f, "POST", "/api/2.0/postgres/credentials", credential, bob.bearer);
	expect_ok(f);
	struct token_claims claims;
	struct error err;
	assert_int_equal(token_verify(f->token_key, slice_from_text(text_at(f, "/token")), clock_wall_usec(),
	                         &claims, &err),
	        STATUS_OK);
	assert_string_equal(claims.login, "team");
	call_admin(f, "POST", "/api/2.0/postgres/credentials", credential);
	expect_error(f, 403, "PERMISSION_DENIED", "Field 'group_name': you are not a member");

	CLEANUP(free_text)
	char *remove = xasprintf(
	        "{\"Operations\":[{\"op\":\"Remove\",\"path\":\"members[value eq \\\"%s\\\"]\"}]}", bob.id);
	call_admin(f, "PATCH", group, remove);
	expect_ok(f);
	call_raw(f, "GET", "/api/2.0/postgres/projects/mine", NULL, bob.bearer);
	expect_error(f, 403, "PERMISSION_DENIED", "");
	/* Everybody is in "users". */
	grant(f, "mine", "group_name", "users", "CAN_USE");
	call_raw(f, "GET", "/api/2.0/postgres/projects/mine", NULL, bob.bearer);
	expect_ok(f);
}

static void permissions_are_what_was_granted(void **state)
{
	struct control_fixture *f = *state;
	struct caller bob = make_user(f, "bob@example.com"), eve = make_user(f, "eve@example.com");
	perform(f, "POST", "/projects?project_id=mine", "{}");
	call_admin(f, "GET", PERMISSIONS "mine", NULL);
	expect_ok(f);
	assert_string_equal(text_at(f, "/object_id"), "/database-projects/mine");
	assert_string_equal(text_at(f, "/object_type"), "database-projects");
	assert_string_equal(text_at(f, "/access_control_list/0/user_name"), "alice@example.com");
	assert_string_equal(
	        text_at(f, "/access_control_list/0/all_permissions/0/permission_level"), "CAN_MANAGE");
	assert_string_equal(text_at(f, "/access_control_list/1/group_name"), "admins");
	assert_true(yyjson_is_true(
	        yyjson_ptr_get(f->json, "/access_control_list/1/all_permissions/0/inherited")));
	call_admin(f, "GET", PERMISSIONS "mine/permissionLevels", NULL);
	assert_string_equal(text_at(f, "/permission_levels/0/permission_level"), "CAN_USE");

	static const struct {
		const char *body, *message;
	} refused[] = {
		{ "[]", "the request body must be a JSON object" },
		{ "{\"access_control_list\":{}}", "Field 'access_control_list' must be a list" },
		{ "{\"access_control_list\":[1]}", "Field 'access_control_list[0]' must be an object" },
		{ "{\"access_control_list\":[{\"permission_level\":\"CAN_USE\"}]}",
		        "Field 'access_control_list[0]' must have one of" },
		{ "{\"access_control_list\":[{\"user_name\":\"bob@example.com\"}]}",
		        "Field 'access_control_list[0].permission_level' must be CAN_USE or CAN_MANAGE" },
		{ "{\"access_control_list\":[{\"user_name\":\"bob@example.com\",\"permission_level\":\"IS_"
		  "OWNER\"}]}",
		        "Field 'access_control_list[0].permission_level' must be CAN_USE or CAN_MANAGE, got "
		        "'IS_OWNER'" },
		{ "{\"access_control_list\":[{\"user_name\":\"nobody@example.com\",\"permission_level\":"
		  "\"CAN_USE\"}]}",
		        "Field 'access_control_list[0].user_name': there is no user 'nobody@example.com'" },
		{ "{\"access_control_list\":[{\"group_name\":\"bob@example.com\",\"permission_level\":\"CAN_"
		  "USE\"}]}",
		        "Field 'access_control_list[0].group_name': there is no group" },
		{ "{\"access_control_list\":[{\"user_name\":\"bob@example.com\",\"group_name\":\"users\","
		  "\"permission_level\":"
		  "\"CAN_USE\"}]}",
		        "Fields 'access_control_list[0].user_name' and" },
		{ "{\"access_control_list\":[{\"user_name\":\"alice@example.com\",\"permission_level\":\"CAN_"
		  "USE\"}]}",
		        "Field 'access_control_list[0].permission_level': the owner" },
		{ "{\"access_control_list\":[{\"group_name\":\"admins\",\"permission_level\":\"CAN_USE\"}]}",
		        "Field 'access_control_list[0].permission_level': the group 'admins'" },
		{ "{\"access_control_list\":[{\"user_name\":\"bob@example.com\",\"permission_level\":\"CAN_"
		  "USE\"},"
		  "{\"user_name\":\"bob@example.com\",\"permission_level\":\"CAN_MANAGE\"}]}",
		        "Field 'access_control_list[1]': 'bob@example.com' has another" },
	};
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		call_admin(f, "PUT", PERMISSIONS "mine", refused[i].body);
		assert_int_equal(f->http_status, 400);
		if (strncmp(text_at(f, "/message"), refused[i].message, strlen(refused[i].message)) != 0)
			fail_msg("expected \"%s\", got \"%s\"", refused[i].message, text_at(f, "/message"));
	}

	/* Who may manage may grant, but not take CAN_MANAGE from himself. */
	grant(f, "mine", "user_name", "bob@example.com", "CAN_MANAGE");
	expect_ok(f);
	call_raw(f, "PUT", PERMISSIONS "mine", "{}", bob.bearer);
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field 'access_control_list' would take CAN_MANAGE");
	call_raw(f, "PATCH", PERMISSIONS "mine",
	        "{\"access_control_list\":[{\"user_name\":\"bob@example.com\",\"permission_level\":\"CAN_"
	        "USE\"}]}",
	        bob.bearer);
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field 'access_control_list' would take CAN_MANAGE");
	call_raw(f, "PATCH", PERMISSIONS "mine",
	        "{\"access_control_list\":[{\"user_name\":\"eve@example.com\",\"permission_level\":\"CAN_"
	        "USE\"}]}",
	        bob.bearer);
	expect_ok(f);
	call_raw(f, "PATCH", PERMISSIONS "mine", "{\"access_control_list\":[]}", eve.bearer);
	expect_error(f, 403, "PERMISSION_DENIED", "");
	call_raw(f, "GET", PERMISSIONS "mine", NULL, eve.bearer);
	expect_ok(f);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "access_control_list")), 4);

	/* By uid, too; an empty PUT leaves the owner and the administrators. */
	call_admin(f, "GET", "/api/2.0/postgres/projects/mine", NULL);
	CLEANUP(free_text) char *by_uid = xasprintf(PERMISSIONS "%s", text_at(f, "/uid"));
	call_admin(f, "PUT", by_uid, "{\"access_control_list\":[]}");
	expect_ok(f);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "access_control_list")), 2);
	call_raw(f, "GET", "/api/2.0/postgres/projects/mine", NULL, eve.bearer);
	expect_error(f, 403, "PERMISSION_DENIED", "");

	/* They go with the project. */
	grant(f, "mine", "user_name", "bob@example.com", "CAN_MANAGE");
	perform(f, "DELETE", "/projects/mine?purge=true", NULL);
	perform(f, "POST", "/projects?project_id=mine", "{}");
	call_raw(f, "GET", "/api/2.0/postgres/projects/mine", NULL, bob.bearer);
	expect_error(f, 403, "PERMISSION_DENIED", "");
}

static void owners_manage_and_their_operations_stay_theirs(void **state)
{
	struct control_fixture *f = *state;
	struct caller bob = make_user(f, "bob@example.com"), eve = make_user(f, "eve@example.com");
	call_raw(f, "POST", "/api/2.0/postgres/projects?project_id=his", "{}", bob.bearer);
	expect_ok(f);
	machine_forget_roles(); /* the scripted cluster is one for all: his compute has his role only */
	machine_add_role("bob@example.com")->login = true;
	CLEANUP(free_text) char *operation = xasprintf("/api/2.0/postgres/%s", text_at(f, "/name"));
	settle(f);
	call_raw(f, "GET", operation, NULL, eve.bearer);
	expect_error(f, 403, "PERMISSION_DENIED", "");
	call_raw(f, "GET", "/api/2.0/postgres/projects/his/branches/production/roles", NULL, bob.bearer);
	expect_ok(f);
	assert_string_equal(text_at(f, "/roles/0/status/postgres_role"), "bob@example.com");
	call_raw(f, "DELETE", "/api/2.0/postgres/projects/his?purge=true", NULL, bob.bearer);
	expect_ok(f);
	CLEANUP(free_text) char *removal = xasprintf("/api/2.0/postgres/%s", text_at(f, "/name"));
	settle(f);
	call_raw(f, "GET", removal, NULL, bob.bearer);
	expect_ok(f);
	call_raw(f, "GET", removal, NULL, eve.bearer);
	expect_error(f, 404, "NOT_FOUND", "operation id not found");
}

static void a_service_principal_owns_what_it_makes(void **state)
{
	struct control_fixture *f = *state;
	call_admin(f, "POST", SCIM "/ServicePrincipals", "{\"displayName\":\"robot\"}");
	expect_ok(f);
	CLEANUP(free_text) char *application = xstrdup(text_at(f, "/applicationId"));
	CLEANUP(free_text)
	char *body = xasprintf("{\"application_id\":\"%s\",\"comment\":\"ci\"}", application);
	call_admin(f, "POST", "/api/2.0/token-management/on-behalf-of/tokens", body);
	expect_ok(f);
	CLEANUP(free_text) char *bearer = xasprintf("Bearer %s", text_at(f, "/token_value"));
	call_raw(f, "GET", SCIM "/Me", NULL, bearer);
	assert_string_equal(text_at(f, "/userName"), application);
	machine_forget_roles(); /* the scripted cluster is alice's */
	struct inventory_role *owner = machine_add_role(application);
	owner->identity = INVENTORY_SERVICE_PRINCIPAL;
	owner->login = owner->is_superuser_member = true;
	call_raw(f, "POST", "/api/2.0/postgres/projects?project_id=its", "{}", bearer);
	expect_ok(f);
	settle(f);
	call_raw(f, "GET", "/api/2.0/postgres/projects/its/branches/production/roles", NULL, bearer);
	expect_ok(f);
	CLEANUP(free_text) char *role = xasprintf("sp-%s", application);
	assert_string_equal(text_at(f, "/roles/0/role_id"), role);
	assert_string_equal(text_at(f, "/roles/0/status/postgres_role"), application);
	assert_string_equal(text_at(f, "/roles/0/status/identity_type"), "SERVICE_PRINCIPAL");
	call_raw(f, "GET", PERMISSIONS "its", NULL, bearer);
	assert_string_equal(text_at(f, "/access_control_list/0/service_principal_name"), application);
}

static void only_administrators_change_identities(void **state)
{
	struct control_fixture *f = *state;
	struct caller bob = make_user(f, "bob@example.com");
	static const struct {
		const char *method, *path;
	} calls[] = {
		{ "POST", SCIM "/Users" },
		{ "PUT", SCIM "/Users/4001" },
		{ "PATCH", SCIM "/Users/4004" },
		{ "DELETE", SCIM "/Users/4001" },
		{ "POST", SCIM "/Users/4001/sign-in-code" },
		{ "POST", SCIM "/Groups" },
		{ "PATCH", SCIM "/Groups/4002" },
		{ "POST", SCIM "/ServicePrincipals" },
		{ "GET", "/api/2.0/token-management/tokens" },
		{ "POST", "/api/2.0/token-management/on-behalf-of/tokens" },
		{ "POST", "/api/2.0/accounts/servicePrincipals/4001/credentials/secrets" },
	};
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		call_raw(f, calls[i].method, calls[i].path, "{}", bob.bearer);
		expect_error(f, 403, "PERMISSION_DENIED", "this call is for administrators");
	}
	call_raw(f, "GET", SCIM "/Users?filter=userName%20eq%20%22alice@example.com%22", NULL, bob.bearer);
	expect_ok(f);
	assert_int_equal(yyjson_get_int(yyjson_obj_get(f->json, "totalResults")), 1);
	/* Whoever is in "admins" is one, at once, and no longer when he is not. */
	call_admin(f, "GET", SCIM "/Groups?filter=displayName%20eq%20%22admins%22", NULL);
	CLEANUP(free_text) char *admins = xasprintf(SCIM "/Groups/%s", text_at(f, "/Resources/0/id"));
	CLEANUP(free_text)
	char *add = xasprintf(
	        "{\"Operations\":[{\"op\":\"add\",\"value\":{\"members\":[{\"value\":\"%s\"}]}}]}", bob.id);
	call_admin(f, "PATCH", admins, add);
	expect_ok(f);
	call_raw(f, "POST", SCIM "/Groups", "{\"displayName\":\"team\"}", bob.bearer);
	expect_ok(f);
	/* Neither himself nor the administrator of the data directory. */
	static const char *const lockouts[] = {
		"{\"Operations\":[{\"op\":\"remove\",\"path\":\"members\"}]}",
		"{\"Operations\":[{\"op\":\"replace\",\"path\":\"members\",\"value\":[{\"value\":\"4004\"}]}]"
		"}",
	};
	for (size_t i = 0; i < ARRAY_LEN(lockouts); i++) {
		call_raw(f, "PATCH", admins, lockouts[i], bob.bearer);
		expect_error(f, 400, "INVALID_STATE", "you cannot take from the group 'admins'");
	}
	call_raw(f, "PUT", admins, "{\"displayName\":\"admins\"}", bob.bearer);
	expect_error(f, 400, "INVALID_STATE", "you cannot take from");
	call_raw(f, "DELETE", admins, NULL, bob.bearer);
	expect_error(f, 400, "INVALID_STATE", "the group 'admins' cannot be deleted");
	call_admin(f, "GET", SCIM "/Users?filter=userName%20eq%20%22alice@example.com%22", NULL);
	CLEANUP(free_text) char *alice = xasprintf(SCIM "/Users/%s", text_at(f, "/Resources/0/id"));
	CLEANUP(free_text) char *self = xasprintf(SCIM "/Users/%s", bob.id);
	static const char off[] =
	        "{\"Operations\":[{\"op\":\"replace\",\"path\":\"active\",\"value\":\"false\"}]}";
	const char *const protected[] = { alice, self };
	for (size_t i = 0; i < ARRAY_LEN(protected); i++) {
		call_raw(f, "DELETE", protected[i], NULL, bob.bearer);
		expect_error(f, 400, "INVALID_STATE", "you cannot delete");
		call_raw(f, "PATCH", protected[i], off, bob.bearer);
		expect_error(f, 400, "INVALID_STATE", "you cannot deactivate");
	}
}

static void leaving_takes_effect_at_once(void **state)
{
	struct control_fixture *f = *state;
	struct caller bob = make_user(f, "bob@example.com");
	CLEANUP(free_text) char *path = xasprintf(SCIM "/Users/%s", bob.id);
	call_admin(f, "PATCH", path,
	        "{\"Operations\":[{\"op\":\"replace\",\"path\":\"active\",\"value\":false}]}");
	expect_ok(f);
	assert_true(yyjson_is_false(yyjson_obj_get(f->json, "active")));
	call_raw(f, "GET", SCIM "/Me", NULL, bob.bearer);
	expect_error(
	        f, 401, "UNAUTHENTICATED", "the identity that the token belongs to has been deactivated");
	call_admin(
	        f, "PUT", path, "{\"userName\":\"bob@example.com\",\"active\":true,\"displayName\":\"Bob\"}");
	expect_ok(f);
	call_raw(f, "GET", SCIM "/Me", NULL, bob.bearer);
	expect_ok(f);
	assert_string_equal(text_at(f, "/displayName"), "Bob");
	call_admin(f, "DELETE", path, NULL);
	expect_ok(f);
	call_raw(f, "GET", SCIM "/Me", NULL, bob.bearer);
	expect_error(f, 401, "UNAUTHENTICATED", "the token is not valid");
	call_admin(f, "GET", path, NULL);
	expect_error(f, 404, "NOT_FOUND", "there is no user");
}

static void tokens_are_shown_once_and_end(void **state)
{
	struct control_fixture *f = *state;
	struct caller bob = make_user(f, "bob@example.com");
	call_raw(f, "POST", "/api/2.0/token/create", "{\"comment\":\"laptop\",\"lifetime_seconds\":60}",
	        bob.bearer);
	expect_ok(f);
	CLEANUP(free_text) char *bearer = xasprintf("Bearer %s", text_at(f, "/token_value"));
	CLEANUP(free_text)
	char *body = xasprintf("{\"token_id\":\"%s\"}", text_at(f, "/token_info/token_id"));
	CLEANUP(free_text)
	char *managed = xasprintf("/api/2.0/token-management/tokens/%s", text_at(f, "/token_info/token_id"));
	call_raw(f, "GET", SCIM "/Me", NULL, bearer);
	expect_ok(f);
	call_raw(f, "GET", "/api/2.0/token/list", NULL, bearer);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "token_infos")), 1);
	assert_string_equal(text_at(f, "/token_infos/0/comment"), "laptop");
	assert_false(has(f, "/token_infos/0/token_value"));
	call_admin(f, "POST", "/api/2.0/token/delete", body); /* not his */
	expect_error(f, 404, "NOT_FOUND", "there is no token of that id");
	call_admin(f, "GET", managed, NULL);
	assert_string_equal(text_at(f, "/token_info/created_by_username"), "bob@example.com");
	call_admin(f, "GET", "/api/2.0/token-management/tokens?created_by_username=bob@example.com", NULL);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "token_infos")), 1);
	call_raw(f, "POST", "/api/2.0/token/delete", body, bob.bearer);
	expect_ok(f);
	call_raw(f, "GET", SCIM "/Me", NULL, bearer);
	expect_error(f, 401, "UNAUTHENTICATED", "the token is not valid");
	static const char *const refused[] = { "{\"lifetime_seconds\":-1}", "{\"lifetime_seconds\":0}",
		"{\"lifetime_seconds\":63072001}", "{\"lifetime_seconds\":\"x\"}", "{\"comment\":5}" };
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		call_raw(f, "POST", "/api/2.0/token/create", refused[i], bob.bearer);
		expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field '");
	}
	call_raw(f, "POST", "/api/2.0/token/create", "{\"scopes\":[\"sql\"]}", bob.bearer);
	expect_error(f, 501, "NOT_IMPLEMENTED", "Field 'scopes'");
	/* One that has expired is refused as that. */
	struct error err;
	struct token_row token = { .kind = TOKEN_PERSONAL, .create_usec = 1, .expire_usec = 2 };
	assert_true(identity_id_parse(bob.id, &token.identity));
	api_token_hash(slice_from_text("dapi-old"), token.hash);
	assert_int_equal(token_row_insert(f->services.md, &token, &err), STATUS_OK);
	call_raw(f, "GET", SCIM "/Me", NULL, "Bearer dapi-old");
	expect_error(f, 401, "UNAUTHENTICATED", "the token has expired");
	/* A sign-in code is none. */
	CLEANUP(free_text) char *code_path = xasprintf(SCIM "/Users/%s/sign-in-code", bob.id);
	call_admin(f, "POST", code_path, NULL);
	expect_ok(f);
	CLEANUP(free_text) char *code = xasprintf("Bearer %s", text_at(f, "/code"));
	call_raw(f, "GET", SCIM "/Me", NULL, code);
	expect_error(f, 401, "UNAUTHENTICATED", "a sign-in code is no token");
}

static void names_are_checked(void **state)
{
	(void)state;
	struct api_error error;
	static const struct {
		enum identity_kind kind;
		const char *name;
		bool is_good;
	} names[] = {
		{ IDENTITY_USER, "alice@example.com", true },
		{ IDENTITY_USER, "admin@localhost", true },
		{ IDENTITY_USER, "alice", false },
		{ IDENTITY_USER, "@example.com", false },
		{ IDENTITY_USER, "alice@", false },
		{ IDENTITY_USER, "a@b@c", false },
		{ IDENTITY_USER, "a b@c", false },
		{ IDENTITY_USER, "a\nb@c", false },
		{ IDENTITY_USER, "pg_x@example.com", false },
		{ IDENTITY_USER, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@example.com",
		        false },
		{ IDENTITY_GROUP, "data team", true },
		{ IDENTITY_GROUP, "\xc3\xa4rzte", true },
		{ IDENTITY_GROUP, " team", false },
		{ IDENTITY_GROUP, "cloud_admin", false },
		{ IDENTITY_GROUP, "PG_monitor", false },
		{ IDENTITY_GROUP, "databricks_superuser", false },
		{ IDENTITY_GROUP, "bob@example.com", false },
		{ IDENTITY_GROUP, "0b9a4d62-2f3e-4b53-9a38-0a3b0c0c7d11", false },
		{ IDENTITY_GROUP, "", false },
		{ IDENTITY_SERVICE_PRINCIPAL, "0b9a4d62-2f3e-4b53-9a38-0a3b0c0c7d11", true },
		{ IDENTITY_SERVICE_PRINCIPAL, "0B9A4D62-2f3e-4b53-9a38-0a3b0c0c7d11", false },
		{ IDENTITY_SERVICE_PRINCIPAL, "robot", false },
	};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (identity_name_check(names[i].kind, names[i].name, "name", &error) != names[i].is_good)
			fail_msg("\"%s\"", names[i].name);
}

static void filters_are_read_or_refused(void **state)
{
	(void)state;
	struct scim_filter filter;
	struct api_error error;
	assert_true(scim_filter_parse(NULL, IDENTITY_USER, &filter, &error));
	assert_int_equal(filter.rows.attribute, FILTER_ALL);
	assert_true(scim_filter_parse(" userName EQ \"a\\\"b\\\\c\" ", IDENTITY_USER, &filter, &error));
	assert_int_equal(filter.rows.attribute, FILTER_LOGIN);
	assert_string_equal(filter.rows.value, "a\"b\\c");
	assert_true(scim_filter_parse("displayname co \"x\"", IDENTITY_GROUP, &filter, &error));
	assert_int_equal(filter.rows.attribute, FILTER_LOGIN);
	assert_int_equal(filter.rows.comparison, FILTER_CONTAINS);
	assert_true(scim_filter_parse("id eq \"4007\"", IDENTITY_USER, &filter, &error));
	assert_string_equal(filter.rows.value, "7");
	static const char *const refused[] = { "userName", "userName eq", "userName eq x", "userName eq \"x",
		"userName eq \"x\" and active eq true", "nonsense eq \"x\"", "userName gt \"x\"",
		"id co \"4\"", "userName eq \"\\n\"", "(userName eq \"x\")", "applicationId eq \"x\"" };
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		if (scim_filter_parse(refused[i], IDENTITY_USER, &filter, &error))
			fail_msg("%s", refused[i]);
	char member[LOGIN_MAX + 1];
	assert_true(scim_member_path_parse("members[value eq \"4002\"]", member));
	assert_string_equal(member, "4002");
	assert_false(scim_member_path_parse("members[value eq \"4002\"", member));
	assert_false(scim_member_path_parse("members[display eq \"4002\"]", member));
}

static void identities_refuse_what_they_cannot_be(void **state)
{
	struct control_fixture *f = *state;
	make_user(f, "bob@example.com");
	static const struct {
		const char *method, *path, *body;
		int http_status;
		const char *message;
	} calls[] = {
		{ "POST", SCIM "/Users", "{}", 400, "Field 'userName' is required" },
		{ "POST", SCIM "/Users", "{\"userName\":\"BOB@EXAMPLE.COM\"}", 409, "there is a user" },
		{ "POST", SCIM "/Users", "{\"userName\":\"cloud_admin\"}", 400,
		        "Field 'userName' must be an e-mail" },
		{ "POST", SCIM "/Groups", "{\"displayName\":\"admins\"}", 409, "there is a user" },
		{ "POST", SCIM "/Groups", "{\"displayName\":\"t\",\"members\":[{\"value\":\"4001\"}]}", 400,
		        "Field 'members': 'admins' is a group" },
		{ "POST", SCIM "/Groups", "{\"displayName\":\"t\",\"members\":[{\"value\":\"1\"}]}", 400,
		        "Field 'members': there is no user" },
		{ "POST", SCIM "/Groups", "{\"displayName\":\"t\",\"members\":5}", 400,
		        "Field 'members' must be" },
		{ "POST", SCIM "/ServicePrincipals", "{}", 400, "Field 'displayName' is required" },
		{ "GET", SCIM "/Users/4001", NULL, 404, "there is no user" },
		{ "GET", SCIM "/Users/x", NULL, 404, "there is no user" },
		{ "GET", SCIM "/Users?count=-1", NULL, 400, "Query parameter 'count'" },
		{ "GET", SCIM "/Users?startIndex=0", NULL, 400, "Query parameter 'startIndex'" },
		{ "GET", SCIM "/Users?filter=x", NULL, 400, "Field 'filter'" },
		{ "PATCH", SCIM "/Users/4004", "{}", 400, "Field 'Operations'" },
		{ "PATCH", SCIM "/Users/4004", "{\"Operations\":[{\"op\":\"delete\"}]}", 400,
		        "Field 'Operations[0].op'" },
		{ "PATCH", SCIM "/Users/4004", "{\"Operations\":[{\"op\":\"replace\",\"path\":\"active\"}]}",
		        400, "Field 'Operations[0]': the value of 'active'" },
		{ "PATCH", SCIM "/Users/4004",
		        "{\"Operations\":[{\"op\":\"replace\",\"path\":\"userName\",\"value\":\"x@y\"}]}",
		        400, "the name of a user cannot be changed" },
		{ "PATCH", SCIM "/Groups/4002", "{\"Operations\":[{\"op\":\"remove\",\"path\":\"members\"}]}",
		        400, "everybody is a member" },
	};
	call_admin(f, "GET", SCIM "/Groups?filter=displayName%20eq%20%22admins%22", NULL);
	assert_string_equal(text_at(f, "/Resources/0/id"), "4001");
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		call_admin(f, calls[i].method, calls[i].path, calls[i].body);
		if (f->http_status != calls[i].http_status ||
		        strncmp(text_at(f, "/message"), calls[i].message, strlen(calls[i].message)) != 0)
			fail_msg("%s %s %s: %d %s", calls[i].method, calls[i].path, calls[i].body,
			        f->http_status, text_at(f, "/message"));
	}
}

static void secrets_of_service_principals(void **state)
{
	struct control_fixture *f = *state;
	call_admin(f, "POST", SCIM "/ServicePrincipals", "{\"displayName\":\"robot\"}");
	CLEANUP(free_text)
	char *path =
	        xasprintf("/api/2.0/accounts/servicePrincipals/%s/credentials/secrets", text_at(f, "/id"));
	CLEANUP(free_text) char *one = NULL;
	for (int i = 0; i < 5; i++) {
		call_admin(f, "POST", path, i == 0 ? NULL : "{\"lifetime\":\"60s\"}");
		expect_ok(f);
		assert_int_equal(strlen(text_at(f, "/secret")), API_TOKEN_LEN);
		free_text(&one);
		one = xasprintf("%s/%s", path, text_at(f, "/id"));
	}
	call_admin(f, "POST", path, NULL);
	expect_error(f, 400, "QUOTA_EXCEEDED", "a service principal can have 5 secrets");
	call_admin(f, "GET", path, NULL);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(f->json, "secrets")), 5);
	assert_string_equal(text_at(f, "/secrets/0/status"), "ACTIVE");
	assert_false(has(f, "/secrets/0/secret"));
	call_admin(f, "DELETE", one, NULL);
	expect_ok(f);
	call_admin(f, "DELETE", one, NULL);
	expect_error(f, 404, "NOT_FOUND", "there is no secret");
	call_admin(f, "POST", path, "{\"lifetime\":\"1e9s\"}");
	expect_error(f, 400, "INVALID_PARAMETER_VALUE", "Field 'lifetime'");
}

int main(void)
{
#define STORY(fn) cmocka_unit_test_setup_teardown(fn, control_fixture_set_up, control_fixture_tear_down)
	const struct CMUnitTest tests[] = {
		STORY(strangers_see_nothing_and_grants_open_step_by_step),
		STORY(groups_carry_permissions),
		STORY(permissions_are_what_was_granted),
		STORY(owners_manage_and_their_operations_stay_theirs),
		STORY(a_service_principal_owns_what_it_makes),
		STORY(only_administrators_change_identities),
		STORY(leaving_takes_effect_at_once),
		STORY(tokens_are_shown_once_and_end),
		STORY(identities_refuse_what_they_cannot_be),
		STORY(secrets_of_service_principals),
		cmocka_unit_test(names_are_checked),
		cmocka_unit_test(filters_are_read_or_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
