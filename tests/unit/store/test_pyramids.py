"""Coarser levels: each voxel in the middle of those it is made of, no class invented, no damage unnoticed."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.core.geometry import Grid, Patch
from hilum.core.imaging import Study, Volume
from hilum.store import pyramids
from hilum.store.layout import Store
from hilum.store.pyramids import coarser_images, coarser_label_maps, level_grids
from hilum.store.volume_checks import volume_damages
from hilum.store.volumes import VolumeReader, open_volume, write_volume

SHAPE = (21, 40, 33)
TILTED = ((0.0, 0.0, -1.0), (0.6, 0.8, 0.0), (0.8, -0.6, 0.0))


def a_volume(shape=SHAPE, spacing=(2.0, 1.0, 1.0), *, item=None, name="aaa", truth=True):
    grid = Grid(shape, spacing, (-30.0, 5.0, 100.0), TILTED)
    return Volume(name, Study("s", "p"), grid, item or shape, 1, "CT", 0.0, 1.0, truth)


def written(store, volume, *, levels=None, dtype=np.int16):
    rng = np.random.default_rng(3)
    image = rng.integers(0, 100, (1, *volume.grid.shape_zyx)).astype(dtype)
    labels = rng.integers(0, 3, volume.grid.shape_zyx).astype(np.uint16) if volume.has_label_map else None
    write_volume(store, volume, image, labels, patch_shape_zyx=(8, 16, 16), num_coarser_levels=levels)
    return image, labels


shapes = st.tuples(*[st.integers(1, 12)] * 3)
spacings = st.tuples(*[st.floats(0.3, 6)] * 3)


@given(shape=shapes, spacing=spacings, levels=st.integers(0, 6))
def test_a_level_s_voxels_lie_in_the_middle_of_the_blocks_they_are_made_of(shape, spacing, levels):
    volume = a_volume(shape, spacing)
    grids = level_grids(volume, levels)
    assert grids[0] == volume.grid
    assert len(grids) <= levels + 1
    for fine, coarse in itertools.pairwise(grids):
        widths = [round(b / a) for a, b in zip(fine.spacing_mm_zyx, coarse.spacing_mm_zyx, strict=True)]
        assert set(widths) <= {1, 2}
        assert 2 in widths
        assert coarse.shape_zyx == tuple(-(-n // w) for n, w in zip(fine.shape_zyx, widths, strict=True))
        last = [n - 1 for n in coarse.shape_zyx]
        block = [w * k + (w - 1) / 2 for w, k in zip(widths, last, strict=True)]
        assert np.allclose(coarse.index_to_world(last), fine.index_to_world(block))


def test_axes_are_halved_until_voxels_are_nearly_cubes_and_then_together():
    shapes = [grid.shape_zyx for grid in level_grids(a_volume((20, 64, 64), (5.0, 1.0, 1.0)), 4)]
    assert shapes == [(20, 64, 64), (20, 32, 32), (20, 16, 16), (10, 8, 8), (5, 4, 4)]


def test_items_of_a_stack_are_never_mixed():
    assert [g.shape_zyx for g in level_grids(a_volume((6, 8, 8), item=(2, 8, 8)), 2)] == [
        (6, 8, 8),
        (6, 4, 4),
        (6, 2, 2),
    ]


def test_small_volumes_have_levels_only_when_asked_and_large_ones_down_to_the_size_of_a_screen():
    assert len(level_grids(a_volume((512, 512, 512)), None)) == 1
    grids = level_grids(a_volume((1, 20_000, 30_000)), None)
    assert max(grids[-1].shape_zyx) <= pyramids.LONGEST_SIDE < max(grids[-2].shape_zyx)
    assert level_grids(a_volume((1, 20_000, 30_000)), 0) == [grids[0]]


@settings(deadline=None)
@given(
    shape=shapes,
    spacing=spacings,
    dtype=st.sampled_from(["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32"]),
    seed=st.integers(0, 99),
)
def test_a_level_is_the_mean_of_its_blocks_in_the_type_of_the_image(shape, spacing, dtype, seed):
    rng = np.random.default_rng(seed)
    info = None if dtype == "float32" else np.iinfo(dtype)
    low, high = (-1000, 1000) if info is None else (info.min, info.max)
    image = rng.integers(low, high, (2, *shape), endpoint=True).astype(dtype)
    grids = level_grids(a_volume(shape, spacing), 1)
    for coarse in coarser_images(image, grids):
        factors = [round(b / a) for a, b in zip(grids[0].spacing_mm_zyx, grids[1].spacing_mm_zyx, strict=True)]
        padded = np.pad(
            image.astype(np.float64), [(0, 0), *((0, -n % f) for n, f in zip(shape, factors, strict=True))], mode="edge"
        )
        z, y, x = (n // f for n, f in zip(padded.shape[1:], factors, strict=True))
        blocks = padded.reshape(2, z, factors[0], y, factors[1], x, factors[2])
        means = blocks.mean(axis=(2, 4, 6))
        assert coarse.dtype == image.dtype
        assert np.allclose(coarse, means if info is None else np.rint(means), rtol=1e-6, atol=0.51 if info else 1e-3)


@settings(deadline=None)
@given(shape=shapes, spacing=spacings, seed=st.integers(0, 99), levels=st.integers(1, 4))
def test_a_label_map_s_level_has_the_commonest_label_of_each_block_and_of_equals_the_highest(
    shape, spacing, seed, levels
):
    labels = np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint16) * 5
    grids = level_grids(a_volume(shape, spacing), levels)
    maps = [labels, *coarser_label_maps(labels, grids)]
    assert len(maps) == len(grids)
    for number in range(1, len(maps)):
        fine, coarse = maps[number - 1], maps[number]
        factors = [1 if a == b else 2 for a, b in zip(fine.shape, coarse.shape, strict=True)]
        padded = np.pad(fine, [(0, -n % f) for n, f in zip(fine.shape, factors, strict=True)], mode="edge")
        for place in np.ndindex(coarse.shape):
            block = padded[tuple(slice(p * f, p * f + f) for p, f in zip(place, factors, strict=True))]
            values, counts = np.unique(block, return_counts=True)
            assert coarse[place] == values[counts == counts.max()].max()


@pytest.mark.parametrize("place", ["folder", "memory"])
def test_any_reader_of_zarr_finds_every_level_with_its_scale_and_place(tmp_path, place):
    store = Store(str(tmp_path / "store") if place == "folder" else f"memory://levels-{tmp_path.name}")
    volume = a_volume()
    image, labels = written(store, volume, levels=2)
    group = zarr.open_group(store.volume("aaa"), mode="r")
    grids = level_grids(volume, 2)
    for member, full, channels in ((group, image, 1), (group["labels/truth"], labels, 0)):
        (multiscale,) = member.attrs["ome"]["multiscales"]
        assert [dataset["path"] for dataset in multiscale["datasets"]] == ["0", "1", "2"]
        assert np.array_equal(member["0"][...], full)
        for grid, dataset in zip(grids, multiscale["datasets"], strict=True):
            assert member[dataset["path"]].shape[channels:] == grid.shape_zyx
            scale, translation = (said[said["type"]] for said in dataset["coordinateTransformations"])
            assert tuple(scale[channels:]) == grid.spacing_mm_zyx
            along = np.array(TILTED) @ np.array(translation[channels:])
            assert np.allclose(along, grid.origin_mm_xyz)
    assert np.array_equal(group["1"][...], next(coarser_images(image, grids)))


def test_the_full_level_is_the_same_bytes_with_and_without_coarser_ones(tmp_path):
    for name, levels in (("plain", None), ("levels", 3)):
        written(Store(str(tmp_path / name)), a_volume(), levels=levels)
    plain, levels = (
        {p.relative_to(root).as_posix(): p.read_bytes() for p in (root / "volumes/aaa.zarr").rglob("*") if p.is_file()}
        for root in (tmp_path / "plain", tmp_path / "levels")
    )
    same = {name for name, content in plain.items() if levels[name] == content}
    changed = {name.removeprefix("volumes/aaa.zarr/") for name in set(plain) - same}
    assert changed == {"zarr.json", "labels/truth/zarr.json"}
    assert len(json.loads(plain["volumes/aaa.zarr/zarr.json"])["attributes"]["ome"]["multiscales"][0]["datasets"]) == 1


@pytest.mark.parametrize("levels", [0, None])
def test_a_small_volume_is_byte_for_byte_what_it_was(tmp_path, levels):
    written(Store(str(tmp_path / "asked")), a_volume(), levels=levels)
    assert sorted(p.name for p in (tmp_path / "asked/volumes/aaa.zarr").iterdir()) == ["0", "labels", "zarr.json"]


@pytest.mark.parametrize("array", ["0", "1", "2", "labels/truth/0", "labels/truth/1", "labels/truth/2"])
@pytest.mark.parametrize("damage", ["lost", "flipped", "metadata lost", "metadata flipped"])
def test_the_doctor_names_a_lost_or_flipped_part_of_any_level(tmp_path, array, damage):
    store = Store(str(tmp_path / "store"))
    written(store, a_volume(), levels=2)
    assert list(volume_damages(store)) == [None]
    folder = Path(store.volume("aaa")) / array
    file = folder / "zarr.json" if "metadata" in damage else next(p for p in (folder / "c").rglob("*") if p.is_file())
    content = bytearray(file.read_bytes())
    if "lost" in damage:
        file.unlink()
    else:
        content[len(content) // 2] ^= 8
        file.write_bytes(content)
    (found,) = volume_damages(store)
    assert found.reasons[0].startswith(f"{array}/")
    assert ("missing" in found.reasons[0]) == ("lost" in damage)


def test_a_damaged_coarse_level_does_not_stop_who_reads_the_full_one(tmp_path):
    store = Store(str(tmp_path / "store"))
    volume = a_volume()
    image, _ = written(store, volume, levels=1)
    for file in (Path(store.volume("aaa")) / "1" / "c").rglob("*"):
        if file.is_file():
            file.unlink()
    reader: VolumeReader = open_volume(store, volume)
    assert np.array_equal(reader.read_CZYX(Patch("aaa", (0, 0, 0), SHAPE)), image)
