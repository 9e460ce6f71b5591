"""Bent, damaged in one way, restored, and told from which class it is."""

import numpy as np
import pytest
import torch
from tests.unit.nn.pretext.schooling import FLAT, SOLID, Anatomy, best_constant_error, recipe_of, school, trained

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice, DiscoveryRecipe
from hilum.core.registry import pretexts
from hilum.nn.pretext.single_deformations import SINGLE_DEFORMATIONS, one_block, one_window
from hilum.nn.pretext.teaching import held_out_errors

SEMANTIC = Choice(kind="semantic", num_classes=3, num_crops=12)


class Places:
    """Three places of one anatomy, four crops of each: what a discovery would have numbered."""

    def __init__(self, shape_zyx=FLAT):
        self.shape_zyx, self.places = shape_zyx, [Anatomy(shape_zyx, num_organs=num) for num in (1, 3, 8)]

    def draw(self, rng):
        return self.places[1].draw(rng)

    def crop(self, number):
        return self.places[number // 4].draw(np.random.default_rng([99, number]))


def semantic(shape_zyx=FLAT, **changes):
    recipe = recipe_of(SEMANTIC, shape_zyx, **changes)
    places = Places(shape_zyx)
    return recipe, school(recipe, crops=places, numbered=places.crop)


@pytest.mark.parametrize("shape", [FLAT, SOLID])
@pytest.mark.parametrize("number", range(len(SINGLE_DEFORMATIONS)))
def test_a_deformation_by_itself_damages_and_leaves_its_crop_alone(shape, number):
    crop = Anatomy(shape).draw(np.random.default_rng(0))
    before = crop.copy()
    for seed in range(20):
        damaged = SINGLE_DEFORMATIONS[number](crop, rng=np.random.default_rng(seed))
        assert damaged.shape == crop.shape
        assert damaged.dtype == np.float32
        assert np.array_equal(crop, before)
        assert np.array_equal(damaged, SINGLE_DEFORMATIONS[number](crop, rng=np.random.default_rng(seed)))
    assert not np.array_equal(damaged, crop)


@pytest.mark.parametrize("shape", [(1, 36, 36), (18, 36, 36)])
def test_one_block_is_one_box_of_noise(shape):
    crop = np.full((2, *shape), 2, np.float32)
    for seed in range(60):
        damaged = one_block(crop, rng=np.random.default_rng(seed))
        where = np.nonzero(damaged[0] != 2)
        sides = [int(axis.max() - axis.min() + 1) for axis in where]
        assert len(where[0]) == np.prod(sides), "a box, and there is one in every crop"
        assert all(length // 6 <= side <= max(1, length // 3) for side, length in zip(sides, shape, strict=True))
        assert np.array_equal(damaged[0], damaged[1])


@pytest.mark.parametrize("shape", [(1, 35, 35), (21, 35, 35)])
def test_one_window_is_one_box_of_what_was_there(shape):
    crop = np.full((1, *shape), 2, np.float32)
    for seed in range(20):
        damaged = one_window(crop, rng=np.random.default_rng(seed))
        where = np.nonzero(damaged[0] == 2)
        assert len(where[0]) == np.prod([int(axis.max() - axis.min() + 1) for axis in where])
        assert 0 <= damaged[damaged != 2].min() <= damaged[damaged != 2].max() < 1


@pytest.mark.parametrize("shape", [FLAT, SOLID])
def test_the_bent_crop_is_wanted_back_and_each_deformation_comes_as_often(shape, monkeypatch):
    drawn = []

    def named(number):
        return lambda crop, *, rng: drawn.append(number) or crop + 1

    monkeypatch.setattr("hilum.nn.pretext.semantic.SINGLE_DEFORMATIONS", tuple(map(named, range(4))))
    crop, pretext = Anatomy(shape).draw(np.random.default_rng(0)), pretexts.bind(SEMANTIC)()
    for seed in range(200):
        shown, wanted = pretext.pose(crop, np.random.default_rng(seed))
        assert np.array_equal(shown, wanted + 1)
        assert not np.array_equal(wanted, crop)
    assert len(drawn) == 200, "exactly one a crop"
    assert np.all(np.abs(np.bincount(drawn, minlength=4) - 50) < 25)


def test_a_class_follows_from_the_number_and_counts_a_hundredth():
    _, (pretext, network, _) = semantic()
    network.eval()
    torch.nn.init.zeros_(network.classifier.weight)
    with torch.no_grad():
        network.classifier.bias.copy_(torch.tensor([0.0, 5.0, 0.0]))
        images = torch.rand(2, 1, 24, 24)

        def loss(*numbers):
            return pretext.loss(network, (images, images, torch.tensor(numbers))).item()

        alone, sure = loss(-1, -1), -np.log(np.exp(5) / (np.exp(5) + 2))
        assert loss(4, 7) - alone == pytest.approx(0.01 * sure, rel=1e-3), "4 … 7 are the second class"
        assert loss(3, 8) - alone == pytest.approx(0.01 * (sure + 5), rel=1e-3)
        assert loss(-1, 8) - alone == pytest.approx(0.005 * (sure + 5), rel=1e-3), "held out is of no class"
        restored = pretext.restored(network, images)
        assert alone == pytest.approx(((restored - images) ** 2).mean().item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["unet", "unetpp"])
def test_classes_are_told_from_the_encoders_deepest_features(kind):
    network = pretexts.bind(SEMANTIC)().network(
        Choice(kind=kind, depth=2, features=(4, 8, 8)), spatial_dims=2, in_channels=1, seed=0
    )
    images = torch.rand(3, 1, 20, 24)
    with torch.no_grad():
        heads, logits = network.eval().restored_and_classified(images)
        assert torch.allclose(logits, network.classifier(network.embed(images)), atol=1e-6)
        assert all(torch.equal(a, b) for a, b in zip(heads, network.restored_heads(images), strict=True))
    assert {name.split(".")[0] for name in network.state_dict()} == {"body", "classifier"}


def test_a_network_learns_to_restore_and_to_tell_the_classes():
    recipe, schooled = semantic(num_steps=60, batch_size=8, num_held_out_crops=16)
    _, _, pretext, network, teacher = trained(recipe, schooled=schooled)
    errors = held_out_errors(pretext, network, teacher.all_held_out())
    assert errors["restoration_mse"] < 0.5 * errors["copying_mse"]
    assert errors["restoration_mse"] < 0.8 * best_constant_error(teacher), "it looks at what is shown"
    with torch.inference_mode():
        crops = torch.stack([torch.from_numpy(Places().crop(number)[:, 0]) for number in range(12)])
        told = network.restored_and_classified(crops)[1].argmax(dim=1)
    assert (told == torch.arange(12) // 4).float().mean() > 0.6, "chance is 1/3"


def test_classes_and_their_discovery_need_each_other():
    with pytest.raises(ValueError, match="need each other; given pretext 'semantic' without discovery"):
        recipe_of(SEMANTIC, discovery=None)
    with pytest.raises(ValueError, match="need each other; given pretext 'jigsaw' and discovery"):
        recipe_of(Choice(kind="jigsaw"), discovery=DiscoveryRecipe())


def test_the_discovery_names_its_classes_itself_so_a_wrong_number_is_refused():
    with pytest.raises(RecipeError, match="num_classes"):
        pretexts.bind(Choice(kind="semantic", num_classes=1))
