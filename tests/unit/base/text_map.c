/* Text map: what is in it is found, what is not is not, however it grows and shrinks. */
#include "base/text_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/random.h"

#define THINGS 5000

struct thing {
	int before; /* the link need not come first */
	struct text_link link;
	char key[24];
	bool is_in;
};

static void test_empty(void **unused)
{
	(void)unused;
	struct text_map map = { 0 };
	assert_null(text_map_find(&map, ""));
	text_map_done(&map);
	text_map_done(&map);
}

/* Against a table of flags, in random order. */
static void test_a_slow_model_agrees(void **unused)
{
	(void)unused;
	struct text_map map = { 0 };
	struct thing *things = xcalloc(THINGS, sizeof *things);
	size_t count = 0;
	for (int i = 0; i < THINGS; i++)
		(void)snprintf(things[i].key, sizeof things[i].key, "%s%d", i % 2 ? "ep-" : "", i);
	for (int step = 0; step < 20 * THINGS; step++) {
		struct thing *thing = &things[random_u64() % THINGS];
		struct text_link *found = text_map_find(&map, thing->key);
		assert_true((found != NULL) == thing->is_in);
		if (found) {
			assert_ptr_equal(TEXT_MAP_THING(found, struct thing, link), thing);
			text_map_remove(&map, &thing->link);
		} else {
			text_map_add(&map, &thing->link, thing->key);
		}
		thing->is_in = !thing->is_in;
		count += thing->is_in ? 1 : (size_t)-1;
		assert_int_equal(map.count, count);
	}
	for (int i = 0; i < THINGS; i++)
		if (things[i].is_in)
			text_map_remove(&map, &things[i].link);
	text_map_done(&map);
	free(things);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_a_slow_model_agrees),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
