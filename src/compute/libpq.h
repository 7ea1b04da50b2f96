/* libpq, loaded when it is first needed (base/late_library.h). Who wants another function of it adds it to libpq.c; the linker tells. Threads: any. */
#pragma once

#include "base/base.h"

/* Before anything else of libpq is called: admin_connect() does. */
MUST_CHECK status libpq_load(struct error *err);
