"""Several opinions from one network: its heads, mirrors, dropout sub-networks, views.

Shape letters: M = members, N = items, C = classes, S = space. A member set is a function
``(network, images_NCS, *, seed, …) -> probabilities``, one tensor a member. What a member
does depends on the seed and its own number, never on the batch: an item's probabilities
are the same whatever is scored beside it.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from hilum.core.errors import RecipeError
from hilum.core.registry import Params, Registry
from hilum.nn.blocks import draw_dropout_from
from hilum.nn.chance import generator
from hilum.nn.views import draw_view, mirror_axes

members = Registry("member set")


class MirrorsParams(Params):
    """The image itself first, then its mirror images: at most 4 in 2D and 8 in 3D."""

    num_members: int = Field(default=4, ge=2, le=8)


class DropoutParams(Params):
    """Sub-networks of a network that was trained with dropout."""

    num_members: int = Field(default=8, ge=2)


class ViewsParams(Params):
    """The image itself first, then mirrored, shifted and with another gamma."""

    num_views: int = Field(default=8, ge=2)


@members.register("single")
def single(network: nn.Module, images_NCS: Tensor, *, seed: int) -> list[Tensor]:  # noqa: ARG001 (a member set's shape)
    """The network's own answer."""
    return [_probs(network, images_NCS)]


@members.register("heads")
def heads(network: nn.Module, images_NCS: Tensor, *, seed: int) -> list[Tensor]:  # noqa: ARG001 (a member set's shape)
    """What every head says, shallowest first: their mean is UNet++'s ensemble mode (https://arxiv.org/abs/1912.05074)."""
    answers: list[Tensor] = network.forward_heads(images_NCS)  # type: ignore[operator]
    if len(answers) == 1:
        raise RecipeError(
            "Members 'heads' need a network with several heads; this one has one. Segment with a unetpp, unet_plus "
            "or unet_e with deep supervision, or use 'mirrors' or 'views'."
        )
    return [torch.softmax(logits.float(), dim=1) for logits in answers]


@members.register("mirrors", params=MirrorsParams)
def mirrors(
    network: nn.Module,
    images_NCS: Tensor,
    *,
    seed: int,  # noqa: ARG001 (a member set's shape)
    num_members: int = 4,
) -> list[Tensor]:
    """What the network says of mirror images, mirrored back."""
    flips = mirror_axes(images_NCS.ndim - 2)
    if num_members > len(flips):
        raise RecipeError(f"An image of {images_NCS.ndim - 2} dimensions has {len(flips)} mirrors, not {num_members}.")
    return [_mirrored(network, images_NCS, axes) for axes in flips[:num_members]]


@members.register("dropout", params=DropoutParams)
def dropout(network: nn.Module, images_NCS: Tensor, *, seed: int, num_members: int = 8) -> list[Tensor]:
    """Monte Carlo dropout (https://arxiv.org/abs/1506.02142), one mask a member for all items."""
    opinions = []
    try:
        for member in range(num_members):
            if not draw_dropout_from(network, generator(seed, member)):
                raise RecipeError(
                    "Members 'dropout' need a network trained with dropout; this one has none. "
                    "Set finetune.architecture.dropout above 0, or use 'mirrors' or 'views'."
                )
            opinions.append(_probs(network, images_NCS))
    finally:
        draw_dropout_from(network, None)
    return opinions


@members.register("views", params=ViewsParams)
def views(network: nn.Module, images_NCS: Tensor, *, seed: int, num_views: int = 8) -> list[Tensor]:
    """What the network says of augmented views (AIFT, https://doi.org/10.1109/CVPR.2017.506), moved back."""
    return [_probs(network, images_NCS), *(_view(network, images_NCS, seed, view) for view in range(1, num_views))]


def _view(network: nn.Module, images_NCS: Tensor, seed: int, number: int) -> Tensor:
    view = draw_view(images_NCS.shape[2:], generator(seed, number))
    return view.back(_probs(network, view.of(images_NCS)))


def _mirrored(network: nn.Module, images_NCS: Tensor, axes: tuple[int, ...]) -> Tensor:
    probs = _probs(network, images_NCS.flip(axes))
    return probs if probs.ndim == 2 else probs.flip(axes)


def _probs(network: nn.Module, images_NCS: Tensor) -> Tensor:
    return torch.softmax(network(images_NCS).float(), dim=1)
