"""Temperature scaling: softmax(logits / T) from probabilities, and the T that made them too sure is found again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from hilum.core.errors import RecipeError
from hilum.nn.temperature import TEMPERATURES, Evidence, Fit, sample_voxels, tempered

STEP = TEMPERATURES[1] / TEMPERATURES[0]
SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed, temperature, num=6000, num_classes=3):
    """Probabilities that are too sure by ``temperature``, and truths drawn from honest ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=1.5, size=(num, num_classes))
    honest = softmax(logits, axis=1)
    truth = (honest.cumsum(axis=1) < rng.random((num, 1))).sum(axis=1)
    return softmax(logits * temperature, axis=1).astype(np.float32), truth


@given(SEEDS, st.floats(0.1, 10), st.integers(2, 5))
def test_it_is_the_softmax_of_divided_logits(seed, temperature, num_classes):
    logits = np.random.default_rng(seed).normal(scale=3, size=(20, num_classes))
    found = tempered(softmax(logits, axis=1), temperature)
    np.testing.assert_allclose(found, softmax(logits / temperature, axis=1), rtol=1e-9)


@given(SEEDS, st.floats(0.02, 50), st.sampled_from([np.float32, np.float64]))
def test_sums_stay_at_1_and_the_likeliest_class_stays_the_likeliest(seed, temperature, dtype):
    logits = np.random.default_rng(seed).normal(scale=20, size=(3, 4, 5, 6))
    probs = softmax(logits, axis=1).astype(dtype)
    found = tempered(probs, temperature, class_axis=1)
    assert found.dtype == dtype
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    likeliest = np.take_along_axis(found, probs.argmax(axis=1, keepdims=True), axis=1)
    np.testing.assert_array_equal(likeliest, found.max(axis=1, keepdims=True))


def test_at_1_nothing_changes_at_all():
    probs = softmax(np.random.default_rng(0).normal(size=(5, 3)), axis=1).astype(np.float32)
    np.testing.assert_array_equal(tempered(probs, 1.0), probs)


@pytest.mark.parametrize("temperature", [0, -1, np.nan, np.inf])
def test_what_is_no_temperature_is_refused(temperature):
    with pytest.raises(RecipeError, match="above 0"):
        tempered(np.array([[0.5, 0.5]]), temperature)


@settings(max_examples=10)
@given(SEEDS, st.floats(0.4, 4))
def test_the_temperature_that_made_answers_too_sure_is_found_again(seed, temperature):
    probs, truth = drawn(seed, temperature)
    found = Evidence.of(probs, truth, np.ones(len(truth))).fit()
    assert isinstance(found, Fit)
    assert found.temperature == pytest.approx(temperature, rel=0.12)
    assert found.nll_after <= found.nll_before
    assert found.ece_after < 0.05


def test_the_likelihood_and_the_calibration_error_are_those_of_their_definitions():
    probs, truth = drawn(1, 2.0, num=500)
    found = Evidence.of(probs, truth, np.ones(500)).fit()
    logits = np.log(probs.astype(np.float64))

    def nll(temperature):
        return -log_softmax(logits / temperature, axis=1)[np.arange(500), truth].mean()

    assert found.nll_before == pytest.approx(nll(1))
    assert found.nll_after == pytest.approx(nll(found.temperature))
    assert nll(found.temperature) <= min(nll(found.temperature * STEP), nll(found.temperature / STEP))
    right, sure = probs.argmax(axis=1) == truth, probs.max(axis=1).astype(np.float64)
    edges = np.linspace(0, 1, 16)
    bins = [(sure >= low) & (sure < high) for low, high in zip(edges, [*edges[1:-1], 1.1], strict=False)]
    ece = sum(one.mean() * abs(right[one].mean() - sure[one].mean()) for one in bins if one.any())
    assert found.ece_before == pytest.approx(ece)


def test_evidence_adds_up_and_a_weight_is_so_many_answers():
    probs, truth = drawn(2, 3.0, num=60)
    weights = np.random.default_rng(0).integers(1, 4, 60)
    whole = Evidence.of(np.repeat(probs, weights, axis=0), np.repeat(truth, weights), np.ones(weights.sum()))
    parts = Evidence.of(probs[:25], truth[:25], weights[:25] * 1.0) + Evidence.of(
        probs[25:], truth[25:], weights[25:] * 1.0
    )
    np.testing.assert_allclose(parts.nll, whole.nll)
    np.testing.assert_allclose(parts.gap, whole.gap, atol=1e-9)
    np.testing.assert_allclose(parts.truth, whole.truth)


def test_a_class_that_was_given_no_chance_costs_much_but_not_everything():
    evidence = Evidence.of(np.array([[1.0, 0.0]]), np.array([1]), np.ones(1))
    # What float32 calls 0 was 1e-38 at most.
    np.testing.assert_allclose(
        evidence.nll, np.log1p(np.exp(-87.336 / TEMPERATURES)) + 87.336 / TEMPERATURES, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("probs", "truth", "why"),
    [
        ([], [], "nobody on the validation side"),
        ([[0.9, 0.1], [0.8, 0.2]], [0, 0], "one class only"),
        ([[0.9, 0.1], [0.2, 0.8]], [0, 1], "right wherever it is sure"),
        ([[0.9, 0.1], [0.2, 0.8]], [1, 0], "so much too sure"),
    ],
)
def test_where_nothing_can_be_told_it_says_why(probs, truth, why):
    evidence = Evidence.of(np.array(probs).reshape(-1, 2), np.array(truth, int), np.ones(len(truth)))
    assert why in evidence.fit()
    assert "nobody" in Evidence.none(3).fit()


def test_sampled_voxels_stand_for_all_of_them():
    rng = np.random.default_rng(0)
    truth_ZYX = (rng.random((4, 40, 40)) < 0.02).astype(np.uint16)
    truth_ZYX[0] = 65_535  # nobody said what these are
    probs_KZYX = softmax(rng.normal(size=(2, 4, 40, 40)), axis=0)
    probs, truth, weights = sample_voxels(probs_KZYX, truth_ZYX, 100, rng)
    answered = truth_ZYX[1:]
    assert np.bincount(truth).tolist() == [50, 50]
    assert weights.sum() == pytest.approx(answered.size)
    assert weights[truth == 1].sum() == pytest.approx((answered == 1).sum())
    whole = np.array([probs_KZYX[:, *where] for where in np.argwhere(truth_ZYX < 2)])
    assert {tuple(row) for row in probs} <= {tuple(row) for row in whole}
    everything = sample_voxels(probs_KZYX, truth_ZYX, 10**6, rng)
    assert len(everything[0]) == answered.size
    assert set(everything[2]) == {1.0}


def test_of_an_unanswered_map_no_voxel_is_sampled():
    probs, truth, weights = sample_voxels(
        np.full((2, 1, 2, 2), 0.5), np.full((1, 2, 2), 65_535), 10, np.random.default_rng(0)
    )
    assert (probs.shape, truth.shape, weights.shape) == ((0, 2), (0,), (0,))
