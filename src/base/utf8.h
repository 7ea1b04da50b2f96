/* UTF-8: is it, how many characters are it, and making it so. A NUL is never valid here. Threads: any. */
#pragma once

#include "base/base.h"

/* Bytes of the longest valid UTF-8 prefix without NUL. */
size_t utf8_valid_prefix(struct slice text);
/* Characters in valid UTF-8. */
size_t utf8_count(struct slice text);
/* Replaces every byte that is not part of valid UTF-8 by '?', so that the text can go into JSON. */
void utf8_clean(char *text);
