"""Bent within its slices, and no slice for another."""

import numpy as np
import pytest

from hilum.nn.pretext.elastic import bent_in_plane


def bent(crop, seed=0, alpha=991.0, sigma=8.0):
    return bent_in_plane(crop, np.random.default_rng(seed), alpha=alpha, sigma=sigma)


@pytest.mark.parametrize("shape", [(32, 64, 64), (1, 64, 64), (8, 16, 16), (1, 128, 128)])
def test_voxels_of_a_crop_64_wide_move_by_about_four_either_way_and_others_for_their_width(shape):
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(np.float32)
    quarter = shape[2] // 4
    moved = [(bent(places, seed) - places)[:, :, quarter:-quarter, quarter:-quarter] for seed in range(16)]
    spread = np.std(np.stack(moved)[:, 1:]) * 64 / shape[2]
    assert 2 < spread < 6


def test_no_voxel_leaves_its_slice():
    z = np.broadcast_to(np.arange(6, dtype=np.float32)[:, None, None], (1, 6, 20, 20)).copy()
    assert np.array_equal(bent(z), z)


@pytest.mark.parametrize("shape", [(2, 1, 16, 20), (1, 6, 16, 20)])
def test_what_comes_out_is_like_what_went_in(shape):
    crop = np.random.default_rng(0).random(shape, np.float32)
    before = crop.copy()
    out = bent(crop)
    assert out.shape == crop.shape
    assert out.dtype == np.float32
    assert crop.min() <= out.min() <= out.max() <= crop.max()
    assert np.array_equal(crop, before)
    assert not np.array_equal(out, crop)
    assert np.array_equal(out, bent(crop))
    assert not np.array_equal(out, bent(crop, seed=1))


def test_channels_are_bent_together():
    crop = np.random.default_rng(0).random((1, 4, 16, 16), np.float32)
    one, other = bent(np.concatenate([crop, crop]))
    assert np.array_equal(one, other)


def test_no_alpha_is_no_bend():
    crop = np.random.default_rng(0).random((1, 4, 16, 16), np.float32)
    assert np.array_equal(bent(crop, alpha=0.0), crop)
