"""Teaching from answers: the loss of every head on labelled patches, and what early stopping looks at."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from hilum.core.ports import TrainContext
from hilum.core.recipes import FinetuneRecipe
from hilum.nn.chance import generator
from hilum.nn.chunk_batches import Batches
from hilum.nn.consistency import consistency_loss
from hilum.nn.heads import Network
from hilum.nn.holding import Held
from hilum.nn.learning_loss import item_losses, level_means, ranking_loss
from hilum.nn.lesson import Lesson
from hilum.nn.losses import default_loss, losses
from hilum.nn.low_precision import autocast
from hilum.nn.readers import Readers
from hilum.nn.teacher import Batch, Teacher, device_at_hand
from hilum.nn.train_loop import History, Memory, train

_VIEWS = 5


def train_on_answers(
    recipe: FinetuneRecipe,
    network: Network,
    lesson: Lesson,
    *,
    context: TrainContext,
    memory: Memory,
    readers: Readers | None = None,
    stop_at: int | None = None,
    held: Held | None = None,
) -> History:
    """Train ``network`` in place on what ``lesson`` holds; see `train`."""
    teacher = Supervised(recipe, lesson)
    return train(recipe, network, teacher, context=context, memory=memory, readers=readers, stop_at=stop_at, held=held)


class Supervised(Teacher):
    """Knows the answers."""

    def __init__(self, recipe: FinetuneRecipe, lesson: Lesson) -> None:
        self._recipe, self._lesson = recipe, lesson
        self._device = device_at_hand()
        self._loss = losses.bind(recipe.loss or default_loss(lesson.question))
        self._batches = Batches(recipe, lesson, self._device)

    def read(self, place: tuple[int, int]) -> Batch:
        return self._batches.read(place)

    def on_device(self, batch: Batch, step: int, chunk: int) -> Batch:
        images, labels = batch
        return self._batches.on_device((images, labels), step, chunk)

    def loss(self, network: Network, batch: Batch, step: int, chunk: int) -> Tensor:
        images, labels = batch
        learning = self._recipe.learning_loss is not None
        seen: AbstractContextManager[list[Tensor]] = level_means(network) if learning else nullcontext([])
        with seen as means_by_level:
            logits = self._logits_of(network, images)
        value = self._loss_of(logits, labels)
        if learning:
            value = value + self._learning_loss(network, means_by_level, logits[-1], labels, step)
        if self._recipe.consistency is not None:
            rng = generator(self._recipe.seed, _VIEWS, step, chunk)
            with self._precision():
                consistency = consistency_loss(self._recipe.consistency, network, images, logits[-1], rng=rng)
            value = value + consistency
        return value

    @property
    def holds_out(self) -> bool:
        return self._lesson.held_out is not None

    def held_out(self, chunk: int) -> Iterator[Batch]:
        if self._lesson.held_out is not None:
            yield from self._batches.held_out(self._lesson.held_out, chunk)

    def held_out_loss(self, network: Network, batch: Batch) -> Tensor:
        images, labels = batch
        return self._loss_of(self._logits_of(network, images), labels)

    def _logits_of(self, network: Network, images: Tensor) -> list[Tensor]:
        with self._precision():
            return network.forward_heads(images)

    def _loss_of(self, logits: list[Tensor], labels: Tensor) -> Tensor:
        """The mean loss of all heads, in float32 whatever the network computes in."""
        return torch.stack([self._loss(head.float(), labels) for head in logits]).mean()

    def _learning_loss(
        self, network: Network, means_by_level: list[Tensor], answer: Tensor, labels: Tensor, step: int
    ) -> Tensor:
        """What the loss predictor still has to learn of the order of the chunk's items by their losses."""
        rule = self._recipe.learning_loss
        assert rule is not None, "asked for where the recipe has one"
        assert network.loss_predictor is not None, "the card of this recipe builds one"
        losses_N, is_answered_N = item_losses(answer, labels)
        if step >= rule.network_share * self._recipe.num_steps:
            means_by_level = [means.detach() for means in means_by_level]
        predicted_N = network.loss_predictor(means_by_level)
        value = ranking_loss(predicted_N[is_answered_N], losses_N[is_answered_N], margin=rule.margin)
        return rule.weight * value

    def _precision(self) -> AbstractContextManager[None]:
        return autocast(self._device, low=self._recipe.train_precision == "bfloat16")
