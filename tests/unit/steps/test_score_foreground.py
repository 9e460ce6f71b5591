"""Where foreground is before anybody answered: by a model of the store, or by an atlas."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item, read_scan
from hilum.core.errors import DataError, NotFoundError, RecipeError
from hilum.core.recipes import (
    Choice,
    ForegroundRecipe,
    IngestRecipe,
    PoolRecipe,
    ScoreRecipe,
    SelectRecipe,
    SplitRecipe,
)
from hilum.core.recipes.importing import AtlasRecipe
from hilum.core.resources import Resources
from hilum.core.sources import SourceItem
from hilum.steps import atlas, ingest, pool, score, select
from hilum.steps.predictor import load_predictor
from hilum.steps.score_names import check_named
from hilum.steps.score_parts import read_scores
from hilum.store import checkpoints
from hilum.store.opening import create_store
from hilum.store.selections import read_selection
from hilum.store.volumes import open_volume, volumes_of
from hilum.testing.phantoms import Phantom, phantom_store
from hilum.testing.untrained import untrained_checkpoint

BLOCKS = Phantom("segment", spatial_dims=3, num_frames=4, size=16)
FRAMES = Phantom("classify", num_frames=4, size=16)
PATCH = {"patch_shape_zyx": (8, 8, 8), "stride_zyx": (8, 8, 8)}
ALL = SplitRecipe(validation=0, test=0)


class Scans:
    """Three scans that lie differently in one world, and a ball in that world: the organ, and its atlas."""

    centre, radius = np.array([20.0, -10.0, 30.0]), 9.0

    def __init__(self, folder):
        (folder / "images").mkdir(parents=True)
        rng = np.random.default_rng(0)
        for n, spacing in enumerate([(1.0, 1.0, 2.0), (1.5, 1.5, 1.5), (2.0, 1.0, 1.0)]):
            affine = np.diag([*spacing, 1.0])
            affine[:3, 3] = self.centre - 12 + 3 * n
            voxels = rng.integers(0, 1000, (24, 24, 24)).astype(np.int16)
            nib.save(nib.Nifti1Image(voxels, affine), folder / "images" / f"s{n}.nii.gz")
        affine = np.diag([-1.0, 1.0, 1.0, 1.0])
        affine[:3, 3] = self.centre + np.array([15, -15, -15])
        places = np.stack(np.meshgrid(*[np.arange(31)] * 3, indexing="ij"), axis=-1)
        apart = (places * (-1, 1, 1) + affine[:3, 3]) - self.centre
        ball = ((apart**2).sum(axis=-1) <= self.radius**2).astype(np.uint8)
        nib.save(nib.Nifti1Image(ball, affine), folder / "ball.nii.gz")
        self.folder = folder
        self.store = create_store(str(folder / "store"))[0]
        self.how = {"store": self.store, "executor": InlineExecutor(), "resources": Resources()}
        self.ingest = ingest.run(IngestRecipe(), find_source(str(folder / "images")), read=read_item, **self.how).run_id
        self.pool = pool.run(PoolRecipe(split=ALL, **PATCH), {"ingest": self.ingest}, **self.how).run_id

    def atlas(self, **changes):
        image = replace(read_scan(str(self.folder), SourceItem("ball.nii.gz")), **changes)
        return atlas.run(AtlasRecipe(), image, store=self.store).run_id

    def score(self, foreground, checkpoint="none"):
        recipe = ScoreRecipe(foreground=foreground)
        return score.run(recipe, score.inputs_of(recipe, pool=self.pool, checkpoint=checkpoint), **self.how)

    def shares(self, manifest):
        table = read_scores(self.store, manifest, ["candidate_id", "foreground"])
        return dict(zip(*(table[name].to_pylist() for name in ("candidate_id", "foreground")), strict=True))

    def patches(self):
        return pool.patches_of(pool.read_pool(self.store, self.pool))

    def ask(self, manifest, labels="none", **sampler):
        cold = Choice(kind="foreground_random", **{"share": 1.0, **sampler})
        inputs = {"score": manifest.run_id, "pool": self.pool, "labels": labels}
        chosen = read_selection(self.store, select.run(SelectRecipe(cold_start=cold, num=6), inputs, **self.how).run_id)
        return [one.candidate.candidate_id for one in chosen]


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return Scans(tmp_path_factory.mktemp("scans"))


def test_an_atlas_says_how_much_of_each_candidate_lies_in_the_organ_whatever_its_grid(scans):
    known = scans.atlas()
    manifest = scans.score(ForegroundRecipe(atlas=known))
    assert manifest.inputs == {"pool": scans.pool, "checkpoint": "none", "foreground": known}
    shares, volumes = scans.shares(manifest), volumes_of(scans.store, scans.ingest)
    assert len(shares) == 3 * 27
    assert 0 < np.count_nonzero(list(shares.values())) < len(shares)
    for patch in scans.patches():
        grid = volumes[patch.volume_id].grid
        places = [grid.index_to_world(np.add(index, patch.start_zyx)) for index in np.ndindex(patch.shape_zyx)]
        inside = np.linalg.norm(np.array(places) - scans.centre, axis=1) <= scans.radius
        # The atlas' voxels are 1 mm: at the ball's surface the two may differ.
        assert shares[patch.candidate_id] == pytest.approx(inside.mean(), abs=0.06)


def test_a_first_round_asks_where_the_atlas_sees_foreground(scans):
    manifest = scans.score(ForegroundRecipe(atlas=scans.atlas()))
    shares = scans.shares(manifest)
    assert all(shares[one] >= 0.001 for one in scans.ask(manifest))
    assert all(shares[one] >= 0.3 for one in scans.ask(manifest, min_foreground=0.3))
    mixed = [shares[one] > 0 for one in scans.ask(manifest, share=0.5)]
    assert mixed[:3] == [True] * 3


def test_a_model_of_the_store_says_it_by_its_own_label_maps(scans):
    model = untrained_checkpoint(scans.store, BLOCKS, seed=3)
    manifest = scans.score(ForegroundRecipe(checkpoint=model))
    assert manifest.inputs["foreground"] == model
    shares, volumes = scans.shares(manifest), volumes_of(scans.store, scans.ingest)
    assert len(set(shares.values())) > 10
    for patch in scans.patches()[::20]:
        volume = volumes[patch.volume_id]
        voxels = open_volume(scans.store, volume).read_CZYX(patch).astype(np.float32)
        shown = np.clip((voxels - volume.low) / (volume.high - volume.low), 0, 1)
        probs = load_predictor(scans.store, model).predict(shown[None])[0, 0]
        assert shares[patch.candidate_id] == pytest.approx((probs.argmax(axis=0) > 0).mean(), abs=0.01)


def test_what_is_named_is_asked_in_preference_to_the_round_s_own_model(scans):
    model = untrained_checkpoint(scans.store, BLOCKS, seed=3)
    manifest = scans.score(ForegroundRecipe(atlas=scans.atlas()), checkpoint=model)
    table = read_scores(scans.store, manifest)
    assert {"score_margin", "foreground"} <= set(table.column_names)
    recipe = SelectRecipe(arms=[{"share": 1, "sampler": {"kind": "foreground_random", "share": 1}}], num=6)
    inputs = {"score": manifest.run_id, "pool": scans.pool, "labels": "none"}
    chosen = read_selection(scans.store, select.run(recipe, inputs, **scans.how).run_id)
    assert all(scans.shares(manifest)[one.candidate.candidate_id] > 0 for one in chosen)


def test_without_it_the_table_and_the_run_s_name_are_what_they_were(scans):
    manifest = scans.score(None)
    assert manifest.inputs == {"pool": scans.pool, "checkpoint": "none"}
    assert "foreground" not in read_scores(scans.store, manifest).column_names
    assert "foreground" not in ScoreRecipe().model_dump(exclude_defaults=True)


def test_a_model_that_is_not_there_or_does_not_segment_is_told(scans):
    with pytest.raises(NotFoundError, match=r"score\.foreground: There is no checkpoint feedbeefcafe"):
        scans.score(ForegroundRecipe(checkpoint="feedbeefcafe"))
    with pytest.raises(RecipeError, match=r"foreground\.checkpoint .* tells classes"):
        scans.score(ForegroundRecipe(checkpoint=untrained_checkpoint(scans.store, FRAMES, seed=5)))
    tensors, card = checkpoints.load(scans.store, untrained_checkpoint(scans.store, BLOCKS, seed=3))
    checkpoints.save(scans.store, "00000000bbbb", tensors, {**card, "question": "pretext"})
    with pytest.raises(RecipeError, match="pretrained or imported and answers no question"):
        scans.score(ForegroundRecipe(checkpoint="00000000bbbb"))


def test_a_model_of_other_dimensions_or_channels_is_told(scans):
    flat = untrained_checkpoint(scans.store, replace(BLOCKS, spatial_dims=2), seed=6)
    with pytest.raises(
        RecipeError, match=r"reads 2D images of 1 channel\(s\); these candidates are 3D of 1\. .* atlas"
    ):
        scans.score(ForegroundRecipe(checkpoint=flat))
    tensors, card = checkpoints.load(scans.store, untrained_checkpoint(scans.store, BLOCKS, seed=3))
    checkpoints.save(scans.store, "00000000cccc", tensors, {**card, "in_channels": 4})
    with pytest.raises(RecipeError, match=r"reads 3D images of 4 channel\(s\); these candidates are 3D of 1\."):
        scans.score(ForegroundRecipe(checkpoint="00000000cccc"))


def test_slices_of_any_plane_are_2d(scans):
    volumes = list(volumes_of(scans.store, scans.ingest).values())
    flat = ForegroundRecipe(checkpoint=untrained_checkpoint(scans.store, replace(BLOCKS, spatial_dims=2), seed=6))
    check_named(ScoreRecipe(foreground=flat), scans.store, volumes=volumes, shapes_zyx={(24, 1, 24)})


def test_an_atlas_elsewhere_in_the_world_is_told(scans):
    grid = read_scan(str(scans.folder), SourceItem("ball.nii.gz")).grid
    away = scans.atlas(grid=replace(grid, origin_mm_xyz=(900.0, 0.0, 0.0)))
    with pytest.raises(DataError, match="overlaps none of the 3 volumes"):
        scans.score(ForegroundRecipe(atlas=away))
    with pytest.raises(NotFoundError, match="no atlas 0123456789ab"):
        scans.score(ForegroundRecipe(atlas="0123456789ab"))


def test_a_stack_or_a_scan_without_a_place_cannot_be_laid_under_an_atlas(scans, tmp_path):
    recipe = ScoreRecipe(foreground=ForegroundRecipe(atlas=scans.atlas()))
    volume = next(iter(volumes_of(scans.store, scans.ingest).values()))
    with pytest.raises(DataError, match=r"lay atlas .* flagged 'no orientation'.* Name a checkpoint instead"):
        check_named(recipe, scans.store, volumes=[replace(volume, flags=("no_orientation",))], shapes_zyx={(8, 8, 8)})
    stacked, stacks = phantom_store(str(tmp_path / "stacks"), FRAMES)
    with pytest.raises(DataError, match="it is a stack of items"):
        check_named(recipe, scans.store, volumes=list(volumes_of(stacked, stacks).values()), shapes_zyx={(1, 16, 16)})


def test_one_of_a_model_and_an_atlas_is_named():
    for both in ({}, {"checkpoint": "0" * 12, "atlas": "1" * 12}):
        with pytest.raises(ValueError, match="give one of: 'checkpoint'"):
            ForegroundRecipe(**both)
