import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.nn.pretext.bezier import NUM_NODES, bezier_map, mapped, non_linear

CONTROLS = np.array([(0.2, 0.8), (0.6, 0.3)])
LEVELS = np.array([0, 0.1, 0.25, 0.5, 0.75, 0.9, 1], np.float32)
unit = st.floats(0, 1)
controls = st.tuples(unit, unit, unit, unit).map(lambda four: np.array(four).reshape(2, 2))


def _curve(controls_22, t):
    weights = np.stack([3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3])
    return np.concatenate([controls_22, [[1, 1]]]).T @ weights


def _on_the_curve(controls_22, level):
    """The curve's height where its x is ``level``, by halving: no table."""
    low, high = np.zeros_like(level), np.ones_like(level)
    for _ in range(60):
        middle = (low + high) / 2
        below = _curve(controls_22, middle)[0] < level
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return _curve(controls_22, low)[1], _curve(controls_22, 1 - low)[1]


def test_the_published_example_comes_out():
    rising, falling = (mapped(LEVELS, *bezier_map(CONTROLS, decreasing=decreasing)) for decreasing in (False, True))
    np.testing.assert_allclose(rising, [0, 0.275482, 0.452808, 0.563908, 0.694723, 0.848403, 1], atol=1e-6)
    np.testing.assert_allclose(falling, [1, 0.761988, 0.612833, 0.509618, 0.355025, 0.174538, 0], atol=1e-6)


def test_nodes_lie_on_the_published_curve():
    quarter = _curve(CONTROLS, np.array([0.25, 0.5, 0.75])).T
    np.testing.assert_allclose(quarter, [(0.184375, 0.3953125), (0.425, 0.5375), (0.703125, 0.6609375)], atol=1e-12)
    levels, becoming = bezier_map(CONTROLS, decreasing=False)
    np.testing.assert_allclose(np.stack([levels, becoming]), _curve(CONTROLS, np.linspace(0, 1, NUM_NODES)), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(controls, st.integers(0, 999))
def test_the_map_is_within_three_nodes_of_the_curve(controls_22, seed):
    level = np.random.default_rng(seed).random(500, dtype=np.float32)
    rising, falling = _on_the_curve(controls_22, level.astype(np.float64))
    for decreasing, expected in ((False, rising), (True, falling)):
        found = mapped(level, *bezier_map(controls_22, decreasing=decreasing))
        np.testing.assert_allclose(found, expected, atol=3 / NUM_NODES)


@settings(max_examples=60, deadline=None)
@given(controls, st.booleans(), st.integers(0, 999))
def test_the_map_never_turns_back(controls_22, decreasing, seed):
    rng = np.random.default_rng(seed)
    some = rng.random(3000, dtype=np.float32)
    level = np.sort(np.concatenate([some, np.nextafter(some, np.float32(2)), np.arange(8193, dtype=np.float32) / 8192]))
    becoming = mapped(np.minimum(level, 1), *bezier_map(controls_22, decreasing=decreasing))
    steps = np.diff(becoming)
    assert (steps <= 0).all() if decreasing else (steps >= 0).all()
    assert (becoming[0], becoming[-1]) == ((1, 0) if decreasing else (0, 1))


@settings(max_examples=40, deadline=None)
@given(controls, st.booleans(), st.integers(0, 999))
def test_it_is_numpys_interpolation_but_for_flat_cells(controls_22, decreasing, seed):
    crop = np.random.default_rng(seed).random((1, 2, 20, 20), dtype=np.float32)
    levels, becoming = bezier_map(controls_22, decreasing=decreasing)
    np.testing.assert_allclose(mapped(crop, levels, becoming), np.interp(crop, levels, becoming), atol=2 / NUM_NODES)


def test_half_of_the_maps_fall():
    ends = np.array([0, 1], np.float32).reshape(1, 1, 1, 2)
    mapped_ends = [non_linear(ends, rng=np.random.default_rng(seed)).ravel().tolist() for seed in range(400)]
    assert {tuple(pair) for pair in mapped_ends} == {(0.0, 1.0), (1.0, 0.0)}
    assert sum(first for first, _ in mapped_ends) == pytest.approx(200, abs=50)


def test_levels_outside_are_taken_for_the_ends():
    levels, becoming = bezier_map(CONTROLS, decreasing=False)
    outside = np.array([-0.5, -1e-9, 1.0000001, 7], np.float32)
    np.testing.assert_array_equal(mapped(outside, levels, becoming), [0, 0, 1, 1])


def test_equal_grey_levels_stay_equal():
    crop = np.repeat(np.random.default_rng(0).random((1, 1, 8, 8), dtype=np.float32), 4, axis=1)
    bent = non_linear(crop, rng=np.random.default_rng(0))
    assert np.ptp(bent, axis=1).max() == 0
