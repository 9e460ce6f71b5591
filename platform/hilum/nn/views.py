"""Views of one patch: mirrored, shifted, with another gamma; and answers moved back from them.

Shape letters: N = items, C = channels in and classes out, S = space.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hilum.nn.chance import generator

_MAX_SHIFT = 0.1
_MAX_GAMMA = 0.25


@dataclass(frozen=True)
class View:
    """One way to look at a patch: a gamma, whole voxels along every axis, then mirrored along ``axes``."""

    axes: tuple[int, ...]
    shifts: tuple[int, ...]
    gamma: float

    def of(self, images_NCS: Tensor) -> Tensor:
        """The images as they are seen."""
        seen = torch.roll(images_NCS.clamp(min=0) ** self.gamma, self.shifts, _space(images_NCS))
        return seen.flip(self.axes)

    def back(self, answers_NCS: Tensor) -> Tensor:
        """What was answered of the view, laid over the images; classes of whole patches (N, C) as they are."""
        if answers_NCS.ndim == 2:
            return answers_NCS
        back = [-shift for shift in self.shifts]
        return torch.roll(answers_NCS.flip(self.axes), back, _space(answers_NCS))


def draw_view(shape_s: Sequence[int], rng: torch.Generator) -> View:
    """A view of images of this shape (Y, X or Z, Y, X)."""
    flips = mirror_axes(len(shape_s))
    axes = flips[int(torch.randint(len(flips), (1,), generator=rng))]
    farthest = [round(_MAX_SHIFT * size) for size in shape_s]
    shifts = tuple(int(torch.randint(-far, far + 1, (1,), generator=rng)) for far in farthest)
    gamma = 1 + _MAX_GAMMA * (2 * float(torch.rand(1, generator=rng)) - 1)
    return View(axes, shifts, gamma)


def images_of_views(
    images_NCZYX: npt.NDArray[np.float32], num_views: int, *, seed: int
) -> Iterator[npt.NDArray[np.float32]]:
    """The images as each of ``num_views`` views shows them. A view depends on the seed and its number alone."""
    images = torch.from_numpy(np.ascontiguousarray(images_NCZYX, np.float32))
    is_flat = images.shape[2] == 1
    images_NCS = images[:, :, 0] if is_flat else images
    for number in range(1, num_views + 1):
        seen = draw_view(images_NCS.shape[2:], generator(seed, number)).of(images_NCS)
        yield (seen[:, :, None] if is_flat else seen).numpy()


def mirror_axes(spatial_dims: int) -> list[tuple[int, ...]]:
    """() first, then one axis (X, Y, Z), then two, then three; counted from the last axis."""
    axes = range(-1, -spatial_dims - 1, -1)
    return [chosen for num in range(spatial_dims + 1) for chosen in itertools.combinations(axes, num)]


def _space(array_NCS: Tensor) -> list[int]:
    return list(range(2, array_NCS.ndim))
