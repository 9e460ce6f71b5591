"""Training transforms: whole batches at once, label maps moved along with their images.

Shape letters: N = items, C = channels, S = space (Y, X or Z, Y, X). Every transform is a
function ``(images_NCS, labels_NS | None, *, rng, …)``; all chance comes from ``rng``, a
generator on the CPU. Voxels that move in from outside repeat the border in the image and
are IGNORE in the label map: nobody answered them.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from hilum.core.asking import IGNORE
from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.core.registry import Params, Registry
from hilum.nn.warping import bent, blurring, coarsening, mixed, num_knots, resampled, turned_and_scaled

augmentations = Registry("augmentation")

NO_FOLD = 0.4
"""The share of the knots' distance up to which a cubic B-spline is one to one in 3D (Choi and Lee 2000)."""

Augment = Callable[[Tensor, Tensor | None, torch.Generator], tuple[Tensor, Tensor | None]]


class FlipParams(Params):
    """``axes`` to mirror, each with ``probability``; none named means all."""

    probability: float = Field(default=0.5, ge=0, le=1)
    axes: tuple[str, ...] = ()


class ShiftParams(Params):
    """At most ``share`` of each axis' length, whole voxels."""

    share: float = Field(default=0.1, ge=0, lt=1)


class AffineParams(Params):
    """Turned about each of ``axes`` by at most ``degrees``, and scaled by at most ``scale`` of its size.

    About z is in the plane of Y and X. In 3D, name x and y too where voxels are about as thick as wide:
    the turn is in voxels.
    """

    degrees: float = Field(default=10.0, ge=0, le=180)
    scale: float = Field(default=0.1, ge=0, lt=1)
    axes: tuple[Literal["x", "y", "z"], ...] = ("z",)


class ElasticParams(Params):
    """With ``probability`` bent smoothly: knots every so many voxels move at most ``voxels`` along each axis.

    At most 0.4 of the distance between knots: tissue is never folded over.
    """

    voxels: float = Field(default=4.0, ge=0)
    every: float = Field(default=16.0, ge=2)
    probability: float = Field(default=0.5, ge=0, le=1)

    @model_validator(mode="after")
    def _folds_nothing(self) -> "ElasticParams":
        if self.voxels > NO_FOLD * self.every:
            raise ValueError(f"voxels is {self.voxels:g}; at most {NO_FOLD} of every ({self.every:g}) folds nothing")
        return self


class BlurParams(Params):
    """With ``probability`` a Gaussian whose standard deviation is drawn from 0 to ``std_voxels``."""

    std_voxels: float = Field(default=1.0, ge=0)
    probability: float = Field(default=0.5, ge=0, le=1)


class LowResolutionParams(Params):
    """With ``probability`` only a share of the resolution, drawn from ``least_share`` to 1, is left along ``axes``."""

    least_share: float = Field(default=0.5, gt=0, le=1)
    axes: tuple[Literal["x", "y", "z"], ...] = ()
    probability: float = Field(default=0.5, ge=0, le=1)


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
    named = _axes(images_NCS, axes, "flip")
    chosen_aN = [torch.rand(len(images_NCS), generator=rng) < probability for _ in named]
    axes_of_N = [
        [axis for axis, does in zip(named, chosen, strict=True) if does] for chosen in zip(*chosen_aN, strict=True)
    ]
    # Item by item, so that each is written once.
    images_NCS = torch.stack([image.flip(own) for image, own in zip(images_NCS, axes_of_N, strict=True)])
    if labels_NS is not None:
        labels_NS = torch.stack([labels.flip(own) for labels, own in zip(labels_NS, axes_of_N, strict=True)])
    return images_NCS, labels_NS


@augmentations.register("rot90", params=Rot90Params)
def rot90(images_NCS: Tensor, labels_NS: Tensor | None, *, rng: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Turn each item by 0, 90, 180 or 270 degrees; only half turns where Y and X differ."""
    step = 1 if images_NCS.shape[-1] == images_NCS.shape[-2] else 2
    turns_N = torch.randint(0, 4 // step, (len(images_NCS),), generator=rng) * step
    turned = [torch.rot90(image, int(turns), (-2, -1)) for image, turns in zip(images_NCS, turns_N, strict=True)]
    if labels_NS is not None:
        turns_of = zip(labels_NS, turns_N, strict=True)
        labels_NS = torch.stack([torch.rot90(labels, int(turns), (-2, -1)) for labels, turns in turns_of])
    return torch.stack(turned), labels_NS


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
    axes: Sequence[str] = ("z",),
) -> tuple[Tensor, Tensor | None]:
    """Turn and scale each item about its middle: images linearly, label maps by the nearest voxel."""
    if images_NCS.ndim == 4 and set(axes) - {"z"}:
        raise RecipeError(f"Images of Y and X turn about z only; 'affine' was given axes {', '.join(axes)}.")
    limits = [*[math.radians(degrees)] * len(axes), scale]
    *angles, growth_N = ((2 * torch.rand(len(images_NCS), generator=rng) - 1) * limit for limit in limits)
    grid_NSk = turned_and_scaled(dict(zip(axes, angles, strict=True)), 1 + growth_N, images_NCS)
    return resampled(images_NCS, labels_NS, grid_NSk)


@augmentations.register("elastic", params=ElasticParams)
def elastic(
    images_NCS: Tensor,
    labels_NS: Tensor | None,
    *,
    rng: torch.Generator,
    voxels: float = 4.0,
    every: float = 16.0,
    probability: float = 0.5,
) -> tuple[Tensor, Tensor | None]:
    """Bend each item smoothly, or not: images linearly, label maps by the nearest voxel."""
    space = images_NCS.shape[2:]
    knots = [num_knots(size, every) for size in space]
    moves_NkK = (2 * torch.rand((len(images_NCS), len(space), *knots), generator=rng) - 1) * voxels
    chosen = _chosen(images_NCS, probability, rng)
    if not len(chosen) or voxels == 0:
        return images_NCS, labels_NS
    some_labels = None if labels_NS is None else labels_NS[chosen]
    grid_NSk = bent(moves_NkK[chosen.cpu()], every, images_NCS[chosen])
    some, some_labels = resampled(images_NCS[chosen], some_labels, grid_NSk)
    if labels_NS is not None and some_labels is not None:
        labels_NS = labels_NS.index_copy(0, chosen, some_labels)
    return images_NCS.index_copy(0, chosen, some), labels_NS


@augmentations.register("blur", params=BlurParams)
def blur(
    images_NCS: Tensor,
    labels_NS: Tensor | None,
    *,
    rng: torch.Generator,
    std_voxels: float = 1.0,
    probability: float = 0.5,
) -> tuple[Tensor, Tensor | None]:
    """Blur each item, or not."""
    std_N = torch.rand(len(images_NCS), generator=rng) * std_voxels
    chosen = _chosen(images_NCS, probability, rng)
    if not len(chosen):
        return images_NCS, labels_NS
    space = images_NCS.shape[2:]
    by_size = {size: blurring(std_N[chosen.cpu()], size) for size in set(space)}
    matrices = [by_size[size] for size in space]
    return images_NCS.index_copy(0, chosen, mixed(images_NCS[chosen], matrices)), labels_NS


@augmentations.register("low_resolution", params=LowResolutionParams)
def low_resolution(
    images_NCS: Tensor,
    labels_NS: Tensor | None,
    *,
    rng: torch.Generator,
    least_share: float = 0.5,
    axes: Sequence[str] = (),
    probability: float = 0.5,
) -> tuple[Tensor, Tensor | None]:
    """Show each item as a coarser scanner would have, or not, on the same voxels."""
    share_N = 1 - torch.rand(len(images_NCS), generator=rng) * (1 - least_share)
    chosen = _chosen(images_NCS, probability, rng)
    coarse = {images_NCS.ndim - 2 + axis for axis in _axes(images_NCS, axes, "low_resolution")}
    if not len(chosen):
        return images_NCS, labels_NS
    space = images_NCS.shape[2:]
    by_size = {size: coarsening(share_N[chosen.cpu()], size) for size in {space[axis] for axis in coarse}}
    matrices = [by_size[size] if axis in coarse else None for axis, size in enumerate(space)]
    return images_NCS.index_copy(0, chosen, mixed(images_NCS[chosen], matrices)), labels_NS


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


def _axes(images_NCS: Tensor, names: Sequence[str], kind: str) -> list[int]:
    known = {"x": -1, "y": -2} | ({"z": -3} if images_NCS.ndim == 5 else {})
    wrong = [name for name in names if name not in known]
    if wrong:
        raise RecipeError(f"These images have axes {', '.join(known)}; '{kind}' was given '{wrong[0]}'.")
    return [known[name] for name in names] if names else sorted(known.values())


def _chosen(images_NCS: Tensor, probability: float, rng: torch.Generator) -> Tensor:
    """The numbers of the items that this happens to."""
    chosen_N = torch.rand(len(images_NCS), generator=rng) < probability
    return chosen_N.nonzero()[:, 0].to(images_NCS.device)


def _per_item(values_N: Tensor, like: Tensor) -> Tensor:
    return values_N.to(like).reshape(-1, *[1] * (like.ndim - 1))


def _along(values_NL: Tensor, like: Tensor, axis: int) -> Tensor:
    shape = [1] * like.ndim
    shape[0], shape[axis] = values_NL.shape
    return values_NL.reshape(shape)


def _take(values: Tensor, source_NL: Tensor, axis: int) -> Tensor:
    """values[n, …, source[n, l], …] along ``axis``."""
    return torch.gather(values, axis % values.ndim, _along(source_NL, values, axis).expand(values.shape))
