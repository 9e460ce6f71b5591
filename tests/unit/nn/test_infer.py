"""Sliding windows: every voxel answered, blended so that agreeing windows change nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.core.geometry import Patch
from hilum.nn.infer import gaussian_weight, sliding_window

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 12))


def voxelwise(images_NCZYX):
    """A network that sees one voxel at a time: every window agrees on it."""
    return np.concatenate([images_NCZYX, 1 - images_NCZYX], axis=1)


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, st.sampled_from([0.0, 0.25, 0.5, 0.75]), st.integers(1, 5))
def test_windows_that_agree_give_what_one_big_window_gives(shape, window, overlap, batch_size):
    whole = np.random.default_rng(0).random((1, *shape)).astype(np.float32)
    probs = sliding_window(
        Patch("v", (0, 0, 0), shape),
        window,
        read=lambda patch: whole[(slice(None), *patch.slices)],
        predict=voxelwise,
        overlap=overlap,
        batch_size=batch_size,
    )
    assert probs.shape == (2, *shape)
    assert np.allclose(probs[0], whole[0], atol=1e-5)
    assert np.allclose(probs.sum(axis=0), 1, atol=1e-5)


def test_only_the_region_is_read():
    read = []

    def reading(patch):
        read.append(patch)
        return np.zeros((1, *patch.shape_zyx), np.float32)

    region = Patch("v", (4, 0, 0), (2, 8, 8))
    sliding_window(region, (2, 4, 4), read=reading, predict=voxelwise)
    assert all(a >= b for patch in read for a, b in zip(patch.start_zyx, region.start_zyx, strict=True))
    assert all(a <= b for patch in read for a, b in zip(patch.stop_zyx, region.stop_zyx, strict=True))


def test_no_batch_is_larger_than_asked():
    sizes = []

    def predict(images):
        sizes.append(len(images))
        return voxelwise(images)

    region = Patch("v", (0, 0, 0), (1, 16, 16))
    sliding_window(
        region, (1, 4, 4), read=lambda p: np.zeros((1, *p.shape_zyx), np.float32), predict=predict, batch_size=3
    )
    assert max(sizes) == 3
    assert sum(sizes) == 49


def test_windows_that_disagree_are_blended_towards_the_nearer_middle():
    # The window on the left says 1, the one on the right says 0.
    def predict(images):
        says = 1 - images[:, :, :, :, :1]
        return np.broadcast_to(says, images.shape).astype(np.float32)

    ramp = np.repeat(np.arange(6, dtype=np.float32) // 2 / 1, 1)[None, None, None] > 0
    probs = sliding_window(
        Patch("v", (0, 0, 0), (1, 1, 6)),
        (1, 1, 4),
        read=lambda p: ramp[(slice(None), *p.slices)].astype(np.float32),
        predict=predict,
    )
    line = probs[0, 0, 0]
    assert line[0] == line[1] == 1
    assert line[2] > line[3]
    assert line[-1] == 0


@given(SIZES)
def test_a_window_weighs_most_in_its_middle_and_something_everywhere(shape):
    weight = gaussian_weight(shape)
    assert weight.shape == shape
    assert weight.min() > 0
    assert weight.max() == pytest.approx(weight[tuple(size // 2 for size in shape)])
    assert np.allclose(weight, weight[::-1, ::-1, ::-1])


@settings(max_examples=25, deadline=None)
@given(SIZES, st.integers(0, 3), st.floats(0, 0.9))
def test_a_window_that_holds_the_region_is_one_forward_pass(shape, more, overlap):
    whole = np.random.default_rng(1).random((1, *shape)).astype(np.float32)
    calls = []

    def predict(images_NCZYX):
        calls.append(images_NCZYX.shape)
        # Far from voxelwise: every voxel hears of all others.
        mean = images_NCZYX.mean(axis=(2, 3, 4), keepdims=True)
        return np.concatenate([images_NCZYX * mean, 1 - images_NCZYX * mean], axis=1)

    window = tuple(size + more for size in shape)
    probs = sliding_window(
        Patch("v", (0, 0, 0), shape),
        window,
        read=lambda p: whole[(slice(None), *p.slices)],
        predict=predict,
        overlap=overlap,
    )
    assert calls == [(1, 1, *shape)]
    np.testing.assert_allclose(probs, predict(whole[None])[0], rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(SIZES, SIZES, st.integers(1, 6))
def test_how_many_windows_are_predicted_together_changes_nothing(shape, window, batch_size):
    whole = np.random.default_rng(2).random((1, *shape)).astype(np.float32)

    def answer(size):
        return sliding_window(
            Patch("v", (0, 0, 0), shape),
            window,
            read=lambda p: whole[(slice(None), *p.slices)],
            predict=lambda images: voxelwise(images * images.mean(axis=(1, 2, 3, 4), keepdims=True)),
            batch_size=size,
        )

    np.testing.assert_array_equal(answer(batch_size), answer(1000))


def test_where_a_region_lies_in_its_volume_does_not_matter():
    volume = np.random.default_rng(3).random((1, 6, 12, 12)).astype(np.float32)
    inside = Patch("v", (2, 3, 4), (3, 6, 6))
    cut = volume[(slice(None), *inside.slices)]
    options = {"predict": lambda images: voxelwise(images**2), "overlap": 0.25}
    there = sliding_window(inside, (2, 4, 4), read=lambda p: volume[(slice(None), *p.slices)], **options)
    alone = sliding_window(
        Patch("c", (0, 0, 0), (3, 6, 6)), (2, 4, 4), read=lambda p: cut[(slice(None), *p.slices)], **options
    )
    np.testing.assert_array_equal(there, alone)
