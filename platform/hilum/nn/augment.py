"""Training transforms: whole batches at once, label maps moved along with their images.

Shape letters: N = items, C = channels, S = space (Y, X or Z, Y, X). Every transform is a
function ``(images_NCS, labels_NS | None, *, rng, …)``; all chance comes from ``rng``, a
generator on the CPU. Voxels that move in from outside repeat the border in the image and
are IGNORE in the label map: nobody answered them.
"""

import math
from collections.abc import Callable, Sequence

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from hilum.core.asking import IGNORE
from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.core.registry import Params, Registry

augmentations = Registry("augmentation")

Augment = Callable[[Tensor, Tensor | None, torch.Generator], tuple[Tensor, Tensor | None]]


class FlipParams(Params):
    """``axes`` to mirror, each with ``probability``; none named means all."""

    probability: float = Field(default=0.5, ge=0, le=1)
    axes: tuple[str, ...] = ()


class ShiftParams(Params):
    """At most ``share`` of each axis' length, whole voxels."""

    share: float = Field(default=0.1, ge=0, lt=1)


class AffineParams(Params):
    """Turned in the plane of Y and X by at most ``degrees``, and scaled by at most ``scale`` of its size."""

    degrees: float = Field(default=10.0, ge=0, le=180)
    scale: float = Field(default=0.1, ge=0, lt=1)


class IntensityParams(Params):
    """Contrast around the mean, brightness and gamma, each at most this far from none."""

    contrast: float = Field(default=0.2, ge=0, lt=1)
    brightness: float = Field(default=0.1, ge=0)
    gamma: float = Field(default=0.2, ge=0, lt=1)


class Rot90Params(Params):
    """Quarter turns in the plane of Y and X, any of the four with equal chance."""


class NoiseParams(Params):
    """Gaussian noise whose standard deviation is drawn from 0 to ``std`` for every item."""

    std: float = Field(default=0.05, ge=0)


def bind_augmentations(choices: Sequence[Choice]) -> Augment:
    """The chosen transforms, one after the other, as one function."""
    transforms = [augmentations.bind(choice) for choice in choices]

    def augment(images_NCS: Tensor, labels_NS: Tensor | None, rng: torch.Generator) -> tuple[Tensor, Tensor | None]:
        for transform in transforms:
            images_NCS, labels_NS = transform(images_NCS, labels_NS, rng=rng)
        return images_NCS, labels_NS

    return augment


@augmentations.register("flip", params=FlipParams)
def flip(
    images_NCS: Tensor,
    labels_NS: Tensor | None,
    *,
    rng: torch.Generator,
    probability: float = 0.5,
    axes: Sequence[str] = (),
) -> tuple[Tensor, Tensor | None]:
    """Mirror each axis of each item, or not."""
    for axis in _axes(images_NCS, axes):
        chosen_N = torch.rand(len(images_NCS), generator=rng) < probability
        images_NCS = _where(chosen_N, images_NCS.flip(axis), images_NCS)
        labels_NS = None if labels_NS is None else _where(chosen_N, labels_NS.flip(axis), labels_NS)
    return images_NCS, labels_NS


@augmentations.register("rot90", params=Rot90Params)
def rot90(images_NCS: Tensor, labels_NS: Tensor | None, *, rng: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Turn each item by 0, 90, 180 or 270 degrees; only half turns where Y and X differ."""
    step = 1 if images_NCS.shape[-1] == images_NCS.shape[-2] else 2
    turns_N = torch.randint(0, 4 // step, (len(images_NCS),), generator=rng) * step
    for turns in range(step, 4, step):
        chosen_N = turns_N == turns
        images_NCS = _where(chosen_N, torch.rot90(images_NCS, turns, (-2, -1)), images_NCS)
        if labels_NS is not None:
            labels_NS = _where(chosen_N, torch.rot90(labels_NS, turns, (-2, -1)), labels_NS)
    return images_NCS, labels_NS


@augmentations.register("shift", params=ShiftParams)
def shift(
    images_NCS: Tensor, labels_NS: Tensor | None, *, rng: torch.Generator, share: float = 0.1
) -> tuple[Tensor, Tensor | None]:
    """Move each item by whole voxels along every axis."""
    for axis in range(-(images_NCS.ndim - 2), 0):
        size = images_NCS.shape[axis]
        farthest = round(share * size)
        moved_N = torch.randint(-farthest, farthest + 1, (len(images_NCS),), generator=rng)
        source_NL = (torch.arange(size) + moved_N[:, None]).to(images_NCS.device)
        inside_NL = (source_NL >= 0) & (source_NL < size)
        source_NL = source_NL.clamp(0, size - 1)
        images_NCS = _take(images_NCS, source_NL, axis)
        if labels_NS is not None:
            moved = _take(labels_NS, source_NL, axis)
            labels_NS = torch.where(_along(inside_NL, labels_NS, axis), moved, torch.full_like(moved, IGNORE))
    return images_NCS, labels_NS


@augmentations.register("affine", params=AffineParams)
def affine(
    images_NCS: Tensor,
    labels_NS: Tensor | None,
    *,
    rng: torch.Generator,
    degrees: float = 10.0,
    scale: float = 0.1,
) -> tuple[Tensor, Tensor | None]:
    """Turn and scale each item about its middle: images linearly, label maps by the nearest voxel."""
    angle_N, growth_N = (
        (2 * torch.rand(len(images_NCS), generator=rng) - 1) * m for m in (math.radians(degrees), scale)
    )
    grid_NSk = _turned_and_scaled(angle_N, 1 + growth_N, images_NCS)
    images_NCS = grid_sample(images_NCS, grid_NSk, padding_mode="border", align_corners=False)
    if labels_NS is None:
        return images_NCS, None
    # Labels are below 2¹⁶: exact in float32.
    nearest = grid_sample(
        labels_NS[:, None].float(), grid_NSk, mode="nearest", padding_mode="border", align_corners=False
    )
    inside_NS = (grid_NSk.abs() <= 1).all(dim=-1)
    return images_NCS, torch.where(inside_NS, nearest[:, 0].to(labels_NS.dtype), torch.full_like(labels_NS, IGNORE))


@augmentations.register("intensity", params=IntensityParams)
def intensity(
    images_NCS: Tensor,
    labels_NS: Tensor | None,
    *,
    rng: torch.Generator,
    contrast: float = 0.2,
    brightness: float = 0.1,
    gamma: float = 0.2,
) -> tuple[Tensor, Tensor | None]:
    """Another scanner's contrast, brightness and gamma, the same for all channels of an item."""
    contrast_N, brightness_N, gamma_N = (
        (2 * torch.rand(len(images_NCS), generator=rng) - 1) * limit for limit in (contrast, brightness, gamma)
    )
    bent = images_NCS.clamp(min=0) ** _per_item(1 + gamma_N, images_NCS)
    mean = bent.mean(dim=tuple(range(1, bent.ndim)), keepdim=True)
    return (bent - mean) * _per_item(1 + contrast_N, bent) + mean + _per_item(brightness_N, bent), labels_NS


@augmentations.register("noise", params=NoiseParams)
def noise(
    images_NCS: Tensor, labels_NS: Tensor | None, *, rng: torch.Generator, std: float = 0.05
) -> tuple[Tensor, Tensor | None]:
    """Grain: independent for every voxel."""
    std_N = torch.rand(len(images_NCS), generator=rng) * std
    grain = torch.randn(images_NCS.shape, generator=rng).to(images_NCS)
    return images_NCS + grain * _per_item(std_N, images_NCS), labels_NS


def _axes(images_NCS: Tensor, names: Sequence[str]) -> list[int]:
    known = {"x": -1, "y": -2} | ({"z": -3} if images_NCS.ndim == 5 else {})
    wrong = [name for name in names if name not in known]
    if wrong:
        raise RecipeError(f"These images have axes {', '.join(known)}; 'flip' was given '{wrong[0]}'.")
    return [known[name] for name in names] if names else sorted(known.values())


def _turned_and_scaled(angle_N: Tensor, scale_N: Tensor, like_NCS: Tensor) -> Tensor:
    """Where each output voxel comes from, (N, S, k) in −1…1, x first. Voxels stay square where Y and X differ."""
    height, width = like_NCS.shape[-2:]
    cos_N, sin_N = angle_N.cos() / scale_N, angle_N.sin() / scale_N
    zeros_N = torch.zeros_like(angle_N)
    rows = [
        [cos_N, -sin_N * height / width, zeros_N],
        [sin_N * width / height, cos_N, zeros_N],
        [zeros_N, zeros_N, 1 / scale_N],
    ]
    num = like_NCS.ndim - 2
    matrix_Nkk = torch.stack([torch.stack(row[:num], dim=1) for row in rows[:num]], dim=1)
    moves_Nk1 = torch.zeros(len(angle_N), num, 1)
    theta = torch.cat([matrix_Nkk, moves_Nk1], dim=2).to(like_NCS.device)
    return affine_grid(theta, list(like_NCS.shape), align_corners=False)


def _per_item(values_N: Tensor, like: Tensor) -> Tensor:
    return values_N.to(like).reshape(-1, *[1] * (like.ndim - 1))


def _where(chosen_N: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(chosen_N.to(one.device).reshape(-1, *[1] * (one.ndim - 1)), one, other)


def _along(values_NL: Tensor, like: Tensor, axis: int) -> Tensor:
    shape = [1] * like.ndim
    shape[0], shape[axis] = values_NL.shape
    return values_NL.reshape(shape)


def _take(values: Tensor, source_NL: Tensor, axis: int) -> Tensor:
    """values[n, …, source[n, l], …] along ``axis``."""
    return torch.gather(values, axis % values.ndim, _along(source_NL, values, axis).expand(values.shape))
