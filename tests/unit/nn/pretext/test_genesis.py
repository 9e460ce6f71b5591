import numpy as np
import pytest
import torch

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.core.registry import pretexts
from hilum.testing.pretexts import crop_of

CUBE = (1, 16, 32, 32)
NEVER = {f"{name}_probability": 0.0 for name in ("flip", "shuffle", "non_linear", "paint")}


def _genesis(**params):
    return pretexts.bind(Choice(kind="genesis", **params))()


def _posed(pretext, num, shape=CUBE):
    return [pretext.pose(crop_of(shape, seed=seed), np.random.default_rng(seed)) for seed in range(num)]


def test_what_is_wanted_is_the_crop_flipped_and_nothing_else():
    mirrored = [(), 1, 2, 3, (1, 2), (1, 3), (2, 3), (1, 2, 3)]
    seen = set()
    for seed in range(60):
        crop = crop_of(CUBE, seed=seed)
        _, wanted = _genesis().pose(crop, np.random.default_rng(seed))
        seen |= {place for place, axes in enumerate(mirrored) if np.array_equal(wanted, np.flip(crop, axes))}
        assert any(np.array_equal(wanted, np.flip(crop, axes)) for axes in mirrored)
    assert len(seen) >= 5


def test_one_crop_in_two_hundred_is_not_damaged():
    untouched = sum(np.array_equal(shown, wanted) for shown, wanted in _posed(_genesis(), 4000, (1, 4, 20, 20)))
    # In-painting too leaves one crop in twenty as it is: .5 · .1 · (.1 + .9 · .2 · .05) = .55 %.
    assert untouched / 4000 == pytest.approx(0.0055, abs=0.0035)


def test_nothing_happens_that_is_never_to_happen():
    for shown, wanted in _posed(_genesis(**NEVER), 10):
        np.testing.assert_array_equal(shown, wanted)


@pytest.mark.parametrize("name", ["shuffle", "non_linear", "paint"])
def test_each_deformation_alone_happens_as_often_as_asked(name):
    genesis = _genesis(**{**NEVER, f"{name}_probability": 0.5, "in_paint_share": 0.0})
    changed = sum(not np.array_equal(shown, wanted) for shown, wanted in _posed(genesis, 300))
    assert changed == pytest.approx(150, abs=40)


def test_a_shuffled_crop_keeps_the_grey_levels_of_its_windows():
    genesis = _genesis(**{**NEVER, "shuffle_probability": 1.0})
    for shown, wanted in _posed(genesis, 5):
        assert not np.array_equal(shown, wanted)
        assert set(shown.ravel()) <= set(wanted.ravel())


def test_grey_levels_alone_keep_or_turn_their_order():
    genesis = _genesis(**{**NEVER, "non_linear_probability": 1.0})
    for shown, wanted in _posed(genesis, 10):
        steps = np.diff(shown.ravel()[np.argsort(wanted, axis=None)])
        assert (steps >= 0).all() or (steps <= 0).all()


def test_the_share_of_in_painting_decides_how_it_is_painted():
    masked = {}
    for share in (0.0, 1.0):
        genesis = _genesis(**{**NEVER, "paint_probability": 1.0, "in_paint_share": share})
        masked[share] = np.mean([(shown != wanted).mean() for shown, wanted in _posed(genesis, 100)])
    assert masked[0.0] > 0.5
    assert masked[1.0] < 0.1


def test_the_paper_damages_less_than_the_code():
    never_bent = {"non_linear_probability": 0.0}
    changed = [
        np.mean([(a != b).mean() for a, b in _posed(_genesis(regime=regime, **never_bent), 100)])
        for regime in ("code", "paper")
    ]
    assert changed[1] < 0.5 * changed[0]


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_what_is_no_probability_is_refused(value):
    with pytest.raises(RecipeError, match="parameter 'paint_probability'"):
        _genesis(paint_probability=value)


def test_in_painting_counts_what_is_hidden_and_nothing_else():
    pretext = pretexts.bind(Choice(kind="in_painting"))()
    hidden = 0
    for shown, wanted, counted in _posed(pretext, 40, (2, 16, 32, 32)):
        np.testing.assert_array_equal(shown != wanted, counted == 1)
        assert set(np.unique(counted)) <= {0, 1}
        hidden += counted.any()
    assert hidden >= 30


def test_in_painting_is_not_taught_by_voxels_that_it_shows():
    pretext = pretexts.bind(Choice(kind="in_painting"))()
    unet = Choice(kind="unet", depth=1, features=(4, 4))
    network = pretext.network(unet, spatial_dims=3, in_channels=1, seed=0)
    shown, wanted, counted = (torch.from_numpy(part)[None] for part in _posed(pretext, 1)[0])
    assert counted.any()
    loss = pretext.loss(network, (shown, wanted, counted))
    changed_where_shown = wanted + 5 * (1 - counted)
    assert torch.equal(loss, pretext.loss(network, (shown, changed_where_shown, counted)))
    assert not torch.equal(loss, pretext.loss(network, (shown, wanted + counted, counted)))


def test_a_batch_with_nothing_hidden_has_no_loss():
    pretext = pretexts.bind(Choice(kind="in_painting"))()
    network = pretext.network(Choice(kind="unet", depth=1, features=(4, 4)), spatial_dims=3, in_channels=1, seed=0)
    crops = torch.rand(2, 1, 8, 8, 8)
    assert pretext.loss(network, (crops, crops, torch.zeros_like(crops))) == 0
