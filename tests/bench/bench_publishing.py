"""Publishing tasks with drafts into a real Label Studio: ours in bulk, beside one call a task.

Run with ``make bench THEME=publishing``. Both send the same payloads to one server, each into a project of its own.
One call a task is timed over 100 tasks; the figures are tasks a second of wall-clock time, waiting for the server.
"""

import os
import tempfile
import time
from dataclasses import replace

import numpy as np
from rows import row, write
from tests.label_studio.people import People
from tests.label_studio.servers import running_label_studio

from hilum.adapters.label_studio.annotator import LabelStudio
from hilum.core.asking import Task
from hilum.testing.phantoms import Phantom, phantom_store, phantom_tasks

NUM_TASKS, NUM_SINGLE = 10_000, 100
PHANTOM = Phantom("segment", 2, num_patients=1, num_frames=NUM_TASKS, size=16)


def drafted_tasks(store, ingest_id) -> list[Task]:
    rng = np.random.default_rng(7)
    tasks = phantom_tasks(store, ingest_id, PHANTOM, num=NUM_TASKS)
    drafts = (rng.random((NUM_TASKS, 4, 4)) < 0.3).repeat(4, axis=1).repeat(4, axis=2).astype(np.uint16)
    return [
        replace(task, draft_label_map_zyx=draft[None], draft_by="c1c1c1c1c1c1")
        for task, draft in zip(tasks, drafts, strict=True)
    ]


def in_bulk(annotator: LabelStudio, tasks: list[Task]) -> float:
    began = time.perf_counter()
    assert annotator.publish(tasks) == len(tasks)
    return len(tasks) / (time.perf_counter() - began)


def one_by_one(annotator: LabelStudio, tasks: list[Task]) -> float:
    annotator.publish(tasks[:1])
    project_id, sdk = annotator.project_id, annotator.connection._client()
    began = time.perf_counter()
    for task in tasks[1 : 1 + NUM_SINGLE]:
        made = sdk.tasks.create(project=project_id, data=annotator.data(task))
        draft = annotator.draft(task, len(tasks))
        sdk.predictions.create(task=made.id, **draft)
    return NUM_SINGLE / (time.perf_counter() - began)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, running_label_studio() as server:
        os.environ |= server.environment
        store, ingest_id = phantom_store(folder, PHANTOM)
        tasks = drafted_tasks(store, ingest_id)
        bulk = LabelStudio(store, ingest_id, project="In bulk")
        ours = in_bulk(bulk, tasks)
        assert len(People(bulk).rows()) == NUM_TASKS
        theirs = one_by_one(LabelStudio(store, ingest_id, project="One by one"), tasks)
        rows = [row("10,000 tasks with drafts", "one call a task and one a draft", ours, theirs, unit="tasks/s")]
    for one in rows:
        print(one)
    write("publishing", rows)


if __name__ == "__main__":
    main()
