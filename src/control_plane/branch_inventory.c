#include "control_plane/branch_inventory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/log.h"
#include "control_plane/resource_name.h"
#include "http/server.h"
#include "metadata/database_row.h"
#include "metadata/role_row.h"

/* One inventory that is being taken for a request that is held. */
struct refresh {
	TAILQ_ENTRY(refresh) link;
	struct branch_inventory *owner;
	int64_t branch;
	uint64_t ticket;
	bool is_overtaken; /* a newer one is in the rows already */
	char *socket_dir;
	struct http_hold *hold;
	uv_work_t work;
	struct inventory inventory;
	struct error error; /* code STATUS_OK: it was taken */
};

struct branch_inventory {
	struct services *services;
	TAILQ_HEAD(refresh_list, refresh) refreshes;
	_Atomic uint64_t tickets;
	bool is_closed;
};

struct branch_inventory *branch_inventory_create(struct services *services)
{
	struct branch_inventory *inventory = xcalloc(1, sizeof *inventory);
	inventory->services = services;
	TAILQ_INIT(&inventory->refreshes);
	services->inventory = inventory;
	return inventory;
}

static void free_when_unused(struct branch_inventory *inventory)
{
	if (inventory->is_closed && TAILQ_EMPTY(&inventory->refreshes))
		free(inventory);
}

void branch_inventory_close(struct branch_inventory *inventory)
{
	inventory->is_closed = true;
	free_when_unused(inventory);
}

uint64_t branch_inventory_ticket(struct branch_inventory *inventory)
{
	return atomic_fetch_add(&inventory->tickets, 1) + 1;
}

/* ---- what Postgres says becomes rows ---- */

struct picture {
	struct role_row *roles;
	struct database_row *databases;
	size_t role_count, database_count;
	size_t role_capacity, database_capacity;
	bool *role_is_there, *database_is_there; /* in the inventory */
	bool is_changed;
};

static void picture_done(struct picture *picture)
{
	free(picture->roles);
	free(picture->databases);
	free(picture->role_is_there);
	free(picture->database_is_there);
}

static status load(struct metadata *md, int64_t branch, const struct inventory *inventory,
        struct picture *ret, struct error *err)
{
	int64_t roles = 0, databases = 0;
	status st = role_row_count(md, branch, &roles, err);
	if (st == STATUS_OK)
		st = database_row_count(md, branch, &databases, err);
	if (st != STATUS_OK)
		return st;
	ret->role_capacity = (size_t)roles + inventory->role_count + 1;
	ret->database_capacity = (size_t)databases + inventory->database_count + 1;
	ret->roles = xcalloc(ret->role_capacity, sizeof *ret->roles);
	ret->role_is_there = xcalloc(ret->role_capacity, sizeof *ret->role_is_there);
	ret->databases = xcalloc(ret->database_capacity, sizeof *ret->databases);
	ret->database_is_there = xcalloc(ret->database_capacity, sizeof *ret->database_is_there);

	CLEANUP(statement_done) struct statement role_list = { 0 };
	CLEANUP(statement_done) struct statement database_list = { 0 };
	st = role_row_list(md, branch, 0, roles, &role_list, err);
	while (st == STATUS_OK) {
		st = role_row_next(&role_list, &ret->roles[ret->role_count], err);
		ret->role_count += st == STATUS_OK;
	}
	if (st == STATUS_NOT_FOUND)
		st = database_row_list(md, branch, 0, databases, &database_list, err);
	while (st == STATUS_OK) {
		st = database_row_next(&database_list, &ret->databases[ret->database_count], err);
		ret->database_count += st == STATUS_OK;
	}
	return st == STATUS_NOT_FOUND ? STATUS_OK : st;
}

static bool has_oid(const struct inventory *inventory, int64_t oid)
{
	/* Both lists are in the order of the oids. */
	size_t low = 0, high = inventory->role_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (inventory->roles[middle].oid < oid)
			low = middle + 1;
		else
			high = middle;
	}
	return low < inventory->role_count && inventory->roles[low].oid == oid;
}

static struct role_row *find_role(
        struct picture *picture, const struct inventory *inventory, const struct inventory_role *role)
{
	for (size_t i = 0; i < picture->role_count; i++) {
		if (!picture->role_is_there[i] && picture->roles[i].oid == role->oid)
			return &picture->roles[i];
	}
	for (size_t i = 0; i < picture->role_count; i++) {
		struct role_row *row = &picture->roles[i];
		if (!picture->role_is_there[i] && strcmp(row->postgres_role, role->name) == 0 &&
		        !(row->oid != 0 && has_oid(inventory, row->oid)))
			return row;
	}
	return NULL;
}

/* One of its own, derived from the name. */
static void give_role_id(
        const struct picture *picture, const struct inventory_role *role, struct role_row *row)
{
	char base[RESOURCE_ID_MAX + 1];
	bool is_identity = role->identity == INVENTORY_USER || role->identity == INVENTORY_SERVICE_PRINCIPAL;
	if (is_identity)
		resource_role_id(role->name, role->identity == INVENTORY_SERVICE_PRINCIPAL, base);
	else
		resource_id_from_name(role->name, "role", base);
	for (int number = 1;; number++) {
		resource_id_numbered(base, number, row->role_id);
		size_t i = 0;
		while (i < picture->role_count &&
		        (&picture->roles[i] == row || strcmp(picture->roles[i].role_id, row->role_id) != 0))
			i++;
		if (i == picture->role_count)
			return;
	}
}

static void give_database_id(
        const struct picture *picture, const struct inventory_database *database, struct database_row *row)
{
	char base[RESOURCE_ID_MAX + 1];
	resource_id_from_name(database->name, "database", base);
	for (int number = 1;; number++) {
		resource_id_numbered(base, number, row->database_id);
		size_t i = 0;
		while (i < picture->database_count &&
		        (&picture->databases[i] == row ||
		                strcmp(picture->databases[i].database_id, row->database_id) != 0))
			i++;
		if (i == picture->database_count)
			return;
	}
}

static bool set_text(char *to, size_t size, const char *value)
{
	if (strcmp(to, value) == 0)
		return false;
	(void)snprintf(to, size, "%s", value);
	return true;
}

static bool set_bool(bool *to, bool value)
{
	bool is_new = *to != value;
	*to = value;
	return is_new;
}

static const char *identity_text(enum inventory_identity identity)
{
	switch (identity) {
	case INVENTORY_USER:
		return "USER";
	case INVENTORY_SERVICE_PRINCIPAL:
		return "SERVICE_PRINCIPAL";
	case INVENTORY_GROUP:
		return "GROUP";
	case INVENTORY_PLAIN:
		break;
	}
	return "IDENTITY_TYPE_UNSPECIFIED";
}

static const char *auth_text(const struct inventory_role *role)
{
	if (!role->login)
		return "NO_LOGIN";
	return role->identity != INVENTORY_PLAIN && !role->verifier[0] ? "LAKEBASE_OAUTH_V1"
	                                                               : "PG_PASSWORD_SCRAM_SHA_256";
}

static bool is_true_name(const char *name)
{
	return utf8_valid_prefix(slice_from_text(name)) == strlen(name);
}

static void take_role(struct picture *picture, const struct inventory *inventory,
        const struct inventory_role *role, int64_t branch, int64_t now_usec)
{
	if (!is_true_name(role->name))
		return; /* it cannot be written as JSON, nor named in a request */
	struct role_row *row = find_role(picture, inventory, role);
	bool is_new = !row;
	if (is_new) {
		row = &picture->roles[picture->role_count++];
		*row = (struct role_row){ .branch = branch, .create_usec = now_usec };
		give_role_id(picture, role, row);
	}
	picture->role_is_there[row - picture->roles] = true;
	bool is_shown = set_text(row->postgres_role, sizeof row->postgres_role, role->name);
	is_shown |= set_text(row->identity_type, sizeof row->identity_type, identity_text(role->identity));
	is_shown |= set_text(row->auth_method, sizeof row->auth_method, auth_text(role));
	is_shown |= set_bool(&row->createdb, role->createdb);
	is_shown |= set_bool(&row->createrole, role->createrole);
	is_shown |= set_bool(&row->bypassrls, role->bypassrls);
	is_shown |= set_bool(&row->is_superuser_member, role->is_superuser_member);
	bool is_changed = is_shown || row->oid != role->oid;
	row->oid = role->oid;
	if (strcmp(row->verifier, role->verifier) != 0) {
		set_text(row->verifier, sizeof row->verifier, role->verifier);
		row->sealed_password[0] = '\0'; /* somebody else made the password */
		is_changed = true;
	}
	if (is_new || is_shown)
		row->update_usec = now_usec;
	picture->is_changed |= is_new || is_changed;
}

static struct database_row *find_database(struct picture *picture, const struct inventory_database *database)
{
	for (size_t i = 0; i < picture->database_count; i++) {
		if (!picture->database_is_there[i] && picture->databases[i].oid == database->oid)
			return &picture->databases[i];
	}
	for (size_t i = 0; i < picture->database_count; i++) {
		if (!picture->database_is_there[i] &&
		        strcmp(picture->databases[i].postgres_database, database->name) == 0)
			return &picture->databases[i];
	}
	return NULL;
}

static void take_database(
        struct picture *picture, const struct inventory_database *database, int64_t branch, int64_t now_usec)
{
	if (!is_true_name(database->name))
		return;
	struct database_row *row = find_database(picture, database);
	bool is_new = !row;
	if (is_new) {
		row = &picture->databases[picture->database_count++];
		*row = (struct database_row){ .branch = branch, .create_usec = now_usec };
		give_database_id(picture, database, row);
	}
	picture->database_is_there[row - picture->databases] = true;
	const char *owner = "";
	for (size_t i = 0; i < picture->role_count; i++) {
		if (picture->role_is_there[i] &&
		        strcmp(picture->roles[i].postgres_role, database->owner) == 0)
			owner = picture->roles[i].role_id;
	}
	bool is_shown = set_text(row->postgres_database, sizeof row->postgres_database, database->name);
	is_shown |= set_text(row->role_id, sizeof row->role_id, owner);
	bool is_changed = is_shown || row->oid != database->oid;
	row->oid = database->oid;
	if (is_new || is_shown)
		row->update_usec = now_usec;
	picture->is_changed |= is_new || is_changed;
}

static status write_roles(struct metadata *md, struct picture *picture, int64_t branch, struct error *err)
{
	status st = role_row_loosen_names(md, branch, err);
	for (size_t i = 0; i < picture->role_count && st == STATUS_OK; i++) {
		struct role_row *row = &picture->roles[i];
		if (!picture->role_is_there[i] && !row->is_pending)
			st = role_row_remove(md, row->id, err);
	}
	for (size_t i = 0; i < picture->role_count && st == STATUS_OK; i++) {
		struct role_row *row = &picture->roles[i];
		if (!picture->role_is_there[i] && !row->is_pending)
			continue;
		st = row->id == 0 ? role_row_insert(md, row, err) : role_row_update(md, row, err);
	}
	return st;
}

static status write_databases(struct metadata *md, struct picture *picture, int64_t branch, struct error *err)
{
	status st = database_row_loosen_names(md, branch, err);
	for (size_t i = 0; i < picture->database_count && st == STATUS_OK; i++) {
		struct database_row *row = &picture->databases[i];
		if (!picture->database_is_there[i] && !row->is_pending)
			st = database_row_remove(md, row->id, err);
	}
	for (size_t i = 0; i < picture->database_count && st == STATUS_OK; i++) {
		struct database_row *row = &picture->databases[i];
		if (!picture->database_is_there[i] && !row->is_pending)
			continue;
		st = row->id == 0 ? database_row_insert(md, row, err) : database_row_update(md, row, err);
	}
	return st;
}

static bool has_losses(const struct picture *picture)
{
	for (size_t i = 0; i < picture->role_count; i++) {
		if (!picture->role_is_there[i] && !picture->roles[i].is_pending)
			return true;
	}
	for (size_t i = 0; i < picture->database_count; i++) {
		if (!picture->database_is_there[i] && !picture->databases[i].is_pending)
			return true;
	}
	return false;
}

static void overtake(struct branch_inventory *owner, int64_t branch, uint64_t ticket)
{
	struct refresh *refresh;
	TAILQ_FOREACH (refresh, &owner->refreshes, link) {
		if (refresh->branch == branch && refresh->ticket < ticket)
			refresh->is_overtaken = true;
	}
}

status branch_inventory_absorb(const struct services *services, int64_t branch, uint64_t ticket,
        const struct inventory *inventory, int64_t now_usec, struct error *err)
{
	struct metadata *md = services->md;
	CLEANUP(picture_done) struct picture picture = { 0 };
	status st = load(md, branch, inventory, &picture, err);
	if (st != STATUS_OK)
		return st;
	for (size_t i = 0; i < inventory->role_count; i++)
		take_role(&picture, inventory, &inventory->roles[i], branch, now_usec);
	for (size_t i = 0; i < inventory->database_count; i++)
		take_database(&picture, &inventory->databases[i], branch, now_usec);
	if (picture.is_changed || has_losses(&picture)) {
		st = write_roles(md, &picture, branch, err);
		if (st == STATUS_OK)
			st = write_databases(md, &picture, branch, err);
	}
	if (st == STATUS_OK)
		overtake(services->inventory, branch, ticket);
	return st;
}

/* ---- asking ---- */

static void ask(uv_work_t *work)
{
	struct refresh *refresh = work->data;
	struct error err = { 0 };
	if (inventory_take(refresh->socket_dir, &refresh->inventory, &err) != STATUS_OK)
		refresh->error = err;
}

static status absorb_refresh(const struct refresh *refresh, struct error *err)
{
	const struct services *services = refresh->owner->services;
	struct branch_row branch;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	status st = transaction_begin(services->md, &tx, err);
	if (st == STATUS_OK)
		st = branch_row_get(services->md, refresh->branch, &branch, err);
	if (st == STATUS_NOT_FOUND || (st == STATUS_OK && (!branch.is_ready || branch.is_resetting)))
		return STATUS_OK; /* an operation is about to say what is there */
	if (st == STATUS_OK)
		st = branch_inventory_absorb(services, refresh->branch, refresh->ticket, &refresh->inventory,
		        clock_wall_usec(), err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

static void asked(uv_work_t *work, int code)
{
	struct refresh *refresh = work->data;
	struct branch_inventory *owner = refresh->owner;
	struct error err;
	/* Not reached: it has just fallen asleep, or has no connection left. The rows are what was last known. */
	if (refresh->error.code != STATUS_OK)
		log_info("roles and databases are shown as last known: %s", refresh->error.message);
	else if (code == 0 && !refresh->is_overtaken && !owner->is_closed &&
	         absorb_refresh(refresh, &err) != STATUS_OK)
		log_error("could not note the roles and databases of a branch: %s", err.message);
	TAILQ_REMOVE(&owner->refreshes, refresh, link);
	http_release(refresh->hold);
	inventory_done(&refresh->inventory);
	free(refresh->socket_dir);
	free(refresh);
	free_when_unused(owner);
}

static void begin(struct call *call, const struct branch_row *branch, const char *uid)
{
	struct branch_inventory *owner = call->services->inventory;
	struct refresh *refresh = xcalloc(1, sizeof *refresh);
	refresh->owner = owner;
	refresh->branch = branch->id;
	refresh->ticket = branch_inventory_ticket(owner);
	refresh->socket_dir = fleet_socket_dir(call->services->fleet, uid);
	refresh->hold = http_hold(call->request);
	refresh->work.data = refresh;
	TAILQ_INSERT_TAIL(&owner->refreshes, refresh, link);
	call->is_held = true;
	(void)uv_queue_work(call->services->loop, &refresh->work, ask, asked);
}

/* Of a compute that sleeps: what its supervisor left, unless it is in the rows already. */
static status take_over_file(
        const struct services *services, const struct branch_row *branch, const char *uid, struct error *err)
{
	CLEANUP(free_text) char *path = data_directory_path(services->dd, "computes/%s/inventory.json", uid);
	CLEANUP(inventory_file_done) struct inventory_file file = { 0 };
	int64_t stamp = 0;
	status st = inventory_read(path, &file, err);
	if (st == STATUS_NOT_FOUND)
		return STATUS_OK;
	if (st == STATUS_OK)
		st = branch_row_inventory_stamp(services->md, branch->id, &stamp, err);
	if (st != STATUS_OK || stamp == file.stamp || strcmp(file.volume_id, branch->volume_id) != 0)
		return st;
	CLEANUP(transaction_end) struct transaction tx = { 0 };
	st = transaction_begin(services->md, &tx, err);
	if (st == STATUS_OK)
		st = branch_inventory_absorb(services, branch->id,
		        branch_inventory_ticket(services->inventory), &file.inventory, clock_wall_usec(),
		        err);
	if (st == STATUS_OK)
		st = branch_row_note_inventory(services->md, branch->id, file.stamp, err);
	return st == STATUS_OK ? transaction_commit(&tx, err) : st;
}

bool branch_inventory_refresh(struct call *call, const struct branch_row *branch)
{
	const struct services *services = call->services;
	CLEANUP(endpoint_row_done) struct endpoint_row endpoint = { 0 };
	struct error err;
	if (call->request->holds > 0 || !http_can_hold(call->request) || !branch->is_ready ||
	        branch->is_resetting)
		return true;
	if (endpoint_row_find_writer(services->md, branch->id, &endpoint, &err) != STATUS_OK)
		return call_fail(call, &err);
	const struct fleet_member *member = fleet_look(services->fleet, endpoint.uid);
	if (member && member->state == FLEET_RUNNING) {
		begin(call, branch, endpoint.uid);
		return false;
	}
	if ((!member || member->state == FLEET_ASLEEP) &&
	        take_over_file(services, branch, endpoint.uid, &err) != STATUS_OK)
		log_error("%s", err.message); /* what was last known is better than nothing */
	return true;
}
