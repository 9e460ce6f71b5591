"""Which order are the tiles in? A question that a small network learns to answer."""

import numpy as np
import pytest
import torch
from tests.unit.nn.pretext.schooling import FLAT, SOLID, Anatomy, recipe_of, trained

from hilum.core.recipes import Choice
from hilum.core.registry import pretexts
from hilum.nn.pretext.permutations import far_apart


def puzzles(choice, shape, num=40):
    pretext, crops = pretexts.bind(choice)(), Anatomy(shape)
    drawn = [crops.draw(np.random.default_rng(seed)) for seed in range(num)]
    return drawn, [pretext.pose(crop, np.random.default_rng(seed)) for seed, crop in enumerate(drawn)]


@pytest.mark.parametrize(("shape", "num_tiles"), [(FLAT, 9), (SOLID, 27)])
def test_every_tile_is_as_bright_and_as_varied_as_the_others(shape, num_tiles):
    _, posed = puzzles(Choice(kind="jigsaw"), shape, num=4)
    for shown, order in posed:
        assert shown.shape[0] == num_tiles
        assert np.allclose(shown.mean(axis=(1, 2, 3)), 0, atol=1e-5)
        assert np.allclose(shown.std(axis=(1, 2, 3)), 1, atol=1e-4)
        assert shown.dtype == np.float32
        assert 0 <= order < 100


def test_a_tile_with_nothing_in_it_stays_empty():
    shown, _ = pretexts.bind(Choice(kind="jigsaw"))().pose(
        np.full((1, *FLAT), 0.5, np.float32), np.random.default_rng(0)
    )
    assert np.all(shown == 0)


@pytest.mark.parametrize("shape", [FLAT, SOLID])
def test_undoing_the_order_puts_every_tile_back(shape):
    """A crop that grows brighter and more varied from tile to tile would show; here each tile is told by its noise."""
    crop = Anatomy(shape).draw(np.random.default_rng(0))
    pretext = pretexts.bind(Choice(kind="jigsaw", gap=0.0))()
    orders = far_apart(9 if shape == FLAT else 27, 100)
    back = {}
    for seed in range(30):
        shown, order = pretext.pose(crop, np.random.default_rng(seed))
        solved = shown[np.argsort(orders[int(order)])]
        for number, tile in enumerate(solved):
            back.setdefault(number, []).append(np.sort(tile, axis=None))
    spread = [np.std(np.stack(tiles), axis=0).mean() for tiles in back.values()]
    between = np.std(np.stack([np.mean(tiles, axis=0) for tiles in back.values()]), axis=0).mean()
    assert max(spread) < between, "the same tile, moved by a voxel, is more like itself than like others"


def test_all_orders_are_asked():
    _, posed = puzzles(Choice(kind="jigsaw", num_permutations=5), FLAT, num=60)
    assert {int(order) for _, order in posed} == set(range(5))


def test_a_crop_is_left_as_it_is():
    crop = Anatomy().draw(np.random.default_rng(0))
    before = crop.copy()
    pretexts.bind(Choice(kind="jigsaw"))().pose(crop, np.random.default_rng(0))
    assert np.array_equal(crop, before)


@pytest.mark.parametrize("shape", [FLAT, SOLID])
def test_a_network_finds_the_order_more_often_than_by_chance(shape):
    recipe = recipe_of(
        Choice(kind="jigsaw", num_permutations=5), shape, num_steps=60, batch_size=8, num_held_out_crops=60
    )
    _, _, _, network, teacher = trained(recipe)
    hits = []
    with torch.inference_mode():
        for shown, order in teacher.all_held_out():
            hits += (network(shown).argmax(dim=1) == order).tolist()
    assert len(hits) == 60
    assert np.mean(hits) > 0.5, "chance is 0.2"
