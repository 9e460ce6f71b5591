"""Ten thousand requests while the champion changes twice and a replica is killed: ``make evidence WHAT=serving``.

`hilum serve` runs as a user starts it, with two replicas, on a store whose models have random weights: what matters
is that every answer is one version's. It takes some minutes.
"""

import argparse
import datetime
import io
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import httpx
import numpy as np
import psutil
from tests.evidence.commands import PAGES, hardware
from tests.label_studio.servers import free_port

from hilum.nn.normalise import normalise
from hilum.steps.predictor import load_predictor
from hilum.store.layout import Store
from hilum.store.ledger import open_ledger
from hilum.testing.phantoms import Phantom, lesion_image, phantom_store
from hilum.testing.untrained import untrained_checkpoint

PHANTOM = Phantom("classify", 2, size=64)
NUM_CALLERS, NUM_IMAGES = 4, 16
PROMOTED, KILLED, ROLLED_BACK = 0.25, 0.5, 0.75
"""When, as shares of all requests."""


@dataclass(frozen=True)
class Row:
    """One request: when it began (seconds since 1970), its image, and what came; status 0 where nothing came."""

    began: float
    image: int
    status: int
    seconds: float
    version: str = ""
    lesion: float = 0.0


@dataclass(frozen=True)
class Served:
    """A service that runs, its store, and where it answers."""

    store: Store
    url: str
    process: psutil.Process


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", nargs="?", help="not used: everything is made anew")
    options.add_argument("--num", type=int, default=10_000, help="requests")
    num = options.parse_args().num
    images = [lesion_image(np.random.default_rng(n), PHANTOM.patch_shape_zyx)[0] for n in range(NUM_IMAGES)]
    with tempfile.TemporaryDirectory() as folder:
        store, _ = phantom_store(f"{folder}/store", PHANTOM)
        versions = [untrained_checkpoint(store, PHANTOM, seed=seed) for seed in (1, 2)]
        open_ledger(store).point("chest", "champion", versions[0], expected=None)
        with serving(store) as served:
            rows, times, memory = asked(served, images, versions, num)
        expected = {version: said_alone(store, version, images) for version in versions}
    file = PAGES / "serving.md"
    file.write_text(page(rows, times, memory, expected, versions), encoding="utf-8")
    print(file.read_text(encoding="utf-8"))


@contextmanager
def serving(store: Store) -> Iterator[Served]:
    """`hilum serve` with two replicas that answers whoever asks."""
    port = free_port()
    words = ["serve", "--store", store.url, "--port", str(port), "--replicas", "2", "--cpus", "0.5"]
    environment = os.environ | {"HILUM_INFERENCE_OPEN": "true"}
    running = subprocess.Popen([sys.executable, "-m", "hilum", *words], env=environment, stdout=subprocess.PIPE)
    assert running.stdout is not None
    try:
        while b"Listening" not in running.stdout.readline():
            assert running.poll() is None, "hilum serve ended"
        url = f"http://127.0.0.1:{port}/v1/models/chest/classify"
        yield Served(store, url, psutil.Process(running.pid))
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(timeout=120)


def asked(
    served: Served, images: list[np.ndarray], versions: list[str], num: int
) -> tuple[list[Row], dict[str, float], list[float]]:
    """Every request, when what was done to the service was done, and the replicas' memory (MiB) now and then."""
    ledger, rows, times, memory = open_ledger(served.store), dict[int, Row](), dict[str, float](), list[float]()
    bodies = [as_npy(image) for image in images]

    def caller(first: int) -> None:
        with httpx.Client(timeout=60, trust_env=False) as client:
            for number in range(first, num, NUM_CALLERS):
                rows[number] = ask(client, served.url, bodies, number)

    def kill() -> None:
        replicas(served.process)[0].kill()

    def point(version: str) -> None:
        ledger.point("chest", "champion", version, expected=ledger.alias("chest", "champion"))

    with ThreadPoolExecutor(NUM_CALLERS) as callers:
        pending = [callers.submit(caller, first) for first in range(NUM_CALLERS)]
        plan: list[tuple[float, str, Callable[[], None]]] = [
            (PROMOTED, "promoted", lambda: point(versions[1])),
            (KILLED, "killed", kill),
            (ROLLED_BACK, "rolled back", lambda: point(versions[0])),
        ]
        for share, name, do in plan:
            while len(rows) < share * num:
                memory.append(memory_of(served))
                time.sleep(1)
            do()
            times[name] = time.time()
            if name == "killed":
                while len(replicas(served.process)) < 2:
                    time.sleep(0.1)
                times["again two"] = time.time()
        for one in pending:
            one.result()
    memory.append(memory_of(served))
    return [rows[number] for number in range(num)], times, memory


def ask(client: httpx.Client, url: str, bodies: list[bytes], number: int) -> Row:
    image, began = number % NUM_IMAGES, time.time()
    try:
        answer = client.post(url, content=bodies[image])
    except httpx.TransportError:
        return Row(began, image, 0, time.time() - began)
    seconds = time.time() - began
    if answer.status_code != 200:
        return Row(began, image, answer.status_code, seconds)
    said = answer.json()
    return Row(began, image, 200, seconds, said["version"], said["probabilities"]["lesion"])


def replicas(process: psutil.Process) -> list[psutil.Process]:
    """Those that live, oldest first."""
    found = []
    for one in process.children(recursive=True):
        try:
            if "ServeReplica:inference" in "".join(one.cmdline()):
                found.append(one)
        except psutil.Error:
            continue
    return sorted(found, key=lambda one: one.create_time())


def memory_of(served: Served) -> float:
    """What the replicas and the processes they started hold, in MiB, pages that they share counted for each."""
    total = 0
    for replica in replicas(served.process):
        with suppress(psutil.Error):  # it was just killed
            total += sum(one.memory_info().rss for one in (replica, *replica.children()))
    return total / 2**20


def as_npy(image_CZYX: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, image_CZYX[0])
    return stream.getvalue()


def said_alone(store: Store, version: str, images: list[np.ndarray]) -> list[float]:
    """The probability of a lesion that a version gives every image, alone and in this process."""
    predictor = load_predictor(store, version)
    seen = [normalise(image, *np.percentile(image, [0.5, 99.5])) for image in images]
    return [float(predictor.predict(one[None])[0, 0, 1]) for one in seen]


def page(
    rows: list[Row],
    times: dict[str, float],
    memory: list[float],
    expected: dict[str, list[float]],
    versions: list[str],
) -> str:
    """What came, in words."""
    good, bad = [row for row in rows if row.status == 200], [row for row in rows if row.status != 200]
    wrong = [row for row in good if abs(row.lesion - expected[row.version][row.image]) > 1e-5]
    by_version = Counter(row.version for row in good)
    late = max((r.began for r in good if r.version == versions[0] and r.began < times["rolled back"]), default=0.0)
    seconds = np.array([row.seconds for row in good]) * 1000
    apart = max((abs(row.began - times["killed"]) for row in bad), default=0.0)
    errors = "none"
    if bad:
        kinds = ", ".join(
            f"{count} × {status or 'no answer'}" for status, count in Counter(r.status for r in bad).items()
        )
        errors = f"{len(bad)} ({kinds}), all begun within {math.ceil(apart * 10) / 10} s of the kill"
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return f"""# Serving while models change and replicas die

Written by `make evidence WHAT=serving` on {hardware()}, {today}: {len(rows):,} requests of {NUM_CALLERS} callers to
`hilum serve --replicas 2`, a 64 × 64 image each. After a quarter of them another champion is promoted, after half a
replica is killed (`kill -9`), after three quarters the promotion is taken back. Every answer is compared with what
its version says of the image alone, in another process.

| | |
|---|---|
| answers | {len(good):,}: {", ".join(f"{by_version[version]:,} by `{version}`" for version in versions)} |
| answers that differ by more than 1e-5 from their version's | {len(wrong)} |
| answers without a version | {sum(not row.version for row in good)} |
| errors | {errors} |
| the first champion's last answer after the promotion | {late - times["promoted"]:.1f} s |
| two replicas again after the kill | {times["again two"] - times["killed"]:.1f} s |
| a request, p50, p99 | {np.percentile(seconds, 50):.0f} ms, {np.percentile(seconds, 99):.0f} ms |
| MiB of both replicas with what they start: first, most, last | {memory[0]:.0f}, {max(memory):.0f}, {memory[-1]:.0f} |
"""


if __name__ == "__main__":
    main()
