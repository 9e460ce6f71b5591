"""The one training loop.

A batch is cut into chunks; every worker computes the gradients of its own chunks, and all
chunks are added in a fixed order, so one worker or many reach the same weights bit for
bit. So does a run that was killed and went on from its last state.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hilum.core.errors import RecipeError
from hilum.core.ports import TrainContext
from hilum.core.recipes import FinetuneRecipe
from hilum.nn.adamw import AdamW
from hilum.nn.averaging import RunningMean
from hilum.nn.batches import Examples
from hilum.nn.blocks import draw_dropout_from
from hilum.nn.chance import generator
from hilum.nn.chunk_batches import Batches
from hilum.nn.consistency import consistency_loss
from hilum.nn.early_stop import best_check, has_stopped
from hilum.nn.heads import Network
from hilum.nn.lesson import Lesson
from hilum.nn.losses import default_loss, losses
from hilum.nn.low_precision import autocast
from hilum.nn.norms import seen_statistics, take_statistics
from hilum.nn.predictor import load_weights, weights_of
from hilum.nn.readers import Readers
from hilum.nn.schedule import chunks_of, learning_rate
from hilum.nn.sgd import Sgd

History = list[dict[str, float]]

_NUM_REPORTS = 100
_DROPOUT, _VIEWS = 3, 5
_HELD_OUT_LOSS = "held_out_loss"


class Memory(Protocol):
    """Where a training keeps its state between steps; written by rank 0, whole or not at all."""

    def load(self) -> tuple[Mapping[str, npt.NDArray[Any]], int, Mapping[str, Any]] | None: ...

    def save(self, tensors: Mapping[str, npt.NDArray[Any]], *, step: int, notes: Mapping[str, Any]) -> None: ...


def train(
    recipe: FinetuneRecipe,
    network: Network,
    lesson: Lesson,
    *,
    context: TrainContext,
    memory: Memory,
    readers: Readers | None = None,
    stop_at: int | None = None,
) -> History:
    """Train ``network`` in place, from the last state in ``memory`` if there is one; returns the loss curve.

    The network ends with the weights to be published, and so does the last state. With ``stop_at``
    it pauses after that step, its state in ``memory``; going on is as if it never had.
    """
    if context.num_workers > recipe.num_chunks:
        raise RecipeError(
            f"{recipe.num_chunks} chunks cannot be shared by {context.num_workers} workers; give at most as many "
            "workers as finetune.num_chunks."
        )
    readers = readers or Readers()
    with _reproducible():
        training = _Training(recipe, network, lesson)
        first = training.restore(memory)
        until = min(stop_at or recipe.num_steps, recipe.num_steps)
        own = chunks_of(recipe.num_chunks, rank=context.rank, num_workers=context.num_workers)
        steps = range(first, first if training.is_over(first) else until)
        places = ((step, chunk) for step in steps for chunk in own)
        with readers.ahead(training.batches.read, places) as batches:
            for step in steps:
                chunks = [training.chunk(step, chunk, next(batches)) for chunk in own]
                training.update(step, context.sum_in_order(chunks))
                checked = training.check(step, own, context)
                if training.reported_at(step, checked):
                    context.report({**training.history[-1], "wait_share": readers.wait_share})
                over = training.is_over(step + 1)
                if over:
                    training.finish()
                pausing = over or step + 1 == until
                if context.rank == 0 and (pausing or (step + 1) % recipe.checkpoint_every == 0):
                    training.save(memory, step + 1)
                if over:
                    break
        network.eval()
        return training.history


class _Training:
    """A network, its optimizer and its loss curve. All weights are one vector, and so is the optimizer's state."""

    def __init__(self, recipe: FinetuneRecipe, network: Network, lesson: Lesson) -> None:
        self.recipe, self.lesson = recipe, lesson
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = network.to(self.device).train()
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.loss = losses.bind(recipe.loss or default_loss(lesson.question))
        self.batches = Batches(recipe, lesson, self.device)
        self.vector = _as_one_vector(self.parameters)
        rule = Sgd if recipe.optimizer == "sgd" else AdamW
        self.optimizer = rule(self.vector, weight_decay=recipe.weight_decay)
        self.average = None if recipe.ema_decay is None else RunningMean(self.vector, decay=recipe.ema_decay)
        self.best: dict[str, npt.NDArray[Any]] = {}
        self.history: History = []
        self.recent: list[float] = []

    def chunk(self, step: int, chunk: int, batch: tuple[Tensor, Tensor]) -> npt.NDArray[np.float32]:
        """The gradient of one chunk of the batch, what its batch norms saw, and its loss as the last number."""
        images, labels = self.batches.on_device(batch, step, chunk)
        draw_dropout_from(self.network, generator(self.recipe.seed, _DROPOUT, step, chunk))
        for parameter in self.parameters:
            parameter.grad = None
        with seen_statistics(self.network) as seen:
            logits = self._logits_of(images)
            value = self._loss_of(logits, labels)
            if self.recipe.consistency is not None:
                rng = generator(self.recipe.seed, _VIEWS, step, chunk)
                value = value + self._disagreement(images, logits[-1], rng)
        value.backward()  # type: ignore[no-untyped-call]
        zeros = (p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters)
        flat = torch.cat([*(gradient.reshape(-1) for gradient in zeros), *seen, value.detach().reshape(1)])
        array: npt.NDArray[np.float32] = flat.cpu().numpy()
        return array

    def update(self, step: int, summed: npt.NDArray[np.float32]) -> None:
        """One step of the optimizer on the mean of the chunks' gradients."""
        mean = torch.from_numpy(summed) / self.recipe.num_chunks
        loss, gradient, seen = float(mean[-1]), mean[: self.vector.numel()], mean[self.vector.numel() : -1]
        length = float(torch.linalg.vector_norm(gradient))
        if not math.isfinite(loss) or not math.isfinite(length):
            raise RecipeError(
                f"Training diverged at step {step}: the loss is {loss:g} and its gradient's length {length:g}. "
                f"Lower finetune.learning_rate (now {self.recipe.learning_rate:g}) and train again."
            )
        if length > self.recipe.clip_norm:
            gradient = gradient * (self.recipe.clip_norm / length)
        self.optimizer.step(gradient.to(self.device), learning_rate=learning_rate(self.recipe, step))
        take_statistics(self.network, seen)
        if self.average is not None:
            self.average.follow(self.vector, num_steps=step + 1)
        self.recent.append(loss)

    def check(self, step: int, own: range, context: TrainContext) -> float | None:
        """The loss on the held-out answers, when it is time; the best weights so far are kept.

        Shared and added like a batch's chunks, so that all workers decide alike, however many they are.
        """
        rule, held_out = self.recipe.early_stop, self.lesson.held_out
        last = step + 1 == self.recipe.num_steps
        if rule is None or held_out is None or not (last or (step + 1) % rule.every == 0):
            return None
        with self._published(), torch.inference_mode():
            sums = [self._held_out_loss(held_out, chunk) for chunk in own]
            total, num = context.sum_in_order(sums).tolist()
            found = [*self._checks(), float(total / num)]
            if best_check(found, min_gain=rule.min_gain) == len(found) - 1:
                self.best = weights_of(self.network)
        return found[-1]

    def is_over(self, num_steps: int) -> bool:
        """True after the last step, or the one at which the training stopped early."""
        rule = self.recipe.early_stop
        return num_steps >= self.recipe.num_steps or (rule is not None and has_stopped(self._checks(), rule))

    def finish(self) -> None:
        """Leave in the network what is to be published."""
        if self.best:
            load_weights(self.network, self.best)
        elif self.average is not None:
            self.vector.copy_(self.average.mean)

    def reported_at(self, step: int, held_out_loss: float | None) -> bool:
        """Add the mean loss since the last report to the curve, about a hundred times a training."""
        every = max(1, self.recipe.num_steps // _NUM_REPORTS)
        if held_out_loss is None and (step + 1) % every and step + 1 != self.recipe.num_steps:
            return False
        mean = sum(self.recent) / len(self.recent)
        entry = {"step": step + 1, "loss": mean, "learning_rate": learning_rate(self.recipe, step)}
        self.history.append(entry if held_out_loss is None else {**entry, _HELD_OUT_LOSS: held_out_loss})
        self.recent = []
        return True

    def save(self, memory: Memory, step: int) -> None:
        tensors = {f"network.{name}": array for name, array in weights_of(self.network).items()}
        tensors |= {f"best.{name}": array for name, array in self.best.items()}
        tensors |= {name: vector.cpu().numpy().copy() for name, vector in self._vectors().items()}
        memory.save(tensors, step=step, notes={"history": self.history, "recent": self.recent})

    def restore(self, memory: Memory) -> int:
        """Go on from the state in ``memory``; returns the step to do next."""
        found = memory.load()
        if found is None:
            return 0
        tensors, step, notes = found
        # The parameters are windows on the vector: filling them fills it.
        load_weights(self.network, network_tensors(tensors))
        self.best = {name.removeprefix("best."): a for name, a in tensors.items() if name.startswith("best.")}
        for name, vector in self._vectors().items():
            vector.copy_(torch.from_numpy(tensors[name].copy()))
        self.optimizer.num_steps = step
        self.history, self.recent = list(notes["history"]), list(notes["recent"])
        return step

    def _logits_of(self, images: Tensor) -> list[Tensor]:
        with self._precision():
            return self.network.forward_heads(images)

    def _loss_of(self, logits: list[Tensor], labels: Tensor) -> Tensor:
        """The mean loss of all heads, in float32 whatever the network computes in."""
        return torch.stack([self.loss(head.float(), labels) for head in logits]).mean()

    def _disagreement(self, images: Tensor, logits: Tensor, rng: torch.Generator) -> Tensor:
        assert self.recipe.consistency is not None, "asked for only where the recipe does"
        with self._precision():
            return consistency_loss(self.recipe.consistency, self.network, images, logits, rng=rng)

    def _precision(self) -> AbstractContextManager[None]:
        return autocast(self.device, low=self.recipe.train_precision == "bfloat16")

    def _held_out_loss(self, held_out: Examples, chunk: int) -> npt.NDArray[np.float32]:
        """Sum of the losses of one chunk of the held-out answers, and how many they are."""
        total, num = 0.0, 0
        for batch in self.batches.held_out(held_out, chunk):
            images, labels = (tensor.to(self.device) for tensor in batch)
            total += float(self._loss_of(self._logits_of(images), labels)) * len(images)
            num += len(images)
        return np.array([total, num], np.float32)

    @contextmanager
    def _published(self) -> Iterator[None]:
        """The network as it would be published now: in evaluation, with averaged weights where there are any."""
        own = self.vector.clone()
        if self.average is not None:
            self.vector.copy_(self.average.mean)
        draw_dropout_from(self.network, None)
        self.network.eval()
        try:
            yield
        finally:
            self.vector.copy_(own)
            self.network.train()

    def _checks(self) -> list[float]:
        return [entry[_HELD_OUT_LOSS] for entry in self.history if _HELD_OUT_LOSS in entry]

    def _vectors(self) -> dict[str, Tensor]:
        """The state beside the weights, by the name it is saved under."""
        vectors = {f"optimizer.{name}": getattr(self.optimizer, name) for name in self.optimizer.moments}
        return vectors if self.average is None else {**vectors, "average": self.average.mean}


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
