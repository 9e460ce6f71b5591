import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hilum.core.percentiles import percentiles

COUNTED = [np.uint8, np.int8, np.uint16, np.int16]
PERCENTS = (0, 0.5, 25, 50, 77.7, 99.5, 100)


@given(st.sampled_from(COUNTED).flatmap(lambda kind: arrays(kind, st.integers(1, 60))))
def test_what_is_counted_is_what_numpy_sorts_to_the_last_bit(values):
    # As 64 bits, because NumPy's own difference of two distant values of 16 bits overflows.
    assert percentiles(values, PERCENTS) == np.percentile(values.astype(np.int64), PERCENTS).tolist()


@pytest.mark.parametrize("kind", [*COUNTED, np.int32, np.float32, ">i2"])
def test_every_kind_of_voxels_has_the_percentiles_that_numpy_gives(kind):
    values = np.random.default_rng(5).normal(60, 25, 600_000).clip(0, 120).astype(kind)
    assert percentiles(values, PERCENTS) == np.percentile(values, PERCENTS).tolist()
    assert percentiles(values[::7], PERCENTS) == np.percentile(values[::7], PERCENTS).tolist()


def test_a_voxel_of_any_place_counts_also_behind_the_first_million():
    values = np.zeros(1_000_001, np.uint8)
    values[-6_000:] = 9
    assert percentiles(values, (99.5,)) == [9.0]
    assert percentiles(values[:-3_000], (99.5,)) == [0.0]
