#!/usr/bin/env python3
"""Programs that use a mounted volume and trust every answer. Each wrong one is printed, and ends its program.

usage: steady-load.py DIRECTORY OUTSIDE UNTIL (ends when that file exists)
Prints one line a program: "NAME ok COUNT longest SECONDS", or "NAME FAILED ..." with what was wrong.
"""
import errno
import fcntl
import hashlib
import mmap
import os
import random
import struct
import sys
import time
import traceback


class Steps:
    """Counts a program's steps and keeps how long the longest took: the pause it saw."""

    def __init__(self, until):
        self.until = until
        self.count = 0
        self.longest = 0.0
        self.start = time.monotonic()

    def go_on(self):
        now = time.monotonic()
        self.longest = max(self.longest, now - self.start)
        self.start = now
        self.count += 1
        return not os.path.exists(self.until)


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def refused(number, call, *words, **options):
    try:
        call(*words, **options)
    except OSError as error:
        expect(error.errno == number, f"{call.__name__}{words}: {error}, not {errno.errorcode[number]}")
        return
    raise AssertionError(f"{call.__name__}{words} succeeded")


def appender(root, outside, steps, flags=0, sync=True):
    """Numbered records at the end of a file, each exactly once and in order; what was fsynced is noted outside."""
    name = os.path.join(root, f"append-{flags:x}")
    size = 100
    out = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | flags, 0o600)
    note = os.open(os.path.join(outside, f"synced-{flags:x}"), os.O_WRONLY | os.O_CREAT, 0o600)
    number = 0
    while steps.go_on():
        expect(os.write(out, b"%08d" % number + b"r" * (size - 9) + b"\n") == size, "a short write")
        number += 1
        if sync and number % 20 == 0:
            os.fsync(out)
        if not sync or number % 20 == 0:
            os.pwrite(note, b"%08d" % number, 0)
    expect(os.fstat(out).st_size == number * size, f"{os.fstat(out).st_size} bytes, not {number * size}")
    with open(name, "rb") as found:
        for index, line in enumerate(found):
            expect(line[:8] == b"%08d" % index, f"record {index} is {line[:8]!r}")


def synchronous(root, outside, steps):
    appender(root, outside, steps, flags=os.O_DSYNC, sync=False)


def holder(root, outside, steps):
    """A file held open, written and read at random places against what it must hold."""
    size = 3 << 20
    held = os.open(os.path.join(root, "held"), os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(held, size)
    model = bytearray(size)
    generator = random.Random(1)
    while steps.go_on():
        place, count = generator.randrange(size - 70000), generator.randrange(1, 70000)
        if generator.random() < 0.5:
            block = generator.randbytes(count)
            expect(os.pwrite(held, block, place) == count, "a short write")
            model[place:place + count] = block
        elif generator.random() < 0.1:
            os.posix_fadvise(held, 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            expect(os.pread(held, count, place) == bytes(model[place:place + count]), f"wrong bytes at {place}")
    os.posix_fadvise(held, 0, 0, os.POSIX_FADV_DONTNEED)
    expect(os.pread(held, size, 0) == bytes(model), "wrong bytes at the end")


def mapper(root, outside, steps):
    """A mapped file, dropped from memory and read again."""
    data = random.Random(2).randbytes(8 << 20)
    name = os.path.join(root, "mapped")
    with open(name, "wb") as out:
        out.write(data)
    sums = [hashlib.md5(data[start:start + 65536]).digest() for start in range(0, len(data), 65536)]
    source = os.open(name, os.O_RDONLY)
    shown = mmap.mmap(source, len(data), mmap.MAP_SHARED, mmap.PROT_READ)
    generator = random.Random(3)
    while steps.go_on():
        index = generator.randrange(len(sums))
        expect(hashlib.md5(shown[index * 65536:(index + 1) * 65536]).digest() == sums[index], f"block {index}")
        if generator.random() < 0.02:
            shown.madvise(mmap.MADV_DONTNEED)
            os.posix_fadvise(source, 0, 0, os.POSIX_FADV_DONTNEED)


def walker(root, outside, steps):
    """A tree that stays, listed again and again, while a file beside each comes and goes."""
    top = os.path.join(root, "tree")
    for directory in range(10):
        os.makedirs(os.path.join(top, f"d{directory}"))
        for number in range(60):
            with open(os.path.join(top, f"d{directory}", f"file-{number:03}"), "w") as out:
                out.write("x" * number)
    round = 0
    while steps.go_on():
        round += 1
        extra = os.path.join(top, f"d{round % 10}", f"extra-{round}")
        with open(extra, "x"):
            pass
        found = [(where, name) for where, _, names in os.walk(top) for name in names if name.startswith("file-")]
        expect(len(found) == len(set(found)) == 600, f"{len(found)} files, {len(set(found))} of them different")
        where, name = random.choice(found)
        expect(os.stat(os.path.join(where, name)).st_size == int(name[5:]), f"the size of {name}")
        os.unlink(extra)


def changer(root, outside, steps):
    """Names made and taken away, each answer checked, and what must be refused."""
    top = os.path.join(root, f"names-{os.getpid()}")
    os.mkdir(top)
    number = 0
    while steps.go_on():
        number += 1
        one, two = os.path.join(top, f"a{number}"), os.path.join(top, f"b{number}")
        os.mkdir(one, 0o700)
        refused(errno.EEXIST, os.mkdir, one)
        os.rename(one, two)
        refused(errno.ENOENT, os.rmdir, one)
        os.rmdir(two)
        file = os.open(one, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        expect(os.write(file, b"abc") == 3, "a short write")
        os.close(file)
        refused(errno.EEXIST, os.open, one, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.link(one, two)
        expect(os.stat(one).st_nlink == 2, f"{os.stat(one).st_nlink} names, not 2")
        os.setxattr(one, "user.k", b"v", os.XATTR_CREATE)
        refused(errno.EEXIST, os.setxattr, two, "user.k", b"w", os.XATTR_CREATE)
        os.removexattr(two, "user.k")
        os.unlink(one)
        os.symlink("target", one)
        expect(os.readlink(one) == "target", "another target")
        os.replace(two, one)
        os.truncate(one, number % 5000)
        expect(os.stat(one).st_size == number % 5000, "another size")
        os.chmod(one, 0o604)
        expect(os.stat(one).st_mode & 0o777 == 0o604, "another mode")
        if number % 5 == 0:
            os.unlink(one)
            refused(errno.ENOENT, os.unlink, one)
    left = sorted(os.listdir(top))
    expect(left == sorted(f"a{n}" for n in range(1, number + 1) if n % 5), f"{len(left)} names are left")


def nameless(root, outside, steps):
    """Files without a name: one held all the time, others for a while."""
    def make(text):
        name = os.path.join(root, f"nameless-{os.getpid()}")
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(file, text)
        os.unlink(name)
        return file

    old = make(b"old")
    while steps.go_on():
        fresh = make(b"fresh")
        temporary = os.open(root, os.O_TMPFILE | os.O_RDWR, 0o600)
        expect(os.pwrite(temporary, b"tmp", 0) == 3, "a short write")
        time.sleep(0.01)
        for file, text in ((old, b"old"), (fresh, b"fresh"), (temporary, b"tmp")):
            expect(os.fstat(file).st_nlink == 0, "it has a name")
            expect(os.pread(file, 100, 0)[:len(text)] == text, "other bytes")
        expect(os.pwrite(old, struct.pack("<q", steps.count), 3) == 8, "a short write")
        expect(os.pread(old, 8, 3) == struct.pack("<q", steps.count), "other bytes")
        os.close(fresh)
        os.close(temporary)


def counter(root, outside, steps):
    """A number that two programs raise under locks."""
    name = os.path.join(root, "counter")
    file = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
    while steps.go_on():
        (fcntl.flock if steps.count % 2 else fcntl.lockf)(file, fcntl.LOCK_EX)
        fcntl.lockf(file, fcntl.LOCK_EX)
        value = int(os.pread(file, 20, 0) or b"0")
        os.pwrite(file, b"%020d" % (value + 1), 0)
        fcntl.lockf(file, fcntl.LOCK_UN)
        fcntl.flock(file, fcntl.LOCK_UN)
    own = os.open(os.path.join(outside, f"counted-{os.getpid()}"), os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(own, b"%d" % steps.count)


PROGRAMS = [appender, synchronous, holder, mapper, walker, changer, changer, nameless, counter, counter]


def main():
    root, outside, until = sys.argv[1:4]
    children = []
    for program in PROGRAMS:
        child = os.fork()
        if child == 0:
            steps = Steps(until)
            try:
                program(root, outside, steps)
                line = f"{program.__name__} ok {steps.count} longest {steps.longest:.3f}\n"
            except BaseException:
                line = f"{program.__name__} FAILED at step {steps.count}: {traceback.format_exc()}\n"
            os.write(1, line.encode())
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    count = sum(
        int(open(os.path.join(outside, name)).read()) for name in os.listdir(outside) if name.startswith("counted-"))
    found = int(open(os.path.join(root, "counter")).read() or "0")
    # The last step of a program is the look that ends it.
    print(f"counter {'ok' if found == count - 2 else 'FAILED'} {found} of {count - 2}")


main()
