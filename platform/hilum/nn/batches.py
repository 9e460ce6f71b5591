"""Which labelled patches make a batch: a function of the seed and the step, and of nothing else.

Shape letters: B = batch, C = channels, S = space (Y, X or Z, Y, X).
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hilum.core.asking import IGNORE, LabelMap
from hilum.core.geometry import Zyx
from hilum.nn import crops
from hilum.nn.crops import Indices

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Example:
    """One labelled patch: normalised voxels, and a class or a label map of the same shape."""

    image_CZYX: Floats  # noqa: N815 (shape letters)
    class_id: int | None = None
    label_map_ZYX: LabelMap | None = None  # noqa: N815 (shape letters)

    @cached_property
    def places(self) -> dict[int, Indices]:
        """Voxels of every answered class, found once."""
        return {} if self.label_map_ZYX is None else crops.places_by_class(self.label_map_ZYX)


class Examples(Protocol):
    """Labelled patches by number. ``classes[i]`` are the classes that were answered in patch i.

    ``read`` is called by several threads at a time.
    """

    @property
    def classes(self) -> Sequence[Collection[int]]: ...

    def read(self, index: int) -> Example: ...


def draw(
    classes: Sequence[Collection[int]], batch_size: int, *, seed: int, step: int, balance_classes: bool
) -> Indices:
    """Numbers of the examples of one batch.

    Balanced: every class weighs the same, shared among the examples that hold it, so that
    rare classes come as often as common ones. Otherwise every example comes once an epoch.
    """
    if balance_classes:
        num_holding = Counter(c for held in classes for c in set(held))
        weights = np.array([sum(1 / num_holding[c] for c in sorted(set(held))) for held in classes])
        rng = np.random.default_rng([seed, step])
        return rng.choice(len(classes), size=batch_size, p=weights / weights.sum())
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = {int(e): np.random.default_rng([seed, int(e)]).permutation(len(classes)) for e in places // len(classes)}
    return np.array([epochs[int(p) // len(classes)][int(p) % len(classes)] for p in places])


def stack(
    examples: Examples,
    indices: Sequence[int],
    shape_zyx: Zyx,
    *,
    spatial_dims: int,
    rng: np.random.Generator,
    foreground_share: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Images (B, C, S) and labels, (B) classes or (B, S) label maps, all brought to ``shape_zyx``."""
    fitted = [fit(examples.read(int(index)), shape_zyx, rng, foreground_share=foreground_share) for index in indices]
    images = torch.from_numpy(np.stack([example.image_CZYX for example in fitted]))
    maps = [example.label_map_ZYX for example in fitted if example.label_map_ZYX is not None]
    if maps:
        labels = torch.from_numpy(np.stack(maps).astype(np.int64))
        return (images[:, :, 0], labels[:, 0]) if spatial_dims == 2 else (images, labels)
    labels = torch.tensor([example.class_id for example in fitted], dtype=torch.int64)
    return (images[:, :, 0] if spatial_dims == 2 else images), labels


def fit(
    example: Example, shape_zyx: Zyx, rng: np.random.Generator, *, foreground_share: float | None = None
) -> Example:
    """Bring a patch to ``shape_zyx``: a crop where it is larger, its border repeated where smaller.

    Crops lie anywhere, or with a ``foreground_share`` where something was answered (`crops.on_answers`).
    """
    given, label_map = example.image_CZYX.shape[1:], example.label_map_ZYX
    if given == shape_zyx:
        return example
    if label_map is None or foreground_share is None:
        start = crops.anywhere(given, shape_zyx, rng)
    else:
        start = crops.on_answers(label_map, example.places, shape_zyx, rng, foreground_share=foreground_share)
    inside = crops.inside(start, shape_zyx)
    missing = [(0, max(0, want - have)) for have, want in zip(given, shape_zyx, strict=True)]
    image = np.pad(example.image_CZYX[(slice(None), *inside)], [(0, 0), *missing], mode="edge")
    if label_map is not None:
        label_map = np.pad(label_map[inside], missing, constant_values=IGNORE)
    return Example(image, example.class_id, label_map)
