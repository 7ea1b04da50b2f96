/* Shell word: text as one word of a POSIX shell, quoted when it must be. */
#pragma once

#include "base/base.h"

char *shell_word(const char *text); /* the caller frees */
