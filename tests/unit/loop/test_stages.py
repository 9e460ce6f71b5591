"""Legal moves: a round goes forward, one stage at a time, and ends promoted or rejected."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.loop.stages import ENDS, Stage, may_move, next_stages

places = st.tuples(st.integers(0, 5), st.sampled_from(Stage))


@given(places, places)
def test_no_move_leads_back(before: tuple[int, Stage], after: tuple[int, Stage]) -> None:
    if may_move(before, after):
        assert (after[0], after[1].number) > (before[0], before[1].number)


@given(places, places)
def test_no_move_skips_a_stage_or_a_round(before: tuple[int, Stage], after: tuple[int, Stage]) -> None:
    if may_move(before, after):
        steps = (after[0] - before[0]) * 8 + after[1].number - before[1].number
        assert steps == 1


@given(places)
def test_from_everywhere_some_move_leads_on(place: tuple[int, Stage]) -> None:
    round_number, stage = place
    following = [(round_number + stage.is_end, after) for after in next_stages(stage)]
    assert following
    assert all(may_move(place, after) for after in following)


def test_a_round_passes_through_every_stage_in_order() -> None:
    walked = [Stage.OPENED]
    while not walked[-1].is_end:
        walked.append(next_stages(walked[-1])[0])
    assert walked == [stage for stage in Stage if stage is not Stage.REJECTED]


def test_only_an_evaluated_round_may_end() -> None:
    assert {stage for stage in Stage if set(next_stages(stage)) & set(ENDS)} == {Stage.EVALUATED}


@pytest.mark.parametrize("end", ENDS)
def test_after_an_end_comes_the_next_round(end: Stage) -> None:
    assert may_move((3, end), (4, Stage.OPENED))
    assert not may_move((3, end), (3, Stage.OPENED))


def test_event_files_sort_as_they_happened() -> None:
    assert Stage.PUBLISHED.event_file == "0004-published.json"
    names = [stage.event_file for stage in Stage]
    assert names == sorted(names)
