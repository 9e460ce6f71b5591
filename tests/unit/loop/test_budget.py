"""Budgets: never more than was allowed, and an end that comes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.recipes import BudgetRecipe
from hilum.loop.budget import num_rounds, num_to_ask
from hilum.loop.events import Event
from hilum.loop.stages import Stage
from hilum.loop.stopping import is_finished


def event(stage: Stage, **counts: Any) -> Event:
    return Event(campaign="liver", round_number=0, stage=stage, counts=counts)


def a_round(num: int, value: float | None = None, *, wanted: int | None = None, end: Stage = Stage.PROMOTED) -> Any:
    selected = event(Stage.SELECTED, num_selected=num, num_wanted=num if wanted is None else wanted)
    return {Stage.SELECTED: selected, end: event(end, challenger=value)}


budgets = st.builds(
    BudgetRecipe,
    num_first_round=st.none() | st.integers(1, 30),
    num_per_round=st.integers(1, 30),
    num_in_total=st.integers(1, 100),
)


@given(budgets, st.integers(0, 60))
def test_no_campaign_ever_asks_more_than_its_budget(budget: BudgetRecipe, num_candidates: int) -> None:
    asked: list[int] = []
    rounds: list[Any] = []
    while not rounds or not is_finished(budget, rounds):
        wanted = num_to_ask(budget, len(rounds), sum(asked))
        asked.append(min(wanted, num_candidates - sum(asked)))
        rounds.append(a_round(asked[-1], 0.5, wanted=wanted))
        assert wanted <= (budget.num_first_round or budget.num_per_round if len(rounds) == 1 else budget.num_per_round)
        assert len(rounds) <= 101
    assert sum(asked) == min(budget.num_in_total, num_candidates)


@given(budgets)
def test_the_rounds_of_a_budget_are_counted_as_they_are_spent(budget: BudgetRecipe) -> None:
    asked: list[int] = []
    while sum(asked) < budget.num_in_total:
        asked.append(num_to_ask(budget, len(asked), sum(asked)))
    assert num_rounds(budget) == len(asked)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=6, unique=True))
def test_rounds_may_be_given_by_what_has_been_asked_after_each(totals: list[int]) -> None:
    totals = sorted(totals)
    budget = BudgetRecipe.model_validate({"num_after_rounds": totals})
    asked: list[int] = []
    while sum(asked) < budget.num_in_total:
        asked.append(num_to_ask(budget, len(asked), sum(asked)))
    assert [sum(asked[: n + 1]) for n in range(len(asked))] == totals
    assert num_rounds(budget) == len(totals)


@pytest.mark.parametrize(
    "given", [{"num_after_rounds": [5, 5]}, {"num_after_rounds": [0, 3]}, {"num_after_rounds": [3], "num_in_total": 4}]
)
def test_rounds_that_do_not_ascend_to_the_whole_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="num_after_rounds"):
        BudgetRecipe.model_validate(given)
