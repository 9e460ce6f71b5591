"""Events: written once, read back whole, and enough to tell a campaign's story."""

import json
from pathlib import Path

import pytest

from hilum.core.errors import CorruptionError
from hilum.loop.events import Event, history, read_event, round_events, runs_of, write_event
from hilum.loop.stages import Stage
from hilum.store.layout import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def event(stage: Stage, round_number: int = 0, **runs: str) -> Event:
    return Event(campaign="liver", round_number=round_number, stage=stage, runs=runs)


def test_an_event_comes_back_as_it_was_written(store: Store) -> None:
    written = Event(
        campaign="liver",
        round_number=7,
        stage=Stage.SCORED,
        runs={"score": "abc"},
        seconds={"score": 1.25},
        counts={"num_candidates": 9},
    )
    assert write_event(store, written) == written
    assert read_event(store, "liver", 7, Stage.SCORED) == written
    file = Path(store.url, "campaigns/liver/rounds/007/events/0002-scored.json")
    assert json.loads(file.read_text())["counts"] == {"num_candidates": 9}


def test_the_first_event_of_a_move_stands(store: Store) -> None:
    first = write_event(store, event(Stage.COLLECTED, collect="one"))
    assert write_event(store, event(Stage.COLLECTED, collect="two")) == first
    assert round_events(store, "liver", 0) == {Stage.COLLECTED: first}


def test_a_round_has_one_end(store: Store) -> None:
    promoted = write_event(store, event(Stage.PROMOTED))
    assert write_event(store, event(Stage.REJECTED)) == promoted
    assert list(round_events(store, "liver", 0)) == [Stage.PROMOTED]


def test_history_is_every_round_in_order(store: Store) -> None:
    for number in range(3):
        for stage in (Stage.SCORED, Stage.OPENED):
            write_event(store, event(stage, number, **{stage.value: f"run-{number}"}))
    rounds = history(store, "liver")
    assert [list(events) for events in rounds] == [[Stage.OPENED, Stage.SCORED]] * 3
    assert runs_of(rounds[2]) == {"opened": "run-2", "scored": "run-2"}
    assert history(store, "lung") == []


@pytest.mark.parametrize("content", ['{"stage": "dreamt"}', "[]", "not json"])
def test_a_damaged_event_is_named(store: Store, content: str) -> None:
    write_event(store, event(Stage.OPENED))
    Path(store.url, "campaigns/liver/rounds/000/events/0001-opened.json").write_text(content)
    with pytest.raises(CorruptionError, match="0001-opened.json"):
        read_event(store, "liver", 0, Stage.OPENED)


def test_an_event_of_a_newer_hilum_is_refused(store: Store) -> None:
    write_event(store, event(Stage.OPENED))
    file = Path(store.url, "campaigns/liver/rounds/000/events/0001-opened.json")
    file.write_text(file.read_text().replace('"format_version": 1', '"format_version": 99'))
    with pytest.raises(CorruptionError, match="format 99"):
        history(store, "liver")
