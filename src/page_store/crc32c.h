/* CRC-32C (Castagnoli), as Postgres and our own formats use it: with the processor's instruction where there
 * is one. */
#pragma once

#include "base/base.h"

uint32_t crc32c(const void *bytes, size_t len);
/* Of what `crc` is the checksum of, followed by these bytes; crc32c_more(0, …) begins. */
uint32_t crc32c_more(uint32_t crc, const void *bytes, size_t len);
/* The table-driven form, for processors without the instruction and for the test that compares both. */
uint32_t crc32c_portable(const void *bytes, size_t len);
