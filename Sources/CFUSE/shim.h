#pragma once
// _FILE_OFFSET_BITS stays undefined: struct statvfs and struct flock would then differ between
// this module and Glibc. On 64-bit Linux off_t is 64 bits wide either way.
#define FUSE_USE_VERSION 314
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
