"""The columns of a score run are what its table says, of whom they are wanted."""

from functools import partial

import numpy as np
import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.core.recipes import Choice, PoolRecipe, ScoreRecipe
from hilum.core.resources import Resources
from hilum.steps import pool, score
from hilum.steps.score_parts import ScoreParts, parts_of, read_scores, row_of
from hilum.store.columns import matrix, strings
from hilum.testing.phantoms import Phantom, phantom_store
from hilum.testing.untrained import untrained_checkpoint

FRAMES = Phantom("classify", num_frames=8)
HOW = {"executor": InlineExecutor(), "resources": Resources()}


@pytest.fixture
def scored(tmp_path):
    store, ingest_id = phantom_store(str(tmp_path / "store"), FRAMES)
    pool_id = pool.run(PoolRecipe(candidates_per_shard=5), {"ingest": ingest_id}, store=store, **HOW).run_id
    recipe = ScoreRecipe(scorers=(Choice(kind="margin"),), keep_members=True)
    inputs = {"pool": pool_id, "checkpoint": untrained_checkpoint(store, FRAMES)}
    manifest = score.run(recipe, inputs, store=store, **HOW)
    return store, manifest, strings(pool.read_pool(store, pool_id)["candidate_id"])


def test_rows_come_in_the_order_in_which_they_are_wanted(scored):
    store, manifest, ids = scored
    table = read_scores(store, manifest)
    parts = ScoreParts(partial(parts_of, store, manifest), ids)
    assert parts.is_scored.all()
    wanted = np.random.default_rng(0).permutation(len(ids))[:9]
    said = parts.read(wanted)
    assert set(said) == {"score_margin", "predicted_class", "class_fractions", "embedding", "member_probs"}
    np.testing.assert_array_equal(said["score_margin"], table["score_margin"].to_numpy()[wanted])
    for name in ("class_fractions", "embedding", "member_probs"):
        np.testing.assert_array_equal(said[name], matrix(table[name])[wanted])


def test_nobody_wanted_is_no_row_of_every_column(scored):
    store, manifest, ids = scored
    said = ScoreParts(partial(parts_of, store, manifest), ids).read(np.empty(0, np.int64))
    assert {len(values) for values in said.values()} == {0}
    assert said["embedding"].shape[1] > 0


def test_a_candidate_of_another_pool_has_no_row():
    ids = np.array(["a", "c"], np.str_)
    assert [row_of(ids, name) for name in ("a", "b", "c", "d")] == [0, None, 1, None]
