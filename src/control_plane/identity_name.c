#include "control_plane/identity_name.h"

#include <stdio.h>
#include <strings.h>

#include "base/number.h"
#include "base/random.h"

#define ID_BASE 4000 /* ids are opaque numbers to clients */

static bool has_control_characters(const char *name)
{
	for (; *name; name++)
		if ((unsigned char)*name < 0x20 || *name == 0x7f)
			return true;
	return false;
}

static bool is_reserved(const char *name)
{
	static const char *const whole[] = { "cloud_admin", "postgres", "public", "none", "current_user",
		"session_user", "current_role", "user" };
	static const char *const beginnings[] = { "pg_", "databricks_" };
	for (size_t i = 0; i < ARRAY_LEN(whole); i++)
		if (strcasecmp(name, whole[i]) == 0)
			return true;
	for (size_t i = 0; i < ARRAY_LEN(beginnings); i++)
		if (strncasecmp(name, beginnings[i], strlen(beginnings[i])) == 0)
			return true;
	return false;
}

/* Something before and behind one "@", and no space. */
static bool is_address(const char *name)
{
	const char *at = strchr(name, '@');
	return at && at > name && at[1] != '\0' && !strchr(at + 1, '@') && !strchr(name, ' ');
}

static bool is_application_id(const char *name)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	if (strlen(name) != UUID_TEXT_LEN)
		return false;
	for (size_t i = 0; i < UUID_TEXT_LEN; i++)
		if (form[i] == '-' ? name[i] != '-' : !strchr("0123456789abcdef", name[i]))
			return false;
	return true;
}

bool identity_name_check(
        enum identity_kind kind, const char *name, const char *field, struct api_error *error)
{
	size_t len = strlen(name);
	if (len == 0 || len > IDENTITY_NAME_MAX)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field '%s' must have 1 to %d bytes, because it is a Postgres role name too; got "
		        "%zu.",
		        field, IDENTITY_NAME_MAX, len);
	if (has_control_characters(name) || name[0] == ' ' || name[len - 1] == ' ')
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field '%s' must not have control characters, nor a space at its ends.", field);
	if (kind == IDENTITY_USER && !is_address(name))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field '%s' must be an e-mail address, got '%s'.", field, name);
	if (kind == IDENTITY_SERVICE_PRINCIPAL && !is_application_id(name))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field '%s' must be a UUID in lower case, got '%s'.", field, name);
	if (kind == IDENTITY_GROUP && (strchr(name, '@') || is_application_id(name)))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field '%s' of a group must not look like an e-mail address or an application id: "
		        "got '%s'.",
		        field, name);
	if (is_reserved(name))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field '%s': the name '%s' is reserved for the system.", field, name);
	return true;
}

bool identity_display_name_check(const char *name, const char *field, struct api_error *error)
{
	size_t len = strlen(name);
	if (len == 0 || len > LOGIN_MAX || has_control_characters(name))
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field '%s' must have 1 to %d bytes and no control characters.", field, LOGIN_MAX);
	return true;
}

void identity_id_make(int64_t row_id, char out[IDENTITY_ID_LEN + 1])
{
	(void)snprintf(out, IDENTITY_ID_LEN + 1, "%lld", (long long)(ID_BASE + row_id));
}

bool identity_id_parse(const char *text, int64_t *ret_row_id)
{
	int64_t id;
	if (!number_parse(slice_from_text(text), ID_BASE + 1, INT64_MAX, &id))
		return false;
	*ret_row_id = id - ID_BASE;
	return true;
}
