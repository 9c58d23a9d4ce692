#pragma once
// Header-only: no library to link.
#define XXH_INLINE_ALL
#include <xxhash.h>
// XXH_INLINE_ALL renames the functions by macros, which Swift does not see.
static inline unsigned long long berth_xxh3_64(const void *bytes, size_t length) { return XXH3_64bits(bytes, length); }
