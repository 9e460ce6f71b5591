"""From a voxel map to one number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.select.reduce import box_means, reduction


def a_map(seed=0, shape=(3, 4, 5, 6)):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@pytest.mark.parametrize(
    "choice",
    [Choice(kind="mean"), Choice(kind="top_fraction", fraction=0.2), Choice(kind="box", box_zyx=[2, 2, 2])],
    ids=lambda choice: choice.kind,
)
def test_every_candidate_gets_one_number_between_its_lowest_and_highest_voxel(choice):
    maps = a_map()
    scores = reduction(choice)(maps)
    assert scores.shape == (3,)
    assert scores.dtype == np.float32
    assert (scores >= maps.min(axis=(1, 2, 3)) - 1e-6).all()
    assert (scores <= maps.max(axis=(1, 2, 3)) + 1e-6).all()
    np.testing.assert_array_equal(maps, a_map())


def test_the_whole_patch_as_a_box_is_the_mean():
    np.testing.assert_allclose(
        reduction(Choice(kind="box", box_zyx=[4, 5, 6]))(a_map()), reduction(Choice(kind="mean"))(a_map()), rtol=1e-6
    )


def test_all_voxels_as_the_top_are_the_mean():
    np.testing.assert_allclose(
        reduction(Choice(kind="top_fraction", fraction=1.0))(a_map()), a_map().mean(axis=(1, 2, 3)), rtol=1e-6
    )


def test_the_top_is_the_mean_of_the_highest_voxels():
    maps = np.arange(100, dtype=np.float32).reshape(1, 4, 5, 5)
    assert reduction(Choice(kind="top_fraction", fraction=0.1))(maps)[0] == pytest.approx(94.5)
    assert reduction(Choice(kind="top_fraction", fraction=0.0001))(maps)[0] == 99


@given(st.integers(0, 2**32 - 1), st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 7)))
def test_running_sums_give_the_mean_of_every_box(seed, box):
    one = a_map(seed, (4, 5, 6))
    means = box_means(one, box)
    size = tuple(min(b, n) for b, n in zip(box, one.shape, strict=True))
    assert means.shape == tuple(n - s + 1 for n, s in zip(one.shape, size, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(one, size).mean(axis=(3, 4, 5), dtype=np.float64)
    np.testing.assert_allclose(means, windows, atol=1e-6)


def test_a_small_hot_spot_is_found_by_its_box_and_drowned_by_the_mean():
    maps = np.zeros((2, 8, 8, 8), np.float32)
    maps[0, 2:4, 2:4, 2:4] = 1.0
    maps[1] = 0.1
    assert np.argmax(reduction(Choice(kind="box", box_zyx=[2, 2, 2]))(maps)) == 0
    assert np.argmax(reduction(Choice(kind="mean"))(maps)) == 1


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(kind="median"), "No reduction is called 'median'"),
        (Choice(kind="top_fraction", fraction=0), "reduction 'top_fraction', parameter 'fraction'"),
        (Choice(kind="box"), "reduction 'box', parameter 'box_zyx'"),
        (Choice(kind="box", box_zyx=[0, 1, 1]), "sizes must be positive"),
        (Choice(kind="mean", of="everything"), "No parameter is called 'of'"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(choice, message):
    with pytest.raises(RecipeError, match=message):
        reduction(choice)
