"""Loads of real programs: tar, git and Python on trees of small files."""

import random
import shutil
import subprocess
import tarfile
import time
from io import BytesIO

from .machine import Failure, drop_caches

LOADS = ["untar", "git_clone", "import_cold", "import_warm"]
PYTHON = "/usr/bin/python3"
STATEMENT = "import sympy, numpy"


class Sources:
    """What the programs work on, made once on the local file system."""

    def __init__(self, site, sizes, packages):
        self.site, self.sizes = site, sizes
        self.directory = site.account.make_directory(site.work / "sources")
        self.environment = dict(site.environment, HOME=str(self.directory), GIT_CONFIG_NOSYSTEM="1")
        self.tarball = self.directory / "tree.tar"
        self.repository = self.directory / "repository"
        self.installed = packages
        self.packages = self.directory / "packages"

    def make(self):
        self._make_tarball()
        self._make_repository()
        # The checkout may lie where the user cannot look. Times stay, so that compiled modules stay valid.
        if self.installed.exists():
            shutil.copytree(self.installed, self.packages, symlinks=True)

    def _text(self, seed, size):
        """Lines of words, unlike those of any other seed."""
        words = random.Random(seed)
        line = " ".join(f"{words.randrange(1 << 20):x}" for _ in range(40))
        return (line + "\n").encode() * (size // len(line) + 1)

    def _make_tarball(self):
        sizes = random.Random(3)
        with tarfile.open(self.tarball, "w") as archive:
            for index in range(self.sizes.tree):
                data = self._text(index, sizes.choice([200, 900, 2500, 4000, 9000]))
                info = tarfile.TarInfo(f"tree/d{index // 100:04}/file-{index:06}.txt")
                info.size, info.mtime, info.mode = len(data), 1_700_000_000 + index, 0o644
                info.uid, info.gid = self.site.account.uid, self.site.account.gid
                archive.addfile(info, BytesIO(data))
        self.tarball.chmod(0o644)

    def _make_repository(self):
        self.run("git", "init", "-q", "--initial-branch=main", str(self.repository))
        per_commit = max(1, self.sizes.repository_files // self.sizes.repository_commits)
        stream, number = BytesIO(), 0
        for commit in range(self.sizes.repository_commits):
            stream.write(b"commit refs/heads/main\ncommitter A <a@example.org> %d +0000\ndata 6\ncommit\n"
                         % (1_700_000_000 + commit))
            for _ in range(per_commit):
                self._add_file(stream, number, number)
                number += 1
            # An old file changes, too.
            self._add_file(stream, number // 2, number + 1_000_000)
        done = subprocess.run(["git", "-C", str(self.repository), "fast-import", "--quiet"], input=stream.getvalue(),
                              env=self.environment, user=self.site.account.uid, group=self.site.account.gid,
                              capture_output=True, check=False)
        if done.returncode != 0:
            raise Failure(f"git fast-import: {done.stderr.decode()}")

    def _add_file(self, stream, number, seed):
        data = self._text(seed, 3000)
        stream.write(b"M 644 inline src/d%03d/module_%05d.c\ndata %d\n" % (number // 50, number, len(data)))
        stream.write(data + b"\n")

    def run(self, *command):
        return self.site.account.run(list(command), self.environment)


def timed(bench, label, command, environment, **detail):
    start = time.monotonic()
    bench.system.account.run(command, environment, timeout=1800)
    seconds = time.monotonic() - start
    bench.settle()
    bench.add(label, 1, seconds, "s", seconds=seconds, **detail)


def measure(bench, sources):
    if bench.wants("untar"):
        untar(bench, sources)
    if bench.wants("git_clone"):
        git_clone(bench, sources)
    if bench.wants("import_cold", "import_warm") and sources.packages.exists():
        python_import(bench, sources)


def untar(bench, sources):
    target = bench.system.root / "untar"
    bench.system.account.run(["mkdir", str(target)], sources.environment)
    # The archive is in the page cache for everybody.
    bench.system.account.run(["sh", "-c", f"cat '{sources.tarball}' >/dev/null"], sources.environment)
    timed(bench, "untar", ["tar", "-xf", str(sources.tarball), "-C", str(target)], sources.environment,
          operations=sources.sizes.tree)
    drop_caches()
    # Content, size, mode and time of every file.
    bench.system.account.run(["tar", "-df", str(sources.tarball), "-C", str(target)], sources.environment)
    remove(bench, target)


def git_clone(bench, sources):
    target = bench.system.root / "clone"
    timed(bench, "git_clone", ["git", "clone", "-q", "--no-hardlinks", str(sources.repository), str(target)],
          sources.environment, operations=sources.sizes.repository_files)
    git = ["git", "-C", str(target)]
    bench.system.account.run(git + ["fsck", "--no-dangling"], sources.environment)
    # A clone without a checkout would be quick.
    count = len(bench.system.account.run(git + ["ls-files"], sources.environment).splitlines())
    if count < sources.sizes.repository_files:
        raise Failure(f"{bench.system.name}: the clone has {count} files")
    changed = bench.system.account.run(git + ["status", "--porcelain"], sources.environment)
    if changed:
        raise Failure(f"{bench.system.name}: the clone differs from its index:\n{changed[:500]}")
    remove(bench, target)


def python_import(bench, sources):
    """The interpreter and its own library are in the page cache; the packages on the volume are not."""
    target = bench.system.root / "packages"
    run = bench.system.account.run
    run(["cp", "-a", str(sources.packages), str(target)], sources.environment)
    bench.drop()
    command = [PYTHON, "-B", "-c", STATEMENT]
    run(command, dict(sources.environment, PYTHONPATH=str(sources.packages)))
    on_volume = dict(sources.environment, PYTHONPATH=str(target))
    for label in ("import_cold", "import_warm"):
        timed(bench, label, command, on_volume)
    remove(bench, target)


def remove(bench, directory):
    bench.system.account.run(["rm", "-rf", str(directory)], bench.system.environment)
    bench.settle()
