from collections import Counter

import numpy as np
import pytest

from hilum.nn.pretext.flips import drawn_flips, num_in_a_row, random_flips


def test_every_axis_of_space_is_flipped_now_and_then():
    rng = np.random.default_rng(0)
    flipped = Counter(axis for _ in range(2000) for axis in drawn_flips((32, 64, 64), rng=rng, probability=0.4))
    assert set(flipped) == {1, 2, 3}
    assert max(flipped.values()) < 1.3 * min(flipped.values())


def test_flips_go_on_as_often_as_asked():
    rng = np.random.default_rng(0)
    none = sum(drawn_flips((32, 64, 64), rng=rng, probability=0.4) == () for _ in range(4000)) / 4000
    # No flip at all, or two of the same axis: .6 + .16 · .6 / 3.
    assert none == pytest.approx(0.632, abs=0.03)


def test_a_single_slice_is_never_flipped_through():
    rng = np.random.default_rng(0)
    assert {axis for _ in range(300) for axis in drawn_flips((1, 8, 8), rng=rng, probability=0.9)} == {2, 3}
    assert drawn_flips((1, 1, 1), rng=rng, probability=1.0) == ()


def test_a_flipped_crop_is_the_crop_mirrored():
    crop = np.random.default_rng(0).random((2, 3, 4, 5), dtype=np.float32)
    mirrored = [np.flip(crop, axes).tobytes() for axes in [(), 1, 2, 3, (1, 2), (1, 3), (2, 3), (1, 2, 3)]]
    seen = {random_flips(crop, rng=np.random.default_rng(seed), probability=0.8).tobytes() for seed in range(200)}
    assert seen == set(mirrored)


def test_what_comes_after_a_stop_does_not_count():
    assert num_in_a_row(np.array([True, True, False, True])) == 2
    assert num_in_a_row(np.array([False, True])) == 0
    assert num_in_a_row(np.array([True, True])) == 2
