"""Every deformation, and all of them one after the other, keeps what deformations keep."""

from functools import partial

import numpy as np
import pytest

from hilum.core.recipes import Choice
from hilum.core.registry import pretexts
from hilum.nn.pretext.bezier import non_linear
from hilum.nn.pretext.cutouts import inner_cutout, outer_cutout
from hilum.nn.pretext.flips import random_flips
from hilum.nn.pretext.shuffling import local_pixel_shuffling
from hilum.testing.pretexts import DeformationTests


def _genesis(regime):
    genesis = pretexts.bind(Choice(kind="genesis", regime=regime, flip_probability=0.9))()
    return lambda crop, rng: genesis.pose(crop, rng)[0].copy()


DEFORMATIONS = {
    "flips": lambda crop, rng: random_flips(crop, rng=rng, probability=0.9).copy(),
    "non-linear": lambda crop, rng: non_linear(crop, rng=rng),
    "shuffling": lambda crop, rng: local_pixel_shuffling(crop, rng=rng, num_windows=1000),
    "inner": lambda crop, rng: inner_cutout(crop, rng=rng),
    "inner, paper": lambda crop, rng: inner_cutout(crop, rng=rng, regime="paper"),
    "outer": lambda crop, rng: outer_cutout(crop, rng=rng),
    "outer, paper": lambda crop, rng: outer_cutout(crop, rng=rng, regime="paper"),
    "all, code": _genesis("code"),
    "all, paper": _genesis("paper"),
}


class TestEveryDeformation(DeformationTests):
    @pytest.fixture(params=DEFORMATIONS)
    def deform(self, request):
        return DEFORMATIONS[request.param]


@pytest.mark.parametrize("cutout", [inner_cutout, outer_cutout, partial(outer_cutout, regime="paper")])
def test_noise_is_the_same_in_every_channel(cutout):
    crop = np.random.default_rng(0).random((3, 16, 32, 32), dtype=np.float32)
    for seed in range(5):
        painted = cutout(crop, rng=np.random.default_rng(seed))
        changed = painted != crop
        np.testing.assert_array_equal(changed[0], changed[1])
        assert np.ptp(np.where(changed, painted, 0), axis=0).max() == 0


def test_voxels_of_all_channels_move_together():
    plane = np.random.default_rng(0).random((1, 16, 32, 32), dtype=np.float32)
    shuffled = local_pixel_shuffling(np.concatenate([plane, plane / 2]), rng=np.random.default_rng(1))
    np.testing.assert_array_equal(shuffled[0] / 2, shuffled[1])
