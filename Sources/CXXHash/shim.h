#pragma once
// Header-only: no library to link.
#define XXH_INLINE_ALL
#include <xxhash.h>
