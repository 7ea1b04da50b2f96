/* Inventories: what parses is in its limits, and is the same after it was written and read again. */
#include <stdlib.h>

#include "compute/inventory.h"
#include "record_envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool condition)
{
	if (!condition)
		abort();
}

static void check_same(const struct inventory *a, const struct inventory *b)
{
	check(a->role_count == b->role_count && a->database_count == b->database_count &&
	        a->lacks_markers == b->lacks_markers);
	for (size_t i = 0; i < a->role_count; i++) {
		const struct inventory_role *r = &a->roles[i], *s = &b->roles[i];
		check(r->oid > 0 && r->oid <= UINT32_MAX && r->name[0]);
		check(r->oid == s->oid && strcmp(r->name, s->name) == 0 && r->identity == s->identity &&
		        r->login == s->login && r->createdb == s->createdb &&
		        r->createrole == s->createrole && r->bypassrls == s->bypassrls &&
		        r->is_superuser_member == s->is_superuser_member &&
		        strcmp(r->verifier, s->verifier) == 0);
	}
	for (size_t i = 0; i < a->database_count; i++) {
		const struct inventory_database *d = &a->databases[i], *e = &b->databases[i];
		check(d->oid > 0 && d->name[0]);
		check(d->oid == e->oid && strcmp(d->name, e->name) == 0 && strcmp(d->owner, e->owner) == 0);
	}
}

static void check_text(const uint8_t *data, size_t size)
{
	struct error err;
	CLEANUP(inventory_file_done) struct inventory_file file = { 0 };
	CLEANUP(inventory_file_done) struct inventory_file again = { 0 };
	CLEANUP(buffer_done) struct buffer text = { 0 };
	if (inventory_parse((struct slice){ data, size }, &file, &err) != STATUS_OK)
		return;
	inventory_format(&file, &text);
	check(inventory_parse(buffer_slice(&text), &again, &err) == STATUS_OK);
	check(file.stamp == again.stamp && strcmp(file.volume_id, again.volume_id) == 0);
	check_same(&file.inventory, &again.inventory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(buffer_done) struct buffer wrapped = { 0 };
	record_wrap(data, size, "inventory", 1, &wrapped);
	check_text(data, size);
	check_text((const uint8_t *)wrapped.data, wrapped.len);
	return 0;
}
