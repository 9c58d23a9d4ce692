#!/usr/bin/env python3
"""Stands between a client and an S3 server, and does to requests what networks and servers do.

usage: faulty-proxy.py UPSTREAM-PORT DIRECTORY [CERTIFICATE KEY]

Listens on a free port of 127.0.0.1 and writes it to DIRECTORY/port. Reads DIRECTORY/faults before each request: lines
of `METHOD FAULT COUNT`, such as `PUT lose-reply 1`; METHOD may be `*`; COUNT goes down with each use. Appends to
DIRECTORY/requests a line `METHOD PATH STATUS FAULTS` per request, and to DIRECTORY/traffic the bytes of the body that
came and of the one that was sent. The signature covers the Host header, which goes through.
With a certificate it speaks TLS.

    delay-MS         waits before it passes the request on
    throttle         503 SlowDown, not passed on
    error            500 InternalError, not passed on
    close            closes the connection, not passed on
    lose-reply       passes it on, and closes instead of answering
    cut              sends half of the body and closes
    corrupt          flips a bit of the body
    wrong-range      answers a range with the bytes one further on
    ignore-range     passes a range on without its header
    ignore-match     passes a request on without its If-Match
    html             answers a web page
    redirect         301 PermanentRedirect to region eu-test-1
    skew             403 RequestTimeTooSkewed with a date an hour off
    no-conditions    501 where the request has If-None-Match
    ignore-conditions  passes the request on without If-None-Match
    token-TEXT       403 ExpiredToken, or an empty listing where the session token is TEXT and signed
    hang             answers nothing for 60 seconds
"""

import http.client
import pathlib
import re
import socketserver
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler

upstream = int(sys.argv[1])
directory = pathlib.Path(sys.argv[2])
lock = threading.Lock()


def take_fault(method: str) -> list[str]:
    """The faults for this request: at most one of each line, whose count goes down."""
    with lock:
        path = directory / "faults"
        try:
            lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
        except FileNotFoundError:
            return []
        faults = []
        for line in lines:
            if line[0] in (method, "*") and int(line[2]) > 0:
                faults.append(line[1])
                line[2] = str(int(line[2]) - 1)
        if faults:
            path.write_text("".join(" ".join(line) + "\n" for line in lines if int(line[2]) > 0))
        return faults


def error(code: str, extra: str = "") -> bytes:
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>made by the test'
            f"</Message>{extra}</Error>").encode()


MADE_HERE = {
    "throttle": (503, error("SlowDown")),
    "error": (500, error("InternalError")),
    "html": (200, b"<!DOCTYPE html><html><body>Welcome to the network. Please log in.</body></html>"),
    "redirect": (301, error("PermanentRedirect", "<Endpoint>s3.eu-test-1.example</Endpoint>"
                                                 "<Region>eu-test-1</Region>")),
    "skew": (403, error("RequestTimeTooSkewed")),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    connection_upstream = None

    def log_message(self, format, *arguments):
        pass

    def date_time_string(self, timestamp=None):
        return super().date_time_string(timestamp if timestamp is not None else time.time() - self.behind)

    behind = 0

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.came = len(body)
        faults = take_fault(self.command)
        self.faults, self.is_noted = faults, False
        try:
            self.answer(body, faults)
        finally:
            self.note(None)

    def note(self, status):
        """Before the client has its answer: it may look at once."""
        if not self.is_noted:
            self.is_noted = True
            with lock, open(directory / "requests", "a") as file:
                file.write(f"{self.command} {self.path} {status} {','.join(self.faults)}\n")

    do_GET = do_PUT = do_HEAD = do_DELETE = handle_any

    def answer(self, body, faults):
        for fault in faults:
            if fault.startswith("delay-"):
                time.sleep(int(fault[6:]) / 1000)
            elif fault == "hang":
                time.sleep(60)
                self.close_connection = True
                return None
            elif fault == "close":
                self.close_connection = True
                return None
            elif fault == "no-conditions" and "If-None-Match" in self.headers:
                return self.send(501, {"Content-Type": "application/xml"}, error("NotImplemented"))
            elif fault.startswith("token-"):
                signed = "x-amz-security-token" in self.headers.get("Authorization", "")
                if signed and self.headers.get("X-Amz-Security-Token") == fault[6:]:
                    return self.send(200, {"Content-Type": "application/xml"}, b"<ListBucketResult/>")
                return self.send(403, {"Content-Type": "application/xml"}, error("ExpiredToken"))
            elif fault in MADE_HERE:
                self.behind = 3600 if fault == "skew" else 0
                status, made = MADE_HERE[fault]
                kind = "text/html" if fault == "html" else "application/xml"
                return self.send(status, {"Content-Type": kind}, made)
        status, headers, reply = self.pass_on(body, faults)
        if "lose-reply" in faults:
            self.close_connection = True
            return None
        if "corrupt" in faults and reply:
            reply = bytes([reply[0] ^ 4]) + reply[1:]
        return self.send(status, headers, reply, cut="cut" in faults)

    def pass_on(self, body, faults):
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        asked = self.headers.get("Range")
        if {"ignore-range", "wrong-range"} & set(faults):
            headers = {name: value for name, value in headers.items() if name.lower() != "range"}
        if "ignore-match" in faults:
            headers = {name: value for name, value in headers.items() if name.lower() != "if-match"}
        if "wrong-range" in faults and asked:
            first, last = map(int, re.findall(r"\d+", asked))
            headers["Range"] = f"bytes={first + 1}-{last + 1}"
        if "ignore-conditions" in faults:
            headers = {name: value for name, value in headers.items() if name.lower() != "if-none-match"}
        connection = self.connection_upstream or http.client.HTTPConnection("127.0.0.1", upstream, timeout=60)
        self.connection_upstream = None
        connection.request(self.command, self.path, body=body or None, headers=headers)
        response = connection.getresponse()
        reply = response.read()
        if not response.will_close:
            self.connection_upstream = connection
        return response.status, dict(response.getheaders()), reply

    def send(self, status, headers, body, cut=False):
        self.note(status)
        self.send_response_only(status)
        names = {name.lower() for name in headers}
        for name, value in headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date"):
                self.send_header(name, value)
        self.send_header("Date", self.date_time_string())
        length = headers.get("Content-Length") if self.command == "HEAD" and "content-length" in names else len(body)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        sent = body[: len(body) // 2] if cut else body if self.command != "HEAD" else b""
        with lock, open(directory / "traffic", "a") as file:
            file.write(f"{self.command} {self.came} {len(sent)}\n")
        if self.command != "HEAD":
            self.wfile.write(sent)
            self.wfile.flush()
        if cut:
            self.close_connection = True


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    server = Server(("127.0.0.1", 0), Handler)
    if len(sys.argv) > 4:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3], sys.argv[4])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    temporary = directory / "port.new"
    temporary.write_text(str(server.server_address[1]))
    temporary.rename(directory / "port")
    server.serve_forever()


main()
