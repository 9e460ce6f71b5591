"""Batches: a function of seed and step, in which rare classes come as often as common ones."""

from collections import Counter

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.asking import IGNORE
from hilum.nn.batches import Example, draw, fit, stack

RARE = [(0,)] * 95 + [(1,)] * 5


def rng(seed=0):
    return np.random.default_rng(seed)


class InMemory:
    def __init__(self, examples, classes):
        self.examples, self.classes = examples, classes

    def read(self, index):
        return self.examples[index]


@given(st.integers(0, 1000), st.integers(0, 1000), st.booleans())
def test_a_batch_is_a_function_of_the_seed_and_the_step(seed, step, balance):
    one, other = (draw(RARE, 8, seed=seed, step=step, balance_classes=balance) for _ in range(2))
    assert np.array_equal(one, other)
    assert len(one) == 8
    assert one.min() >= 0
    assert one.max() < len(RARE)


def test_steps_and_seeds_draw_differently():
    first = draw(RARE, 16, seed=0, step=0, balance_classes=True)
    assert not np.array_equal(first, draw(RARE, 16, seed=0, step=1, balance_classes=True))
    assert not np.array_equal(first, draw(RARE, 16, seed=1, step=0, balance_classes=True))


def test_balanced_batches_hold_a_rare_class_as_often_as_a_common_one():
    drawn = np.concatenate([draw(RARE, 32, seed=0, step=step, balance_classes=True) for step in range(200)])
    assert abs((drawn >= 95).mean() - 0.5) < 0.03


def test_balanced_batches_draw_patches_with_a_rare_class_more():
    held = [(0,)] * 90 + [(0, 1)] * 10
    drawn = np.concatenate([draw(held, 32, seed=0, step=step, balance_classes=True) for step in range(200)])
    assert (drawn >= 90).mean() > 0.5


@given(st.integers(1, 20), st.integers(1, 9), st.integers(0, 99))
def test_unbalanced_batches_show_every_example_once_an_epoch(num_examples, batch_size, seed):
    held = [(0,)] * num_examples
    steps = [draw(held, batch_size, seed=seed, step=s, balance_classes=False) for s in range(num_examples)]
    counts = Counter(np.concatenate(steps).tolist())
    assert set(counts.values()) == {batch_size}


@given(st.integers(0, 999), st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)))
def test_a_fitted_patch_keeps_its_labels_over_its_voxels(seed, shape):
    label_map = rng(seed).integers(0, 100, (2, 5, 6)).astype(np.uint16)
    fitted = fit(Example(label_map[None].astype(np.float32), None, label_map), shape, rng(seed))
    assert fitted.image_CZYX.shape == (1, *shape)
    assert fitted.label_map_ZYX.shape == shape
    answered = fitted.label_map_ZYX != IGNORE
    assert answered.sum() == np.prod(np.minimum(shape, (2, 5, 6)))
    assert np.array_equal(fitted.image_CZYX[0][answered], fitted.label_map_ZYX[answered])


def test_a_patch_that_fits_is_left_alone():
    example = Example(np.zeros((1, 1, 4, 4), np.float32), 1)
    assert fit(example, (1, 4, 4), rng()) is example


def test_classes_and_label_maps_are_stacked_for_their_dimensions():
    image = np.ones((2, 1, 4, 5), np.float32)
    classes = InMemory([Example(image, k) for k in range(3)], [(0,), (1,), (2,)])
    images, labels = stack(classes, [2, 0], (1, 4, 5), spatial_dims=2, rng=rng())
    assert images.shape == (2, 2, 4, 5)
    assert torch.equal(labels, torch.tensor([2, 0]))
    block = InMemory([Example(np.ones((1, 3, 4, 5), np.float32), None, np.full((3, 4, 5), IGNORE, np.uint16))], [(0,)])
    images, labels = stack(block, [0, 0], (3, 4, 5), spatial_dims=3, rng=rng())
    assert images.shape == (2, 1, 3, 4, 5)
    assert labels.shape == (2, 3, 4, 5)
    assert (labels == IGNORE).all()
