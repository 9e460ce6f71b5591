"""Cubes are moved and turned; which, and how, is what a network learns to say."""

import numpy as np
import pytest
import torch
from tests.unit.nn.pretext.schooling import FLAT, SOLID, Anatomy, recipe_of, school, trained

from hilum.core.recipes import Choice
from hilum.core.registry import pretexts
from hilum.nn.pretext.permutations import far_apart
from hilum.nn.pretext.rubik import turned
from hilum.nn.pretext.tiles import tiles_of

RUBIK = Choice(kind="rubik")
SHAPES = [pytest.param(FLAT, 4, 1, id="2D"), pytest.param(SOLID, 8, 2, id="3D")]


@pytest.mark.parametrize(("shape", "num_cubes", "num_turns"), SHAPES)
def test_turned_back_and_put_back_the_cubes_are_those_of_the_crop(shape, num_cubes, num_turns):
    crop = Anatomy(shape).draw(np.random.default_rng(0))
    for seed in range(10):
        shown, order, turns = pretexts.bind(RUBIK)().pose(crop, np.random.default_rng(seed))
        upright = [
            turned(cube[None], does > 0) for cube, does in zip(shown, turns.reshape(num_cubes, num_turns), strict=True)
        ]
        back = np.argsort(far_apart(num_cubes, 100)[int(order)])
        cut = tiles_of(crop, 2, np.random.default_rng(seed), gap=0.15)
        assert all(np.array_equal(upright[place], cube) for place, cube in zip(back, cut, strict=True))


@pytest.mark.parametrize(("shape", "num_cubes", "num_turns"), SHAPES)
def test_half_of_the_cubes_are_turned(shape, num_cubes, num_turns):
    crop, pretext = np.zeros((1, *shape), np.float32), pretexts.bind(RUBIK)()
    posed = np.stack([pretext.pose(crop, np.random.default_rng(seed))[2] for seed in range(200)])
    assert posed.shape == (200, num_cubes * num_turns)
    assert np.all(np.abs(posed.mean(axis=0) - 0.5) < 0.15)


def test_a_half_turn_twice_is_none_and_both_half_turns_are_the_third():
    cube = np.random.default_rng(0).random((1, 4, 5, 6)).astype(np.float32)
    for turns in ([True, False], [False, True], [True, True]):
        once = turned(cube, np.array(turns))
        assert not np.array_equal(once, cube)
        assert np.array_equal(turned(once, np.array(turns)), cube)
    assert np.array_equal(turned(cube, np.array([True, True])), np.flip(cube, (1, 2)))


def test_a_flat_crop_has_no_more_than_24_orders():
    _, network, _ = school(recipe_of(RUBIK))
    assert network(torch.zeros(1, 4, 10, 10)).shape == (1, 24 + 4)


def test_order_and_turns_weigh_the_same():
    pretext, network, _ = school(recipe_of(Choice(kind="rubik", num_permutations=3)))
    torch.nn.init.zeros_(network.head[-1].weight)
    torch.nn.init.zeros_(network.head[-1].bias)
    puzzle = (torch.rand(2, 4, 10, 10), torch.tensor([0, 2]), torch.ones(2, 4))
    assert pretext.loss(network, puzzle).item() == pytest.approx((np.log(3) + np.log(2)) / 2, rel=1e-6)


class Shaded(Anatomy):
    """Every cube grows brighter towards the head and the left: a small network is to see which way is up."""

    def draw(self, rng):
        ramps = [np.arange(n) % (n // 2) / (n // 2) if n > 1 else np.zeros(1) for n in self.shape_zyx]
        z, y, _ = np.meshgrid(*ramps, indexing="ij")
        return (0.3 * super().draw(rng) + 0.35 * z + 0.35 * y).astype(np.float32)


@pytest.mark.parametrize(("shape", "num_steps"), [(FLAT, 80), ((16, 16, 16), 200)])
def test_a_network_finds_order_and_turns_more_often_than_by_chance(shape, num_steps):
    recipe = recipe_of(
        Choice(kind="rubik", num_permutations=4),
        shape,
        architecture=Choice(kind="unet", depth=1, features=(8, 16), norm="batch"),
        num_steps=num_steps,
        batch_size=8,
        num_held_out_crops=40,
    )
    _, _, _, network, teacher = trained(recipe, schooled=school(recipe, crops=Shaded(shape)))
    ordered, oriented = [], []
    with torch.inference_mode():
        for shown, order, turns in teacher.all_held_out():
            logits = network(shown)
            ordered += (logits[:, :4].argmax(dim=1) == order).tolist()
            oriented += ((logits[:, 4:] > 0) == (turns > 0)).flatten().tolist()
    assert np.mean(ordered) > 0.5, "chance is 0.25"
    assert np.mean(oriented) > 0.6, "chance is 0.5"
