/*
 * Ini: files of "[SECTION]" lines and "key = value" lines below them, as the Databricks SDKs read ~/.databrickscfg.
 *
 *   - Lines that begin with # or ; are comments, and so is what follows " #" or " ;" in a line.
 *   - Between key and value stands = or :, with any blanks around it. A value in quotes (", ' or `) is what is inside them.
 *   - Keys above the first section belong to the section DEFAULT. A section may come several times; of a key that does, the last counts.
 *   - Nothing goes over the end of a line. A line that is none of these is refused by its number, and so are control characters.
 */
#pragma once

#include "base/base.h"

#define INI_TEXT_MAX (1u << 20)

struct ini {
	char *text; /* what the rest points into */
	struct ini_entry {
		const char *section; /* "DEFAULT" */
		const char *key;     /* NULL: only says that there is such a section */
		const char *value;
		unsigned int line; /* from 1 */
	} * entries;
	size_t count;
};

/* `path` is only for messages: file "PATH", line 3: … Every failure is STATUS_INVALID, beyond INI_TEXT_MAX STATUS_LIMIT. */
MUST_CHECK status ini_parse(const char *path, struct slice text, struct ini *ret, struct error *err);
void ini_done(struct ini *ini);

bool ini_has_section(const struct ini *ini, const char *section);
/* NULL: there is none. An empty value counts as none, as for the SDKs. Borrowed. */
const char *ini_value(const struct ini *ini, const char *section, const char *key);
