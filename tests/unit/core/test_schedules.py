"""A number that changes from round to round."""

import pytest
from pydantic import ValidationError

from hilum.core.ids import run_id
from hilum.core.recipes import ArmRecipe, Choice, ScheduleRecipe, SelectRecipe

CLASP_PE = {"first": 1, "last": 100, "num_rounds": 5}


def recipe(beta, **params):
    sampler = {"kind": "power_top_k", "score": "entropy", "beta": beta, **params}
    return SelectRecipe.model_validate({"arms": [{"share": 1, "sampler": sampler}]})


def betas(scheduled, num_rounds):
    return [scheduled.of_round(n).arms[0].sampler.params["beta"] for n in range(num_rounds)]


def test_the_beta_of_clasp_pe_is_the_paper_s():
    assert betas(recipe(CLASP_PE), 5) == pytest.approx([1, 3.1623, 10, 31.6228, 100], rel=1e-5)


def test_after_its_rounds_a_schedule_stays_where_it_ended():
    assert betas(recipe(CLASP_PE), 8)[5:] == [100, 100, 100]


def test_a_schedule_may_fall():
    assert betas(recipe({"first": 8, "last": 2, "num_rounds": 3}), 4) == pytest.approx([8, 4, 2, 2])


def test_the_recipe_of_a_round_is_that_of_the_number_written_by_hand():
    scheduled, by_hand = recipe(CLASP_PE).of_round(2), recipe(10.0)
    assert scheduled == by_hand
    assert run_id("select", 5, scheduled, {}) == run_id("select", 5, by_hand, {})


@pytest.mark.parametrize("plain", [recipe(4), recipe(None), SelectRecipe()])
def test_a_recipe_without_a_schedule_is_the_same_every_round(plain):
    assert not plain.has_schedules
    assert plain.of_round(3) == plain
    assert run_id("select", 5, plain.of_round(3), {}) == run_id("select", 5, plain, {})


def test_the_other_parameters_and_arms_stay():
    arms = (ArmRecipe(share=0.5, sampler=Choice(kind="random")), recipe(CLASP_PE).arms[0])
    both = SelectRecipe(arms=(arms[0], arms[1].model_copy(update={"share": 0.5})))
    assert both.has_schedules
    first, second = both.of_round(4).arms
    assert first == arms[0]
    assert second.sampler.params == {"score": "entropy", "beta": 100}


def test_a_recipe_with_a_schedule_comes_back_from_json():
    scheduled = recipe(CLASP_PE)
    assert SelectRecipe.model_validate_json(scheduled.model_dump_json()) == scheduled


@pytest.mark.parametrize(
    ("beta", "told"),
    [
        ({"first": 1, "last": 100}, "beta.num_rounds: Field required; beta is a number, or a schedule such as"),
        ({"first": 0, "last": 100, "num_rounds": 5}, "beta.first: Input should be greater than 0"),
        ({"first": 1, "last": 100, "num_rounds": 1}, "beta.num_rounds: Input should be greater than or equal to 2"),
        ({**CLASP_PE, "shape": "sigmoid"}, "beta.shape: Extra inputs are not permitted"),
    ],
)
def test_half_a_schedule_is_told(beta, told):
    with pytest.raises(ValidationError, match=told):
        recipe(beta)


def test_a_schedule_has_a_number_for_every_round():
    schedule = ScheduleRecipe(first=2.0, last=2.0, num_rounds=2)
    assert [schedule.at(n) for n in range(3)] == [2, 2, 2]
