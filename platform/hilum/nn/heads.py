"""From an architecture and a question to a network: voxel logits, or class logits on the encoder.

A registered architecture returns a module with three things: ``encoder`` (a module that
returns features per level, with ``num_features`` of the deepest), ``forward_heads`` (the
logits training supervises, the answer last) and ``pad_multiple``. One that also has
``forward_and_deepest`` (the answer and the encoder's deepest features) is scored in one pass.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hilum.core.recipes import Choice, Question
from hilum.core.registry import architectures
from hilum.nn import nested, pretrained  # noqa: F401 (their import registers them)
from hilum.nn.blocks import ChannelDropout, pad_to_multiple
from hilum.nn.learning_loss import LossPredictor, loss_predictor

_FIRST_WEIGHTS = 0.05
"""Standard deviation of a classifier's first last-layer weights: small enough that an untrained
one is nearly sure of nothing, large enough that the encoder learns from the first step."""


class Network(nn.Module):
    """One network for one question. ``forward_heads``, ``forward`` and ``embed`` are all a step ever calls.

    ``loss_predictor`` is there in one that was trained with a learning loss, and has no part in its answers.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.loss_predictor: LossPredictor | None = None

    def forward(self, images_NCS: Tensor) -> Tensor:
        """Logits: (N, classes) or (N, classes, S)."""
        return self.forward_heads(images_NCS)[-1]

    def forward_heads(self, images_NCS: Tensor) -> list[Tensor]:
        raise NotImplementedError

    def embed(self, images_NCS: Tensor) -> Tensor:
        """(N, D): the mean over space of the deepest features."""
        return _mean_over_space(self.body.encoder, images_NCS, self.body.pad_multiple)  # type: ignore[arg-type]

    def answer(self, images_NCS: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and embeddings together, for no more than either costs where that can be."""
        return self(images_NCS), self.embed(images_NCS)


class Segmenter(Network):
    """A logit for every class and voxel."""

    def forward_heads(self, images_NCS: Tensor) -> list[Tensor]:
        return list(self.body.forward_heads(images_NCS))  # type: ignore[operator]

    def answer(self, images_NCS: Tensor) -> tuple[Tensor, Tensor]:
        if not hasattr(self.body, "forward_and_deepest"):
            return super().answer(images_NCS)
        logits_NCS, deepest_NFS = self.body.forward_and_deepest(images_NCS)  # type: ignore[operator]
        return logits_NCS, deepest_NFS.flatten(2).mean(dim=2)


class Classifier(Network):
    """A logit for every class of the whole patch: encoder, mean over space, dropout, one linear layer."""

    def __init__(self, body: nn.Module, num_classes: int, dropout: float) -> None:
        super().__init__(EncoderOnly(body))
        self.dropout = ChannelDropout(dropout)
        self.linear = nn.Linear(int(body.encoder.num_features), num_classes)  # type: ignore[union-attr, arg-type]
        nn.init.normal_(self.linear.weight, std=_FIRST_WEIGHTS)
        nn.init.zeros_(self.linear.bias)

    def forward_heads(self, images_NCS: Tensor) -> list[Tensor]:
        return [self._logits(self.embed(images_NCS))]

    def answer(self, images_NCS: Tensor) -> tuple[Tensor, Tensor]:
        embeddings_ND = self.embed(images_NCS)
        return self._logits(embeddings_ND), embeddings_ND

    def _logits(self, embeddings_ND: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.dropout(embeddings_ND))
        return logits


class EncoderOnly(nn.Module):
    """The way down of an architecture; its decoder is let go."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.encoder = body.encoder
        self.pad_multiple = body.pad_multiple


def build_network(
    question: Question,
    architecture: Choice,
    *,
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    seed: int = 0,
    loss_predictor_width: int | None = None,
) -> Network:
    """The network of a recipe, its first weights drawn from ``seed``: the same with a loss predictor or without."""
    make = architectures.bind(architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = make(spatial_dims=spatial_dims, in_channels=in_channels, num_classes=num_classes)
        network: Network
        if question == "segment":
            network = Segmenter(body)
        else:
            network = Classifier(body, num_classes, _head_dropout_of(architecture))
        if loss_predictor_width is not None:
            network.loss_predictor = loss_predictor(body.encoder, loss_predictor_width)
        return network


def resolved(architecture: Choice) -> Choice:
    """The architecture with every parameter written out: what a card says must outlive today's defaults."""
    architectures.bind(architecture)
    checked: Any = architectures.params_of(architecture.kind).model_validate(architecture.params)
    return Choice(kind=architecture.kind, **checked.model_dump(mode="json"))


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _head_dropout_of(architecture: Choice) -> float:
    return float(resolved(architecture).params.get("head_dropout", 0.0))


def _mean_over_space(encoder: nn.Module, images_NCS: Tensor, pad_multiple: int | Sequence[int]) -> Tensor:
    levels: Sequence[Tensor] = encoder(pad_to_multiple(images_NCS, pad_multiple))
    return levels[-1].flatten(2).mean(dim=2)
