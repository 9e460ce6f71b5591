"""What every scorer must keep. Subclass `ScorerTests` and give it a ``scorer`` fixture.

``scorer`` is a registered function with its parameters bound: probabilities (members,
classes, …) in, one score for each of the rest out.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Scorer = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

SHAPES = [(1, 2, 7), (3, 2, 5), (4, 5, 6), (8, 3, 2, 4, 3), (2, 2, 3, 2, 4, 5)]
_WITHIN = 1e-4
"""Members may be added up in another order, and float32 tells."""


def probabilities(shape: tuple[int, ...], *, seed: int, sharpness: float = 1.0) -> npt.NDArray[np.float32]:
    """Random probabilities of ``shape`` (members, classes, …); the larger ``sharpness``, the surer."""
    logits = sharpness * np.random.default_rng(seed).standard_normal(shape)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs: npt.NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return probs


class ScorerTests:
    """The conformance suite: finite, non-negative, blind to the order of members, and it leaves its input alone."""

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("sharpness", [0.0, 1.0, 300.0])
    def test_there_is_one_finite_score_for_everything_asked(
        self, scorer: Scorer, shape: tuple[int, ...], sharpness: float
    ) -> None:
        scores = scorer(probabilities(shape, seed=0, sharpness=sharpness))
        assert scores.shape == shape[2:]
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        assert (scores >= 0).all()

    @pytest.mark.parametrize("shape", SHAPES)
    def test_the_order_of_members_does_not_matter(self, scorer: Scorer, shape: tuple[int, ...]) -> None:
        probs = probabilities(shape, seed=1)
        shuffled = probs[np.random.default_rng(2).permutation(shape[0])]
        np.testing.assert_allclose(scorer(shuffled), scorer(probs), rtol=_WITHIN, atol=_WITHIN)

    def test_members_that_tie_may_come_in_any_order(self, scorer: Scorer) -> None:
        views = np.array([[0.5, 0.3, 0.2], [0.5, 0.2, 0.3], [0.5, 0.1, 0.4], [0.5, 0.4, 0.1]], np.float32)[..., None]
        orders = [np.roll(np.arange(4), shift) for shift in range(4)]
        scores: list[Any] = [scorer(views[order]) for order in orders]
        np.testing.assert_allclose(scores, [scores[0]] * 4, rtol=_WITHIN, atol=_WITHIN)

    def test_the_probabilities_are_left_as_they_were(self, scorer: Scorer) -> None:
        probs = probabilities((3, 4, 5), seed=3)
        before = probs.copy()
        scorer(probs)
        np.testing.assert_array_equal(probs, before)

    def test_a_candidate_scores_the_same_alone_as_among_others(self, scorer: Scorer) -> None:
        probs = probabilities((3, 4, 6), seed=4)
        together = scorer(probs)
        alone = np.concatenate([scorer(probs[:, :, i : i + 1]) for i in range(6)])
        np.testing.assert_allclose(alone, together, rtol=_WITHIN, atol=_WITHIN)

    def test_certain_and_unanimous_members_score_lower_than_uncertain_or_divided_ones(self, scorer: Scorer) -> None:
        certain = np.zeros((4, 2, 1), np.float32)
        certain[:, 0] = 1
        # Half of each side hesitates: unsure, and not of one mind within either half.
        divided = np.array([[0.95, 0.05], [0.55, 0.45], [0.05, 0.95], [0.45, 0.55]], np.float32)[..., None]
        assert scorer(certain)[0] < scorer(divided)[0]

    def test_nobody_to_score_is_no_scores(self, scorer: Scorer) -> None:
        assert scorer(np.empty((2, 3, 0), np.float32)).shape == (0,)
