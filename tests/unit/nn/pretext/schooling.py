"""Crops of a made-up anatomy, and trainings on them: whole, killed, and shared by workers."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from tests.unit.nn.test_train_loop import Kept, OneOfMany

from hilum.adapters.inline import LocalTrainContext
from hilum.core.recipes import DISCOVERING, Choice, DiscoveryRecipe, PretrainRecipe
from hilum.core.registry import pretexts
from hilum.nn.predictor import weights_of
from hilum.nn.pretext.teaching import PuzzleTeacher
from hilum.nn.readers import Readers
from hilum.nn.train_loop import train

FLAT, SOLID = (1, 24, 24), (16, 18, 20)
BATCH_NORM = Choice(kind="unet", depth=1, features=(4, 8), norm="batch")


class Anatomy:
    """Bright organs, each at nearly the same place and of its own size in every patient, in noise."""

    def __init__(self, shape_zyx=FLAT, num_organs=5):
        rng = np.random.default_rng(5)
        self.shape_zyx = shape_zyx
        self.organs = [
            (rng.uniform(0.1, 0.9, 3), rng.uniform(0.05, 0.2), rng.uniform(0.2, 0.6)) for _ in range(num_organs)
        ]

    def draw(self, rng):
        axes = [np.linspace(0, 1, length) if length > 1 else np.zeros(1) for length in self.shape_zyx]
        crop = rng.normal(0.15, 0.02, self.shape_zyx)
        for centre, radius, level in self.organs:
            at = [0 if n == 1 else c for n, c in zip(self.shape_zyx, centre + rng.normal(0, 0.02, 3), strict=True)]
            apart = np.meshgrid(*(axis - c for axis, c in zip(axes, at, strict=True)), indexing="ij")
            crop += level * np.exp(-sum(axis**2 for axis in apart) / (2 * radius**2))
        return np.clip(crop, 0, 1).astype(np.float32)[None]


def recipe_of(pretext, shape_zyx=FLAT, **changes):
    settings = {
        "architecture": BATCH_NORM,
        "pretext": pretext,
        "patch_shape_zyx": shape_zyx,
        "num_steps": 9,
        "batch_size": 4,
        "num_chunks": 2,
        "checkpoint_every": 2,
        "learning_rate": 1e-2,
        "num_held_out_crops": 4,
    }
    if pretext.kind == DISCOVERING:
        settings["discovery"] = DiscoveryRecipe()
    return PretrainRecipe(**(settings | changes))


def school(recipe, seed=0, crops=None, numbered=None):
    """A pretext, its network and its teacher."""
    pretext = pretexts.bind(recipe.pretext)()
    spatial_dims = 2 if recipe.patch_shape_zyx[0] == 1 else 3
    network = pretext.network(recipe.architecture, spatial_dims=spatial_dims, in_channels=1, seed=seed)
    crops = crops or Anatomy(recipe.patch_shape_zyx)
    return pretext, network, PuzzleTeacher(recipe, pretext, crops, held_out=crops, numbered=numbered)


def trained(recipe, *, memory=None, context=None, seed=0, num_readers=0, schooled=None):
    pretext, network, teacher = schooled or school(recipe, seed)
    context, readers = context or LocalTrainContext(), Readers(num_readers)
    history = train(recipe, network, teacher, context=context, memory=memory or Kept(), readers=readers)
    return weights_of(network), history, pretext, network, teacher


class Killed(BaseException):
    """What nothing in the loop may catch."""


class Mortal(LocalTrainContext):
    """A worker that dies in its ``last``-th step."""

    def __init__(self, last):
        super().__init__()
        self.last, self.num_steps = last, 0

    def sum_in_order(self, chunks):
        if self.num_steps == self.last:
            raise Killed
        self.num_steps += 1
        return super().sum_in_order(chunks)


def trained_with_deaths(recipe, lives):
    """Trained by one worker after the other, each dying after so many steps; the last lives on."""
    memory = Kept()
    for number, last in enumerate(lives):
        try:
            trained(recipe, memory=memory, context=Mortal(last), seed=100 + number if memory.states else 0)
        except Killed:
            continue
    return trained(recipe, memory=memory, seed=99 if memory.states else 0)[:2]


def trained_by_two(recipe):
    group, meeting = {}, threading.Barrier(2, timeout=60)
    schools = [school(recipe) for _ in range(2)]  # here: threads would share torch's global generator

    def work(rank):
        return trained(recipe, context=OneOfMany(rank, group, meeting), schooled=schools[rank])[:2]

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(work, range(2)))


def held_out_loss(recipe, network, teacher):
    with torch.inference_mode():
        losses = [float(teacher.loss(network, batch, 0, 0)) for batch in teacher.all_held_out()]
    return float(np.mean(losses))


def best_constant_error(teacher):
    """The mean squared error of the best guess that looks at nothing: what restoring has to beat."""
    return float(torch.cat([wanted for _, wanted, *_ in teacher.all_held_out()]).var(correction=0))


def equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
