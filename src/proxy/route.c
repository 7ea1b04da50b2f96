#include "proxy/route.h"

#include <ctype.h>
#include <strings.h>

#define POOLER_CONSOLE  "pgbouncer"
#define POOLED_NAME_MAX 63u

bool endpoint_uid_is_plausible(struct slice uid)
{
	if (uid.len < 4 || uid.len > ENDPOINT_UID_MAX || memcmp(uid.data, "ep-", 3) != 0)
		return false;
	for (size_t i = 3; i < uid.len; i++) {
		uint8_t byte = uid.data[i];
		if (!(byte >= 'a' && byte <= 'z') && !(byte >= '0' && byte <= '9') && byte != '-')
			return false;
	}
	return uid.data[uid.len - 1] != '-';
}

#define POOLER_SUFFIX "-pooler"

/* "ep-a-pooler" is endpoint "ep-a". False when it can be no endpoint's name. */
static bool endpoint_name_parse(struct slice name, char ret_uid[ENDPOINT_UID_MAX + 1], bool *ret_is_pooled)
{
	size_t suffix_len = strlen(POOLER_SUFFIX);
	struct slice uid = name;
	bool is_pooled = name.len > suffix_len &&
	                 memcmp(name.data + name.len - suffix_len, POOLER_SUFFIX, suffix_len) == 0;
	if (is_pooled)
		uid.len -= suffix_len;
	if (is_pooled && !endpoint_uid_is_plausible(uid)) {
		is_pooled = false;
		uid = name;
	}
	if (!endpoint_uid_is_plausible(uid))
		return false;
	memcpy(ret_uid, uid.data, uid.len);
	ret_uid[uid.len] = '\0';
	*ret_is_pooled = is_pooled;
	return true;
}

void server_name_parse(const char *sni, const char *domain, struct server_name *ret)
{
	*ret = (struct server_name){ 0 };
	size_t len = sni ? strlen(sni) : 0, domain_len = strlen(domain);
	if (len > 0 && sni[len - 1] == '.')
		len--;
	if (len < domain_len || len > SERVER_NAME_MAX)
		return;
	struct server_name found = { 0 };
	for (size_t i = 0; i < len; i++)
		found.name[i] = (char)tolower((unsigned char)sni[i]);
	if (strcasecmp(found.name + len - domain_len, domain) != 0)
		return;
	if (len > domain_len) {
		size_t uid_len = len - domain_len - 1;
		struct slice uid = { (const uint8_t *)found.name, uid_len };
		if (found.name[uid_len] != '.' || !endpoint_name_parse(uid, found.uid, &found.is_pooled))
			return;
	}
	*ret = found;
}

bool route_take_read_only(char uid[ENDPOINT_UID_MAX + 1])
{
	size_t len = strlen(uid), suffix_len = strlen(READ_ONLY_SUFFIX);
	if (len <= suffix_len || strcmp(uid + len - suffix_len, READ_ONLY_SUFFIX) != 0)
		return false;
	uid[len - suffix_len] = '\0';
	return true;
}

bool route_choose(const struct server_name *name, const struct startup_message *message,
        char ret_uid[ENDPOINT_UID_MAX + 1], bool *ret_is_pooled, struct refusal *ret)
{
	struct slice option = message->endpoint;
	char uid[ENDPOINT_UID_MAX + 1] = "";
	bool is_pooled = false;
	if (!option.data) {
		memcpy(ret_uid, name->uid, sizeof name->uid);
		*ret_is_pooled = name->is_pooled;
		return true;
	}
	bool is_name = endpoint_name_parse(option, uid, &is_pooled);
	if (name->uid[0] && strcmp(uid, name->uid) != 0) {
		refusal_two_endpoints(ret, name->uid, option);
		return false;
	}
	if (!is_name) {
		refusal_bad_endpoint(ret, option);
		return false;
	}
	memcpy(ret_uid, uid, sizeof uid);
	*ret_is_pooled = is_pooled || name->is_pooled;
	return true;
}

/* As Postgres reads a boolean there; anything that is not one it refuses itself. */
static bool wants_replication(struct slice value)
{
	static const char *const no[] = { "", "0", "f", "fa", "fal", "fals", "false", "n", "no", "of",
		"off" };
	if (!value.data)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(no); i++)
		if (value.len == strlen(no[i]) &&
		        strncasecmp((const char *)value.data, no[i], value.len) == 0)
			return false;
	return true;
}

bool route_accepts_pooled(
        const struct startup_message *message, const char *endpoint_uid, struct refusal *ret)
{
	struct slice database = message->database.len > 0 ? message->database : message->user;
	if (wants_replication(message->replication)) {
		refusal_pooled_replication(ret, endpoint_uid);
		return false;
	}
	if (slice_equals_text(database, POOLER_CONSOLE) || slice_equals_text(database, "*") ||
	        slice_equals_text(message->user, POOLER_CONSOLE)) {
		bool is_role = slice_equals_text(message->user, POOLER_CONSOLE);
		refusal_pooled_name(
		        ret, is_role ? "role" : "database", is_role ? message->user : database, endpoint_uid);
		return false;
	}
	if (database.len > POOLED_NAME_MAX) {
		refusal_pooled_too_long(ret);
		return false;
	}
	return true;
}
