#!/usr/bin/env python3
"""Changes the text of a dump and proves it anew, as whoever writes one by hand can.

usage: forge-dump.py OLD NEW [OLD NEW]... < dump > forged
"""
import sys

data = sys.stdin.buffer.read()
lines = data.splitlines(keepends=True)
body, end = b"".join(lines[:-1]), lines[-1].decode().split("\t")
words = [word.encode() for word in sys.argv[1:]]
for old, new in zip(words[::2], words[1::2]):
    if old not in body:
        sys.exit(f"{old!r} is not in the dump")
    body = body.replace(old, new)
checksum = 0xCBF29CE484222325
for byte in body:
    checksum = (checksum ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
sys.stdout.buffer.write(body + f"end\t{end[1]}\t{checksum:016x}\n".encode())
