"""Crops of larger answers: anywhere, or where somebody answered."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.asking import IGNORE
from hilum.nn.batches import Example, fit
from hilum.nn.crops import anywhere, inside, places_by_class

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(1, 8))


def rng(seed):
    return np.random.default_rng(seed)


def answered_at(*voxels, shape=(4, 12, 12), class_id=1, elsewhere=IGNORE):
    label_map = np.full(shape, elsewhere, np.uint16)
    for voxel in voxels:
        label_map[voxel] = class_id
    return Example(np.arange(label_map.size, dtype=np.float32).reshape(1, *shape), None, label_map)


@given(st.integers(0, 999), SHAPES, st.floats(0, 1))
def test_a_crop_of_a_map_with_one_answer_always_holds_it(seed, shape, share):
    example = answered_at((2, 9, 1))
    fitted = fit(example, shape, rng(seed), foreground_share=share)
    assert fitted.label_map_ZYX.shape == shape
    assert (fitted.label_map_ZYX == 1).sum() == 1


def test_a_crop_anywhere_may_miss_it():
    found = [(fit(answered_at((2, 9, 1)), (1, 4, 4), rng(seed)).label_map_ZYX == 1).any() for seed in range(30)]
    assert not all(found)


@given(st.integers(0, 999), SHAPES)
def test_where_all_is_answered_asking_for_answers_changes_nothing(seed, shape):
    example = answered_at((0, 0, 0), elsewhere=0)
    free, asked = (fit(example, shape, rng(seed), foreground_share=share) for share in (None, 0.0))
    assert np.array_equal(free.image_CZYX, asked.image_CZYX)
    assert np.array_equal(free.label_map_ZYX, asked.label_map_ZYX)


def test_every_foreground_class_is_a_centre_as_often_however_small_it_is():
    example = answered_at((3, 1, 1), class_id=2, elsewhere=0)
    example.label_map_ZYX[:, 6:] = 1
    crops = [fit(example, (1, 1, 1), rng(seed), foreground_share=1.0).label_map_ZYX.item() for seed in range(400)]
    assert 0 not in crops
    assert 0.42 < np.mean(np.array(crops) == 2) < 0.58


def test_a_share_of_the_crops_is_on_the_foreground():
    example = answered_at((3, 1, 1), elsewhere=0)
    found = [fit(example, (1, 1, 1), rng(seed), foreground_share=0.3).label_map_ZYX.item() for seed in range(400)]
    assert 0.22 < np.mean(found) < 0.38


def test_the_voxel_is_in_the_middle_unless_the_border_is_near():
    fitted = fit(answered_at((2, 6, 6)), (1, 5, 5), rng(0), foreground_share=1.0)
    assert fitted.label_map_ZYX[0, 2, 2] == 1
    cornered = fit(answered_at((0, 0, 11)), (1, 5, 5), rng(0), foreground_share=1.0)
    assert cornered.label_map_ZYX[0, 0, 4] == 1


@given(st.integers(0, 999), SHAPES, st.one_of(st.none(), st.floats(0, 1)))
def test_image_and_labels_are_cut_at_one_place(seed, shape, share):
    label_map = rng(seed).integers(0, 3, (2, 6, 7)).astype(np.uint16)
    fitted = fit(Example(label_map[None].astype(np.float32), None, label_map), shape, rng(seed), foreground_share=share)
    answered = fitted.label_map_ZYX != IGNORE
    assert np.array_equal(fitted.image_CZYX[0][answered], fitted.label_map_ZYX[answered])


def test_places_name_every_answered_class_and_nothing_that_was_not_answered():
    example = answered_at((1, 2, 3), (1, 2, 4))
    assert example.places.keys() == {1}
    assert [tuple(np.unravel_index(p, (4, 12, 12))) for p in example.places[1]] == [(1, 2, 3), (1, 2, 4)]
    assert Example(np.zeros((1, 1, 2, 2), np.float32), 1).places == {}


@pytest.mark.parametrize("size", [10_000, 10_001, 25_000])
def test_of_a_large_class_evenly_spread_places_are_kept(size):
    places = places_by_class(np.zeros((1, 1, size), np.uint16))[0]
    assert 5_000 <= len(places) <= 10_000
    assert places[-1] >= size - 3


def test_a_crop_that_is_larger_than_the_patch_starts_at_its_first_voxel():
    assert anywhere((2, 3, 4), (5, 5, 5), rng(0)) == (0, 0, 0)
    assert inside((0, 0, 0), (1, 2, 3)) == (slice(0, 1), slice(0, 2), slice(0, 3))
