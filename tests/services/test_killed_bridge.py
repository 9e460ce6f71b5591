"""`kill -9` of the bridge while webhooks come in: what was acknowledged is there, whole."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from tests.services.own_server import CLIENT, KEY, SECRET, phantom_image, phantom_volume, stored

from hilum.adapters.label_studio.deliveries import inbox, read_told
from hilum_services.bridge.webhooks import WEBHOOKS

GOOD = {"Authorization": f"Bearer {SECRET}"}


def started(store, log):
    """A bridge in a process of its own, and its address."""
    environment = {**os.environ, "HILUM_BRIDGE_KEY": KEY, "HILUM_WEBHOOK_SECRET": SECRET}
    command = [sys.executable, "-m", "hilum", "bridge", "--store", store.url, "--port", "0", "--json"]
    said = log.with_name("said.json")
    with log.open("wb") as sink, said.open("wb") as answer:
        process = subprocess.Popen(command, env=environment, stdout=answer, stderr=sink)
    deadline = time.monotonic() + 120
    while not said.read_text().endswith("}\n"):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return process, json.loads(said.read_text())["url"]


@pytest.mark.parametrize("after_seconds", [0.15, 0.6])
def test_a_bridge_that_is_killed_has_kept_all_that_it_acknowledged(tmp_path, after_seconds):
    volume = phantom_volume()
    store, _ = stored(str(tmp_path / "store"), (volume, phantom_image(volume)))
    log = tmp_path / "log"
    process, base = started(store, log)
    acknowledged, lock = {}, threading.Lock()

    def tell(worker):
        with httpx.Client(timeout=20) as client:
            for number in range(1, 100_000):
                annotation_id = worker * 100_000 + number
                result = [{"value": {"rle": [number % 256] * 5000}}]
                annotation = {"id": annotation_id, "result": result, "updated_at": datetime.now(UTC).isoformat()}
                task = {"id": annotation_id, "data": {}}
                payload = {
                    "action": "ANNOTATION_CREATED",
                    "annotation": annotation,
                    "task": task,
                    "project": {"id": 3},
                }
                try:
                    answer = client.post(base + WEBHOOKS, json=payload, headers=GOOD)
                except httpx.HTTPError:
                    return
                if answer.status_code == 200:
                    with lock:
                        acknowledged[annotation_id] = result

    tellers = [threading.Thread(target=tell, args=(worker,)) for worker in (1, 2, 3)]
    try:
        for teller in tellers:
            teller.start()
        deadline = time.monotonic() + 60
        while not acknowledged and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(after_seconds)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    for teller in tellers:
        teller.join(60)
    assert acknowledged
    kept = inbox(store, 3).annotations
    assert acknowledged.keys() <= kept.keys()
    for annotation_id, one in kept.items():
        found = read_told(one)["annotation"]["result"]
        assert found == acknowledged.get(annotation_id, found)


def test_neither_secrets_nor_addresses_are_in_the_log(tmp_path):
    volume = phantom_volume()
    store, ingest_id = stored(str(tmp_path / "store"), (volume, phantom_image(volume)))
    log = tmp_path / "log"
    process, base = started(store, log)
    try:
        CLIENT.get(f"{base}/v1/images/{ingest_id}?signature=canary-signature")
        CLIENT.post(base + WEBHOOKS, json={}, headers={"Authorization": "Bearer canary-secret"})
        CLIENT.post(base + WEBHOOKS, content=b"canary-body", headers={**GOOD, "Content-Type": "application/json"})
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in {0, 130}
    said = log.read_text()
    assert all(word not in said for word in ("canary", KEY, SECRET))
    assert not list(Path(store.url).rglob("*.partial"))
