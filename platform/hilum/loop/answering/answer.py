"""One image's answer: read as its model was trained, seen window by window, and laid back where it came from.

Shape letters: C = channels in and classes out, D = embedding, W = windows, Z, Y, X = space.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hilum.adapters.preparation import prepared
from hilum.adapters.restoring import label_map_on, values_on
from hilum.core.asking import LabelMap
from hilum.core.errors import DataError
from hilum.core.geometry import Zyx
from hilum.core.imaging import Study, Volume
from hilum.core.recipes import Choice
from hilum.core.sources import ReadImage
from hilum.loop.answering.versions import Version
from hilum.nn.engine import Engine
from hilum.nn.normalise import normalise
from hilum.nn.passes import Answered, Pass, Way, entropy
from hilum.nn.predictor import Predictor
from hilum.steps.evaluate import patches_of, window_shape

Floats = npt.NDArray[np.float32]

_NOBODY = Study("", "")
_MOST_ROWS = 10_000


@dataclass(frozen=True)
class Answer:
    """What a version says of an image, on the image's own grid.

    A segmenter's ``label_map_zyx`` has the likeliest class of every voxel. ``probs_WC`` are a classifier's, a row for
    every patch that it looked at, in order, and a segmenter's share of voxels for each class, one row.
    ``uncertainty`` is the mean entropy as a share of the largest there can be, 0 (sure) to 1;
    ``uncertainty_zyx`` the same voxel by voxel. ``disagreement`` is that of its members (nats), None of one alone.
    """

    version: Version
    depth: int | None
    image: ReadImage
    label_map_zyx: LabelMap | None
    probs_WC: Floats  # noqa: N815 (shape letters)
    uncertainty: float
    uncertainty_zyx: Floats | None
    disagreement: float | None
    embedding_D: Floats | None  # noqa: N815 (shape letters)
    num_windows: int
    num_blank: int

    @cached_property
    def probs_C(self) -> Floats:
        """One probability a class: the mean over all that was looked at."""
        mean: Floats = self.probs_WC.mean(axis=0)
        return mean


class Question:
    """An image on its way to its answer: ``passes`` go to an engine, and `answer` puts together what comes back."""

    def __init__(
        self,
        image: ReadImage,
        version: Version,
        predictor: Predictor,
        *,
        depth: int | None = None,
        members: Choice | None = None,
        embed: bool = False,
        maps: bool = False,
        max_bytes: int,
    ) -> None:
        """DataError where the image is not of the kind that the version reads, or cannot be prepared so."""
        _check_channels(image, version)
        self.image, self.version, self._depth, self._maps = image, version, depth, maps
        self._seen = prepared(image, version.prepare, max_bytes=max_bytes)
        volume = _volume_of(self._seen)
        voxels_CZYX = normalise(self._seen.image_czyx, volume.low, volume.high)
        is_segmenter = version.question == "segment"
        chosen = members or version.members
        if is_segmenter:
            way = Way(predictor, window_shape(volume, version.pool, predictor.card), version.overlap, chosen)
            self.passes = [Pass(item, way, embed=embed) for item in _items(voxels_CZYX, volume)]
            return
        starts, shape = _places(volume, version)
        self.passes = [Pass(voxels_CZYX, Way(predictor, shape, members=chosen), embed=embed, starts_zyx=starts)]

    @property
    def progress(self) -> float:
        """The share of all windows that were seen, 0 to 1."""
        num = sum(one.num_windows for one in self.passes)
        return sum(one.progress * one.num_windows for one in self.passes) / num

    def submit(self, engine: Engine, *, seconds: float | None = None) -> None:
        """Have all of it answered; BusyError, and nothing is, when there is no room."""
        for place, one in enumerate(self.passes):
            try:
                engine.submit(one, seconds=seconds)
            except Exception:
                self.cancel(self.passes[:place])
                raise

    def cancel(self, passes: Sequence[Pass] | None = None) -> None:
        """Nobody waits any more."""
        for one in self.passes if passes is None else passes:
            one.done.cancel()

    def answer(self) -> Answer:
        """The answer, once every pass is done; raises what went wrong with one."""
        found = [one.done.result() for one in self.passes]
        probs = found[0].probs if self.version.question == "classify" else _along_z([f.probs for f in found])
        apart = None if found[0].disagreement is None else float(np.mean([f.disagreement.mean() for f in found]))  # type: ignore[union-attr]
        unsure = entropy(probs.T if probs.ndim == 2 else probs) / np.float32(math.log(max(2, _num_classes(probs))))
        label_map = uncertainty_map = None
        if probs.ndim == 4:
            label_map = label_map_on(self.image.grid, probs, self._seen.grid)
            uncertainty_map = values_on(self.image.grid, unsure, self._seen.grid) if self._maps else None
            shares = np.bincount(label_map.reshape(-1), minlength=len(probs)) / label_map.size
            probs = shares[None].astype(np.float32)
        return Answer(
            self.version,
            self._depth,
            self.image,
            label_map,
            probs,
            float(unsure.mean(dtype=np.float64)),
            uncertainty_map,
            apart,
            _embedding(found),
            sum(f.num_windows for f in found),
            sum(f.num_blank for f in found),
        )


def _check_channels(image: ReadImage, version: Version) -> None:
    wanted, given = int(version.card["in_channels"]), image.image_czyx.shape[0]
    if wanted != given:
        raise DataError(
            f"Model '{version.model}' reads images of {wanted} channel(s); this one has {given}. "
            "Send a grey image to a model of grey images, and colour to one of colour."
        )


def _volume_of(image: ReadImage) -> Volume:
    """The image as what ingest would have made of it; nobody's, and stored nowhere."""
    low, high = image.grey_range()
    return Volume(
        "image",
        _NOBODY,
        image.grid,
        image.item_shape_zyx,
        image.image_czyx.shape[0],
        image.modality,
        low,
        high,
        has_label_map=False,
    )


def _items(voxels_CZYX: Floats, volume: Volume) -> list[Floats]:
    depth = volume.item_shape_zyx[0]
    return [voxels_CZYX[:, at : at + depth] for at in range(0, voxels_CZYX.shape[1], depth)]


def _places(volume: Volume, version: Version) -> tuple[list[Zyx], Zyx]:
    """Where a classifier looks: at the patches that the pool would hold of this image."""
    patches = patches_of(volume, version.pool)
    shapes = {patch.shape_zyx for patch in patches}
    if len(shapes) != 1 or len(patches) > _MOST_ROWS:
        raise DataError(f"The image has {len(patches):,} patches to be classified; at most {_MOST_ROWS:,} are.")
    return [patch.start_zyx for patch in patches], shapes.pop()


def _along_z(parts: Sequence[Floats]) -> Floats:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _num_classes(probs: Floats) -> int:
    return probs.shape[1] if probs.ndim == 2 else len(probs)


def _embedding(found: Sequence[Answered]) -> Floats | None:
    rows = [one.embedding for one in found if one.embedding is not None]
    return np.mean(rows, axis=0, dtype=np.float32) if rows else None
