"""What is tried again and what is not, against a server that answers as it is told; and what an error may say."""

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hilum.adapters.label_studio.connection import Access, Connection, UnsureError, access
from hilum.core.errors import HilumError, NotFoundError, RequestError

TOKEN = "a-token-that-nobody-may-see-anywhere"
GOOD = (200, "application/json", json.dumps({"id": 7, "title": "Spleen"}))
HTML = (200, "text/html", "<html>Log in</html>")


class Told:
    def __init__(self) -> None:
        self.answers: deque[tuple[int, str, str]] = deque()
        self.seen: list[str] = []
        self.url = ""
        self.headers: dict[str, str] = {}


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            told.seen.append(self.command)
            status, kind, body = told.answers.popleft() if told.answers else GOOD
            self.send_response(status)
            self.send_header("Content-Type", kind)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("Set-Cookie", "sessionid=a-cookie-that-nobody-may-see")
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield told
    server.shutdown()
    server.server_close()
    thread.join()


def connection(told: Told) -> Connection:
    return Connection(Access(told.url, TOKEN), num_tries=4, longest_pause=0.01)


@pytest.mark.parametrize("passing", [(500, "text/plain", ""), (429, "text/plain", ""), HTML, (502, "text/html", "<p>")])
def test_what_changes_nothing_is_asked_again(told: Told, passing: tuple[int, str, str]) -> None:
    told.answers.extend([passing, passing])
    assert connection(told).ask(lambda sdk: sdk.projects.get(7)).title == "Spleen"
    assert told.seen == ["GET"] * 3


def test_a_server_that_says_when_to_come_back_is_not_asked_before(told: Told) -> None:
    told.answers.append((429, "text/plain", ""))
    told.headers["Retry-After"] = "1"
    began = time.monotonic()
    assert connection(told).ask(lambda sdk: sdk.projects.get(7)).title == "Spleen"
    assert time.monotonic() - began >= 1


def test_once_asking_was_in_vain_every_request_is_tried_once_until_one_is_answered(told: Told) -> None:
    line = connection(told)
    told.answers.extend([(503, "text/plain", "")] * 5)
    for num_tries in (4, 1):
        told.seen.clear()
        with pytest.raises(HilumError, match="busy or out of order"):
            line.ask(lambda sdk: sdk.projects.get(7))
        assert told.seen == ["GET"] * num_tries
    line.ask(lambda sdk: sdk.projects.get(7))
    told.seen.clear()
    told.answers.append((503, "text/plain", ""))
    line.ask(lambda sdk: sdk.projects.get(7))
    assert told.seen == ["GET"] * 2


def test_asking_ends(told: Told) -> None:
    told.answers.extend([(503, "text/plain", "")] * 9)
    with pytest.raises(HilumError, match="busy or out of order"):
        connection(told).ask(lambda sdk: sdk.projects.get(7))
    assert told.seen == ["GET"] * 4


@pytest.mark.parametrize("passing", [(500, "text/plain", ""), (429, "text/plain", ""), HTML])
def test_what_does_something_is_sent_once(told: Told, passing: tuple[int, str, str]) -> None:
    told.answers.append(passing)
    with pytest.raises(UnsureError):
        connection(told).tell(lambda sdk: sdk.projects.create(title="Spleen"))
    assert told.seen == ["POST"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500, 200])
def test_no_error_holds_a_token_or_a_cookie(told: Told, status: int) -> None:
    told.answers.extend([(status, "text/html", "<html>a page</html>")] * 9)
    spoken = connection(told)
    with pytest.raises(HilumError) as caught:
        spoken.ask(lambda sdk: sdk.projects.get(7))
    shown = f"{caught.value} {caught.value.__cause__} {spoken.__dict__['_access']!r}"
    assert TOKEN not in shown
    assert "cookie" not in shown


def test_a_refusal_says_why(told: Told) -> None:
    told.answers.append((400, "application/json", json.dumps({"detail": "Title is <b>taken</b>"})))
    with pytest.raises(RequestError, match="Title is &lt;b&gt;taken"):
        connection(told).ask(lambda sdk: sdk.projects.get(7))


def test_what_is_not_there_is_not_found(told: Told) -> None:
    told.answers.append((404, "application/json", json.dumps({"detail": "No Project matches"})))
    with pytest.raises(NotFoundError, match="No Project matches"):
        connection(told).ask(lambda sdk: sdk.projects.get(7))


def test_nobody_there_is_one_sentence() -> None:
    nobody = Connection(Access("http://127.0.0.1:9", TOKEN), num_tries=2, longest_pause=0.01)
    with pytest.raises(HilumError, match="cannot be reached"):
        nobody.ask(lambda sdk: sdk.projects.get(7))


def test_the_environment_says_where_and_as_whom(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HILUM_LABEL_STUDIO_URL", "https://studio.example.org/")
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    monkeypatch.setenv("HILUM_LABEL_STUDIO_TOKEN_FILE", str(file))
    found = access()
    assert (found.url, found.token) == ("https://studio.example.org", TOKEN)
    assert TOKEN not in repr(found)


def test_half_of_it_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILUM_LABEL_STUDIO_URL", "https://studio.example.org")
    with pytest.raises(RequestError, match="HILUM_LABEL_STUDIO_TOKEN is not"):
        access()


def test_the_local_one_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HILUM_LABEL_STUDIO_HOME", str(tmp_path))
    with pytest.raises(RequestError, match="hilum label up"):
        access()
    (tmp_path / "access.json").write_text(json.dumps({"url": "http://127.0.0.1:8080", "token": TOKEN, "user": "a@b.c"}))
    assert access() == Access("http://127.0.0.1:8080", TOKEN)
