"""Publishing tasks with drafts into a real Label Studio: ours in bulk, beside one call a task.

Run with ``make bench THEME=publishing``. Both send the same payloads to one server, each into a project of its own.
One call a task is timed over 100 tasks; the figures are tasks a second of wall-clock time, waiting for the server.
Then the same is published again, and by two publishers at once of which one is killed half-way (`kill -9`): no task
may be there twice, and none may be missing. The second time, which looks and sends nothing, is timed too.
"""

import os
import signal
import tempfile
import time
from collections import Counter
from dataclasses import replace

import numpy as np
from rows import missing_row, row, write
from tests.label_studio import publisher
from tests.label_studio.people import People
from tests.label_studio.servers import running_label_studio

from hilum.adapters.label_studio.annotator import LabelStudio
from hilum.adapters.label_studio.projects import find_project
from hilum.adapters.label_studio.publishing import BATCH_TASKS
from hilum.core.asking import Task
from hilum.testing.phantoms import Phantom, phantom_store, phantom_tasks

NUM_TASKS, NUM_SINGLE = 10_000, 100
PHANTOM = Phantom("segment", 2, num_patients=1, num_frames=NUM_TASKS, size=16)
SELECTION = "c0ffee000001"


def drafted_tasks(store, ingest_id) -> list[Task]:
    rng = np.random.default_rng(7)
    tasks = phantom_tasks(store, ingest_id, PHANTOM, num=NUM_TASKS)
    drafts = (rng.random((NUM_TASKS, 4, 4)) < 0.3).repeat(4, axis=1).repeat(4, axis=2).astype(np.uint16)
    return [
        replace(task, draft_label_map_zyx=draft[None], draft_by="c1c1c1c1c1c1")
        for task, draft in zip(tasks, drafts, strict=True)
    ]


def in_bulk(annotator: LabelStudio, tasks: list[Task], *, num_new: int) -> float:
    began = time.perf_counter()
    assert annotator.publish(tasks) == num_new
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


def two_at_once_and_a_kill(place, server) -> int:
    """How many tasks were there when the first publisher was killed; afterwards every one is there, once."""
    annotator = LabelStudio(*place, project="Two at once")
    words = {"num": NUM_TASKS, "batch": BATCH_TASKS, "environment": server.environment}
    first = publisher.started(place, "Two at once", SELECTION, **words)
    while find_project(annotator.connection, "Two at once") is None or not People(annotator).rows():
        time.sleep(0.1)
    second = publisher.started(place, "Two at once", SELECTION, **words)
    while (num_there := len(People(annotator).rows())) < NUM_TASKS // 3:
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert second.wait(timeout=600) == 0
    check_each_once(annotator)
    return num_there


def check_each_once(annotator: LabelStudio) -> None:
    counted = Counter(row.key for row in People(annotator).rows())
    assert (len(counted), set(counted.values())) == (NUM_TASKS, {1})


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, running_label_studio() as server:
        os.environ |= server.environment
        place = phantom_store(folder, PHANTOM)
        tasks = drafted_tasks(*place)
        bulk = LabelStudio(*place, project="In bulk")
        ours = in_bulk(bulk, tasks, num_new=NUM_TASKS)
        check_each_once(bulk)
        theirs = one_by_one(LabelStudio(*place, project="One by one"), tasks)
        again = in_bulk(bulk, tasks, num_new=0)
        check_each_once(bulk)
        num_there = two_at_once_and_a_kill(place, server)
    print(f"two at once, one killed with {num_there:,} tasks there: {NUM_TASKS:,} tasks in the end, each once")
    peer, reason = "one call a task and one a draft", "sent again, it makes every task twice"
    rows = [
        row("10,000 tasks with drafts", peer, ours, theirs, unit="tasks/s"),
        missing_row("10,000 tasks published again, none sent", peer, again, unit="tasks/s", reason=reason),
    ]
    for one in rows:
        print(one)
    write("publishing", rows)


if __name__ == "__main__":
    main()
