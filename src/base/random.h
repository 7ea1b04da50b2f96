/* Random: bytes and identifiers from the kernel's generator. All calls succeed (the process ends if it cannot). */
#pragma once

#include "base/base.h"

void random_bytes(void *out, size_t len);
uint64_t random_u64(void);

#define UUID_TEXT_LEN 36
void random_uuid(char out[UUID_TEXT_LEN + 1]);                  /* version 4, lower case */
void random_hex(char *out, size_t digits);                      /* `digits` lower-case hex digits and a NUL */
void bytes_to_hex(const uint8_t *bytes, size_t len, char *out); /* 2 * len digits and a NUL */
