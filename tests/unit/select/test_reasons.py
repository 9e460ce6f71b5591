"""Why somebody was asked, for every sampler there is."""

import numpy as np
import pytest

from hilum.core.recipes import Choice
from hilum.core.registry import samplers
from hilum.select import builtin  # noqa: F401
from hilum.select.reasons import reasons
from hilum.select.scored import ScoredPool
from hilum.testing.samplers import scored_pool


@pytest.mark.parametrize("kind", list(samplers))
def test_every_sampler_has_a_sentence_and_a_finite_score(kind):
    rows = np.array([3, 0])
    scores, sentences = reasons(Choice(kind=kind), scored_pool(12), rows, ["a", "b", "c"])
    assert len(scores) == len(sentences) == 2
    assert np.isfinite(scores).all()
    assert all(" of " in sentence and "chosen by" not in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("rank", "word"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (21, "21st"), (112, "112th")],
)
def test_ranks_are_said_as_people_say_them(rank, word):
    num = 200
    scored = ScoredPool(
        np.array([f"{i:012x}" for i in range(num)], np.str_),
        scores={"margin": np.linspace(1, 0.1, num).astype(np.float32)},
    )
    assert f", {word} of 200" in reasons(Choice(kind="top_k"), scored, np.array([rank - 1]))[1][0]


def test_candidates_of_one_score_share_their_rank():
    scored = ScoredPool(np.array(["a", "b", "c"], np.str_), scores={"entropy": np.array([0.5, 0.5, 0.2], np.float32)})
    sentences = reasons(Choice(kind="top_k", score="entropy"), scored, np.array([0, 1, 2]))[1]
    assert [s.split(", ")[1] for s in sentences] == ["1st of 3", "1st of 3", "3rd of 3"]


def test_a_shortlist_tells_the_score_it_was_made_by():
    assert "margin" in reasons(Choice(kind="k_centre", shortlist=2), scored_pool(9), np.array([1]))[1][0]


def test_a_class_without_a_name_is_a_number():
    assert reasons(Choice(kind="top_k"), scored_pool(9), np.array([1]))[1][0].rsplit(" ", 2)[1] == "class"
