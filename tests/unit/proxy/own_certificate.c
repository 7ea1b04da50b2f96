/* Own certificate: what is refused and with which words, and what happens when the files change. */
#include "proxy/own_certificate.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "auth/authority.h"
#include "proxy_fixture.h"

struct scene {
	struct fixture_folder folder;
	struct authority *authority;
	char *certificate, *key;
};

static void write_pem(const char *path, const char *mode, X509 *certificate, EVP_PKEY *key)
{
	FILE *file = fopen(path, mode);
	assert_non_null(file);
	if (certificate)
		assert_int_equal(PEM_write_X509(file, certificate), 1);
	if (key)
		assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
	assert_int_equal(fclose(file), 0);
	if (key)
		assert_int_equal(chmod(path, 0600), 0);
}

/* Files are told apart by number, size and time: writing beside and renaming gives another number. */
static void put(struct scene *scene, const char *host, bool with_certificate, bool with_key)
{
	X509 *certificate = NULL;
	EVP_PKEY *key = NULL;
	struct error err;
	CLEANUP(free_text) char *fresh = xasprintf("%s/fresh", scene->folder.path);
	assert_int_equal(authority_issue(scene->authority, host, NULL, &certificate, &key, &err), STATUS_OK);
	if (with_certificate) {
		write_pem(fresh, "w", certificate, NULL);
		assert_int_equal(rename(fresh, scene->certificate), 0);
	}
	if (with_key) {
		write_pem(fresh, "w", NULL, key);
		assert_int_equal(rename(fresh, scene->key), 0);
	}
	X509_free(certificate);
	EVP_PKEY_free(key);
}

static struct scene scene_begin(void)
{
	struct scene scene = { .folder = fixture_folder_make() };
	scene.authority = fixture_authority(&scene.folder);
	scene.certificate = xasprintf("%s/own.crt", scene.folder.path);
	scene.key = xasprintf("%s/own.key", scene.folder.path);
	put(&scene, "ep-a.db.example.com", true, true);
	return scene;
}

static void scene_end(struct scene *scene)
{
	authority_free(scene->authority);
	fixture_folder_remove(&scene->folder);
	free(scene->certificate);
	free(scene->key);
}

static void test_covers_what_it_names(void **unused)
{
	(void)unused;
	struct scene scene = scene_begin();
	struct own_certificate *own = NULL;
	struct error err;
	assert_int_equal(own_certificate_load(scene.certificate, scene.key, &own, &err), STATUS_OK);
	assert_true(own_certificate_covers(own, "ep-a.db.example.com"));
	assert_false(own_certificate_covers(own, "db.example.com"));
	assert_false(own_certificate_covers(own, "ep-b.db.example.com"));
	assert_false(own_certificate_covers(own, ""));
	assert_in_range(own_certificate_days_left(own), 88, 90);

	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	SSL *ssl = SSL_new(context);
	assert_true(own_certificate_use(own, ssl));
	assert_non_null(SSL_get_certificate(ssl));
	own_certificate_free(own); /* a handshake that goes on has what it took */
	assert_non_null(SSL_get_privatekey(ssl));
	SSL_free(ssl);
	SSL_CTX_free(context);
	scene_end(&scene);
}

static void check_refused(struct scene *scene, status code, const char *words)
{
	struct own_certificate *own = NULL;
	struct error err;
	status st = own_certificate_load(scene->certificate, scene->key, &own, &err);
	if (st != code || !strstr(err.message, words))
		fail_msg("\"%s\" was expected, not code %d: %s", words, (int)st,
		        st == STATUS_OK ? "" : err.message);
	assert_null(own);
}

static void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0600), 0);
}

static void test_wrong_files_are_named(void **unused)
{
	(void)unused;
	struct scene scene = scene_begin();
	assert_int_equal(chmod(scene.key, 0644), 0);
	check_refused(&scene, STATUS_DENIED, "has group or world access");
	put(&scene, "ep-a.db.example.com", false, true);
	check_refused(&scene, STATUS_CONFLICT, "does not belong to the first certificate");
	write_text(scene.key, "rubbish");
	check_refused(&scene, STATUS_CORRUPT, "no readable private key");
	write_text(scene.key, "");
	check_refused(&scene, STATUS_CORRUPT, "no readable private key");
	assert_int_equal(remove(scene.key), 0);
	check_refused(&scene, STATUS_NOT_FOUND, "own.key");
	assert_int_equal(mkdir(scene.key, 0700), 0);
	check_refused(&scene, STATUS_INVALID, "not a regular file");
	write_text(scene.certificate, "");
	check_refused(&scene, STATUS_CORRUPT, "no certificate");
	write_text(scene.certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	check_refused(&scene, STATUS_CORRUPT, "no certificate");
	assert_int_equal(remove(scene.certificate), 0);
	check_refused(&scene, STATUS_NOT_FOUND, "own.crt");

	/* A second certificate that was cut off. */
	assert_int_equal(remove(scene.key), 0);
	put(&scene, "ep-a.db.example.com", true, true);
	FILE *file = fopen(scene.certificate, "a");
	assert_non_null(file);
	(void)fputs("-----BEGIN CERTIFICATE-----\nMIIB", file);
	assert_int_equal(fclose(file), 0);
	check_refused(&scene, STATUS_CORRUPT, "cannot be read, behind 1 good ones");
	scene_end(&scene);
}

static void test_changes_are_taken(void **unused)
{
	(void)unused;
	struct scene scene = scene_begin();
	struct own_certificate *own = NULL;
	struct error err;
	bool is_new = true;
	assert_int_equal(own_certificate_load(scene.certificate, scene.key, &own, &err), STATUS_OK);
	assert_int_equal(own_certificate_look(own, false, &is_new, &err), STATUS_OK);
	assert_false(is_new);
	assert_int_equal(own_certificate_look(own, true, &is_new, &err), STATUS_OK);
	assert_true(is_new);

	/* One half of a new pair: told once, and the old one is served. */
	put(&scene, "ep-a.new.example.com", true, false);
	assert_int_equal(own_certificate_look(own, false, &is_new, &err), STATUS_CONFLICT);
	assert_false(is_new);
	assert_int_equal(own_certificate_look(own, false, &is_new, &err), STATUS_OK);
	assert_false(is_new);
	assert_true(own_certificate_covers(own, "ep-a.db.example.com"));
	assert_int_equal(remove(scene.key), 0);
	assert_int_equal(own_certificate_look(own, false, &is_new, &err), STATUS_NOT_FOUND);
	assert_int_equal(own_certificate_look(own, false, &is_new, &err), STATUS_OK);
	assert_true(own_certificate_covers(own, "ep-a.db.example.com"));

	put(&scene, "ep-a.new.example.com", true, true);
	assert_int_equal(own_certificate_look(own, false, &is_new, &err), STATUS_OK);
	assert_true(is_new);
	assert_true(own_certificate_covers(own, "ep-a.new.example.com"));
	assert_false(own_certificate_covers(own, "ep-a.db.example.com"));
	own_certificate_free(own);
	scene_end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_covers_what_it_names),
		cmocka_unit_test(test_wrong_files_are_named),
		cmocka_unit_test(test_changes_are_taken),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
