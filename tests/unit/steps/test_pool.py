"""Who may be asked about."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.adapters.inline import InlineExecutor
from hilum.core.candidates import candidate_patches
from hilum.core.errors import NotFoundError, RecipeError
from hilum.core.geometry import Grid
from hilum.core.imaging import Study, Volume
from hilum.core.recipes import PoolRecipe, SplitRecipe
from hilum.core.resources import Resources
from hilum.steps import pool
from hilum.store.manifest import Run
from hilum.store.opening import create_store
from hilum.store.tables import QUARANTINE, read_table
from hilum.store.volumes import volumes_of, write_volume, write_volume_table
from hilum.testing.phantoms import Phantom, phantom_store

BLOCKS = Phantom("segment", spatial_dims=3, num_frames=2, size=16)
FRAMES = Phantom("classify", num_frames=6)


@pytest.fixture
def frames(tmp_path):
    return phantom_store(str(tmp_path / "store"), FRAMES)


@pytest.fixture
def blocks(tmp_path):
    return phantom_store(str(tmp_path / "store"), BLOCKS)


def run(store, ingest_id, executor=None, **recipe):
    return pool.run(
        PoolRecipe(**recipe),
        {"ingest": ingest_id},
        store=store,
        executor=executor or InlineExecutor(),
        resources=Resources(),
    )


def patches(store, manifest):
    return pool.patches_of(pool.read_pool(store, manifest.run_id))


def volume(shape=(6, 10, 12), item=(2, 10, 12)):
    return Volume("v", Study("s", "p"), Grid(shape), item, 1, "MR", 0.0, 1.0, has_label_map=False)


def test_every_item_of_the_pool_side_is_a_candidate(frames):
    store, ingest_id = frames
    manifest = run(store, ingest_id)
    of_pool = [v for v in volumes_of(store, ingest_id).values() if v.side == "pool"]
    assert manifest.results == {"num_candidates": 6 * len(of_pool), "num_patients": len(of_pool)}
    assert {p.volume_id for p in patches(store, manifest)} == {v.volume_id for v in of_pool}


def test_nobody_who_is_held_out_is_a_candidate(frames):
    store, ingest_id = frames
    held_out = {v.study.patient_id for v in volumes_of(store, ingest_id).values() if v.side != "pool"}
    table = pool.read_pool(store, run(store, ingest_id).run_id)
    assert held_out
    assert held_out.isdisjoint(table["patient_id"].to_pylist())


def test_rows_come_sorted_by_candidate_and_none_comes_twice(blocks):
    store, ingest_id = blocks
    ids = pool.read_pool(store, run(store, ingest_id, patch_shape_zyx=(8, 8, 8)).run_id)["candidate_id"].to_pylist()
    assert ids == sorted(set(ids))
    assert len(ids) == 3 * 2 * 8


@given(
    items=st.integers(1, 4),
    item=st.tuples(st.integers(1, 6), st.integers(4, 9), st.integers(4, 9)),
    patch=st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9)),
)
def test_patches_cover_every_voxel_and_never_straddle_two_items(items, item, patch):
    shape = tuple(min(p, n) for p, n in zip(patch, item, strict=True))
    found = candidate_patches(volume((items * item[0], *item[1:]), item), PoolRecipe(patch_shape_zyx=shape))
    covered = np.zeros((items * item[0], *item[1:]), bool)
    for candidate in found:
        covered[candidate.slices] = True
        assert candidate.start_zyx[0] // item[0] == (candidate.stop_zyx[0] - 1) // item[0]
    assert covered.all()
    assert len({candidate.candidate_id for candidate in found}) == len(found)


def test_a_smaller_stride_makes_patches_that_overlap():
    apart = candidate_patches(volume(), PoolRecipe(patch_shape_zyx=(2, 4, 4)))
    near = candidate_patches(volume(), PoolRecipe(patch_shape_zyx=(2, 4, 4), stride_zyx=(2, 2, 2)))
    assert len(near) > len(apart)
    assert any(a.overlaps(b) for a in near for b in near if a != b)


def test_an_axis_that_is_shorter_than_the_patch_is_taken_whole():
    recipe = PoolRecipe(patch_shape_zyx=(4, 8, 8), stride_zyx=(4, 4, 8))
    found = candidate_patches(volume((6, 12, 5), (6, 12, 5)), recipe)
    assert {candidate.shape_zyx for candidate in found} == {(4, 8, 5)}
    assert sorted({candidate.start_zyx for candidate in found}) == [(z, y, 0) for z in (0, 2) for y in (0, 4)]


def test_a_patch_that_does_not_fit_names_the_volume_and_the_axis(frames):
    store, ingest_id = frames
    with pytest.raises(RecipeError, match="Volume [0-9a-f]{12}: A patch of 4 voxels does not fit axis Z of 1"):
        run(store, ingest_id, patch_shape_zyx=(4, 8, 8))


@pytest.fixture
def half_air(tmp_path):
    """A store with one slice whose left half is air, and its ingest."""
    store, _ = create_store(str(tmp_path / "half"))
    image = np.full((1, 1, 8, 16), 500, np.int16)
    image[..., :8] = 20  # noise in the air, below a twentieth of the range
    one = Volume("0ddba11c0de5", Study("s", "p"), Grid((1, 8, 16)), (1, 8, 16), 1, "CT", 0.0, 1000.0, False, (), "pool")
    write_volume(store, one, image, None, patch_shape_zyx=(1, 8, 8))
    ingest = Run(store, "ingest", 1, PoolRecipe(), {"source": "test"})
    write_volume_table(ingest.path("volumes.parquet"), [one])
    ingest.commit(files=["volumes.parquet"])
    return store, ingest.run_id


@pytest.mark.parametrize(("share", "starts"), [(0.0, [0, 4, 8]), (0.1, [4, 8]), (0.5, [4, 8]), (0.51, [8]), (1.0, [8])])
def test_air_is_left_out(half_air, share, starts):
    store, ingest_id = half_air
    left = patches(store, run(store, ingest_id, patch_shape_zyx=(1, 8, 8), stride_zyx=(1, 8, 4), min_occupancy=share))
    assert sorted(patch.start_zyx[2] for patch in left) == starts


def test_air_is_left_out_the_same_in_shards_of_any_size(blocks):
    store, ingest_id = blocks
    recipe = {"patch_shape_zyx": (8, 8, 8), "min_occupancy": 0.99}
    sizes = [patches(store, run(store, ingest_id, **recipe, candidates_per_shard=n)) for n in (1, 9, 512)]
    assert sizes[0] == sizes[1] == sizes[2]


def test_a_volume_that_cannot_be_read_is_named_and_the_rest_goes_on(blocks):
    store, ingest_id = blocks
    lost = min(v.volume_id for v in volumes_of(store, ingest_id).values() if v.side == "pool")
    shutil.rmtree(store.volume(lost))
    manifest = run(store, ingest_id, min_occupancy=0.5)
    assert manifest.results["num_patients"] == 2
    refused = read_table(f"{store.run('pool', manifest.run_id)}/quarantine.parquet", QUARANTINE).to_pylist()
    assert [row["source"] for row in refused] == [lost]
    assert refused[0]["reason"]


def test_a_pool_of_nothing_but_air_says_what_to_change(tmp_path):
    store, ingest_id = phantom_store(str(tmp_path), Phantom("classify", num_frames=4))
    for volume_id in volumes_of(store, ingest_id):
        shutil.rmtree(store.volume(volume_id))
    with pytest.raises(RecipeError, match="Lower pool.min_occupancy"):
        run(store, ingest_id, min_occupancy=1.0)


def test_the_second_run_computes_nothing(frames):
    store, ingest_id = frames
    first = run(store, ingest_id)
    assert run(store, ingest_id, executor=object()) == first


def test_the_same_volumes_make_the_same_pool_in_another_place(tmp_path):
    both = [run(*phantom_store(str(tmp_path / name), FRAMES)) for name in ("one", "other")]
    assert both[0].files == both[1].files
    assert both[0].run_id == both[1].run_id


def test_a_pool_of_nothing_that_was_ingested_is_not_found(frames):
    store, _ = frames
    with pytest.raises(NotFoundError, match="no finished run"):
        run(store, "000000000000")


def test_undeclared_patients_are_dealt_by_the_split(tmp_path):
    store, ingest_id = phantom_store(str(tmp_path), FRAMES)
    both = [run(store, ingest_id, split=SplitRecipe(seed=seed)) for seed in (0, 1)]
    # All are declared here, and a declared side wins over any seed.
    assert both[0].files == both[1].files
