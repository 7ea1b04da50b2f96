/* Certificates: the same one again, bounded, the least used goes first, renewed in time. */
#include "proxy/certificate_cache.h"

#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy_fixture.h"

#define DAY (86400ll * USEC_PER_SEC)

struct state {
	struct fixture_folder folder;
	struct authority *authority;
};

static int set_up(void **state)
{
	struct state *st = xcalloc(1, sizeof *st);
	st->folder = fixture_folder_make();
	st->authority = fixture_authority(&st->folder);
	*state = st;
	return 0;
}

static int tear_down(void **state)
{
	struct state *st = *state;
	authority_free(st->authority);
	fixture_folder_remove(&st->folder);
	free(st);
	return 0;
}

/* A serial number per certificate tells them apart, when the pointer may be recycled memory. */
static long serial_of(struct certificate_cache *cache, const char *name, const char *address, int64_t now)
{
	struct certificate found;
	struct error err;
	assert_int_equal(certificate_cache_get(cache, name, address, now, &found, &err), STATUS_OK);
	assert_int_equal(X509_check_private_key(found.certificate, found.key), 1);
	uint64_t serial = 0;
	const ASN1_INTEGER *number = X509_get0_serialNumber(found.certificate);
	const uint8_t *bytes = ASN1_STRING_get0_data(number);
	for (int i = 0; i < ASN1_STRING_length(number); i++)
		serial = serial * 257 + bytes[i];
	return (long)serial;
}

static void test_same_one_again(void **state)
{
	struct state *st = *state;
	struct certificate_cache *cache = certificate_cache_create(st->authority, 10);
	int64_t now = clock_wall_usec();
	long name = serial_of(cache, "ep-a.localhost", "127.0.0.1", now);
	long address = serial_of(cache, NULL, "127.64.0.2", now);
	assert_int_not_equal(name, address);
	assert_int_equal(serial_of(cache, "ep-a.localhost", "127.9.9.9", now), name);
	assert_int_equal(serial_of(cache, NULL, "127.64.0.2", now), address);
	assert_int_equal(certificate_cache_count(cache), 2);

	struct certificate found;
	struct error err;
	assert_int_equal(certificate_cache_get(cache, NULL, "127.64.0.2", now, &found, &err), STATUS_OK);
	assert_int_equal(X509_check_ip_asc(found.certificate, "127.64.0.2", 0), 1);
	assert_int_equal(certificate_cache_get(cache, "ep-a.localhost", "x", now, &found, &err), STATUS_OK);
	assert_int_equal(X509_check_host(found.certificate, "ep-a.localhost", 0, 0, NULL), 1);
	certificate_cache_free(cache);
}

static void test_bound(void **state)
{
	struct state *st = *state;
	struct certificate_cache *cache = certificate_cache_create(st->authority, 3);
	int64_t now = clock_wall_usec();
	long a = serial_of(cache, "ep-a.localhost", NULL, now),
	     b = serial_of(cache, "ep-b.localhost", NULL, now);
	(void)serial_of(cache, "ep-c.localhost", NULL, now);
	assert_int_equal(
	        serial_of(cache, "ep-a.localhost", NULL, now), a); /* used again: b is the oldest now */
	(void)serial_of(cache, "ep-d.localhost", NULL, now);
	assert_int_equal(certificate_cache_count(cache), 3);
	assert_int_equal(serial_of(cache, "ep-a.localhost", NULL, now), a);
	assert_int_not_equal(serial_of(cache, "ep-b.localhost", NULL, now), b);
	for (int i = 0; i < 50; i++) {
		char name[40];
		(void)snprintf(name, sizeof name, "ep-%d.localhost", i);
		(void)serial_of(cache, name, NULL, now);
		assert_int_equal(certificate_cache_count(cache), 3);
	}
	certificate_cache_free(cache);
}

static void test_renewal(void **state)
{
	struct state *st = *state;
	struct certificate_cache *cache = certificate_cache_create(st->authority, 3);
	int64_t now = clock_wall_usec();
	long first = serial_of(cache, NULL, "127.0.0.1", now);
	assert_int_equal(serial_of(cache, NULL, "127.0.0.1", now + 59 * DAY), first);
	assert_int_not_equal(serial_of(cache, NULL, "127.0.0.1", now + 61 * DAY), first);
	assert_int_equal(certificate_cache_count(cache), 1);
	/* The clock was set back: what begins in the future convinces nobody. */
	first = serial_of(cache, NULL, "127.0.0.2", now);
	assert_int_not_equal(serial_of(cache, NULL, "127.0.0.2", now - 2 * DAY), first);
	certificate_cache_free(cache);
}

static void test_failure(void **state)
{
	struct state *st = *state;
	struct certificate_cache *cache = certificate_cache_create(st->authority, 3);
	struct certificate found = { 0 };
	struct error err;
	assert_int_not_equal(certificate_cache_get(cache, NULL, "no address", 0, &found, &err), STATUS_OK);
	assert_null(found.certificate);
	assert_int_equal(certificate_cache_count(cache), 0);
	certificate_cache_free(cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_one_again),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_renewal),
		cmocka_unit_test(test_failure),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
