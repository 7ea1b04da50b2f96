/* A key finds its own session or nobody's. */
#include "proxy/cancel_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define MANY 1000u

static struct cancel_key key_of(uint32_t i)
{
	return (struct cancel_key){ .pid = 1000 + i / 3, .secret = i * 2654435761u };
}

static void test_every_key_finds_its_own(void **unused)
{
	(void)unused;
	struct cancel_table *table = cancel_table_create();
	struct cancel_entry *entries[MANY];
	char path[32];
	for (uint32_t i = 0; i < MANY; i++) {
		(void)snprintf(path, sizeof path, "/s/%u", i);
		entries[i] = cancel_table_add(table, key_of(i), "ep-a", path);
	}
	assert_int_equal(cancel_table_count(table), MANY);
	for (uint32_t i = 0; i < MANY; i += 2)
		cancel_table_remove(table, &entries[i]);
	assert_int_equal(cancel_table_count(table), MANY / 2);
	for (uint32_t i = 0; i < MANY; i++) {
		(void)snprintf(path, sizeof path, "/s/%u", i);
		const struct cancel_target *found = cancel_table_find(table, key_of(i));
		if (i % 2 == 0)
			assert_null(found);
		else
			assert_string_equal(found->socket_path, path);
	}
	for (uint32_t i = 1; i < MANY; i += 2)
		cancel_table_remove(table, &entries[i]);
	assert_int_equal(cancel_table_count(table), 0);
	cancel_table_free(table);
}

static void test_near_misses(void **unused)
{
	(void)unused;
	struct cancel_table *table = cancel_table_create();
	struct cancel_key key = { 4711, 0x80000001 };
	struct cancel_entry *entry = cancel_table_add(table, key, "ep-s", "/s");
	assert_string_equal(cancel_table_find(table, key)->socket_path, "/s");
	assert_string_equal(cancel_table_find(table, key)->uid, "ep-s");
	for (unsigned bit = 0; bit < 32; bit++) {
		assert_null(
		        cancel_table_find(table, (struct cancel_key){ key.pid ^ (1u << bit), key.secret }));
		assert_null(
		        cancel_table_find(table, (struct cancel_key){ key.pid, key.secret ^ (1u << bit) }));
	}
	assert_null(cancel_table_find(table, (struct cancel_key){ key.secret, key.pid }));
	assert_null(cancel_table_find(table, (struct cancel_key){ 0, 0 }));
	cancel_table_remove(table, &entry);
	assert_null(entry);
	assert_null(cancel_table_find(table, key));
	cancel_table_remove(table, &entry);
	cancel_table_free(table);
}

static void test_shared_key_names_nobody(void **unused)
{
	(void)unused;
	struct cancel_table *table = cancel_table_create();
	struct cancel_key key = { 1, 2 };
	struct cancel_entry *a = cancel_table_add(table, key, "ep-a", "/a"),
	                    *b = cancel_table_add(table, key, "ep-b", "/b");
	assert_null(cancel_table_find(table, key));
	cancel_table_remove(table, &a);
	assert_string_equal(cancel_table_find(table, key)->socket_path, "/b");
	cancel_table_remove(table, &b);
	cancel_table_free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_key_finds_its_own),
		cmocka_unit_test(test_near_misses),
		cmocka_unit_test(test_shared_key_names_nobody),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
