#include "control_plane/resource_name.h"

#include <stdio.h>

#include "base/random.h"

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool id_fits(const char *id, size_t len)
{
	if (len < 1 || len > RESOURCE_ID_MAX || !is_lower(id[0]) || id[len - 1] == '-')
		return false;
	for (size_t i = 1; i < len; i++) {
		if (!is_lower(id[i]) && !is_digit(id[i]) && id[i] != '-')
			return false;
	}
	return true;
}

bool resource_id_is_valid(const char *id)
{
	return id_fits(id, strlen(id));
}

static bool uuid_fits(const char *id, size_t len)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	if (len != sizeof form - 1)
		return false;
	for (size_t i = 0; i < len; i++) {
		bool is_hex = is_digit(id[i]) || (id[i] >= 'a' && id[i] <= 'f');
		if (form[i] == 'x' ? !is_hex : id[i] != form[i])
			return false;
	}
	return true;
}

bool uuid_is_valid(const char *id)
{
	return uuid_fits(id, strlen(id));
}

/* Takes "literal/id" off the front; *pos then stands at the "/" behind it or at the end. */
static bool take(const char **pos, const char *literal, char out[RESOURCE_ID_MAX + 1])
{
	size_t len = strlen(literal);
	if (strncmp(*pos, literal, len) != 0 || (*pos)[len] != '/')
		return false;
	const char *id = *pos + len + 1;
	size_t id_len = strcspn(id, "/");
	bool may_be_uuid = strcmp(literal, "/roles") == 0;
	if (!id_fits(id, id_len) && !(may_be_uuid && uuid_fits(id, id_len)))
		return false;
	memcpy(out, id, id_len);
	out[id_len] = '\0';
	*pos = id + id_len;
	return true;
}

bool resource_name_parse(const char *text, struct resource_name *ret)
{
	static const struct {
		const char *collection;
		enum resource_kind kind;
	} leaves[] = {
		{ "/endpoints", RESOURCE_ENDPOINT },
		{ "/roles", RESOURCE_ROLE },
		{ "/databases", RESOURCE_DATABASE },
	};
	struct resource_name name = { .kind = RESOURCE_PROJECT };
	const char *pos = text;
	if (!take(&pos, "projects", name.project_id))
		return false;
	if (*pos && take(&pos, "/snapshots", name.leaf_id)) {
		name.kind = RESOURCE_SNAPSHOT;
		if (*pos)
			return false;
	}
	if (*pos) {
		if (!take(&pos, "/branches", name.branch_id))
			return false;
		name.kind = RESOURCE_BRANCH;
	}
	for (size_t i = 0; *pos && i < ARRAY_LEN(leaves); i++) {
		if (take(&pos, leaves[i].collection, name.leaf_id)) {
			name.kind = leaves[i].kind;
			break;
		}
	}
	if (*pos)
		return false;
	*ret = name;
	return true;
}

void resource_uid_make(const char *prefix, char out[RESOURCE_ID_MAX + 1])
{
	static const char *const adjectives[] = { "amber", "ancient", "autumn", "bitter", "bold", "brave",
		"bright", "broad", "calm", "clear", "cold", "cool", "crimson", "curly", "damp", "dark",
		"dawn", "deep", "dry", "fading", "falling", "fancy", "flat", "fragrant", "frosty", "gentle",
		"green", "hidden", "holy", "icy", "jolly", "late", "lively", "long", "lucky", "misty",
		"muddy", "mute", "nameless", "noisy", "odd", "old", "orange", "patient", "plain", "polished",
		"proud", "purple", "quiet", "rapid", "red", "restless", "rough", "round", "royal", "shiny",
		"shy", "silent", "small", "snowy", "soft", "solitary", "spring", "square", "steep", "still",
		"summer", "sweet", "swift", "tight", "tiny", "twilight", "wandering", "weathered", "white",
		"wild", "winter", "wispy", "withered", "yellow", "young" };
	static const char *const nouns[] = { "bar", "base", "bird", "block", "boat", "bonus", "bread",
		"breeze", "brook", "bush", "butterfly", "cake", "cell", "cherry", "cloud", "credit",
		"darkness", "dew", "disk", "dream", "dust", "feather", "field", "fire", "firefly", "flower",
		"fog", "forest", "frog", "frost", "glade", "glitter", "grass", "hall", "hat", "haze", "heart",
		"hill", "king", "lab", "lake", "leaf", "limit", "math", "meadow", "mode", "moon", "morning",
		"mountain", "mouse", "mud", "night", "paper", "pine", "poetry", "pond", "queen", "rain",
		"recipe", "resonance", "rice", "river", "salad", "scene", "sea", "shadow", "shape", "silence",
		"sky", "smoke", "snow", "snowflake", "sound", "star", "sun", "sunset", "surf", "term",
		"thunder", "tooth", "tree", "truth", "union", "unit", "violet", "voice", "water", "waterfall",
		"wave", "wildflower", "wind", "wood" };
	char suffix[9];
	random_hex(suffix, 8);
	uint64_t dice = random_u64();
	(void)snprintf(out, RESOURCE_ID_MAX + 1, "%s-%s-%s-%s", prefix,
	        adjectives[dice % ARRAY_LEN(adjectives)], nouns[(dice >> 32) % ARRAY_LEN(nouns)], suffix);
}

void resource_role_id(const char *login, bool is_service_principal, char out[RESOURCE_ID_MAX + 1])
{
	char text[RESOURCE_ID_MAX + 1];
	size_t len = 0;
	size_t login_len = is_service_principal ? strlen(login) : strcspn(login, "@");
	if (is_service_principal) {
		memcpy(text, "sp-", 3);
		len = 3;
	}
	for (size_t i = 0; i < login_len && len < RESOURCE_ID_MAX; i++) {
		char c = login[i];
		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		else if (!is_lower(c) && !is_digit(c))
			c = '-';
		/* An id begins with a letter; the part in front of one cannot tell people apart anyway. */
		if (len == 0 && c == '-')
			continue;
		if (len == 0 && is_digit(c)) {
			memcpy(text, "u-", 2);
			len = 2;
		}
		text[len++] = c;
	}
	while (len > 0 && text[len - 1] == '-')
		len--;
	text[len] = '\0';
	(void)snprintf(out, RESOURCE_ID_MAX + 1, "%s", len > 0 ? text : "owner");
}

void resource_id_from_name(const char *name, const char *prefix, char out[RESOURCE_ID_MAX + 1])
{
	char text[RESOURCE_ID_MAX + 1];
	size_t len = 0;
	if (!is_lower(name[0]) && !(name[0] >= 'A' && name[0] <= 'Z')) {
		len = strlen(prefix);
		memcpy(text, prefix, len);
		text[len++] = '-'; /* goes again when nothing follows */
	}
	for (const char *c = name; *c && len < RESOURCE_ID_MAX; c++) {
		char letter = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
		if (is_lower(letter) || is_digit(letter))
			text[len++] = letter;
		else if (len > 0 && text[len - 1] != '-')
			text[len++] = '-';
	}
	while (len > 0 && text[len - 1] == '-')
		len--;
	text[len] = '\0';
	(void)snprintf(out, RESOURCE_ID_MAX + 1, "%s", text);
}

void resource_id_numbered(const char *base, int number, char out[RESOURCE_ID_MAX + 1])
{
	char suffix[16] = "";
	if (number > 1)
		(void)snprintf(suffix, sizeof suffix, "-%d", number);
	(void)snprintf(
	        out, RESOURCE_ID_MAX + 1, "%.*s%s", (int)(RESOURCE_ID_MAX - strlen(suffix)), base, suffix);
}
