"""Information density against the mean over all pairs."""

import numpy as np
import pytest

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.core.registry import samplers
from hilum.select import builtin  # noqa: F401 (registers them)
from hilum.select.scored import ScoredPool
from hilum.testing.samplers import scored_pool


def ask(scored, num, **params):
    return samplers.bind(Choice(kind="information_density", **params))(scored, num, rng=np.random.default_rng(0))


@pytest.mark.parametrize("density", [0.0, 1.0, 3.0])
def test_it_is_the_score_times_the_mean_likeness_to_everybody(density):
    scored = scored_pool(40, seed=2)
    points = scored.embedding.astype(float)
    cosine = points @ points.T / np.linalg.norm(points, axis=1)[:, None] / np.linalg.norm(points, axis=1)
    values = scored.score("margin") * ((1 + cosine) / 2).mean(axis=1) ** density
    assert ask(scored, 40, density=density).tolist() == np.argsort(-values).tolist()


def test_of_equally_unsure_ones_the_stray_one_is_asked_last():
    embedding = np.array([[-1, 0.1], [1, 0], [1, 0.1], [0.9, 0.2]], np.float32)
    scored = ScoredPool(np.array(list("abcd")), scores={"margin": np.full(4, 0.5, np.float32)}, embedding=embedding)
    assert ask(scored, 4)[-1] == 0


def test_it_needs_embeddings():
    scored = ScoredPool(np.array(["a"]), scores={"margin": np.ones(1, np.float32)})
    with pytest.raises(RecipeError, match="'information_density' compares embeddings"):
        ask(scored, 1)
