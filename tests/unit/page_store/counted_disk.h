/*
 * The real disk (page_store/disk.c), of which one call can be made to fail: linked instead of it.
 */
#pragma once

#include <stdbool.h>

/* From now on the call with this number (1: the next one) fails with this errno, and all after it if `for_ever`. 0: none does. */
void counted_disk_fail(unsigned long number, int failure, bool for_ever);
/* Has one failed since? */
bool counted_disk_has_failed(void);
