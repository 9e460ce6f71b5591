"""The inference service over HTTP beside the bare server, and what load does to it: ``make bench THEME=serving``.

Every server is `hilum serve` as a user starts it, in a process of its own on loopback, answering one small image a
request. Latency: one caller, the middle of many requests; the same service in a bare uvicorn is what Ray Serve's
proxies are compared with. Batching: sixteen callers who have small images scored by a UNet++, with the engine's
batches and with one image a call. Bad requests: a thousand callers who ask wrongly, again and again, beside good ones.
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
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rows import row, write
from tests.label_studio.servers import free_port

from hilum.store.ledger import open_ledger
from hilum.testing.phantoms import Phantom, lesion_image, phantom_store
from hilum.testing.untrained import untrained_checkpoint

PHANTOM = Phantom("classify", 2, size=64)
SMALL = Phantom("segment", 2, size=32)
UNETPP = {"kind": "unetpp", "depth": 4, "features": [8, 16, 32, 64, 128]}
NUM_WARM, NUM_TIMED, NUM_CALLERS, NUM_EACH, NUM_BAD = 100, 600, 16, 60, 1000
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


def together(url: str, body: bytes, *, num_callers: int, num_each: int) -> tuple[float, list[float]]:
    """Answers a second, and the seconds of each, by callers in a process of their own."""
    with _calling("good", url, body, num_callers, num_each) as callers:
        told = json.loads(callers.communicate(timeout=300)[0])
    return len(told["seconds"]) / told["wall"], told["seconds"]


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


def latency(store: str) -> list[dict[str, Any]]:
    """One caller of a small image: by the bare server, and behind each of Ray Serve's proxies."""
    middle, rows = {}, []
    for name, words in HOW.items():
        with server(store, words) as base:
            seconds = alone(f"{base}/chest/classify", image(PHANTOM))
        middle[name] = statistics.median(seconds) * 1000
        print(f"{name:30} p50 {middle[name]:7.2f} ms   p99 {p99(seconds) * 1000:7.2f} ms")
    bare = middle.pop("bare uvicorn")
    for name, told in middle.items():
        print(f"{name} adds {told - bare:.2f} ms")
        rows.append({**row("one small image, p50", name, bare, told, unit="ms"), "added_ms": told - bare})
    return rows


@contextmanager
def litserve() -> Iterator[str]:
    """Where the same network answers behind LitServe."""
    port = free_port()
    program = Path(__file__).with_name("litserve_peer.py")
    command = [sys.executable, str(program), str(port)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
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
        os.killpg(running.pid, signal.SIGKILL)  # its own end leaves processes of it behind
        running.wait(timeout=60)


def beside_litserve(rate: float, slow: float) -> dict[str, Any] | None:
    """The same callers at LitServe, where it is installed; ``rate`` and ``slow`` are ours."""
    if find_spec("litserve") is None:
        print("LitServe is not installed: pip install 'hilum[bench]'")
        return None
    body = json.dumps({"image": base64.b64encode(image(SMALL)).decode()}).encode()
    with litserve() as url:
        its_rate, seconds = together(url, body, num_callers=NUM_CALLERS, num_each=NUM_EACH)
    print(f"{'LitServe':30}{its_rate:7.0f} images/s   p99 {p99(seconds) * 1000:7.2f} ms")
    beside = row("sixteen callers", "LitServe, batches of eight", rate, its_rate, unit="images/s")
    return {**beside, "p99_ms": slow, "p99_of_it_ms": p99(seconds) * 1000}


def batching(store: str) -> list[dict[str, Any]]:
    """Sixteen callers, with the engine's batches, with one image a call, and at LitServe."""
    told = []
    for words in ([], ["--batch-size", "1"]):
        with server(store, ["--without-ray", *words]) as base:
            rate, seconds = together(f"{base}/small/score", image(SMALL), num_callers=NUM_CALLERS, num_each=NUM_EACH)
        print(f"{' '.join(words) or 'batches':30}{rate:7.0f} images/s   p99 {p99(seconds) * 1000:7.2f} ms")
        told.append((rate, p99(seconds) * 1000))
    (rate, slow), (one_rate, one_slow) = told
    alone = row("sixteen callers", "one image a call", rate, one_rate, unit="images/s")
    beside = beside_litserve(rate, slow)
    return [{**alone, "p99_ms": slow, "p99_of_it_ms": one_slow}, *([beside] if beside else [])]


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
