/*
 * Spec: what a compute shall be, as control wrote it to computes/UID/spec.json (docs/architecture.md). Checked whole on
 * reading: whoever holds a struct spec may rely on the limits below.
 */
#pragma once

#include "base/base.h"
#include "compute/inventory.h"
#include "page_store/volume.h"

#define SPEC_VERSION        1
#define SPEC_MAX_BYTES      (1u << 20)
#define SPEC_ROLES_MAX      1000
#define SPEC_DATABASES_MAX  1000
#define SPEC_SETTINGS_MAX   500
#define SPEC_IDENTIFIER_MAX 63 /* bytes of a Postgres name */
#define SPEC_UID_MAX        63
#define SPEC_CU_MAX         1024.0
/* About 28 years: every sum with it stays far from overflow. */
#define SPEC_TIMEOUT_MAX_SEC INT64_C(900000000)

struct spec_role {
	char *name; /* never cloud_admin or databricks_superuser, nor a name that Postgres reserves */
	bool login, createdb, createrole, bypassrls, is_superuser_member;
	enum inventory_identity identity;
	char *verifier; /* of its password; NULL: none */
};

struct spec_database {
	char *name;
	char *owner; /* NULL: as it is */
};

struct spec_setting {
	char *name; /* letters, digits, '_', '.' and '$' only */
	char *value;
};

struct spec {
	int64_t revision;
	char endpoint_uid[SPEC_UID_MAX + 1];
	char volume_id[VOLUME_ID_MAX + 1];
	int postgres_major;
	char *bin_dir; /* absolute */
	double max_cu;
	int64_t suspend_timeout_sec; /* 0: never */
	struct spec_setting *settings;
	size_t setting_count;
	struct spec_role *roles;
	size_t role_count;
	struct spec_database *databases;
	size_t database_count;
};

/* STATUS_INVALID with what is wrong where; STATUS_UNSUPPORTED for a newer version. The caller frees. */
MUST_CHECK status spec_parse(struct slice text, struct spec **ret, struct error *err);
MUST_CHECK status spec_read(const char *path, struct spec **ret, struct error *err);
struct spec *spec_free(struct spec *spec); /* NULL is fine; always returns NULL */
static inline void spec_freep(struct spec **spec)
{
	*spec = spec_free(*spec);
}
