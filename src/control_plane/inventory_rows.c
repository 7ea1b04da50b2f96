#include "control_plane/inventory_rows.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "base/utf8.h"
#include "control_plane/resource_name.h"
#include "metadata/database_row.h"
#include "metadata/role_row.h"

#define NUMBERS_IN_ORDER 9 /* of ids that are tried */
#define NUMBER_MAX       1000000000

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

/*
 * Which id of a name is tried next. By SQL thousands of names can be made that all have the same id, or each other's: to go through them in
 * order would take the time of all of them cubed.
 */
static int number_of(int attempt)
{
	return attempt <= NUMBERS_IN_ORDER ? attempt
	                                   : NUMBERS_IN_ORDER + 1 + (int)(random_u64() % NUMBER_MAX);
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
	for (int attempt = 1;; attempt++) {
		resource_id_numbered(base, number_of(attempt), row->role_id);
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
	for (int attempt = 1;; attempt++) {
		resource_id_numbered(base, number_of(attempt), row->database_id);
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

enum inventory_identity inventory_rows_identity(const char *text)
{
	for (enum inventory_identity identity = INVENTORY_USER; identity <= INVENTORY_GROUP; identity++) {
		if (strcmp(text, identity_text(identity)) == 0)
			return identity;
	}
	return INVENTORY_PLAIN;
}

/* I4. row: NULL for one that is new. */
static enum inventory_identity identity_of(
        const struct inventory *inventory, const struct inventory_role *role, const struct role_row *row)
{
	bool is_told = role->identity != INVENTORY_PLAIN || !inventory->lacks_markers;
	bool is_same = row && !row->is_pending && (row->oid == role->oid || row->oid == 0);
	return is_told   ? role->identity
	       : is_same ? inventory_rows_identity(row->identity_type)
	                 : INVENTORY_PLAIN;
}

static const char *auth_text(const struct inventory_role *role, enum inventory_identity identity)
{
	if (!role->login)
		return "NO_LOGIN";
	return identity != INVENTORY_PLAIN && !role->verifier[0] ? "LAKEBASE_OAUTH_V1"
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
	enum inventory_identity identity = identity_of(inventory, role, row);
	if (is_new) {
		row = &picture->roles[picture->role_count++];
		*row = (struct role_row){ .branch = branch, .create_usec = now_usec };
		give_role_id(picture, role, row);
	}
	picture->role_is_there[row - picture->roles] = true;
	bool is_shown = set_text(row->postgres_role, sizeof row->postgres_role, role->name);
	is_shown |= set_text(row->identity_type, sizeof row->identity_type, identity_text(identity));
	is_shown |= set_text(row->auth_method, sizeof row->auth_method, auth_text(role, identity));
	is_shown |= set_bool(&row->createdb, role->createdb);
	is_shown |= set_bool(&row->createrole, role->createrole);
	is_shown |= set_bool(&row->bypassrls, role->bypassrls);
	is_shown |= set_bool(&row->is_superuser_member, role->is_superuser_member);
	bool is_changed = is_shown || row->oid != role->oid;
	row->oid = role->oid;
	is_changed |= row->valid_until_usec != role->valid_until_usec;
	row->valid_until_usec = role->valid_until_usec;
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

/* Not in Postgres any more; or it was about to be made, and somebody else was faster with its name: its operation will say so. */
static bool role_is_lost(const struct picture *picture, size_t index)
{
	const struct role_row *row = &picture->roles[index];
	bool is_lost = !picture->role_is_there[index] && !row->is_pending;
	for (size_t i = 0; i < picture->role_count && !picture->role_is_there[index] && !is_lost; i++)
		is_lost = picture->role_is_there[i] &&
		          strcmp(picture->roles[i].postgres_role, row->postgres_role) == 0;
	return is_lost;
}

static bool database_is_lost(const struct picture *picture, size_t index)
{
	const struct database_row *row = &picture->databases[index];
	bool is_lost = !picture->database_is_there[index] && !row->is_pending;
	for (size_t i = 0; i < picture->database_count && !picture->database_is_there[index] && !is_lost; i++)
		is_lost = picture->database_is_there[i] &&
		          strcmp(picture->databases[i].postgres_database, row->postgres_database) == 0;
	return is_lost;
}

static status write_roles(struct metadata *md, struct picture *picture, int64_t branch, struct error *err)
{
	status st = role_row_loosen_names(md, branch, err);
	for (size_t i = 0; i < picture->role_count && st == STATUS_OK; i++) {
		struct role_row *row = &picture->roles[i];
		if (role_is_lost(picture, i))
			st = role_row_remove(md, row->id, err);
	}
	for (size_t i = 0; i < picture->role_count && st == STATUS_OK; i++) {
		struct role_row *row = &picture->roles[i];
		if (role_is_lost(picture, i))
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
		if (database_is_lost(picture, i))
			st = database_row_remove(md, row->id, err);
	}
	for (size_t i = 0; i < picture->database_count && st == STATUS_OK; i++) {
		struct database_row *row = &picture->databases[i];
		if (database_is_lost(picture, i))
			continue;
		st = row->id == 0 ? database_row_insert(md, row, err) : database_row_update(md, row, err);
	}
	return st;
}

static bool has_losses(const struct picture *picture)
{
	for (size_t i = 0; i < picture->role_count; i++) {
		if (role_is_lost(picture, i))
			return true;
	}
	for (size_t i = 0; i < picture->database_count; i++) {
		if (database_is_lost(picture, i))
			return true;
	}
	return false;
}

status inventory_rows_absorb(struct metadata *md, int64_t branch, const struct inventory *inventory,
        int64_t now_usec, struct error *err)
{
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
	return st;
}

status inventory_rows_marks(
        struct metadata *md, int64_t branch, struct identity_mark **ret, size_t *ret_count, struct error *err)
{
	CLEANUP(statement_done) struct statement list = { 0 };
	struct identity_mark *marks = NULL;
	size_t count = 0;
	status st = role_row_list(md, branch, 0, INT64_MAX, &list, err);
	while (st == STATUS_OK) {
		struct role_row row;
		st = role_row_next(&list, &row, err);
		struct identity_mark mark = { .oid = row.oid,
			.identity = inventory_rows_identity(row.identity_type) };
		if (st != STATUS_OK || row.is_pending || mark.identity == INVENTORY_PLAIN)
			continue;
		(void)snprintf(mark.name, sizeof mark.name, "%.*s", POSTGRES_NAME_MAX, row.postgres_role);
		marks = xrealloc(marks, (count + 1) * sizeof *marks);
		marks[count++] = mark;
	}
	if (st != STATUS_NOT_FOUND) {
		free(marks);
		return st;
	}
	*ret = marks;
	*ret_count = count;
	return STATUS_OK;
}
