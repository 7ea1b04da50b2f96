/* libcurl, loaded when it is first needed (base/late_library.h). Who wants another function of it adds it to libcurl.c; the linker tells. Threads: any. */
#pragma once

#include "base/base.h"

/* Before anything else of libcurl is called. */
MUST_CHECK status libcurl_load(struct error *err);
