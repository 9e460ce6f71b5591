"""What is familiar: scikit-learn's distances, few samples, dead features, and reasons where there is no spread."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from hilum.core.errors import RecipeError
from hilum.nn.familiar import Familiar, familiar_with


def embeddings(num=400, size=6, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(num, size)) @ rng.normal(size=(size, size)) + 3).astype(np.float32)


def test_distances_are_those_of_scikit_learn():
    known = embeddings()
    found = familiar_with(known)
    reference = LedoitWolf().fit(known.astype(np.float64))
    np.testing.assert_allclose(found.distance(known) ** 2, reference.mahalanobis(known), rtol=1e-4)


def test_what_lies_elsewhere_is_farther_than_all_that_is_known():
    known = embeddings()
    found = familiar_with(known)
    assert found.distance(known.mean(axis=0)) == pytest.approx(0, abs=1e-3)
    assert found.distance(known + 50).min() > found.distance(known).max()


def test_one_embedding_has_one_distance_and_many_have_as_many():
    found = familiar_with(embeddings())
    many = embeddings(num=7, seed=1)
    assert found.distance(many[3]).shape == ()
    assert found.distance(many).shape == (7,)
    assert found.distance(many[3]) == pytest.approx(found.distance(many)[3])


@pytest.mark.parametrize("num", [2, 3, 30])
def test_there_may_be_fewer_embeddings_than_numbers_in_one(num):
    known = embeddings(num=num, size=64)
    found = familiar_with(known)
    assert np.isfinite(found.distance(known)).all()
    assert found.distance(known.mean(axis=0) + 100) > found.distance(known).max()


def test_a_number_that_never_changed_is_far_once_it_does():
    known = embeddings()
    known[:, 2] = 0  # a feature that no known image wakes
    found = familiar_with(known)
    awake = known.copy()
    awake[:, 2] = 5
    assert np.isfinite(found.distance(awake)).all()
    assert found.distance(awake).min() > found.distance(known).max()


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (embeddings(num=1), "at least two patches, and there are 1"),
        (embeddings(num=0), "there are 0"),
        (np.full((50, 4), 0.7, np.float32), "embeds every patch alike"),
        (np.zeros((50, 4), np.float32), "embeds every patch alike"),
        (np.float32(0.7) + np.float32(6e-8) * (np.arange(200).reshape(50, 4) % 2), "embeds every patch alike"),
    ],
)
def test_without_a_spread_it_says_why(known, why):
    assert why in familiar_with(known)


def test_embeddings_of_another_network_are_refused():
    with pytest.raises(RecipeError, match="another network's"):
        Familiar(np.zeros(3), np.eye(3)).distance(np.zeros((2, 4)))
