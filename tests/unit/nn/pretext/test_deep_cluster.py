"""Crops that look alike become a class, on every worker and after every resume the same one."""

import numpy as np
import pytest
import torch
from tests.unit.nn.pretext.schooling import FLAT, equal, recipe_of, school, trained
from tests.unit.nn.test_train_loop import Kept

from hilum.core.recipes import Choice
from hilum.nn.pretext.deep_cluster import whitening

DEEP = Choice(kind="deep_cluster", num_classes=5, num_crops=20, every=4)


class Three:
    """Three kinds of crop: bright on the left, on top, or nowhere."""

    def draw(self, rng):
        crop, kind = rng.normal(0.2, 0.02, FLAT), rng.integers(3)
        crop[:, :8] += 0.5 * (kind == 0)
        crop[:, :, ::3] += 0.5 * (kind == 1)
        return np.clip(crop, 0, 1).astype(np.float32)[None]


def clustered(choice=DEEP, step=0):
    pretext, network, teacher = school(recipe_of(choice))
    teacher.before_step(network, step)
    return pretext, network, teacher


def test_every_crop_has_a_class_and_every_class_a_crop():
    state = clustered()[0].state()
    assert state["class"].shape == (20,)
    assert set(state["class"]) == set(range(5))


def test_classes_are_found_anew_only_when_it_is_time():
    pretext, network, teacher = clustered()
    before, head = pretext.state()["class"], network.head.weight.clone()
    for step in (1, 2, 3):
        teacher.before_step(network, step)
        assert np.array_equal(pretext.state()["class"], before)
        assert torch.equal(network.head.weight, head)
    teacher.before_step(network, 4)
    assert not torch.equal(network.head.weight, head), "the last layer starts anew with its classes"


def test_clustering_leaves_the_encoder_and_its_batch_norms_alone():
    _, network, teacher = school(recipe_of(DEEP))
    network.train()
    before = {name: tensor.clone() for name, tensor in network.body.state_dict().items()}
    teacher.before_step(network, 0)
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.body.state_dict().items())


def test_there_are_never_more_classes_than_crops():
    pretext, network, _ = clustered(Choice(kind="deep_cluster", num_crops=6, every=4))
    assert network.head.out_features == 6
    assert sorted(pretext.state()["class"]) == list(range(6))


def test_a_puzzle_is_the_crop_perhaps_mirrored_and_its_number():
    _, _, teacher = school(recipe_of(DEEP))
    shown, numbers = teacher.read((3, 0))
    assert shown.shape == (2, 1, 24, 24)
    for image, number in zip(shown, numbers.tolist(), strict=True):
        crop = torch.from_numpy(teacher._numbered(number))[:, 0]
        assert any(torch.equal(image, crop.flip(axes)) for axes in ((), (1,), (2,), (1, 2)))
    assert all(number == -1 for _, numbers in teacher.all_held_out() for number in numbers)


def test_a_number_always_names_the_same_crop_and_all_are_learnt_from():
    _, _, teacher = school(recipe_of(DEEP))
    assert np.array_equal(teacher._numbered(7), teacher._numbered(7))
    assert not np.array_equal(teacher._numbered(7), teacher._numbered(8))
    read = {int(number) for step in range(150) for number in teacher.read((step, 0))[1]}
    assert read == set(range(20))


def test_all_classes_count_alike():
    pretext, network, _ = clustered()
    of = torch.from_numpy(pretext.state()["class"])
    torch.nn.init.zeros_(network.head.weight)
    with torch.no_grad():
        network.head.bias.copy_(torch.arange(5.0))
        everything = (torch.rand(20, 1, 24, 24), torch.arange(20))
        expected = -torch.log_softmax(torch.arange(5.0), dim=0).mean()
        assert float(pretext.loss(network.eval(), everything)) == pytest.approx(float(expected), rel=1e-5)
    assert len(set(torch.bincount(of).tolist())) > 1, "or this would show nothing"


def test_a_held_out_crop_that_is_one_of_those_learnt_from_is_of_its_class():
    pretext, network, teacher = clustered()
    network.eval()
    of = pretext.state()["class"]
    crops = torch.stack([torch.from_numpy(teacher._numbered(number)[:, 0]) for number in range(20)])
    with torch.no_grad():
        found = pretext._classes(network.embed(crops), torch.full((20,), -1))
    assert np.array_equal(found.numpy(), of)


def test_the_state_is_enough_to_go_on():
    memory = Kept()
    trained(recipe_of(DEEP), memory=memory)
    tensors, step, _ = memory.states[2]
    assert step == 6, "between two clusterings"
    assert {"teacher.class", "teacher.centres", "teacher.mean", "teacher.whitening"} <= tensors.keys()
    other = school(recipe_of(DEEP))[0]
    other.restore({name.removeprefix("teacher."): array for name, array in tensors.items() if "teacher." in name})
    assert equal(other.state(), {n.removeprefix("teacher."): a for n, a in tensors.items() if "teacher." in n})


def test_whitened_features_are_uncorrelated_and_flat_directions_are_let_go():
    rng = np.random.default_rng(0)
    features = torch.from_numpy((rng.normal(size=(200, 4)) @ rng.normal(size=(4, 6))).astype(np.float32))
    mean, matrix = whitening(features)
    placed = (features - mean) @ matrix
    varied = torch.cov(placed.T)
    assert torch.allclose(varied.sum(), torch.tensor(4.0), atol=0.05)
    assert torch.allclose(varied[-4:, -4:], torch.eye(4), atol=1e-2)
    assert torch.all(torch.isfinite(whitening(torch.ones(9, 3))[1]))


def test_kinds_of_crops_become_classes_and_are_told_apart():
    choice = Choice(kind="deep_cluster", num_classes=3, num_crops=30, every=25)
    recipe = recipe_of(choice, num_steps=50, batch_size=8, num_held_out_crops=40)
    _, _, pretext, network, teacher = trained(recipe, schooled=school(recipe, crops=Three()))
    hits = []
    with torch.inference_mode():
        for shown, numbers in teacher.all_held_out():
            features = network.embed(shown)
            hits += (network.head(features).argmax(dim=1) == pretext._classes(features, numbers)).tolist()
    assert np.mean(hits) > 0.6, "chance is 1/3"
