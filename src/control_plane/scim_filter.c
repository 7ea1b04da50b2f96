#include "control_plane/scim_filter.h"

#include <stdio.h>
#include <strings.h>

#include "control_plane/identity_name.h"

#define WORD_MAX 40

static const char *skip_spaces(const char *pos)
{
	return pos + strspn(pos, " ");
}

/* Letters and dots; false when there are none or too many. */
static bool take_word(const char **pos, char out[WORD_MAX + 1])
{
	size_t len = strspn(*pos, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.");
	if (len == 0 || len > WORD_MAX)
		return false;
	memcpy(out, *pos, len);
	out[len] = '\0';
	*pos += len;
	return true;
}

/* A JSON string whose only escapes are \" and \\. */
static bool take_value(const char **pos, char out[LOGIN_MAX + 1])
{
	const char *p = *pos;
	size_t len = 0;
	if (*p++ != '"')
		return false;
	for (; *p && *p != '"'; p++) {
		if (*p == '\\' && *++p != '"' && *p != '\\')
			return false;
		if (len == LOGIN_MAX)
			return false;
		out[len++] = *p;
	}
	if (*p != '"')
		return false;
	out[len] = '\0';
	*pos = p + 1;
	return true;
}

static bool find_attribute(const char *word, enum identity_kind kind, struct identity_filter *filter)
{
	static const struct {
		const char *word;
		enum identity_kind kind;
	} logins[] = {
		{ "userName", IDENTITY_USER },
		{ "emails", IDENTITY_USER },
		{ "emails.value", IDENTITY_USER },
		{ "applicationId", IDENTITY_SERVICE_PRINCIPAL },
		{ "displayName", IDENTITY_GROUP },
	};
	filter->attribute = FILTER_ALL;
	for (size_t i = 0; i < ARRAY_LEN(logins); i++)
		if (logins[i].kind == kind && strcasecmp(word, logins[i].word) == 0)
			filter->attribute = FILTER_LOGIN;
	if (filter->attribute != FILTER_ALL)
		return true;
	if (strcasecmp(word, "displayName") == 0)
		filter->attribute = FILTER_DISPLAY_NAME;
	else if (strcasecmp(word, "externalId") == 0)
		filter->attribute = FILTER_EXTERNAL_ID;
	else if (strcasecmp(word, "id") == 0)
		filter->attribute = FILTER_ID;
	return filter->attribute != FILTER_ALL;
}

static bool find_comparison(const char *word, struct identity_filter *filter)
{
	static const char *const words[] = { [FILTER_EQUALS] = "eq",
		[FILTER_DIFFERS] = "ne",
		[FILTER_CONTAINS] = "co",
		[FILTER_STARTS] = "sw" };
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strcasecmp(word, words[i]) == 0) {
			filter->comparison = (enum filter_comparison)i;
			return true;
		}
	}
	return false;
}

/* Clients know ids as numbers of ours; only equality makes sense for them. */
static bool translate_id(struct scim_filter *filter)
{
	int64_t id;
	if (filter->rows.comparison != FILTER_EQUALS && filter->rows.comparison != FILTER_DIFFERS)
		return false;
	if (!identity_id_parse(filter->value, &id))
		id = 0;
	(void)snprintf(filter->value, sizeof filter->value, "%lld", (long long)id);
	return true;
}

bool scim_filter_parse(
        const char *text, enum identity_kind kind, struct scim_filter *ret, struct api_error *error)
{
	static const char *const attributes[] = {
		[IDENTITY_USER] = "userName, displayName, externalId and id",
		[IDENTITY_SERVICE_PRINCIPAL] = "applicationId, displayName, externalId and id",
		[IDENTITY_GROUP] = "displayName, externalId and id",
	};
	*ret = (struct scim_filter){ 0 };
	const char *pos = skip_spaces(text ? text : "");
	if (!*pos)
		return true;
	char word[WORD_MAX + 1], comparison[WORD_MAX + 1];
	bool is_read = take_word(&pos, word);
	pos = skip_spaces(pos);
	is_read = is_read && take_word(&pos, comparison);
	pos = skip_spaces(pos);
	is_read = is_read && take_value(&pos, ret->value) && *skip_spaces(pos) == '\0';
	if (!is_read)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'filter' must be like: userName eq \"alice@example.com\" (one attribute, one "
		        "of eq, ne, "
		        "co and sw, one value in quotes).");
	if (!find_attribute(word, kind, &ret->rows))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'filter': attribute '%s' is not one of %s.", word, attributes[kind]);
	if (!find_comparison(comparison, &ret->rows) ||
	        (ret->rows.attribute == FILTER_ID && !translate_id(ret)))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'filter': '%s' is not available for '%s'; there are eq, ne, co and sw.",
		        comparison, word);
	ret->rows.value = ret->value;
	return true;
}

bool scim_member_path_parse(const char *text, char out[LOGIN_MAX + 1])
{
	if (strncasecmp(text, "members[", 8) != 0)
		return false;
	char word[WORD_MAX + 1];
	const char *pos = skip_spaces(text + 8);
	if (!take_word(&pos, word) || strcasecmp(word, "value") != 0)
		return false;
	pos = skip_spaces(pos);
	if (!take_word(&pos, word) || strcasecmp(word, "eq") != 0)
		return false;
	pos = skip_spaces(pos);
	if (!take_value(&pos, out))
		return false;
	pos = skip_spaces(pos);
	return pos[0] == ']' && pos[1] == '\0';
}
