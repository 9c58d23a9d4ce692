"""File systems whose data is in a bucket of one S3 server, and what stands before it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from . import machine
from .machine import Failure
from .systems import Berth, JuiceFSOnSQLite

CHECKOUT = Path(__file__).resolve().parent.parent.parent
KEYS = {"AWS_ACCESS_KEY_ID": "AKIABERTHTEST", "AWS_SECRET_ACCESS_KEY": "berth-test-secret"}
NAME = "berth"


class Server:
    """SeaweedFS, and a proxy that counts requests and makes each `delay` milliseconds later."""

    def __init__(self, area, delay):
        self.area, self.delay = area, delay
        area.mkdir(mode=0o755)
        self.script = [str(CHECKOUT / "packaging/s3-server.sh")]
        self.proxy = None
        done = subprocess.run([*self.script, "start", str(area)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failure(f"SeaweedFS did not start: {done.stderr.strip()}")
        self.endpoint = done.stdout.strip()

    def start_proxy(self):
        file = self.area / "proxy-port"
        self.proxy = subprocess.Popen(
            [sys.executable, str(CHECKOUT / "Benchmarks/Servers/counting-proxy.py"), self.endpoint.rsplit(":", 1)[1],
             str(self.delay), str(file)])
        while not file.exists():
            if self.proxy.poll() is not None:
                raise Failure("the counting proxy did not start")
            time.sleep(0.05)
        return f"http://127.0.0.1:{file.read_text()}"

    def counts(self, endpoint):
        """Requests by method since the last call."""
        with urllib.request.urlopen(f"{endpoint}/-/counts", timeout=30) as answer:
            return json.load(answer)

    def stored_bytes(self, prefix):
        """Objects below a prefix, and their bytes, as the server lists them."""
        objects = total = 0
        token = ""
        while True:
            # In the order, and encoded, as the signature has it.
            query = ((f"continuation-token={token}&" if token else "")
                     + f"list-type=2&max-keys=1000&prefix={urllib.request.quote(prefix, safe='')}")
            text = subprocess.run(
                ["curl", "-sSf", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", ":".join(KEYS.values()),
                 f"{self.endpoint}/{NAME}/?{query}"], capture_output=True, text=True, check=True).stdout
            sizes = [int(size) for size in re.findall(r"<Size>(\d+)</Size>", text)]
            objects, total = objects + len(sizes), total + sum(sizes)
            found = re.search(r"<NextContinuationToken>([^<]+)<", text)
            if not found:
                return objects, total
            token = urllib.request.quote(found.group(1), safe="")

    def close(self):
        if self.proxy:
            self.proxy.send_signal(signal.SIGTERM)
            self.proxy.wait()
        subprocess.run([*self.script, "stop", str(self.area)], check=False)


class BerthInBucket(Berth):
    """Default settings."""

    def __init__(self, site, area, endpoint):
        super().__init__(site, area)
        self.endpoint = endpoint
        self.prefix = f"{area.name}/{self.volume}/packs/"
        self.environment.update(KEYS)

    def make(self):
        self.run(self.site.programs / "berth", "volume", "create", self.volume, "-o",
                 f"store=s3://{NAME}/{self.area.name}", "-o", f"endpoint={self.endpoint}")

    def store_all(self):
        """Returns when the store has everything."""
        self.run(self.site.programs / "berth", "sync", self.volume, "--wait")

    def forget(self):
        """Empties the cache, the server's memory of it included."""
        self.unmount()
        subprocess.run(["rm", "-rf", str(self.home / ".cache/berth")], check=True)
        self.mount()

    def warm(self):
        self.run(self.site.programs / "berth", "warm", self.volume, "--threads", "16")


class JuiceFSInBucket(JuiceFSOnSQLite):
    """SQLite metadata. `compress` is what its documentation offers for text; all else is its default."""

    name = "juicefs-sqlite"

    def __init__(self, site, area, endpoint, compress):
        super().__init__(site, area)
        self.endpoint, self.compress = endpoint, compress
        self.prefix = f"{area.name}/chunks/"
        self.environment.update(ACCESS_KEY=KEYS["AWS_ACCESS_KEY_ID"], SECRET_KEY=KEYS["AWS_SECRET_ACCESS_KEY"])

    def make(self):
        self.run(self.site.juicefs, "format", "--storage", "s3", "--bucket", f"{self.endpoint}/{NAME}",
                 "--compress", self.compress, "--trash-days", "0", self.metadata_url(), self.area.name)

    def mount(self):
        self.process = self.start(
            self.site.juicefs, "mount", "--no-usage-report", "--cache-dir", self.home / "cache", self.metadata_url(),
            self.mountpoint)
        machine.await_mount(self.mountpoint, self.process)
        self.account.run(["stat", str(self.mountpoint)], self.environment, timeout=30)

    def store_all(self):
        """Nothing: it stores at fsync and close."""

    def forget(self):
        self.unmount()
        subprocess.run(["rm", "-rf", str(self.home / "cache")], check=True)
        self.mount()

    def warm(self):
        self.run(self.site.juicefs, "warmup", "--threads", "50", self.root)


def bare(server, action, place, file, threads):
    """MB/s of plain parallel requests."""
    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "Benchmarks/Servers/bare-transfer.py"), action, server.endpoint,
         f"{NAME}/{place}", str(file), str(threads)], capture_output=True, text=True, check=False,
        env=dict(os.environ, **KEYS))
    if done.returncode:
        raise Failure(f"bare transfer: {done.stderr.strip()}")
    return float(done.stdout)
