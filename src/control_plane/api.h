/*
 * API: the table of routes, and what every REST call has in common: authentication, error bodies, logging.
 *
 * Routes that the contract has and we do not serve yet are in the table too: 501 for changes, an empty LIST, 404 for
 * GET, after the usual checks of their parents.
 */
#pragma once

#include "control_plane/services.h"
#include "http/request.h"
#include "http/response.h"

/* The handler of the HTTP server; owner is the struct services. */
void api_handle(void *owner, const struct http_request *request, struct http_response *response);
/* How long its body may be: nothing of it is kept for a client without a good token. For http_server_limit_bodies(). */
size_t api_body_limit(void *owner, const struct http_request *request);
