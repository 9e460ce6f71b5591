"""What every sampler must keep. Subclass `SamplerTests` and give it a ``sampler`` fixture.

``sampler`` is a registered function with its parameters bound: ``(scored, num, *, rng)`` to
rows of the pool. The pools it is given have the scores 'margin' and 'entropy', classes,
class fractions, an embedding, that of three views, and three members' class probabilities.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hilum.core.errors import DataError, RecipeError
from hilum.select.scored import ScoredPool

Sampler = Callable[..., npt.NDArray[np.int64]]

_PROPERTY = settings(
    max_examples=25,
    deadline=None,
    # The fixture is a function: there is nothing in it to reset between examples.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


def scored_pool(num: int, *, seed: int = 0, num_classes: int = 3, num_labelled: int = 0, size: int = 4) -> ScoredPool:
    """A pool of ``num`` random candidates, sorted by id."""
    rng = np.random.default_rng(seed)
    fractions = rng.dirichlet(np.ones(num_classes), size=num).astype(np.float32).reshape(num, num_classes)
    return ScoredPool(
        candidate_ids=np.array([f"{i:012x}" for i in range(num)], np.str_),
        scores={name: rng.random(num, dtype=np.float32) for name in ("margin", "entropy")},
        predicted_class=fractions.argmax(axis=1).astype(np.int64),
        class_fractions=fractions,
        embedding=rng.standard_normal((num, size)).astype(np.float16),
        labelled_fractions=rng.dirichlet(np.ones(num_classes), size=num_labelled).astype(np.float32),
        labelled_embedding=rng.standard_normal((num_labelled, size)).astype(np.float16),
        member_probs=rng.dirichlet(np.ones(num_classes), size=(num, 3)).astype(np.float16),
        view_embedding=rng.standard_normal((num, 3, size)).astype(np.float16),
    )


def constant_pool(num: int) -> ScoredPool:
    """A pool whose candidates cannot be told apart: one class, one score, one place."""
    ones = np.ones(num, np.float32)
    return ScoredPool(
        candidate_ids=np.array([f"{i:012x}" for i in range(num)], np.str_),
        scores={"margin": ones * 0.5, "entropy": ones * 0.5},
        predicted_class=np.zeros(num, np.int64),
        class_fractions=ones[:, None],
        embedding=np.ones((num, 3), np.float16),
        member_probs=np.ones((num, 3, 1), np.float16),
        view_embedding=np.ones((num, 3, 3), np.float16),
    )


class SamplerTests:
    """The conformance suite: distinct rows in range, as many as asked, repeatable, whatever the pool looks like."""

    @_PROPERTY
    @given(num_open=st.integers(0, 40), num=st.integers(0, 50), num_labelled=st.integers(0, 5), seed=st.integers(0, 99))
    def test_as_many_different_candidates_as_asked_or_all_there_are(
        self, sampler: Sampler, num_open: int, num: int, num_labelled: int, seed: int
    ) -> None:
        rows = sampler(
            scored_pool(num_open, seed=seed, num_labelled=num_labelled), num, rng=np.random.default_rng(seed)
        )
        assert rows.dtype == np.int64
        assert len(rows) == min(num, num_open)
        assert len(set(rows.tolist())) == len(rows)
        assert all(0 <= row < num_open for row in rows)

    @_PROPERTY
    @given(num_open=st.integers(1, 30), num=st.integers(1, 30), seed=st.integers(0, 99))
    def test_candidates_that_cannot_be_told_apart_are_no_trouble(
        self, sampler: Sampler, num_open: int, num: int, seed: int
    ) -> None:
        rows = sampler(constant_pool(num_open), num, rng=np.random.default_rng(seed))
        assert len(set(rows.tolist())) == min(num, num_open)

    def test_the_same_seed_picks_the_same(self, sampler: Sampler) -> None:
        scored = scored_pool(60, num_labelled=4)
        picks = [sampler(scored, 10, rng=np.random.default_rng(7)).tolist() for _ in range(2)]
        assert picks[0] == picks[1]

    def test_the_pool_is_left_as_it_was(self, sampler: Sampler) -> None:
        scored, untouched = scored_pool(30, num_labelled=2), scored_pool(30, num_labelled=2)
        sampler(scored, 8, rng=np.random.default_rng(0))
        columns = ("embedding", "class_fractions", "predicted_class", "labelled_embedding", "member_probs")
        for name in (*columns, "view_embedding"):
            np.testing.assert_array_equal(getattr(scored, name), getattr(untouched, name))
        np.testing.assert_array_equal(scored.scores["margin"], untouched.scores["margin"])

    def test_fewer_than_none_cannot_be_asked(self, sampler: Sampler) -> None:
        with pytest.raises(RecipeError, match="give 0 or more"):
            sampler(scored_pool(3), -1, rng=np.random.default_rng(0))

    @pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
    def test_what_is_not_a_number_never_reaches_it(self, sampler: Sampler, poison: float) -> None:
        clean = scored_pool(9)
        spoiled = clean.scores["margin"].copy()
        spoiled[5] = poison
        with pytest.raises(DataError, match=r"scores must be finite; scores\[5\] is (nan|inf|-inf)"):
            sampler(
                ScoredPool(clean.candidate_ids, scores={"margin": spoiled, "entropy": spoiled}),
                3,
                rng=np.random.default_rng(0),
            )
