// Writes to a file past the page cache while others read it through the page cache, and counts rounds in which what was
// written is not what is read once the write is over.
//
//   stale-pages MODE FILE ROUNDS READERS
//
// MODE: aio (io_submit on an O_DIRECT handle of a file that is there), aio-new (on one that was just made with O_WRONLY),
// sync (pwrite with O_DIRECT), sync-new, new (plain writes to a file that was just made with O_WRONLY: Berth writes such a
// file past the page cache), map-new (as new, and what is mapped is compared), grow-new (as new, by appending a few bytes).
// READERS threads read the whole file all the time. Prints "ROUNDS rounds, S stale, F for ever": stale when the write was
// over, and still so after 20 ms. Status 1 where there was any.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { block = 4096, blocks = 32, size = block * blocks, parts = 4 };

static const char *path;
static volatile int over;

static void require(int condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(2);
}

static void *readAlways(void *ignored) {
    static __thread char bytes[size];
    while (!over) {
        int file = open(path, O_RDONLY);
        if (file < 0) continue;
        for (int i = 0; i < 8 && !over; i++) {
            ssize_t count = pread(file, bytes, size, 0);
            (void)count;
        }
        close(file);
    }
    return ignored;
}

// Appends until the file has all its blocks. Answers how often it was not read as written, and how often so 20 ms later.
static int grow(int file, int reader, unsigned char value, int *forever) {
    static char bytes[size], seen[size];
    memset(bytes, value, size);
    int stale = 0;
    for (int at = 0, step; at < size; at += step) {
        step = 1 + rand() % 3000;
        if (step > size - at) step = size - at;
        require(pwrite(file, bytes, (size_t)step, at) == step, "pwrite");
        for (int again = 0; again < 2; again++) {
            ssize_t count = pread(reader, seen, size, 0);
            if (count == at + step && !memcmp(seen, bytes, (size_t)count)) break;
            if (again) ++*forever;
            else stale++, usleep(20000);
        }
    }
    return stale;
}

// Blocks that do not hold `value` from end to end, as read through the page cache, or mapped.
static int wrong(int file, const char *mapped, unsigned char value) {
    static char bytes[size];
    int count = 0;
    if (!mapped) require(pread(file, bytes, size, 0) == size, "pread");
    const char *seen = mapped ? mapped : bytes;
    for (int i = 0; i < blocks; i++) {
        const volatile char *start = seen + i * block;
        if ((unsigned char)start[0] != value || (unsigned char)start[block - 1] != value) count++;
    }
    return count;
}

static void submit(aio_context_t context, int file, char *bytes) {
    struct iocb orders[parts], *list[parts];
    struct io_event events[parts];
    memset(orders, 0, sizeof orders);
    for (int i = 0; i < parts; i++) {
        orders[i].aio_lio_opcode = IOCB_CMD_PWRITE;
        orders[i].aio_fildes = (uint32_t)file;
        orders[i].aio_buf = (uint64_t)(uintptr_t)(bytes + i * (size / parts));
        orders[i].aio_nbytes = size / parts;
        orders[i].aio_offset = i * (size / parts);
        list[i] = &orders[i];
    }
    require(syscall(SYS_io_submit, context, parts, list) == parts, "io_submit");
    require(syscall(SYS_io_getevents, context, parts, parts, events, NULL) == parts, "io_getevents");
    for (int i = 0; i < parts; i++) require(events[i].res == size / parts, "an asynchronous write");
}

int main(int count, char **words) {
    if (count != 5) return 2;
    const char *mode = words[1];
    path = words[2];
    int rounds = atoi(words[3]), readers = atoi(words[4]), stale = 0, forever = 0;
    int isAsynchronous = !strncmp(mode, "aio", 3), isNew = strstr(mode, "new") != NULL, isMapped = !strncmp(mode, "map", 3);
    int grows = !strncmp(mode, "grow", 4);
    int direct = isAsynchronous || !strncmp(mode, "sync", 4) ? O_DIRECT : 0;
    char *bytes = aligned_alloc(block, size);
    aio_context_t context = 0;
    require(syscall(SYS_io_setup, 64, &context) == 0, "io_setup");
    pthread_t threads[64];
    for (int i = 0; i < readers && i < 64; i++) pthread_create(&threads[i], NULL, readAlways, NULL);
    int file = -1, reader = -1;
    char *mapped = NULL;
    for (int round = 1; round <= rounds; round++) {
        unsigned char value = (unsigned char)(round % 255 + 1);
        memset(bytes, value, size);
        int isFirst = file < 0 || (isNew && (grows || round % 10 == 1));
        if (isFirst) {
            if (mapped) munmap(mapped, size);
            if (file >= 0) close(file), close(reader);
            unlink(path);
            file = open(path, (isNew ? O_WRONLY | direct : O_RDWR) | O_CREAT | O_EXCL, 0600);
            require(file >= 0, path);
            require(grows || ftruncate(file, size) == 0, "ftruncate");
            if (!isNew && direct) close(file), file = open(path, O_RDWR | O_DIRECT);
            reader = open(path, O_RDONLY);
            require(file >= 0 && reader >= 0, path);
            mapped = isMapped ? mmap(NULL, size, PROT_READ, MAP_SHARED, reader, 0) : NULL;
            require(mapped != MAP_FAILED, "mmap");
        }
        if (grows) {
            stale += grow(file, reader, value, &forever);
            continue;
        }
        if (isAsynchronous) submit(context, file, bytes);
        else if (direct) require(pwrite(file, bytes, size, 0) == size, "pwrite");
        else
            for (int at = 0; at < size; at += size / parts) require(pwrite(file, bytes + at, size / parts, at) == size / parts, "pwrite");
        if (!wrong(reader, mapped, value)) continue;
        stale++;
        usleep(20000);
        if (wrong(reader, mapped, value)) forever++;
    }
    over = 1;
    for (int i = 0; i < readers && i < 64; i++) pthread_join(threads[i], NULL);
    printf("%d rounds, %d stale, %d for ever\n", rounds, stale, forever);
    return stale > 0;
}
