import numpy as np
import pytest

from hilum.core.recipes import Choice
from hilum.core.registry import pretexts
from hilum.nn import pretext as _registered  # noqa: F401 (its import registers them)
from hilum.testing.pretexts import PretextTests


FEW_CROPS = {"deep_cluster": {"num_classes": 3, "num_crops": 9}}


@pytest.fixture(params=sorted(pretexts))
def pretext(request):
    return pretexts.bind(Choice(kind=request.param, **FEW_CROPS.get(request.param, {})))


class TestEveryPretext(PretextTests):
    pass


class TestTheRegimeOfThePaper(PretextTests):
    @pytest.fixture(params=["genesis", "in_painting"])
    def pretext(self, request):
        return pretexts.bind(Choice(kind=request.param, regime="paper"))


def test_the_default_of_a_pretraining_is_there():
    assert "genesis" in pretexts


def test_the_suite_finds_a_pretext_that_writes_into_its_crop():
    class Careless:
        def pose(self, crop_CZYX, rng):
            crop_CZYX += 1
            return crop_CZYX, crop_CZYX

    with pytest.raises(AssertionError):
        PretextTests().test_the_crop_is_left_as_it_was(Careless, (1, 2, 2, 2))


def test_the_suite_finds_chance_of_its_own():
    class Wilful:
        def pose(self, crop_CZYX, rng):
            return (np.random.default_rng().random(3),)

    with pytest.raises(AssertionError):
        PretextTests().test_the_same_seed_poses_the_same(Wilful, (1, 2, 2, 2))
