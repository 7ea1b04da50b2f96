/* Roles and databases of the scripted machine: one cluster for all computes, in memory. */
#include "scripted_machine.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "compute/catalog_change.h"
#include "compute/system_objects.h"

#define ITEMS_MAX 64

static struct {
	pthread_mutex_t lock;
	struct inventory_role roles[ITEMS_MAX];
	struct inventory_database databases[ITEMS_MAX];
	size_t role_count, database_count;
	int64_t next_oid;
	bool lacks_markers;
	char note[64]; /* the last operation that changed something */
	char left_volume[64];
	int64_t left_stamp;
} p = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct inventory_role *machine_find_role(const char *name)
{
	for (size_t i = 0; i < p.role_count; i++) {
		if (strcmp(p.roles[i].name, name) == 0)
			return &p.roles[i];
	}
	return NULL;
}

struct inventory_database *machine_find_database(const char *name)
{
	for (size_t i = 0; i < p.database_count; i++) {
		if (strcmp(p.databases[i].name, name) == 0)
			return &p.databases[i];
	}
	return NULL;
}

struct inventory_role *machine_add_role(const char *name)
{
	struct inventory_role *role = &p.roles[p.role_count++];
	*role = (struct inventory_role){ .oid = p.next_oid++ };
	(void)snprintf(role->name, sizeof role->name, "%s", name);
	return role;
}

struct inventory_database *machine_add_database(const char *name, const char *owner)
{
	struct inventory_database *database = &p.databases[p.database_count++];
	*database = (struct inventory_database){ .oid = p.next_oid++ };
	(void)snprintf(database->name, sizeof database->name, "%s", name);
	(void)snprintf(database->owner, sizeof database->owner, "%s", owner);
	return database;
}

void machine_drop_role(const char *name)
{
	*machine_find_role(name) = p.roles[p.role_count - 1];
	p.role_count--;
}

void machine_forget_roles(void)
{
	p.role_count = 0;
}

void machine_forget_markers(void)
{
	p.lacks_markers = true;
	for (size_t i = 0; i < p.role_count; i++)
		p.roles[i].identity = INVENTORY_PLAIN;
}

bool machine_has_markers(void)
{
	return !p.lacks_markers;
}

void machine_leave_inventory(const char *volume_id, int64_t stamp)
{
	(void)snprintf(p.left_volume, sizeof p.left_volume, "%s", volume_id);
	p.left_stamp = stamp;
}

/* As a project begins, whose creator is the fixture's caller. */
void machine_postgres_start(void)
{
	p.role_count = p.database_count = 0;
	p.next_oid = 16384;
	p.lacks_markers = false;
	p.left_stamp = 0;
	p.note[0] = '\0';
	struct inventory_role *owner = machine_add_role("alice@example.com");
	owner->identity = INVENTORY_USER;
	owner->login = owner->createdb = owner->createrole = owner->bypassrls = true;
	owner->is_superuser_member = true;
	(void)machine_add_database("databricks_postgres", owner->name);
}

status inventory_take(const char *socket_folder, struct inventory *ret, struct error *err)
{
	(void)socket_folder;
	status st = machine_note(STEP_LOOK, err);
	if (st != STATUS_OK)
		return st;
	pthread_mutex_lock(&p.lock);
	ret->roles = xcalloc(ITEMS_MAX, sizeof *ret->roles);
	ret->databases = xcalloc(ITEMS_MAX, sizeof *ret->databases);
	ret->role_count = p.role_count;
	ret->database_count = p.database_count;
	ret->lacks_markers = p.lacks_markers;
	memcpy(ret->roles, p.roles, sizeof p.roles);
	memcpy(ret->databases, p.databases, sizeof p.databases);
	pthread_mutex_unlock(&p.lock);
	return STATUS_OK;
}

struct inventory_session {
	int unused;
};

struct inventory_session *inventory_session_create(const char *socket_folder)
{
	(void)socket_folder;
	return xcalloc(1, sizeof(struct inventory_session));
}

struct inventory_session *inventory_session_free(struct inventory_session *session)
{
	free(session);
	return NULL;
}

status inventory_session_take(struct inventory_session *session, struct inventory *ret, struct error *err)
{
	(void)session;
	return inventory_take("", ret, err);
}

void inventory_done(struct inventory *inventory)
{
	free(inventory->roles);
	free(inventory->databases);
	*inventory = (struct inventory){ 0 };
}

void inventory_file_done(struct inventory_file *file)
{
	inventory_done(&file->inventory);
}

status inventory_read(const char *path, struct inventory_file *ret, struct error *err)
{
	status st = machine_note(STEP_READ, err);
	if (st != STATUS_OK)
		return st;
	if (p.left_stamp == 0)
		return error_set(err, STATUS_NOT_FOUND, 0, "%s", path);
	*ret = (struct inventory_file){ .stamp = p.left_stamp };
	memcpy(ret->volume_id, p.left_volume, sizeof ret->volume_id);
	return inventory_take("", &ret->inventory, err);
}

static void set(struct inventory_role *role, const struct role_wish *wish, unsigned fields)
{
	if (fields & ROLE_LOGIN)
		role->login = wish->login;
	if (fields & ROLE_CREATEDB)
		role->createdb = wish->createdb;
	if (fields & ROLE_CREATEROLE)
		role->createrole = wish->createrole;
	if (fields & ROLE_BYPASSRLS)
		role->bypassrls = wish->bypassrls;
	if (fields & ROLE_MEMBERSHIP)
		role->is_superuser_member = wish->is_superuser_member;
	if (fields & ROLE_IDENTITY)
		role->identity = wish->identity;
	if (fields & ROLE_PASSWORD)
		(void)snprintf(
		        role->verifier, sizeof role->verifier, "%s", wish->verifier ? wish->verifier : "");
}

/* A role of that name is another one if it has another oid. */
status catalog_mark_identities(
        const char *socket_folder, const struct identity_mark *marks, size_t mark_count, struct error *err)
{
	(void)socket_folder;
	status st = machine_note(STEP_MARK, err);
	pthread_mutex_lock(&p.lock);
	for (size_t i = 0; i < mark_count && st == STATUS_OK && p.lacks_markers; i++) {
		for (size_t j = 0; j < p.role_count; j++) {
			bool is_it = marks[i].oid == 0 ? strcmp(p.roles[j].name, marks[i].name) == 0
			                               : p.roles[j].oid == marks[i].oid;
			if (is_it)
				p.roles[j].identity = marks[i].identity;
		}
	}
	if (st == STATUS_OK)
		p.lacks_markers = false;
	pthread_mutex_unlock(&p.lock);
	return st;
}

/* Notes the operation; false: it has been done, or err says why it cannot be. */
static bool is_to_be_done(const char *operation, status *st, struct error *err)
{
	*st = machine_note(STEP_CHANGE, err);
	return *st == STATUS_OK && !(operation && strcmp(p.note, operation) == 0);
}

static void note_done(const char *operation)
{
	(void)snprintf(p.note, sizeof p.note, "%s", operation ? operation : p.note);
}

/* Done, but nobody heard of it: what the real one says when its connection breaks with the answer. */
static status answer(status st, struct error *err)
{
	status lost = st == STATUS_OK ? machine_note(STEP_ANSWER, err) : STATUS_OK;
	return lost == STATUS_OK ? st : lost;
}

status catalog_end_attempts(const char *socket_folder, struct error *err)
{
	(void)socket_folder, (void)err;
	return STATUS_OK;
}

status catalog_create_role(
        const char *socket_folder, const struct role_wish *wish, const char *operation, struct error *err)
{
	(void)socket_folder;
	status st;
	pthread_mutex_lock(&p.lock);
	if (is_to_be_done(operation, &st, err)) {
		struct inventory_role *role = machine_find_role(wish->name);
		if (role && operation) {
			st = error_set(err, STATUS_EXISTS, 0, "role with that name already exists");
		} else {
			set(role ? role : machine_add_role(wish->name), wish, ROLE_ALL);
			p.lacks_markers = false;
			note_done(operation);
		}
	}
	pthread_mutex_unlock(&p.lock);
	return answer(st, err);
}

status catalog_alter_role(const char *socket_folder, const struct role_wish *wish, unsigned fields,
        const char *operation, struct error *err)
{
	(void)socket_folder;
	status st;
	pthread_mutex_lock(&p.lock);
	if (is_to_be_done(operation, &st, err)) {
		struct inventory_role *role = machine_find_role(wish->name);
		if (!role) {
			st = error_set(err, STATUS_NOT_FOUND, 0, "role is gone");
		} else {
			set(role, wish, fields);
			note_done(operation);
		}
	}
	pthread_mutex_unlock(&p.lock);
	return answer(st, err);
}

status catalog_drop_role(
        const char *socket_folder, const char *name, const char *reassign_to, struct error *err)
{
	(void)socket_folder;
	status st = machine_note(STEP_CHANGE, err);
	pthread_mutex_lock(&p.lock);
	struct inventory_role *role = machine_find_role(name);
	for (size_t i = 0; i < p.database_count && st == STATUS_OK; i++) {
		if (strcmp(p.databases[i].owner, name) != 0)
			continue;
		if (reassign_to)
			(void)snprintf(p.databases[i].owner, sizeof p.databases[i].owner, "%s", reassign_to);
		else
			st = error_set(err, STATUS_CONFLICT, 0, "some objects depend on it");
	}
	if (st == STATUS_OK && role)
		*role = p.roles[--p.role_count];
	pthread_mutex_unlock(&p.lock);
	return answer(st, err);
}

status catalog_create_database(
        const char *socket_folder, const char *name, const char *owner, int64_t oid, struct error *err)
{
	(void)socket_folder;
	status st = machine_note(STEP_CHANGE, err);
	pthread_mutex_lock(&p.lock);
	if (st == STATUS_OK && machine_find_database(name) && oid != 0)
		st = error_set(err, STATUS_EXISTS, 0, "database with that name already exists");
	if (st == STATUS_OK && !machine_find_database(name)) {
		struct inventory_database *database = machine_add_database(name, owner);
		database->oid = oid != 0 ? oid : database->oid;
	}
	pthread_mutex_unlock(&p.lock);
	return answer(st, err);
}

status catalog_alter_database(const char *socket_folder, const char *name, const char *new_name,
        const char *owner, const char *operation, struct error *err)
{
	(void)socket_folder;
	status st;
	pthread_mutex_lock(&p.lock);
	if (is_to_be_done(operation, &st, err)) {
		struct inventory_database *database = machine_find_database(name);
		if (database && owner)
			(void)snprintf(database->owner, sizeof database->owner, "%s", owner);
		if (database && new_name)
			(void)snprintf(database->name, sizeof database->name, "%s", new_name);
		note_done(operation);
	}
	pthread_mutex_unlock(&p.lock);
	return answer(st, err);
}

status catalog_drop_database(const char *socket_folder, const char *name, struct error *err)
{
	(void)socket_folder;
	status st = machine_note(STEP_CHANGE, err);
	pthread_mutex_lock(&p.lock);
	struct inventory_database *database = machine_find_database(name);
	if (st == STATUS_OK && database)
		*database = p.databases[--p.database_count];
	pthread_mutex_unlock(&p.lock);
	return answer(st, err);
}
