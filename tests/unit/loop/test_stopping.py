"""Why a campaign ends: its budget, nobody left, no gain, and what its models predict."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.recipes import BudgetRecipe, StopRecipe
from hilum.loop.events import Event
from hilum.loop.stages import Stage
from hilum.loop.stopping import ending, gains, is_finished, kappa, predicted_change


def event(stage: Stage, **counts: Any) -> Event:
    return Event(campaign="liver", round_number=0, stage=stage, counts=counts)


def a_round(num: int, value: float | None = None, *, wanted: int | None = None, end: Stage = Stage.PROMOTED) -> Any:
    selected = event(Stage.SELECTED, num_selected=num, num_wanted=num if wanted is None else wanted)
    return {Stage.SELECTED: selected, end: event(end, challenger=value)}


def scored(*counts: dict[str, float]) -> list[Any]:
    """Rounds that ended, each with what its score event counted, but the last, which was scored just now."""
    rounds = [{Stage.SCORED: event(Stage.SCORED, **one), **a_round(5, 0.5)} for one in counts]
    rounds[-1] = {Stage.SCORED: rounds[-1][Stage.SCORED]}
    return rounds


def stopping_by(**stop: Any) -> BudgetRecipe:
    return BudgetRecipe(num_per_round=5, num_in_total=1000, stop=StopRecipe(**stop))


CLASSES = st.lists(st.integers(0, 3), min_size=1, max_size=60)
PAIRS = CLASSES.flatmap(lambda one: st.tuples(st.just(one), st.permutations(one)))


def test_a_round_in_progress_is_not_an_end() -> None:
    budget = BudgetRecipe(num_per_round=5, num_in_total=5)
    assert not is_finished(budget, [{Stage.OPENED: event(Stage.OPENED)}])
    assert not is_finished(budget, [{Stage.SELECTED: event(Stage.SELECTED, num_selected=5, num_wanted=5)}])
    assert is_finished(budget, [a_round(5)])


def test_nobody_left_to_ask_is_an_end_without_training() -> None:
    empty = {Stage.SELECTED: event(Stage.SELECTED, num_selected=0, num_wanted=5)}
    assert is_finished(BudgetRecipe(num_per_round=5), [a_round(5), empty])


def test_fewer_than_wanted_is_the_end_unless_caps_held_others_back() -> None:
    budget = BudgetRecipe(num_per_round=5, num_in_total=50)
    short = a_round(3, wanted=5)
    assert is_finished(budget, [a_round(5), short])
    counts = {**short[Stage.SELECTED].counts, "num_held_back": 9}
    capped = {**short, Stage.SELECTED: event(Stage.SELECTED, **counts)}
    assert not is_finished(budget, [a_round(5), capped])


def test_gains_count_the_champion_and_a_rejected_round_gains_nothing() -> None:
    rounds = [a_round(5, 0.5), a_round(5, 0.6), a_round(5, 0.4, end=Stage.REJECTED), a_round(5, 0.65)]
    assert gains(rounds) == pytest.approx([0.1, 0.0, 0.05])


@pytest.mark.parametrize(
    ("values", "stops"),
    [
        ([0.5, 0.6, 0.7], False),
        ([0.5, 0.6, 0.6, 0.6], True),
        ([0.5, 0.6, 0.6, 0.7], False),
        ([0.5, 0.6], False),
        ([0.5, 0.5, 0.5], True),
    ],
)
def test_two_rounds_that_gain_nothing_stop_a_campaign_that_says_so(values: list[float], *, stops: bool) -> None:
    budget = BudgetRecipe(num_per_round=5, num_in_total=1000, stop=StopRecipe(num_rounds=2))
    assert is_finished(budget, [a_round(5, value) for value in values]) is stops
    assert not is_finished(BudgetRecipe(num_per_round=5, num_in_total=1000), [a_round(5, v) for v in values])


def test_the_end_is_told_in_words() -> None:
    assert ending(BudgetRecipe(num_per_round=5, num_in_total=5), [a_round(5)]) == "the budget of 5 is spent"
    assert ending(BudgetRecipe(num_per_round=5), [a_round(5), a_round(2, wanted=5)]) == "nobody is left to ask"
    told = ending(stopping_by(num_rounds=2, min_gain=0.01), [a_round(5, value) for value in (0.5, 0.505, 0.51)])
    assert told == "no gain above 0.01 in the last 2 rounds"


@given(PAIRS)
def test_kappa_is_one_for_the_same_and_never_more_and_does_not_know_which_came_first(pair: Any) -> None:
    before, after = map(np.array, pair)
    if len(np.unique(before)) == 1:
        assert kappa(before, after) is None
        return
    assert kappa(before, before) == pytest.approx(1)
    found = kappa(before, after)
    assert found is not None
    assert found <= 1 + 1e-9
    assert found == pytest.approx(kappa(after, before))
    assert found == pytest.approx(kappa(3 - before, 3 - after))


def test_kappa_of_a_known_table() -> None:
    # 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: observed 0.7, by chance 0.5.
    before = np.repeat([1, 1, 0, 0], [20, 5, 10, 15])
    after = np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    assert kappa(before, after) == pytest.approx(0.4)
    # Of 'yes' 1 - 40/55, of 'no' 1 - 30/45.
    assert predicted_change(before, after) == pytest.approx((15 / 55 + 15 / 45) / 2)


@given(PAIRS)
def test_the_predicted_change_lies_between_none_and_all(pair: Any) -> None:
    before, after = map(np.array, pair)
    found = predicted_change(before, after)
    if len(np.unique(before)) == 1:
        assert found is None
        return
    assert found is not None
    assert 0 <= found <= 1
    assert predicted_change(before, before) == 0
    assert (found == 0) == bool((before == after).all())


def test_a_class_that_one_model_alone_predicts_is_all_change() -> None:
    assert predicted_change(np.zeros(4, int), np.ones(4, int)) == 1
    assert kappa(np.zeros(4, int), np.ones(4, int)) == 0


def test_models_that_call_everything_one_class_do_not_agree_on_anything() -> None:
    nothing = np.zeros(50, int)
    assert kappa(nothing, nothing) is None
    assert predicted_change(nothing, nothing) is None
    assert kappa(nothing[:0], nothing[:0]) is None


@pytest.mark.parametrize(
    ("kappas", "stops"),
    [
        ([0.99, 0.99, 0.99], True),
        ([0.4, 0.98, 1.0, 0.995], True),
        ([0.98, 0.99, 0.99], False),
        ([1.0, 1.0], False),
        ([1.0, 1.0, 0.9], False),
    ],
)
def test_predictions_that_are_stable_on_the_mean_of_three_rounds_stop_a_campaign(
    kappas: list[float], *, stops: bool
) -> None:
    rounds = scored({}, *({"kappa": value} for value in kappas))
    assert is_finished(stopping_by(min_kappa=0.99), rounds) is stops
    assert not is_finished(BudgetRecipe(num_per_round=5, num_in_total=1000), rounds)


def test_a_round_whose_champion_stayed_is_left_out_of_the_mean() -> None:
    rounds = scored({"kappa": 0.2}, {"kappa": 1.0}, {}, {"kappa": 1.0})
    assert not is_finished(stopping_by(min_kappa=0.99), rounds)
    told = ending(stopping_by(min_kappa=0.99, num_rounds=2), rounds)
    assert told == "predictions are stable: kappa 1.0000 over 2 rounds, at least 0.99"


@pytest.mark.parametrize(
    ("stop", "name", "values", "stops"),
    [
        ({"max_change": 0.01}, "predicted_change", [0.5, 0.01, 0.0], True),
        ({"max_change": 0.01}, "predicted_change", [0.0, 0.05, 0.0], False),
        ({"max_uncertainty": 0.1}, "mean_uncertainty", [0.6, 0.12, 0.08], True),
        ({"max_uncertainty": 0.1}, "mean_uncertainty", [0.05, 0.12, 0.09], False),
        ({"max_uncertainty": 0.1}, "mean_uncertainty", [0.01], False),
    ],
)
def test_little_change_and_little_doubt_stop_a_campaign(
    stop: dict[str, float], name: str, values: list[float], *, stops: bool
) -> None:
    rounds = scored(*({name: value} for value in values))
    assert is_finished(stopping_by(num_rounds=2, **stop), rounds) is stops


def test_what_predictions_say_is_heard_before_anybody_is_asked_and_not_after() -> None:
    rounds = scored({"kappa": 1.0})
    budget = stopping_by(min_kappa=0.99, num_rounds=1)
    assert is_finished(budget, rounds)
    asked = {**rounds[-1], Stage.SELECTED: event(Stage.SELECTED, num_selected=5, num_wanted=5)}
    assert not is_finished(budget, [asked])


def test_a_rule_that_reads_predictions_takes_the_place_of_no_gain_unless_both_are_named() -> None:
    assert StopRecipe().min_gain == 0
    assert StopRecipe(min_kappa=0.99).min_gain is None
    assert not is_finished(stopping_by(min_kappa=0.99, num_rounds=1), [a_round(5, 0.5), a_round(5, 0.5)])
    both = stopping_by(min_kappa=0.99, min_gain=0.0, num_rounds=1)
    assert is_finished(both, [a_round(5, 0.5), a_round(5, 0.5)])
    assert is_finished(both, scored({"kappa": 1.0}))


def test_a_stop_rule_without_a_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="one of min_gain, min_kappa"):
        StopRecipe(min_gain=None)


def test_a_stop_rule_survives_the_journey_to_json_and_back() -> None:
    for stop in (StopRecipe(), StopRecipe(min_kappa=0.9), StopRecipe(max_change=0.1, min_gain=0.2)):
        assert StopRecipe.model_validate(stop.model_dump(mode="json")) == stop
