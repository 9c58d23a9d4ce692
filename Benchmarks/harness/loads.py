"""The loads of the load program, in the order in which each leaves what the next one needs."""

import json
from dataclasses import dataclass, field

from . import machine
from .machine import Failure


@dataclass
class Sample:
    """One measured load. `value` is operations or megabytes per second, or a plain number with its unit."""

    system: str
    round: int
    load: str
    clients: int
    value: float
    unit: str
    detail: dict = field(default_factory=dict)


@dataclass
class Sizes:
    """How much each load does."""

    files: int = 20_000
    sequential: int = 512 << 20
    random: int = 1 << 30
    operations: int = 20_000
    tree: int = 20_000
    repository_files: int = 3_000
    repository_commits: int = 200

    @classmethod
    def quick(cls):
        return cls(2_000, 64 << 20, 128 << 20, 2_000, 2_000, 300, 20)


SMALL = ["create", "stat_first", "stat_again", "read_warm", "read_cold", "read_cold_shuffled", "list_cold",
         "list_warm", "rename", "unlink"]
SEQUENTIAL = ["seqwrite", "seqread_cold", "seqread_warm"]
RANDOM = ["randread_cold", "randwrite"]
IN_MEGABYTES = set(SEQUENTIAL)


class Bench:
    """Runs loads on one system in one round and keeps what they took."""

    def __init__(self, site, system, number, sizes, wanted, say):
        self.site, self.system, self.number = site, system, number
        self.sizes, self.wanted, self.say = sizes, wanted, say
        self.samples = []

    def wants(self, *loads):
        return any(self.wanted(load) for load in loads)

    def add(self, load, clients, value, unit, **detail):
        self.samples.append(Sample(self.system.name, self.number, load, clients, value, unit, detail))
        self.say(f"  {load:<48}{clients:>2} clients  {value:>12,.1f} {unit}")

    def settle(self):
        return machine.settle(self.system.processes())

    def drop(self):
        """Empties the kernel's caches and lets the server digest what it was told to forget."""
        machine.drop_caches()
        self.settle()

    def program(self, load, directory, **flags):
        """Runs the load program and answers what it printed. It fails where a result is not what it must be."""
        command = [str(self.site.programs / "berth-load"), load, "--directory", str(directory)]
        for name, value in flags.items():
            if value is True:
                command.append(f"--{name}")
            elif value is not None and value is not False:
                command += [f"--{name}", str(value)]
        return json.loads(self.system.account.run(command, self.system.environment))

    def measure(self, label, load, directory, clients, **flags):
        """A load of the load program as one sample; what it left to do in the background is done after it."""
        result = self.program(load, directory, clients=clients, **flags)
        in_megabytes = label in IN_MEGABYTES
        seconds = self.settle()
        if self.wanted(label):
            self.add(label, clients, result["megabytes_per_second" if in_megabytes else "rate"],
                     "MB/s" if in_megabytes else "/s", operations=result["operations"], seconds=result["seconds"],
                     p50_us=result["p50_us"], p99_us=result["p99_us"], max_us=result["max_us"],
                     settle_seconds=round(seconds, 2))


def small_files(bench, clients):
    """Files of 4 KiB with names of 20 bytes, each client in directories of its own."""
    directory = bench.system.root / f"small{clients}"
    files = bench.sizes.files
    common = {"files": files, "seed": bench.number + 1}
    bench.measure("create", "create", directory, clients, **common)
    if bench.wants("stat_first", "stat_again"):
        bench.measure("stat_first", "stat", directory, clients, **common)
        bench.measure("stat_again", "stat", directory, clients, **common)
    if bench.wants("read_warm"):
        # Unmeasured: whatever did not stay in the page cache after the write is there after this.
        bench.program("read", directory, clients=clients, **common)
        bench.measure("read_warm", "read", directory, clients, **common)
    verify_files(bench, directory, clients, common)
    for label, shuffled in (("read_cold", False), ("read_cold_shuffled", True)):
        if bench.wants(label):
            bench.drop()
            bench.measure(label, "read", directory, clients, shuffled=shuffled, **common)
    if bench.wants("list_cold", "list_warm"):
        bench.drop()
        bench.measure("list_cold", "list", directory, clients, **common)
        bench.measure("list_warm", "list", directory, clients, **common)
    prefix = "lig"
    if bench.wants("rename"):
        bench.measure("rename", "rename", directory, clients, **common)
        prefix = "ren"
        bench.drop()
        verify_files(bench, directory, clients, dict(common, prefix=prefix))
    bench.measure("unlink", "unlink", directory, clients, prefix=prefix, **common)
    left = bench.system.account.run(["find", str(directory), "-type", "f"], bench.system.environment).count("\n")
    if left:
        raise Failure(f"{bench.system.name}: {left} files are still there after unlink")


def verify_files(bench, directory, clients, common):
    """Every byte of a sample: at most 500 files."""
    stride = max(1, bench.sizes.files // 500)
    bench.program("verify", directory, clients=clients, stride=stride, **common)


def sequential(bench, clients):
    """Each client writes a file of its own in pieces of 1 MiB, and fsync; the sum of all sizes is fixed."""
    directory = bench.system.root / f"large{clients}"
    common = {"size": bench.sizes.sequential, "seed": bench.number + 1}
    bench.measure("seqwrite", "seqwrite", directory, clients, **common)
    if bench.wants("seqread_cold", "seqread_warm"):
        bench.drop()
        bench.measure("seqread_cold", "seqread", directory, clients, **common)
        bench.measure("seqread_warm", "seqread", directory, clients, **common)
    bench.program("verifyblocks", directory, clients=clients, stride=101, **common)
    remove(bench, directory)


def random_access(bench, all_clients):
    """4 KiB at random places in one file, which is made once for all counts of clients."""
    directory = bench.system.root / "random"
    common = {"size": bench.sizes.random, "seed": bench.number + 1}
    bench.program("seqwrite", directory, shared=True, **common)
    for clients in all_clients:
        flags = dict(common, operations=bench.sizes.operations)
        if bench.wants("randread_cold"):
            bench.drop()
            bench.measure("randread_cold", "randread", directory, clients, **flags)
        if bench.wants("randwrite"):
            bench.measure("randwrite", "randwrite", directory, clients, **flags)
    bench.drop()
    bench.program("verifyblocks", directory, shared=True, stride=17, **common)
    remove(bench, directory)


def remove(bench, directory):
    bench.system.account.run(["rm", "-rf", str(directory)], bench.system.environment)
    bench.settle()
