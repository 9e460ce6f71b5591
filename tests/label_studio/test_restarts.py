"""Label Studio is killed, restarted and made to stand still while hilum publishes and collects."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from tests.label_studio.people import People, middle_of
from tests.label_studio.servers import Server

from hilum.adapters.label_studio import local_server, publishing
from hilum.adapters.label_studio.annotator import LabelStudio
from hilum.adapters.label_studio.local_access import local_access
from hilum.core.asking import Task
from hilum.store.layout import Store
from hilum.testing.phantoms import Phantom, phantom_store, phantom_tasks

PHANTOM = Phantom("segment", 2, num_frames=60)
STILL_SECONDS = 4.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return phantom_store(str(tmp_path_factory.mktemp("store")), PHANTOM)


@pytest.fixture
def tasks(place: tuple[Store, str]) -> list[Task]:
    selection_id = uuid4().hex[:12]
    asked = phantom_tasks(*place, PHANTOM, num=60)
    return [
        replace(task, selection_id=selection_id, draft_label_map_zyx=middle_of(task), draft_by="c1c1c1c1c1c1")
        for task in asked
    ]


@pytest.fixture
def annotator(as_hilum: Server, place: tuple[Store, str], monkeypatch: pytest.MonkeyPatch) -> LabelStudio:
    monkeypatch.setattr(publishing, "BATCH_TASKS", 4)
    return LabelStudio(*place, project=f"Restarted {uuid4().hex[:12]}")


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Do this in another thread; at the end it must have come to a good one."""
    with ThreadPoolExecutor(1) as pool:
        doing = pool.submit(work)
        yield
        doing.result(timeout=240)


def restart(server: Server) -> None:
    """Kill it as a machine that fails does, and start it again where it was."""
    os.killpg(_pid(server), signal.SIGKILL)
    os.waitpid(_pid(server), 0)
    local_server.up(server.folder, port=urlsplit(server.url).port or 0)


def stand_still(server: Server) -> None:
    """As a server that swaps, or a network that stalls."""
    os.killpg(_pid(server), signal.SIGSTOP)
    try:
        time.sleep(STILL_SECONDS)
    finally:
        os.killpg(_pid(server), signal.SIGCONT)


@pytest.mark.parametrize("befalls", [restart, stand_still])
def test_every_task_is_asked_once_whatever_befalls_label_studio(
    annotator: LabelStudio, tasks: list[Task], label_studio: Server, befalls: Callable[[Server], None]
) -> None:
    annotator.publish(tasks[:1])
    number = annotator.project_id
    with meanwhile(lambda: annotator.publish(tasks)):
        while sum(1 for _ in label_studio.connection.tasks(number)) < 9:
            time.sleep(0.05)
        befalls(label_studio)
    counted = Counter(row.key for row in People(annotator).rows())
    assert (len(counted), set(counted.values())) == (60, {1})
    assert all(row.draft_versions == {"c1c1c1c1c1c1"} for row in People(annotator).rows())


@pytest.mark.parametrize("befalls", [restart, stand_still])
def test_every_answer_is_collected_whatever_befalls_label_studio(
    annotator: LabelStudio, tasks: list[Task], label_studio: Server, befalls: Callable[[Server], None]
) -> None:
    annotator.publish(tasks[:3])
    People(annotator).answer(tasks[:3])
    told: list[set[str]] = []
    stop = threading.Event()

    def collect() -> None:
        while not stop.is_set():
            annotator._listeners.clear()
            told.append({answer.patch.candidate_id for answer in annotator.collect(tasks[:3])})

    with meanwhile(collect):
        befalls(label_studio)
        stop.set()
    everybody = {task.candidate_id for task in tasks[:3]}
    assert told
    assert all(candidates == everybody for candidates in told)


def _pid(server: Server) -> int:
    known = local_access(server.folder)
    assert known is not None
    return int(known["pid"])
