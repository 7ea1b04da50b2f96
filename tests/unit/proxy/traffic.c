/* Traffic: numbers add up, entries go when they are of no use, and what is told to control and lost is told again. */
#include "proxy/traffic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/random.h"
#include "proxy/traffic_report.h"

static struct traffic_entry *session_begin(struct traffic *traffic, const char *uid)
{
	struct traffic_entry *entry = traffic_take(traffic, uid);
	traffic_note_waiting(entry);
	traffic_note_open(entry, 7, false);
	return entry;
}

static void session_end(struct traffic_entry *entry)
{
	traffic_note_bytes(entry, 10, 20);
	traffic_note_gone(entry, true);
	traffic_give(&entry);
}

/* Tells all that has changed; how many endpoints that were. */
static unsigned tell(struct traffic *traffic)
{
	unsigned count = 0;
	while (traffic_next(traffic))
		count++;
	traffic_note_told(traffic);
	return count;
}

static void test_numbers(void **unused)
{
	(void)unused;
	struct traffic *traffic = traffic_create();
	const struct traffic_numbers *total = traffic_total(traffic);
	struct traffic_entry *a = traffic_take(traffic, "ep-a"), *same = traffic_take(traffic, "ep-a");
	struct traffic_entry *b = session_begin(traffic, "ep-b");
	assert_ptr_equal(a, same);
	traffic_note_waiting(a);
	traffic_note_waiting(same);
	assert_int_equal(a->numbers.waiting, 2);
	traffic_note_open(a, 900, true);
	traffic_note_gone(same, false);
	assert_int_equal(a->numbers.waiting, 0);
	assert_int_equal(a->numbers.open, 1);
	assert_int_equal(a->numbers.wakes, 1);
	assert_int_equal(a->numbers.wake_ms, 900);
	assert_int_equal(a->numbers.logins, 0);
	traffic_note_refusal(traffic, same, REFUSAL_NOT_READY);
	traffic_note_refusal(traffic, NULL, REFUSAL_PROTOCOL);
	traffic_note_cancel(traffic, "ep-a");
	traffic_note_cancel(traffic, NULL);
	traffic_note_bytes(a, 100, 1000);
	assert_int_equal(a->numbers.refused[REFUSAL_NOT_READY], 1);
	assert_int_equal(a->numbers.cancels, 1);
	assert_int_equal(a->numbers.received, 100);
	assert_int_equal(total->open, 2);
	assert_int_equal(total->opened, 2);
	assert_int_equal(total->logins, 1);
	assert_int_equal(total->login_ms, 7);
	assert_int_equal(total->sent, 1000);
	assert_int_equal(total->cancels, 1);
	assert_int_equal(total->unmatched_cancels, 1);
	assert_int_equal(total->refused[REFUSAL_PROTOCOL], 1);
	traffic_note_gone(a, true);
	traffic_give(&a);
	traffic_give(&same);
	assert_null(same);
	session_end(b);
	assert_int_equal(total->open + total->waiting, 0);
	assert_int_equal(total->received, 110);
	traffic_free(traffic);
}

static void test_an_entry_goes_when_control_knows(void **unused)
{
	(void)unused;
	struct traffic *traffic = traffic_create();
	assert_true(traffic_has_changed(traffic)); /* that there is a proxy is news */
	assert_int_equal(tell(traffic), 0);
	assert_false(traffic_has_changed(traffic));

	struct traffic_entry *entry = session_begin(traffic, "ep-a");
	uint64_t life = entry->life;
	assert_int_equal(tell(traffic), 1);
	assert_false(traffic_has_changed(traffic));
	session_end(entry);
	assert_true(traffic_has_changed(traffic));
	assert_int_equal(traffic_entries(traffic), 1);
	assert_int_equal(tell(traffic), 1);
	assert_int_equal(traffic_entries(traffic), 0);

	/* What comes later is another life, which begins at 0. */
	entry = session_begin(traffic, "ep-a");
	assert_int_not_equal(entry->life, life);
	assert_int_equal(entry->numbers.opened, 1);
	session_end(entry);
	traffic_free(traffic);
}

static void test_what_is_lost_is_told_again(void **unused)
{
	(void)unused;
	struct traffic *traffic = traffic_create();
	struct traffic_entry *entry = session_begin(traffic, "ep-a");
	assert_ptr_equal(traffic_next(traffic), entry);
	traffic_note_lost(traffic);
	assert_true(traffic_has_changed(traffic));
	assert_ptr_equal(traffic_next(traffic), entry);
	session_end(entry); /* while it is on its way */
	traffic_note_told(traffic);
	assert_int_equal(traffic_entries(traffic), 1); /* its last bytes are not told yet */
	assert_ptr_equal(traffic_next(traffic), entry);
	assert_int_equal(entry->numbers.received, 10);
	traffic_note_lost(traffic);
	assert_int_equal(tell(traffic), 1);
	assert_int_equal(traffic_entries(traffic), 0);

	/* Another control knows nothing. */
	entry = session_begin(traffic, "ep-a");
	assert_int_equal(tell(traffic), 1);
	traffic_forget_told(traffic);
	assert_int_equal(tell(traffic), 1);
	session_end(entry);
	traffic_free(traffic);
}

/* 100,000 endpoints, and nobody who wants to hear of them. */
static void test_memory_is_bounded_without_control(void **unused)
{
	(void)unused;
	struct traffic *traffic = traffic_create();
	struct traffic_entry *held = session_begin(traffic, "ep-held");
	char uid[32];
	for (unsigned i = 0; i < 100000; i++) {
		(void)snprintf(uid, sizeof uid, "ep-%u", i);
		session_end(session_begin(traffic, uid));
		assert_true(traffic_entries(traffic) <= TRAFFIC_UNTOLD_MAX + 1);
	}
	assert_int_equal(traffic_entries(traffic), TRAFFIC_UNTOLD_MAX + 1);
	assert_int_equal(traffic_total(traffic)->opened, 100001);
	assert_int_equal(
	        tell(traffic), TRAFFIC_UNTOLD_MAX + 1); /* and the one that is in use is among them */
	assert_int_equal(traffic_entries(traffic), 1);
	session_end(held);
	traffic_free(traffic);
}

/*
 * Random sessions, reports and losses; a control that adds up by (uid, life) has the truth in the end.
 */
static void test_control_adds_up_to_the_truth(void **unused)
{
	(void)unused;
	enum { ENDPOINTS = 5, SESSIONS = 40, STEPS = 20000 };
	struct told {
		uint64_t base, life, opened;
	} told[ENDPOINTS] = { 0 };
	uint64_t truth[ENDPOINTS] = { 0 };
	struct traffic_entry *sessions[SESSIONS] = { 0 };
	struct traffic *traffic = traffic_create();
	for (int step = 0; step < STEPS + SESSIONS; step++) {
		size_t which = random_u64() % SESSIONS, endpoint = random_u64() % ENDPOINTS;
		if (step >= STEPS) /* the end of all */
			which = (size_t)(step - STEPS);
		if (sessions[which]) {
			session_end(TAKE_PTR(sessions[which]));
		} else if (step < STEPS) {
			char uid[8];
			(void)snprintf(uid, sizeof uid, "ep-%zu", endpoint);
			sessions[which] = session_begin(traffic, uid);
			truth[endpoint]++;
		}
		if (random_u64() % 4 != 0 && step != STEPS + SESSIONS - 1)
			continue;
		struct traffic_entry *entry;
		while ((entry = traffic_next(traffic))) {
			struct told *t = &told[entry->uid[3] - '0'];
			if (t->life != entry->life)
				t->base += t->opened;
			else
				assert_true(entry->numbers.opened >= t->opened); /* T2 */
			t->life = entry->life;
			t->opened = entry->numbers.opened;
		}
		if (random_u64() % 3 == 0 && step < STEPS) /* control has it, and its answer is lost */
			traffic_note_lost(traffic);
		else
			traffic_note_told(traffic);
	}
	for (size_t i = 0; i < ENDPOINTS; i++)
		assert_int_equal(told[i].base + told[i].opened, truth[i]);
	assert_int_equal(traffic_entries(traffic), 0);
	traffic_free(traffic);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_an_entry_goes_when_control_knows),
		cmocka_unit_test(test_what_is_lost_is_told_again),
		cmocka_unit_test(test_memory_is_bounded_without_control),
		cmocka_unit_test(test_control_adds_up_to_the_truth),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
