"""Something between hilum and the real Label Studio that fails as networks, proxies and busy servers do."""

import http.client
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Mood = Literal["500", "503", "429", "html", "drop", "carry out and drop", "carry out and fail"]


class Unruly:
    """Passes requests on, but meets the next ones in the given moods. ``seen`` are (method, path) that came."""

    def __init__(self, url: str) -> None:
        self.behind = urlsplit(url)
        self.moods: deque[Mood] = deque()
        self.seen: list[tuple[str, str]] = []
        self.only = ""
        self.url = ""

    def mood_for(self, method: str) -> Mood | None:
        return self.moods.popleft() if self.moods and self.only in ("", method) else None


@contextmanager
def unruly(url: str) -> Iterator[Unruly]:
    between = Unruly(url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _meet(self) -> None:
            between.seen.append((self.command, self.path.partition("?")[0]))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            mood = between.mood_for(self.command)
            if mood in ("500", "503", "429"):
                return self._say(int(mood), b'{"detail": "no"}', "application/json")
            if mood == "html":
                return self._say(200, b"<html>Please log in to the hospital's network</html>", "text/html")
            if mood == "drop":
                self.close_connection = True
                return None
            answer = self._pass_on(body)
            if mood == "carry out and drop":
                self.close_connection = True
                return None
            if mood == "carry out and fail":
                return self._say(502, b"<html>Bad gateway</html>", "text/html")
            return self._say(*answer)

        def _pass_on(self, body: bytes) -> tuple[int, bytes, str]:
            connection = http.client.HTTPConnection(between.behind.hostname, between.behind.port, timeout=120)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "accept-encoding")}
            connection.request(self.command, self.path, body, headers)
            got = connection.getresponse()
            payload = got.read()
            connection.close()
            return got.status, payload, got.headers.get("Content-Type", "application/json")

        def _say(self, status: int, payload: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(payload)))
            self.send_header("Set-Cookie", "sessionid=a-cookie-that-nobody-may-see")
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _meet  # noqa: N815 (http.server's names)

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    between.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield between
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
