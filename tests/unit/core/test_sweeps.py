"""What a sweep draws, where it looks, and what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hilum.core.recipes import CampaignRecipe
from hilum.core.sweeps import RangeRecipe, TuneRecipe, drawn, laid_over, rungs_of

CAMPAIGN = CampaignRecipe(question="segment")
SWEEP = {
    "finetune.learning_rate": {"log_uniform": (1e-4, 1e-2)},
    "finetune.architecture.depth": {"choice": (2, 3)},
    "finetune.warm_up": {"uniform": (0.0, 0.2)},
    "finetune.batch_size": {"int_uniform": (4, 9)},
}


def sweep(**changes):
    return TuneRecipe.model_validate({"campaign": CAMPAIGN, "sweep": SWEEP, **changes})


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_the_same_seed_draws_the_same_trials_and_more_trials_begin_with_them(seed, num):
    few, more = drawn(sweep(seed=seed, num_trials=num)), drawn(sweep(seed=seed, num_trials=num + 3))
    assert few == more[:num]
    assert len(more) == num + 3


@given(st.integers(0, 2**32))
def test_what_is_drawn_lies_in_its_range(seed):
    for settings in drawn(sweep(seed=seed, num_trials=5)):
        assert 1e-4 <= settings["finetune.learning_rate"] <= 1e-2
        assert settings["finetune.architecture.depth"] in (2, 3)
        assert 0 <= settings["finetune.warm_up"] <= 0.2
        assert settings["finetune.batch_size"] in range(4, 10)
        assert settings["finetune.learning_rate"] == float(f"{settings['finetune.learning_rate']:.4g}")


def test_no_two_trials_are_alike_and_there_are_no_more_than_there_can_be():
    few = {"finetune.architecture.depth": {"choice": (1, 2, 3)}}
    found = drawn(sweep(sweep=few, num_trials=10))
    assert sorted(one["finetune.architecture.depth"] for one in found) == [1, 2, 3]


def test_the_order_in_the_file_changes_nothing():
    assert drawn(sweep()) == drawn(sweep(sweep=dict(reversed(SWEEP.items()))))


@pytest.mark.parametrize(
    ("whole", "grace", "factor", "rungs"),
    [(27, 3, 3, (3, 9, 27)), (100, 30, 2, (30, 60, 100)), (10, 10, 3, (10,)), (300, None, 3, (34, 102, 300))],
)
def test_rungs_grow_by_the_factor_and_end_with_the_training(whole, grace, factor, rungs):
    assert rungs_of(sweep(num_steps=whole, grace_steps=grace, reduction_factor=factor)) == rungs


@pytest.mark.parametrize("path", ["evaluate.overlap", "finetune.num_steps", "finetune.from", "learning_rate"])
def test_only_a_training_is_swept(path):
    with pytest.raises(ValidationError, match="cannot be swept"):
        sweep(sweep={path: {"choice": (1,)}})


@pytest.mark.parametrize(
    "given_range",
    [
        {},
        {"choice": ()},
        {"choice": (1,), "uniform": (0, 1)},
        {"uniform": (1, 1)},
        {"uniform": (2, 1)},
        {"log_uniform": (0, 1)},
        {"uniform": (0, float("inf"))},
        {"int_uniform": (3, 2)},
    ],
)
def test_a_range_that_cannot_be_meant_is_refused(given_range):
    with pytest.raises(ValidationError):
        RangeRecipe.model_validate(given_range)


@pytest.mark.parametrize("grace", [301, 2])
def test_the_first_rung_lies_within_the_training_and_after_its_first_report(grace):
    with pytest.raises(ValidationError, match="grace_steps"):
        sweep(num_steps=300, grace_steps=grace)


def test_settings_become_what_a_recipe_file_would_say():
    settings = {"finetune.architecture.depth": 2, "finetune.learning_rate": 0.1}
    assert laid_over({}, settings) == {"finetune": {"architecture": {"depth": 2}, "learning_rate": 0.1}}
