"""The table of data in a bucket: Berth beside JuiceFS on one S3 server."""

import random
import shutil
import subprocess
import time

from . import bucket, loads, machine, report
from .loads import Bench, Sizes

DELAY_MILLISECONDS = 10
FILES = 10_000
FILE_BYTES = 4096
BARE_THREADS = (4, 8, 16)

# Title, load, what a value means: a ratio wants Berth so many times faster, a limit Berth below it.
RATIOS = [("cold read of all files", "cold read", 20), ("warm-up of the same", "warm-up", 20),
          ("1 GiB written through to the store", "write text", 1.2), ("1 GiB read, cache empty", "read text", 1.2),
          ("the same of bytes that do not compress, written", "write random", 1.2),
          ("the same of bytes that do not compress, read", "read random", 1.2)]
BARE_SHARE = 0.7


class Remote:
    """One round: what was measured, by (load, system)."""

    def __init__(self, site, options, say):
        self.site, self.options, self.say = site, options, say
        self.values = {}
        self.commands = {}

    def add(self, load, system, value, unit):
        self.values.setdefault((load, unit), {})[system] = value
        self.say(f"  {load:<48}{system:<16}{value:>12,.1f} {unit}")

    def system(self, name, number, endpoint):
        area = self.site.work / f"{name}-{number}"
        if name == "berth":
            return bucket.BerthInBucket(self.site, area, endpoint)
        return bucket.JuiceFSInBucket(self.site, area, endpoint, self.options.juicefs_compress)

    def measure(self):
        server = bucket.Server(self.site.work / "s3", DELAY_MILLISECONDS)
        try:
            sources = self.sources(server) if "small" not in self.options.only else {}
            endpoint = server.start_proxy()
            for name in ("berth", "juicefs") if "large" not in self.options.only else ():
                self.on(name, "small", endpoint, lambda bench: self.small(bench, server, endpoint))
            for name in ("berth", "juicefs") if "small" not in self.options.only else ():
                self.on(name, "large", server.endpoint, lambda bench: self.large(bench, sources))
        finally:
            server.close()
        return self.text()

    def on(self, name, number, endpoint, body):
        self.say(f"{number}: {name}")
        system = self.system(name, number, endpoint)
        system.label = name
        try:
            system.make()
            system.mount()
            system.make_root()
            body(Bench(self.site, system, 0, Sizes(), lambda load: True, self.say))
            system.unmount()
        finally:
            system.close()
            shutil.rmtree(system.area, ignore_errors=True)
            self.commands.setdefault(name, []).extend(system.commands)

    def memory(self, bench):
        """The most that its servers held when a load was over."""
        resident = machine.memory(bench.system.processes())[0] / 1e6
        before = self.values.get(("memory", "MB"), {}).get(bench.system.label, 0)
        if resident > before:
            self.add("memory", bench.system.label, resident, "MB")

    def small(self, bench, server, endpoint):
        system, flags = bench.system, {"files": FILES, "clients": 1, "seed": 1}
        directory = system.root / "small"
        server.counts(endpoint)
        start = time.monotonic()
        bench.program("create", directory, **flags)
        system.store_all()
        self.add("files written through to the store", system.label, FILES / (time.monotonic() - start), "files/s")
        counts = server.counts(endpoint)
        self.add("PUT requests", system.label, counts.get("PUT", 0), "requests")
        self.add("all requests", system.label, sum(counts.get(method, 0) for method in
                                                   ("PUT", "GET", "HEAD", "POST", "DELETE")), "requests")
        self.memory(bench)
        objects, total = server.stored_bytes(system.prefix)
        self.add("objects", system.label, objects, "objects")
        self.add("bytes stored, of the raw ones", system.label, total / (FILES * FILE_BYTES), "share")
        system.forget()
        machine.drop_caches()
        result = bench.program("read", directory, **flags)
        self.add("cold read", system.label, result["rate"], "files/s")
        self.add("GET requests of it", system.label, server.counts(endpoint).get("GET", 0), "requests")
        self.memory(bench)
        system.forget()
        machine.drop_caches()
        start = time.monotonic()
        system.warm()
        self.add("warm-up", system.label, FILES / (time.monotonic() - start), "files/s")
        # What was warmed is all there: the same files again, byte by byte, ask for nothing.
        server.counts(endpoint)
        bench.program("verify", directory, **flags)
        self.add("GET requests after the warm-up", system.label, server.counts(endpoint).get("GET", 0), "requests")
        self.memory(bench)

    def large(self, bench, sources):
        system = bench.system
        for kind, source in sources.items():
            target = system.root / kind
            machine.drop_caches()
            subprocess.run(["cat", source], stdout=subprocess.DEVNULL, check=True)
            start = time.monotonic()
            self.copy(system, source, target, "conv=fsync")
            system.store_all()
            self.rate(f"write {kind}", system, source, start)
            self.memory(bench)
            system.forget()
            machine.drop_caches()
            subprocess.run(["cat", source], stdout=subprocess.DEVNULL, check=True)
            start = time.monotonic()
            self.copy(system, target, "/dev/null")
            self.rate(f"read {kind}", system, source, start)
            self.memory(bench)
            system.account.run(["cmp", str(source), str(target)], system.environment)
            system.account.run(["rm", str(target)], system.environment)

    def rate(self, load, system, source, start):
        self.add(load, system.label, source.stat().st_size / (time.monotonic() - start) / 1e6, "MB/s")

    @staticmethod
    def copy(system, source, target, *words):
        system.account.run(["dd", f"if={source}", f"of={target}", "bs=1M", "status=none", *words],
                           system.environment, timeout=900)

    def sources(self, server):
        """Files of text and of random bytes in memory, and what bare transfers make of them."""
        size = self.options.large_bytes
        directory = self.site.account.make_directory(self.site.work / "sources")
        local = bucket.BerthInBucket(self.site, self.site.work / "local", "")
        loads.Bench(self.site, local, 0, Sizes(), lambda load: True, self.say).program(
            "seqwrite", directory / "text.d", clients=1, seed=1, size=size)
        text = next(path for path in (directory / "text.d").rglob("*") if path.is_file())
        other = directory / "random"
        generator = random.Random(1)
        with open(other, "wb") as file:
            for _ in range(0, size, 1 << 20):
                file.write(generator.randbytes(1 << 20))
        found = {"text": text, "random": other}
        for kind, path in found.items():
            for action, load in (("put", f"write {kind}"), ("get", f"read {kind}")):
                best = max((bucket.bare(server, action, f"bare/{kind}", path, threads), threads)
                           for threads in BARE_THREADS)
                self.add(load, "bare", best[0], "MB/s")
                self.say(f"    with {best[1]} threads")
        return found

    def text(self):
        lines = [["load", "unit", "berth", "juicefs", "bare", "berth/juicefs", "berth/bare"]]
        for (load, unit), found in self.values.items():
            one, other, plain = (found.get(name) for name in ("berth", "juicefs", "bare"))
            lines.append([load, unit, *(report.number(value) if value is not None else "-"
                                        for value in (one, other, plain)),
                          f"{report.number(one / other)} x" if one and other else "-",
                          f"{one / plain:.2f}" if one and plain else "-"])
        return report.align(lines) + "\n\n" + report.align(self.targets(), right=(2,))

    def targets(self):
        def value(load, system):
            return next((found[system] for (name, _), found in self.values.items()
                         if name == load and system in found), None)
        lines = [["target", "wanted", "measured", ""]]

        def judge(title, wanted, measured, met):
            lines.append([title, wanted, report.number(measured), "met" if met else "MISSED"])
        puts, share = value("PUT requests", "berth"), value("bytes stored, of the raw ones", "berth")
        if puts is not None:
            judge("PUT requests for 10,000 files", "at most 10", puts, puts <= 10)
            judge("bytes stored, of the raw ones", "at most 0.60", share, share <= 0.6)
        for title, load, wanted in RATIOS:
            one, other, plain = (value(load, name) for name in ("berth", "juicefs", "bare"))
            if one and other:
                judge(f"{title}, against JuiceFS", f"at least {wanted} x", one / other, one / other >= wanted)
            if one and plain:
                judge(f"{title}, of a bare transfer", f"at least {BARE_SHARE}", one / plain, one / plain >= BARE_SHARE)
        one, other = value("memory", "berth"), value("memory", "juicefs")
        if one and other:
            judge("memory of the server, MB", f"under {report.number(other)}", one, one < other)
        return lines
