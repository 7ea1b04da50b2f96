#include "auth/authority.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/private_key.h"
#include "base/file.h"
#include "base/random.h"

#define CERTIFICATE_FILE_MAX 65536
#define SECONDS_PER_DAY      86400l
#define CA_DAYS              3650
#define LEAF_DAYS            90
#define BACKDATE_SECONDS     3600 /* a client's clock may be a little behind ours */
#define COMMON_NAME_MAX      64   /* RFC 5280, ub-common-name */
#define DNS_NAME_MAX         253

struct authority {
	X509 *certificate;
	EVP_PKEY *key;
};

static void certificate_free(X509 **certificate)
{
	X509_free(*certificate);
	*certificate = NULL;
}

static void pkey_free(EVP_PKEY **key)
{
	EVP_PKEY_free(*key);
	*key = NULL;
}

static bool set_serial(X509 *certificate)
{
	uint8_t bytes[16];
	random_bytes(bytes, sizeof bytes);
	bytes[0] = (uint8_t)((bytes[0] & 0x7f) | 0x40); /* positive and never zero, as RFC 5280 wants it */
	BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
	bool ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
	BN_free(number);
	return ok;
}

static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, certificate, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	bool ok = extension && X509_add_ext(certificate, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return ok;
}

static bool set_common_name(X509 *certificate, const char *name)
{
	X509_NAME *subject = X509_get_subject_name(certificate);
	int len = (int)strnlen(name, COMMON_NAME_MAX);
	return X509_NAME_add_entry_by_txt(
	               subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, len, -1, 0) == 1;
}

/* Version 3, a serial number, times from an hour ago to `days` from now, and the key. */
static X509 *start_certificate(EVP_PKEY *key, long days)
{
	CLEANUP(certificate_free) X509 *certificate = X509_new();
	if (!certificate || X509_set_version(certificate, X509_VERSION_3) != 1 || !set_serial(certificate) ||
	        !X509_gmtime_adj(X509_getm_notBefore(certificate), -BACKDATE_SECONDS) ||
	        !X509_gmtime_adj(X509_getm_notAfter(certificate), days * SECONDS_PER_DAY) ||
	        X509_set_pubkey(certificate, key) != 1)
		return NULL;
	return TAKE_PTR(certificate);
}

static X509 *make_ca_certificate(EVP_PKEY *key)
{
	/* A name of its own for each data directory: clients that trust two must be able to tell them apart.
	 */
	char suffix[9], name[COMMON_NAME_MAX];
	random_hex(suffix, 8);
	(void)snprintf(name, sizeof name, "Tarn authority %s", suffix);

	CLEANUP(certificate_free) X509 *certificate = start_certificate(key, CA_DAYS);
	if (!certificate || !set_common_name(certificate, name) ||
	        X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) != 1 ||
	        !add_extension(
	                certificate, certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
	        !add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign") ||
	        !add_extension(certificate, certificate, NID_subject_key_identifier, "hash") ||
	        X509_sign(certificate, key, EVP_sha256()) <= 0)
		return NULL;
	return TAKE_PTR(certificate);
}

status authority_create(const char *key_path, const char *certificate_path, struct error *err)
{
	if (file_exists(certificate_path))
		return error_set(err, STATUS_EXISTS, 0, "certificate file \"%s\" exists", certificate_path);
	CLEANUP(pkey_free) EVP_PKEY *key = EVP_EC_gen("P-256");
	CLEANUP(certificate_free) X509 *certificate = key ? make_ca_certificate(key) : NULL;
	BIO *bio = certificate ? BIO_new(BIO_s_mem()) : NULL;
	if (!bio || PEM_write_bio_X509(bio, certificate) != 1) {
		BIO_free(bio);
		return openssl_failed(err, "make a certificate authority");
	}
	/* The key first: a certificate that is there without its key could never be used nor replaced. */
	status st = private_key_write(key_path, key, err);
	if (st == STATUS_OK) {
		char *text = NULL;
		long len = BIO_get_mem_data(bio, &text);
		struct slice content = { .data = (const uint8_t *)text, .len = (size_t)len };
		st = file_replace_durably(certificate_path, content, 0644, err);
	}
	BIO_free(bio);
	return st;
}

status authority_load(
        const char *key_path, const char *certificate_path, struct authority **ret, struct error *err)
{
	CLEANUP(pkey_free) EVP_PKEY *key = NULL;
	status st = private_key_read(key_path, &key, err);
	if (st != STATUS_OK)
		return st;
	CLEANUP(buffer_done) struct buffer text = { 0 };
	st = file_read(certificate_path, CERTIFICATE_FILE_MAX, &text, err);
	if (st != STATUS_OK)
		return st;
	BIO *bio = BIO_new_mem_buf(text.data, (int)text.len);
	CLEANUP(certificate_free) X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	bool fits = certificate && X509_check_private_key(certificate, key) == 1;
	ERR_clear_error();
	if (!certificate)
		return error_set(err, STATUS_CORRUPT, 0, "file \"%s\" has no readable certificate (PEM)",
		        certificate_path);
	if (!fits)
		return error_set(err, STATUS_CORRUPT, 0, "key \"%s\" does not belong to certificate \"%s\"",
		        key_path, certificate_path);
	if (X509_check_ca(certificate) != 1)
		return error_set(
		        err, STATUS_CORRUPT, 0, "certificate \"%s\" is not an authority's", certificate_path);

	struct authority *authority = xcalloc(1, sizeof *authority);
	authority->certificate = TAKE_PTR(certificate);
	authority->key = TAKE_PTR(key);
	*ret = authority;
	return STATUS_OK;
}

struct authority *authority_free(struct authority *authority)
{
	if (authority) {
		X509_free(authority->certificate);
		EVP_PKEY_free(authority->key);
		free(authority);
	}
	return NULL;
}

/*
 * Letters, digits, '-', '.' and '_' only: the names go into OpenSSL's little configuration language below,
 * where a comma would start another entry.
 */
static bool dns_name_is_plain(const char *name)
{
	size_t len = strlen(name);
	return len > 0 && len <= DNS_NAME_MAX &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == len;
}

static bool address_is_valid(const char *address)
{
	uint8_t bytes[16];
	return inet_pton(AF_INET, address, bytes) == 1 || inet_pton(AF_INET6, address, bytes) == 1;
}

/* 127.0.0.0/8, or ::1. */
static bool address_is_loopback(const char *address)
{
	uint8_t bytes[16];
	if (inet_pton(AF_INET, address, bytes) == 1)
		return bytes[0] == 127;
	return inet_pton(AF_INET6, address, bytes) == 1 &&
	       memcmp(bytes, &in6addr_loopback, sizeof in6addr_loopback) == 0;
}

/* A leaf signed by a CA that ends first must not outlive it. */
static bool limit_to_issuer(X509 *leaf, const X509 *issuer)
{
	const ASN1_TIME *end = X509_get0_notAfter(issuer);
	if (ASN1_TIME_compare(X509_get0_notAfter(leaf), end) <= 0)
		return true;
	return X509_set1_notAfter(leaf, end) == 1;
}

status authority_issue(const struct authority *authority, const char *dns_name, const char *address,
        X509 **ret_certificate, EVP_PKEY **ret_key, struct error *err)
{
	if (!dns_name && !address)
		return error_set(err, STATUS_INVALID, 0, "a certificate needs a name or an address");
	if (dns_name && !dns_name_is_plain(dns_name))
		return error_set(err, STATUS_INVALID, 0, "cannot issue a certificate: DNS name is not valid");
	if (address && !address_is_valid(address))
		return error_set(
		        err, STATUS_INVALID, 0, "cannot issue a certificate: IP address is not valid");

	CLEANUP(free_text) char *alternatives = NULL;
	if (!address)
		alternatives = xasprintf("DNS:%s", dns_name);
	else
		alternatives = xasprintf("%s%s%sIP:%s%s", dns_name ? "DNS:" : "", dns_name ? dns_name : "",
		        dns_name ? "," : "", address, address_is_loopback(address) ? ",DNS:localhost" : "");

	CLEANUP(pkey_free) EVP_PKEY *key = EVP_EC_gen("P-256");
	CLEANUP(certificate_free) X509 *leaf = key ? start_certificate(key, LEAF_DAYS) : NULL;
	if (!leaf || !limit_to_issuer(leaf, authority->certificate) ||
	        !set_common_name(leaf, dns_name ? dns_name : address) ||
	        X509_set_issuer_name(leaf, X509_get_subject_name(authority->certificate)) != 1 ||
	        !add_extension(leaf, authority->certificate, NID_basic_constraints, "critical,CA:FALSE") ||
	        !add_extension(leaf, authority->certificate, NID_key_usage, "critical,digitalSignature") ||
	        !add_extension(leaf, authority->certificate, NID_ext_key_usage, "serverAuth") ||
	        !add_extension(leaf, authority->certificate, NID_subject_alt_name, alternatives) ||
	        !add_extension(leaf, authority->certificate, NID_authority_key_identifier, "keyid") ||
	        X509_sign(leaf, authority->key, EVP_sha256()) <= 0)
		return openssl_failed(err, "issue a certificate");
	*ret_certificate = TAKE_PTR(leaf);
	*ret_key = TAKE_PTR(key);
	return STATUS_OK;
}
