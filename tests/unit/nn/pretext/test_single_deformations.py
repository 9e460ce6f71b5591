"""One deformation at its least: pure, of the crop's shape, between 0 and 1."""

import pytest

from hilum.nn.pretext.single_deformations import SINGLE_DEFORMATIONS
from hilum.testing.pretexts import DeformationTests


class TestSingleDeformations(DeformationTests):
    @pytest.fixture(params=SINGLE_DEFORMATIONS, ids=["shuffling", "non_linear", "one_block", "one_window"])
    def deform(self, request):
        return lambda crop, rng: request.param(crop, rng=rng)
