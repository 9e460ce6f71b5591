"""finetune's weights for rare classes, its answers that say something, and how many workers share a batch."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.asking import IGNORE, Annotation
from hilum.core.geometry import Patch
from hilum.core.recipes import Choice, FinetuneRecipe
from hilum.core.resources import Resources
from hilum.steps.finetune import with_rare_classes_weighed
from hilum.steps.training_run import workable

SHAPE = (1, 10, 10)
RECIPE = FinetuneRecipe()


def answer(**what):
    return Annotation("a", 1, Patch("v", (0, 0, 0), SHAPE), "me", datetime(2024, 1, 1, tzinfo=UTC), 0.0, **what)


def drawn(*counts, unanswered=0):
    """One label map with so many voxels of class 0, 1, …, and the rest of them unanswered."""
    voxels = np.repeat([*range(len(counts)), IGNORE], [*counts, unanswered]).astype(np.uint16)
    assert voxels.size == 100
    return answer(label_map_zyx=voxels.reshape(SHAPE))


def weights(*answers, num_classes, recipe=RECIPE):
    return with_rare_classes_weighed(recipe, list(answers), num_classes=num_classes).loss.params["class_weights"]


def test_background_weighs_one_and_the_rarer_a_class_the_more():
    background, large, small = weights(drawn(80, 15, 5), num_classes=3)
    assert background == 1
    assert 1 < large < small


@given(st.integers(1, 98), st.floats(0.01, 1))
def test_a_class_weighs_its_share_against_the_background_s_to_the_power_that_was_asked_for(num, exponent):
    recipe = RECIPE.model_copy(update={"rare_class_exponent": exponent})
    _, weight = weights(drawn(99 - num, num, unanswered=1), num_classes=2, recipe=recipe)
    assert weight == pytest.approx(((99 - num) / num) ** exponent, rel=0.02)


@given(st.lists(st.integers(1, 20), min_size=2, max_size=4))
def test_rarer_never_weighs_less(counts):
    counts = [100 - sum(counts), *counts]
    found = weights(drawn(*counts), num_classes=len(counts))
    assert all(found[a] >= found[b] for a in range(len(counts)) for b in range(len(counts)) if counts[a] <= counts[b])


def test_shares_are_of_all_answers_together_and_do_not_depend_on_their_order():
    one, other = drawn(90, 10), drawn(50, 50)
    both = weights(one, other, num_classes=2)
    assert both == weights(other, one, num_classes=2)
    assert weights(other, num_classes=2)[1] < both[1] < weights(one, num_classes=2)[1]


def test_voxels_that_nobody_answered_are_not_counted():
    assert weights(drawn(40, 10, unanswered=50), num_classes=2) == pytest.approx(weights(drawn(80, 20), num_classes=2))


def test_a_class_that_nobody_drew_yet_has_a_weight_and_it_is_finite():
    found = weights(drawn(90, 10), num_classes=4)
    assert len(found) == 4
    assert np.isfinite(found).all()
    assert found[2] == found[3] > found[1]


def test_answers_without_any_background_still_weigh_the_background_one():
    found = weights(drawn(0, 100), num_classes=2)
    assert found[0] == 1
    assert 0 < found[1] < 1


def test_an_exponent_of_zero_leaves_the_recipe_as_it_is():
    recipe = RECIPE.model_copy(update={"rare_class_exponent": 0.0})
    assert with_rare_classes_weighed(recipe, [drawn(90, 10)], num_classes=2) is recipe


def test_weights_of_one_s_own_are_respected():
    recipe = RECIPE.model_copy(update={"loss": Choice(kind="cross_entropy", class_weights=[1.0, 9.0])})
    assert with_rare_classes_weighed(recipe, [drawn(90, 10)], num_classes=2) is recipe


def test_classes_per_patch_are_left_to_their_balanced_batches():
    answers = [answer(class_id=number) for number in (0, 0, 0, 1)]
    assert with_rare_classes_weighed(RECIPE, answers, num_classes=2) is RECIPE


def test_a_loss_that_cannot_weigh_classes_is_left_as_it_is():
    recipe = RECIPE.model_copy(update={"loss": Choice(kind="hybrid")})
    assert with_rare_classes_weighed(recipe, [drawn(90, 10)], num_classes=2) is recipe


def test_the_loss_s_other_parameters_and_the_rest_of_the_recipe_stay():
    recipe = RECIPE.model_copy(update={"loss": Choice(kind="dice_cross_entropy", dice_weight=0.3), "seed": 7})
    weighed = with_rare_classes_weighed(recipe, [drawn(90, 10)], num_classes=2)
    assert weighed.loss.kind == "dice_cross_entropy"
    assert weighed.loss.params["dice_weight"] == 0.3
    assert weighed.model_copy(update={"loss": recipe.loss}) == recipe


def test_the_recipe_that_was_given_is_not_changed_and_its_name_with_it():
    before = RECIPE.model_dump_json()
    with_rare_classes_weighed(RECIPE, [drawn(90, 10)], num_classes=2)
    assert RECIPE.model_dump_json() == before


@given(st.integers(0, 12), st.integers(1, 12))
def test_no_worker_is_without_a_chunk_and_none_is_made_up(given_workers, num_chunks):
    recipe = FinetuneRecipe(batch_size=num_chunks, num_chunks=num_chunks)
    num = workable(Resources(num_train_workers=given_workers), recipe).num_train_workers
    assert num == min(given_workers, num_chunks)


def test_other_resources_stay_as_they_were_given():
    given_resources = Resources(num_train_workers=3, score_batch_size=5)
    assert workable(given_resources, RECIPE) == given_resources.model_copy(update={"num_train_workers": 2})
