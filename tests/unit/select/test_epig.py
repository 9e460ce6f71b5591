"""EPIG against the joint distribution of two answers, and where it parts from BALD."""

import math

import numpy as np
import pytest

from hilum.core.recipes import Choice
from hilum.core.registry import samplers
from hilum.select import builtin  # noqa: F401 (registers them)
from hilum.select.epig import expected_information
from hilum.select.scored import ScoredPool


def drawn(num, num_members, num_classes, *, seed):
    return np.random.default_rng(seed).dirichlet(np.ones(num_classes), size=(num, num_members))


def information(one_MC, other_MC):
    """I(y; y*) as the divergence of the joint distribution from the product of its margins."""
    num_members = len(one_MC)
    total = 0.0
    for c in range(one_MC.shape[1]):
        for d in range(other_MC.shape[1]):
            joint = sum(float(one_MC[m, c] * other_MC[m, d]) for m in range(num_members)) / num_members
            apart = float(one_MC[:, c].mean() * other_MC[:, d].mean())
            total += joint * math.log(joint / apart) if joint > 0 else 0.0
    return total


@pytest.mark.parametrize(("num_members", "num_classes"), [(2, 2), (5, 3), (4, 6)])
def test_it_is_the_mean_information_about_the_targets(num_members, num_classes):
    probs = drawn(9, num_members, num_classes, seed=3)
    targets = drawn(7, num_members, num_classes, seed=4)
    expected = [np.mean([information(one, other) for other in targets]) for one in probs]
    np.testing.assert_allclose(expected_information(probs, targets), expected, rtol=1e-9, atol=1e-12)


def test_certain_members_are_no_trouble():
    probs = np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    np.testing.assert_allclose(expected_information(probs, probs), [math.log(2) / 2, 0], atol=1e-12)


def test_a_strange_candidate_that_tells_nothing_of_others_is_not_asked():
    # Members 0 and 1 differ about the common kind; members 0 and 2 about one strange candidate, and more strongly.
    common = np.array([[0.8, 0.2], [0.2, 0.8], [0.8, 0.2], [0.2, 0.8]])
    strange = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    probs = np.stack([strange, *[common] * 9])
    scored = ScoredPool(np.array([f"{i:012x}" for i in range(10)]), member_probs=probs.astype(np.float32))
    rng = np.random.default_rng(0)
    assert samplers.bind(Choice(kind="batch_bald"))(scored, 1, rng=rng).tolist() == [0]
    assert samplers.bind(Choice(kind="epig"))(scored, 1, rng=rng).tolist() == [1]


def test_being_drawn_as_a_target_is_no_merit():
    probs = drawn(12, 4, 3, seed=7).astype(np.float32)
    scored = ScoredPool(np.array([f"{i:012x}" for i in range(12)]), member_probs=probs)
    normed = probs.astype(float) / probs.astype(float).sum(axis=2, keepdims=True)
    of_others = [np.mean([information(normed[n], normed[t]) for t in range(12) if t != n]) for n in range(12)]
    picks = samplers.bind(Choice(kind="epig"))(scored, 12, rng=np.random.default_rng(0))
    assert picks.tolist() == np.argsort(-np.array(of_others)).tolist()
