#include "auth/issuer_document.h"

#include <stdlib.h>
#include <yyjson.h>

#include "auth/federated_token.h"
#include "base/url.h"

static status check(const char *text, bool may_have_query, struct url *ret, struct error *err)
{
	struct url url;
	status st = url_parse(text, &url, err);
	if (st != STATUS_OK)
		return st;
	if (!url.is_https && !url.is_loopback)
		return error_set(err, STATUS_INVALID, 0,
		        "must begin with https://; http:// is for an issuer on this machine");
	if (url.has_query && !may_have_query)
		return error_set(err, STATUS_INVALID, 0, "must have no query (\"?\")");
	*ret = url;
	return STATUS_OK;
}

status issuer_check(const char *issuer, struct error *err)
{
	struct url url;
	if (strlen(issuer) > FEDERATED_ISSUER_MAX)
		return error_set(err, STATUS_INVALID, 0, "must have at most %d bytes", FEDERATED_ISSUER_MAX);
	return check(issuer, false, &url, err);
}

status issuer_keys_url_check(const char *url, struct error *err)
{
	struct url parsed;
	return check(url, true, &parsed, err);
}

char *issuer_document_url(const char *issuer)
{
	size_t len = strlen(issuer);
	len -= len > 0 && issuer[len - 1] == '/'; /* OpenID Connect Discovery, section 4.1 */
	return xasprintf("%.*s/.well-known/openid-configuration", (int)len, issuer);
}

static status read_keys_url(yyjson_val *root, const char *issuer, char **ret, struct error *err)
{
	yyjson_val *value = yyjson_obj_get(root, "jwks_uri");
	const char *text = yyjson_get_str(value);
	struct url url, of_issuer;
	if (!yyjson_equals_strn(yyjson_obj_get(root, "issuer"), issuer, strlen(issuer)))
		return error_set(err, STATUS_INVALID, 0, "the document is of another issuer (\"issuer\")");
	if (!text || strlen(text) != yyjson_get_len(value))
		return error_set(err, STATUS_INVALID, 0,
		        "the document does not say where the keys are (\"jwks_uri\")");
	status st = check(text, true, &url, err);
	if (st == STATUS_OK)
		st = url_parse(issuer, &of_issuer, err);
	if (st == STATUS_OK && url.is_loopback && !of_issuer.is_loopback)
		st = error_set(err, STATUS_INVALID, 0, "names this machine, which the issuer is not");
	if (st == STATUS_OK && !url.is_https && of_issuer.is_https)
		st = error_set(err, STATUS_INVALID, 0, "must begin with https://, as the issuer does");
	if (st != STATUS_OK)
		return error_prefix(err, "\"jwks_uri\" of the document");
	*ret = xstrdup(text);
	return STATUS_OK;
}

status issuer_document_parse(struct slice text, const char *issuer, char **ret_keys_url, struct error *err)
{
	if (text.len > ISSUER_DOCUMENT_MAX)
		return error_set(
		        err, STATUS_INVALID, 0, "the document is longer than %u bytes", ISSUER_DOCUMENT_MAX);
	yyjson_doc *doc = text.len > 0 ? yyjson_read((const char *)text.data, text.len, 0) : NULL;
	yyjson_val *root = yyjson_doc_get_root(doc);
	status st = yyjson_is_obj(root) ? read_keys_url(root, issuer, ret_keys_url, err)
	                                : error_set(err, STATUS_INVALID, 0, "the document is no JSON object");
	yyjson_doc_free(doc);
	return st;
}
