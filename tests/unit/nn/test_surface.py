"""Surfaces: hand-computed boxes, brute force, MONAI's own metrics, and what is not known."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.nn.surface import match_surfaces, surface_elements

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

ANISOTROPIC = (3.0, 1.0, 0.5)
# MONAI 1.6 calls itself in a way that it has deprecated.
theirs_complains = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")


def box(shape, start, stop):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


def match(truth, answer, spacing=(1.0, 1.0, 1.0), tolerance=1.0, known=None):
    known = np.ones_like(truth) if known is None else known
    return match_surfaces(truth, answer, known, spacing, tolerance_mm=tolerance)


def surface_dice(found):
    return (found.true_area_within + found.answered_area_within) / (found.true_area + found.answered_area)


def blobs(seed, shape):
    random = np.random.default_rng(seed)
    masks = []
    for _ in range(2):
        field = random.normal(size=shape)
        for axis in range(len(shape)):
            field = field + np.roll(field, 1, axis) + np.roll(field, -1, axis)
        masks.append(field > np.quantile(field, 0.7))
    return masks


@pytest.mark.parametrize(("axis", "spacing"), [(a, s) for a in range(3) for s in ((1.0, 1.0, 1.0), ANISOTROPIC)])
def test_a_box_moved_along_an_axis_is_off_by_the_millimetres_it_moved(axis, spacing):
    shift = [2 if a == axis else 0 for a in range(3)]
    truth = box((20, 20, 20), (5, 5, 5), (13, 13, 13))
    answer = box((20, 20, 20), [5 + s for s in shift], [13 + s for s in shift])
    assert match(truth, answer, spacing).hd95_mm == pytest.approx(2 * spacing[axis])


def test_a_tolerance_of_just_the_distance_forgives_it_and_less_does_not():
    truth, answer = box((20, 20, 20), (5, 5, 5), (13, 13, 13)), box((20, 20, 20), (5, 5, 7), (13, 13, 15))
    spacing = (1.0, 1.0, 0.1)
    assert surface_dice(match(truth, answer, spacing, tolerance=0.2)) == 1
    # The two end faces, of 8 × 8 mm each on either side, are off; of the sides only what juts out by 0.2 mm.
    short = surface_dice(match(truth, answer, spacing, tolerance=0.05))
    assert short < 0.4


def test_the_same_mask_is_right_everywhere_and_no_distance_away():
    truth = box((9, 9, 9), (2, 3, 4), (6, 7, 8))
    found = match(truth, truth, ANISOTROPIC, tolerance=0)
    assert surface_dice(found) == 1
    assert found.hd95_mm == 0


@pytest.mark.parametrize("axis", range(3))
def test_a_flat_face_has_the_area_that_it_has_in_millimetres(axis):
    """A slab as wide as the grid has two faces; its rim is where the grid ends."""
    mask = box((8, 8, 8), [3 if a == axis else 0 for a in range(3)], [5 if a == axis else 8 for a in range(3)])
    _, areas = surface_elements(mask, np.ones_like(mask), ANISOTROPIC)
    face = math.prod(7 * s for a, s in enumerate(ANISOTROPIC) if a != axis)
    assert areas.sum() == pytest.approx(2 * face)


def test_one_voxel_is_an_octahedron():
    one = box((3, 3, 3), (1, 1, 1), (2, 2, 2))
    assert match(one, one).true_area == pytest.approx(8 * math.sqrt(3) / 8)


def test_what_touches_the_border_ends_there():
    inside, corner = box((12, 12, 12), (4, 4, 4), (8, 8, 8)), box((12, 12, 12), (0, 8, 0), (4, 12, 4))
    assert match(corner, corner).true_area == pytest.approx(match(inside, inside).true_area)


@pytest.mark.parametrize("swapped", [False, True])
def test_one_mask_without_voxels_is_wrong_everywhere_and_at_no_distance(swapped):
    some, none = box((6, 6, 6), (2, 2, 2), (4, 4, 4)), np.zeros((6, 6, 6), bool)
    found = match(*((none, some) if swapped else (some, none)))
    assert surface_dice(found) == 0
    assert math.isnan(found.hd95_mm)


def test_two_masks_without_voxels_have_no_surface():
    none = np.zeros((6, 6, 6), bool)
    found = match(none, none)
    assert found.true_area == found.answered_area == 0
    assert math.isnan(found.hd95_mm)


@theirs_complains
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(1.0, 1.0, 1.0), ANISOTROPIC]))
def test_surface_dice_is_monai_s_with_subvoxels(seed, spacing):
    truth, answer = blobs(seed, (7, 8, 9))
    one_hot = [torch.from_numpy(np.stack([~m, m])[None].astype(np.float32)) for m in (answer, truth)]
    theirs = compute_surface_dice(*one_hot, class_thresholds=[1.0], spacing=spacing, use_subvoxels=True)
    assert surface_dice(match(truth, answer, spacing)) == pytest.approx(float(theirs), abs=1e-5)


@theirs_complains
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_in_an_image_it_is_monai_s_of_two_dimensions(seed):
    truth, answer = blobs(seed, (12, 13))
    one_hot = [torch.from_numpy(np.stack([~m, m])[None].astype(np.float32)) for m in (answer, truth)]
    theirs = compute_surface_dice(*one_hot, class_thresholds=[1.0], spacing=(2.0, 0.5), use_subvoxels=True)
    found = match(truth[None], answer[None], (9.0, 2.0, 0.5))
    assert surface_dice(found) == pytest.approx(float(theirs), abs=1e-5)


@theirs_complains
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_hd95_is_within_a_voxel_of_monai_s_which_counts_voxels_instead_of_area(seed):
    random = np.random.default_rng(seed)
    start, size = random.integers(3, 8, 3), random.integers(6, 10, 3)
    truth = box((26, 26, 26), start, start + size)
    moved = start + random.integers(0, 6, 3)
    answer = box((26, 26, 26), moved, moved + size)
    one_hot = [torch.from_numpy(np.stack([~m, m])[None].astype(np.float32)) for m in (answer, truth)]
    theirs = compute_hausdorff_distance(*one_hot, percentile=95)
    assert match(truth, answer).hd95_mm == pytest.approx(float(theirs), abs=math.sqrt(3))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_hd95_and_areas_are_what_trying_every_pair_gives(seed):
    truth, answer = blobs(seed, (5, 6, 7))
    padded = [np.pad(m, 1) for m in (truth, answer)]
    known = np.ones_like(padded[0])
    (points, areas), (others, other_areas) = (surface_elements(m, known, ANISOTROPIC) for m in padded)
    apart = np.sqrt(((points[:, None] - others[None]) ** 2).sum(axis=-1))

    def least_that_covers(distances, weights):
        return min(d for d in distances if weights[distances <= d].sum() >= 0.95 * weights.sum() * (1 - 1e-12))

    expected = max(least_that_covers(apart.min(axis=1), areas), least_that_covers(apart.min(axis=0), other_areas))
    found = match(truth, answer, ANISOTROPIC)
    assert found.hd95_mm == pytest.approx(expected)
    assert found.true_area_within == pytest.approx(areas[apart.min(axis=1) <= 1].sum())
    assert found.answered_area_within == pytest.approx(other_areas[apart.min(axis=0) <= 1].sum())


def test_a_surface_beside_what_is_not_known_is_left_out():
    """The answer goes on where nobody drew: neither right nor wrong."""
    known = np.ones((10, 10, 20), bool)
    known[..., 10:] = False
    truth, answer = box((10, 10, 20), (3, 3, 3), (7, 7, 10)), box((10, 10, 20), (3, 3, 3), (7, 7, 17))
    assert surface_dice(match(truth, answer, known=known)) == 1
    assert surface_dice(match(truth, answer)) < 1


def test_what_the_answer_says_of_unknown_voxels_changes_nothing():
    random = np.random.default_rng(0)
    truth, answer = blobs(3, (8, 9, 10))
    known = random.random(truth.shape) < 0.9
    other = np.where(known, answer, random.random(truth.shape) < 0.5)
    assert match(truth & known, answer, known=known) == match(truth & known, other, known=known)


def test_slabs_of_a_large_mask_give_what_it_gives_whole(monkeypatch):
    truth, answer = blobs(5, (9, 8, 7))
    whole = match(truth, answer, ANISOTROPIC)
    monkeypatch.setattr("hilum.nn.surface._VOXELS_PER_SLAB", 100)
    assert vars(match(truth, answer, ANISOTROPIC)) == pytest.approx(vars(whole))
