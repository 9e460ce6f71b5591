import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.nn.pretext.shuffling import (
    NUM_WINDOWS,
    local_pixel_shuffling,
    most_zyx,
    num_windows_for,
    write_windows,
)

CUBE = (1, 32, 64, 64)


def _numbered(shape_czyx):
    return np.arange(np.prod(shape_czyx), dtype=np.float32).reshape(shape_czyx)


def _touched(shape_czyx, num_windows, *, seed=0):
    out = np.full(shape_czyx, -1, np.float32)
    write_windows(_numbered(shape_czyx), out, rng=np.random.default_rng(seed), num_windows=num_windows)
    return out >= 0


@pytest.mark.parametrize(("regime", "share"), [("code", 0.82), ("paper", 0.16)])
def test_the_published_number_of_windows_touches_the_measured_share_of_a_cube(regime, share):
    windows = num_windows_for(regime, CUBE[1:])
    touched = np.mean([_touched(CUBE, windows, seed=seed).mean() for seed in range(8)])
    assert touched == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("regime", NUM_WINDOWS)
@pytest.mark.parametrize("size", [64, 224])
def test_a_slice_is_touched_as_much_as_a_cube(regime, size):
    flat = (1, 1, size, size)
    touched = np.mean([_touched(flat, num_windows_for(regime, flat[1:]), seed=seed).mean() for seed in range(20)])
    cube = _touched(CUBE, num_windows_for(regime, CUBE[1:])).mean()
    assert touched == pytest.approx(cube, abs=0.05)


def test_windows_are_a_tenth_of_each_axis_and_never_nothing():
    assert most_zyx((32, 64, 64)) == [3, 6, 6]
    assert most_zyx((1, 9, 224)) == [1, 1, 22]


@settings(max_examples=60, deadline=None)
@given(st.tuples(st.integers(1, 24), st.integers(1, 40), st.integers(1, 40)), st.integers(0, 999))
def test_one_window_is_a_box_whose_own_voxels_change_places(shape_zyx, seed):
    crop = _numbered((1, *shape_zyx))
    out = np.full_like(crop, -1)
    write_windows(crop, out, rng=np.random.default_rng(seed), num_windows=1)
    box = tuple(slice(min(at), max(at) + 1) for at in np.nonzero(out >= 0))
    window, before = out[box], crop[box]
    assert all(1 <= side <= most for side, most in zip(window.shape[1:], most_zyx(shape_zyx), strict=True))
    assert sorted(window.ravel()) == sorted(before.ravel())
    assert (out >= 0).sum() == window.size


def test_every_order_of_a_window_is_as_likely():
    crop, counts = _numbered((1, 1, 1, 30)), {}
    for seed in range(9000):
        out = np.full_like(crop, -1)
        write_windows(crop, out, rng=np.random.default_rng(seed), num_windows=1)
        written = out[out >= 0]
        if written.size == 3:
            order = tuple((written - written.min()).astype(int))
            counts[order] = counts.get(order, 0) + 1
    expected = sum(counts.values()) / 6
    assert len(counts) == 6
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 25


def test_sizes_and_places_are_as_likely_as_each_other():
    sizes, starts = np.zeros(3), np.zeros(28)
    for seed in range(6000):
        out = np.full((1, 1, 1, 30), -1, np.float32)
        write_windows(_numbered(out.shape), out, rng=np.random.default_rng(seed), num_windows=1)
        at = np.flatnonzero(out >= 0)
        sizes[len(at) - 1] += 1
        if len(at) == 3:
            starts[at[0]] += 1
    assert ((sizes - 2000) ** 2 / 2000).sum() < 20
    expected = starts.sum() / 28
    assert ((starts - expected) ** 2 / expected).sum() < 70


def test_windows_take_from_the_crop_as_it_was():
    # A voxel that travelled twice would be found further away than any window is long.
    shape = (1, 1, 1, 200)
    found = local_pixel_shuffling(_numbered(shape), rng=np.random.default_rng(0), num_windows=20_000)
    assert np.abs(found - _numbered(shape)).max() <= most_zyx(shape[1:])[2] - 1


def test_no_windows_change_nothing():
    crop = _numbered((2, 4, 12, 12))
    np.testing.assert_array_equal(local_pixel_shuffling(crop, rng=np.random.default_rng(0), num_windows=0), crop)
