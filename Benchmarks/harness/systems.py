"""The file systems under test. Each is made anew in a directory of its own, mounted and used as a user would."""

import json
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path

from . import machine
from .machine import Failure


class System:
    """One fresh file system. `root` is where loads work; it belongs to the ordinary user.

    A system is made, mounted, unmounted and mounted again, and closed; close may come at any point."""

    name = ""
    serves_requests = True
    has_store = False

    def __init__(self, site, area):
        self.site = site
        self.account = site.account
        self.area = self.account.make_directory(area)
        self.mountpoint = self.account.make_directory(area / "mnt")
        self.home = self.account.make_directory(area / "home")
        self.environment = dict(site.environment, HOME=str(self.home), BERTH_RUNTIME_DIR=str(area / "run"))
        self.commands = []

    @property
    def root(self):
        return self.mountpoint / "load"

    def run(self, *command):
        """Runs a command as the user and notes it for the settings of the run."""
        words = [str(word) for word in command]
        self.commands.append(shlex.join(words))
        return self.account.run(words, self.environment, timeout=120)

    def start(self, *command):
        words = [str(word) for word in command]
        self.commands.append(shlex.join(words))
        return self.account.start(words, self.environment, self.area / "log")

    def make(self):
        """What is done once, before the first mount."""

    def mount(self):
        """Mounts, and returns when the file system answers."""

    def unmount(self):
        """Unmounts cleanly and returns when the servers are done with everything."""

    def close(self):
        """Ends what is left after a success or a failure."""

    def make_root(self):
        self.account.run(["mkdir", "-p", str(self.root)], self.environment)

    def last_words(self):
        """The end of what the servers said."""
        log = self.area / "log"
        return log.read_text(encoding="utf-8", errors="replace")[-1500:] if log.exists() else ""

    def processes(self):
        """The servers' processes, the metadata engine's included."""
        return []

    def metadata_bytes(self):
        """Bytes of metadata, after `unmount`; None where there is no such thing."""

    def store_files(self):
        """The objects in the store; None where there is no such thing."""

    def cache_inodes(self):
        """Files and directories of the local cache; None where there is no such thing."""


def end_process(process, seconds=10):
    """Ends a child of ours by its id."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Berth(System):
    name = "berth"
    has_store = True
    volume = "data"

    def make(self):
        self.account.make_directory(self.area / "store")
        self.run(self.site.programs / "berth", "volume", "create", self.volume, "-o",
                 f"store=file://{self.area}/store", "-o", "cache-size=16G")

    def mount(self):
        self.run(self.site.programs / "berth", "mount", self.volume, self.mountpoint)
        machine.await_mount(self.mountpoint)
        self.server = self._inspect()["server"]

    def _inspect(self):
        text = self.account.run([str(self.site.programs / "berth"), "volume", "inspect", self.volume, "--json"],
                                self.environment, timeout=60)
        return json.loads(text)

    server = None

    def processes(self):
        return [self.server] if self.server else []

    def unmount(self):
        self.run(self.site.programs / "berth", "umount", self.mountpoint)
        self.run(self.site.programs / "berth", "stop", "--all")
        if self.server:
            machine.await_end(self.server)
        self.server = None

    def close(self):
        machine.free_mount(self.mountpoint)
        if self.server:
            try:
                self.run(self.site.programs / "berth", "stop", "--all", "--force")
                machine.await_end(self.server, 20)
            except (Failure, subprocess.TimeoutExpired):
                pass

    def metadata_bytes(self):
        path = self._inspect()["metadata"]
        return sum(file.stat().st_size for file in database_files(path))

    def store_files(self):
        return machine.tree_usage(self.area / "store")[0]

    def cache_inodes(self):
        """Raw copies of packs, and staging: everything local that is neither store nor database."""
        view = self._inspect()
        staging = str(view["metadata"]).rsplit("/", 1)[0] + "/staging"
        return machine.tree_usage(view["cache"])[1] + machine.tree_usage(staging)[1]


def database_files(database):
    """A SQLite database and what lies beside it."""
    return [path for path in (Path(database + end) for end in ("", "-wal", "-shm")) if path.exists()]


class JuiceFS(System):
    """Default settings; only the usage report is off, which would call out to the network."""

    has_store = True
    process = None

    def metadata_url(self):
        raise NotImplementedError

    def make(self):
        self.account.make_directory(self.area / "store")
        self.run(self.site.juicefs, "format", "--storage", "file", "--bucket", f"{self.area}/store/",
                 self.metadata_url(), "bench")

    def mount(self):
        self.process = self.start(self.site.juicefs, "mount", "--no-usage-report", self.metadata_url(),
                                  self.mountpoint)
        machine.await_mount(self.mountpoint, self.process)
        self.account.run(["stat", str(self.mountpoint)], self.environment, timeout=30)

    def processes(self):
        return machine.descendants(self.process.pid) if self.process else []

    def unmount(self):
        self.run(self.site.juicefs, "umount", self.mountpoint)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            # Seen once in many runs: all is flushed and unmounted, and the process stays.
            end_process(self.process)
        self.process = None

    def close(self):
        machine.free_mount(self.mountpoint)
        end_process(self.process)

    def store_files(self):
        return machine.tree_usage(self.area / "store")[0]

    def cache_inodes(self):
        return machine.tree_usage(self.home / ".juicefs")[1]


class JuiceFSOnSQLite(JuiceFS):
    name = "juicefs-sqlite"

    def metadata_url(self):
        return f"sqlite3://{self.area}/meta.db"

    def metadata_bytes(self):
        return sum(file.stat().st_size for file in database_files(f"{self.area}/meta.db"))


class JuiceFSOnRedis(JuiceFS):
    """Redis keeps a log that it writes each second, as JuiceFS recommends."""

    name = "juicefs-redis"
    server = None
    port = None

    def metadata_url(self):
        return f"redis://127.0.0.1:{self.port}/1"

    def make(self):
        self.account.make_directory(self.area / "redis")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.server = self.start("redis-server", "--port", self.port, "--bind", "127.0.0.1", "--dir",
                                 self.area / "redis", "--save", "", "--appendonly", "yes", "--appendfsync",
                                 "everysec")
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                if time.monotonic() > end or self.server.poll() is not None:
                    raise Failure("redis-server did not start; see its log") from None
                time.sleep(0.05)
        super().make()

    def processes(self):
        return super().processes() + ([self.server.pid] if self.server else [])

    def metadata_bytes(self):
        """All that Redis holds in memory."""
        text = self.account.run(["redis-cli", "-p", str(self.port), "info", "memory"], self.environment)
        values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return int(values["used_memory"])

    def close(self):
        super().close()
        end_process(self.server)
        self.server = None


class MemoryFS(System):
    """The bare FUSE round trips of Berth: the limit for a file system in user space."""

    name = "memfs"
    process = None

    def mount(self):
        self.process = self.start(self.site.programs / "berth-memfs", self.mountpoint)
        machine.await_mount(self.mountpoint, self.process)

    def processes(self):
        return [self.process.pid] if self.process else []

    def unmount(self):
        self.run("fusermount3", "-u", self.mountpoint)
        self.process.wait(60)
        self.process = None

    def close(self):
        machine.free_mount(self.mountpoint)
        end_process(self.process)


class Local(System):
    """A directory of the machine's own file system: the limit for everything."""

    name = "local"
    serves_requests = False


ALL = {system.name: system for system in (Berth, JuiceFSOnSQLite, JuiceFSOnRedis, MemoryFS, Local)}
