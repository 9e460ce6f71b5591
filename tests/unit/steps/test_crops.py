"""Crops of unlabelled scans: where they come from, in which grey levels, and which of them are learnt from."""

import dataclasses
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.errors import DataError
from hilum.core.geometry import Grid
from hilum.core.imaging import Study, Volume
from hilum.core.recipes import PretrainRecipe
from hilum.steps import scan_voxels
from hilum.steps.crops import StoredCrops, check_scans, crops_of, resampled, weighted_solid_share
from hilum.steps.scan_voxels import ScanVoxels
from hilum.store.opening import create_store
from hilum.store.volumes import write_volume

SHAPE = (12, 20, 24)
HOW_OFTEN = 40


@pytest.fixture
def store(tmp_path):
    return create_store(str(tmp_path))[0]


def written(store, image_ZYX, *, name="0" * 12, label_map=None, spacing=(1.0, 1.0, 1.0), **about):
    """A stored volume of these voxels, on the pool side."""
    stored = {"modality": "MR", "low": 0.0, "high": 100.0, "side": "pool", "item_shape_zyx": image_ZYX.shape, **about}
    volume = Volume(
        volume_id=name,
        study=Study(f"study {name}", f"patient {name}"),
        grid=Grid(image_ZYX.shape, spacing),
        num_channels=1,
        has_label_map=label_map is not None,
        **stored,
    )
    write_volume(store, volume, image_ZYX[None], label_map, patch_shape_zyx=(4, 8, 8))
    return volume


def recipe_of(patch=(4, 8, 8), **sampling):
    return PretrainRecipe.model_validate({"patch_shape_zyx": patch, "sampling": sampling})


def crops_from(store, *volumes, patch=(4, 8, 8), **sampling):
    return crops_of(store, {v.volume_id: v for v in volumes}, recipe_of(patch, **sampling), "pool")


def drawn(crops, num=HOW_OFTEN):
    return [crops.draw(np.random.default_rng(seed)) for seed in range(num)]


def numbered(shape=SHAPE):
    """Every voxel another number, so that a voxel says where it comes from."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def places_of(crop, shape=SHAPE):
    """Where in a `numbered` scan, whose numbers became 0 to 1, each of the crop's voxels lay (Z, Y, X)."""
    numbers = np.rint(crop[0].astype(float) * (np.prod(shape) - 1)).astype(int)
    return np.stack(np.unravel_index(numbers, shape), axis=-1)


def numbered_scan(store, shape=SHAPE, **about):
    return written(store, numbered(shape), low=0.0, high=float(np.prod(shape) - 1), **about)


@pytest.mark.parametrize("borders", [(0, 0, 0), (1, 3, 5), (4, 6, 8)])
def test_crops_are_whole_boxes_of_the_scan_and_never_reach_into_its_borders(store, borders):
    crops = crops_from(store, numbered_scan(store), borders_zyx=borders)
    first = [places_of(crop)[0, 0, 0] for crop in drawn(crops)]
    for crop, start in zip(drawn(crops), first, strict=True):
        offsets = np.stack(np.meshgrid(*map(np.arange, (4, 8, 8)), indexing="ij"), axis=-1)
        assert np.array_equal(places_of(crop), start + offsets)
        assert (start >= borders).all()
        assert (start + np.array((4, 8, 8)) <= np.array(SHAPE) - borders).all()
    room = np.array(SHAPE) - 2 * np.array(borders) - (4, 8, 8) + 1
    assert (len({tuple(start) for start in first}) == 1) == (room.prod() == 1)


def test_every_place_inside_the_borders_is_drawn(store):
    crops = crops_from(store, numbered_scan(store, (6, 10, 10)), borders_zyx=(0, 0, 1))
    starts = {tuple(places_of(crop, (6, 10, 10))[0, 0, 0]) for crop in drawn(crops, 200)}
    assert starts == set(itertools.product(range(3), range(3), [1]))


def test_a_crop_is_a_function_of_its_seed_whichever_thread_draws_it_and_however_scans_are_read(store, monkeypatch):
    scans = [numbered_scan(store, name=f"{number:012x}") for number in range(3)]
    sampling = {"scales": (0.5, 1.0), "inside": "body", "min_foreground": 0.2}
    alone = drawn(crops_from(store, *scans, **sampling))
    threaded = crops_from(store, *scans, **sampling)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda seed: threaded.draw(np.random.default_rng(seed)), reversed(range(HOW_OFTEN))))
    assert all(np.array_equal(one, other) for one, other in zip(alone, reversed(together), strict=True))
    by_id = {scan.volume_id: scan for scan in scans}
    unkept = ScanVoxels(store, by_id, kept_bytes=0)
    assert not unkept.keeps
    monkeypatch.setattr(scan_voxels, "_SLAB_VOXELS", 1)  # a look takes one slice after the other
    read_each_time = crops_of(store, by_id, recipe_of(**sampling), "pool", voxels=unkept)
    assert all(np.array_equal(one, other) for one, other in zip(alone, drawn(read_each_time), strict=True))


def test_scans_are_kept_in_memory_only_if_all_have_room(store):
    scans = {name: numbered_scan(store, name=name) for name in ("0" * 12, "1" * 12)}
    both = 2 * 4 * int(np.prod(SHAPE))
    assert ScanVoxels(store, scans, kept_bytes=both).keeps
    assert not ScanVoxels(store, scans, kept_bytes=both - 1).keeps


@pytest.mark.parametrize("patch", [(1, 8, 8), (3, 8, 8)])
def test_a_crop_lies_in_one_item_of_a_stack(store, patch):
    stack = numbered_scan(store, (12, 10, 10), item_shape_zyx=(3, 10, 10))
    found = [places_of(crop, (12, 10, 10))[..., 0] for crop in drawn(crops_from(store, stack, patch=patch))]
    assert all(len(set((z // 3).ravel())) == 1 for z in found)
    assert {int(z[0, 0, 0]) // 3 for z in found} == {0, 1, 2, 3}


def test_slices_of_a_scan_are_drawn_at_every_height_that_borders_leave_and_stay_one_slice(store):
    crops = crops_from(
        store, numbered_scan(store), patch=(1, 8, 8), borders_zyx=(2, 0, 0), scales=(1.0,), spacing_mm_zyx=(5, None, 1)
    )
    found = drawn(crops, 100)
    assert {crop.shape for crop in found} == {(1, 1, 8, 8)}
    assert {int(places_of(crop)[0, 0, 0, 0]) for crop in found} == set(range(2, 10))


def sloping(shape=(16, 32, 32), axis=2):
    """Grey levels that rise evenly along one axis, 1 a voxel."""
    return np.broadcast_to(
        np.arange(shape[axis], dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)]), shape
    ).copy()


def slope(crop, axis):
    """How steeply a crop rises along an axis, in grey levels of `sloping` (0 to 100 became 0 to 1) a voxel."""
    middle = 100 * np.diff(crop[0], axis=axis)
    return float(np.median(middle))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_a_crop_cut_larger_or_smaller_is_resampled_to_the_patch(store, axis, scale):
    crops = crops_from(store, written(store, sloping(axis=axis)), patch=(8, 8, 8), scales=(scale,))
    for crop in drawn(crops, 5):
        assert crop.shape == (1, 8, 8, 8)
        assert slope(crop, axis) == pytest.approx(scale, rel=1e-3)


def test_all_scales_are_drawn_that_a_scan_has_room_for(store):
    crops = crops_from(store, written(store, sloping()), scales=(1.0, 2.0, 3.0, 10.0))
    assert {round(slope(crop, 2)) for crop in drawn(crops)} == {1, 2, 3}


def test_a_crop_covers_the_millimetres_that_were_asked_for(store):
    scan = written(store, sloping(), spacing=(2.0, 0.5, 0.5))
    crop = drawn(crops_from(store, scan, spacing_mm_zyx=(None, 1.0, 1.0)), 1)[0]
    assert crop.shape == (1, 4, 8, 8)
    assert slope(crop, 2) == pytest.approx(2.0, rel=1e-3)


def test_a_scan_whose_millimetres_are_unknown_is_left_out_where_they_matter(store):
    known = written(store, sloping(), name="a" * 12)
    unknown = written(store, sloping(), name="b" * 12, flags=("spacing_unknown",))
    both = {scan.volume_id: scan for scan in (known, unknown)}
    assert check_scans(both, recipe_of(spacing_mm_zyx=(1, 1, 1))) == (1, 1)
    assert check_scans(both, recipe_of()) == (2, 0)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_resampling_adds_no_grey_level_and_keeps_an_even_image(depth, height, seed):
    image = np.random.default_rng(seed).random((2, 6, 5, 7), dtype=np.float32)
    fine = resampled(image, (depth, height, 9))
    assert fine.shape == (2, depth, height, 9)
    assert fine.min() >= image.min() - 1e-6
    assert fine.max() <= image.max() + 1e-6
    assert np.allclose(resampled(np.full((1, 6, 5, 7), 0.25, np.float32), (depth, height, 9)), 0.25)


@pytest.mark.parametrize(
    ("modality", "window", "low", "high"),
    [
        ("CT", {}, -1000, 1000),
        ("CT", "lung", -1350, 150),
        ("OT", "brain", 0, 80),
        ("OT", {}, 0, 100),
        ("MR", {}, 0, 100),
        ("DX", {}, 0, 100),
        ("MR", {"low": 10, "high": 20}, 10, 20),
    ],
)
def test_grey_levels_are_those_of_the_window_or_else_of_the_modality(store, modality, window, low, high):
    voxels = np.random.default_rng(0).integers(-1500, 1500, (4, 8, 8)).astype(np.int16)
    scan = written(store, voxels, modality=modality)
    (crop,) = drawn(crops_from(store, scan, window=window), 1)
    assert np.allclose(crop[0], np.clip((voxels - low) / (high - low), 0, 1), atol=1e-6)


def test_percentiles_are_those_of_the_whole_scan(store):
    voxels = np.arange(1001, dtype=np.int16).repeat(8)[: 8 * 1000].reshape(10, 20, 40)
    scan = written(store, voxels)
    low, high = np.percentile(voxels, (10, 90))
    for crop in drawn(crops_from(store, scan, patch=(10, 20, 40), window={"percentiles": (10, 90)}), 1):
        assert np.allclose(crop[0], np.clip((voxels - low) / (high - low), 0, 1), atol=1e-6)


@pytest.mark.parametrize("sampling", [{"window": "lung"}, {"max_solid_share": 0.15}])
def test_hounsfield_units_are_refused_where_there_are_none(store, sampling):
    scan = written(store, sloping(), modality="MR")
    with pytest.raises(DataError, match="is in Hounsfield units and volume 000000000000 is MR"):
        check_scans({scan.volume_id: scan}, recipe_of(**sampling))


def test_no_crop_holds_less_foreground_than_was_asked_for(store):
    half_empty = np.zeros((12, 20, 40), np.uint8)
    half_empty[:, :, 20:] = 80
    crops = crops_from(store, written(store, half_empty), min_foreground=0.75)
    shares = [(crop > 0.05).mean() for crop in drawn(crops)]
    assert min(shares) >= 0.75
    assert min((crop > 0.05).mean() for crop in drawn(crops_from(store, written(store, half_empty)))) < 0.75


def test_a_scan_in_which_no_crop_will_do_gives_way_to_another(store):
    empty = written(store, np.zeros(SHAPE, np.uint8), name="a" * 12)
    full = written(store, np.full(SHAPE, 60, np.uint8), name="b" * 12)
    assert all(np.allclose(crop, 0.6) for crop in drawn(crops_from(store, empty, full, min_foreground=0.5)))


def test_scans_in_which_no_crop_will_do_are_an_error_that_says_what_to_lower(store):
    empty = written(store, np.zeros(SHAPE, np.uint8))
    with pytest.raises(DataError, match=r"none of 3 crops each .* Lower sampling.min_foreground"):
        drawn(crops_from(store, empty, min_foreground=0.5, num_tries=3), 1)


def test_a_scan_without_room_for_a_crop_is_left_out_and_counted(store):
    large, small = numbered_scan(store, name="a" * 12), numbered_scan(store, (5, 20, 24), name="b" * 12)
    both = {scan.volume_id: scan for scan in (large, small)}
    assert check_scans(both, recipe_of(borders_zyx=(1, 0, 0))) == (1, 1)
    assert check_scans(both, recipe_of(borders_zyx=(0, 6, 0))) == (2, 0)
    assert crops_of(store, both, recipe_of(borders_zyx=(1, 0, 0)), "pool").num_scans == 1


def test_when_no_scan_has_room_the_error_says_how_large_they_are(store):
    scan = numbered_scan(store)
    recipe = recipe_of(borders_zyx=(0, 7, 0))
    assert crops_of(store, {scan.volume_id: scan}, recipe, "pool") is None
    with pytest.raises(DataError, match=r"None of the 1 scans .* \[4, 8, 8\] .* \[0, 7, 0\].* \[12, 20, 24\]\. Lower"):
        check_scans({scan.volume_id: scan}, recipe)


def test_crops_inside_the_body_are_centred_on_the_largest_thing_that_stands_out(store):
    image = np.zeros((16, 40, 40), np.uint8)
    image[4:12, 4:20, 4:20] = 90  # the body
    image[4:12, 30:36, 30:36] = 90  # something smaller beside it
    for crop in drawn(crops_from(store, written(store, image), patch=(1, 5, 5), inside="body")):
        assert crop[0, 0, 2, 2] == np.float32(0.9)
    stacked = numbered_scan(store, name="b" * 12, shape=(12, 10, 10), item_shape_zyx=(3, 10, 10))
    heights = {
        int(places_of(crop, (12, 10, 10))[0, 0, 0, 0])
        for crop in drawn(crops_from(store, stacked, inside="body", patch=(1, 8, 8)), 100)
    }
    assert len(heights) > 6


def test_crops_inside_labels_are_centred_on_them_as_near_as_the_edge_allows(store):
    labels = np.zeros((16, 40, 40), np.uint16)
    labels[8, 20, 30], labels[15, 39, 39] = 1, 2
    scan = written(store, numbered((16, 40, 40)), low=0.0, high=16 * 1600.0 - 1, label_map=labels)
    starts = {tuple(places_of(c, (16, 40, 40))[0, 0, 0]) for c in drawn(crops_from(store, scan, inside="labels"))}
    assert starts == {(6, 16, 26), (12, 32, 32)}


def test_where_there_is_no_label_map_the_body_is_taken(store):
    image = np.zeros((8, 40, 40), np.uint8)
    image[:, 10:30, 10:30] = 90
    labelled = written(store, image, label_map=np.zeros(image.shape, np.uint16))
    bare = dataclasses.replace(labelled, has_label_map=False)
    body = drawn(crops_from(store, labelled, inside="body"))
    for scan in (labelled, bare):
        assert all(
            np.array_equal(a, b) for a, b in zip(body, drawn(crops_from(store, scan, inside="labels")), strict=True)
        )


def test_a_scan_in_which_nothing_stands_out_is_drawn_from_anywhere(store):
    dark = written(store, np.zeros(SHAPE, np.uint8))
    assert drawn(crops_from(store, dark, inside="body"), 1)[0].max() == 0


def test_what_is_kept_of_a_look_is_small(store):
    scan = written(store, np.full((40, 80, 80), 90, np.uint8))
    crops = crops_from(store, scan, inside="body")
    drawn(crops, 1)
    assert crops._look(scan.volume_id).centres_zyx.nbytes <= 4096 * 3 * 4


def test_a_voxel_that_is_not_finite_never_reaches_a_network(store):
    broken = np.zeros(SHAPE, np.float32)
    broken[6, 10, 12] = np.nan
    with pytest.raises(DataError, match="not finite"):
        drawn(crops_from(store, written(store, broken), patch=SHAPE), 1)


class TestAir:
    """The air test of Models Genesis: solid is −150 HU or more."""

    def test_a_voxel_counts_whole_if_it_is_solid_and_half_if_only_the_next_is(self):
        column = np.array([-1000, -1000, 40, -150, -151, -1000, -1000, 40], np.int16)
        #         counts:    0      ½    1    1     0      0      (½)
        window = column.reshape(-1, 1, 1)
        assert weighted_solid_share(window, num_slices=6, solid_from=-150) == pytest.approx(2.5 / 6)
        assert weighted_solid_share(window, num_slices=7, solid_from=-150) == pytest.approx(3.0 / 7)
        assert weighted_solid_share(window[:7], num_slices=7, solid_from=-150) == pytest.approx(2.5 / 7)

    @given(st.integers(0, 2**32 - 1))
    def test_it_is_what_the_definition_says_voxel_by_voxel(self, seed):
        window = np.random.default_rng(seed).integers(-400, 100, (5, 3, 4)).astype(np.int16)
        total = 0.0
        for z, y, x in np.ndindex(4, 3, 4):
            behind = next((k for k in (0, 1) if window[z + k, y, x] >= -150), 2)
            total += 1 - behind / 2
        assert weighted_solid_share(window, num_slices=4, solid_from=-150) == pytest.approx(total / 48)

    def test_crops_that_are_too_solid_are_not_learnt_from(self, store):
        chest = np.full((12, 20, 60), -800, np.int16)
        chest[:, :, 30:] = 40
        scan = written(store, chest, modality="CT")
        solid = [(crop > 0.5).mean() for crop in drawn(crops_from(store, scan, max_solid_share=0.15))]
        assert max(solid) <= 0.15
        assert max((crop > 0.5).mean() for crop in drawn(crops_from(store, scan))) > 0.15

    def test_the_slice_behind_a_crop_is_looked_at_but_not_that_of_the_next_item(self, store):
        """A crop of air before a solid slice: half of its last slice counts, an eighth of the crop."""
        chest = np.full((8, 8, 8), -800, np.int16)
        chest[4:] = 40
        one = written(store, chest, modality="CT", name="a" * 12)
        stack = written(store, chest, modality="CT", name="b" * 12, item_shape_zyx=(4, 8, 8))
        sampling = {"max_solid_share": 0.12, "num_tries": 300}
        with pytest.raises(DataError, match="raise sampling.max_solid_share"):
            crops_from(store, one, **sampling).draw(np.random.default_rng(0))
        assert crops_from(store, stack, **sampling).draw(np.random.default_rng(0)).max() == np.float32(0.1)
        assert crops_from(store, one, **{**sampling, "max_solid_share": 0.125}).draw(
            np.random.default_rng(0)
        ).max() == np.float32(0.1)


def test_a_crop_is_drawn_from_every_scan(store):
    scans = [written(store, np.full(SHAPE, 10 * number, np.uint8), name=f"{number:012x}") for number in range(5)]
    crops = crops_from(store, *scans)
    assert isinstance(crops, StoredCrops)
    assert {round(float(crop.max()) * 10) for crop in drawn(crops)} == {0, 1, 2, 3, 4}
