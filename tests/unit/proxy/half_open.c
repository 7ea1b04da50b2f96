/* Half-open connections: bounded, and whoever floods makes room for others, not they for him. */
#include "proxy/half_open.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/random.h"

#define MAX       40u
#define GROUP_MAX 30u
#define OLD       HALF_OPEN_GRACE_MS

struct scene {
	struct half_open *table;
	struct half_open_seat seats[200];
	uint64_t now;
};

static struct scene *scene_begin(void)
{
	struct scene *scene = xcalloc(1, sizeof *scene);
	scene->table = half_open_create(MAX);
	scene->now = 1000;
	return scene;
}

static void scene_end(struct scene *scene)
{
	for (size_t i = 0; i < ARRAY_LEN(scene->seats); i++)
		half_open_leave(&scene->seats[i]);
	half_open_free(scene->table);
	free(scene);
}

/* As the proxy does it. False: turned away. */
static bool arrive(struct scene *scene, size_t i, const char *source, const char *destination)
{
	struct half_open_seat *oldest = NULL;
	enum half_open_room room;
	while ((room = half_open_ask(scene->table, source, destination, scene->now, &oldest)) ==
	        HALF_OPEN_DROP)
		half_open_leave(oldest);
	if (room == HALF_OPEN_ROOM)
		half_open_enter(scene->table, &scene->seats[i], source, destination, scene->now);
	return room == HALF_OPEN_ROOM;
}

static bool is_in(const struct scene *scene, size_t i)
{
	return scene->seats[i].table != NULL;
}

static void test_one_destination_does_not_fill_all(void **unused)
{
	(void)unused;
	struct scene *scene = scene_begin();
	size_t i = 0;
	for (; i < GROUP_MAX; i++)
		assert_true(arrive(scene, i, "", "127.64.0.2"));
	assert_false(arrive(scene, i, "", "127.64.0.2")); /* all are young */
	assert_true(arrive(scene, i++, "", "127.64.0.3"));
	assert_true(arrive(scene, i++, "10.0.0.1", "127.64.0.3"));
	/* Silent ones make room after a while, the oldest first, and only those at that destination. */
	scene->now += OLD;
	assert_true(arrive(scene, i, "", "127.64.0.2"));
	assert_false(is_in(scene, 0));
	assert_true(is_in(scene, 1) && is_in(scene, GROUP_MAX));
	assert_int_equal(half_open_count(scene->table), GROUP_MAX + 2);
	scene_end(scene);
}

static void test_one_source_does_not_fill_all(void **unused)
{
	(void)unused;
	struct scene *scene = scene_begin();
	char destination[16];
	size_t i = 0;
	for (; i < GROUP_MAX; i++) {
		(void)snprintf(destination, sizeof destination, "ep-%zu", i);
		assert_true(arrive(scene, i, "10.0.0.1", destination));
	}
	assert_false(arrive(scene, i, "10.0.0.1", "ep-new"));
	assert_true(arrive(scene, i++, "10.0.0.2", "ep-new"));
	/* This machine is not one source: everybody on it would pay. */
	for (; i < MAX; i++) {
		(void)snprintf(destination, sizeof destination, "ep-%zu", i);
		assert_true(arrive(scene, i, "", destination));
	}
	assert_false(arrive(scene, i, "", "ep-more"));
	scene->now += OLD;
	assert_true(arrive(scene, i, "", "ep-more")); /* the oldest of all */
	assert_false(is_in(scene, 0));
	scene_end(scene);
}

/* A flood of silent clients at one endpoint, faster than it should be; logins that take a tenth of a second get through everywhere. */
static void test_logins_get_through_a_flood(void **unused)
{
	(void)unused;
	struct scene *scene = scene_begin();
	size_t next = 10, through = 0, turned_away = 0;
	for (unsigned ms = 0; ms < 60000; ms += 100) {
		scene->now += 100;
		/* One silent client each 100 ms: as many as there is room for in three seconds. */
		(void)arrive(scene, next, "", "ep-a");
		next = next + 1 < ARRAY_LEN(scene->seats) ? next + 1 : 10;
		half_open_leave(&scene->seats[next]);
		for (size_t k = 0; k < 2; k++) {
			half_open_leave(&scene->seats[k]); /* that of before is through */
			bool is_there = arrive(scene, k, "", k ? "ep-a" : "ep-b");
			*(is_there ? &through : &turned_away) += 1;
			if (k == 0)
				assert_true(is_there);
		}
	}
	assert_true(through >= 1000 && turned_away <= 200);
	scene_end(scene);
}

static void test_the_handshake_names_the_endpoint(void **unused)
{
	(void)unused;
	struct scene *scene = scene_begin();
	struct half_open_seat *oldest = NULL;
	for (size_t i = 0; i < GROUP_MAX; i++) {
		assert_true(arrive(scene, i, "", "192.0.2.1"));
		assert_int_equal(
		        half_open_ask_move(&scene->seats[i], "ep-a", scene->now, &oldest), HALF_OPEN_ROOM);
		half_open_move(&scene->seats[i], "ep-a");
	}
	assert_true(arrive(scene, 50, "", "192.0.2.1"));
	assert_int_equal(half_open_ask_move(&scene->seats[50], "ep-a", scene->now, &oldest), HALF_OPEN_FULL);
	assert_int_equal(half_open_ask_move(&scene->seats[50], "ep-b", scene->now, &oldest), HALF_OPEN_ROOM);
	scene->now += OLD;
	assert_int_equal(half_open_ask_move(&scene->seats[50], "ep-a", scene->now, &oldest), HALF_OPEN_DROP);
	assert_ptr_equal(oldest, &scene->seats[0]);
	half_open_leave(oldest);
	half_open_move(&scene->seats[50], "ep-a");
	half_open_move(&scene->seats[50], "ep-a"); /* to where it is */
	half_open_leave(&scene->seats[50]);
	half_open_leave(&scene->seats[50]); /* twice is fine */
	scene_end(scene);
}

/* Random arrivals, moves and ends: the bounds hold, and nothing is left (the address sanitizer looks, too). */
static void test_bounds_hold(void **unused)
{
	(void)unused;
	struct scene *scene = scene_begin();
	static const char *const sources[] = { "", "10.0.0.1", "10.0.0.2", "10.0.0.3" };
	static const char *const destinations[] = { "ep-a", "ep-b", "ep-c",
		"a-name-that-is-longer-than-any-uid-can-be-and-so-is-cut-somewhere-here" };
	for (int step = 0; step < 50000; step++) {
		size_t i = random_u64() % ARRAY_LEN(scene->seats);
		const char *destination = destinations[random_u64() % ARRAY_LEN(destinations)];
		struct half_open_seat *oldest = NULL;
		scene->now += random_u64() % 200;
		if (!is_in(scene, i)) {
			(void)arrive(scene, i, sources[random_u64() % ARRAY_LEN(sources)], destination);
		} else if (random_u64() % 2) {
			half_open_leave(&scene->seats[i]);
		} else if (half_open_ask_move(&scene->seats[i], destination, scene->now, &oldest) ==
		           HALF_OPEN_ROOM) {
			half_open_move(&scene->seats[i], destination);
		}
		size_t count = 0;
		for (size_t k = 0; k < ARRAY_LEN(scene->seats); k++)
			count += is_in(scene, k);
		assert_int_equal(half_open_count(scene->table), count);
		assert_true(count <= MAX);
	}
	scene_end(scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_destination_does_not_fill_all),
		cmocka_unit_test(test_one_source_does_not_fill_all),
		cmocka_unit_test(test_logins_get_through_a_flood),
		cmocka_unit_test(test_the_handshake_names_the_endpoint),
		cmocka_unit_test(test_bounds_hold),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
