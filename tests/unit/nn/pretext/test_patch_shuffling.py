"""Patches change places, and nothing else happens."""

import numpy as np
import pytest
from tests.unit.nn.pretext.schooling import (
    FLAT,
    SOLID,
    Anatomy,
    best_constant_error,
    held_out_loss,
    recipe_of,
    school,
    trained,
)

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.core.registry import pretexts
from hilum.nn.pretext.patch_shuffling import swap_patches

SHAPES = [(1, 24, 24), (24, 24, 24), (9, 13, 31), (2, 3, 5), (1, 2, 1)]


def numbered(shape_zyx):
    return np.arange(2 * np.prod(shape_zyx), dtype=np.float32).reshape(2, *shape_zyx)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(5))
def test_a_swap_moves_voxels_in_pairs_and_loses_none(shape, seed):
    before = numbered(shape)
    after = before.copy()
    swap_patches(after, np.random.default_rng(seed), shares=(0.25, 0.5))
    assert np.array_equal(np.sort(after, axis=None), np.sort(before, axis=None))
    moved = np.flatnonzero(after != before)
    assert len(moved) > 0
    assert np.array_equal(after.flat[after.flat[moved].astype(int)], before.flat[moved]), "what came here went there"


@pytest.mark.parametrize("shape", [(1, 24, 24), (24, 24, 24), (16, 32, 64)])
def test_patches_are_a_quarter_to_half_as_long_as_the_crop(shape):
    for seed in range(30):
        before = numbered(shape)
        after = before.copy()
        swap_patches(after, np.random.default_rng(seed), shares=(0.25, 0.5))
        num_in_a_patch = (after[0] != before[0]).sum() / 2
        long = [length for length in shape if length > 1]
        assert np.prod([length / 4 for length in long]) <= num_in_a_patch <= np.prod([length / 2 for length in long])


def test_every_voxel_can_be_moved():
    moved = np.zeros((1, 12, 12), int)
    for seed in range(200):
        after = numbered((1, 12, 12))
        swap_patches(after, np.random.default_rng(seed), shares=(0.25, 0.5))
        moved += after[0] != numbered((1, 12, 12))[0]
    assert moved.min() > 0


def test_channels_move_together():
    after = numbered((1, 24, 24))
    swap_patches(after, np.random.default_rng(0), shares=(0.25, 0.5))
    assert np.array_equal(after[1] - after[0], np.full((1, 24, 24), 24 * 24, np.float32))


def test_one_voxel_has_nobody_to_change_places_with():
    crop = numbered((1, 1, 1))
    swap_patches(crop, np.random.default_rng(0), shares=(0.25, 0.5))
    assert np.array_equal(crop, numbered((1, 1, 1)))


@pytest.mark.parametrize("shape", [FLAT, SOLID])
def test_the_crop_as_it_was_is_wanted_back(shape):
    crop = Anatomy(shape).draw(np.random.default_rng(0))
    before = crop.copy()
    shown, wanted = pretexts.bind(Choice(kind="patch_shuffling"))().pose(crop, np.random.default_rng(0))
    assert np.array_equal(crop, before)
    assert np.array_equal(wanted, before)
    assert (shown != before).mean() > 0.5, "ten swaps leave little in its place"


def test_more_swaps_move_more():
    crop, shares = Anatomy().draw(np.random.default_rng(0)), []
    for num_swaps in (1, 3, 10):
        pretext = pretexts.bind(Choice(kind="patch_shuffling", num_swaps=num_swaps))()
        shown = [pretext.pose(crop, np.random.default_rng(seed))[0] for seed in range(20)]
        shares.append(np.mean([(one != crop).mean() for one in shown]))
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_shares_the_wrong_way_round_are_refused():
    with pytest.raises(RecipeError, match=r"least_share 0\.5 must not be above most_share 0\.3"):
        pretexts.bind(Choice(kind="patch_shuffling", least_share=0.5, most_share=0.3))


def test_a_network_learns_to_restore():
    recipe = recipe_of(Choice(kind="patch_shuffling"), num_steps=40, num_held_out_crops=16)
    _, untaught, teacher = school(recipe)
    before = held_out_loss(recipe, untaught.eval(), teacher)
    _, _, _, network, teacher = trained(recipe)
    assert held_out_loss(recipe, network, teacher) < 0.5 * before
    assert held_out_loss(recipe, network, teacher) < 0.8 * best_constant_error(teacher), "it looks at what is shown"
