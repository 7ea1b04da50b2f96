/*
 * Routes: whatever stands in the handshake and in the options, what comes out is an endpoint that could exist, or nothing, and a name for
 * a certificate only if it is ours. Input: a name and an option, with a NUL between them.
 */
#include <ctype.h>
#include <stdlib.h>

#include "proxy/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DOMAIN "db.example.com"

static void require(bool is_so)
{
	if (!is_so)
		abort();
}

static void check_uid(const char *uid)
{
	require(strlen(uid) <= ENDPOINT_UID_MAX);
	require(uid[0] == '\0' || endpoint_uid_is_plausible(slice_from_text(uid)));
}

static void check_name(const struct server_name *found)
{
	size_t len = strlen(found->name);
	check_uid(found->uid);
	require(len <= SERVER_NAME_MAX);
	if (len == 0) {
		require(found->uid[0] == '\0' && !found->is_pooled);
		return;
	}
	require(len >= strlen(DOMAIN) && strcmp(found->name + len - strlen(DOMAIN), DOMAIN) == 0);
	for (size_t i = 0; i < len; i++)
		require(!isupper((unsigned char)found->name[i]));
	/* The same once more: what is in a certificate leads to the same endpoint. */
	struct server_name again;
	server_name_parse(found->name, DOMAIN, &again);
	require(strcmp(again.name, found->name) == 0 && strcmp(again.uid, found->uid) == 0 &&
	        again.is_pooled == found->is_pooled);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(free_text) char *sni = xstrndup((const char *)data, size);
	size_t len = strlen(sni) + 1;
	struct startup_message message = { 0 };
	struct server_name found;
	struct refusal refusal;
	char uid[ENDPOINT_UID_MAX + 1] = "";
	bool is_pooled = false;
	server_name_parse(sni, DOMAIN, &found);
	check_name(&found);
	if (len <= size)
		message.endpoint = (struct slice){ data + len, size - len };
	if (!route_choose(&found, &message, uid, &is_pooled, &refusal)) {
		require(refusal.message[0] && strlen(refusal.sqlstate) == 5);
		return 0;
	}
	check_uid(uid);
	require(found.uid[0] == '\0' || strcmp(uid, found.uid) == 0);
	require(is_pooled || !message.endpoint.data || slice_equals_text(message.endpoint, uid));
	if (route_take_read_only(uid))
		require(strlen(uid) + strlen(READ_ONLY_SUFFIX) <= ENDPOINT_UID_MAX);
	return 0;
}
