"""The images and labels of one chunk of one step: a function of the seed, the step and the chunk."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from hilum.core.recipes import FinetuneRecipe
from hilum.nn.augment import bind_augmentations
from hilum.nn.batches import Examples, draw, stack
from hilum.nn.chance import generator
from hilum.nn.lesson import Lesson

_CROP, _AUGMENT, _HELD_OUT = 1, 2, 4

Batch = tuple[Tensor, Tensor]


class Batches:
    """Reads batches; several threads may at a time."""

    def __init__(self, recipe: FinetuneRecipe, lesson: Lesson, device: torch.device) -> None:
        self.recipe, self.lesson, self.device = recipe, lesson, device
        self._augment = bind_augmentations(recipe.augment)

    def read(self, place: tuple[int, int]) -> Batch:
        """Chunk ``place[1]`` of step ``place[0]``, on the CPU; augmented there if that is where it is trained on."""
        step, chunk = place
        recipe, lesson = self.recipe, self.lesson
        indices = draw(
            lesson.examples.classes,
            recipe.batch_size,
            seed=recipe.seed,
            step=step,
            balance_classes=recipe.balance_classes,
        ).reshape(recipe.num_chunks, -1)[chunk]
        batch = stack(
            lesson.examples,
            indices.tolist(),
            lesson.patch_shape_zyx,
            spatial_dims=lesson.spatial_dims,
            rng=np.random.default_rng([recipe.seed, _CROP, step, chunk]),
            foreground_share=recipe.foreground_share,
        )
        return self._augmented(batch, step, chunk) if self.device.type == "cpu" else batch

    def on_device(self, batch: Batch, step: int, chunk: int) -> Batch:
        """What was read, ready for the network. A GPU augments faster than the CPU beside it."""
        if self.device.type == "cpu":
            return batch
        images, labels = batch
        return self._augmented((images.to(self.device), labels.to(self.device)), step, chunk)

    def held_out(self, examples: Examples, chunk: int) -> Iterator[Batch]:
        """One chunk's share of the held-out patches, each in the same crop every time, and never augmented."""
        recipe, lesson = self.recipe, self.lesson
        indices = range(chunk, len(examples.classes), recipe.num_chunks)
        rng = np.random.default_rng([recipe.seed, _HELD_OUT, chunk])
        size = recipe.batch_size // recipe.num_chunks
        for at in range(0, len(indices), size):
            yield stack(
                examples,
                indices[at : at + size],
                lesson.patch_shape_zyx,
                spatial_dims=lesson.spatial_dims,
                rng=rng,
                # A crop in which nobody answered would say nothing.
                foreground_share=recipe.foreground_share or 0.0,
            )

    def _augmented(self, batch: Batch, step: int, chunk: int) -> Batch:
        images, labels = batch
        chance = generator(self.recipe.seed, _AUGMENT, step, chunk)
        if self.lesson.question == "classify":
            return self._augment(images, None, chance)[0], labels
        moved, moved_labels = self._augment(images, labels, chance)
        assert moved_labels is not None, "an augmentation gives back the label maps it was given"
        return moved, moved_labels
