"""What many small files cost: metadata, objects, inodes of cache, memory."""

from . import machine

CLIENTS = 4


def measure(bench, files):
    """Makes the files on a fresh file system, reads all of them after a clean stop, and looks at what is there."""
    system = bench.system
    directory = system.root / "footprint"
    flags = {"files": files, "clients": CLIENTS, "seed": 5}
    bench.program("create", directory, **flags)
    bench.settle()
    add_memory(bench, "memory after create")
    system.unmount()
    system.mount()
    machine.drop_caches()
    # What is cached for later reads counts, however a file system came by it.
    bench.program("read", directory, **flags)
    bench.settle()
    add_memory(bench, "memory after read")
    system.unmount()
    size = system.metadata_bytes()
    if size is not None:
        bench.add("metadata per file", CLIENTS, size / files, "bytes", files=files, total=size)
    objects = system.store_files()
    if objects is not None:
        bench.add("objects in the store", CLIENTS, objects, "objects", files=files)
        bench.add("inodes of the cache", CLIENTS, system.cache_inodes(), "inodes", files=files)
    system.mount()


def add_memory(bench, label):
    """Resident memory of the servers: now, without mapped files, and at its highest since they started."""
    now, anonymous, highest = machine.memory(bench.system.processes())
    if now:
        bench.add(label, CLIENTS, now / 1e6, "MB")
        bench.add(f"{label}, without mapped files", CLIENTS, anonymous / 1e6, "MB")
        bench.add(f"{label}, highest", CLIENTS, highest / 1e6, "MB")
