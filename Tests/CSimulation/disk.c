// The disk: files of a memory file system as they are now, and beside them what is safe from a power failure.
//
//     durable/d<inode>/<name>  a symbolic link to d<inode> or f<inode>: the directory as it was synchronized
//     durable/f<inode>         the file's bytes as they were synchronized
//
// Only synchronizing moves anything there, and now and then a write that is written back by itself. What a power failure
// leaves is made of the two by PowerLoss.swift.
#define _GNU_SOURCE
#include "internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FILES = 8192, DESCRIPTORS = 4096, SECTOR = 512 };

// What is known of an inode in this life.
struct file {
    ino_t inode;
    // Bytes that may differ from the durable ones. All of them at first: an earlier life may have written.
    off_t dirty_from, dirty_to;
    // Bytes that were set aside: these are never refused for lack of room.
    off_t reserved;
};

struct descriptor {
    int is_simulated, is_directory;
    uint32_t class;
    const char *kind;
    struct file *file;
};

static char disk[256], durable[256];
static size_t disk_length;
static struct file files[FILES];
static struct descriptor descriptors[DESCRIPTORS];
static int is_calm;

void start_disk(const char *disk_path, const char *durable_path) {
    snprintf(disk, sizeof disk, "%s/", disk_path);
    snprintf(durable, sizeof durable, "%s", durable_path);
    disk_length = strlen(disk);
}

void simulation_calm(void) { is_calm = 1; }
void simulation_fault(void) { report->is_faulty = 1; }
void simulation_note(const char *text) {
    if (plan.is_traced) dprintf(2, "%8lld  %s\n", (long long)report->steps, text);
}
int64_t simulation_steps(void) { return report->steps; }

int is_full_now(uint32_t class) {
    return !is_calm && (plan.full_classes & class) && report->steps >= plan.full_from && report->steps < plan.full_until;
}

int simulation_is_full(void) {
    if (!is_full_now(plan.full_classes)) return 0;
    report->is_faulty = 1;
    return 1;
}

// The part of a path below the disk, or NULL where it is not simulated.
static const char *below(const char *path) {
    if (!is_simulated() || strncmp(path, disk, disk_length - 1) != 0) return NULL;
    if (path[disk_length - 1] == 0) return path + disk_length - 1;
    return path[disk_length - 1] == '/' ? path + disk_length : NULL;
}

static int ends_in(const char *text, const char *ending) {
    size_t length = strlen(text), count = strlen(ending);
    return length >= count && strcmp(text + length - count, ending) == 0;
}

static uint32_t class_of(const char *name) {
    // Their own logs and journals belong to them.
    if (strncmp(name, "snapshots", 9) == 0 || strncmp(name, "clone-", 6) == 0) return SIMULATION_DATABASE;
    if (strncmp(name, "staging", 7) == 0) return SIMULATION_STAGING;
    if (strncmp(name, "cache", 5) == 0) return SIMULATION_CACHE;
    if (strncmp(name, "store", 5) == 0) return SIMULATION_STORE;
    return ends_in(name, "-wal") ? SIMULATION_LOG : SIMULATION_DATABASE;
}

static const char *kind_of(const char *name, int is_directory) {
    if (is_directory) {
        if (strncmp(name, "store", 5) == 0) return "store directory";
        if (strcmp(name, "staging") == 0) return "staging directory";
        if (strcmp(name, "cache") == 0) return "cache directory";
        return strcmp(name, "snapshots") == 0 ? "snapshot directory" : "directory";
    }
    switch (class_of(name)) {
    case SIMULATION_STAGING: return ends_in(name, ".runs") ? "runs" : "raw";
    case SIMULATION_CACHE: return "cached pack";
    case SIMULATION_STORE: return "object";
    case SIMULATION_LOG: return "log";
    default: break;
    }
    if (strncmp(name, "snapshots/", 10) == 0) return "snapshot";
    if (strncmp(name, "clone-", 6) == 0) return "clone";
    if (strncmp(name, "copy.db", 7) == 0) return "copy of metadata";
    return ends_in(name, "-journal") ? "journal" : ends_in(name, "meta.db") ? "database" : "other";
}

static void count_step(const char *verb, const char *kind) {
    char name[40];
    snprintf(name, sizeof name, *kind ? "%s %s" : "%s", verb, kind);
    for (int i = 0; i < SIMULATION_STEP_KINDS; i++) {
        if (report->kinds[i].name[0] == 0) snprintf(report->kinds[i].name, sizeof name, "%s", name);
        if (strcmp(report->kinds[i].name, name) != 0) continue;
        report->last_count = ++report->kinds[i].count;
        snprintf(report->last_step, sizeof name, "%s", name);
        return;
    }
}

// A step that changes what is on the disk. True where the process is to end in the midst of it.
static int begin_step(const char *verb, const char *kind, off_t offset, size_t size) {
    may_switch();
    report->steps++;
    count_step(verb, kind);
    add_to_fingerprint(fingerprint_of(verb) ^ fingerprint_of(kind) ^ (uint64_t)offset << 20 ^ size);
    if (plan.is_traced)
        dprintf(2, "%8lld  %s %s at %lld, %zu bytes\n", (long long)report->steps, verb, kind, (long long)offset, size);
    return report->steps == plan.crash_step;
}

static void crash(void) { simulation_exit(plan.crash_kind); }

void simulation_step(const char *name) {
    if (is_simulated() && begin_step(name, "", 0, 0)) crash();
}

// Whether an error is to be injected.
static int is_refused(uint32_t class) {
    if (is_calm || plan.error_one_in == 0 || !(plan.error_classes & class)) return 0;
    if (simulation_random(plan.error_one_in) != 0) return 0;
    report->is_faulty = 1;
    return 1;
}

static int is_without_room(uint32_t class) {
    if (!is_full_now(class)) return 0;
    report->is_faulty = 1;
    return 1;
}

static struct file *file_of(int number) {
    struct stat status;
    if (fstat(number, &status) != 0) abort();
    size_t place = (size_t)status.st_ino % FILES;
    for (int tries = 0; tries < FILES; tries++, place = (place + 1) % FILES) {
        if (files[place].inode == 0) files[place] = (struct file){status.st_ino, 0, INT64_MAX, 0};
        if (files[place].inode == status.st_ino) return &files[place];
    }
    abort();
}

static struct descriptor *simulated(int number) {
    if (!is_simulated() || number < 0 || number >= DESCRIPTORS || !descriptors[number].is_simulated) return NULL;
    return &descriptors[number];
}

// The same of a descriptor that is read: one that the C library closed by itself (closedir) may be another file's by now, which
// a system call opened that nobody sees here (openat2).
static struct descriptor *simulated_source(int number) {
    struct descriptor *descriptor = simulated(number);
    struct stat status;
    if (!descriptor || !descriptor->file) return descriptor;
    if (syscall(SYS_fstat, number, &status) == 0 && status.st_ino == descriptor->file->inode) return descriptor;
    descriptor->is_simulated = 0;
    return NULL;
}

// MARK: What is durable

static int open_durable(const struct file *file) {
    char path[512];
    snprintf(path, sizeof path, "%s/f%llu", durable, (unsigned long long)file->inode);
    return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static void copy_durable(int number, int target, off_t from, off_t to) {
    static char bytes[1 << 16];
    while (from < to) {
        size_t part = (size_t)(to - from) < sizeof bytes ? (size_t)(to - from) : sizeof bytes;
        ssize_t count = syscall(SYS_pread64, number, bytes, part, from);
        if (count <= 0) return;
        if (syscall(SYS_pwrite64, target, bytes, count, from) != count) abort();
        from += count;
    }
}

static void make_durable(int number, struct file *file) {
    struct stat status;
    if (fstat(number, &status) != 0) abort();
    int target = open_durable(file);
    off_t end = file->dirty_to < status.st_size ? file->dirty_to : status.st_size;
    // A descriptor that only writes cannot be read from.
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", number);
    int source = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    copy_durable(source, target, file->dirty_from, end);
    syscall(SYS_ftruncate, target, status.st_size);
    syscall(SYS_close, source);
    syscall(SYS_close, target);
    file->dirty_from = INT64_MAX;
    file->dirty_to = 0;
}

// The kernel writes back what it likes, when it likes.
static void write_back(const struct file *file, const char *bytes, size_t size, off_t offset) {
    if (plan.write_back_one_in == 0 || simulation_random(plan.write_back_one_in) != 0) return;
    size_t from = simulation_random(size) / SECTOR * SECTOR, to = from + 1 + simulation_random(size - from);
    int target = open_durable(file);
    syscall(SYS_pwrite64, target, bytes + from, to - from, offset + (off_t)from);
    syscall(SYS_close, target);
}

static void clear_directory(const char *path) {
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        char name[600];
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        syscall(SYS_unlinkat, AT_FDCWD, name, 0);
    }
    if (directory) closedir(directory);
}

static void make_names_durable(int number) {
    char path[512], name[1024], target[64];
    snprintf(path, sizeof path, "%s/d%llu", durable, (unsigned long long)file_of(number)->inode);
    if (syscall(SYS_mkdirat, AT_FDCWD, path, 0700) != 0) clear_directory(path);
    DIR *directory = fdopendir((int)syscall(SYS_openat, number, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        snprintf(target, sizeof target, "%c%llu", entry->d_type == DT_DIR ? 'd' : 'f', (unsigned long long)entry->d_ino);
        syscall(SYS_symlinkat, target, AT_FDCWD, name);
    }
    if (directory) closedir(directory);
}

// MARK: Descriptors

static int open_file(const char *path, int flags, mode_t mode) {
    const char *name = below(path);
    if (!name) return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    uint32_t class = class_of(name);
    struct stat status;
    int is_new = (flags & O_CREAT) && syscall(SYS_newfstatat, AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW) != 0;
    if (is_new || (flags & O_TRUNC)) {
        if (begin_step("open", kind_of(name, 0), 0, 0)) crash();
        if (is_without_room(class)) { errno = ENOSPC; return -1; }
        if (is_refused(class)) { errno = EIO; return -1; }
    }
    int number = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (number < 0) return number;
    if (number >= DESCRIPTORS || fstat(number, &status) != 0) abort();
    int is_directory = S_ISDIR(status.st_mode);
    struct descriptor *descriptor = &descriptors[number];
    *descriptor = (struct descriptor){1, is_directory, class, kind_of(name, is_directory), file_of(number)};
    if (is_new) descriptor->file->dirty_from = INT64_MAX, descriptor->file->dirty_to = 0;
    if (flags & O_TRUNC) descriptor->file->dirty_from = 0, descriptor->file->dirty_to = INT64_MAX;
    return number;
}

EXPORT int open(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
    va_end(list);
    return open_file(path, flags, mode);
}

EXPORT int open64(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
    va_end(list);
    return open_file(path, flags, mode);
}

// The path of a name in an open directory; `path` itself where that says where it is.
static const char *path_at(int directory, const char *path, char *whole, size_t size) {
    if (directory == AT_FDCWD || path[0] == '/' || !is_simulated()) return path;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, whole, size - 1);
    if (length < 0) abort();
    whole[length] = 0;
    // "." is the directory itself: a simulated one has one name.
    if (strcmp(path, ".") == 0) return whole;
    if (strcmp(whole, "/") == 0) length = 0;
    snprintf(whole + length, size - (size_t)length, "/%s", path);
    return whole;
}

static int open_at(int directory, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    const char *place = path_at(directory, path, whole, sizeof whole);
    return below(place) ? open_file(place, flags, mode) : (int)syscall(SYS_openat, directory, path, flags, mode);
}

EXPORT int openat(int directory, const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
    va_end(list);
    return open_at(directory, path, flags, mode);
}

EXPORT int openat64(int directory, const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
    va_end(list);
    return open_at(directory, path, flags, mode);
}

EXPORT int close(int number) {
    if (number >= 0 && number < DESCRIPTORS && is_simulated()) descriptors[number].is_simulated = 0;
    return (int)syscall(SYS_close, number);
}

static ssize_t write_simulated(struct descriptor *descriptor, int number, const char *bytes, size_t size, off_t offset) {
    int is_last = begin_step("write", descriptor->kind, offset, size);
    struct file *file = descriptor->file;
    // Torn: a part of it happens.
    size_t done = is_last ? simulation_random(size + 1) : size;
    if (!is_last) {
        if (offset + (off_t)size > file->reserved && is_without_room(descriptor->class)) { errno = ENOSPC; return -1; }
        if (is_refused(descriptor->class)) { errno = EIO; return -1; }
        if (plan.short_one_in && size > 1 && simulation_random(plan.short_one_in) == 0)
            done = 1 + simulation_random(size - 1);
    }
    ssize_t count = syscall(SYS_pwrite64, number, bytes, done, offset);
    if (is_last) crash();
    if (count <= 0) return count;
    if (offset < file->dirty_from) file->dirty_from = offset;
    if (offset + count > file->dirty_to) file->dirty_to = offset + count;
    write_back(file, bytes, (size_t)count, offset);
    return count;
}

EXPORT ssize_t pwrite64(int number, const void *bytes, size_t size, off_t offset) {
    struct descriptor *descriptor = simulated(number);
    if (!descriptor || size == 0) return syscall(SYS_pwrite64, number, bytes, size, offset);
    return write_simulated(descriptor, number, bytes, size, offset);
}
EXPORT ssize_t pwrite(int number, const void *bytes, size_t size, off_t offset) {
    return pwrite64(number, bytes, size, offset);
}

EXPORT ssize_t write(int number, const void *bytes, size_t size) {
    struct descriptor *descriptor = simulated(number);
    if (!descriptor || size == 0) return syscall(SYS_write, number, bytes, size);
    off_t offset = syscall(SYS_lseek, number, 0, SEEK_CUR);
    ssize_t count = write_simulated(descriptor, number, bytes, size, offset);
    if (count > 0) syscall(SYS_lseek, number, offset + count, SEEK_SET);
    return count;
}

EXPORT ssize_t copy_file_range(int from, off64_t *from_offset, int number, off64_t *offset, size_t size, unsigned flags) {
    struct descriptor *descriptor = simulated(number);
    if (!descriptor) return syscall(SYS_copy_file_range, from, from_offset, number, offset, size, flags);
    off_t start = offset ? *offset : syscall(SYS_lseek, number, 0, SEEK_CUR);
    if (begin_step("copy", descriptor->kind, start, size)) crash();
    if (is_without_room(descriptor->class)) { errno = ENOSPC; return -1; }
    if (is_refused(descriptor->class)) { errno = EIO; return -1; }
    ssize_t count = syscall(SYS_copy_file_range, from, from_offset, number, offset, size, flags);
    if (count <= 0) return count;
    if (start < descriptor->file->dirty_from) descriptor->file->dirty_from = start;
    if (start + count > descriptor->file->dirty_to) descriptor->file->dirty_to = start + count;
    return count;
}

// MARK: Reading

static int is_read_refused(uint32_t class) {
    if (is_calm || !(plan.read_classes & class) || plan.read_error_one_in == 0) return 0;
    if (simulation_random(plan.read_error_one_in) != 0) return 0;
    report->is_faulty = 1;
    return 1;
}

// What the cache holds is proved when it is read, and comes from the store again: that is no fault that anybody sees.
static void flip_bit(struct descriptor *descriptor, unsigned char *bytes, ssize_t count) {
    if (is_calm || count <= 0 || !(plan.read_classes & descriptor->class) || plan.flip_one_in == 0) return;
    if (simulation_random(plan.flip_one_in) != 0) return;
    bytes[simulation_random((uint64_t)count)] ^= 1 << simulation_random(8);
    report->flips++;
    if (descriptor->class != SIMULATION_CACHE) report->is_faulty = 1;
}

EXPORT ssize_t pread64(int number, void *bytes, size_t size, off_t offset) {
    struct descriptor *descriptor = simulated_source(number);
    if (descriptor && is_read_refused(descriptor->class)) { errno = EIO; return -1; }
    ssize_t count = syscall(SYS_pread64, number, bytes, size, offset);
    if (descriptor) flip_bit(descriptor, bytes, count);
    return count;
}
EXPORT ssize_t pread(int number, void *bytes, size_t size, off_t offset) { return pread64(number, bytes, size, offset); }

EXPORT ssize_t read(int number, void *bytes, size_t size) {
    struct descriptor *descriptor = simulated_source(number);
    if (descriptor && is_read_refused(descriptor->class)) { errno = EIO; return -1; }
    ssize_t count = syscall(SYS_read, number, bytes, size);
    if (descriptor) flip_bit(descriptor, bytes, count);
    return count;
}

int simulation_flip(const char *path) {
    struct stat status;
    if (syscall(SYS_newfstatat, AT_FDCWD, path, &status, 0) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0) return 0;
    off_t place = (off_t)simulation_random((uint64_t)status.st_size);
    unsigned char byte;
    int number = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (number < 0) return 0;
    int is_there = syscall(SYS_pread64, number, &byte, 1, place) == 1;
    byte ^= 1 << simulation_random(8);
    if (is_there) syscall(SYS_pwrite64, number, &byte, 1, place);
    syscall(SYS_close, number);
    report->flips += is_there;
    return is_there;
}

EXPORT int ftruncate64(int number, off_t size) {
    struct descriptor *descriptor = simulated(number);
    if (descriptor) {
        if (begin_step("truncate", descriptor->kind, size, 0)) crash();
        if (is_refused(descriptor->class)) { errno = EIO; return -1; }
        struct file *file = descriptor->file;
        if (size < file->dirty_from) file->dirty_from = size;
        file->dirty_to = INT64_MAX;
        file->reserved = size;
    }
    return (int)syscall(SYS_ftruncate, number, size);
}
EXPORT int ftruncate(int number, off_t size) { return ftruncate64(number, size); }

EXPORT int fallocate64(int number, int mode, off_t offset, off_t size) {
    struct descriptor *descriptor = simulated(number);
    if (!descriptor) return (int)syscall(SYS_fallocate, number, mode, offset, size);
    if (begin_step("set aside", descriptor->kind, offset, (size_t)size)) crash();
    if (is_without_room(descriptor->class)) { errno = ENOSPC; return -1; }
    // Remembered, and not done: memory has no need of it.
    descriptor->file->reserved = offset + size;
    return 0;
}
EXPORT int fallocate(int number, int mode, off_t offset, off_t size) { return fallocate64(number, mode, offset, size); }

static int synchronize(int number) {
    struct descriptor *descriptor = simulated(number);
    if (!descriptor) return 0;
    int is_last = begin_step("sync", descriptor->kind, 0, 0);
    if (is_last) crash();
    if (is_refused(descriptor->class)) { errno = EIO; return -1; }
    // A disk takes its time, and others run meanwhile. What they write need not be part of it, and may.
    int64_t time = 50000 + (int64_t)simulation_random(5000000);
    int is_late = simulation_random(2) == 0;
    if (is_late) simulation_sleep(time);
    if (descriptor->is_directory) make_names_durable(number); else make_durable(number, descriptor->file);
    if (!is_late) simulation_sleep(time);
    return 0;
}
EXPORT int fsync(int number) { return synchronize(number); }
EXPORT int fdatasync(int number) { return synchronize(number); }

// MARK: Names

static int begin_name(const char *verb, const char *path, int is_directory) {
    const char *name = below(path);
    if (!name) return 0;
    if (begin_step(verb, kind_of(name, is_directory), 0, 0)) crash();
    uint32_t class = class_of(name);
    if (is_refused(class)) { errno = EIO; return -1; }
    return 0;
}

EXPORT int rename(const char *old, const char *new) {
    if (begin_name("rename", old, 0) != 0) return -1;
    return (int)syscall(SYS_renameat2, AT_FDCWD, old, AT_FDCWD, new, 0);
}

EXPORT int link(const char *old, const char *new) {
    if (begin_name("link", new, 0) != 0) return -1;
    return (int)syscall(SYS_linkat, AT_FDCWD, old, AT_FDCWD, new, 0);
}

EXPORT int unlink(const char *path) {
    if (below(path) && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0 && begin_name("unlink", path, 0) != 0) return -1;
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

EXPORT int mkdir(const char *path, mode_t mode) {
    if (below(path) && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0 && begin_name("mkdir", path, 1) != 0) return -1;
    return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

EXPORT int renameat(int from, const char *old, int to, const char *new) {
    char whole[PATH_MAX];
    if (begin_name("rename", path_at(from, old, whole, sizeof whole), 0) != 0) return -1;
    return (int)syscall(SYS_renameat2, from, old, to, new, 0);
}

EXPORT int unlinkat(int directory, const char *path, int flags) {
    char whole[PATH_MAX];
    const char *place = path_at(directory, path, whole, sizeof whole);
    if (below(place) && syscall(SYS_faccessat, directory, path, F_OK) == 0
        && begin_name(flags & AT_REMOVEDIR ? "rmdir" : "unlink", place, flags & AT_REMOVEDIR) != 0)
        return -1;
    return (int)syscall(SYS_unlinkat, directory, path, flags);
}

EXPORT int mkdirat(int directory, const char *path, mode_t mode) {
    char whole[PATH_MAX];
    const char *place = path_at(directory, path, whole, sizeof whole);
    if (below(place) && syscall(SYS_faccessat, directory, path, F_OK) != 0 && begin_name("mkdir", place, 1) != 0) return -1;
    return (int)syscall(SYS_mkdirat, directory, path, mode);
}
