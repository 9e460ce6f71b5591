"""An atlas: taken in once, named by what is in it, and laid over a scan by millimetres."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.core.errors import CorruptionError, DataError, NotFoundError
from hilum.core.geometry import Grid
from hilum.core.recipes.importing import AtlasRecipe
from hilum.core.sources import ReadImage
from hilum.steps import atlas
from hilum.store.manifest import write_bytes
from hilum.store.opening import create_store

LPS = ((0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0))
CORONAL = ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
TURNED = ((0.0, 0.28, 0.96), (0.0, 0.96, -0.28), (1.0, 0.0, 0.0))
GRID = Grid((6, 8, 7), (2.0, 1.5, 1.0), (-3.0, 40.0, 5.0), LPS)
LABELS = (np.arange(6 * 8 * 7).reshape(1, 6, 8, 7) % 4).astype(np.uint8)


def image(values_CZYX=LABELS, grid=GRID, **changes):
    return replace(ReadImage(values_CZYX, grid, grid.shape_zyx), **changes)


@pytest.fixture
def store(tmp_path):
    return create_store(str(tmp_path / "store"))[0]


def taken_in(store, given=None, **recipe):
    manifest = atlas.run(AtlasRecipe(**recipe), image() if given is None else given, store=store)
    return manifest, atlas.load_atlas(store, manifest.run_id)


def test_labels_become_foreground_and_the_grid_stays_what_it_was(store):
    manifest, found = taken_in(store)
    np.testing.assert_array_equal(found.foreground_zyx, LABELS[0] > 0)
    assert found.grid == GRID
    assert manifest.results["holds"] == "labels"
    assert manifest.results["num_foreground_voxels"] == int((LABELS > 0).sum())


def test_only_the_labels_that_are_named_are_foreground(store):
    manifest, found = taken_in(store, labels=[3, 1])
    np.testing.assert_array_equal(found.foreground_zyx, (LABELS[0] == 1) | (LABELS[0] == 3))
    assert manifest.run_id != taken_in(store)[0].run_id
    assert manifest.run_id == taken_in(store, labels=[1, 3, 3])[0].run_id


def test_probabilities_stay_as_they_are(store):
    probabilities = np.linspace(0, 1, LABELS.size, dtype=np.float32).reshape(LABELS.shape)
    manifest, found = taken_in(store, image(probabilities))
    np.testing.assert_array_equal(found.foreground_zyx, probabilities[0])
    assert manifest.results["holds"] == "probabilities"


def test_its_name_is_that_of_its_voxels_and_of_their_place(store):
    names = {
        taken_in(store, given)[0].run_id
        for given in (
            image(),
            image(np.roll(LABELS, 1, axis=3)),
            image(grid=replace(GRID, origin_mm_xyz=(0.0, 0.0, 1.0))),
        )
    }
    assert len(names) == 3
    assert taken_in(store)[0].run_id in names


@pytest.mark.parametrize(
    ("given", "recipe", "says"),
    [
        (image(np.zeros_like(LABELS)), {}, "every voxel is 0"),
        (image(), {"labels": [9]}, "no label 9"),
        (image(LABELS * 12.5), {}, "Divide percentages by 100"),
        (image(LABELS / np.float32(8)), {"labels": [1]}, "Labels are named, and this atlas holds none"),
        (image(np.repeat(LABELS, 2, axis=0)), {}, "has one channel; this file has 2"),
        (image(flags=("no_orientation",)), {}, "flagged 'no orientation'"),
        (image(measured_grid=False), {}, "cannot say where its voxels are"),
        (image(grid=Grid((6, 8, 7))), {}, "files that know no place"),
        (image(np.full(LABELS.shape, np.nan, np.float32)), {}, "must be finite"),
    ],
)
def test_what_cannot_be_an_atlas_is_refused_with_the_reason(store, given, recipe, says):
    with pytest.raises(DataError, match=says):
        atlas.run(AtlasRecipe(**recipe), given, store=store)


def test_an_atlas_that_is_not_there_or_was_changed_is_told(store):
    with pytest.raises(NotFoundError, match=r"no atlas 0123456789ab .*hilum data atlas"):
        atlas.load_atlas(store, "0123456789ab")
    manifest = atlas.run(AtlasRecipe(), image(), store=store)
    write_bytes(f"{store.run('atlas', manifest.run_id)}/{atlas.ATLAS_FILE}", b"changed")
    with pytest.raises(CorruptionError, match="changed since it was written"):
        atlas.load_atlas(store, manifest.run_id)


_DIRECTIONS = st.sampled_from([LPS, CORONAL, TURNED])
_GRIDS = st.builds(
    Grid,
    st.tuples(*[st.integers(3, 7)] * 3),
    st.tuples(*[st.sampled_from([0.7, 1.0, 2.3])] * 3),
    st.tuples(*[st.sampled_from([-4.1, 0.3, 3.7])] * 3),
    _DIRECTIONS,
)


@settings(max_examples=60, deadline=None)
@given(_GRIDS, _GRIDS, st.integers(0, 9))
def test_a_box_s_share_is_what_looking_up_every_voxel_in_the_world_says(of_atlas, of_scan, seed):
    rng = np.random.default_rng(seed)
    found = atlas.Atlas(rng.random(of_atlas.shape_zyx).astype(np.float32), of_atlas)
    start = tuple(int(rng.integers(0, n - 1)) for n in of_scan.shape_zyx)
    shape = tuple(int(rng.integers(1, n - a + 1)) for n, a in zip(of_scan.shape_zyx, start, strict=True))
    looked_up, ties = [], 0
    for index in np.ndindex(shape):
        place = of_atlas.world_to_index(of_scan.index_to_world(np.add(index, start)))
        ties += bool((np.abs(place - np.floor(place) - 0.5) < 1e-6).any())
        nearest = np.rint(place).astype(int)
        inside = ((nearest >= 0) & (nearest < of_atlas.shape_zyx)).all()
        looked_up.append(found.foreground_zyx[tuple(nearest)] if inside else 0.0)
    # Half way between two voxels either is the nearest.
    assert found.share_in(of_scan, start, shape) == pytest.approx(np.mean(looked_up), abs=1e-6 + ties / len(looked_up))
    assert found.meets(of_scan) or found.share_in(of_scan, (0, 0, 0), of_scan.shape_zyx) == 0


def test_a_scan_elsewhere_does_not_meet_it():
    found = atlas.Atlas(np.ones((4, 4, 4), np.float32), Grid((4, 4, 4), origin_mm_xyz=(100.0, 0.0, 0.0)))
    assert not found.meets(Grid((4, 4, 4), origin_mm_xyz=(90.0, 0.0, 0.0)))
    assert found.meets(Grid((4, 4, 4), origin_mm_xyz=(97.0, 0.0, 0.0)))
    assert found.share_in(Grid((4, 4, 4), origin_mm_xyz=(97.0, 0.0, 0.0)), (0, 0, 0), (4, 4, 4)) == 0.25
