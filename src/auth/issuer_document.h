/*
 * Issuer document: what an issuer says about itself (OpenID Connect Discovery 1.0, RFC 8414), and where it is. Of it one thing is wanted: where the
 * issuer's keys are.
 *
 * An issuer's name is an https URL without a query. Plain http is for one on this machine, where nobody is in between.
 */
#pragma once

#include "base/base.h"

#define ISSUER_DOCUMENT_MAX (128u << 10)

/* STATUS_INVALID; the message goes on after the name of the field: "must begin with https://". */
MUST_CHECK status issuer_check(const char *issuer, struct error *err);
/* Where keys may be: as an issuer, and with a query if need be. */
MUST_CHECK status issuer_keys_url_check(const char *url, struct error *err);

/* Where the document of a good issuer is. The caller frees. */
char *issuer_document_url(const char *issuer);

/*
 * *ret_keys_url, which the caller frees, is "jwks_uri". STATUS_INVALID: it is no such document, another issuer's, or it names an address that
 * must not be used: only an issuer on this machine may have its keys there or reach them without TLS.
 */
MUST_CHECK status issuer_document_parse(
        struct slice text, const char *issuer, char **ret_keys_url, struct error *err);
