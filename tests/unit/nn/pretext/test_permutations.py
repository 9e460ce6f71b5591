"""Orders: distinct, invertible, far apart, always the same."""

import math

import numpy as np
import pytest

from hilum.nn.pretext.permutations import far_apart


@pytest.mark.parametrize(("num_tiles", "num"), [(4, 24), (8, 100), (9, 100), (27, 100), (9, 1000)])
def test_orders_are_distinct_and_each_can_be_undone(num_tiles, num):
    orders = far_apart(num_tiles, num)
    assert orders.shape == (num, num_tiles)
    assert len({tuple(order) for order in orders}) == num
    tiles = np.arange(num_tiles) * 10
    for order in orders:
        assert np.array_equal(tiles[order][np.argsort(order)], tiles)


def test_there_are_no_more_orders_than_there_are():
    assert len(far_apart(4, 1000)) == math.factorial(4)
    assert len(far_apart(3, 100)) == 6


@pytest.mark.parametrize(("num_tiles", "least_apart"), [(9, 6), (27, 22)])
def test_no_two_of_a_hundred_orders_are_alike(num_tiles, least_apart):
    orders = far_apart(num_tiles, 100)
    apart = (orders[:, None] != orders[None]).sum(axis=2)[~np.eye(100, dtype=bool)]
    assert apart.min() >= least_apart


@pytest.mark.parametrize("num_tiles", [8, 9, 27])
def test_they_are_farther_apart_than_orders_drawn_at_random(num_tiles):
    rng = np.random.default_rng(0)
    drawn = np.array([rng.permutation(num_tiles) for _ in range(100)])
    orders = far_apart(num_tiles, 100)
    off = ~np.eye(100, dtype=bool)
    nearest = [(some[:, None] != some[None]).sum(axis=2)[off].min() for some in (orders, drawn)]
    assert nearest[0] > nearest[1]


def test_fewer_orders_are_the_first_of_more():
    assert np.array_equal(far_apart(9, 30), far_apart(9, 100)[:30])


def test_nobody_can_change_what_all_share():
    with pytest.raises(ValueError, match="read-only"):
        far_apart(9, 10)[0, 0] = 3


def test_the_orders_of_today_are_those_of_tomorrow():
    """A checkpoint in work knows orders by number: another list would be another riddle."""
    assert far_apart(9, 3).tolist() == far_apart.__wrapped__(9, 3).tolist()
    assert far_apart(4, 4).tolist() == [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]
