"""What the harness does to the machine: an ordinary user's processes, page caches, mounts."""

import os
import pwd
import re
import resource
import signal
import subprocess
import time


class Failure(Exception):
    """Something that ends the run, with a message a person can act on."""


class Account:
    """The ordinary user whom file systems and loads run as."""

    def __init__(self, name):
        entry = pwd.getpwnam(name)
        self.name, self.uid, self.gid = name, entry.pw_uid, entry.pw_gid

    def _options(self, environment, options):
        groups = os.getgrouplist(self.name, self.gid)
        return dict(options, env=environment, user=self.uid, group=self.gid, extra_groups=groups, umask=0o022,
                    preexec_fn=_raise_file_limit)

    def run(self, command, environment, timeout=None, **options):
        """Runs a program to its end and answers its standard output. Anything but success is a failure."""
        options.setdefault("cwd", "/")
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                              text=True, timeout=timeout, **self._options(environment, options))
        if done.returncode != 0:
            raise Failure(f"{' '.join(command)}\n  ended with status {done.returncode}: "
                          f"{(done.stderr or done.stdout).strip()[-2000:]}")
        return done.stdout

    def start(self, command, environment, log):
        """Starts a program in a session of its own; what it says goes to the file `log`."""
        with open(log, "ab") as output:
            return subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd="/",
                                    start_new_session=True, **self._options(environment, {}))

    def make_directory(self, path):
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        os.chown(path, self.uid, self.gid)
        return path


def _raise_file_limit():
    # What every peer asks for at its start; none must lose for want of descriptors.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1 << 20), hard))


def drop_caches():
    """Pages, dentries and inodes of every file system. Dirty pages stay, so they are written first."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as control:
        control.write("3\n")


def mount_entry(path):
    """The line of mountinfo for a mount point as a list of words, or None."""
    wanted = str(path)
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        for line in table:
            words = line.split()
            if words[4] == wanted:
                return words
    return None


def await_mount(path, process=None, seconds=30):
    end = time.monotonic() + seconds
    while mount_entry(path) is None:
        if process is not None and process.poll() is not None:
            raise Failure(f"{path}: its file system ended with status {process.returncode} instead of mounting")
        if time.monotonic() > end:
            raise Failure(f"{path} was not mounted within {seconds} s")
        time.sleep(0.02)


def free_mount(path):
    """Whatever is mounted there goes, also where it is busy or its server is dead."""
    for _ in range(8):
        if mount_entry(path) is None:
            return
        subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)


def descendants(root):
    """A process and everything it started, by id."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _stat_fields(int(name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(name))
    found, waiting = [], [root]
    while waiting:
        process = waiting.pop()
        found.append(process)
        waiting += children.get(process, [])
    return found


def _stat_fields(process):
    """The fields of /proc/PID/stat after the name, or None where the process is gone."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()
    except OSError:
        return None


def processor_seconds(processes):
    ticks = 0
    for process in processes:
        fields = _stat_fields(process)
        if fields:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def settle(processes, most=30.0):
    """Waits until servers have done what they still do in the background, so that one load does not pay for
    the one before it. Answers the seconds it took."""
    start = time.monotonic()
    while processes and time.monotonic() - start < most:
        before = processor_seconds(processes)
        time.sleep(0.2)
        if processor_seconds(processes) - before < 0.02:
            break
    return time.monotonic() - start


def end_programs(directory):
    """Ends what still runs of the programs in a directory that only this run used."""
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.readlink(f"/proc/{name}/exe").startswith(f"{directory}/"):
                os.kill(int(name), signal.SIGKILL)
        except OSError:
            pass


def memory(processes):
    """Bytes of all processes: resident now, of that not backed by files, and the sum of their highest."""
    fields = {"VmRSS": 0, "RssAnon": 0, "VmHWM": 0}
    for process in processes:
        try:
            with open(f"/proc/{process}/status", encoding="ascii", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        for field in fields:
            fields[field] += _kilobytes(text, field) * 1024
    return tuple(fields.values())


def _kilobytes(text, field):
    match = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
    return int(match.group(1)) if match else 0


def await_end(process, seconds=60):
    """Waits until a process that need not be our child is gone."""
    end = time.monotonic() + seconds
    while os.path.exists(f"/proc/{process}"):
        fields = _stat_fields(process)
        if fields is None or fields[0] == "Z":
            return
        if time.monotonic() > end:
            raise Failure(f"process {process} did not end within {seconds} s")
        time.sleep(0.05)


def tree_usage(path):
    """Regular files, inodes and bytes on disk below a directory."""
    files = inodes = allocated = 0
    for directory, directories, names in os.walk(path):
        inodes += len(directories) + len(names)
        files += len(names)
        for name in names:
            try:
                allocated += os.lstat(os.path.join(directory, name)).st_blocks * 512
            except OSError:
                pass
    return files, inodes, allocated
