#include "proxy/route.h"

#include <ctype.h>

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
		if (found.name[uid_len] != '.' || !endpoint_uid_is_plausible(uid))
			return;
		memcpy(found.uid, uid.data, uid_len);
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
        char ret_uid[ENDPOINT_UID_MAX + 1], struct refusal *ret)
{
	struct slice option = message->endpoint;
	if (!option.data) {
		memcpy(ret_uid, name->uid, sizeof name->uid);
		return true;
	}
	if (name->uid[0] && !slice_equals_text(option, name->uid)) {
		refusal_two_endpoints(ret, name->uid, option);
		return false;
	}
	if (!endpoint_uid_is_plausible(option)) {
		refusal_bad_endpoint(ret, option);
		return false;
	}
	memcpy(ret_uid, option.data, option.len);
	ret_uid[option.len] = '\0';
	return true;
}
