import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hilum.nn.pretext.air import MOST_SOLID, SOLID_FROM_HU, weighted_solid_share


def _as_published(window, num_slices, solid_from):
    """Voxel by voxel: how many slices on is the first solid one, three looked at?"""
    total, (depth, height, width) = 0.0, window.shape
    for z in range(num_slices):
        for y in range(height):
            for x in range(width):
                k = next((k for k in range(3) if z + k < depth and window[z + k, y, x] >= solid_from), 2)
                total += 1 - min(k, 2) / 2
    return total / (num_slices * height * width)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.int16, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7), elements=st.integers(-1000, 1000)),
    st.integers(0, 3),
    st.floats(-1100, 1100, width=16),
)
def test_it_is_the_published_loops_value(window, behind, solid_from):
    num_slices = max(1, len(window) - behind)
    expected = _as_published(window.astype(np.float64), num_slices, solid_from)
    for kind in (np.int16, np.float32, np.float64):
        found = weighted_solid_share(window.astype(kind), num_slices=num_slices, solid_from=solid_from)
        assert found == pytest.approx(expected, abs=1e-12)


def test_pure_air_is_let_through_and_soft_tissue_is_not():
    air, tissue = np.full((35, 8, 8), -1000, np.int16), np.full((35, 8, 8), 40, np.int16)
    assert weighted_solid_share(air, num_slices=32, solid_from=SOLID_FROM_HU) == 0 <= MOST_SOLID
    assert weighted_solid_share(tissue, num_slices=32, solid_from=SOLID_FROM_HU) == 1 > MOST_SOLID


def test_a_slice_before_a_solid_one_counts_half_and_those_before_it_nothing():
    window = np.zeros((5, 4, 4), np.float32)
    window[3] = 1
    shares = [weighted_solid_share(window, num_slices=num, solid_from=0.5) * num for num in (1, 2, 3, 4, 5)]
    assert shares == [0, 0, 0.5, 1.5, 1.5]


def test_the_threshold_itself_is_solid():
    window = np.full((1, 2, 2), -150, np.int16)
    assert weighted_solid_share(window, num_slices=1, solid_from=-150) == 1
    assert weighted_solid_share(window, num_slices=1, solid_from=-149.5) == 0


@pytest.mark.parametrize("solid_from", [-1e9, 1e9, -np.inf, np.inf])
def test_thresholds_beyond_any_grey_level_are_all_or_nothing(solid_from):
    window = np.array([[[-32768, 32767]]], np.int16)
    assert weighted_solid_share(window, num_slices=1, solid_from=solid_from) == (solid_from < 0)


def test_the_window_is_left_as_it_was_and_may_lie_anyhow():
    window = np.random.default_rng(0).integers(-1000, 1000, (35, 9, 7)).astype(np.int16)
    turned = np.asfortranarray(window)
    shares = [weighted_solid_share(w, num_slices=32, solid_from=-150) for w in (window, turned, window.copy())]
    assert shares[0] == shares[1] == shares[2]
