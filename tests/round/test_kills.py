"""Killed with SIGKILL anywhere and started again, a campaign ends as one that was never killed."""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.loop.campaign import Campaign
from hilum.loop.stages import Stage
from hilum.store.layout import Store
from hilum.testing.campaigns import check_invariants, determined_files, tiny_recipe

NewStore = Callable[..., tuple[Store, str]]
DRIVE = Path(__file__).with_name("drive.py")

BETWEEN_STAGES = [
    f"{when} the move to {stage}"
    for stage in Stage
    if stage not in (Stage.OPENED, Stage.REJECTED)
    for when in ("before", "after")
]
INSIDE_STEPS = [
    "before a shard of score",
    "after a shard of score",
    "before publishing a task",
    "after publishing a task",
    "after collecting",
    "before training",
    "in a training step",
    "after a training report",
    "after training",
    "after a shard of evaluate",
    "before pointing the alias",
    "after pointing the alias",
]


def never_killed(new_store: NewStore, question: str = "classify") -> dict[str, str]:
    store, ingest_id = new_store(question, name="never-killed")
    campaign = Campaign.create(store, "liver", tiny_recipe(question))
    campaign.run(executor=InlineExecutor(), annotator=Oracle(store, ingest_id))
    return determined_files(store)


def drive(store: Store, ingest_id: str, question: str, *places: str) -> int:
    """How many processes were killed until the campaign was finished."""
    command = [sys.executable, str(DRIVE), store.url, ingest_id, question, *places]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def assert_ended_as_if_nothing_happened(store: Store, new_store: NewStore, question: str = "classify") -> None:
    assert Campaign.open(store, "liver").finished
    check_invariants(store, "liver", tiny_recipe(question))
    assert determined_files(store) == never_killed(new_store, question)


def test_killed_between_every_two_stages(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    assert drive(store, ingest_id, "classify", "before starting a campaign", *BETWEEN_STAGES) == len(BETWEEN_STAGES) + 1
    assert_ended_as_if_nothing_happened(store, new_store)


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_killed_inside_score_publish_finetune_evaluate_and_promote(new_store: NewStore, question: str) -> None:
    store, ingest_id = new_store(question)
    assert drive(store, ingest_id, question, *INSIDE_STEPS) == len(INSIDE_STEPS)
    assert_ended_as_if_nothing_happened(store, new_store, question)


def test_killed_again_and_again(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    assert drive(store, ingest_id, "classify") >= 5
    assert_ended_as_if_nothing_happened(store, new_store)


RUN_PLAINLY = """
import sys, torch
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.loop.campaign import Campaign
from hilum.store.layout import Store
from hilum.testing.campaigns import tiny_recipe
torch.set_num_threads(1)  # as in the test itself: weights differ in the last bit with another number of threads
store = Store(sys.argv[1])
campaign = Campaign.create(store, "liver", tiny_recipe("classify"))
print("begun", flush=True)
campaign.run(executor=InlineExecutor(), annotator=Oracle(store, sys.argv[2]))
"""


def test_killed_by_the_clock_wherever_it_happens_to_be(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    chance = random.Random(7)
    for _ in range(3):
        process = begun(store, ingest_id)
        time.sleep(chance.uniform(0.3, 4.0))
        process.kill()
        process.communicate()
    last = begun(store, ingest_id)
    last.communicate()
    assert last.returncode == 0
    assert_ended_as_if_nothing_happened(store, new_store)


def begun(store: Store, ingest_id: str) -> "subprocess.Popen[str]":
    """A process that has opened the campaign and is running it."""
    command = [sys.executable, "-c", RUN_PLAINLY, store.url, ingest_id]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process
