"""The targets of the project, each with what was measured."""

from . import report

SQLITE, MEMORY = "juicefs-sqlite", "memfs"

# Title, load, the system Berth is compared to, and how many times faster it must be.
RATIOS = [
    ("create 4 KiB", "create", SQLITE, 20),
    ("read 4 KiB warm", "read_warm", SQLITE, 20),
    ("read 4 KiB after dropping caches", "read_cold", SQLITE, 5),
    ("stat right after create", "stat_first", SQLITE, 30),
    ("listing with lstat, cold", "list_cold", SQLITE, 3),
    ("rename", "rename", SQLITE, 10),
    ("unlink", "unlink", SQLITE, 10),
    ("1 MiB sequential write with fsync", "seqwrite", SQLITE, 1.5),
    ("1 MiB sequential read, cold", "seqread_cold", SQLITE, 1.5),
    ("random 4 KiB read, cold", "randread_cold", SQLITE, 3),
    ("random 4 KiB write", "randwrite", SQLITE, 3),
    ("untar", "untar", SQLITE, 5),
    ("git clone", "git_clone", SQLITE, 5),
    ("Python import, cold", "import_cold", SQLITE, 5),
    ("create 4 KiB, of the bare round trips", "create", MEMORY, 0.8),
    ("read after drop, of the bare round trips", "read_cold", MEMORY, 0.8),
]

# Title, what is measured of Berth, and what it may be at most.
LIMITS = [
    ("requests: open+read+close, cached", "requests open+read+close cached", 0),
    ("requests: open+read+close, dropped", "requests open+read+close dropped", 2),
    ("requests: create+write+close", "requests create+write+close", 3),
    ("requests: repeated stat", "requests repeated stat", 0),
    ("metadata bytes per 4 KiB file", "metadata per file", 150),
    ("objects for 100,000 files", "objects in the store", 40),
    ("inodes of cache for 100,000 files", "inodes of the cache", 80),
]
# Directories and the load program's own start make a few requests per thousand operations.
SLACK = 0.02
FOOTPRINT_FILES = 100_000


def rows(samples, clients):
    """(title, wanted, measured, met) for each target that this run can judge; met is None where it cannot."""
    found = report.grouped(samples)
    result = []
    for title, load, peer, wanted in RATIOS:
        systems = found.get((load, clients)) or found.get((load, 1)) or {}
        times = report.speed_ratio(systems, "berth", peer)
        measured = "-" if times is None else f"{report.number(times)} x"
        result.append((f"{title} against {peer}", f"at least {wanted} x", measured,
                       None if times is None else times >= wanted))
    for title, load, most in LIMITS:
        result.append(_limit(title, _of_berth(found, load), most))
    result.append(_asynchronous(found))
    return result + _scale(found)


def _of_berth(found, load):
    for (name, _), systems in found.items():
        if name == load and systems.get("berth"):
            return systems["berth"]
    return None


def _limit(title, samples, most):
    if not samples:
        return title, f"at most {most}", "-", None
    value = report.median(samples)
    files = samples[0].detail.get("files", FOOTPRINT_FILES)
    note = "" if files == FOOTPRINT_FILES else f" (of {files:,} files)"
    return title, f"at most {most}", f"{report.number(value)}{note}", value <= most + SLACK


def _asynchronous(found):
    samples = _of_berth(found, "requests create+write+close")
    title = "asynchronous requests: create+write+close"
    if not samples:
        return title, "at most 1", "-", None
    value = max(sample.detail["asynchronous"] for sample in samples)
    return title, "at most 1", report.number(value), value <= 1 + SLACK


def _scale(found):
    points = sorted({int(load.split()[1].rstrip(":").replace(",", "")) for load, _ in found
                     if load.startswith("scale ") and load.endswith(": create")})
    if len(points) < 2:
        return [("create rate at 5 million files, of an empty volume", "at least 0.8 x", "-", None),
                ("memory after 5 million files", "under 400 MB", "-", None)]
    empty = _of_berth(found, f"scale {points[0]:,}: create")
    full = _of_berth(found, f"scale {points[-1]:,}: create")
    memory = _of_berth(found, f"scale {points[-1]:,}: memory, caches full")
    if not (empty and full and memory):
        return []
    share = report.median(full) / report.median(empty)
    megabytes = report.median(memory)
    return [(f"create rate at {points[-1]:,} files, of an empty volume", "at least 0.8 x",
             f"{report.number(share)} x", share >= 0.8),
            (f"memory after {points[-1]:,} files", "under 400 MB", f"{report.number(megabytes)} MB",
             megabytes < 400)]


def table(samples, clients):
    lines, unmeasured = [["target", "wanted", "measured", ""]], []
    for title, wanted, measured, met in rows(samples, clients):
        if met is None:
            unmeasured.append(title)
        else:
            lines.append([title, wanted, measured, "met" if met else "MISSED"])
    text = report.align(lines, right=(2,)) if len(lines) > 1 else ""
    if unmeasured:
        text += "\n\ntargets this run did not measure: " + "; ".join(unmeasured)
    return text.strip()


def all_met(samples, clients):
    return all(met is not False for *_, met in rows(samples, clients))
