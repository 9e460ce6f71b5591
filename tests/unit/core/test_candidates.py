"""Candidates of a volume: whole items, patches, or slices of any plane; and a slice is seen as an image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hilum.core.candidates import as_image, candidate_patches, from_image, image_shape, patch_shape_in
from hilum.core.errors import RecipeError
from hilum.core.geometry import IDENTITY_DIRECTION, Grid
from hilum.core.imaging import Study, Volume
from hilum.core.recipes import PoolRecipe

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
TURNS = [IDENTITY_DIRECTION, ((1.0, 0, 0), (0, 0.0, -1), (0, -1, 0.0)), ((0, 1, 0), (0, 0, 1), (-1, 0, 0))]


def volume(shape, item=None, direction=IDENTITY_DIRECTION):
    grid = Grid(shape, direction=direction)
    return Volume("v", Study("s", "p"), grid, item or shape, 1, "CT", 0.0, 1.0, has_label_map=False)


def sliced(plane, every=1):
    return PoolRecipe.model_validate({"slices": {"plane": plane, "every": every}})


@pytest.mark.parametrize("direction", TURNS)
@pytest.mark.parametrize("plane", PLANES)
def test_every_slice_is_whole_and_lies_across_its_axis_of_the_patient(plane, direction):
    patches = candidate_patches(volume((5, 6, 7), direction=direction), sliced(plane))
    across = int(np.abs(direction[PLANES[plane]]).argmax())
    shape = [5, 6, 7]
    assert len(patches) == shape[across]
    assert [patch.start_zyx[across] for patch in patches] == list(range(shape[across]))
    shape[across] = 1
    assert {patch.shape_zyx for patch in patches} == {tuple(shape)}


@given(size=st.integers(1, 40), every=st.integers(1, 50))
def test_every_nth_slice_is_as_far_from_the_first_as_from_the_last_and_there_is_always_one(size, every):
    places = [p.start_zyx[0] for p in candidate_patches(volume((size, 4, 4)), sliced("axial", every))]
    assert places
    assert set(np.diff(places)) <= {every}
    assert abs(places[0] - (size - 1 - places[-1])) <= 1
    assert places[0] < every


def test_slices_of_a_stack_stay_in_their_items():
    found = candidate_patches(volume((6, 4, 5), item=(3, 4, 5)), sliced("coronal", 2))
    assert {(p.start_zyx, p.shape_zyx) for p in found} == {((z, y, 0), (3, 1, 5)) for z in (0, 3) for y in (0, 2)}


def test_an_image_is_its_own_axial_slice_and_has_no_other():
    images = volume((3, 4, 5), item=(1, 4, 5))
    assert candidate_patches(images, sliced("axial")) == candidate_patches(images, PoolRecipe())
    with pytest.raises(RecipeError, match="Volume v: a coronal slice .* would be a line"):
        patch_shape_in(images, sliced("coronal"))


def test_slices_and_patches_are_not_asked_for_together():
    with pytest.raises(ValidationError, match="either slices, or patch_shape_zyx"):
        PoolRecipe.model_validate({"slices": {"plane": "axial"}, "patch_shape_zyx": [1, 8, 8]})


@given(st.tuples(*[st.sampled_from([1, 3, 4])] * 3), st.booleans())
def test_an_image_laid_back_is_the_patch_again(shape, channels):
    array = np.arange(np.prod(shape) * 2).reshape(2, *shape)
    patch = array if channels else array[0]
    seen = as_image(patch)
    assert seen.shape[-3:] == image_shape(shape)
    assert (1 in shape) == (seen.shape[-3] == 1)
    assert np.array_equal(from_image(seen, shape), patch)
    if 1 not in shape or shape[0] == 1:
        assert np.array_equal(seen, patch)


def test_rows_of_an_image_keep_the_order_of_the_scan():
    slice_ZYX = np.arange(12).reshape(3, 1, 4)
    assert np.array_equal(as_image(slice_ZYX)[0], slice_ZYX[:, 0])
    sagittal_ZYX = np.arange(12).reshape(3, 4, 1)
    assert np.array_equal(as_image(sagittal_ZYX)[0], sagittal_ZYX[:, :, 0])
