#include "proxy/certificate_cache.h"

#include <assert.h>
#include <openssl/x509.h>
#include <stdlib.h>

#define BUCKETS 256u

struct entry {
	struct entry *bucket_next;
	struct entry *newer, *older; /* by last use */
	struct certificate pair;
	int64_t valid_from_usec, renew_usec;
	char key[]; /* "n" + name or "a" + address */
};

struct certificate_cache {
	const struct authority *authority;
	size_t count, max;
	struct entry *newest, *oldest;
	struct entry *buckets[BUCKETS];
};

static size_t bucket_of(const char *key)
{
	uint64_t hash =
	        0xcbf29ce484222325ull; /* FNV-1a: keys are bounded by CERTIFICATES_MAX, floods by L1 */
	for (; *key; key++)
		hash = (hash ^ (uint8_t)*key) * 0x100000001b3ull;
	return (size_t)(hash >> 32) % BUCKETS;
}

static void use_unlink(struct certificate_cache *cache, struct entry *entry)
{
	*(entry->newer ? &entry->newer->older : &cache->newest) = entry->older;
	*(entry->older ? &entry->older->newer : &cache->oldest) = entry->newer;
}

static void use_link(struct certificate_cache *cache, struct entry *entry)
{
	entry->newer = NULL;
	entry->older = cache->newest;
	*(cache->newest ? &cache->newest->newer : &cache->oldest) = entry;
	cache->newest = entry;
}

static void entry_remove(struct certificate_cache *cache, struct entry *entry)
{
	struct entry **at = &cache->buckets[bucket_of(entry->key)];
	while (*at != entry)
		at = &(*at)->bucket_next;
	*at = entry->bucket_next;
	use_unlink(cache, entry);
	cache->count--;
	X509_free(entry->pair.certificate);
	EVP_PKEY_free(entry->pair.key);
	free(entry);
}

struct certificate_cache *certificate_cache_create(const struct authority *authority, size_t max)
{
	assert(max > 0);
	struct certificate_cache *cache = xcalloc(1, sizeof *cache);
	cache->authority = authority;
	cache->max = max;
	return cache;
}

struct certificate_cache *certificate_cache_free(struct certificate_cache *cache)
{
	if (!cache)
		return NULL;
	while (cache->newest)
		entry_remove(cache, cache->newest);
	free(cache);
	return NULL;
}

/* Of a moment in the certificate, on the wall clock whose present is now_usec. */
static int64_t moment_usec(const ASN1_TIME *moment, int64_t now_usec)
{
	int days = 0, seconds = 0;
	time_t now = (time_t)(now_usec / USEC_PER_SEC);
	ASN1_TIME *now_text = ASN1_TIME_set(NULL, now);
	if (!now_text || ASN1_TIME_diff(&days, &seconds, now_text, moment) != 1)
		days = seconds = 0; /* then it counts as ending now, and is not kept */
	ASN1_TIME_free(now_text);
	return now_usec + ((int64_t)days * 86400 + seconds) * USEC_PER_SEC;
}

status certificate_cache_get(struct certificate_cache *cache, const char *name, const char *address,
        int64_t now_usec, struct certificate *ret, struct error *err)
{
	CLEANUP(free_text) char *key = xasprintf("%c%s", name ? 'n' : 'a', name ? name : address);
	size_t bucket = bucket_of(key);
	struct entry *entry = cache->buckets[bucket];
	while (entry && strcmp(entry->key, key) != 0)
		entry = entry->bucket_next;
	if (entry && (now_usec >= entry->renew_usec || now_usec < entry->valid_from_usec)) { /* L2 */
		entry_remove(cache, entry);
		entry = NULL;
	}
	if (entry) {
		use_unlink(cache, entry);
		use_link(cache, entry);
		*ret = entry->pair;
		return STATUS_OK;
	}

	struct certificate pair;
	status st = authority_issue(
	        cache->authority, name, name ? NULL : address, &pair.certificate, &pair.key, err);
	if (st != STATUS_OK)
		return st;
	while (cache->count >= cache->max)
		entry_remove(cache, cache->oldest);
	size_t key_size = strlen(key) + 1;
	entry = xcalloc(1, sizeof *entry + key_size);
	memcpy(entry->key, key, key_size);
	entry->pair = pair;
	entry->valid_from_usec = moment_usec(X509_get0_notBefore(pair.certificate), now_usec);
	entry->renew_usec =
	        moment_usec(X509_get0_notAfter(pair.certificate), now_usec) - CERTIFICATE_RENEW_USEC;
	entry->bucket_next = cache->buckets[bucket];
	cache->buckets[bucket] = entry;
	use_link(cache, entry);
	cache->count++;
	*ret = pair;
	return STATUS_OK;
}

size_t certificate_cache_count(const struct certificate_cache *cache)
{
	return cache->count;
}
