/* Discovery: what clients ask before and beside the Postgres calls (rest-api.md 6.1, 6.5). */
#pragma once

#include "control_plane/call.h"

/* "http://127.0.0.1:8080", by which the client knows us. Caller frees. */
char *discovery_host(const struct call *call);
bool discovery_config(struct call *call); /* GET /.well-known/databricks-config, without a token */
bool discovery_oauth(
        struct call *call); /* GET /oidc/.well-known/…: where the OAuth endpoints are (RFC 8414) */
bool discovery_keys(struct call *call); /* GET /oidc/jwks.json: the key that signs database tokens */
