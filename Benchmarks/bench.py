#!/usr/bin/env python3
"""Measures Berth against other file systems on this machine. See Benchmarks/README.md."""

import argparse
import datetime
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import loads, report
from harness.machine import Account, Failure, free_mount
from harness.systems import ALL

CHECKOUT = Path(__file__).resolve().parent.parent
USER = "berth-bench"
PROGRAMS = ["berth", "berthfs", "berth-hook", "berth-load", "berth-memfs"]


class Site:
    """Where this run's programs and data are, and who uses them."""

    def __init__(self, options, work):
        self.account = Account(USER)
        self.work = work
        # The checkout may lie where the user cannot look.
        self.programs = work / "bin"
        self.programs.mkdir(mode=0o755)
        for name in PROGRAMS:
            if (options.programs / name).exists():
                shutil.copy(options.programs / name, self.programs / name)
        self.juicefs = self.programs / "juicefs"
        if (options.tools / "bin/juicefs").exists():
            shutil.copy(options.tools / "bin/juicefs", self.juicefs)
        self.environment = {
            "PATH": f"{self.programs}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "USER": USER, "LOGNAME": USER,
            "LANG": "C.UTF-8", "TMPDIR": "/tmp"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, help="small files a load works on (default 20000)")
    parser.add_argument("--clients", default="1,2,8", help="counts of clients, the first of 2 is the reference")
    parser.add_argument("--quick", action="store_true", help="one round of a tenth of everything, 2 clients")
    parser.add_argument("--only", action="append", default=[], metavar="LOAD", help="may be given more than once")
    parser.add_argument("--systems", default=",".join(ALL), help=f"of {', '.join(ALL)}")
    parser.add_argument("--output", type=Path, help="directory for results (default Benchmarks/results/TIME)")
    parser.add_argument("--work", type=Path, default=Path("/tmp"), help="file system all systems store on")
    parser.add_argument("--programs", type=Path, default=CHECKOUT / ".build/release")
    parser.add_argument("--tools", type=Path, default=CHECKOUT / ".build/bench-tools")
    options = parser.parse_args()
    options.sizes = loads.Sizes.quick() if options.quick else loads.Sizes()
    if options.files:
        options.sizes.files = options.files
    if options.quick:
        options.rounds, options.clients = 1, "2"
    options.clients = [int(word) for word in options.clients.split(",")]
    options.systems = options.systems.split(",")
    unknown = set(options.systems) - set(ALL)
    if unknown:
        parser.error(f"unknown systems: {', '.join(sorted(unknown))}")
    options.output = options.output or CHECKOUT / "Benchmarks/results" / datetime.datetime.now().strftime("%Y%m%dT%H%M%S")
    return options


def say(text):
    print(text, flush=True)


def measure(site, options, name, number):
    """All wanted loads on one fresh file system."""
    system = ALL[name](site, site.work / f"{name}-{number}")
    bench = loads.Bench(site, system, number, options.sizes, lambda load: not options.only or load in options.only,
                        say)
    try:
        system.make()
        system.mount()
        system.make_root()
        for clients in options.clients:
            if bench.wants(*loads.SMALL):
                loads.small_files(bench, clients)
            if name != "memfs" and bench.wants(*loads.SEQUENTIAL):
                loads.sequential(bench, clients)
        if name != "memfs" and bench.wants(*loads.RANDOM):
            loads.random_access(bench, options.clients)
        system.unmount()
    finally:
        system.close()
        shutil.rmtree(system.area, ignore_errors=True)
    return system, bench.samples


def run(options, work):
    site = Site(options, work)
    samples, commands = [], {}
    for number in range(options.rounds):
        # Each round begins with another system: none always comes after the same one.
        shift = number % len(options.systems)
        for name in options.systems[shift:] + options.systems[:shift]:
            say(f"round {number + 1} of {options.rounds}: {name}")
            system, found = measure(site, options, name, number)
            samples += found
            commands.setdefault(name, system.commands)
    options.output.mkdir(parents=True, exist_ok=True)
    report.write_csv(options.output / "results.csv", samples)
    say("")
    say(report.table(samples, options.systems))
    say(f"results: {options.output}")


def main():
    options = arguments()
    if os.geteuid() != 0:
        os.execvp("sudo", ["sudo", sys.executable, *sys.argv])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    subprocess.run([CHECKOUT / "packaging/test-user.sh", USER], check=True)
    work = Path(tempfile.mkdtemp(prefix="berth-bench.", dir=options.work))
    work.chmod(0o755)
    try:
        run(options, work)
    except Failure as failure:
        say(f"bench: {failure}")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        for path in work.glob("*/mnt"):
            free_mount(path)
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
