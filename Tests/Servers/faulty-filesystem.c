// A file system that shows a directory and fails on command: what a disk that breaks, fills up or turns read-only does.
//
//   faulty-filesystem DIRECTORY CONTROL MOUNTPOINT
//
// A file CONTROL/read, write, sync or names holds an errno and perhaps a word: operations of that kind answer it while the
// file is there, on paths that hold the word.
// names: making, removing and renaming. CONTROL/forget makes the kernel forget all it has read, once, and is removed then.
#define FUSE_USE_VERSION 314
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const char *root, *control;
static struct fuse *running;
enum { knownLimit = 4096 };
static char *known[knownLimit];
static int knownCount;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

// The errno that is asked for, negative, or 0.
static int fault(const char *kind, const char *target) {
    char path[4096], text[64] = "", word[64] = "";
    int number = 0;
    snprintf(path, sizeof path, "%s/%s", control, kind);
    int file = open(path, O_RDONLY);
    if (file < 0) return 0;
    ssize_t count = read(file, text, sizeof text - 1);
    close(file);
    if (count <= 0 || sscanf(text, "%d %63s", &number, word) < 1) return 0;
    return strstr(target, word) ? -number : 0;
}

#define FULL(name, path) \
    char name[4096]; \
    snprintf(name, sizeof name, "%s%s", root, path)
#define ANSWER(call) return (call) < 0 ? -errno : 0
#define UNLESS(kind) \
    int refused = fault(kind, path); \
    if (refused) return refused

static void note(const char *path) {
    pthread_mutex_lock(&lock);
    int i = 0;
    while (i < knownCount && strcmp(known[i], path)) i++;
    if (i == knownCount && knownCount < knownLimit) known[knownCount++] = strdup(path);
    pthread_mutex_unlock(&lock);
}

static void *forget(void *ignored) {
    char path[4096];
    snprintf(path, sizeof path, "%s/forget", control);
    for (;; usleep(20000)) {
        if (access(path, F_OK)) continue;
        pthread_mutex_lock(&lock);
        int count = knownCount;
        pthread_mutex_unlock(&lock);
        for (int i = 0; i < count; i++) fuse_invalidate_path(running, known[i]);
        unlink(path);
    }
    return ignored;
}

static void *start(struct fuse_conn_info *connection, struct fuse_config *configuration) {
    (void)connection;
    configuration->use_ino = 1;
    configuration->kernel_cache = 1;
    configuration->nullpath_ok = 0;
    running = fuse_get_context()->fuse;
    pthread_t thread;
    pthread_create(&thread, NULL, forget, NULL);
    return NULL;
}

static int getattr_(const char *path, struct stat *status, struct fuse_file_info *file) {
    if (file) ANSWER(fstat((int)file->fh, status));
    FULL(name, path);
    ANSWER(lstat(name, status));
}
static int readdir_(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *file,
                    enum fuse_readdir_flags flags) {
    (void)offset, (void)file, (void)flags;
    FULL(name, path);
    DIR *directory = opendir(name);
    if (!directory) return -errno;
    for (struct dirent *entry; (entry = readdir(directory));) fill(buffer, entry->d_name, NULL, 0, 0);
    closedir(directory);
    return 0;
}
static int open_(const char *path, struct fuse_file_info *file) {
    FULL(name, path);
    int writes = (file->flags & O_ACCMODE) != O_RDONLY;
    // As of a file system that is mounted read-only.
    if (writes && fault("write", path) == -EROFS) return -EROFS;
    int number = open(name, file->flags & ~(O_APPEND | O_NOFOLLOW));
    if (number < 0) return -errno;
    file->fh = (uint64_t)number;
    note(path);
    return 0;
}
static int create_(const char *path, mode_t mode, struct fuse_file_info *file) {
    UNLESS("names");
    FULL(name, path);
    int number = open(name, file->flags & ~(O_APPEND | O_NOFOLLOW), mode);
    if (number < 0) return -errno;
    file->fh = (uint64_t)number;
    note(path);
    return 0;
}
static int read_(const char *path, char *bytes, size_t count, off_t offset, struct fuse_file_info *file) {
    UNLESS("read");
    ssize_t done = pread((int)file->fh, bytes, count, offset);
    return done < 0 ? -errno : (int)done;
}
static int write_(const char *path, const char *bytes, size_t count, off_t offset, struct fuse_file_info *file) {
    UNLESS("write");
    ssize_t done = pwrite((int)file->fh, bytes, count, offset);
    return done < 0 ? -errno : (int)done;
}
static int fsync_(const char *path, int dataOnly, struct fuse_file_info *file) {
    (void)dataOnly;
    UNLESS("sync");
    ANSWER(fsync((int)file->fh));
}
static int fsyncdir_(const char *path, int dataOnly, struct fuse_file_info *file) {
    (void)dataOnly, (void)file;
    return fault("sync", path);
}
static int release_(const char *path, struct fuse_file_info *file) {
    (void)path;
    close((int)file->fh);
    return 0;
}
static int truncate_(const char *path, off_t size, struct fuse_file_info *file) {
    UNLESS("write");
    if (file) ANSWER(ftruncate((int)file->fh, size));
    FULL(name, path);
    ANSWER(truncate(name, size));
}
static int fallocate_(const char *path, int mode, off_t offset, off_t count, struct fuse_file_info *file) {
    UNLESS("write");
    ANSWER(fallocate((int)file->fh, mode, offset, count));
}
static int unlink_(const char *path) {
    UNLESS("names");
    FULL(name, path);
    ANSWER(unlink(name));
}
static int mkdir_(const char *path, mode_t mode) {
    UNLESS("names");
    FULL(name, path);
    ANSWER(mkdir(name, mode));
}
static int rmdir_(const char *path) {
    UNLESS("names");
    FULL(name, path);
    ANSWER(rmdir(name));
}
static int rename_(const char *from, const char *to, unsigned flags) {
    const char *path = from;
    UNLESS("names");
    FULL(old, from);
    FULL(new, to);
    ANSWER(renameat2(AT_FDCWD, old, AT_FDCWD, new, flags));
}
static int link_(const char *from, const char *to) {
    const char *path = from;
    UNLESS("names");
    FULL(old, from);
    FULL(new, to);
    ANSWER(link(old, new));
}
static int symlink_(const char *target, const char *path) {
    UNLESS("names");
    FULL(name, path);
    ANSWER(symlink(target, name));
}
static int readlink_(const char *path, char *target, size_t size) {
    FULL(name, path);
    ssize_t count = readlink(name, target, size - 1);
    if (count < 0) return -errno;
    target[count] = 0;
    return 0;
}
static int chmod_(const char *path, mode_t mode, struct fuse_file_info *file) {
    (void)file;
    UNLESS("names");
    FULL(name, path);
    ANSWER(chmod(name, mode));
}
static int utimens_(const char *path, const struct timespec times[2], struct fuse_file_info *file) {
    (void)file;
    FULL(name, path);
    ANSWER(utimensat(AT_FDCWD, name, times, AT_SYMLINK_NOFOLLOW));
}
static int statfs_(const char *path, struct statvfs *status) {
    FULL(name, path);
    ANSWER(statvfs(name, status));
}

int main(int count, char **words) {
    if (count != 4) return fprintf(stderr, "usage: %s DIRECTORY CONTROL MOUNTPOINT\n", words[0]), 64;
    root = words[1];
    control = words[2];
    struct fuse_operations operations = {
        .init = start, .getattr = getattr_, .readdir = readdir_, .open = open_, .create = create_, .read = read_,
        .write = write_, .fsync = fsync_, .fsyncdir = fsyncdir_, .release = release_, .truncate = truncate_,
        .fallocate = fallocate_, .unlink = unlink_, .mkdir = mkdir_, .rmdir = rmdir_, .rename = rename_, .link = link_,
        .symlink = symlink_, .readlink = readlink_, .chmod = chmod_, .utimens = utimens_, .statfs = statfs_,
    };
    char *arguments[] = {words[0], "-ofsname=berth-test", words[3], NULL};
    return fuse_main(3, arguments, &operations, NULL);
}
