/* Settings of the workspace that administrators change through the API (workspace-conf): texts by name. */
#pragma once

#include "base/base.h"
#include "metadata/metadata.h"

/* *ret NULL: it was never set. The caller frees. */
MUST_CHECK status workspace_setting_row_get(
        struct metadata *md, const char *name, char **ret, struct error *err);
MUST_CHECK status workspace_setting_row_set(
        struct metadata *md, const char *name, const char *value, struct error *err);
