/*
 * Client secrets: what a service principal gets access tokens with (OAuth client credentials). /api/2.0/accounts/servicePrincipals/{id}/credentials/secrets, as
 * the SDKs' service_principal_secrets_proxy has it; for administrators. The secret is in the answer of its creation and nowhere else.
 */
#pragma once

#include "control_plane/call.h"

bool client_secret_create(struct call *call);
bool client_secret_list(struct call *call);
bool client_secret_delete(struct call *call); /* access tokens that were got with it stop working */
