#include "control_plane/federation_policy_fields.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/federated_token.h"
#include "auth/issuer_document.h"
#include "control_plane/fields.h"
#include "control_plane/identity_name.h"
#include "control_plane/update_mask.h"

#define DESCRIPTION_MAX 256
#define AUDIENCES_MAX   20
#define AUDIENCE_MAX    512
#define KEYS_JSON_MAX   (64u << 10)
#define PART            "oidc_policy"

enum field {
	FIELD_DESCRIPTION = 1 << 0,
	FIELD_ISSUER = 1 << 1,
	FIELD_AUDIENCES = 1 << 2,
	FIELD_SUBJECT = 1 << 3,
	FIELD_SUBJECT_CLAIM = 1 << 4,
	FIELD_KEYS_URI = 1 << 5,
	FIELD_KEYS_JSON = 1 << 6,
	FIELDS_OF_PART = (1 << 7) - 2,
	FIELDS_ALL = (1 << 7) - 1,
};

static const struct update_path paths[] = {
	{ .path = "description", .fields = FIELD_DESCRIPTION },
	{ .path = PART, .fields = FIELDS_OF_PART },
	{ .path = PART ".issuer", .fields = FIELD_ISSUER },
	{ .path = PART ".audiences", .fields = FIELD_AUDIENCES },
	{ .path = PART ".subject", .fields = FIELD_SUBJECT },
	{ .path = PART ".subject_claim", .fields = FIELD_SUBJECT_CLAIM },
	{ .path = PART ".jwks_uri", .fields = FIELD_KEYS_URI },
	{ .path = PART ".jwks_json", .fields = FIELD_KEYS_JSON },
	{ .path = "*", .fields = FIELDS_ALL, .is_all = true },
};

/* The texts of a policy; all but the description are members of "oidc_policy". */
static const struct {
	const char *key;
	enum field field;
	size_t max, offset;
} texts[] = {
	{ "description", FIELD_DESCRIPTION, DESCRIPTION_MAX,
	        offsetof(struct federation_policy_row, description) },
	{ "issuer", FIELD_ISSUER, FEDERATED_ISSUER_MAX, offsetof(struct federation_policy_row, issuer) },
	{ "subject", FIELD_SUBJECT, FEDERATED_SUBJECT_MAX, offsetof(struct federation_policy_row, subject) },
	{ "subject_claim", FIELD_SUBJECT_CLAIM, FEDERATED_CLAIM_MAX,
	        offsetof(struct federation_policy_row, subject_claim) },
	{ "jwks_uri", FIELD_KEYS_URI, FEDERATED_ISSUER_MAX,
	        offsetof(struct federation_policy_row, jwks_uri) },
	{ "jwks_json", FIELD_KEYS_JSON, KEYS_JSON_MAX, offsetof(struct federation_policy_row, jwks_json) },
};

static char **text_of(const struct federation_policy_row *policy, size_t i)
{
	return (char **)(void *)((char *)(uintptr_t)policy + texts[i].offset);
}

static const char *path_of(size_t i)
{
	return texts[i].field == FIELD_DESCRIPTION ? "" : PART;
}

bool federation_policy_take_id(const char *id, struct federation_policy_row *policy, struct api_error *error)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	if (!id || !*id) {
		random_uuid(policy->policy_id);
		return true;
	}
	size_t len = strlen(id);
	if (len > FEDERATION_POLICY_ID_MAX || strspn(id, allowed) != len || id[0] == '-' ||
	        id[len - 1] == '-')
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field 'policy_id' must have 1 to %d lower-case letters, digits and hyphens, got "
		        "'%.100s'.",
		        FEDERATION_POLICY_ID_MAX, id);
	(void)snprintf(policy->policy_id, sizeof policy->policy_id, "%s", id);
	return true;
}

/* ---- Taking values over ---- */

/* What is not known might have been meant to restrict the policy. */
static bool check_members(yyjson_val *part, struct api_error *error)
{
	yyjson_val *key;
	yyjson_obj_iter iter = yyjson_obj_iter_with(part);
	while ((key = yyjson_obj_iter_next(&iter))) {
		bool is_known = yyjson_equals_str(key, "audiences");
		for (size_t i = 0; i < ARRAY_LEN(texts); i++)
			is_known = is_known || (*path_of(i) && yyjson_equals_str(key, texts[i].key));
		if (!is_known)
			return api_fail(error, API_INVALID_PARAMETER,
			        "Field '" PART ".%.64s' is not known here.", yyjson_get_str(key));
	}
	return true;
}

static bool is_plain(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	return true;
}

static bool take_texts(yyjson_val *body, yyjson_val *part, const struct update_mask *mask,
        struct federation_policy_row *policy, struct api_error *error)
{
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct text_field text;
		yyjson_val *object = *path_of(i) ? part : body;
		if (!field_text(object, path_of(i), texts[i].key, &text, error))
			return false;
		if (!update_mask_has(mask, texts[i].field, text.is_set))
			continue;
		bool is_good =
		        !text.is_set || (strlen(text.text) <= texts[i].max &&
		                                (texts[i].field == FIELD_KEYS_JSON || is_plain(text.text)));
		if (!is_good)
			return api_fail(error, API_INVALID_PARAMETER,
			        "Field '%s%s%s' must have at most %zu bytes and no control characters.",
			        path_of(i), *path_of(i) ? "." : "", texts[i].key, texts[i].max);
		free_text(text_of(policy, i));
		*text_of(policy, i) = text.is_set ? xstrdup(text.text) : NULL;
	}
	return true;
}

static bool audience_is_good(yyjson_val *audience)
{
	const char *text = yyjson_get_str(audience);
	size_t len = yyjson_get_len(audience);
	return text && len > 0 && len <= AUDIENCE_MAX && strlen(text) == len && is_plain(text);
}

static bool take_audiences(yyjson_val *part, const struct update_mask *mask,
        struct federation_policy_row *policy, struct api_error *error)
{
	yyjson_val *list, *one;
	if (!field_array(part, PART, "audiences", &list, error))
		return false;
	if (!update_mask_has(mask, FIELD_AUDIENCES, list != NULL))
		return true;
	yyjson_arr_iter iter = yyjson_arr_iter_with(list);
	bool is_good = yyjson_arr_size(list) <= AUDIENCES_MAX;
	while (is_good && (one = yyjson_arr_iter_next(&iter)))
		is_good = audience_is_good(one);
	if (!is_good)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field '" PART ".audiences' must be a list of at most %d strings of 1 to %d bytes.",
		        AUDIENCES_MAX, AUDIENCE_MAX);
	free_text(&policy->audiences);
	policy->audiences = list ? yyjson_val_write(list, 0, NULL) : xstrdup("[]");
	return policy->audiences || api_fail(error, API_INTERNAL, "could not write the audiences as JSON");
}

/* ---- What a whole policy must be ---- */

static bool refuse(struct api_error *error, const char *key, const struct error *err)
{
	return api_fail(error, API_INVALID_PARAMETER, "Field '" PART ".%s': %s.", key, err->message);
}

static bool check_keys(const struct federation_policy_row *policy, struct api_error *error)
{
	struct error err;
	CLEANUP(web_key_set_freep) struct web_key_set *keys = NULL;
	if (policy->jwks_uri && policy->jwks_json)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Only one of the fields '" PART ".jwks_uri' and '" PART ".jwks_json' can be set.");
	if (policy->jwks_uri && issuer_keys_url_check(policy->jwks_uri, &err) != STATUS_OK)
		return api_fail(error, API_INVALID_PARAMETER, "Field '" PART ".jwks_uri' %s.", err.message);
	if (policy->jwks_json &&
	        web_key_set_parse(slice_from_text(policy->jwks_json), &keys, &err) != STATUS_OK)
		return refuse(error, "jwks_json", &err);
	return true;
}

static bool check(const struct federation_policy_row *policy, struct api_error *error)
{
	struct error err;
	if (!policy->issuer)
		return api_fail(error, API_INVALID_PARAMETER, "Field '" PART ".issuer' is required.");
	if (issuer_check(policy->issuer, &err) != STATUS_OK)
		return api_fail(error, API_INVALID_PARAMETER, "Field '" PART ".issuer' %s.", err.message);
	if (policy->principal != 0 && !policy->subject)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field '" PART ".subject' is required: which of the issuer's subjects is the service "
		        "principal?");
	if (policy->principal == 0 && policy->subject)
		return api_fail(error, API_INVALID_PARAMETER,
		        "Field '" PART
		        ".subject' is for policies of a service principal: an account's policy "
		        "takes whoever the "
		        "token names.");
	return check_keys(policy, error);
}

static bool read_mask(const char *text, struct update_mask *ret, struct api_error *error)
{
	if (text && *text)
		return update_mask_parse(text, paths, ARRAY_LEN(paths), ret, error);
	*ret = text ? (struct update_mask){ .present = FIELDS_ALL }
	            : (struct update_mask){ .fields = FIELDS_ALL };
	return true;
}

bool federation_policy_apply(yyjson_val *body, const char *mask_text, struct federation_policy_row *policy,
        struct api_error *error)
{
	struct update_mask mask;
	yyjson_val *part;
	return read_mask(mask_text, &mask, error) && field_object(body, "", PART, &part, error) &&
	       check_members(part, error) && take_texts(body, part, &mask, policy, error) &&
	       take_audiences(part, &mask, policy, error) && check(policy, error);
}

yyjson_mut_val *federation_policy_to_json(
        yyjson_mut_doc *doc, const char *name, const struct federation_policy_row *policy)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_obj_add_strcpy(doc, root, "name", name);
	yyjson_mut_obj_add_strcpy(doc, root, "uid", policy->uid);
	yyjson_mut_obj_add_strcpy(doc, root, "policy_id", policy->policy_id);
	if (policy->principal != 0) {
		char id[IDENTITY_ID_LEN + 1];
		identity_id_make(policy->principal, id);
		yyjson_mut_obj_add_int(doc, root, "service_principal_id", strtoll(id, NULL, 10));
	}
	json_add_timestamp(doc, root, "create_time", policy->create_usec);
	json_add_timestamp(doc, root, "update_time", policy->update_usec);
	yyjson_mut_val *part = yyjson_mut_obj(doc);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (*text_of(policy, i))
			yyjson_mut_obj_add_strcpy(
			        doc, *path_of(i) ? part : root, texts[i].key, *text_of(policy, i));
	yyjson_doc *audiences = yyjson_read(policy->audiences, strlen(policy->audiences), 0);
	if (yyjson_arr_size(yyjson_doc_get_root(audiences)) > 0)
		yyjson_mut_obj_add_val(
		        doc, part, "audiences", yyjson_val_mut_copy(doc, yyjson_doc_get_root(audiences)));
	yyjson_doc_free(audiences);
	yyjson_mut_obj_add_val(doc, root, PART, part);
	return root;
}
