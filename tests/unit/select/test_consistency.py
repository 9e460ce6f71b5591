"""AIFT against the published table, against loops over pairs, and as seven patterns of prediction."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.core.registry import scorers
from hilum.select.consistency import MATLAB_EPS, aift, entropy_and_diversity, num_kept
from hilum.testing.scorers import probabilities

# Eleven views of a candidate of each of the seven patterns, and what the authors' demonstration prints:
# entropy, entropy of the majority, diversity, diversity of the majority, both, both of the majority.
PUBLISHED = {
    "A": (".4 .4 .4 .5 .5 .5 .5 .5 .5 .6 .6", (7.52, 2.02, 4.38, 0.00, 11.90, 2.02)),
    "B": ("0 .1 .2 .3 .4 .4 .6 .7 .8 1 1", (4.57, 0.83, 1237.21, 20.79, 1241.77, 21.62)),
    "C": ("0 0 0 .1 .1 .9 .9 1 1 1 1", (1.30, 0, 2816.66, 0, 2817.96, 0)),
    "D": ("1 1 1 1 1 1 1 .9 .9 .9 .9", (1.30, 0, 189.54, 0, 190.84, 0)),
    "E": ("0 0 0 0 0 0 0 .1 .1 .1 .1", (1.30, 0, 189.54, 0, 190.84, 0)),
    "F": ("0 0 .1 .1 .1 .1 .2 .2 .3 .9 1", (3.24, 0.33, 1076.87, 13.54, 1080.11, 13.86)),
    "G": ("0 .1 .7 .8 .8 .9 .9 .9 .9 1 1", (3.24, 0.33, 1076.87, 13.54, 1080.11, 13.86)),
}
FOUR_VIEWS = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])


def views(pattern):
    foreground = np.array([float(p) for p in PUBLISHED[pattern][0].split()])
    return np.stack([1 - foreground, foreground], axis=1)[None]


@pytest.mark.parametrize("pattern", PUBLISHED)
def test_the_published_table_comes_out_to_every_digit(pattern):
    computed = []
    for alpha in (1.0, 0.25):
        entropy, diversity = entropy_and_diversity(views(pattern), alpha=alpha, convention="matlab", eps=MATLAB_EPS)
        computed.append((entropy[0], diversity[0], entropy[0] + diversity[0]))
    ours = [value for pair in zip(*computed, strict=True) for value in pair]
    assert ours == pytest.approx(PUBLISHED[pattern][1], abs=0.005001)


def test_several_classes_come_out_as_computed_by_hand():
    entropy, diversity = entropy_and_diversity(FOUR_VIEWS[None])
    assert entropy[0] == pytest.approx(0.856924, abs=1e-5)
    assert diversity[0] == pytest.approx(5.986790, abs=1e-5)
    _, twice = entropy_and_diversity(FOUR_VIEWS[None], convention="matlab")
    assert twice[0] == pytest.approx(11.973581, abs=1e-5)
    entropy, diversity = entropy_and_diversity(FOUR_VIEWS[None], alpha=0.5)
    assert entropy[0] == pytest.approx(0.849882, abs=1e-5)
    assert diversity[0] == pytest.approx(0.055962, abs=1e-5)


def test_the_registered_scorer_weighs_both_terms():
    probs_MCK = np.moveaxis(FOUR_VIEWS[None], 0, 2).astype(np.float32)
    both = aift(probs_MCK, lambda1=0.5, lambda2=2.0, alpha=0.5)
    assert both[0] == pytest.approx(0.5 * 0.849882 + 2 * 0.055962, abs=1e-5)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 6))
def test_the_closed_form_is_the_sum_over_all_pairs(seed, num_views, num_classes):
    probs_MC = probabilities((num_views, num_classes, 1), seed=seed)[..., 0].astype(np.float64)
    clipped = np.clip(probs_MC, 1e-6, 1 - 1e-6)
    pairs = sum(
        (p - q) * (math.log(p) - math.log(q))
        for one, other in itertools.combinations(clipped, 2)
        for p, q in zip(one, other, strict=True)
    )
    entropy, diversity = entropy_and_diversity(probs_MC[None])
    assert diversity[0] == pytest.approx(pairs, rel=1e-7, abs=1e-9)
    assert entropy[0] == pytest.approx(-(clipped * np.log(clipped)).sum() / num_views, rel=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.sampled_from([0.1, 0.25, 0.5, 1.0]))
def test_views_may_come_in_any_order(seed, num_views, alpha):
    rng = np.random.default_rng(seed)
    # Rounded, so that views tie on the dominant class.
    probs_KMC = np.round(rng.dirichlet(np.ones(3), size=(4, num_views)), 1)
    shuffled = probs_KMC[:, rng.permutation(num_views)]
    for one, other in zip(
        entropy_and_diversity(probs_KMC, alpha=alpha), entropy_and_diversity(shuffled, alpha=alpha), strict=True
    ):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9)


@given(st.integers(0, 2**32 - 1))
def test_the_majority_is_the_views_surest_of_the_commonest_class(seed):
    probs_MC = np.random.default_rng(seed).dirichlet(np.ones(3), size=8)
    dominant = probs_MC.mean(axis=0).argmax()
    surest = probs_MC[np.argsort(-probs_MC[:, dominant])[:2]]
    expected = entropy_and_diversity(surest[None])
    np.testing.assert_allclose(entropy_and_diversity(probs_MC[None], alpha=0.25), expected, rtol=1e-9)


def test_views_that_agree_have_no_diversity():
    same = np.repeat(np.array([[[0.999999, 0.000001]]], np.float32), 36, axis=1)
    assert entropy_and_diversity(same)[1][0] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("num_views", "alpha", "kept"), [(11, 0.25, 3), (4, 0.25, 1), (1, 0.25, 1), (10, 0.25, 3), (9, 1, 9)]
)
def test_a_quarter_is_rounded_half_up_and_at_least_one(num_views, alpha, kept):
    assert num_kept(num_views, alpha) == kept


def test_without_the_majority_label_noise_comes_first_and_with_it_last():
    def ranking(alpha):
        scores = {p: entropy_and_diversity(views(p), alpha=alpha)[1][0] for p in PUBLISHED}
        return sorted(scores, key=scores.__getitem__, reverse=True)

    assert ranking(1.0)[:2] == ["C", "B"]
    assert ranking(0.25)[0] == "B"
    assert set(ranking(0.25)[1:3]) == {"F", "G"}
    assert entropy_and_diversity(views("C"), alpha=0.25)[1][0] == pytest.approx(0, abs=1e-12)


def test_single_and_double_precision_say_the_same():
    probs = np.random.default_rng(0).dirichlet(np.ones(4), size=(50, 12))
    for one, other in zip(entropy_and_diversity(probs), entropy_and_diversity(probs.astype(np.float32)), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4)


@pytest.mark.parametrize("params", [{"alpha": 0}, {"alpha": 1.5}, {"lambda1": -1}, {"convention": "thesis"}])
def test_parameters_that_cannot_be_meant_are_refused(params):
    with pytest.raises(RecipeError, match=f"scorer 'aift', parameter '{next(iter(params))}'"):
        scorers.bind(Choice(kind="aift", **params))
