"""Batches are deformed as crops are one by one: the distributions are compared, and each batch on its own."""

import numpy as np
import pytest
import torch
from scipy import stats

from hilum.core.recipes import Choice
from hilum.core.registry import pretexts
from hilum.nn.pretext import batched, bezier, cutouts, flips, shuffling

CUBE = (1, 16, 32, 32)
SLICE = (1, 1, 32, 32)
NUM = 150
MASKS = {
    ("inner", "code"): (cutouts.inner_cutout, batched.inner_cutout),
    ("inner", "paper"): (cutouts.inner_cutout, batched.inner_cutout),
    ("outer", "code"): (cutouts.outer_cutout, batched.outer_cutout),
    ("outer", "paper"): (cutouts.outer_cutout, batched.outer_cutout),
}


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _crop(shape=CUBE):
    return np.random.default_rng(7).random(shape, dtype=np.float32)


def _batch(num, shape=CUBE):
    return torch.from_numpy(_crop(shape)).expand(num, *shape).clone()


def _alike(first, second):
    """Whether two samples may come from one distribution, by Kolmogorov and Smirnov; fails for 1 seed in 1,000."""
    return stats.ks_2samp(first, second).pvalue > 1e-3


@pytest.mark.parametrize("shape", [CUBE, SLICE])
@pytest.mark.parametrize("kind", MASKS, ids="-".join)
def test_cutouts_mask_as_much(kind, shape):
    one, many = MASKS[kind]
    crop, regime = _crop(shape), kind[1]
    single = [(one(crop, rng=np.random.default_rng(seed), regime=regime) != crop).mean() for seed in range(NUM)]
    batch = _batch(NUM, shape)
    painted = many(batch, rng=_generator(), regime=regime)
    together = (painted != batch).flatten(1).float().mean(1)
    assert painted.min() >= 0
    assert painted.max() <= 1
    assert _alike(single, together.numpy())


@pytest.mark.parametrize("kind", MASKS, ids="-".join)
def test_cutouts_mask_the_same_places(kind):
    one, many = MASKS[kind]
    crop, regime = _crop(), kind[1]
    single = np.mean([one(crop, rng=np.random.default_rng(seed), regime=regime) != crop for seed in range(NUM)], 0)
    batch = _batch(NUM)
    together = (many(batch, rng=_generator(), regime=regime) != batch).float().mean(0).numpy()
    for axes in [(0, 2, 3), (0, 1, 3), (0, 1, 2)]:
        np.testing.assert_allclose(single.mean(axes), together.mean(axes), atol=0.1)


@pytest.mark.parametrize("shape", [CUBE, SLICE])
def test_shuffling_changes_as_many_voxels(shape):
    crop, batch = _crop(shape), _batch(40, shape)
    num_windows = shuffling.num_windows_for("code", shape[1:])
    single = [
        (shuffling.local_pixel_shuffling(crop, rng=np.random.default_rng(seed), num_windows=num_windows) != crop).mean()
        for seed in range(40)
    ]
    shuffled = batched.local_pixel_shuffling(batch, rng=_generator(), num_windows=num_windows)
    assert _alike(single, (shuffled != batch).flatten(1).float().mean(1).numpy())


def test_shuffled_voxels_travel_as_far():
    shape = (1, 1, 1, 200)
    places = np.arange(200, dtype=np.float32).reshape(shape)
    single = [
        shuffling.local_pixel_shuffling(places, rng=np.random.default_rng(s), num_windows=3) - places
        for s in range(200)
    ]
    batch = torch.from_numpy(places).expand(200, *shape)
    together = batched.local_pixel_shuffling(batch, rng=_generator(), num_windows=3) - batch
    moved = [np.abs(x[x != 0]) for x in (np.stack(single), together.numpy())]
    assert max(moved[0].max(), moved[1].max()) <= 19
    assert abs(moved[0].mean() - moved[1].mean()) < 0.5


def test_one_window_is_a_box_whose_own_voxels_change_places():
    crop = torch.arange(4 * 30 * 30, dtype=torch.float32).view(1, 1, 4, 30, 30)
    for seed in range(40):
        shuffled = batched.local_pixel_shuffling(crop, rng=_generator(seed), num_windows=1)
        assert torch.equal(shuffled.flatten().sort().values, crop.flatten())
        at = (shuffled != crop).nonzero()
        if len(at):
            assert ((at.max(0).values - at.min(0).values)[2:] < torch.tensor([1, 3, 3])).all()


def test_later_windows_write_over_earlier_ones_which_took_from_the_crop():
    shape = (1, 1, 1, 200)
    places = torch.arange(200, dtype=torch.float32).view(1, *shape)
    shuffled = batched.local_pixel_shuffling(places, rng=_generator(), num_windows=20_000)
    assert (shuffled - places).abs().max() <= 19


def test_maps_are_those_of_the_table():
    """The curve of one crop, drawn again from the same words, is the CPU's."""
    crop, rng = _batch(1), _generator(3)
    bent = batched.non_linear(crop, rng=rng)
    again = _generator(3)
    controls = torch.rand((1, 2, 2), generator=again, dtype=torch.float64)[0].T.numpy()
    decreasing = bool(torch.rand((1, 1), generator=again) < 0.5)
    levels, becoming = bezier.bezier_map(controls, decreasing=decreasing)
    np.testing.assert_allclose(bent[0].numpy(), np.interp(_crop(), levels, becoming), atol=1e-5)


def test_grey_levels_are_bent_alike():
    crop = np.linspace(0, 1, 33, dtype=np.float32).reshape(1, 1, 1, 33)
    single = np.stack([bezier.non_linear(crop, rng=np.random.default_rng(seed)).ravel() for seed in range(600)])
    together = batched.non_linear(torch.from_numpy(crop).expand(600, *crop.shape), rng=_generator())
    for place in (0, 8, 16, 24, 32):
        assert _alike(single[:, place], together.view(600, 33)[:, place].numpy())
    steps = together.view(600, 33).diff(dim=1)
    assert ((steps >= 0).all(1) | (steps <= 0).all(1)).all()


@pytest.mark.parametrize("shape", [CUBE, SLICE])
def test_flips_are_as_likely(shape):
    crop = _crop(shape)
    mirrored = [np.flip(crop, axes).tobytes() for axes in [(), 1, 2, 3, (1, 2), (1, 3), (2, 3), (1, 2, 3)]]
    batch = batched.random_flips(_batch(1000, shape), rng=_generator(), probability=0.7)
    single = [
        flips.random_flips(crop, rng=np.random.default_rng(seed), probability=0.7).tobytes() for seed in range(1000)
    ]
    together = [item.numpy().tobytes() for item in batch]
    counts = np.array([[flipped.count(kind) for kind in mirrored] for flipped in (single, together)])
    assert set(together) == set(single) <= set(mirrored)
    counts = counts[:, counts.sum(0) > 0]
    assert stats.chi2_contingency(counts).pvalue > 1e-3


@pytest.mark.parametrize("regime", ["code", "paper"])
def test_the_whole_mix_changes_as_many_voxels_and_wants_flips_alone(regime):
    genesis = pretexts.bind(Choice(kind="genesis", regime=regime))()
    shape = (1, 12, 24, 24)
    crop = _crop(shape)
    single = []
    for seed in range(120):
        shown, wanted = genesis.pose(crop, np.random.default_rng(seed))
        single.append((shown != wanted).mean())
    shown, wanted = genesis.pose_batch(_batch(120, shape), _generator())
    assert _alike(single, (shown != wanted).flatten(1).float().mean(1).numpy())
    assert shown.min() >= 0
    assert shown.max() <= 1
    mirrored = {np.flip(crop, axes).tobytes() for axes in [(), 1, 2, 3, (1, 2), (1, 3), (2, 3), (1, 2, 3)]}
    assert {item.numpy().tobytes() for item in wanted} <= mirrored


def test_in_painting_hides_and_counts_the_same_voxels():
    pretext = pretexts.bind(Choice(kind="in_painting"))()
    batch = _batch(50, (2, 16, 32, 32))
    shown, wanted, counted = pretext.pose_batch(batch, _generator())
    assert torch.equal(wanted, batch)
    assert torch.equal(shown != wanted, counted == 1)
    assert 0.02 < counted.mean() < 0.1


@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (2, 2, 2, 2), (1, 1, 3, 5), (1, 7, 8, 9), (1, 13, 4, 1)])
@pytest.mark.parametrize("regime", ["code", "paper"])
def test_no_axis_is_too_short(shape, regime):
    genesis = pretexts.bind(Choice(kind="genesis", regime=regime, shuffle_probability=1.0))()
    shown, wanted = genesis.pose_batch(_batch(32, shape), _generator())
    assert shown.shape == wanted.shape == (32, *shape)
    assert torch.isfinite(shown).all()
