"""Secrets put wherever hilum takes one are in no byte that it says, writes, or shows as a process's arguments.

Every secret has a canary of its own, so that a failure says which leaked.
"""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import psutil
import pytest
from PIL import Image

from hilum.adapters.dicomweb_session import Access as PacsAccess
from hilum.adapters.label_studio.connection import Access, Connection
from hilum.adapters.label_studio.page_links import PageLinks
from hilum.cli.settings import Settings, read_settings
from hilum.store.layout import Store
from hilum.store.ledger import open_ledger
from hilum.store.opening import create_store

SECRETS = {
    "HILUM_IDENTITY_KEY": "c0ffee01" * 8,
    "HILUM_MAPPING_PASSPHRASE": "zqxcanary-mapping-passphrase",
    "HILUM_DICOMWEB_TOKEN": "zqxcanary-dicomweb-token",
    "HILUM_LABEL_STUDIO_TOKEN": "zqxcanary-label-studio-token",
    "HILUM_BRIDGE_KEY": "zqxcanary-bridge-key-0123456789",
    "HILUM_WEBHOOK_SECRET": "zqxcanary-webhook-secret-0123456789",
    "HILUM_PRE_ANNOTATION_PASSWORD": "zqxcanary-pre-annotation-password",
    "AWS_SECRET_ACCESS_KEY": "zqxcanaryS3secretZqxcanaryS3secretAaBbCcDd",
    "RAY_AUTH_TOKEN": "deadbeef" * 8,
}
LEDGER_PASSWORD = "zqxcanary-ledger-password"
EVERYTHING = {**SECRETS, "HILUM_LEDGER_URL": LEDGER_PASSWORD}


def _disguises(secret):
    yield from (secret.encode(), secret.encode().hex().encode(), secret.encode("utf-16-le"))
    for before in range(3):
        yield base64.b64encode(b"\0" * before + secret.encode())[4 if before else 0 : -4]


def leaked(payload, secrets=EVERYTHING):
    return sorted(name for name, secret in secrets.items() if any(d in payload for d in _disguises(secret)))


class Echo(BaseHTTPRequestHandler):
    """A server that says no, and repeats whatever it was told in doing so."""

    def _refuse(self):
        said = json.dumps({"detail": str(self.headers), "path": self.path}).encode()
        self.send_response(401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
        self.server.heard.append(str(self.headers))

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _refuse  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def echo():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.heard = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def s3():
    port = _free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _wait_for(port)
    request = urllib.request.Request(f"http://127.0.0.1:{port}/vault", method="PUT")
    urllib.request.urlopen(request, timeout=10).close()
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(20)


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    rng = np.random.default_rng(0)
    lines = ["image,class,patient"]
    for number in range(12):
        path = folder / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).save(path)
        lines.append(f"{number}.png,{'ab'[number % 2]},patient {number}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "mine.yaml").write_text("extends: smoke\nannotator: {kind: label_studio}\n")
    return folder


@pytest.fixture
def place(tmp_path, postgres_url, s3, echo, scans):
    """An environment in which every secret is set, and a folder in which all is written."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("HILUM_", "RAY_", "AWS_"))},
        **SECRETS,
        "HILUM_LEDGER_URL": postgres_url.replace("hilum@", f"hilum:{LEDGER_PASSWORD}@"),
        "HILUM_LABEL_STUDIO_URL": f"http://127.0.0.1:{echo.server_port}",
        "AWS_ACCESS_KEY_ID": "hilum",
        "AWS_ENDPOINT_URL": s3,
        "AWS_DEFAULT_REGION": "us-east-1",
        "HILUM_DEBUG": "1",
        "HILUM_LOG": "json",
        "HILUM_STATE": str(tmp_path / "state"),
        "RAY_ADDRESS": "127.0.0.1:9",
        "COLUMNS": "250",
    }


def _typed(line, environment, folder):
    """A command, and all arguments that any process of it ever had."""
    words = [sys.executable, "-m", "hilum", *line.split()]
    process = subprocess.Popen(words, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said, seen = [], set()
    reading = threading.Thread(target=lambda: said.append(process.stdout.read()))
    reading.start()
    while process.poll() is None:
        seen |= _arguments(process.pid)
        time.sleep(0.02)
    reading.join()
    return process.returncode, said[0], "\n".join(seen).encode()


def _arguments(pid):
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        return {" ".join(one.cmdline()) for one in family}
    except psutil.Error:
        return set()


COMMANDS = (
    ("init store", 0),
    ("ingest scans --store store --mapping people.hilum", 2),
    ("campaign create liver --recipe mine.yaml --store store", 2),
    ("ingest dicomweb+http://127.0.0.1:{echo}/dicom-web?PatientID=1 --store store", 2),
    ("doctor --store store", 0),
    ("audit show --store store", 0),
    ("audit verify --store store", 0),
    ("backup --store store --to s3://vault/one", 0),
    ("backup verify --from s3://vault/one", 0),
    ("restore --from s3://vault/one --to again", 0),
    ("init s3://vault/store", 0),
    ("model list --store s3://vault/store", 0),
    ("submit recipe list --address http://127.0.0.1:{echo}", 2),
    ("serve key viewer --file keys.json --store store --json", 0),
    ("model promote liver 000000000000 --store store", 2),
)


def test_no_command_says_or_writes_a_secret(place, tmp_path, echo, s3):
    key = ""
    for line, code in COMMANDS:
        done, said, arguments = _typed(line.format(echo=echo.server_port), place, tmp_path)
        assert done == code, (line, said.decode())
        assert leaked(said) == [], line
        assert leaked(arguments) == [], line
        assert f"hilum {line.split()[0]}".encode() in arguments or line.split()[0].encode() in arguments
        if line.startswith("serve key"):
            key = re.search(rb'"key": "(hilum_[^"]+)"', said)[1].decode()
    assert any(SECRETS["HILUM_DICOMWEB_TOKEN"] in heard for heard in echo.heard), "the PACS was not asked"
    assert _leaks_below(tmp_path, {**EVERYTHING, "API key": key}) == {}
    stored = urllib.request.urlopen(f"{s3}/vault?list-type=2", timeout=10).read()
    assert leaked(stored) == []
    assert b"objects/" in stored


def _leaks_below(folder, secrets):
    found = {}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        names = [*leaked(path.read_bytes(), secrets), *leaked(str(path).encode(), secrets)]
        if names:
            found[str(path)] = names
    return found


def test_label_studio_that_repeats_our_token_is_not_repeated(place, tmp_path, echo, scans):
    """The local store, and answers asked of a server that echoes."""
    local = {**place, "HILUM_LEDGER_URL": f"sqlite:///{tmp_path}/own.sqlite"}
    code = (
        "import sys\n"
        "from hilum.adapters.label_studio.connection import Connection, access\n"
        "from hilum.cli.boundary import run_guarded\n"
        "connection = Connection(access(), num_tries=1)\n"
        "print(repr(connection), vars(connection))\n"
        "sys.exit(run_guarded(lambda _: connection.ask(lambda sdk: sdk.projects.list().items), []))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=local, capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode in (2, 4), done.stderr
    assert any(SECRETS["HILUM_LABEL_STUDIO_TOKEN"] in heard for heard in echo.heard), done.stderr
    assert leaked(done.stdout + done.stderr) == []


@pytest.mark.parametrize("password", ["zqxcanary/slash", "zqxcanary@at", "zqxcanary:colon", "zqx%canary"])
@pytest.mark.parametrize("url", ["postgresql://hilum:{}@127.0.0.1:1/db", "nosuch://u:{}@h/d"])
def test_a_ledgers_url_that_cannot_be_meant_is_refused_without_its_password(password, url, place, tmp_path):
    environment = {**place, "HILUM_LEDGER_URL": url.format(password)}
    create_store(str(tmp_path / "store"))
    code, said, _ = _typed("model list --store store", environment, tmp_path)
    assert code in (2, 4)
    assert b"our fault" not in said
    assert b"zqx" not in said, said.decode()


@pytest.mark.parametrize("service", ["serve --without-ray", "bridge"])
def test_no_service_says_or_writes_a_secret(service, place, tmp_path):
    key_file = tmp_path / "keys.json"
    for line in ("init store", f"serve key viewer --file {key_file} --store store --json"):
        _, said, _ = _typed(line, place, tmp_path)
    key = re.search(rb'"key": "(hilum_[^"]+)"', said)[1].decode()
    port = _free_port()
    words = [sys.executable, "-m", "hilum", *service.split(), "--store", "store", "--port", str(port)]
    with (tmp_path / "said").open("wb") as said:
        running = subprocess.Popen(
            words, env={**place, "HILUM_API_KEYS_FILE": str(key_file)}, cwd=tmp_path, stdout=said, stderr=said
        )
        try:
            _wait_for(port, running)
            arguments = "\n".join(_arguments(running.pid)).encode()
            for bearer in (key, key[:-1] + "x", SECRETS["HILUM_WEBHOOK_SECRET"], SECRETS["HILUM_BRIDGE_KEY"]):
                for path in ("/v1/models", f"/images/x?key={bearer}", "/webhooks/label-studio", "/nowhere"):
                    answer = _ask(f"http://127.0.0.1:{port}{path}", bearer)
                    assert leaked(answer, {**EVERYTHING, "API key": key}) == []
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(timeout=60)
    assert leaked(arguments) == []
    assert _leaks_below(tmp_path, {**EVERYTHING, "API key": key}) == {}


def _ask(url, bearer):
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {bearer}"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.read() + str(refusal.headers).encode()


def test_no_object_that_holds_a_secret_shows_it(monkeypatch, tmp_path, postgres_url):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    url = postgres_url.replace("hilum@", f"hilum:{LEDGER_PASSWORD}@")
    monkeypatch.setenv("HILUM_LEDGER_URL", url)
    settings = read_settings()
    assert settings.bridge_key.get_secret_value() == SECRETS["HILUM_BRIDGE_KEY"]
    ledger = open_ledger(Store(str(tmp_path)), url)
    access = Access("http://127.0.0.1:1", SECRETS["HILUM_LABEL_STUDIO_TOKEN"])
    pacs = PacsAccess(token=SECRETS["HILUM_DICOMWEB_TOKEN"], user=None, password=SECRETS["HILUM_MAPPING_PASSPHRASE"])
    holders = [settings, ledger, vars(ledger), access, vars(Connection(access)), pacs, settings.model_dump()]
    shown = [show(holder) for holder in holders for show in (repr, str)]
    shown.append(settings.model_dump_json())
    ledger.close()
    for one in shown:
        assert leaked(one.encode()) == [], one
    assert PageLinks.__dataclass_fields__["webhook_secret"].repr is False


def test_every_setting_that_sounds_like_a_secret_is_kept_as_one():
    words = ("token", "password", "secret", "key", "passphrase", "ledger_url")
    sounding = {name for name in Settings.model_fields if any(word in name for word in words)}
    files = {name for name in sounding if name.endswith("_file")}
    plain = {name for name in sounding - files if "SecretStr" not in str(Settings.model_fields[name].annotation)}
    assert plain == set()
    assert len(sounding - files) >= 8


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(port, process=None):
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process is None or process.poll() is None
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("nothing listens")
