#!/usr/bin/env python3
"""Stands before an S3 server: counts requests by method, and answers each so many milliseconds later.

usage: counting-proxy.py UPSTREAM-PORT MILLISECONDS PORT-FILE

Listens on a free port of 127.0.0.1 and writes it to PORT-FILE. Passes bodies on as they come. `GET /-/counts` answers
what was counted since the last such question as JSON: {"PUT": 3, …, "bytes up": 123, "bytes down": 456}.
"""

import asyncio
import json
import os
import sys

PIECE = 1 << 18
counts: dict[str, int] = {}


def count(key, number=1):
    counts[key] = counts.get(key, 0) + number


def fields(head):
    lines = head.decode("latin-1").split("\r\n")
    return lines[0].split(" "), {name.strip().lower(): value.strip() for name, _, value in
                                 (line.partition(":") for line in lines[1:] if line)}


async def pass_on(reader, writer, length, what):
    while length > 0:
        piece = await reader.read(min(length, PIECE))
        if not piece:
            raise EOFError
        writer.write(piece)
        await writer.drain()
        length -= len(piece)
        count(what, len(piece))


async def pass_chunks(reader, writer, what):
    while True:
        line = await reader.readline()
        writer.write(line)
        size = int(line.split(b";")[0], 16)
        await pass_on(reader, writer, size, what)
        writer.write(await reader.readexactly(2))
        if size == 0:
            await writer.drain()
            return


async def exchange(reader, writer, above, port, delay):
    """One request; False where the connection ends."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return False
    (method, path, *_), headers = fields(head)
    if path == "/-/counts":
        body = json.dumps(counts).encode()
        counts.clear()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        return True
    count(method)
    await asyncio.sleep(delay)
    if not above:
        above += await asyncio.open_connection("127.0.0.1", port)
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:"))
    above[1].write(head)
    if headers.get("transfer-encoding") == "chunked":
        await pass_chunks(reader, above[1], "bytes up")
    else:
        await pass_on(reader, above[1], int(headers.get("content-length", 0)), "bytes up")
    await above[1].drain()
    return await reply(method, above[0], writer)


async def reply(method, reader, writer):
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        (_, status, *_), headers = fields(head)
        if status != "100":
            break
    writer.write(head)
    if method != "HEAD" and status not in ("204", "304"):
        if headers.get("transfer-encoding") == "chunked":
            await pass_chunks(reader, writer, "bytes down")
        else:
            await pass_on(reader, writer, int(headers.get("content-length", 0)), "bytes down")
    await writer.drain()
    return headers.get("connection", "").lower() != "close"


async def main():
    port, delay, file = int(sys.argv[1]), float(sys.argv[2]) / 1000, sys.argv[3]

    async def serve(reader, writer):
        above = []
        try:
            while await exchange(reader, writer, above, port, delay):
                pass
        except (OSError, EOFError, asyncio.IncompleteReadError):
            pass
        finally:
            for one in [writer, *above[1:]]:
                one.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20, backlog=256)
    with open(file + ".new", "w", encoding="ascii") as output:
        output.write(str(server.sockets[0].getsockname()[1]))
    os.rename(file + ".new", file)
    async with server:
        await server.serve_forever()


asyncio.run(main())
