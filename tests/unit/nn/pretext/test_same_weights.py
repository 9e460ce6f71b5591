"""Every pretext ends with the same weights: repeated, killed, shared, read ahead."""

import numpy as np
import pytest
from tests.unit.nn.pretext.schooling import (
    FLAT,
    SOLID,
    equal,
    recipe_of,
    trained,
    trained_by_two,
    trained_with_deaths,
)

from hilum.core.recipes import Choice

PRETEXTS = {
    "patch_shuffling": Choice(kind="patch_shuffling"),
    "masked": Choice(kind="masked", cube=4),
    "jigsaw": Choice(kind="jigsaw", num_permutations=10),
    "rubik": Choice(kind="rubik", num_permutations=10),
    "deep_cluster": Choice(kind="deep_cluster", num_classes=5, num_crops=20, every=4),
}
BOTH = [pytest.param(shape, id=name) for shape, name in ((FLAT, "2D"), (SOLID, "3D"))]


@pytest.fixture(scope="module")
def whole():
    """Each training, once, whole."""
    known = {}

    def of(name, shape):
        if (name, shape) not in known:
            known[name, shape] = trained(recipe_of(PRETEXTS[name], shape))[:2]
        return known[name, shape]

    return of


@pytest.mark.parametrize("shape", BOTH)
@pytest.mark.parametrize("name", PRETEXTS)
def test_a_training_killed_at_random_steps_ends_as_one_that_never_was(name, shape, whole):
    lives = np.random.default_rng(len(name)).integers(0, 4, size=3).tolist()
    weights, history = trained_with_deaths(recipe_of(PRETEXTS[name], shape), lives)
    assert equal(weights, whole(name, shape)[0]), f"killed after {lives} steps"
    assert history == whole(name, shape)[1]


@pytest.mark.parametrize("shape", BOTH)
@pytest.mark.parametrize("name", PRETEXTS)
def test_two_workers_reach_the_weights_of_one(name, shape, whole):
    for weights, history in trained_by_two(recipe_of(PRETEXTS[name], shape)):
        assert equal(weights, whole(name, shape)[0])
        assert history == whole(name, shape)[1]


@pytest.mark.parametrize("name", PRETEXTS)
def test_reading_ahead_changes_no_bit(name, whole):
    assert equal(trained(recipe_of(PRETEXTS[name]), num_readers=3)[0], whole(name, FLAT)[0])


@pytest.mark.parametrize("name", PRETEXTS)
def test_another_seed_is_another_training(name, whole):
    assert not equal(trained(recipe_of(PRETEXTS[name], seed=1))[0], whole(name, FLAT)[0])


@pytest.mark.parametrize("name", ["jigsaw", "rubik", "deep_cluster"])
def test_a_riddle_leaves_an_encoder_and_a_head(name, whole):
    kept = {tensor.rsplit(".", maxsplit=1)[0].split(".")[0] for tensor in whole(name, FLAT)[0]}
    assert kept == {"body", "head"}
    bodies = [tensor for tensor in whole(name, FLAT)[0] if tensor.startswith("body.")]
    assert all(tensor.startswith("body.encoder.") for tensor in bodies)


@pytest.mark.parametrize("name", ["patch_shuffling", "masked"])
def test_what_restores_leaves_a_decoder_too(name, whole):
    assert any(not tensor.startswith("body.encoder.") for tensor in whole(name, FLAT)[0])
    assert all(tensor.startswith("body.") for tensor in whole(name, FLAT)[0])
