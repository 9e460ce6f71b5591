"""ingest with `prepare`: scans become alike, what cannot is set aside with its reason, and names stay honest."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item
from hilum.core.geometry import Patch
from hilum.core.ids import run_id
from hilum.core.recipes import IngestRecipe, PrepareRecipe
from hilum.core.resources import Resources
from hilum.steps import ingest
from hilum.store.layout import Store
from hilum.store.volumes import open_volume, volumes_of
from hilum.testing.dicom_phantoms import as_bytes, ct_series

PREPARE = {
    "orientation": "LPS",
    "crop_to_body": {"margin_mm": 2},
    "spacing_mm_zyx": [2, 1, None],
    "window": {"low": -200, "high": 300},
}
TURN = np.array([[0.0, -1.5, 0.0], [0.96, 0.0, 0.56], [0.28, 0.0, -1.92]])
"""Oblique, x and y exchanged, y against; voxels of 1 × 1.5 × 2 mm."""


def recipe(**changes):
    return IngestRecipe.model_validate({"patch_shape_zyx": [4, 8, 8], **changes})


def ingested(folder, store, executor=None, **changes):
    return ingest.run(
        recipe(**changes),
        find_source(str(folder)),
        store=store,
        executor=executor or InlineExecutor(),
        resources=Resources(),
        read=read_item,
    )


def write_scan(folder, name, *, seed=0, shape=(20, 18, 16)):
    """An oblique NIfTI of a bright block in air, every voxel its own; its labels in the same place."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = TURN, (10, -20, 30)
    rng = np.random.default_rng(seed)
    image = np.full(shape, -1000, np.int16)
    image[4:15, 5:14, 3:12] = rng.permutation(11 * 9 * 9).reshape(11, 9, 9) - 200
    labels = np.zeros(shape, np.uint8)
    labels[6:12, 7:11, 5:9] = 1
    labels[8:10, 8:10, 6:8] = 2
    nib.save(nib.Nifti1Image(image, affine), folder / "images" / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), folder / "labels" / f"{name}.nii.gz")
    return image, affine


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


@pytest.fixture
def scans(tmp_path):
    for number in range(3):
        write_scan(tmp_path / "in", f"s{number}", seed=number)
    return tmp_path / "in"


def whole(store, volume):
    patch = Patch(volume.volume_id, (0, 0, 0), volume.grid.shape_zyx)
    reader = open_volume(store, volume)
    return reader.read_CZYX(patch), reader.read_label_map_ZYX(patch)


def test_prepared_scans_are_alike_and_hold_their_labels(scans, store):
    manifest = ingested(scans, store, prepare=PREPARE)
    assert manifest.results["num_quarantined"] == 0
    for volume in volumes_of(store, manifest.run_id).values():
        axes = volume.grid.anatomical_axes()
        assert axes == (
            (2, -1),
            (1, -1),
            (0, 1),
        )  # X to the left, Y to the back, Z to the head; x and y grow to R and A
        assert volume.grid.spacing_mm_zyx[:2] == pytest.approx((2.0, 1.0))
        assert (volume.low, volume.high) == (-200.0, 300.0)
        image, labels = whole(store, volume)
        assert set(np.unique(labels)) == {0, 1, 2}
        assert image.min() < -200  # a window leaves the voxels


def test_turned_and_cropped_voxels_are_those_of_the_file_at_the_same_place(scans, store):
    image, affine = write_scan(scans, "s0")
    wanted = {
        tuple(np.round(affine[:3, :3] @ index + affine[:3, 3], 3)): image[tuple(index)]
        for index in np.argwhere(image > -1000)
    }
    manifest = ingested(scans, store, prepare={"orientation": "LPS", "crop_to_body": {}})
    for volume in volumes_of(store, manifest.run_id).values():
        voxels, _ = whole(store, volume)
        found = {
            tuple(np.round(volume.grid.index_to_world(index), 3)): voxels[(0, *index)]
            for index in np.argwhere(voxels[0] > -1000)
        }
        assert found.keys() == wanted.keys()
        if found == wanted:
            return
    pytest.fail("none of the volumes has the voxels of the file")


def test_a_ct_that_came_as_dicom_is_prepared_as_well(tmp_path, store):
    voxels = np.zeros((6, 40, 44), np.int16)  # −1024 HU
    voxels[1:5, 10:30, 10:30] = 1064
    (tmp_path / "in").mkdir()
    for number, dataset in enumerate(ct_series(voxels)):
        (tmp_path / "in" / f"{number}.dcm").write_bytes(as_bytes(dataset))
    prepare = {"orientation": "RAS", "crop_to_body": {"margin_mm": 0}, "spacing_mm_zyx": [1, 1, 1], "window": "abdomen"}
    manifest = ingested(tmp_path / "in", store, prepare=prepare)
    (volume,) = volumes_of(store, manifest.run_id).values()
    assert (volume.modality, volume.low, volume.high) == ("CT", -150.0, 250.0)
    # The step of a series is 2.5 mm, a pixel is 0.5 × 0.75 mm; its grid of search takes a little more than the body.
    assert all(n <= 24 for n in volume.grid.shape_zyx)
    assert np.prod(volume.grid.shape_zyx) >= 10 * 10 * 15


def test_what_cannot_be_prepared_is_set_aside_with_its_reason_and_the_rest_goes_on(scans, store):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16)).astype(np.uint8)).save(
        scans / "images" / "photo.png"
    )
    np.savez(scans / "images" / "stack.npz", images=np.random.default_rng(1).integers(0, 9, (3, 8, 8)).astype(np.int16))
    manifest = ingested(scans, store, prepare=PREPARE)
    assert manifest.results["num_volumes"] == 3
    reasons = dict(ingest.quarantined_files(store, manifest, find_source(str(scans))))
    assert "millimetres" in reasons["images/photo.png"]
    assert "stack of 3 images" in reasons["images/stack.npz"]


def test_a_scan_that_would_grow_beyond_the_limit_is_set_aside(scans, store):
    manifest = ingested(scans, store, max_bytes=1 << 20, prepare={"crop_to_body": {}, "spacing_mm_zyx": [2, 1, 1]})
    assert manifest.results["num_quarantined"] == 0
    with pytest.raises(Exception, match=r"None of the 3 files .* GiB; at most"):
        ingested(scans, store, max_bytes=1 << 20, prepare={"spacing_mm_zyx": [0.01, 0.01, 0.01]})


def test_the_second_run_of_a_prepared_ingest_finds_everything_done(scans, store):
    class NobodyWorks(InlineExecutor):
        def map_shards(self, work, shards, **_):
            pytest.fail("work was sent out twice")

    first = ingested(scans, store, prepare=PREPARE)
    assert ingested(scans, store, NobodyWorks(), prepare=PREPARE) == first


def test_a_prepared_ingest_that_was_cut_short_goes_on_and_ends_byte_for_byte_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("HILUM_IDENTITY_KEY", "7e" * 32)
    for number in range(10):
        write_scan(tmp_path / "in", f"s{number}", seed=number)

    class Dies(InlineExecutor):
        def map_shards(self, work, shards, **options):
            yield from super().map_shards(work, shards[:1], **options)
            raise KeyboardInterrupt

    calm, cut = Store(str(tmp_path / "calm")), Store(str(tmp_path / "cut"))
    ingested(tmp_path / "in", calm, prepare=PREPARE, num_coarser_levels=1)
    with pytest.raises(KeyboardInterrupt):
        ingested(tmp_path / "in", cut, Dies(), prepare=PREPARE, num_coarser_levels=1)
    ingested(tmp_path / "in", cut, prepare=PREPARE, num_coarser_levels=1)
    first, second = (
        {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        for root in (tmp_path / "calm", tmp_path / "cut")
    )
    assert first == second


def test_a_volume_s_name_follows_from_what_is_stored(scans, store):
    plain = set(volumes_of(store, ingested(scans, store).run_id))
    windowed = volumes_of(store, ingested(scans, store, prepare={"window": {"low": 0, "high": 9}}).run_id)
    other = volumes_of(store, ingested(scans, store, prepare={"window": {"low": 0, "high": 8}}).run_id)
    kept = set(volumes_of(store, ingested(scans, store, prepare={"spacing_mm_zyx": [2, 1.5, 1]}).run_id))
    assert not plain & set(windowed)
    assert not set(windowed) & set(other)
    assert kept == plain  # a spacing that was there already
    for volume_id, volume in windowed.items():
        said = json.loads(Path(store.volume(volume_id), "zarr.json").read_text())["attributes"]["hilum"]
        assert (said["low"], said["high"]) == (volume.low, volume.high) == (0.0, 9.0)


def test_a_recipe_without_preparation_has_the_name_that_it_had_before_there_was_any():
    plain = IngestRecipe(patch_shape_zyx=(4, 8, 8))
    assert plain.model_dump(mode="json", exclude_defaults=True) == {"patch_shape_zyx": [4, 8, 8]}
    assert run_id("ingest", 2, plain, {}) == run_id("ingest", 2, recipe(prepare={}, num_coarser_levels=None), {})
    assert run_id("ingest", 2, plain, {}) != run_id("ingest", 2, recipe(prepare={"orientation": "LPS"}), {})


@pytest.mark.parametrize("levels", [0, 2])
def test_coarser_levels_are_written_when_asked_and_volumes_keep_their_names(scans, store, tmp_path, levels):
    plain = ingested(scans, Store(str(tmp_path / "plain")))
    manifest = ingested(scans, store, num_coarser_levels=levels)
    names = set(volumes_of(store, manifest.run_id))
    assert names == set(volumes_of(Store(str(tmp_path / "plain")), plain.run_id))
    for name in names:
        assert Path(store.volume(name), "2").exists() == (levels == 2)


def test_every_word_of_a_preparation_is_in_its_name():
    changes = [
        {"orientation": "RAS"},
        {"crop_to_body": {}},
        {"crop_to_body": {"margin_mm": 3}},
        {"crop_to_body": {"above": 3}},
        {"spacing_mm_zyx": [1, 1, 1]},
        {"spacing_mm_zyx": [1, None, 1]},
        {"interpolation": "bspline"},
        {"window": "lung"},
        {"window": {"percentiles": [1, 99]}},
    ]
    names = {run_id("ingest", 2, recipe(prepare=change), {}) for change in [{}, *changes]}
    assert len(names) == len(changes) + 1
    assert PrepareRecipe.model_validate({"window": "lung"}) == PrepareRecipe.model_validate(
        {"window": {"preset": "lung"}}
    )
