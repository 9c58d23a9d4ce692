#!/usr/bin/env python3
"""What a store gives to plain parallel requests: puts or gets a file in objects of 16 MiB, and prints MB/s.

usage: bare-transfer.py put|get ENDPOINT BUCKET/PREFIX FILE THREADS

Keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. `get` throws away what it gets, and checks its length.
"""

import datetime
import hashlib
import hmac
import http.client
import mmap
import os
import sys
import threading
import time

PART = 16 << 20
action, endpoint, place, path, threads = sys.argv[1:]
host = endpoint.removeprefix("http://")
size = os.path.getsize(path)
parts = list(range(0, size, PART))
lock = threading.Lock()
failures = []


def authorized(method, target):
    """Signature V4; the payload is not signed, so nothing but the transfer costs time."""
    now = datetime.datetime.now(datetime.timezone.utc)
    moment, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    scope = f"{day}/us-east-1/s3/aws4_request"
    headers = {"host": host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": moment}
    names = ";".join(sorted(headers))
    canonical = "\n".join([method, target, "", *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names,
                           "UNSIGNED-PAYLOAD"])
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
    for word in (day, "us-east-1", "s3", "aws4_request"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}, "
                                f"SignedHeaders={names}, Signature={signature}")
    return headers


def work(view):
    connection = http.client.HTTPConnection(host, timeout=120)
    buffer = bytearray(1 << 20)
    while True:
        with lock:
            if not parts or failures:
                return
            start = parts.pop(0)
        count = min(PART, size - start)
        target = f"/{place}/{start:012d}"
        if action == "put":
            with view[start:start + count] as part:
                connection.request("PUT", target, body=part, headers=authorized("PUT", target))
                answer = connection.getresponse()
                answer.read()
        else:
            connection.request("GET", target, headers=authorized("GET", target))
            answer = connection.getresponse()
            while got := answer.readinto(buffer):
                count -= got
        if answer.status != 200 or (action == "get" and count):
            failures.append(f"{action} {target}: {answer.status}")


with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
    view = memoryview(memory)
    workers = [threading.Thread(target=work, args=(view,)) for _ in range(int(threads))]
    begin = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = time.monotonic() - begin
    view.release()
if failures:
    sys.exit(failures[0])
print(size / seconds / 1e6)
