"""Before there is a model, a pretrained encoder that the recipe names says who is like whom."""

import numpy as np
import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.core.errors import NotFoundError, RecipeError
from hilum.core.recipes import Choice, PoolRecipe, PretrainRecipe, ScoreRecipe, SelectRecipe
from hilum.core.resources import Resources
from hilum.nn.encoder import encoder_from
from hilum.steps import pool, pretrain, score, select
from hilum.steps.score_parts import read_scores
from hilum.store import checkpoints
from hilum.store.selections import read_selection
from hilum.store.volumes import open_volume, volumes_of
from hilum.testing.phantoms import Phantom, phantom_store
from hilum.testing.untrained import untrained_checkpoint

FRAMES = Phantom("classify", num_frames=10, size=16)
BLOCKS = Phantom("segment", spatial_dims=3, num_frames=2, size=16)
PRETRAIN = PretrainRecipe(
    pretext=Choice(kind="genesis"),
    architecture=Choice(kind="unet", depth=1, features=[4, 8]),
    patch_shape_zyx=(1, 16, 16),
    num_steps=2,
    batch_size=2,
)


class Bench:
    def __init__(self, folder):
        self.store, self.ingest = phantom_store(str(folder), FRAMES)
        self.how = {"store": self.store, "executor": InlineExecutor(), "resources": Resources()}
        self.pretrained = pretrain.run(PRETRAIN, {"ingest": self.ingest}, **self.how).run_id
        self.pool = pool.run(PoolRecipe(), {"ingest": self.ingest}, **self.how).run_id

    def score(self, encoder, checkpoint="none"):
        recipe = ScoreRecipe(encoder=encoder)
        return score.run(recipe, score.inputs_of(recipe, pool=self.pool, checkpoint=checkpoint), **self.how)

    def embeddings(self, manifest):
        return np.array(read_scores(self.store, manifest)["embedding"].to_pylist(), np.float32)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("bench"))


def test_a_candidate_is_embedded_by_the_encoder_of_the_pretraining(bench):
    manifest = bench.score(bench.pretrained)
    assert manifest.inputs == {"pool": bench.pool, "checkpoint": "none", "encoder": bench.pretrained}
    assert manifest.recipe["encoder"] == bench.pretrained
    embedded = bench.embeddings(manifest)
    assert embedded.shape[1] == 8
    patch = pool.patches_of(pool.read_pool(bench.store, bench.pool))[3]
    image = open_volume(bench.store, volumes_of(bench.store, bench.ingest)[patch.volume_id]).read_CZYX(patch)
    tensors, card = checkpoints.load(bench.store, bench.pretrained)
    _, network = pretrain.pretext_of_card(card)
    encoder = encoder_from(tensors, card)
    shown = np.clip(image / 1200, 0, 1).astype(np.float32)[None]
    assert {n for n in network.state_dict() if n.startswith("body.encoder.")} == set(encoder.network.state_dict())
    np.testing.assert_allclose(embedded[3], encoder.embed(shown)[0], rtol=2e-3, atol=2e-3)


def test_a_cold_start_reads_it(bench):
    typical = SelectRecipe(cold_start=Choice(kind="typiclust"), num=6)

    def ids(encoder):
        inputs = {"score": bench.score(encoder).run_id, "pool": bench.pool, "labels": "none"}
        rows = select.run(typical, inputs, **bench.how)
        return read_selection(bench.store, rows.run_id)

    by_encoder, by_pixels = ids(bench.pretrained), ids(None)
    assert {c.arm for c in by_encoder} == {"typiclust"}
    assert [c.candidate for c in by_encoder] != [c.candidate for c in by_pixels]


def test_with_a_model_the_model_embeds(bench):
    model = untrained_checkpoint(bench.store, FRAMES)
    manifest = bench.score(bench.pretrained, checkpoint=model)
    assert "encoder" not in manifest.inputs
    np.testing.assert_array_equal(bench.embeddings(manifest), bench.embeddings(bench.score(None, checkpoint=model)))


def test_an_encoder_that_is_not_there_is_told(bench):
    with pytest.raises(NotFoundError, match="There is no checkpoint feedbeefcafe"):
        bench.score("feedbeefcafe")


def test_an_encoder_of_3d_blocks_is_refused_for_slices(bench):
    solid = untrained_checkpoint(bench.store, BLOCKS, seed=7)
    with pytest.raises(RecipeError, match=r"reads 3D images of 1 channel\(s\); these candidates are 2D of 1\."):
        bench.score(solid)


def test_an_encoder_of_more_channels_is_refused(bench):
    tensors, card = checkpoints.load(bench.store, untrained_checkpoint(bench.store, FRAMES, seed=8))
    first = min(n for n, t in tensors.items() if n.startswith("body.encoder.") and t.ndim == 4 and t.shape[1] == 1)
    wider = {**tensors, first: np.repeat(tensors[first], 3, axis=1)}
    checkpoints.save(bench.store, "00000000aaaa", wider, {**card, "in_channels": 3})
    with pytest.raises(RecipeError, match=r"reads 2D images of 3 channel\(s\); these candidates are 2D of 1\."):
        bench.score("00000000aaaa")


def test_half_an_encoder_is_refused(bench):
    tensors, card = checkpoints.load(bench.store, bench.pretrained)
    left = {name: array for name, array in tensors.items() if not name.startswith("body.encoder.")}
    with pytest.raises(RecipeError, match="has no whole encoder"):
        encoder_from(left, card)
