"""Requests that reach a FUSE server, counted by the kernel: the tracepoint fuse_request_send names the opcode of
every request as it is queued, whoever serves it. FORGET and INTERRUPT, which have no reply, are not traced."""

import os
import re
import subprocess
from pathlib import Path

from . import machine
from .machine import Failure

TRACING = Path("/sys/kernel/tracing")
EVENT = "events/fuse/fuse_request_send"
# The kernel does not wait for these on behalf of the program.
ASYNCHRONOUS = {"RELEASE", "RELEASEDIR"}
FILES = 1000


def unusable():
    """Why the kernel cannot count, or None."""
    if not (TRACING / "trace").exists():
        subprocess.run(["mount", "-t", "tracefs", "tracefs", str(TRACING)], check=False, capture_output=True)
    if not (TRACING / EVENT).exists():
        return "the kernel has no tracepoint fuse_request_send (Linux 6.10 and later have it)"
    return None


class RequestTrace:
    """Counts the requests of one mount while it is entered; `counts` holds opcode -> number afterwards."""

    def __init__(self, mountpoint):
        entry = machine.mount_entry(mountpoint)
        if entry is None:
            raise Failure(f"{mountpoint} is not mounted")
        # The tracepoint's connection is the minor number of the mount's device.
        self.connection = entry[2].split(":")[1]
        self.instance = TRACING / "instances" / f"berth-bench-{os.getpid()}"
        self.counts = {}

    def _write(self, name, text):
        (self.instance / name).write_text(text, encoding="ascii")

    def __enter__(self):
        self.instance.mkdir()
        try:
            self._write("buffer_size_kb", "16384")
            self._write(f"{EVENT}/filter", f"connection == {self.connection}")
            self._write(f"{EVENT}/enable", "1")
        except OSError as error:
            self.instance.rmdir()
            raise Failure(f"the tracepoint cannot be used: {error}") from None
        return self

    def __exit__(self, *_):
        self._write(f"{EVENT}/enable", "0")
        text = (self.instance / "trace").read_text(encoding="utf-8", errors="replace")
        self.instance.rmdir()
        for opcode in re.findall(r"\(FUSE_([A-Z0-9_]+)\)", text):
            self.counts[opcode] = self.counts.get(opcode, 0) + 1
        lost = re.search(r"entries-in-buffer/entries-written: (\d+)/(\d+)", text)
        if lost and lost.group(1) != lost.group(2):
            raise Failure("the trace buffer was too small for the requests")


def count(bench):
    """Adds, for each operation, one sample of requests per operation with the opcodes beside it."""
    directory = bench.system.root / "requests"
    common = {"files": FILES, "seed": 9}

    def trace(label, load, per=FILES, **flags):
        with RequestTrace(bench.system.mountpoint) as trace:
            bench.program(load, directory, **common, **flags)
            # Late requests, as RELEASE, belong to the operation.
            bench.settle()
        counts = {name: number / per for name, number in sorted(trace.counts.items()) if number / per >= 0.005}
        waited = sum(value for name, value in counts.items() if name not in ASYNCHRONOUS)
        text = " ".join(f"{name}={value:.2f}" for name, value in counts.items()) or "none"
        bench.add(label, 1, waited, "requests", asynchronous=sum(counts.values()) - waited, requests=text)

    trace("requests create+write+close", "create")
    trace("requests first stat", "stat")
    trace("requests repeated stat", "stat")
    bench.program("read", directory, **common)
    trace("requests open+read+close cached", "read")
    bench.drop()
    trace("requests open+read+close dropped", "read")
    bench.drop()
    trace("requests list of 100 dropped", "list", per=FILES / 100)
    trace("requests list of 100 cached", "list", per=FILES / 100)
    trace("requests rename", "rename")
    trace("requests unlink", "unlink", prefix="ren")
    bench.system.account.run(["rm", "-rf", str(directory)], bench.system.environment)
