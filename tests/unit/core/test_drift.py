"""Drift: a worked example, bins that hold their upper edge, and numbers for whatever is counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.drift import Histogram, psi
from hilum.core.errors import RecipeError

COUNTS = st.lists(st.integers(0, 1000), min_size=4, max_size=4).filter(any)


def test_a_worked_example():
    # (0.3 − 0.2) ln 1.5 + (0.5 − 0.5) ln 1 + (0.2 − 0.3) ln (2 / 3)
    assert psi([20, 50, 30], [300, 500, 200]) == pytest.approx(0.1 * np.log(1.5) + 0.1 * np.log(1.5))


def test_an_empty_bin_counts_as_one_in_ten_thousand():
    assert psi([50, 50], [100, 0]) == pytest.approx(0.5 * np.log(2) + (1e-4 - 0.5) * np.log(2e-4))


@given(COUNTS, COUNTS)
def test_it_is_the_same_both_ways_never_below_0_and_0_only_of_equal_shares(one, other):
    there = psi(one, other)
    assert there >= 0
    assert there == pytest.approx(psi(other, one))
    assert psi(one, [3 * count for count in one]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("one", "other"), [([1, 2], [1, 2, 3]), ([0, 0], [1, 2]), ([1, 2], [0, 0]), ([], [])])
def test_what_cannot_be_compared_is_refused(one, other):
    with pytest.raises(RecipeError, match="same bins"):
        psi(one, other)


def test_bins_hold_equally_many():
    made = Histogram.of(np.arange(1000.0))
    np.testing.assert_allclose(made.counts, 100, atol=1)
    assert sum(made.counts) == 1000
    assert made.psi(np.arange(1000.0)) == 0
    assert made.psi(np.arange(1000.0) + 500) > 1


def test_many_equal_values_share_one_bin_and_another_share_of_them_is_seen():
    shares = np.concatenate([np.zeros(70), np.linspace(0.1, 0.5, 30)])
    made = Histogram.of(shares)
    assert made.counts[0] == 70
    assert made.edges[0] == 0
    assert made.psi(shares) == 0
    assert made.psi(np.zeros(100)) > 0.25


def test_of_one_value_there_is_one_bin_below_and_one_above():
    made = Histogram.of(np.full(5, 0.3))
    assert (made.edges, made.counts) == ((0.3,), (5, 0))
    assert made.psi(np.full(5, 0.4)) > 1


@given(st.lists(st.integers(0, 50), min_size=2, max_size=40).filter(any), st.integers(1, 12))
def test_fewer_bins_count_what_the_many_counted(counts, num_bins):
    fine = Histogram(edges=tuple(float(at) for at in range(1, len(counts))), counts=tuple(counts))
    values = np.repeat(np.arange(1, len(counts) + 1, dtype=float), counts)
    assert fine.count(values).tolist() == counts
    coarse = fine.coarser(num_bins)
    assert len(coarse.edges) <= num_bins - 1
    assert list(coarse.counts) == coarse.count(values).tolist()
    assert sum(coarse.counts) == sum(counts)
