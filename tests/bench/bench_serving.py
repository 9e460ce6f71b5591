"""The inference service over HTTP beside the bare server, and what load does to it: ``make bench THEME=serving``.

Every server is `hilum serve` as a user starts it, in a process of its own on loopback, answering one small image a
request. Latency: one caller, the middle of many requests; the same service in a bare uvicorn is what Ray Serve's
proxies are compared with, and beside it an application that does nothing, behind Serve's own. Batching: sixteen and
more callers who have small images scored by a UNet++, with the engine's batches and with one image a call. Bad
requests: a thousand callers who ask wrongly, again and again, beside good ones.
"""

import base64
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rows import row, write
from tests.label_studio.servers import free_port

from hilum.cli.serve import SHORT_WAYS
from hilum.store.ledger import open_ledger
from hilum.testing.phantoms import Phantom, lesion_image, phantom_store
from hilum.testing.untrained import untrained_checkpoint

PHANTOM = Phantom("classify", 2, size=64)
SMALL = Phantom("segment", 2, size=32)
UNETPP = {"kind": "unetpp", "depth": 4, "features": [8, 16, 32, 64, 128]}
NUM_WARM, NUM_TIMED, NUM_CALLERS, NUM_ALL, NUM_BAD = 100, 600, (16, 24, 32), 2400, 1000
NUM_TAIL = 3000
"""Requests of which the slowest hundredth is told, where it alone counts."""
NUM_SETTLED = 5
"""Seconds that a thousand bad callers get to connect and to be refused for the first time."""
HOW = {"bare uvicorn": ["--without-ray"], "Serve's own proxy": [], "Ray's HAProxy": ["--fast-proxy"]}


@contextmanager
def server(store: str, words: list[str]) -> Iterator[str]:
    """Where the models are of a `hilum serve` that answers whoever asks."""
    port = free_port()
    command = [sys.executable, "-m", "hilum", "serve", "--store", store, "--port", str(port), *words]
    environment = os.environ | {"HILUM_INFERENCE_OPEN": "true"}
    running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert running.stdout is not None
    said = []
    try:
        for line in running.stdout:
            said.append(line)
            if line.startswith("Listening"):
                break
        else:
            raise AssertionError("".join(said))
        yield f"http://127.0.0.1:{port}/v1/models"
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(timeout=120)


def image(phantom: Phantom) -> bytes:
    stream = io.BytesIO()
    np.save(stream, lesion_image(np.random.default_rng(0), phantom.patch_shape_zyx)[0][0])
    return stream.getvalue()


def alone(url: str, body: bytes, *, num: int = NUM_TIMED) -> list[float]:
    """Seconds of requests that one caller makes, one after the other."""
    with httpx.Client(timeout=60, trust_env=False) as client:
        return [_timed(client, url, body) for _ in range(NUM_WARM + num)][NUM_WARM:]


def _timed(client: httpx.Client, url: str, body: bytes) -> float:
    began = time.perf_counter()
    assert client.post(url, content=body).status_code == 200
    return time.perf_counter() - began


def together(url: str, body: bytes, num_callers: int) -> tuple[float, float]:
    """Answers a second, and the p99 in ms, by callers in a process of their own."""
    with _calling("good", url, body, num_callers, NUM_ALL // num_callers) as callers:
        told = json.loads(callers.communicate(timeout=300)[0])
    return len(told["seconds"]) / told["wall"], p99(told["seconds"]) * 1000


def most_within(limit_ms: float, tried: list[tuple[float, float]]) -> tuple[float, float]:
    """The most answers a second among those whose p99 is within the limit; the first where none is."""
    return max([one for one in tried if one[1] <= limit_ms] or tried[:1])


def beside_bad(url: str, body: bytes) -> tuple[list[float], int]:
    """Seconds of good requests while a thousand bad ones are under way at once, and how many were refused meanwhile."""
    with _calling("bad", url, body, NUM_BAD, 0) as callers:
        assert callers.stdout is not None
        for _ in range(NUM_SETTLED):
            before = int(callers.stdout.readline())
        seconds = alone(url, body, num=NUM_TAIL)
        assert callers.poll() is None, "the bad callers ended"
        callers.kill()
        after = int(callers.stdout.read().split()[-1])
    return seconds, after - before


@contextmanager
def _calling(what: str, url: str, body: bytes, num_callers: int, num_each: int) -> Iterator[subprocess.Popen[str]]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        words = [str(Path(__file__).with_name("callers.py")), what, url, file.name, str(num_callers), str(num_each)]
        callers = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
        try:
            yield callers
        finally:
            callers.kill()
            callers.wait()


def p99(seconds: list[float]) -> float:
    return float(np.percentile(seconds, 99))


def store_of(folder: str, model: str, phantom: Phantom, **network: Any) -> str:
    """A store whose ``model`` answers the phantom's question, with random weights."""
    store, _ = phantom_store(str(Path(folder) / model), phantom)
    open_ledger(store).point(model, "champion", untrained_checkpoint(store, phantom, **network), expected=None)
    return store.url


def serve_alone() -> float:
    """The middle, in ms, of what an application that does nothing takes behind Serve's own proxy."""
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("empty_serve.py")), str(port)]
    running = subprocess.Popen(
        command, env=os.environ | SHORT_WAYS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    assert any(line.startswith("Listening") for line in running.stdout)
    try:
        seconds = alone(f"http://127.0.0.1:{port}/", image(PHANTOM))
    finally:
        running.communicate(timeout=120)
    return statistics.median(seconds) * 1000


def latency(store: str) -> list[dict[str, Any]]:
    """One caller of a small image: by the bare server, and behind each of Ray Serve's proxies."""
    middle, rows = {}, []
    for name, words in HOW.items():
        with server(store, words) as base:
            seconds = alone(f"{base}/chest/classify", image(PHANTOM))
        middle[name] = statistics.median(seconds) * 1000
        print(f"{name:30} p50 {middle[name]:7.2f} ms   p99 {p99(seconds) * 1000:7.2f} ms")
    bare = middle.pop("bare uvicorn")
    empty = serve_alone()
    print(f"{'nothing, behind that proxy':30} p50 {empty:7.2f} ms")
    for name, told in middle.items():
        print(f"{name} adds {told - bare:.2f} ms")
        least = {"nothing_behind_it_ms": empty} if name == "Serve's own proxy" else {}
        rows.append({**row("one small image, p50", name, bare, told, unit="ms"), "added_ms": told - bare, **least})
    return rows


@contextmanager
def litserve() -> Iterator[str]:
    """Where the same network answers behind LitServe."""
    port = free_port()
    program = Path(__file__).with_name("litserve_peer.py")
    command = [sys.executable, str(program), str(port)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            time.sleep(0.1)
            assert running.poll() is None, "LitServe ended"
            try:
                if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                    break
            except httpx.TransportError:
                continue
        yield f"{url}/predict"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)  # its own end leaves processes of it behind
        running.wait(timeout=60)


def rates(what: str, url: str, body: bytes) -> list[tuple[float, float]]:
    """Answers a second and p99 (ms), by more and more callers at once."""
    found = [together(url, body, num_callers) for num_callers in NUM_CALLERS]
    for num_callers, (rate, slow) in zip(NUM_CALLERS, found, strict=True):
        print(f"{what:30}{num_callers:4} callers {rate:7.0f} images/s   p99 {slow:7.2f} ms")
    return found


def batching(store: str) -> list[dict[str, Any]]:
    """Small images by many callers: with the engine's batches, one image a call, and at LitServe.

    Compared is the most that each answers while its p99 is no longer than that of sixteen callers who are answered one
    by one.
    """
    found = {}
    for what, words in {"batches": [], "one image a call": ["--batch-size", "1"]}.items():
        with server(store, ["--without-ray", *words]) as base:
            found[what] = rates(what, f"{base}/small/score", image(SMALL))
    if find_spec("litserve") is None:
        print("LitServe is not installed: pip install 'hilum[bench]'")
    else:
        with litserve() as url:
            body = json.dumps({"image": base64.b64encode(image(SMALL)).decode()}).encode()
            found["LitServe, batches of eight"] = rates("LitServe, batches of eight", url, body)
    limit_ms = found["one image a call"][0][1]
    best = {what: most_within(limit_ms, tried) for what, tried in found.items()}
    rate, slow = best.pop("batches")
    print(f"p99 within {limit_ms:.0f} ms: batches {rate:.0f}, {', '.join(f'{k} {v[0]:.0f}' for k, v in best.items())}")
    return [
        {
            **row("small images, p99 as one by one", what, rate, its_rate, unit="images/s"),
            "p99_ms": slow,
            "p99_of_it_ms": its_slow,
        }
        for what, (its_rate, its_slow) in best.items()
    ]


def good_beside_bad(store: str) -> dict[str, Any]:
    """One caller alone, and beside a thousand who ask wrongly."""
    with server(store, ["--without-ray"]) as base:
        url, body = f"{base}/chest/classify", image(PHANTOM)
        quiet = p99(alone(url, body, num=NUM_TAIL)) * 1000
        seconds, num_refused = beside_bad(url, body)
    loud = p99(seconds) * 1000
    print(f"p99 alone {quiet:.1f} ms, beside bad requests {loud:.1f} ms; {num_refused:,} were refused meanwhile")
    return {**row("p99 beside 1,000 bad callers", "the same alone", quiet, loud, unit="ms"), "refused": num_refused}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        chest = store_of(folder, "chest", PHANTOM)
        small = store_of(folder, "small", SMALL, architecture=UNETPP)
        write("serving", [*latency(chest), *batching(small), good_beside_bad(chest)])


if __name__ == "__main__":
    main()
