/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/authority.h"
#include "base/file.h"

struct fixture {
	char folder[32];
	char *key_path, *certificate_path;
	struct authority *authority;
	X509 *root;
};

static X509 *read_certificate(const char *path)
{
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	X509 *certificate = PEM_read_X509(file, NULL, NULL, NULL);
	fclose(file);
	assert_non_null(certificate);
	return certificate;
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);
	struct error err;
	strcpy(f->folder, "/tmp/tarn-unit-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	f->key_path = xasprintf("%s/authority.key", f->folder);
	f->certificate_path = xasprintf("%s/authority.crt", f->folder);
	assert_int_equal(authority_create(f->key_path, f->certificate_path, &err), STATUS_OK);
	assert_int_equal(authority_load(f->key_path, f->certificate_path, &f->authority, &err), STATUS_OK);
	f->root = read_certificate(f->certificate_path);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	struct error err;
	X509_free(f->root);
	authority_free(f->authority);
	assert_int_equal(tree_remove(f->folder, &err), STATUS_OK);
	free(f->key_path);
	free(f->certificate_path);
	free(f);
	return 0;
}

/* What a client with sslmode=verify-full asks: X509_V_OK or why not. */
static int verify(X509 *root, X509 *leaf, const char *host, const char *address)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	assert_int_equal(X509_STORE_add_cert(store, root), 1);
	assert_int_equal(X509_STORE_CTX_init(ctx, store, leaf, NULL), 1);
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
	X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
	if (host)
		assert_int_equal(X509_VERIFY_PARAM_set1_host(param, host, 0), 1);
	if (address)
		assert_int_equal(X509_VERIFY_PARAM_set1_ip_asc(param, address), 1);
	int verdict = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return verdict;
}

static void leaf_names_what_was_asked_and_nothing_else(void **state)
{
	const struct fixture *f = *state;
	X509 *leaf = NULL;
	EVP_PKEY *key = NULL;
	struct error err;
	assert_int_equal(authority_issue(f->authority, "ep-a.example.com", "127.64.0.2", &leaf, &key, &err),
	        STATUS_OK);
	assert_int_equal(X509_check_private_key(leaf, key), 1);
	assert_int_equal(verify(f->root, leaf, "ep-a.example.com", NULL), X509_V_OK);
	assert_int_equal(verify(f->root, leaf, NULL, "127.64.0.2"), X509_V_OK);
	assert_int_equal(verify(f->root, leaf, "ep-b.example.com", NULL), X509_V_ERR_HOSTNAME_MISMATCH);
	assert_int_equal(verify(f->root, leaf, "x.ep-a.example.com", NULL), X509_V_ERR_HOSTNAME_MISMATCH);
	assert_int_equal(verify(f->root, leaf, NULL, "127.64.0.3"), X509_V_ERR_IP_ADDRESS_MISMATCH);
	assert_int_equal(verify(f->root, leaf, "localhost", NULL), X509_V_OK);
	assert_int_equal(X509_check_ca(leaf), 0);
	X509_free(leaf);
	EVP_PKEY_free(key);
}

static void either_name_or_address_is_enough(void **state)
{
	const struct fixture *f = *state;
	X509 *leaf = NULL;
	EVP_PKEY *key = NULL;
	struct error err;
	assert_int_equal(authority_issue(f->authority, NULL, "127.64.0.2", &leaf, &key, &err), STATUS_OK);
	assert_int_equal(verify(f->root, leaf, NULL, "127.64.0.2"), X509_V_OK);
	assert_int_equal(verify(f->root, leaf, "127.64.0.2.example.com", NULL), X509_V_ERR_HOSTNAME_MISMATCH);
	assert_int_equal(verify(f->root, leaf, "localhost", NULL), X509_V_OK);
	X509_free(leaf);
	EVP_PKEY_free(key);
	assert_int_equal(authority_issue(f->authority, NULL, "fd00::1", &leaf, &key, &err), STATUS_OK);
	assert_int_equal(verify(f->root, leaf, NULL, "fd00::1"), X509_V_OK);
	assert_int_equal(verify(f->root, leaf, "localhost", NULL), X509_V_ERR_HOSTNAME_MISMATCH);
	X509_free(leaf);
	EVP_PKEY_free(key);
	assert_int_equal(authority_issue(f->authority, NULL, "::1", &leaf, &key, &err), STATUS_OK);
	assert_int_equal(verify(f->root, leaf, NULL, "::1"), X509_V_OK);
	assert_int_equal(verify(f->root, leaf, "localhost", NULL), X509_V_OK);
	X509_free(leaf);
	EVP_PKEY_free(key);
}

static void long_names_are_possible(void **state)
{
	const struct fixture *f = *state;
	X509 *leaf = NULL;
	EVP_PKEY *key = NULL;
	struct error err;
	const char *name = "ep-a-very-long-endpoint-name-1a2b3c4d.a-domain-that-makes-it-longer.than-a-"
	                   "common-name.example.com";
	assert_int_equal(authority_issue(f->authority, name, NULL, &leaf, &key, &err), STATUS_OK);
	assert_int_equal(verify(f->root, leaf, name, NULL), X509_V_OK);
	X509_free(leaf);
	EVP_PKEY_free(key);
}

static void another_authority_is_not_trusted(void **state)
{
	const struct fixture *f = *state;
	CLEANUP(free_text) char *key_path = xasprintf("%s/other.key", f->folder);
	CLEANUP(free_text) char *certificate_path = xasprintf("%s/other.crt", f->folder);
	CLEANUP(authority_freep) struct authority *other = NULL;
	X509 *leaf = NULL;
	EVP_PKEY *key = NULL;
	struct error err;
	assert_int_equal(authority_create(key_path, certificate_path, &err), STATUS_OK);
	assert_int_equal(authority_load(key_path, certificate_path, &other, &err), STATUS_OK);
	assert_int_equal(authority_issue(other, "ep-a.example.com", NULL, &leaf, &key, &err), STATUS_OK);
	assert_int_not_equal(verify(f->root, leaf, "ep-a.example.com", NULL), X509_V_OK);
	X509_free(leaf);
	EVP_PKEY_free(key);

	/* A certificate with somebody else's key does not load. */
	struct authority *mixed = NULL;
	assert_int_equal(authority_load(f->key_path, certificate_path, &mixed, &err), STATUS_CORRUPT);
	assert_non_null(strstr(err.message, "does not belong"));
}

static void hostile_names_are_refused(void **state)
{
	static const char *const names[] = { "", "a,DNS:b.example.com", "a b", "a\nb", "*.example.com", "a/b",
		"é.example" };
	static const char *const addresses[] = { "", "127.0.0.1,DNS:b", "1.2.3", "localhost", "127.0.0.1/8" };
	const struct fixture *f = *state;
	X509 *leaf = NULL;
	EVP_PKEY *key = NULL;
	struct error err;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_int_equal(
		        authority_issue(f->authority, names[i], NULL, &leaf, &key, &err), STATUS_INVALID);
	for (size_t i = 0; i < ARRAY_LEN(addresses); i++)
		assert_int_equal(
		        authority_issue(f->authority, NULL, addresses[i], &leaf, &key, &err), STATUS_INVALID);
	assert_int_equal(authority_issue(f->authority, NULL, NULL, &leaf, &key, &err), STATUS_INVALID);
	assert_null(leaf);
	assert_null(key);
}

static void files_are_private_and_never_replaced(void **state)
{
	const struct fixture *f = *state;
	struct stat st;
	struct error err;
	assert_int_equal(stat(f->key_path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(f->certificate_path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(authority_create(f->key_path, f->certificate_path, &err), STATUS_EXISTS);
	CLEANUP(free_text) char *free_path = xasprintf("%s/free.crt", f->folder);
	assert_int_equal(authority_create(f->key_path, free_path, &err), STATUS_EXISTS);
	assert_false(file_exists(free_path));
}

static void leaf_as_authority_is_refused(void **state)
{
	const struct fixture *f = *state;
	X509 *leaf = NULL;
	EVP_PKEY *key = NULL;
	struct error err;
	struct authority *wrong = NULL;
	CLEANUP(free_text) char *key_path = xasprintf("%s/leaf.key", f->folder);
	CLEANUP(free_text) char *certificate_path = xasprintf("%s/leaf.crt", f->folder);
	assert_int_equal(authority_issue(f->authority, "ep-a", NULL, &leaf, &key, &err), STATUS_OK);
	FILE *key_file = fopen(key_path, "we"), *certificate_file = fopen(certificate_path, "we");
	assert_true(PEM_write_PrivateKey(key_file, key, NULL, NULL, 0, NULL, NULL));
	assert_true(PEM_write_X509(certificate_file, leaf));
	fclose(key_file);
	fclose(certificate_file);
	assert_int_equal(authority_load(key_path, certificate_path, &wrong, &err), STATUS_CORRUPT);
	X509_free(leaf);
	EVP_PKEY_free(key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leaf_names_what_was_asked_and_nothing_else),
		cmocka_unit_test(either_name_or_address_is_enough),
		cmocka_unit_test(long_names_are_possible),
		cmocka_unit_test(another_authority_is_not_trusted),
		cmocka_unit_test(hostile_names_are_refused),
		cmocka_unit_test(files_are_private_and_never_replaced),
		cmocka_unit_test(leaf_as_authority_is_refused),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
