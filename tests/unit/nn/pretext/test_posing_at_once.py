"""Crops go unposed to a GPU and are posed there; what can be seen of it without one."""

import numpy as np
import pytest
import torch

from hilum.core.recipes import Choice, DiscoveryRecipe, PretrainRecipe
from hilum.core.registry import pretexts
from hilum.nn.pretext.teaching import PuzzleTeacher, Unposed
from hilum.nn.teacher import device_at_hand
from hilum.testing.pretexts import crop_of

on_a_cpu = pytest.mark.skipif(device_at_hand().type != "cpu", reason="there is a GPU: puzzles are posed on it")


class SmoothCrops:
    """Crops as they might come from a store."""

    def __init__(self, shape_zyx):
        self.shape_czyx = (1, *shape_zyx)

    def draw(self, rng):
        return crop_of(self.shape_czyx, seed=int(rng.integers(1000)))


def _teacher(kind, shape_zyx=(8, 16, 16), seed=0):
    recipe = PretrainRecipe(
        pretext=Choice(kind=kind),
        discovery=DiscoveryRecipe() if kind == "semantic" else None,
        patch_shape_zyx=shape_zyx,
        batch_size=4,
        num_chunks=2,
        num_steps=5,
        seed=seed,
    )
    return PuzzleTeacher(recipe, pretexts.bind(recipe.pretext)(), SmoothCrops(shape_zyx))


@pytest.mark.parametrize("shape_zyx", [(8, 16, 16), (1, 16, 16)])
@pytest.mark.parametrize("kind", ["genesis", "in_painting"])
def test_what_is_posed_at_once_are_the_crops_that_would_be_posed_one_by_one(kind, shape_zyx):
    places = [(3, 0), (3, 1)]
    (crops,) = _teacher(kind, shape_zyx).unposed(places)
    assert crops.shape == ((2, 1, *shape_zyx) if shape_zyx[0] > 1 else (2, 1, *shape_zyx[1:]))
    _, wanted = _teacher("autoencoder", shape_zyx).read((3, 0))
    np.testing.assert_array_equal(crops, wanted)


@pytest.mark.parametrize("kind", ["genesis", "in_painting"])
def test_puzzles_posed_at_once_are_functions_of_seed_step_and_chunk(kind):
    teacher = _teacher(kind)
    crops = teacher.unposed([(3, 0), (3, 1)])
    first, again = (teacher.on_device(crops, 3, 0) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    others = [
        teacher.on_device(crops, 4, 0),
        teacher.on_device(crops, 3, 1),
        _teacher(kind, seed=1).on_device(crops, 3, 0),
    ]
    assert all(not torch.equal(first[0], other[0]) for other in others)


@on_a_cpu
@pytest.mark.parametrize("kind", sorted(pretexts))
def test_without_a_gpu_puzzles_are_posed_as_they_are_read(kind):
    teacher = _teacher(kind, (16, 16, 16))
    batch = teacher.read((0, 1))
    assert not isinstance(batch, Unposed)
    assert len(batch) >= 2
    for ready, read in zip(teacher.on_device(batch, 0, 1), batch, strict=True):
        assert torch.equal(ready, read)
