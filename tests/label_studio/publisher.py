"""A process that publishes, to be killed: store, ingest, project, selection, number of tasks, tasks a batch."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace

from tests.label_studio.people import middle_of

from hilum.adapters.label_studio import publishing
from hilum.adapters.label_studio.annotator import LabelStudio
from hilum.core.asking import Task
from hilum.store.layout import Store
from hilum.testing.phantoms import Phantom, phantom_tasks

PHANTOM = Phantom("segment", 2)


def tasks_about(store: Store, ingest_id: str, selection_id: str, num: int) -> list[Task]:
    """``num`` drafted tasks of one selection, the same in every process."""
    return [
        replace(task, selection_id=selection_id, draft_label_map_zyx=middle_of(task), draft_by="c1c1c1c1c1c1")
        for task in phantom_tasks(store, ingest_id, PHANTOM, num=num)
    ]


def started(
    place: tuple[Store, str], project: str, selection_id: str, *, num: int, batch: int, environment: Mapping[str, str]
) -> subprocess.Popen[str]:
    """A publisher in a process of its own."""
    words = [place[0].url, place[1], project, selection_id, str(num), str(batch)]
    command = [sys.executable, "-m", "tests.label_studio.publisher", *words]
    return subprocess.Popen(command, env=os.environ | dict(environment), text=True)


if __name__ == "__main__":
    url, ingest_id, project, selection_id, num, batch = sys.argv[1:]
    publishing.BATCH_TASKS = int(batch)
    store = Store(url)
    asked = tasks_about(store, ingest_id, selection_id, int(num))
    annotator = LabelStudio(store, ingest_id, project=project)
    annotator.publish(asked)
