"""Learning curves over people's time."""

import pytest

from hilum.core.errors import RecipeError
from hilum.loop.comparison import compare
from hilum.loop.curves import Curve
from hilum.loop.people_time import timed


def test_a_strategy_that_asks_long_questions_needs_fewer_labels_and_more_time():
    active = [Curve("active", s, (10, 20), (0.4, 0.8), (100.0 + s, 400.0 + s)) for s in (0, 2)]
    random = [Curve("random", s, (10, 20), (0.2, 0.6), (50.0, 100.0)) for s in (0, 2)]
    found = compare([*active, *random], metric="m")
    assert found.strategies[0].needed["random's final score"].on_mean == 15
    assert found.timed["active"].needed == pytest.approx(251)
    assert found.timed["random"].needed == 100
    assert found.timed["active"].total.mean == 401
    assert found.timed["active"].band.at == (101, 401)
    assert found.timed["active"].band.points == found.strategies[0].band.points


def test_where_one_curve_s_seconds_are_unknown_none_are_compared():
    curves = [Curve("active", 0, (1, 2), (0.1, 0.2), (1.0, 2.0)), Curve("random", 0, (1, 2), (0.1, 0.2))]
    assert compare(curves, metric="m").timed == {}


def test_a_score_that_was_there_at_first_or_never_is_told_apart():
    curves = {
        "quick": [Curve("quick", 0, (1, 2), (0.5, 0.6), (3.0, 6.0))],
        "slow": [Curve("slow", 0, (1, 2), (0.1, 0.2), (3.0, 6.0))],
    }
    found = timed(curves, 0.4)
    assert (found["quick"].needed, found["quick"].at_first) == (3.0, True)
    assert (found["slow"].needed, found["slow"].at_first) == (None, False)


@pytest.mark.parametrize("seconds", [(1.0,), (2.0, 2.0), (0.0, 1.0), (3.0, 2.0)])
def test_seconds_that_do_not_grow_are_no_curve(seconds):
    with pytest.raises(RecipeError, match="needs seconds that grow, one for each value"):
        Curve("a", 0, (1, 2), (0.1, 0.2), seconds)
