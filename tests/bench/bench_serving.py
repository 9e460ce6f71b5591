"""The inference service over HTTP beside the bare server, and what load does to it: ``make bench THEME=serving``.

Every server is `hilum serve` as a user starts it, in a process of its own on loopback, answering one small image a
request. Latency: one caller, the middle of many requests; the same service in a bare uvicorn is what Ray Serve's
proxies are compared with. Batching: sixteen callers, with the engine's batches and with one image a call. Bad
requests: a thousand at once beside good ones.
"""

import asyncio
import io
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from rows import row, write
from tests.label_studio.servers import free_port

from hilum.store.ledger import open_ledger
from hilum.testing.phantoms import Phantom, lesion_image, phantom_store
from hilum.testing.untrained import untrained_checkpoint

PHANTOM = Phantom("classify", 2, size=64)
NUM_WARM, NUM_TIMED, NUM_CALLERS, NUM_OF_CALLER, NUM_BAD = 100, 600, 16, 80, 1000
HOW = {"bare uvicorn": ["--without-ray"], "Serve's own proxy": [], "Ray's HAProxy": ["--fast-proxy"]}


@contextmanager
def server(store: str, words: list[str]) -> Iterator[str]:
    """The address at which `hilum serve` answers whoever asks."""
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
        yield f"http://127.0.0.1:{port}/v1/models/chest/classify"
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(timeout=120)


def image() -> bytes:
    stream = io.BytesIO()
    np.save(stream, lesion_image(np.random.default_rng(0), PHANTOM.patch_shape_zyx)[0][0])
    return stream.getvalue()


def alone(url: str, body: bytes) -> list[float]:
    """Seconds of requests that one caller makes, one after the other."""
    with httpx.Client(timeout=60, trust_env=False) as client:
        return [_timed(client, url, body) for _ in range(NUM_WARM + NUM_TIMED)][NUM_WARM:]


def _timed(client: httpx.Client, url: str, body: bytes) -> float:
    began = time.perf_counter()
    assert client.post(url, content=body).status_code == 200
    return time.perf_counter() - began


async def together(url: str, body: bytes, *, num_callers: int, num_of_caller: int) -> tuple[float, list[float]]:
    """Answers a second, and the seconds of each."""
    seconds: list[float] = []

    async def caller(client: httpx.AsyncClient) -> None:
        for _ in range(num_of_caller):
            began = time.perf_counter()
            answer = await client.post(url, content=body)
            assert answer.status_code == 200, answer.text
            seconds.append(time.perf_counter() - began)

    async with httpx.AsyncClient(timeout=120, trust_env=False) as client:
        await asyncio.gather(*(caller(client) for _ in range(num_callers)))
        seconds.clear()
        began = time.perf_counter()
        await asyncio.gather(*(caller(client) for _ in range(num_callers)))
        return len(seconds) / (time.perf_counter() - began), seconds


async def beside_bad(url: str, body: bytes) -> list[float]:
    """Seconds of good requests while a thousand bad ones are under way at once."""
    bad = [b"", b"no image", b"\x89PNG\r\n\x1a\nbroken", body[:-100]]
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=120, trust_env=False, limits=limits) as client:
        stopped = asyncio.Event()

        async def annoying(number: int) -> None:
            while not stopped.is_set():
                answer = await client.post(url, content=bad[number % len(bad)])
                assert answer.status_code in (422, 503), answer.text

        callers = [asyncio.create_task(annoying(number)) for number in range(NUM_BAD)]
        await asyncio.sleep(2)
        seconds = []
        for _ in range(100):
            began = time.perf_counter()
            assert (await client.post(url, content=body)).status_code == 200
            seconds.append(time.perf_counter() - began)
        stopped.set()
        await asyncio.gather(*callers)
    return seconds


def p99(seconds: list[float]) -> float:
    return float(np.percentile(seconds, 99))


def main() -> None:
    body, rows = image(), []
    with tempfile.TemporaryDirectory() as folder:
        store, _ = phantom_store(str(Path(folder) / "store"), PHANTOM)
        open_ledger(store).point("chest", "champion", untrained_checkpoint(store, PHANTOM), expected=None)
        middle = {}
        for name, words in HOW.items():
            with server(store.url, words) as url:
                seconds = alone(url, body)
            middle[name] = statistics.median(seconds) * 1000
            print(f"{name:30} p50 {middle[name]:7.2f} ms   p99 {p99(seconds) * 1000:7.2f} ms")
        for name in list(HOW)[1:]:
            more = middle[name] - middle["bare uvicorn"]
            rows.append(
                {**row("one small image, p50", name, middle["bare uvicorn"], middle[name], unit="ms"), "added_ms": more}
            )
            print(f"{name} adds {more:.2f} ms")
        with server(store.url, ["--without-ray"]) as url:
            rate, seconds = asyncio.run(together(url, body, num_callers=NUM_CALLERS, num_of_caller=NUM_OF_CALLER))
            quiet = alone(url, body)
            loud = asyncio.run(beside_bad(url, body))
        with server(store.url, ["--without-ray", "--batch-size", "1"]) as url:
            one_rate, one_seconds = asyncio.run(
                together(url, body, num_callers=NUM_CALLERS, num_of_caller=NUM_OF_CALLER)
            )
        batching = row("sixteen callers", "one image a call", rate, one_rate, unit="images/s")
        rows.append({**batching, "p99_ms": p99(seconds) * 1000, "p99_one_by_one_ms": p99(one_seconds) * 1000})
        beside = row("p99 beside 1,000 bad requests", "the same alone", p99(quiet) * 1000, p99(loud) * 1000, unit="ms")
        rows.append(beside)
    for one in rows:
        print(one)
    write("serving", rows)


if __name__ == "__main__":
    main()
