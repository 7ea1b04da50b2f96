#include "control_plane/health.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/role_lock.h"
#include "control_plane/audit_trail.h"
#include "control_plane/disk_room.h"
#include "control_plane/reconciler.h"
#include "metadata/statement.h"

/* A write is a sync of the disk: whoever asks more often gets the last answer. */
#define PROBE_USEC (5 * USEC_PER_SEC)

struct health {
	int64_t probed_usec; /* monotonic; 0: never */
	bool is_writable;
};

struct health *health_create(void)
{
	return xcalloc(1, sizeof(struct health));
}

struct health *health_free(struct health *health)
{
	free(health);
	return NULL;
}

bool health_live(struct call *call)
{
	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	yyjson_mut_obj_add_str(call->out, root, "status", "ok");
	return call_answer(call, root);
}

static bool write_metadata(struct metadata *md)
{
	struct error err;
	int64_t ignored = 0;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	return transaction_begin(md, &tx, &err) == STATUS_OK &&
	       metadata_next_number(md, "readyz", 0, &ignored, &err) == STATUS_OK &&
	       transaction_commit(&tx, &err) == STATUS_OK;
}

static bool is_metadata_writable(const struct services *services)
{
	struct health *health = services->health;
	int64_t now = clock_monotonic_usec();
	if (!health)
		return write_metadata(services->md);
	if (health->probed_usec == 0 || now - health->probed_usec >= PROBE_USEC) {
		health->is_writable = write_metadata(services->md);
		health->probed_usec = now;
	}
	return health->is_writable;
}

/* "up", "starting", "down". */
static const char *look_at_proxy(const struct data_directory *dd)
{
	CLEANUP(free_text) char *path = data_directory_path(dd, "run/proxy.lock");
	char text[ROLE_LOCK_TEXT_MAX];
	struct error err;
	if (role_lock_look(path, text, &err) != STATUS_OK)
		return "down";
	yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
	bool is_ready = doc && yyjson_get_bool(yyjson_obj_get(yyjson_doc_get_root(doc), "ready"));
	yyjson_doc_free(doc);
	return is_ready ? "up" : "starting";
}

static void add_check(struct call *call, yyjson_mut_val *checks, const char *name, bool is_ok, bool is_needed,
        const char *detail, bool *ret_is_ready)
{
	yyjson_mut_val *check = yyjson_mut_obj_add_obj(call->out, checks, name);
	yyjson_mut_obj_add_bool(call->out, check, "ok", is_ok);
	yyjson_mut_obj_add_str(call->out, check, "detail", detail);
	*ret_is_ready = *ret_is_ready && (is_ok || !is_needed);
}

bool health_ready(struct call *call)
{
	const struct services *services = call->services;
	struct error err;
	struct reconciler_numbers work;
	struct audit_trail_numbers audit;
	char open[64];
	bool is_ready = true;
	yyjson_mut_val *root = yyjson_mut_obj(call->out);
	yyjson_mut_val *state = yyjson_mut_obj_add_obj(call->out, root, "checks");
	reconciler_look(services->reconciler, &work);
	audit_trail_look(services->audit, &audit);
	bool is_writable = is_metadata_writable(services),
	     has_room = disk_room_check(services->dd, &err) == STATUS_OK;
	const char *proxy = look_at_proxy(services->dd);
	(void)snprintf(open, sizeof open, "%zu operations open, %zu of them wait", work.open, work.waiting);
	add_check(call, state, "metadata", is_writable, true, is_writable ? "writable" : "cannot be written",
	        &is_ready);
	add_check(call, state, "reconciler", work.is_able, true,
	        work.is_able ? open : "does not begin operations", &is_ready);
	add_check(call, state, "disk", has_room, true, has_room ? "has room" : "is full", &is_ready);
	add_check(call, state, "proxy", strcmp(proxy, "up") == 0, false, proxy, &is_ready);
	add_check(call, state, "audit", !audit.trouble[0], false,
	        audit.trouble[0] ? "cannot be written" : "written", &is_ready);
	yyjson_mut_obj_add_bool(call->out, root, "ready", is_ready);
	if (!call_answer(call, root))
		return false;
	call->response->status = is_ready ? 200 : 503;
	return true;
}
