"""The same volume at growing sizes: does anything get slower or larger for each file?"""

from . import footprint

CLIENTS = 4
NEWEST = 20_000
REPEATS = 3
# A figure for each of these on the way, so that the slope shows.
STEP = 500_000


def measure(bench, points):
    """Grows the volume to each of the points and measures the newest files there; the first point is empty."""
    system = bench.system
    directory = system.root / "scale"
    held = 0
    for point in [0, *points]:
        while held < point:
            held = grow(bench, directory, held, min(point, held + STEP))
        held = newest(bench, directory, point, held)
    system.unmount()
    bench.add("scale: metadata per file at the end", CLIENTS, (system.metadata_bytes() or 0) / held, "bytes",
              files=held)
    bench.add("scale: objects at the end", CLIENTS, system.store_files() or 0, "objects", files=held)
    system.mount()


def grow(bench, directory, held, size):
    grown = bench.program("create", directory, clients=CLIENTS, files=size - held, first=held // CLIENTS)
    waited = bench.settle()
    bench.add(f"scale: growing to {size:,}", CLIENTS, grown["rate"], "/s", operations=grown["operations"],
              seconds=grown["seconds"], p50_us=grown["p50_us"], p99_us=grown["p99_us"],
              settle_seconds=round(waited, 2), files=size)
    return size


def newest(bench, directory, point, held):
    """Creates the newest files, several times, and measures the last of them. Answers how many there are then."""
    name = f"scale {point:,}: "
    oldest = held > 0
    for _ in range(REPEATS):
        flags = {"clients": CLIENTS, "files": NEWEST, "first": held // CLIENTS}
        bench.measure(f"{name}create", "create", directory, **flags)
        bench.measure(f"{name}stat after create", "stat", directory, **flags)
        held += NEWEST
    footprint.add_memory(bench, f"{name}memory, caches full")
    for label, load in (("dropped read", "read"), ("dropped stat", "stat")):
        for _ in range(REPEATS):
            bench.drop()
            bench.measure(f"{name}{label}", load, directory, **flags)
    if oldest:
        bench.drop()
        bench.measure(f"{name}dropped read of the oldest, shuffled", "read", directory, shuffled=True,
                      **dict(flags, first=0))
    bench.drop()
    footprint.add_memory(bench, f"{name}memory, caches dropped")
    # In use: the journal of the metadata engine counts.
    bench.add(f"{name}metadata per file", CLIENTS, (bench.system.metadata_bytes() or 0) / held, "bytes", files=held)
    return held
