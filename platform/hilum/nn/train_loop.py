"""The one training loop.

A batch is cut into chunks; every worker computes the gradients of its own chunks, and all
chunks are added in a fixed order, so one worker or many reach the same weights bit for
bit. So does a run that was killed and went on from its last state.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hilum.core.errors import RecipeError
from hilum.core.geometry import Zyx
from hilum.core.ports import TrainContext
from hilum.core.recipes import FinetuneRecipe, Question
from hilum.nn.adamw import AdamW
from hilum.nn.augment import bind_augmentations
from hilum.nn.batches import Examples, draw, stack
from hilum.nn.blocks import draw_dropout_from
from hilum.nn.chance import generator
from hilum.nn.heads import Network
from hilum.nn.losses import default_loss, losses
from hilum.nn.predictor import load_weights, weights_of

History = list[dict[str, float]]

_NUM_REPORTS = 100
_MOMENTS = ("mean", "mean_square")
_CROP, _AUGMENT, _DROPOUT = range(1, 4)


class Memory(Protocol):
    """Where a training keeps its state between steps; written by rank 0, whole or not at all."""

    def load(self) -> tuple[Mapping[str, npt.NDArray[Any]], int, Mapping[str, Any]] | None: ...

    def save(self, tensors: Mapping[str, npt.NDArray[Any]], *, step: int, notes: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class Lesson:
    """What is to be learnt: labelled patches, their common shape, and the question they answer."""

    question: Question
    examples: Examples
    patch_shape_zyx: Zyx

    @property
    def spatial_dims(self) -> int:
        return 2 if self.patch_shape_zyx[0] == 1 else 3


def train(
    recipe: FinetuneRecipe,
    network: Network,
    lesson: Lesson,
    *,
    context: TrainContext,
    memory: Memory,
    stop_at: int | None = None,
) -> History:
    """Train ``network`` in place, from the last state in ``memory`` if there is one; returns the loss curve.

    With ``stop_at`` it pauses after that step, its state in ``memory``; going on is as if it never had.
    """
    if recipe.num_chunks % context.num_workers:
        raise RecipeError(f"{recipe.num_chunks} chunks cannot be shared by {context.num_workers} workers equally.")
    with _reproducible():
        training = _Training(recipe, network, lesson)
        first = training.restore(memory)
        until = min(stop_at or recipe.num_steps, recipe.num_steps)
        for step in range(first, until):
            chunks = [training.chunk(step, chunk) for chunk in _own_chunks(recipe.num_chunks, context)]
            training.update(step, context.sum_in_order(chunks))
            if training.reported_at(step):
                context.report(dict(training.history[-1]))
            last = step + 1 == until
            if context.rank == 0 and (last or (step + 1) % recipe.checkpoint_every == 0):
                training.save(memory, step + 1)
        network.eval()
        return training.history


def learning_rate(recipe: FinetuneRecipe, step: int) -> float:
    """Linear warm-up, then half a cosine down to nothing."""
    warm_up = round(recipe.warm_up * recipe.num_steps)
    if step < warm_up:
        return recipe.learning_rate * (step + 1) / warm_up
    done = (step - warm_up) / max(1, recipe.num_steps - warm_up)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


class _Training:
    """A network, its optimizer and its loss curve. All weights are one vector, and so is the optimizer's state."""

    def __init__(self, recipe: FinetuneRecipe, network: Network, lesson: Lesson) -> None:
        self.recipe, self.lesson = recipe, lesson
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = network.to(self.device).train()
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.loss = losses.bind(recipe.loss or default_loss(lesson.question))
        self.augment = bind_augmentations(recipe.augment)
        self.vector = _as_one_vector(self.parameters)
        self.optimizer = AdamW(self.vector, weight_decay=recipe.weight_decay)
        self.history: History = []
        self.recent: list[float] = []

    def chunk(self, step: int, chunk: int) -> npt.NDArray[np.float32]:
        """The gradient of one chunk of the batch, with its loss as the last number."""
        images, labels = self._batch(step, chunk)
        draw_dropout_from(self.network, generator(self.recipe.seed, _DROPOUT, step, chunk))
        for parameter in self.parameters:
            parameter.grad = None
        logits = self.network.forward_heads(images)
        value = torch.stack([self.loss(head.float(), labels) for head in logits]).mean()
        value.backward()  # type: ignore[no-untyped-call]
        zeros = (p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters)
        flat = torch.cat([*(gradient.reshape(-1) for gradient in zeros), value.detach().reshape(1)])
        array: npt.NDArray[np.float32] = flat.cpu().numpy()
        return array

    def update(self, step: int, summed: npt.NDArray[np.float32]) -> None:
        """One step of AdamW on the mean of the chunks' gradients."""
        mean = torch.from_numpy(summed) / self.recipe.num_chunks
        loss, gradient = float(mean[-1]), mean[:-1]
        length = float(torch.linalg.vector_norm(gradient))
        if not math.isfinite(loss) or not math.isfinite(length):
            raise RecipeError(
                f"Training diverged at step {step}: the loss is {loss:g} and its gradient's length {length:g}. "
                f"Lower finetune.learning_rate (now {self.recipe.learning_rate:g}) and train again."
            )
        if length > self.recipe.clip_norm:
            gradient = gradient * (self.recipe.clip_norm / length)
        self.optimizer.step(gradient.to(self.device), learning_rate=learning_rate(self.recipe, step))
        self.recent.append(loss)

    def reported_at(self, step: int) -> bool:
        """Add the mean loss since the last report to the curve, about a hundred times a training."""
        every = max(1, self.recipe.num_steps // _NUM_REPORTS)
        if (step + 1) % every and step + 1 != self.recipe.num_steps:
            return False
        mean = sum(self.recent) / len(self.recent)
        self.history.append({"step": step + 1, "loss": mean, "learning_rate": learning_rate(self.recipe, step)})
        self.recent = []
        return True

    def save(self, memory: Memory, step: int) -> None:
        tensors = {f"network.{name}": array for name, array in weights_of(self.network).items()}
        tensors |= {f"optimizer.{name}": getattr(self.optimizer, name).cpu().numpy().copy() for name in _MOMENTS}
        memory.save(tensors, step=step, notes={"history": self.history, "recent": self.recent})

    def restore(self, memory: Memory) -> int:
        """Go on from the state in ``memory``; returns the step to do next."""
        found = memory.load()
        if found is None:
            return 0
        tensors, step, notes = found
        # The parameters are windows on the vector: filling them fills it.
        load_weights(self.network, network_tensors(tensors))
        for name in _MOMENTS:
            getattr(self.optimizer, name).copy_(torch.from_numpy(tensors[f"optimizer.{name}"].copy()))
        self.optimizer.num_steps = step
        self.history, self.recent = list(notes["history"]), list(notes["recent"])
        return step

    def _batch(self, step: int, chunk: int) -> tuple[Tensor, Tensor]:
        recipe, lesson = self.recipe, self.lesson
        indices = draw(
            lesson.examples.classes,
            recipe.batch_size,
            seed=recipe.seed,
            step=step,
            balance_classes=recipe.balance_classes,
        ).reshape(recipe.num_chunks, -1)[chunk]
        rng = np.random.default_rng([recipe.seed, _CROP, step, chunk])
        images, labels = stack(
            lesson.examples, indices.tolist(), lesson.patch_shape_zyx, spatial_dims=lesson.spatial_dims, rng=rng
        )
        images, labels = images.to(self.device), labels.to(self.device)
        chance = generator(recipe.seed, _AUGMENT, step, chunk)
        if lesson.question == "classify":
            return self.augment(images, None, chance)[0], labels
        moved, moved_labels = self.augment(images, labels, chance)
        assert moved_labels is not None, "an augmentation gives back the label maps it was given"
        return moved, moved_labels


def network_tensors(tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The weights in a training's saved state, under the names the network knows."""
    return {name.removeprefix("network."): a for name, a in tensors.items() if name.startswith("network.")}


def _as_one_vector(parameters: Sequence[torch.nn.Parameter]) -> Tensor:
    """One vector of all weights; the parameters become windows on it."""
    vector = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
    place = 0
    for parameter in parameters:
        parameter.data = vector[place : place + parameter.numel()].view_as(parameter)
        place += parameter.numel()
    return vector


def _own_chunks(num_chunks: int, context: TrainContext) -> range:
    share = num_chunks // context.num_workers
    return range(context.rank * share, (context.rank + 1) * share)


@contextmanager
def _reproducible() -> Iterator[None]:
    """One thread and exact kernels, so that sums never depend on how many cores there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(threads)
