"""The order of a run: systems in turn, round by round, each on a file system made for it."""

import shutil
import subprocess

from . import footprint, loads, opcodes, scale, trees
from .machine import Failure
from .systems import ALL

# What has no use for a bare memory file system.
WITHOUT_MEMFS = {*loads.SEQUENTIAL, *loads.RANDOM, *trees.LOADS}


class Run:
    """All samples of a run, and the commands that made the file systems."""

    def __init__(self, site, options, say):
        self.site, self.options, self.say = site, options, say
        self.samples = []
        self.commands = {}
        self.notes = []
        self.failures = 0

    def wanted(self, load):
        """A load is wanted by its own name or by its first word."""
        return not self.options.only or load in self.options.only or load.split()[0] in self.options.only

    def on_fresh(self, name, number, what, body):
        """Makes and mounts a system, lets `body` measure it, and removes it whatever happens."""
        self.say(f"{what}: {name}")
        system = ALL[name](self.site, self.site.work / f"{name}-{number}")
        bench = loads.Bench(self.site, system, number, self.options.sizes, self.wanted, self.say)
        try:
            system.make()
            system.mount()
            system.make_root()
            body(bench)
            system.unmount()
        except (Failure, subprocess.TimeoutExpired) as failure:
            # The others are worth measuring, and so is what came before.
            self.fail(f"{what}: {name}: {failure}\n{system.last_words()}")
        finally:
            system.close()
            shutil.rmtree(system.area, ignore_errors=True)
            self.samples += bench.samples
            self.commands.setdefault(name, system.commands)

    def fail(self, message):
        self.failures += 1
        self.say(message)
        self.notes.append(f"FAILED: {message}")

    def rounds(self):
        sources = trees.Sources(self.site, self.options.sizes, self.options.tools / "packages")
        if any(self.wanted(load) for load in trees.LOADS):
            self.say("making an archive and a repository")
            sources.make()
        systems = self.options.systems
        for number in range(self.options.rounds):
            # Each round begins with another system: none always comes after the same one.
            shift = number % len(systems)
            for name in systems[shift:] + systems[:shift]:
                self.on_fresh(name, number, f"round {number + 1} of {self.options.rounds}",
                              lambda bench: self.all_loads(bench, sources))

    def all_loads(self, bench, sources):
        bare = bench.system.name == "memfs"
        for clients in self.options.clients:
            if bench.wants(*loads.SMALL):
                loads.small_files(bench, clients)
            if not bare and bench.wants(*loads.SEQUENTIAL):
                loads.sequential(bench, clients)
        if not bare and bench.wants(*loads.RANDOM):
            loads.random_access(bench, self.options.clients)
        if not bare and bench.wants(*trees.LOADS):
            trees.measure(bench, sources)

    def requests(self):
        for name in self.options.systems:
            if ALL[name].serves_requests and self.wanted("requests"):
                reason = opcodes.unusable()
                if reason:
                    self.notes.append(f"requests were not counted: {reason}")
                    return
                self.on_fresh(name, 0, "requests", opcodes.count)

    def footprints(self):
        for name in self.options.systems:
            if ALL[name].has_store and self.wanted("footprint"):
                self.on_fresh(name, 0, "footprint", lambda bench: footprint.measure(bench, self.options.footprint))

    def scales(self):
        for name in self.options.systems:
            if not ALL[name].has_store:
                continue
            points = self.options.scale
            if name != "berth":
                points = [point for point in points if point <= self.options.scale_limit]
                if points != self.options.scale:
                    points = sorted({*points, self.options.scale_limit})
                    note = f"{name} was grown to {self.options.scale_limit:,} files only (--scale-limit)"
                    self.say(note)
                    self.notes.append(note)
            self.on_fresh(name, 0, "scale", lambda bench, points=points: scale.measure(bench, points))
