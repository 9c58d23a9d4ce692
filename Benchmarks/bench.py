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

from harness import loads, plot, remote, report, settings, targets
from harness.machine import Account, Failure, end_programs, free_mount
from harness.run import Run
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
    parser.add_argument("--quick", action="store_true", help="one round of a tenth of most, 2 clients")
    parser.add_argument("--rounds", type=int, help="default 3")
    parser.add_argument("--files", type=int, help="small files a load works on (default 20000)")
    parser.add_argument("--clients", help="counts of clients (default 1,2,8)")
    parser.add_argument("--only", action="append", default=[], metavar="LOAD",
                        help="a load as the table names it, or requests, or footprint; may be given more than once")
    parser.add_argument("--systems", default=",".join(ALL), help=f"of {', '.join(ALL)}")
    parser.add_argument("--footprint", type=int, help="small files whose cost is looked at (default 100000)")
    parser.add_argument("--scale", help="instead of all else, grow a volume to these sizes, as 1000000,5000000")
    parser.add_argument("--scale-limit", type=int, default=100_000, help="as far as JuiceFS is grown (default 100000)")
    parser.add_argument("--remote", action="store_true",
                        help="instead of all else, data in a bucket: Berth and JuiceFS on one SeaweedFS; with --only small or "
                             "--only large a part of it")
    parser.add_argument("--juicefs-compress", default="zstd", help="of --remote: none, lz4 or zstd (default zstd)")
    parser.add_argument("--large", type=int, default=1024, help="MiB of the large file of --remote (default 1024)")
    parser.add_argument("--check", action="store_true", help="fail where a measured target is missed")
    parser.add_argument("--output", type=Path, help="directory for results (default Benchmarks/results/TIME)")
    parser.add_argument("--work", type=Path, default=Path("/tmp"), help="where all systems store (default /tmp)")
    parser.add_argument("--programs", type=Path, default=CHECKOUT / ".build/release")
    parser.add_argument("--tools", type=Path, default=CHECKOUT / ".build/bench-tools")
    return complete(parser.parse_args(), parser)


def complete(options, parser):
    """Fills in what was not said."""
    quick = options.quick
    options.sizes = loads.Sizes.quick() if quick else loads.Sizes()
    options.sizes.files = options.files or options.sizes.files
    options.rounds = options.rounds or (1 if quick else 3)
    options.footprint = options.footprint or (5_000 if quick else 100_000)
    options.clients = [int(word) for word in (options.clients or ("2" if quick else "1,2,8")).split(",")]
    options.large_bytes = options.large << 20
    options.scale = [int(word) for word in options.scale.split(",")] if options.scale else []
    options.systems = options.systems.split(",")
    unknown = set(options.systems) - set(ALL)
    if unknown:
        parser.error(f"unknown systems: {', '.join(sorted(unknown))}")
    moment = datetime.datetime.now().strftime("%Y%m%dT%H%M%S")
    options.output = (options.output or CHECKOUT / "Benchmarks/results" / moment).absolute()
    return options


def say(text):
    print(text, flush=True)


def conclude(run, site, options):
    """Prints and writes what was measured, also where the run was cut short."""
    reference = 2 if 2 in options.clients else options.clients[0]
    description = settings.describe(site, options, run.commands)
    options.output.mkdir(parents=True, exist_ok=True)
    report.write_csv(options.output / "results.csv", run.samples)
    settings.write(options.output / "settings.json", description)
    for name, drawing in (("results.svg", plot.bars(run.samples, options.systems, reference)),
                          ("scale.svg", plot.growth(run.samples, options.systems))):
        if drawing:
            (options.output / name).write_text(drawing, encoding="utf-8")
    parts = [settings.text(description), report.table(run.samples, options.systems), report.requests(run.samples),
             targets.table(run.samples, reference), *run.notes]
    text = "\n\n".join(part for part in parts if part)
    (options.output / "report.txt").write_text(text + "\n", encoding="utf-8")
    give_back(options.output)
    say(f"\n{text}\n\nresults: {options.output}")
    return targets.all_met(run.samples, reference)


def give_back(directory):
    """Results belong to whoever called sudo."""
    if "SUDO_UID" in os.environ:
        for path in [directory, *directory.iterdir()]:
            os.chown(path, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))


def measure(options, work):
    site = Site(options, work)
    if options.remote:
        return measure_remote(site, options)
    run = Run(site, options, say)
    try:
        if options.scale:
            run.scales()
        else:
            run.rounds()
            run.requests()
            run.footprints()
    finally:
        met = conclude(run, site, options)
    return 0 if not run.failures and (met or not options.check) else 1


def measure_remote(site, options):
    run = remote.Remote(site, options, say)
    text = run.measure()
    description = settings.describe(site, options, run.commands)
    options.output.mkdir(parents=True, exist_ok=True)
    text = f"{settings.text(description)}\n\n{text}"
    (options.output / "remote.txt").write_text(text + "\n", encoding="utf-8")
    give_back(options.output)
    say(f"\n{text}\n\nresults: {options.output}")
    return 1 if options.check and "MISSED" in text else 0


def main():
    options = arguments()
    if os.geteuid() != 0:
        os.execvp("sudo", ["sudo", sys.executable, *sys.argv])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    subprocess.run([CHECKOUT / "packaging/test-user.sh", USER], check=True)
    work = Path(tempfile.mkdtemp(prefix="berth-bench.", dir=options.work))
    work.chmod(0o755)
    try:
        return measure(options, work)
    except Failure as failure:
        say(f"bench: {failure}")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        for path in work.glob("*/mnt"):
            free_mount(path)
        end_programs(work / "bin")
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
