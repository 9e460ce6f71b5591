"""A real S3 server (moto's, on loopback), and something in front of it that fails as object storage does."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

import s3fs

Mood = Literal["", "slow", "500", "503", "reset", "carried out and reset", "full"]
SLOW_SECONDS = 0.3
_REFUSALS = {
    "500": (500, "InternalError"),
    "503": (503, "SlowDown"),
    "full": (507, "XMinioStorageFull"),
}
_PASSED_BACK = ("content-type", "etag", "last-modified", "content-range", "accept-ranges", "x-amz-version-id")


class Unruly:
    """Passes requests on, each met in the mood that ``mood(method, path)`` says. ``struck`` counts moods."""

    def __init__(self, behind: str) -> None:
        self.behind = urlsplit(behind)
        self.mood: Callable[[str, str], Mood] = lambda _method, _path: ""
        self.struck: Counter[str] = Counter()
        self.num_requests = 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever hangs up has hung up."""


@contextmanager
def unruly(behind: str) -> Iterator[tuple[Unruly, str]]:
    """The proxy, and its address."""
    between = Unruly(behind)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _meet(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            mood = between.mood(self.command, self.path)
            between.num_requests += 1
            between.struck[mood] += 1
            if mood == "slow":
                time.sleep(SLOW_SECONDS)
            elif mood in _REFUSALS:
                return self._refuse(*_REFUSALS[mood])
            elif mood == "reset":
                return self._hang_up()
            status, headers, payload = self._pass_on(body)
            if mood == "carried out and reset":
                return self._hang_up()
            return self._say(status, headers, payload)

        def _pass_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            connection = http.client.HTTPConnection(between.behind.hostname or "", between.behind.port, timeout=60)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("expect", "connection")}
            connection.request(self.command, self.path, body, headers)
            got = connection.getresponse()
            payload = got.read()
            connection.close()
            kept = {k: v for k, v in got.headers.items() if k.lower() in _PASSED_BACK or k.lower().startswith("x-amz")}
            # What a HEAD says of the length is of what it did not send.
            kept["Content-Length"] = got.headers.get("Content-Length") or str(len(payload))
            return got.status, kept, payload

        def _refuse(self, status: int, code: str) -> None:
            payload = f"<Error><Code>{code}</Code><Message>Not now.</Message></Error>".encode()
            headers = {"Content-Type": "application/xml", "Content-Length": str(len(payload))}
            self._say(status, headers, b"" if self.command == "HEAD" else payload)

        def _say(self, status: int, headers: dict[str, str], payload: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        def _hang_up(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _meet  # noqa: N815 (http.server's names)

        def log_message(self, *words: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield between, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def s3_server() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


@contextmanager
def s3_settings(endpoint: str) -> Iterator[None]:
    """This process speaks S3 with the server at ``endpoint``."""
    settings = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "2",  # s3fs tries again itself; both together take a minute to give up
        "HILUM_IDENTITY_KEY": "5a" * 32,
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
