/*
 * Endpoint address: the loopback address that an endpoint is where there is no domain, and that of its pooler.
 *
 * Endpoints have addresses of 127.64.0.0/10, "127.64.0.2" first; the pooler of each has the one as far up in 127.128.0.0/10 ("127.128.0.2"), so
 * that it needs no place in the metadata.
 */
#pragma once

#include "base/base.h"
#include "metadata/endpoint_row.h"
#include "metadata/metadata.h"

/* One that no endpoint has; in the caller's transaction. STATUS_LIMIT when all are taken. */
MUST_CHECK status endpoint_address_allocate(
        struct metadata *md, char ret[ADDRESS_MAX + 1], struct error *err);

/* That of the pooler of the endpoint with this address, and back. False, and nothing, for an address of any other kind. */
MUST_CHECK bool endpoint_address_to_pooler(const char *address, char ret[ADDRESS_MAX + 1]);
MUST_CHECK bool endpoint_address_from_pooler(const char *pooler_address, char ret[ADDRESS_MAX + 1]);
