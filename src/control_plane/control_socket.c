#include "control_plane/control_socket.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>
#include <yyjson.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/number.h"
#include "loop/line_channel.h"

#define SOCKET_MAGIC 0x6373636bu
#define CLIENT_MAGIC 0x63636c69u

/*
 * Who keeps what alive: a client lives while its channel is open or a request of it is with the fleet; the control socket
 * lives while it is open or a client lives. So a callback of the fleet always finds its client, and a client its socket.
 */
struct client {
	uint32_t magic;
	struct control_socket *socket;
	struct line_channel *channel; /* NULL: it has gone, its answers go nowhere */
	int pending;                  /* requests that the fleet will answer */
	uint64_t number;              /* tells connections apart */
	bool has_reported;
	bool is_proxy; /* has asked for the sake of clients: wants to know when other addresses are let in */
	TAILQ_ENTRY(client) link;
};

struct control_socket {
	uint32_t magic;
	const struct data_directory *dd;
	uv_loop_t *loop;
	struct fleet *fleet;
	const struct control_answers *answers;
	void *owner;
	struct line_listener *listener;
	TAILQ_HEAD(client_list, client) clients;
	int client_count;
	uint64_t connections; /* so far */
	bool is_closed;
};

/* One request that waits for the fleet. */
struct request {
	struct client *client;
	uint64_t id;
	size_t suspended;  /* shutdown: how many computes ran */
	bool has_waited;   /* open: the compute did not run */
	char *pooled_role; /* open: who wants to use its pooler; NULL: nobody */
	char uid[64];      /* route: of the endpoint */
	bool is_pooled;    /* route: asked for by the pooler's address */
};

static struct control_socket *socket_of(void *p)
{
	struct control_socket *socket = p;
	assert(socket && socket->magic == SOCKET_MAGIC);
	return socket;
}

static struct client *client_of(void *p)
{
	struct client *client = p;
	assert(client && client->magic == CLIENT_MAGIC && client->socket->magic == SOCKET_MAGIC);
	return client;
}

static void socket_free_when_unused(struct control_socket *socket)
{
	if (!socket->is_closed || !TAILQ_EMPTY(&socket->clients))
		return;
	socket->magic = 0;
	free(socket);
}

static void client_free_when_unused(struct client *client)
{
	if (client->channel || client->pending > 0)
		return;
	struct control_socket *socket = client->socket;
	TAILQ_REMOVE(&socket->clients, client, link);
	socket->client_count--;
	client->magic = 0;
	free(client);
	socket_free_when_unused(socket);
}

/* ---- answers ---- */

static void send_doc(struct client *client, yyjson_mut_doc *doc)
{
	char *text = client->channel ? yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, NULL) : NULL;
	if (text)
		line_channel_send(client->channel, text);
	free(text);
	yyjson_mut_doc_free(doc);
}

/* A document {"id":id}; *ret_root is that object. */
static yyjson_mut_doc *answer_new(uint64_t id, yyjson_mut_val **ret_root)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	(void)yyjson_mut_obj_add_uint(doc, root, "id", id);
	*ret_root = root;
	return doc;
}

static void send_error(struct client *client, uint64_t id, const char *code, const char *sqlstate,
        const char *message, const char *hint)
{
	yyjson_mut_val *root;
	yyjson_mut_doc *doc = answer_new(id, &root);
	yyjson_mut_val *error = yyjson_mut_obj(doc);
	(void)yyjson_mut_obj_add_val(doc, root, "error", error);
	(void)yyjson_mut_obj_add_str(doc, error, "code", code);
	(void)yyjson_mut_obj_add_str(doc, error, "sqlstate", sqlstate);
	(void)yyjson_mut_obj_add_str(doc, error, "message", message);
	if (hint[0])
		(void)yyjson_mut_obj_add_str(doc, error, "hint", hint);
	send_doc(client, doc);
}

/* SQLSTATEs as Postgres uses them: 3D000 invalid_catalog_name, 57P03 cannot_connect_now, 57P01 admin_shutdown. */
static void send_failure(struct client *client, uint64_t id, const struct error *err)
{
	if (err->code == STATUS_NOT_FOUND)
		send_error(client, id, "NOT_FOUND", "3D000", err->message, err->hint);
	else if (fleet_is_shutting_down(client->socket->fleet))
		send_error(client, id, "SHUTTING_DOWN", "57P01", err->message, err->hint);
	else if (err->code == STATUS_DENIED)
		send_error(client, id, "DISABLED", "57P03", err->message, err->hint);
	else
		send_error(client, id, "START_FAILED", "57P03", err->message, err->hint);
}

/* ---- requests ---- */

static status find_route(struct control_socket *socket, const char *uid, const char *address,
        struct control_route *ret, struct error *err)
{
	return socket->answers->route(socket->owner, uid, address, ret, err);
}

/* Takes one place of the client's; give_back() returns it and frees the request. */
static struct request *request_new(struct client *client, uint64_t id)
{
	struct request *request = xcalloc(1, sizeof *request);
	*request = (struct request){ .client = client, .id = id };
	client->pending++;
	return request;
}

static void give_back(struct request *request)
{
	struct client *client = client_of(request->client);
	free(request->pooled_role);
	free(request);
	client->pending--;
	client_free_when_unused(client);
}

static void send_route(struct client *client, uint64_t id, const struct control_route *route,
        const struct control_login *login)
{
	yyjson_mut_val *root;
	yyjson_mut_doc *doc = answer_new(id, &root);
	yyjson_mut_val *endpoint = yyjson_mut_obj_add_obj(doc, root, "endpoint");
	(void)yyjson_mut_obj_add_str(doc, endpoint, "uid", route->uid);
	(void)yyjson_mut_obj_add_str(doc, endpoint, "name", route->name);
	(void)yyjson_mut_obj_add_str(doc, endpoint, "host", route->host);
	(void)yyjson_mut_obj_add_str(doc, endpoint, "address", route->address);
	(void)yyjson_mut_obj_add_bool(doc, endpoint, "disabled", route->is_disabled);
	(void)yyjson_mut_obj_add_str(doc, endpoint, "project", route->project);
	(void)yyjson_mut_obj_add_sint(doc, endpoint, "connections_max", route->connections_max);
	(void)yyjson_mut_obj_add_sint(doc, endpoint, "pooled_connections_max", route->pooled_connections_max);
	(void)yyjson_mut_obj_add_sint(
	        doc, endpoint, "project_connections_max", route->project_connections_max);
	(void)yyjson_mut_obj_add_bool(doc, endpoint, "read_only", route->is_read_only);
	const struct fleet *fleet = client->socket->fleet;
	const struct fleet_member *member = fleet_look(fleet, route->uid);
	if (member && member->state == FLEET_RUNNING && !route->is_disabled && !route->is_pooled &&
	        !fleet_is_shutting_down(fleet)) {
		CLEANUP(free_text) char *socket_dir = fleet_socket_dir(fleet, route->uid);
		(void)yyjson_mut_obj_add_strcpy(doc, root, "socket_dir", socket_dir);
	}
	if (route->is_pooled)
		(void)yyjson_mut_obj_add_bool(doc, endpoint, "pooled", true);
	if (login) {
		bool is_token = login->method == LOGIN_TOKEN;
		yyjson_mut_val *value = yyjson_mut_obj_add_obj(doc, root, "login");
		(void)yyjson_mut_obj_add_str(doc, value, "method", is_token ? "token" : "password");
		(void)yyjson_mut_obj_add_bool(doc, value, "enabled", login->is_enabled);
		if (is_token && login->is_revoked)
			(void)yyjson_mut_obj_add_bool(doc, value, "revoked", true);
		if (!is_token && login->is_enabled) {
			(void)yyjson_mut_obj_add_bool(doc, value, "permitted", login->is_permitted);
			(void)yyjson_mut_obj_add_bool(doc, value, "fresh", login->is_fresh);
			(void)yyjson_mut_obj_add_str(doc, value, "verifier", login->verifier);
			(void)yyjson_mut_obj_add_str(doc, value, "reason", login->reason);
		}
	}
	send_doc(client, doc);
}

static void send_no_route(struct client *client, uint64_t id, const struct error *err)
{
	bool is_unknown = err->code == STATUS_NOT_FOUND;
	send_error(client, id, is_unknown ? "NOT_FOUND" : "INTERNAL", is_unknown ? "3D000" : "XX000",
	        err->message, err->hint);
}

static void login_found(void *arg, const struct control_login *login, const struct error *failure)
{
	struct request *request = arg;
	struct client *client = client_of(request->client);
	struct control_route route = { 0 };
	struct error err;
	/* The endpoint may have gone while Postgres was asked. */
	if (!client->channel || client->socket->is_closed)
		;
	else if (!login)
		send_no_route(client, request->id, failure);
	else if (find_route(client->socket, request->uid, NULL, &route, &err) != STATUS_OK)
		send_no_route(client, request->id, &err);
	else {
		route.is_pooled = request->is_pooled;
		send_route(client, request->id, &route, login);
	}
	give_back(request);
}

static bool is_admitted(const struct control_socket *socket, const char *from, char *ret_why, size_t size)
{
	return !socket->answers->admits || socket->answers->admits(socket->owner, from, ret_why, size);
}

static void take_route(struct client *client, uint64_t id, const char *uid, const char *address,
        const char *role, const char *from)
{
	char why[256];
	struct control_route route = { 0 };
	struct error err;
	struct control_socket *socket = client->socket;
	client->is_proxy |= from != NULL;
	if (!uid == !address) {
		send_error(client, id, "INVALID", "08P01",
		        "a route is asked for with either \"uid\" or \"address\"", "");
	} else if (!is_admitted(socket, from, why, sizeof why)) {
		send_error(client, id, "NOT_ALLOWED", "28000", why, ""); /* before anything else is told */
	} else if (find_route(socket, uid, address, &route, &err) != STATUS_OK) {
		send_no_route(client, id, &err);
	} else if (role && socket->answers->login) {
		struct request *request = request_new(client, id);
		memcpy(request->uid, route.uid, sizeof request->uid);
		request->is_pooled = route.is_pooled;
		socket->answers->login(socket->owner, route.uid, role, login_found, request);
	} else {
		send_route(client, id, &route, NULL);
	}
}

static void send_opened(struct request *request, const char *socket_dir)
{
	yyjson_mut_val *root;
	yyjson_mut_doc *doc = answer_new(request->id, &root);
	(void)yyjson_mut_obj_add_strcpy(doc, root, "socket_dir", socket_dir);
	(void)yyjson_mut_obj_add_bool(doc, root, "waited", request->has_waited);
	send_doc(request->client, doc);
}

/* 28000 invalid_authorization_specification, 0A000 feature_not_supported. */
static void send_pool_failure(struct client *client, uint64_t id, const struct error *err)
{
	if (err->code == STATUS_DENIED)
		send_error(client, id, "REFUSED", "28000", err->message, err->hint);
	else if (err->code == STATUS_UNSUPPORTED)
		send_error(client, id, "REFUSED", "0A000", err->message, err->hint);
	else if (err->code == STATUS_CONFLICT || err->code == STATUS_UNAVAILABLE)
		send_error(client, id, "NOT_NOW", "57P03", err->message, err->hint);
	else if (err->code == STATUS_NOT_FOUND)
		send_failure(client, id, err);
	else
		send_error(client, id, "REFUSED", "57P03", err->message, err->hint);
}

static void pooled(void *arg, const char *uid, const struct error *err)
{
	struct request *request = arg;
	struct client *client = client_of(request->client);
	if (client->channel && err && fleet_is_shutting_down(client->socket->fleet)) {
		send_failure(client, request->id, err);
	} else if (client->channel && err) {
		send_pool_failure(client, request->id, err);
	} else if (client->channel) {
		CLEANUP(free_text) char *socket_dir = fleet_pooler_dir(client->socket->fleet, uid);
		send_opened(request, socket_dir);
	}
	give_back(request);
}

static void opened(void *arg, const char *uid, const struct error *err)
{
	struct request *request = arg;
	struct client *client = client_of(request->client);
	if (client->channel && !err && request->pooled_role && !client->socket->is_closed) {
		fleet_pool(client->socket->fleet, uid, request->pooled_role, pooled, request);
		return;
	}
	if (client->channel && err) {
		send_failure(client, request->id, err);
	} else if (client->channel) {
		CLEANUP(free_text) char *socket_dir = fleet_socket_dir(client->socket->fleet, uid);
		send_opened(request, socket_dir);
	}
	give_back(request);
}

static void take_open(struct client *client, uint64_t id, const char *uid, const char *pooled_role)
{
	struct control_route route = { 0 };
	struct error err;
	if (!uid) {
		send_error(client, id, "INVALID", "08P01", "an endpoint is opened with its \"uid\"", "");
	} else if (find_route(client->socket, uid, NULL, &route, &err) != STATUS_OK) {
		send_failure(client, id, &err);
	} else if (route.is_disabled) {
		error_fill(&err, STATUS_DENIED, 0, "endpoint \"%s\" is disabled", route.name);
		error_hint(&err, "Enable it: tarn postgres update-endpoint %s", route.name);
		send_error(client, id, "DISABLED", "57P03", err.message, err.hint);
	} else {
		const struct fleet_member *member = fleet_look(client->socket->fleet, uid);
		struct request *request = request_new(client, id);
		request->has_waited = !member || member->state != FLEET_RUNNING;
		request->pooled_role = pooled_role ? xstrdup(pooled_role) : NULL;
		fleet_open(client->socket->fleet, uid, opened, request);
	}
}

static void count_awake(void *arg, const struct fleet_member *member)
{
	*(size_t *)arg += member->state != FLEET_ASLEEP;
}

/* A client that went away before gets no answer, and control ends all the same. */
static void shut_down(void *arg, const char *uid, const struct error *err)
{
	(void)uid;
	struct request *request = arg;
	struct client *client = client_of(request->client);
	struct control_socket *socket = client->socket;
	if (client->channel && err) {
		send_failure(client, request->id, err);
	} else if (client->channel) {
		yyjson_mut_val *root;
		yyjson_mut_doc *doc = answer_new(request->id, &root);
		(void)yyjson_mut_obj_add_uint(doc, root, "suspended", request->suspended);
		send_doc(client, doc);
	}
	if (!err && !socket->is_closed)
		socket->answers->on_shut_down(socket->owner);
	give_back(request);
}

static void take_shut_down(struct client *client, uint64_t id)
{
	struct request *request = request_new(client, id);
	fleet_each(client->socket->fleet, count_awake, &request->suspended);
	log_info("asked to suspend all computes and end; %zu run", request->suspended);
	fleet_shut_down(client->socket->fleet, shut_down, request);
}

struct status_answer {
	struct control_socket *socket;
	yyjson_mut_doc *doc;
	yyjson_mut_val *computes;
};

static void add_timing(yyjson_mut_doc *doc, yyjson_mut_val *compute, const struct fleet_timing *timing)
{
	yyjson_mut_val *value = yyjson_mut_obj(doc);
	(void)yyjson_mut_obj_add_real(doc, value, "prepare_ms", timing->prepare_ms);
	(void)yyjson_mut_obj_add_real(doc, value, "postgres_ms", timing->postgres_ms);
	(void)yyjson_mut_obj_add_real(doc, value, "reconcile_ms", timing->reconcile_ms);
	(void)yyjson_mut_obj_add_real(doc, value, "start_ms", timing->start_ms);
	(void)yyjson_mut_obj_add_val(doc, compute, "timing", value);
}

static void add_storage(yyjson_mut_doc *doc, yyjson_mut_val *compute, const struct fleet_storage *storage)
{
	if (!storage->is_known)
		return;
	char newest_lsn[LSN_TEXT_MAX];
	lsn_format(storage->newest_lsn, newest_lsn);
	yyjson_mut_val *value = yyjson_mut_obj_add_obj(doc, compute, "storage");
	(void)yyjson_mut_obj_add_sint(doc, value, "points", storage->points);
	(void)yyjson_mut_obj_add_strcpy(doc, value, "newest_lsn", newest_lsn);
	(void)yyjson_mut_obj_add_real(doc, value, "replay_estimate_ms", storage->replay_estimate_ms);
	(void)yyjson_mut_obj_add_real(doc, value, "replay_speed_mb_s", storage->replay_speed_mb_s);
	(void)yyjson_mut_obj_add_sint(doc, value, "depth", storage->depth);
	(void)yyjson_mut_obj_add_sint(doc, value, "open_pages", storage->open_pages);
	(void)yyjson_mut_obj_add_sint(doc, value, "logical_bytes", storage->logical_bytes);
	(void)yyjson_mut_obj_add_strcpy(doc, value, "alarm", storage->alarm);
}

static void add_pooler(yyjson_mut_doc *doc, yyjson_mut_val *compute, const struct fleet_pooler *pooler)
{
	if (pooler->pid == 0)
		return;
	yyjson_mut_val *value = yyjson_mut_obj_add_obj(doc, compute, "pooler");
	(void)yyjson_mut_obj_add_sint(doc, value, "pid", pooler->pid);
	(void)yyjson_mut_obj_add_sint(doc, value, "connections", pooler->connections);
	(void)yyjson_mut_obj_add_sint(doc, value, "clients", pooler->clients);
	(void)yyjson_mut_obj_add_sint(doc, value, "waiting", pooler->waiting);
	(void)yyjson_mut_obj_add_sint(doc, value, "servers_active", pooler->servers_active);
	(void)yyjson_mut_obj_add_sint(doc, value, "servers_idle", pooler->servers_idle);
	(void)yyjson_mut_obj_add_sint(doc, value, "transactions", pooler->transactions);
	(void)yyjson_mut_obj_add_sint(doc, value, "queries", pooler->queries);
	(void)yyjson_mut_obj_add_real(doc, value, "wait_ms", (double)pooler->wait_usec / 1000);
}

static void add_compute(void *arg, const struct fleet_member *member)
{
	struct status_answer *answer = arg;
	struct control_route route = { 0 };
	struct error err;
	char since[CLOCK_TEXT_MAX], last_active[CLOCK_TEXT_MAX];
	yyjson_mut_doc *doc = answer->doc;
	yyjson_mut_val *compute = yyjson_mut_arr_add_obj(doc, answer->computes);
	clock_format_timestamp(member->since_usec, since);
	(void)yyjson_mut_obj_add_strcpy(doc, compute, "uid", member->uid);
	if (find_route(answer->socket, member->uid, NULL, &route, &err) ==
	        STATUS_OK) { /* else it is being deleted */
		(void)yyjson_mut_obj_add_strcpy(doc, compute, "name", route.name);
		(void)yyjson_mut_obj_add_strcpy(doc, compute, "host", route.host);
	}
	(void)yyjson_mut_obj_add_str(doc, compute, "state", fleet_state_name(member->state));
	(void)yyjson_mut_obj_add_strcpy(doc, compute, "since", since);
	(void)yyjson_mut_obj_add_int(doc, compute, "pid", member->pid);
	(void)yyjson_mut_obj_add_int(doc, compute, "postgres_pid", member->postgres_pid);
	if (member->last_active_usec > 0) {
		clock_format_timestamp(member->last_active_usec, last_active);
		(void)yyjson_mut_obj_add_strcpy(doc, compute, "last_active_time", last_active);
	}
	add_timing(doc, compute, &member->timing);
	add_storage(doc, compute, &member->storage);
	add_pooler(doc, compute, &member->pooler);
	if (answer->socket->answers->add_compute)
		answer->socket->answers->add_compute(answer->socket->owner, member->uid, doc, compute);
}

static void take_status(struct client *client, uint64_t id)
{
	struct status_answer answer = { .socket = client->socket };
	yyjson_mut_val *root;
	answer.doc = answer_new(id, &root);
	answer.computes = yyjson_mut_arr(answer.doc);
	(void)yyjson_mut_obj_add_val(answer.doc, root, "computes", answer.computes);
	fleet_each(client->socket->fleet, add_compute, &answer);
	if (client->socket->answers->add_status)
		client->socket->answers->add_status(client->socket->owner, answer.doc, root);
	send_doc(client, answer.doc);
}

/* Of clients that are connected: those that may not be any more. */
static void take_access(struct client *client, uint64_t id, yyjson_val *clients)
{
	yyjson_mut_val *root;
	yyjson_mut_doc *doc = answer_new(id, &root);
	yyjson_mut_val *denied = yyjson_mut_obj_add_arr(doc, root, "denied");
	char why[256];
	yyjson_val *one;
	size_t i, count;
	client->is_proxy = true;
	yyjson_arr_foreach(clients, i, count, one)
	{
		const char *from = yyjson_get_str(one);
		if (from && !is_admitted(client->socket, from, why, sizeof why))
			(void)yyjson_mut_arr_add_strcpy(doc, denied, from);
	}
	send_doc(client, doc);
}

void control_socket_announce_access(struct control_socket *socket)
{
	struct client *client;
	TAILQ_FOREACH (client, &socket->clients, link)
		if (client->channel && client->is_proxy)
			line_channel_send(client->channel, "{\"event\":\"access\"}");
}

static void take_report(struct client *client, uint64_t id, yyjson_val *report)
{
	const struct control_answers *answers = client->socket->answers;
	yyjson_mut_val *root;
	if (!answers->report || !answers->report(client->socket->owner, client->number, report)) {
		send_error(client, id, "INVALID", "08P01", "this report is not understood", "");
		return;
	}
	client->has_reported = client->is_proxy = true;
	yyjson_mut_doc *doc = answer_new(id, &root);
	(void)yyjson_mut_obj_add_bool(doc, root, "ok", true);
	send_doc(client, doc);
}

/* A member that must be a string without NUL when it is there; false when it is something else. */
static bool read_text(yyjson_val *root, const char *name, const char **ret)
{
	yyjson_val *value = yyjson_obj_get(root, name);
	*ret = yyjson_get_str(value);
	return !value || (*ret && strlen(*ret) == yyjson_get_len(value));
}

/* False for a line that is not a request at all: the contract closes the connection then. */
static bool take_request(struct client *client, struct slice line)
{
	yyjson_doc *doc = yyjson_read((const char *)line.data, line.len, 0);
	yyjson_val *root = yyjson_doc_get_root(doc);
	yyjson_val *id_value = yyjson_obj_get(root, "id");
	const char *op, *uid, *address, *role, *pooled_role, *from;
	bool is_request = yyjson_is_obj(root) && yyjson_is_uint(id_value) && read_text(root, "op", &op) &&
	                  op && read_text(root, "uid", &uid) && read_text(root, "address", &address) &&
	                  read_text(root, "role", &role) && read_text(root, "pooled_role", &pooled_role) &&
	                  read_text(root, "client", &from);
	if (is_request) {
		uint64_t id = yyjson_get_uint(id_value);
		bool is_kept_waiting = strcmp(op, "access") != 0 && strcmp(op, "report") != 0;
		if (is_kept_waiting && client->pending >= CONTROL_PENDING_MAX)
			send_error(client, id, "BUSY", "53300",
			        "too many logins and starts are waiting for an answer already",
			        "Try again in a moment.");
		else if (strcmp(op, "route") == 0)
			take_route(client, id, uid, address, role, from);
		else if (strcmp(op, "open") == 0)
			take_open(client, id, uid, pooled_role);
		else if (strcmp(op, "shutdown") == 0)
			take_shut_down(client, id);
		else if (strcmp(op, "status") == 0)
			take_status(client, id);
		else if (strcmp(op, "access") == 0)
			take_access(client, id, yyjson_obj_get(root, "clients"));
		else if (strcmp(op, "report") == 0)
			take_report(client, id, root);
		else
			send_error(client, id, "INVALID", "08P01", "this \"op\" is not known", "");
	}
	yyjson_doc_free(doc);
	return is_request;
}

static void take_line(void *owner, struct line_channel *channel, struct slice line)
{
	struct client *client = client_of(owner);
	if (client->socket->is_closed)
		return;
	if (!take_request(client, line)) {
		log_warning("a client of the control socket sent a malformed line");
		line_channel_close(channel);
	}
}

static void channel_closed(void *owner, struct line_channel *channel, const char *reason)
{
	(void)channel, (void)reason;
	struct client *client = client_of(owner);
	const struct control_answers *answers = client->socket->answers;
	client->channel = NULL;
	if (client->has_reported && !client->socket->is_closed)
		answers->report_ended(client->socket->owner, client->number);
	client_free_when_unused(client);
}

static const struct line_channel_events channel_events = { .on_line = take_line, .on_close = channel_closed };

static void accept_client(void *owner, int taken_fd)
{
	CLEANUP(close_fd) int fd = taken_fd;
	struct control_socket *socket = socket_of(owner);
	if (socket->client_count >= CONTROL_CLIENTS_MAX)
		return; /* closed: it sees the end of the stream */
	struct client *client = xcalloc(1, sizeof *client);
	*client = (struct client){ .magic = CLIENT_MAGIC, .socket = socket, .number = ++socket->connections };
	struct error err;
	if (line_channel_wrap(socket->loop, fd, &channel_events, client, &client->channel, &err) !=
	        STATUS_OK) {
		log_warning("%s", err.message);
		free(client);
		return;
	}
	(void)TAKE_FD(fd);
	TAILQ_INSERT_TAIL(&socket->clients, client, link);
	socket->client_count++;
}

status control_socket_open(uv_loop_t *loop, const struct data_directory *dd, struct fleet *fleet,
        const struct control_answers *answers, void *owner, struct control_socket **ret, struct error *err)
{
	CLEANUP(free_text) char *path = data_directory_path(dd, "run/control.sock");
	struct control_socket *socket = xcalloc(1, sizeof *socket);
	*socket = (struct control_socket){ .magic = SOCKET_MAGIC,
		.dd = dd,
		.loop = loop,
		.fleet = fleet,
		.answers = answers,
		.owner = owner };
	TAILQ_INIT(&socket->clients);
	if (line_listener_bind(loop, path, accept_client, socket, &socket->listener, err) != STATUS_OK) {
		free(socket);
		return err->code;
	}
	*ret = socket;
	return STATUS_OK;
}

void control_socket_close(struct control_socket *socket)
{
	socket_of(socket)->is_closed = true;
	line_listener_close(socket->listener);
	struct client *client;
	TAILQ_FOREACH (client, &socket->clients, link)
		if (client->channel)
			line_channel_finish(client->channel);
	socket_free_when_unused(socket);
}
