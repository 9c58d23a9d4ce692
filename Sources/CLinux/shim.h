#pragma once
// What Glibc's Swift module leaves out: GNU extensions (declared only with _GNU_SOURCE), variadic
// functions, and macros with arguments.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

// <sched.h>, only with _GNU_SOURCE.
int setns(int fd, int nstype);
int unshare(int flags);
int setresuid(uid_t real, uid_t effective, uid_t saved);
int setresgid(gid_t real, gid_t effective, gid_t saved);
int pipe2(int pipefd[2], int flags);
int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
int dup3(int from, int to, int flags);
int memfd_create(const char *name, unsigned int flags);
int syncfs(int fd);
// The device of what a path leads to, as mountinfo writes it. Asks no file system: one whose server hangs answers all the same
// (statx(2) with an empty mask; what FUSE knows without asking).
static inline int berth_device_of(const char *path, unsigned int *major, unsigned int *minor) {
    unsigned char buffer[256] = {0};
    if (syscall(SYS_statx, AT_FDCWD, path, 0x800 /* AT_NO_AUTOMOUNT */ | 0x4000 /* AT_STATX_DONT_SYNC */, 0, buffer) != 0) {
        return -1;
    }
    // stx_dev_major and stx_dev_minor of <linux/stat.h>, which does not go with <sys/stat.h>.
    memcpy(major, buffer + 136, sizeof *major);
    memcpy(minor, buffer + 140, sizeof *minor);
    return 0;
}
int posix_spawn_file_actions_addchdir_np(posix_spawn_file_actions_t *actions, const char *path);
int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int lowest);
int fallocate(int fd, int mode, off_t offset, off_t len);
ssize_t copy_file_range(int in, off_t *inOffset, int out, off_t *outOffset, size_t len, unsigned int flags);

enum {
    BERTH_CLONE_NEWUSER = 0x10000000,
    BERTH_CLONE_NEWNS = 0x00020000,
    BERTH_POSIX_SPAWN_SETSID = 0x80,
    BERTH_O_PATH = 010000000,
    BERTH_O_NOATIME = 01000000,
    BERTH_FALLOC_FL_KEEP_SIZE = 0x01,
    BERTH_FALLOC_FL_PUNCH_HOLE = 0x02,
    BERTH_FALLOC_FL_ZERO_RANGE = 0x10,
    BERTH_SEEK_DATA = 3,
    BERTH_SEEK_HOLE = 4,
    BERTH_RESOLVE_NO_MAGICLINKS = 0x02,
    BERTH_RESOLVE_NO_SYMLINKS = 0x04,
    BERTH_RESOLVE_BENEATH = 0x08,
    BERTH_RENAME_NOREPLACE = 1,
    BERTH_RENAME_EXCHANGE = 2,
};

static inline int berth_renameat2(int from, const char *a, int to, const char *b, unsigned int flags) {
    return (int)syscall(SYS_renameat2, from, a, to, b, flags);
}
static inline int berth_pivot_root(const char *root, const char *old) {
    return (int)syscall(SYS_pivot_root, root, old);
}
// FICLONE of <linux/fs.h>: the target shares the source's blocks.
static inline int berth_clone_file(int target, int source) { return ioctl(target, 0x40049409, source); }
static inline int berth_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }
static inline int berth_pidfd_getfd(int pidfd, int number) { return (int)syscall(SYS_pidfd_getfd, pidfd, number, 0); }
// openat2 of <linux/openat2.h>, Linux 5.6; the number is every architecture's.
struct berth_open_how { uint64_t flags, mode, resolve; };
static inline int berth_openat2(int directory, const char *path, int flags, uint64_t resolve) {
    struct berth_open_how how = { (uint64_t)(unsigned int)flags, 0, resolve };
    return (int)syscall(437, directory, path, &how, sizeof how);
}
static inline int berth_gettid(void) { return (int)syscall(SYS_gettid); }
static inline int berth_prctl(int option, unsigned long argument) { return prctl(option, argument, 0, 0, 0); }

// openat is variadic; the others are here so that a simulated disk sees them as it sees `open`.
static inline int berth_open_at(int directory, const char *name, int flags, mode_t mode) {
    return openat(directory, name, flags, mode);
}
static inline int berth_make_directory_at(int directory, const char *name, mode_t mode) {
    return mkdirat(directory, name, mode);
}
static inline int berth_unlink_at(int directory, const char *name, int flags) {
    return unlinkat(directory, name, flags);
}
static inline int berth_rename_at(int from, const char *a, int to, const char *b) { return renameat(from, a, to, b); }

// Landlock, of which <linux/landlock.h> of many systems knows the first versions only. A kernel takes structures that are
// longer than its own where the rest is zero. The numbers are the same on every architecture.
struct berth_landlock_ruleset { uint64_t files, network, scopes; };
struct berth_landlock_path { uint64_t allowed; int32_t directory; } __attribute__((packed));
// The kernel's version of Landlock; -1 where it has none.
static inline int berth_landlock_version(void) { return (int)syscall(444, (void *)0, 0, 1); }
static inline int berth_landlock_create(uint64_t files, uint64_t network, uint64_t scopes) {
    struct berth_landlock_ruleset ruleset = { files, network, scopes };
    return (int)syscall(444, &ruleset, sizeof ruleset, 0);
}
static inline int berth_landlock_allow(int ruleset, int directory, uint64_t allowed) {
    struct berth_landlock_path rule = { allowed, directory };
    return (int)syscall(445, ruleset, 1 /* LANDLOCK_RULE_PATH_BENEATH */, &rule, 0);
}
static inline int berth_landlock_enter(int ruleset) { return (int)syscall(446, ruleset, 0); }

// A global variable is not safe to name in Swift 6; read once, at a composition root.
extern char **environ;
static inline char **berth_environment(void) { return environ; }

// Macros with arguments.
static inline int berth_exited(int status) { return WIFEXITED(status); }
static inline int berth_exit_code(int status) { return WEXITSTATUS(status); }
static inline int berth_signal(int status) { return WIFSIGNALED(status) ? WTERMSIG(status) : 0; }

// ioctl, fcntl and open with an argument are variadic.
static inline int berth_set_nonblocking(int fd, int on) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) return -1;
    return fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}
// The flags of an event descriptor are an enum in Glibc's headers.
static inline int berth_event_descriptor(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }
static inline int berth_event_raise(int fd) { return eventfd_write(fd, 1); }
// So are those of a signal descriptor; the signals must be blocked.
static inline int berth_signal_descriptor(const sigset_t *signals) { return signalfd(-1, signals, SFD_CLOEXEC); }
static inline int berth_memory_descriptor(const char *name) { return memfd_create(name, 1 /* MFD_CLOEXEC */); }

// A word of memory that another process reads after this one has died: the compiler must keep the order of stores.
static inline void berth_store(void *address, uint64_t value) {
    __atomic_store_n((uint64_t *)address, value, __ATOMIC_RELEASE);
}
static inline uint64_t berth_load(const void *address) {
    return __atomic_load_n((const uint64_t *)address, __ATOMIC_ACQUIRE);
}
// preadv2 needs _GNU_SOURCE. Reads only what is in memory; fewer bytes, or -1, where the disk is needed or the file
// system cannot tell.
ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags);
static inline ssize_t berth_read_cached(int fd, void *bytes, size_t length, off_t offset) {
    struct iovec part = { bytes, length };
    return preadv2(fd, &part, 1, offset, 0x8 /* RWF_NOWAIT */);
}
static inline int berth_duplicate_from(int fd, int lowest) { return fcntl(fd, F_DUPFD_CLOEXEC, lowest); }

// sockaddr_un is a C array in a struct; -1 with ENAMETOOLONG where the path does not fit.
static inline int berth_unix_address(const char *path, struct sockaddr_un *address) {
    __builtin_memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (__builtin_strlen(path) >= sizeof address->sun_path) { errno = ENAMETOOLONG; return -1; }
    __builtin_strcpy(address->sun_path, path);
    return 0;
}
static inline int berth_bind_unix(int fd, const char *path) {
    struct sockaddr_un address;
    if (berth_unix_address(path, &address) != 0) return -1;
    return bind(fd, (struct sockaddr *)&address, sizeof address);
}
// The path at which an inherited socket listens; -1 where it does not, or has none.
static inline int berth_unix_name(int fd, char *path, int size) {
    struct sockaddr_un address;
    socklen_t length = sizeof address, flag = sizeof(int);
    int listens = 0;
    __builtin_memset(&address, 0, sizeof address);
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &flag) != 0 || !listens) return -1;
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0 || address.sun_family != AF_UNIX) return -1;
    int count = (int)strnlen(address.sun_path, sizeof address.sun_path);
    if (count >= size) return -1;
    __builtin_memcpy(path, address.sun_path, (unsigned long)count);
    path[count] = 0;
    return 0;
}
static inline int berth_connect_unix(int fd, const char *path) {
    struct sockaddr_un address;
    if (berth_unix_address(path, &address) != 0) return -1;
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}
// SOCK_* are an enum in Glibc's headers, which Swift imports as a type of their own.
static inline int berth_unix_stream(void) { return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); }
static inline int berth_unix_pair(int pair[2]) { return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair); }
static inline int berth_accept(int fd) { return accept4(fd, 0, 0, SOCK_CLOEXEC); }

// struct ucred needs _GNU_SOURCE.
struct berth_peer { int pid; unsigned int uid; unsigned int gid; };
static inline int berth_peer_credentials(int fd, struct berth_peer *peer) {
    socklen_t length = sizeof *peer;
    return getsockopt(fd, SOL_SOCKET, 17 /* SO_PEERCRED */, peer, &length);
}

// CMSG_* are macros. Sends `length` bytes and, when `passed` is not -1, one descriptor with the first byte.
static inline ssize_t berth_send_with_fd(int socket, const void *bytes, size_t length, int passed) {
    struct iovec part = { (void *)bytes, length };
    union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control;
    struct msghdr message;
    __builtin_memset(&message, 0, sizeof message);
    __builtin_memset(&control, 0, sizeof control);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (passed != -1) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        __builtin_memcpy(CMSG_DATA(header), &passed, sizeof passed);
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL);
}

// Receives bytes and at most one descriptor (close-on-exec), -1 in `passed` when none came. Descriptors
// past the first are closed, so that a hostile peer cannot fill our table.
static inline ssize_t berth_receive_with_fd(int socket, void *bytes, size_t length, int *passed) {
    struct iovec part = { bytes, length };
    union { char bytes[CMSG_SPACE(sizeof(int) * 8)]; struct cmsghdr align; } control;
    struct msghdr message;
    __builtin_memset(&message, 0, sizeof message);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    *passed = -1;
    ssize_t received = recvmsg(socket, &message, 0x40000000 /* MSG_CMSG_CLOEXEC */);
    if (received < 0) return received;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            __builtin_memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
            if (*passed == -1) *passed = fd; else close(fd);
        }
    }
    return received;
}

// The number of a file's file system (linux/magic.h), or -1: Glibc's module has no statfs.
static inline long berth_file_system_type(int fd) {
    struct statfs status;
    return fstatfs(fd, &status) == 0 ? (long)status.f_type : -1;
}

// Gives what is larger than a request back to the system when it is freed. By itself glibc raises the limit to the
// largest block that was ever freed, a pack's, and each thread's heap then keeps such blocks for good.
static inline void berth_return_large_blocks(void) {
    mallopt(M_MMAP_THRESHOLD, 2 << 20);
    mallopt(M_TRIM_THRESHOLD, 8 << 20);
}
