"""Preparing scans: whatever is turned, cut or resampled stays where it was in the patient, and no label is invented.

The judge is SimpleITK with the scan's whole direction, which hilum's own code never hands to
it. Its world is LPS, ours RAS: x and y change sign.
"""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (what everybody calls it)
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from hilum.adapters.preparation import prepared
from hilum.core.errors import DataError
from hilum.core.geometry import Grid
from hilum.core.recipes import PrepareRecipe
from hilum.core.sources import ReadImage

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
GIB = 1 << 30
LETTERS = ("RL", "AP", "SI")


def orientations():
    """Every one of the 48 words that name an orientation."""
    return st.tuples(st.permutations(LETTERS), st.tuples(*[st.integers(0, 1)] * 3)).map(
        lambda drawn: "".join(pair[side] for pair, side in zip(*drawn, strict=True))
    )


@st.composite
def grids(draw, *, sheared=False, least=2, most=13):
    """A scan anywhere: any turn, any mirror, voxels of any proportion; sheared as by a tilted gantry if wanted."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    if sheared:
        turn[:, 0] += rng.uniform(-0.4, 0.4) * turn[:, 1]
        turn /= np.linalg.norm(turn, axis=0)
    shape = tuple(int(n) for n in rng.integers(least, most + 1, 3))
    spacing = tuple(float(mm) for mm in rng.uniform(0.4, 5, 3))
    origin = tuple(float(mm) for mm in rng.uniform(-200, 200, 3))
    return Grid(shape, spacing, origin, tuple(tuple(float(c) for c in row) for row in turn))


def scan(grid, *, seed=0, labels=False, **said):
    rng = np.random.default_rng(seed)
    voxels = rng.integers(0, 1000, (1, *grid.shape_zyx)).astype(np.int16)
    label_map = rng.integers(0, 4, grid.shape_zyx).astype(np.uint16) * 7 if labels else None
    return ReadImage(voxels, grid, grid.shape_zyx, label_map_zyx=label_map, **said)


def prepare(image, *, max_bytes=GIB, **recipe):
    return prepared(image, PrepareRecipe.model_validate(recipe), max_bytes=max_bytes)


def judged(image, channel=0):
    """The image as SimpleITK has it."""
    made = sitk.GetImageFromArray(image.image_czyx[channel])
    made.SetSpacing(image.grid.spacing_mm_zyx[::-1])
    made.SetOrigin((RAS_TO_LPS @ np.array(image.grid.origin_mm_xyz)).tolist())
    direction_xyz = np.array(image.grid.direction)[:, ::-1]
    made.SetDirection((RAS_TO_LPS @ direction_xyz).ravel().tolist())
    return made


# Nothing asked -------------------------------------------------------------------------------------------------------


def test_nothing_asked_is_nothing_done():
    image = scan(Grid((4, 5, 6)))
    assert prepare(image) is image


# Turned ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(grid=grids(), orientation=orientations())
def test_a_turned_scan_is_what_simpleitk_makes_of_it_to_the_last_voxel(grid, orientation):
    # Of a scan that lies halfway between two axes the nearest is a matter of taste; the next test is for all.
    assume(_is_plain(grid))
    image = scan(grid)
    ours, theirs = prepare(image, orientation=orientation), sitk.DICOMOrient(judged(image), orientation)
    assert np.array_equal(ours.image_czyx[0], sitk.GetArrayFromImage(theirs))
    again = judged(ours)
    assert np.allclose(again.GetOrigin(), theirs.GetOrigin(), atol=1e-6)
    assert np.allclose(again.GetDirection(), theirs.GetDirection(), atol=1e-9)
    assert np.allclose(again.GetSpacing(), theirs.GetSpacing())


def _is_plain(grid):
    """True when each axis of the patient is nearest to an axis of its own, by a clear margin."""
    cosines = np.sort(np.abs(np.array(grid.direction)), axis=0)
    return bool((cosines[-1] - cosines[-2] > 0.2).all())


@settings(max_examples=60, deadline=None)
@given(grid=grids(sheared=True), orientation=orientations())
def test_turning_moves_no_voxel_and_no_label_however_the_scan_lies(grid, orientation):
    image = scan(grid, labels=True)
    turned = prepare(image, orientation=orientation)
    assert sorted(turned.image_czyx.ravel()) == sorted(image.image_czyx.ravel())
    rng = np.random.default_rng(1)
    for index in zip(*(rng.integers(0, n, 10) for n in turned.grid.shape_zyx), strict=True):
        world = turned.grid.index_to_world(index)
        old = _index_of(grid, world)
        assert np.allclose(old, np.rint(old), atol=1e-6)
        there = tuple(int(n) for n in np.rint(old))
        assert turned.image_czyx[(0, *index)] == image.image_czyx[(0, *there)]
        assert turned.label_map_zyx[index] == image.label_map_zyx[there]


def _index_of(grid, world):
    scaled = np.array(grid.direction) * np.array(grid.spacing_mm_zyx)
    return np.linalg.solve(scaled, np.asarray(world) - np.array(grid.origin_mm_xyz))


@settings(max_examples=30, deadline=None)
@given(grid=grids(sheared=True), orientation=orientations(), back=orientations())
def test_there_and_back_is_the_same_scan(grid, orientation, back):
    image = scan(grid)
    first = prepare(image, orientation=back)
    again = prepare(prepare(first, orientation=orientation), orientation=back)
    assert np.array_equal(again.image_czyx, first.image_czyx)
    assert again.grid.apart_mm(first.grid) < 1e-9


@pytest.mark.parametrize("flag", ["no_orientation", "position_unknown"])
def test_a_scan_that_does_not_say_how_it_lies_is_not_turned(flag):
    with pytest.raises(DataError, match=f"{flag}.*apart"):
        prepare(scan(Grid((4, 5, 6)), flags=(flag,)), orientation="LPS")


# Resampled ------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    grid=grids(least=4),
    factors=st.tuples(*[st.floats(0.3, 1.0)] * 3),
    interpolation=st.sampled_from(["linear", "bspline"]),
)
def test_finer_voxels_are_those_of_simpleitk_with_the_scan_where_it_lies(grid, factors, interpolation):
    image = scan(grid)
    spacing = [mm * factor for mm, factor in zip(grid.spacing_mm_zyx, factors, strict=True)]
    ours = prepare(image, spacing_mm_zyx=spacing, interpolation=interpolation)
    how = sitk.sitkLinear if interpolation == "linear" else sitk.sitkBSpline
    theirs = sitk.Resample(sitk.Cast(judged(image), sitk.sitkFloat64), judged(ours), sitk.Transform(), how)
    wanted = np.clip(sitk.GetArrayFromImage(theirs), image.image_czyx.min(), image.image_czyx.max())
    # Whole numbers, from float32: never further than the rounding.
    assert np.abs(ours.image_czyx[0] - wanted).max() <= 0.51


@settings(max_examples=60, deadline=None)
@given(
    grid=grids(sheared=True, least=8, most=20),
    spacing=st.tuples(*[st.floats(0.7, 5)] * 3),
    orientation=st.one_of(st.none(), orientations()),
)
def test_voxels_that_say_where_they_are_still_say_the_truth_also_in_a_tilted_scan(grid, spacing, orientation):
    indices = np.stack(np.meshgrid(*map(np.arange, grid.shape_zyx), indexing="ij"), axis=-1)
    scaled = np.array(grid.direction) * np.array(grid.spacing_mm_zyx)
    where_ZYXw = indices @ scaled.T + np.array(grid.origin_mm_xyz)
    image = ReadImage(np.moveaxis(where_ZYXw, -1, 0).astype(np.float32), grid, grid.shape_zyx)
    again = prepare(image, spacing_mm_zyx=spacing, orientation=orientation)
    turned = prepare(image, orientation=orientation).grid
    rng = np.random.default_rng(0)
    num_judged = 0
    for index in zip(*(rng.integers(0, n, 60) for n in again.grid.shape_zyx), strict=True):
        world = again.grid.index_to_world(index)
        if _is_far_from_every_edge(turned, _index_of(turned, world), spacing):
            assert np.allclose(again.image_czyx[(slice(None), *index)], world, atol=2e-3)
            num_judged += 1
    event("voxels were judged" if num_judged else "the scan is too small for its blur")


def _is_far_from_every_edge(grid, index, spacing):
    """True where neither the blur nor the interpolation looks beyond the scan."""
    sigmas = [0.43 * max(0, (new / old) ** 2 - 1) ** 0.5 for old, new in zip(grid.spacing_mm_zyx, spacing, strict=True)]
    reach = [np.ceil(4.1 * sigma) + (sigma > 0) for sigma in sigmas]
    return all(r <= k <= n - 1 - r for r, k, n in zip(reach, index, grid.shape_zyx, strict=True))


@settings(max_examples=80, deadline=None)
@given(grid=grids(sheared=True, least=4), spacing=st.tuples(*[st.floats(0.5, 6)] * 3), seed=st.integers(0, 999))
def test_the_brightest_voxel_afterwards_touches_the_known_one(grid, spacing, seed):
    image = scan(grid)
    index = tuple(int(np.random.default_rng(seed).integers(1, n - 1)) for n in grid.shape_zyx)
    image.image_czyx[:] = 0
    image.image_czyx[(0, *index)] = 32_000
    again = prepare(image, spacing_mm_zyx=spacing)
    brightest = np.unravel_index(again.image_czyx[0].argmax(), again.grid.shape_zyx)
    apart_mm = (_index_of(again.grid, grid.index_to_world(index)) - brightest) * again.grid.spacing_mm_zyx
    both_mm = np.array(grid.spacing_mm_zyx) + np.array(again.grid.spacing_mm_zyx)
    assert np.all(np.abs(apart_mm) <= both_mm / 2 + 1e-6)


@settings(max_examples=60, deadline=None)
@given(grid=grids(sheared=True), spacing=st.tuples(*[st.one_of(st.none(), st.floats(0.6, 20))] * 3))
def test_the_middle_and_the_axes_stay_and_all_of_the_scan_is_covered(grid, spacing):
    again = prepare(scan(grid), spacing_mm_zyx=spacing).grid
    middles = [g.index_to_world([(n - 1) / 2 for n in g.shape_zyx]) for g in (grid, again)]
    assert np.allclose(*middles, atol=1e-9)
    assert again.direction == grid.direction
    for axis, wanted in enumerate(spacing):
        if wanted is None:
            assert again.shape_zyx[axis] == grid.shape_zyx[axis]
            assert again.spacing_mm_zyx[axis] == grid.spacing_mm_zyx[axis]
            continue
        before, after = (g.shape_zyx[axis] * g.spacing_mm_zyx[axis] for g in (grid, again))
        assert before - 0.011 * wanted <= after <= before + wanted


@settings(max_examples=60, deadline=None)
@given(
    grid=grids(sheared=True),
    spacing=st.tuples(*[st.floats(0.6, 9)] * 3),
    interpolation=st.sampled_from(["linear", "bspline"]),
)
def test_no_label_and_no_grey_level_appears_that_was_not_there(grid, spacing, interpolation):
    image = scan(grid, labels=True)
    again = prepare(image, spacing_mm_zyx=spacing, interpolation=interpolation)
    assert set(np.unique(again.label_map_zyx)) <= set(np.unique(image.label_map_zyx))
    assert again.label_map_zyx.dtype == np.uint16
    assert again.image_czyx.dtype == image.image_czyx.dtype
    assert image.image_czyx.min() <= again.image_czyx.min()
    assert again.image_czyx.max() <= image.image_czyx.max()


def test_a_spline_through_two_slices_reads_nothing_beyond_them():
    image = scan(Grid((2, 13, 9), (3.8, 1.05, 3.0)))
    first = prepare(image, spacing_mm_zyx=[1, 1, 1], interpolation="bspline").image_czyx
    for _ in range(20):
        assert np.array_equal(prepare(image, spacing_mm_zyx=[1, 1, 1], interpolation="bspline").image_czyx, first)
    flat = ReadImage(np.full((1, 2, 9, 9), 70, np.int16), Grid((2, 9, 9), (3.8, 1, 1)), (2, 9, 9))
    assert set(np.unique(prepare(flat, spacing_mm_zyx=[1, 2, 1], interpolation="bspline").image_czyx)) == {70}


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32"])
@pytest.mark.parametrize("interpolation", ["linear", "bspline"])
def test_what_is_one_grey_stays_this_very_grey_in_every_type_and_channel(dtype, interpolation):
    greys = [100, 101] if dtype in ("uint8", "int8") else [16_777_217, 16_777_219] if "32" in dtype else [7, 32_000]
    image = np.stack([np.full((5, 6, 7), grey, dtype) for grey in greys])
    again = prepare(
        ReadImage(image, Grid((5, 6, 7), (3, 1, 1)), (5, 6, 7)),
        spacing_mm_zyx=[1, 2, 0.7],
        interpolation=interpolation,
    )
    assert [set(np.unique(channel)) for channel in again.image_czyx] == [{value} for value in image[:, 0, 0, 0]]


def test_a_structure_between_two_coarse_voxels_is_not_lost():
    voxels = np.zeros((1, 1, 64, 64), np.int16)
    voxels[..., 10:12, :] = 1000
    coarse = prepare(ReadImage(voxels, Grid((1, 64, 64)), (1, 64, 64)), spacing_mm_zyx=[None, 8, None])
    assert coarse.image_czyx.max() > 150  # a quarter of a voxel's width of it is inside the nearest


def test_a_spacing_that_is_there_already_changes_no_byte():
    image = scan(Grid((4, 5, 6), (3.0, 0.7, 0.7)), labels=True)
    assert prepare(image, spacing_mm_zyx=[3, 0.7, None]) is image


def test_a_flat_image_keeps_its_one_voxel():
    again = prepare(scan(Grid((1, 40, 40), (9.0, 1.0, 1.0))), spacing_mm_zyx=[1, 2, 2])
    assert again.grid.shape_zyx == (1, 20, 20)
    assert again.grid.spacing_mm_zyx == (9.0, 2.0, 2.0)


@pytest.mark.parametrize("spacing", [[0.01, 0.01, 0.01], [1e-6, None, None], [1e-6, 1e-6, 1e-6]])
def test_voxels_too_fine_to_hold_are_refused_before_they_get_memory(spacing):
    image = scan(Grid((64, 64, 64)))
    with pytest.raises(DataError, match=r"would need .* GiB; at most 1 .*max-gib"):
        prepare(image, spacing_mm_zyx=spacing)


def test_the_room_that_a_spline_works_in_counts_as_well():
    image = scan(Grid((33, 64, 64)))
    prepare(image, spacing_mm_zyx=[2, 2, 2], max_bytes=1 << 20)
    with pytest.raises(DataError, match=r"at most .* are given"):
        prepare(image, spacing_mm_zyx=[2, 2, 2], interpolation="bspline", max_bytes=1 << 20)


# Cropped --------------------------------------------------------------------------------------------------------------


def body(shape=(30, 40, 50), spacing=(2.0, 1.0, 1.0), *, air=-1000, modality="CT", seed=0):
    """A noisy ellipsoid of tissue in air, off the middle, on a thin table; its mask beside it."""
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    inside = ((z - 14) / 10) ** 2 + ((y - 15) / 11) ** 2 + ((x - 30) / 14) ** 2 <= 1
    voxels = np.where(inside, 40, air) + rng.normal(0, 20, shape)
    voxels[:, 38, :] = 200 if modality == "CT" else voxels[:, 38, :]
    grid = Grid(shape, spacing, (-30.0, 11.0, 5.0))
    return ReadImage(voxels.astype(np.int16)[None], grid, shape, modality=modality), inside


@pytest.mark.parametrize(("modality", "air"), [("CT", -1000), ("OT", -1000), ("MR", 0)])
def test_the_box_holds_the_body_with_its_margin_and_little_air(modality, air):
    image, inside = body(air=air, modality=modality)
    if modality == "MR":
        image.image_czyx[:] = np.abs(image.image_czyx) + 300 * inside
    cut = prepare(image, crop_to_body={"margin_mm": 4})
    assert (cut.image_czyx > (100 if modality == "MR" else -300)).sum() >= inside.sum()
    for axis in range(3):
        there = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        wanted_mm = (there[-1] - there[0] + 1) * image.grid.spacing_mm_zyx[axis] + 8
        length_mm = cut.grid.shape_zyx[axis] * cut.grid.spacing_mm_zyx[axis]
        whole_mm = image.grid.shape_zyx[axis] * image.grid.spacing_mm_zyx[axis]
        assert min(wanted_mm, whole_mm) - 1 <= length_mm <= wanted_mm + 8


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), place=st.tuples(st.integers(0, 29), st.integers(0, 39), st.integers(0, 49)))
def test_no_labelled_voxel_is_lost_wherever_it_is_and_all_stay_in_their_place(seed, place):
    image, _ = body(seed=seed % 3)
    labels = np.zeros(image.grid.shape_zyx, np.uint16)
    labels[place] = 3
    labels[14, 15, 30] = 1
    cut = prepare(ReadImage(**{**vars(image), "label_map_zyx": labels}), crop_to_body={"margin_mm": 0})
    assert cut.label_map_zyx.sum() == 4
    (now,) = np.argwhere(cut.label_map_zyx == 3)
    assert np.allclose(cut.grid.index_to_world(now), image.grid.index_to_world(place))
    assert cut.image_czyx[(0, *now)] == image.image_czyx[(0, *place)]


def test_a_grey_level_of_ones_own_says_what_is_body():
    image, _ = body()
    image.image_czyx[0, 2:5, 2:5, 2:5] = 3000
    cut = prepare(image, crop_to_body={"margin_mm": 0, "above": 2000})
    assert cut.grid.shape_zyx < (10, 10, 10)
    assert cut.image_czyx.max() == 3000


def test_where_nothing_stands_out_nothing_is_cut_and_the_reason_is_told():
    empty = ReadImage(np.zeros((1, 8, 8, 8), np.int16), Grid((8, 8, 8)), (8, 8, 8))
    with pytest.raises(DataError, match="No body stands out"):
        prepare(empty, crop_to_body={})


# Windowed -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "levels"),
    [("lung", (-1350, 150)), ({"preset": "brain"}, (0, 80)), ({"low": -200, "high": 300.5}, (-200, 300.5))],
)
def test_a_window_says_what_is_black_and_white_and_leaves_the_voxels(window, levels):
    image, _ = body()
    seen = prepare(image, window=window)
    assert seen.grey_range() == levels
    assert seen.image_czyx is image.image_czyx


def test_percentiles_are_those_of_the_prepared_image():
    image, _ = body()
    seen = prepare(image, crop_to_body={"margin_mm": 0}, window={"percentiles": [5, 95]})
    assert seen.grey_range() == pytest.approx(tuple(np.percentile(seen.image_czyx, (5, 95))))
    assert seen.grey_range() != prepare(image, window={"percentiles": [5, 95]}).grey_range()


def test_a_window_of_ct_is_not_for_other_machines_and_not_for_photographs():
    grid = Grid((1, 8, 8))
    with pytest.raises(DataError, match="Hounsfield units and this is MR"):
        prepare(scan(grid, modality="MR"), window="lung")
    with pytest.raises(DataError, match="a photograph"):
        prepare(scan(grid, intensity="photograph"), window="lung")


def test_a_window_that_shows_nothing_is_refused():
    with pytest.raises(DataError, match="shows nothing"):
        prepare(scan(Grid((2, 8, 8))), window={"low": 5000, "high": 6000})


# What is no scan ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [{"orientation": "LPS"}, {"crop_to_body": {}}, {"spacing_mm_zyx": [1, 1, 1]}])
def test_stacks_and_images_without_millimetres_are_refused_with_what_to_do(recipe):
    grid = Grid((6, 8, 8))
    with pytest.raises(DataError, match="stack of 3 images.*apart"):
        prepare(ReadImage(np.zeros((1, 6, 8, 8), np.int16), grid, (2, 8, 8)), **recipe)
    for said in ({"measured_grid": False}, {"flags": ("spacing_unknown",)}):
        with pytest.raises(DataError, match="millimetres.*apart"):
            prepare(scan(grid, **said), **recipe)


def test_a_window_is_for_stacks_and_photographs_as_well():
    stack = ReadImage(np.arange(384, dtype=np.int16).reshape(1, 6, 8, 8), Grid((6, 8, 8)), (2, 8, 8))
    assert prepare(stack, window={"low": 10, "high": 20}).grey_range() == (10, 20)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_voxel_that_is_no_number_is_told_by_its_own_place_before_it_spreads(bad):
    image = np.zeros((1, 4, 5, 6), np.float32)
    image[0, 1, 2, 3] = bad
    with pytest.raises(DataError, match=r"\[0, 1, 2, 3\]"):
        prepare(ReadImage(image, Grid((4, 5, 6)), (4, 5, 6)), spacing_mm_zyx=[2, 2, 2])


@settings(max_examples=30, deadline=None)
@given(grid=grids(sheared=True, least=6), orientation=orientations(), spacing=st.floats(0.8, 4))
def test_all_at_once_keeps_a_labelled_voxel_in_its_place(grid, orientation, spacing):
    image = scan(grid)
    image.image_czyx[:] = 0
    middle = tuple(slice(n // 2 - 1, n // 2 + 1) for n in grid.shape_zyx)
    image.image_czyx[(0, *middle)] = 1000
    labels = np.zeros(grid.shape_zyx, np.uint16)
    labels[middle] = 2
    given_image = ReadImage(**{**vars(image), "label_map_zyx": labels})
    again = prepare(
        given_image,
        orientation=orientation,
        crop_to_body={"margin_mm": 3, "above": 500},
        spacing_mm_zyx=[spacing] * 3,
        window={"percentiles": [1, 99]},
    )
    if not (again.label_map_zyx == 2).any():  # smaller than a new voxel
        assert spacing > 1.5 * min(grid.spacing_mm_zyx)
        return
    centre = np.argwhere(again.label_map_zyx == 2).mean(axis=0)
    was = grid.index_to_world([n // 2 - 0.5 for n in grid.shape_zyx])
    apart = _index_of(again.grid, was) - centre
    assert np.abs(apart).max() <= 0.5 + 0.5 * max(grid.spacing_mm_zyx) / spacing
