"""The one training loop.

A batch is cut into chunks; every worker computes the gradients of its own chunks, and all
chunks are added in a fixed order, so one worker or many reach the same weights bit for
bit. So does a run that was killed and went on from its last state.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hilum.core.errors import RecipeError
from hilum.core.ports import TrainContext
from hilum.core.recipes import TrainingRecipe
from hilum.nn.adamw import AdamW
from hilum.nn.averaging import RunningMean
from hilum.nn.blocks import draw_dropout_from
from hilum.nn.chance import generator
from hilum.nn.early_stop import best_check, has_stopped
from hilum.nn.heads import Network
from hilum.nn.holding import Held
from hilum.nn.kept_memory import keep_freed_memory
from hilum.nn.norms import seen_statistics, take_statistics
from hilum.nn.predictor import load_weights, weights_of
from hilum.nn.readers import Readers
from hilum.nn.schedule import chunks_of, learning_rate
from hilum.nn.sgd import Sgd
from hilum.nn.teacher import Batch, Teacher, device_at_hand

History = list[dict[str, float]]

_NUM_REPORTS = 100
_DROPOUT = 3
_HELD_OUT_LOSS = "held_out_loss"


class Memory(Protocol):
    """Where a training keeps its state between steps; written by rank 0, whole or not at all."""

    def load(self) -> tuple[Mapping[str, npt.NDArray[Any]], int, Mapping[str, Any]] | None: ...

    def save(self, tensors: Mapping[str, npt.NDArray[Any]], *, step: int, notes: Mapping[str, Any]) -> None: ...


def train(
    recipe: TrainingRecipe,
    network: Network,
    teacher: Teacher,
    *,
    context: TrainContext,
    memory: Memory,
    readers: Readers | None = None,
    stop_at: int | None = None,
    held: Held | None = None,
) -> History:
    """Train ``network`` in place, from the last state in ``memory`` if there is one; returns the loss curve.

    The network ends with the weights to be published, and so does the last state. With ``stop_at``
    it pauses after that step, its state in ``memory``; going on is as if it never had.
    """
    if context.num_workers > recipe.num_chunks:
        raise RecipeError(
            f"{recipe.num_chunks} chunks cannot be shared by {context.num_workers} workers; give at most as many "
            "workers as the recipe's num_chunks."
        )
    keep_freed_memory()
    readers = readers or Readers()
    with reproducible():
        training = _Training(recipe, network, teacher, held or Held())
        first = training.restore(memory)
        until = min(stop_at or recipe.num_steps, recipe.num_steps)
        own = chunks_of(recipe.num_chunks, rank=context.rank, num_workers=context.num_workers)
        steps = range(first, first if training.is_over(first) else until)
        places = ((step, chunk) for step in steps for chunk in own)
        with readers.ahead(teacher.read, places) as batches:
            for step in steps:
                teacher.before_step(network, step)
                chunks = [training.chunk(step, chunk, next(batches)) for chunk in own]
                training.update(step, context.sum_in_order(chunks))
                checked = training.check(step, own, context)
                if training.reported_at(step, checked):
                    context.report({**training.history[-1], "wait_share": readers.wait_share})
                if context.rank == 0:
                    training.show(step + 1)
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

    def __init__(self, recipe: TrainingRecipe, network: Network, teacher: Teacher, held: Held) -> None:
        self.recipe, self.teacher, self.held = recipe, teacher, held
        self.device = device_at_hand()
        self.network = network.to(self.device).train()
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.vector = _as_one_vector(self.parameters)
        rule = Sgd if recipe.optimizer == "sgd" else AdamW
        self.optimizer = rule(self.vector, weight_decay=recipe.weight_decay)
        self.average = None if recipe.ema_decay is None else RunningMean(self.vector, decay=recipe.ema_decay)
        self.best: dict[str, npt.NDArray[Any]] = {}
        self.history: History = []
        self.recent: list[float] = []

    def chunk(self, step: int, chunk: int, batch: Batch) -> npt.NDArray[np.float32]:
        """The gradient of one chunk of the batch, what its batch norms saw, and its loss as the last number."""
        batch = self.teacher.on_device(batch, step, chunk)
        draw_dropout_from(self.network, generator(self.recipe.seed, _DROPOUT, step, chunk))
        for parameter in self.parameters:
            parameter.grad = None
        with seen_statistics(self.network) as seen:
            value = self.teacher.loss(self.network, batch, step, chunk)
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
                f"Lower learning_rate (now {self.recipe.learning_rate:g}) and train again."
            )
        if length > self.recipe.clip_norm:
            gradient = gradient * (self.recipe.clip_norm / length)
        with self.held.during(step, self.network):
            self.optimizer.step(gradient.to(self.device), learning_rate=learning_rate(self.recipe, step))
        take_statistics(self.network, seen)
        if self.average is not None:
            self.average.follow(self.vector, num_steps=step + 1)
        self.recent.append(loss)

    def check(self, step: int, own: range, context: TrainContext) -> float | None:
        """The loss on what is held out, when it is time; the best weights so far are kept.

        Shared and added like a batch's chunks, so that all workers decide alike, however many they are.
        """
        rule = self.recipe.early_stop
        last = step + 1 == self.recipe.num_steps
        if rule is None or not self.teacher.holds_out or not (last or (step + 1) % rule.every == 0):
            return None
        with self._published(), torch.inference_mode():
            sums = [self._held_out_loss(chunk) for chunk in own]
            total, num = context.sum_in_order(sums).tolist()
            found = [*self._checks(), float(total / num)]
            if best_check(found, min_gain=rule.min_gain) == len(found) - 1:
                self.best = weights_of(self.network)
        return found[-1]

    def show(self, num_steps: int) -> None:
        """Let the teacher look on."""
        self.teacher.after_step(self.network, num_steps)

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
        tensors |= {f"teacher.{name}": array for name, array in self.teacher.state().items()}
        memory.save(tensors, step=step, notes={"history": self.history, "recent": self.recent})

    def restore(self, memory: Memory) -> int:
        """Go on from the state in ``memory``; returns the step to do next."""
        found = memory.load()
        if found is None:
            return 0
        tensors, step, notes = found
        # The parameters are windows on the vector: filling them fills it.
        load_weights(self.network, network_tensors(tensors))
        self.best = _under("best.", tensors)
        self.teacher.restore(_under("teacher.", tensors))
        for name, vector in self._vectors().items():
            vector.copy_(torch.from_numpy(tensors[name].copy()))
        self.optimizer.num_steps = step
        self.history, self.recent = list(notes["history"]), list(notes["recent"])
        return step

    def _held_out_loss(self, chunk: int) -> npt.NDArray[np.float32]:
        """Sum of the losses of one chunk of what is held out, and how many items they are."""
        total, num = 0.0, 0
        for read in self.teacher.held_out(chunk):
            batch = tuple(tensor.to(self.device) for tensor in read)
            total += float(self.teacher.held_out_loss(self.network, batch)) * len(batch[0])
            num += len(batch[0])
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
    return _under("network.", tensors)


def _under(prefix: str, tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def _as_one_vector(parameters: Sequence[torch.nn.Parameter]) -> Tensor:
    """One vector of all weights; the parameters become windows on it."""
    vector = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
    place = 0
    for parameter in parameters:
        parameter.data = vector[place : place + parameter.numel()].view_as(parameter)
        place += parameter.numel()
    return vector


@contextmanager
def reproducible() -> Iterator[None]:
    """One thread and exact kernels, so that sums never depend on how many cores there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(threads)
