"""A checkpoint that answers: arrays in, probabilities and embeddings out.

Shape letters: M = members, N = items, C = channels in and classes out, D = embedding,
Z, Y, X = space.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hilum.core.errors import CorruptionError, RecipeError
from hilum.core.recipes import Choice
from hilum.nn.channels_last import channels_last, layout
from hilum.nn.heads import Network, build_network
from hilum.nn.kept_memory import keep_freed_memory
from hilum.nn.learning_loss import level_means
from hilum.nn.members import members as member_sets

Floats = npt.NDArray[np.float32]
Precision = Literal["float32", "bfloat16"]
SINGLE = Choice(kind="single")
EMBEDS = "embed"
"""The question of a card whose network only embeds."""


class Look(NamedTuple):
    """What one look at some images told; losses only of a checkpoint that predicts them."""

    probs: Floats
    embeddings_ND: Floats  # noqa: N815 (shape letters)
    predicted_losses_N: Floats | None  # noqa: N815 (shape letters)


class Predictor:
    """One network in evaluation, with its card. Keep it: building it costs more than a small batch.

    One that ``lies_last`` is laid out channels last: faster, and equal up to rounding.
    """

    def __init__(
        self,
        network: Network,
        card: Mapping[str, Any],
        *,
        precision: Precision = "float32",
        lies_last: bool = False,
    ) -> None:
        keep_freed_memory()
        self.card = dict(card)
        self.precision, self.lies_last = precision, lies_last
        self.spatial_dims = int(card["spatial_dims"])
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._layout = layout(self.spatial_dims) if lies_last else torch.contiguous_format
        placed = channels_last(network, self.spatial_dims) if lies_last else network
        self.network = placed.to(self.device).eval()

    @property
    def num_classes(self) -> int:
        return int(self.card["num_classes"])

    def predict(self, images_NCZYX: Floats, *, members: Choice = SINGLE, seed: int = 0) -> Floats:
        """Probabilities (M, N, C) of a classifier or (M, N, C, Z, Y, X) of a segmenter."""
        with self._running():
            opinions = member_sets.bind(members)(self.network, self._to_tensor(images_NCZYX), seed=seed)
            return self._probs(opinions)

    def embed(self, images_NCZYX: Floats) -> Floats:
        """(N, D): where the network puts each image among all others."""
        with self._running():
            return _to_array(self.network.embed(self._to_tensor(images_NCZYX)))

    def predict_and_embed(
        self, images_NCZYX: Floats, *, members: Choice = SINGLE, seed: int = 0
    ) -> tuple[Floats, Floats]:
        """Both, in one pass where one pass can tell both."""
        if members.kind != "single":
            return self.predict(images_NCZYX, members=members, seed=seed), self.embed(images_NCZYX)
        member_sets.bind(members)
        with self._running():
            logits, embeddings_ND = self.network.answer(self._to_tensor(images_NCZYX))
            return self._probs([torch.softmax(logits.float(), dim=1)]), _to_array(embeddings_ND)

    def look(self, images_NCZYX: Floats, *, members: Choice = SINGLE, seed: int = 0) -> Look:
        """What `predict_and_embed` says and, in the same passes, the loss that is predicted of each image.

        Of several members it is read from the pass that embeds, which sees the image itself.
        """
        predict_losses = self.network.loss_predictor
        if predict_losses is None:
            return Look(*self.predict_and_embed(images_NCZYX, members=members, seed=seed), None)
        with level_means(self.network) as means_by_level:
            probs, embeddings_ND = self.predict_and_embed(images_NCZYX, members=members, seed=seed)
        with self._running():
            return Look(probs, embeddings_ND, _to_array(predict_losses(means_by_level)))

    def _to_tensor(self, images_NCZYX: Floats) -> Tensor:
        if images_NCZYX.ndim != 5 or images_NCZYX.shape[1] != self.card["in_channels"]:
            raise RecipeError(
                f"This checkpoint reads images (N, C, Z, Y, X) of {self.card['in_channels']} channels; "
                f"given {images_NCZYX.shape}."
            )
        images = torch.from_numpy(np.ascontiguousarray(images_NCZYX, dtype=np.float32)).to(self.device)
        if self.spatial_dims == 3:
            return images.contiguous(memory_format=self._layout)
        if images.shape[2] != 1:
            raise RecipeError(f"This checkpoint reads 2D images (Z = 1); given Z = {images.shape[2]}.")
        return images[:, :, 0].contiguous(memory_format=self._layout)

    def _probs(self, opinions: list[Tensor]) -> Floats:
        probs = torch.stack(opinions)
        if probs.ndim == 5:
            probs = probs[:, :, :, None]
        return _to_array(probs)

    @contextmanager
    def _running(self) -> Iterator[None]:
        low = torch.autocast(self.device.type, torch.bfloat16) if self.precision == "bfloat16" else nullcontext()
        with torch.inference_mode(), low:
            yield


def predictor_from(
    tensors: Mapping[str, npt.NDArray[Any]],
    card: Mapping[str, Any],
    *,
    precision: Precision = "float32",
    lies_last: bool = False,
) -> Predictor:
    """The predictor that a checkpoint's tensors and card describe."""
    network = network_of_card(_without_fetching(card))
    load_weights(network, tensors)
    return Predictor(network, card, precision=precision, lies_last=lies_last)


def network_of_card(card: Mapping[str, Any], *, seed: int = 0) -> Network:
    """The network a card describes, with first weights from ``seed``."""
    if card.get("question") == "pretext":
        raise RecipeError(
            "This checkpoint was pretrained and answers no question of yours yet. Train it first: put its id under "
            "finetune, as 'from', in a campaign's recipe."
        )
    if card.get("question") == EMBEDS:
        raise RecipeError(
            "This checkpoint is an encoder that was imported: it embeds candidates, as score.encoder, and answers "
            "no question."
        )
    try:
        return build_network(
            card["question"],
            Choice.model_validate(card["architecture"]),
            spatial_dims=card["spatial_dims"],
            in_channels=card["in_channels"],
            num_classes=card["num_classes"],
            seed=seed,
            loss_predictor_width=card.get("learning_loss", {}).get("width"),
        )
    except KeyError as missing:
        raise CorruptionError(f"A checkpoint's card lacks {missing}; it was changed or is not hilum's.") from None


def load_weights(network: Network, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Put a checkpoint's tensors into ``network``; CorruptionError when they are another network's."""
    state = {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CorruptionError(
            f"The checkpoint's tensors are not those its card describes: {str(error).splitlines()[-1].strip()}"
        ) from None


def weights_of(network: Network) -> dict[str, npt.NDArray[Any]]:
    """A network's tensors as arrays, by name."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in network.state_dict().items()}


def _without_fetching(card: Mapping[str, Any]) -> Mapping[str, Any]:
    """The card of a network whose weights are at hand: none are fetched to be overwritten."""
    if not card.get("architecture", {}).get("pretrained"):
        return card
    return {**card, "architecture": {**card["architecture"], "pretrained": False}}


def _to_array(tensor: Tensor) -> Floats:
    array: Floats = tensor.float().cpu().numpy()
    return array
