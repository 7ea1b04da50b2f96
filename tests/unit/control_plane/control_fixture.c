/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "control_fixture.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "auth/api_token.h"
#include "base/clock.h"
#include "base/file.h"
#include "control_plane/api.h"
#include "control_plane/branch_inventory.h"
#include "control_plane/identity.h"
#include "control_plane/issuer_keys.h"
#include "control_plane/reaper.h"
#include "control_plane/reconciler.h"

#define TOKEN         "dapi00000000000000000000000000000000"
#define PATIENCE_USEC (20 * USEC_PER_SEC)

static int64_t clock_ahead_usec;

int64_t control_fixture_clock(void)
{
	return clock_monotonic_usec() + clock_ahead_usec;
}

void control_fixture_pass_time(int64_t usec)
{
	clock_ahead_usec += usec;
}

static void start(struct control_fixture *f)
{
	struct error err;
	CLEANUP(free_text) char *sealer_path = xasprintf("%s/secret.key", f->folder);
	assert_int_equal(sealer_open(sealer_path, &f->sealer, &err), STATUS_OK);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	CLEANUP(free_text) char *path = xasprintf("%s/metadata.db", f->folder);
	struct metadata *md = NULL;
	assert_int_equal(metadata_open(path, &md, &err), STATUS_OK);
	assert_int_equal(identity_take_over_admin(md, &f->dd, 1, &err), STATUS_OK);
	f->services = (struct services){
		.loop = &f->loop,
		.dd = &f->dd,
		.md = md,
		.fleet = machine_fleet(),
		.token_key = f->token_key,
		.sealer = f->sealer,
		.installations = &f->installation,
		.installation_count = 1,
	};
	(void)reconciler_create(&f->services);
	(void)reaper_create(&f->services);
	(void)branch_inventory_create(&f->services);
	(void)issuer_keys_create(&f->services, control_fixture_clock);
	assert_int_equal(reaper_resume_purges(&f->services, &err), STATUS_OK);
	reconciler_kick(f->services.reconciler);
	reaper_look(f->services.reaper);
}

static void stop(struct control_fixture *f)
{
	reaper_close(f->services.reaper);
	branch_inventory_close(f->services.inventory);
	issuer_keys_close(f->services.issuer_keys);
	reconciler_stop(f->services.reconciler);
	machine_release_clones();
	while (reconciler_is_working(f->services.reconciler))
		(void)uv_run(&f->loop, UV_RUN_ONCE);
	machine_forget_callers(&f->loop);
	reconciler_free(f->services.reconciler);
	(void)uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	metadata_close(f->services.md);
	f->sealer = sealer_free(f->sealer);
}

int control_fixture_set_up(void **state)
{
	struct control_fixture *f = xcalloc(1, sizeof *f);
	struct error err;
	static char address[] = "127.0.0.1", login[] = "alice@example.com", workspace[] = "1234567890123456";
	strcpy(f->folder, "/tmp/tarn-unit-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	f->dd = (struct data_directory){ .path = f->folder,
		.settings = { .api_address = address,
		        .api_port = 8080,
		        .pg_port = 5432,
		        .admin_login = login,
		        .workspace_id = workspace,
		        .suspend_timeout_min_sec = 60,
		        .suspend_timeout_max_sec = 604800,
		        .branches_per_project = 5,
		        .unarchived_branches_per_project = 10,
		        .archive_age_sec = 1209600,
		        .archive_idle_sec = 1209600,
		        .root_branches_per_project = 3,
		        .protected_branches_per_project = 1,
		        .active_computes_per_project = 20,
		        .roles_per_branch = 500,
		        .databases_per_branch = 500,
		        .snapshots_per_project = 10,
		        .branch_ttl_max_sec = 2592000,
		        .history_retention_min_sec = 172800,
		        .history_retention_max_sec = 3024000,
		        .cu_max = 112,
		        .autoscale_cu_max = 64,
		        .autoscale_cu_spread = 16,
		        .projects = 4,
		        .deleted_retention_sec = 604800,
		        .housekeeping_interval_sec = 300 } };
	f->installation = (struct installation){
		.major = 17, .version = "17.1", .bin_dir = "/bin", .is_accepted = true
	};
	CLEANUP(free_text) char *token_path = xasprintf("%s/admin.token", f->folder);
	CLEANUP(free_text) char *key_path = xasprintf("%s/token.key", f->folder);
	CLEANUP(free_text) char *volumes = xasprintf("%s/volumes", f->folder);
	CLEANUP(free_text) char *templates = xasprintf("%s/templates", f->folder);
	assert_int_equal(mkdir(volumes, 0700) | mkdir(templates, 0700), 0);
	assert_int_equal(
	        file_replace_durably(token_path, slice_from_text(TOKEN "\n"), 0600, &err), STATUS_OK);
	assert_int_equal(token_key_create(key_path, &err), STATUS_OK);
	assert_int_equal(token_key_load(key_path, &f->token_key, &err), STATUS_OK);
	f->machine = machine_start(&f->loop);
	start(f);
	*state = f;
	return 0;
}

int control_fixture_tear_down(void **state)
{
	struct control_fixture *f = *state;
	struct error err;
	stop(f);
	machine_stop();
	yyjson_doc_free(f->doc);
	token_key_free(f->token_key);
	assert_int_equal(tree_remove(f->folder, &err), STATUS_OK);
	free(f);
	return 0;
}

void control_fixture_crash(struct control_fixture *f)
{
	stop(f);
	start(f);
}

static yyjson_val *call_with(struct control_fixture *f, const char *method, const char *path,
        const char *body, const char *authorization, const char *content_type)
{
	struct error err;
	CLEANUP(http_request_done) struct http_request request = { 0 };
	CLEANUP(http_response_done) struct http_response response = { 0 };
	strcpy(request.method, method);
	request.holds = f->holds;
	strcpy(request.trace_id, "0123456789abcdef0123456789abcdef");
	assert_int_equal(http_request_parse_uri(&request, path, &err), STATUS_OK);
	request.host = xstrdup("127.0.0.1:18080");
	request.user_agent = xstrdup("unit \xff\xfe\xfd/1");
	strcpy(request.peer, "127.0.0.1");
	request.content_type = content_type ? xstrdup(content_type) : NULL;
	request.begin_usec = clock_monotonic_usec();
	request.authorization = authorization ? xstrdup(authorization) : NULL;
	if (body)
		buffer_append_text(&request.body, body);
	api_handle(&f->services, &request, &response);
	f->http_status = response.status;
	f->retry_after = 0;
	for (size_t i = 0; i < response.header_count; i++)
		if (strcmp(response.headers[i].name, "Retry-After") == 0)
			f->retry_after = atoi(response.headers[i].value);
	yyjson_doc_free(f->doc);
	f->doc = yyjson_read(response.body, response.body_len, 0);
	if (!f->doc)
		fail_msg("%s %s: the answer is no JSON: %.*s", method, path, (int)response.body_len,
		        response.body);
	f->json = yyjson_doc_get_root(f->doc);
	return f->json;
}

yyjson_val *call_raw(struct control_fixture *f, const char *method, const char *path, const char *body,
        const char *authorization)
{
	return call_with(f, method, path, body, authorization, NULL);
}

yyjson_val *call_token(struct control_fixture *f, const char *form, const char *authorization)
{
	return call_with(
	        f, "POST", "/oidc/v1/token", form, authorization, "application/x-www-form-urlencoded");
}

void expect_oauth_error(const struct control_fixture *f, int http_status, const char *error)
{
	if (f->http_status != http_status || strcmp(text_at(f, "/error"), error) != 0)
		fail_msg("expected %d %s, got %d %s: %s", http_status, error, f->http_status,
		        text_at(f, "/error"), text_at(f, "/error_description"));
	assert_true(strlen(text_at(f, "/error_description")) > 0);
	assert_false(has(f, "/access_token"));
}

yyjson_val *call_api(struct control_fixture *f, const char *method, const char *path, const char *body)
{
	CLEANUP(free_text) char *whole = xasprintf("/api/2.0/postgres%s", path);
	return call_raw(f, method, whole, body, "Bearer " TOKEN);
}

const char *text_at(const struct control_fixture *f, const char *pointer)
{
	const char *text = yyjson_get_str(yyjson_ptr_get(f->json, pointer));
	return text ? text : "";
}

bool has(const struct control_fixture *f, const char *pointer)
{
	return yyjson_ptr_get(f->json, pointer) != NULL;
}

void expect_error(const struct control_fixture *f, int http_status, const char *code, const char *message)
{
	if (f->http_status != http_status || strcmp(text_at(f, "/error_code"), code) != 0 ||
	        strncmp(text_at(f, "/message"), message, strlen(message)) != 0)
		fail_msg("expected %d %s \"%s\", got %d %s \"%s\"", http_status, code, message,
		        f->http_status, text_at(f, "/error_code"), text_at(f, "/message"));
}

char *begin_operation(struct control_fixture *f, const char *method, const char *path, const char *body)
{
	call_api(f, method, path, body);
	if (f->http_status != 200)
		fail_msg("%s %s: %d %s", method, path, f->http_status, text_at(f, "/message"));
	assert_true(yyjson_is_bool(yyjson_obj_get(f->json, "done")));
	assert_true(has(f, "/metadata/@type"));
	return xstrdup(text_at(f, "/name"));
}

yyjson_val *finish_operation(struct control_fixture *f, const char *name)
{
	int64_t deadline = clock_monotonic_usec() + PATIENCE_USEC;
	CLEANUP(free_text) char *path = xasprintf("/%s", name);
	for (;;) {
		call_api(f, "GET", path, NULL);
		assert_int_equal(f->http_status, 200);
		if (yyjson_is_true(yyjson_obj_get(f->json, "done")))
			break;
		if (clock_monotonic_usec() > deadline)
			fail_msg("operation %s does not end", name);
		(void)uv_run(&f->loop, UV_RUN_ONCE);
	}
	/* Exactly one of the two, and neither null. */
	assert_true(yyjson_is_obj(yyjson_obj_get(f->json, "response")) !=
	            yyjson_is_obj(yyjson_obj_get(f->json, "error")));
	return f->json;
}

yyjson_val *perform(struct control_fixture *f, const char *method, const char *path, const char *body)
{
	CLEANUP(free_text) char *name = begin_operation(f, method, path, body);
	finish_operation(f, name);
	if (has(f, "/error"))
		fail_msg("%s %s: operation failed: %s", method, path, text_at(f, "/error/message"));
	f->json = yyjson_obj_get(f->json, "response");
	return f->json;
}

void settle(struct control_fixture *f)
{
	int64_t deadline = clock_monotonic_usec() + PATIENCE_USEC;
	(void)uv_run(&f->loop, UV_RUN_NOWAIT); /* after a start the jobs are not loaded yet */
	(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	while (reconciler_open_jobs(f->services.reconciler) > 0 && clock_monotonic_usec() < deadline)
		(void)uv_run(&f->loop, UV_RUN_ONCE);
	for (int i = 0; i < 5; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
}
