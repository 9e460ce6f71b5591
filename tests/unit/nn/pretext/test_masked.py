"""Most cubes are blank, exactly as many as asked for, and only they count."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
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

from hilum.core.recipes import Choice
from hilum.core.registry import pretexts
from hilum.nn.pretext.masked import masked_voxels

MASKED = Choice(kind="masked", cube=4)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("shape", [(1, 40, 40), (20, 20, 20), (16, 32, 64)])
def test_the_share_of_masked_voxels_is_exact(shape, ratio):
    num_cubes = np.prod([max(1, length // 4) for length in shape])
    mask = masked_voxels(shape, np.random.default_rng(0), ratio=ratio, cube=4)
    assert mask.shape == shape
    assert mask.mean() == round(ratio * num_cubes) / num_cubes


@pytest.mark.parametrize("seed", range(5))
def test_cubes_are_masked_whole(seed):
    mask = masked_voxels((8, 12, 16), np.random.default_rng(seed), ratio=0.75, cube=4)
    cubes = mask.reshape(2, 4, 3, 4, 4, 4).transpose(0, 2, 4, 1, 3, 5).reshape(24, 64)
    assert np.array_equal(cubes.all(axis=1), cubes.any(axis=1))


@given(
    shape=st.tuples(st.integers(1, 20), st.integers(2, 20), st.integers(2, 20)),
    cube=st.integers(1, 32),
    ratio=st.floats(0.01, 0.99),
    seed=st.integers(0, 9),
)
def test_something_is_masked_and_something_is_left_whatever_the_crop(shape, cube, ratio, seed):
    mask = masked_voxels(shape, np.random.default_rng(seed), ratio=ratio, cube=cube)
    assert mask.shape == shape
    assert 0 < mask.sum() < mask.size


def test_every_cube_is_masked_as_often():
    counts = sum(masked_voxels((1, 8, 8), np.random.default_rng(seed), ratio=0.75, cube=4) for seed in range(400))
    assert np.all(np.abs(counts / 400 - 0.75) < 0.08)


@pytest.mark.parametrize("shape", [FLAT, SOLID])
@pytest.mark.parametrize("fill", [0.0, 0.5])
def test_masked_voxels_are_the_constant_and_the_others_as_they_were(shape, fill):
    crop = Anatomy(shape).draw(np.random.default_rng(0))
    before = crop.copy()
    shown, wanted, counted = pretexts.bind(Choice(kind="masked", cube=4, fill=fill))().pose(
        crop, np.random.default_rng(1)
    )
    assert np.array_equal(crop, before)
    assert np.array_equal(wanted, before)
    assert set(np.unique(counted)) == {0.0, 1.0}
    assert np.all(shown[counted == 1] == fill)
    assert np.array_equal(shown[counted == 0], before[counted == 0])
    assert shown.dtype == wanted.dtype == counted.dtype == np.float32


def test_what_was_not_masked_counts_nothing():
    pretext, network, _ = school(recipe_of(MASKED))
    shown, wanted, counted = (
        torch.from_numpy(array[:, 0])[None]
        for array in pretext.pose(Anatomy().draw(np.random.default_rng(0)), np.random.default_rng(1))
    )
    elsewhere = torch.where(counted == 0, torch.rand_like(wanted), wanted)
    there = torch.where(counted == 1, torch.rand_like(wanted), wanted)
    loss = pretext.loss(network.eval(), (shown, wanted, counted))
    assert torch.equal(loss, pretext.loss(network, (shown, elsewhere, counted)))
    assert not torch.equal(loss, pretext.loss(network, (shown, there, counted)))


def test_the_loss_is_the_mean_over_masked_voxels():
    pretext, network, _ = school(recipe_of(MASKED))
    crop = Anatomy().draw(np.random.default_rng(0))
    shown, wanted, counted = (torch.from_numpy(a[:, 0])[None] for a in pretext.pose(crop, np.random.default_rng(1)))
    with torch.no_grad():
        restored = pretext.restored(network.eval(), shown)
        by_hand = ((restored - wanted) ** 2)[counted == 1].mean()
        assert torch.allclose(pretext.loss(network, (shown, wanted, counted)), by_hand)


def test_a_network_learns_to_fill_in():
    recipe = recipe_of(MASKED, num_steps=40, num_held_out_crops=16)
    _, untaught, teacher = school(recipe)
    before = held_out_loss(recipe, untaught.eval(), teacher)
    _, _, _, network, teacher = trained(recipe)
    assert held_out_loss(recipe, network, teacher) < 0.5 * before
    assert held_out_loss(recipe, network, teacher) < 0.8 * best_constant_error(teacher), "it looks at what is shown"
