/* Profile file: writing one section of ~/.databrickscfg (reading: connection.h). Everything else in the file stays as it is. */
#pragma once

#include "base/base.h"

/*
 * The section becomes host and token, whatever it was. The file is replaced as a whole and readable for its owner only (0600); *ret_path is
 * where it is, to be freed.
 */
MUST_CHECK status profile_save(
        const char *profile, const char *host, const char *token, char **ret_path, struct error *err);
