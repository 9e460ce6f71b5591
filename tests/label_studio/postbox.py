"""Something between the real Label Studio and the real bridge that takes webhooks, and hands them on as it is told."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

_PASSED_ON = ("Authorization", "Content-Type")


@dataclass(frozen=True)
class Letter:
    path: str
    headers: dict[str, str]
    body: bytes


class Postbox:
    """Answers every webhook at once with 200, as if all were well. ``letters`` are what came, in order."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.url = ""

    def hand_on(self, letters: Sequence[Letter], to: str) -> list[int]:
        """Deliver these, one after the other; the bridge's answers."""
        return [
            requests.post(to + one.path, data=one.body, headers=one.headers, timeout=60).status_code for one in letters
        ]


@contextmanager
def postbox() -> Iterator[Postbox]:
    box = Postbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            box.letters.append(Letter(self.path, {name: self.headers[name] for name in _PASSED_ON}, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    box.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield box
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
