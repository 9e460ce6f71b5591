"""Two hundred random schedules of kills, drops, doubles and restarts; after each, the eight invariants.

A schedule is a campaign of two rounds that is driven by one process after the other (`lives.py`). Each process meets
one fault: SIGKILL, Ctrl-C, a full disk, a ledger or a labelling tool that does not answer, or SIGSTOP while another
overtakes it. Between them webhooks are dropped, doubled and shuffled, the ledger is lost, and drivers run two at once.
"""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.faults import KINDS

from hilum.testing.phantoms import Phantom, phantom_store

NUM_SCHEDULES = 200
NUM_PER_PROCESS = 40
ROOT = Path(__file__).resolve().parents[2]
AROUND = (
    *KINDS,
    "two drivers at once",
    "ledger lost and written again",
    "webhook dropped",
    "webhook doubled",
    "webhook out of order",
)
LEAST = 10
"""How often each must have struck in two hundred schedules."""

WHERE = ("the commit of", "the move to", "training", "a shard of", "a lease", "a question", "a message")
"""Kinds of places where drivers must have been killed, stopped or interrupted, in all schedules together."""


class TooFewError(AssertionError):
    """A fault that was to strike did not."""


def check_struck(found: list[dict[str, Any]], *, least: int) -> Counter[str]:
    struck: Counter[str] = Counter()
    for schedule in found:
        struck.update(schedule["struck"])
    missed = {kind: struck[kind] for kind in AROUND if struck[kind] < least}
    if missed:
        raise TooFewError(f"too seldom: {missed}")
    return struck


def followed(folder: Path, first: int, last: int, *, how: str = "struck") -> list[dict[str, Any]]:
    """Follow these schedules in a process of their own; what struck in each."""
    _, ingest_id = phantom_store(str(folder / "origin"), Phantom("classify", num_frames=8))
    command = [sys.executable, "-m", "tests.chaos.lives", str(folder), ingest_id, str(first), str(last), how]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=1200, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(folder)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def all_found() -> list[dict[str, Any]]:
    """What the schedules of this session have told so far."""
    return []


@pytest.mark.parametrize("first", range(0, NUM_SCHEDULES, NUM_PER_PROCESS))
def test_whatever_strikes_a_campaign_the_eight_invariants_hold(
    first: int, tmp_path: Path, all_found: list[dict[str, Any]]
) -> None:
    found = followed(tmp_path / "chaos", first, first + NUM_PER_PROCESS)
    assert [schedule["seed"] for schedule in found] == list(range(first, first + NUM_PER_PROCESS))
    all_found += found


def test_every_fault_has_struck_and_in_every_kind_of_place(all_found: list[dict[str, Any]]) -> None:
    if len(all_found) < NUM_SCHEDULES:
        pytest.skip("it counts over all schedules, and not all were followed in this session")
    struck = check_struck(all_found, least=LEAST)
    noted = [place.split("\t") for schedule in all_found for place in schedule["places"]]
    places = {place for kind, place in noted if kind in ("kill", "interrupt", "pause")}
    assert not [where for where in WHERE if not any(where in place for place in places)], places
    assert sum(struck[kind] for kind in KINDS) >= NUM_SCHEDULES


def test_where_nothing_strikes_it_is_noticed(tmp_path: Path) -> None:
    """The same schedules with their faults left out: the count that the test above stands on is nothing."""
    found = followed(tmp_path / "chaos", 0, 2, how="calm")
    assert all(not schedule["struck"] for schedule in found)
    with pytest.raises(TooFewError):
        check_struck(found, least=1)
