"""Resources: checked like recipes, and never part of any result's name."""

import pytest
from pydantic import ValidationError

from hilum.core import recipes
from hilum.core.recipes import FinetuneRecipe, Recipe, ScoreRecipe
from hilum.core.resources import Resources

RECIPES = [kind for kind in vars(recipes).values() if isinstance(kind, type) and issubclass(kind, Recipe)]


def test_the_plain_profile_needs_no_accelerator_and_no_cluster():
    plain = Resources()
    assert plain.gpus_per_worker == 0
    assert plain.num_train_workers == 0
    assert plain.precision == "float32"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda kind: kind.__name__)
def test_no_recipe_says_how_fast_it_is_to_be_computed(recipe):
    assert not set(recipe.model_fields) & set(Resources.model_fields)


@pytest.mark.parametrize("recipe", [FinetuneRecipe, ScoreRecipe])
def test_a_resource_written_into_a_recipe_is_refused(recipe):
    for name, value in Resources().model_dump().items():
        with pytest.raises(ValidationError, match="Extra inputs"):
            recipe.model_validate({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_score_workers", 0),
        ("num_ingest_workers", 0),
        ("num_train_workers", -1),
        ("min_train_workers", 0),
        ("min_train_workers", 1),
        ("num_readers", -1),
        ("num_parallel_branches", 0),
        ("cpus_per_worker", 0),
        ("gpus_per_worker", -0.5),
        ("score_batch_size", 0),
        ("precision", "float16"),
        ("max_failures", -1),
        ("num_workers", 4),
    ],
)
def test_what_no_machine_has_is_refused_by_its_name(name, value):
    with pytest.raises(ValidationError, match=name):
        Resources.model_validate({name: value})


def test_a_share_of_an_accelerator_can_be_asked_for():
    assert Resources(gpus_per_worker=0.25, cpus_per_worker=0.5).gpus_per_worker == 0.25


def test_a_profile_survives_the_journey_to_json_and_back():
    profile = Resources(num_train_workers=4, precision="bfloat16")
    assert Resources.model_validate_json(profile.model_dump_json()) == profile


def test_a_profile_cannot_be_changed_under_a_running_step():
    with pytest.raises(ValidationError, match="frozen"):
        Resources().score_batch_size = 1
