"""One image's answer: read as its model was trained, seen window by window, and laid back where it came from.

Shape letters: C = channels in and classes out, D = embedding, W = windows, Z, Y, X = space.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

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
from hilum.loop.answering.under_way import UnderWay
from hilum.loop.answering.versions import Version
from hilum.nn.normalise import normalise
from hilum.nn.passes import Answered, Pass, Way, entropy, with_disagreement
from hilum.nn.predictor import Predictor
from hilum.steps.calibrations import Calibration
from hilum.steps.evaluate import patches_of, window_shape

Floats = npt.NDArray[np.float32]

MOST_UNLIKE = 0.1
_NOBODY = Study("", "")
_MOST_ROWS = 10_000


@dataclass(frozen=True)
class Answer:
    """What a version says of an image, on the image's own grid.

    A segmenter's ``label_map_zyx`` has the likeliest class of every voxel. ``probs_WC`` are a classifier's, a row for
    every patch that it looked at, in order, and a segmenter's share of voxels for each class, one row.
    ``uncertainty`` is the mean entropy as a share of the largest there can be, 0 (sure) to 1;
    ``uncertainty_zyx`` the same voxel by voxel. ``disagreement`` is that of its members (nats), or of
    the version and those ``beside`` it, of whom it is the mean; None of one alone.
    ``unlike_share`` is the share of its windows that are unlike what the model knows, None where nobody can tell.
    All are at the temperature that the version's calibration found, if it ``is_calibrated``.
    """

    version: Version
    depth: int | None
    image: ReadImage
    label_map_zyx: LabelMap | None
    probs_WC: Floats  # noqa: N815 (shape letters)
    uncertainty: float
    uncertainty_zyx: Floats | None
    disagreement: float | None
    is_calibrated: bool
    unlike_share: float | None
    seen: tuple[Answered, ...]
    beside: tuple[Version, ...] = ()

    @property
    def num_windows(self) -> int:
        return sum(one.num_windows for one in self.seen)

    @property
    def num_blank(self) -> int:
        """Windows that hold nothing."""
        return sum(one.num_blank for one in self.seen)

    @property
    def is_unlike(self) -> bool | None:
        """Whether the image is unlike what the model knows: ten times as many windows are as of images it knows."""
        return None if self.unlike_share is None else self.unlike_share > MOST_UNLIKE

    @cached_property
    def probs_C(self) -> Floats:
        """One probability a class: the mean over all that was looked at."""
        mean: Floats = self.probs_WC.mean(axis=0)
        return mean


class Said(NamedTuple):
    """What one version says of an image as it was prepared: probabilities (W, C) or (C, Z, Y, X), calibrated if so."""

    probs: Floats
    disagreement: float | None
    is_calibrated: bool
    seen: tuple[Answered, ...]


class Question(UnderWay):
    """An image on its way to its answer: ``passes`` go to an engine, and `answer` puts together what comes back."""

    def __init__(
        self,
        image: ReadImage,
        version: Version,
        predictor: Predictor,
        *,
        depth: int | None = None,
        members: Choice | None = None,
        calibration: Calibration | None = None,
        maps: bool = False,
        max_bytes: int,
    ) -> None:
        """DataError where the image is not of the kind that the version reads, or cannot be prepared so."""
        _check_channels(image, version)
        self.image, self.version, self._depth, self._maps = image, version, depth, maps
        # A pruned network puts images elsewhere, and is sure of other things.
        self._calibration = calibration if depth is None else None
        self._seen = prepared(image, version.prepare, max_bytes=max_bytes)
        volume = _volume_of(self._seen)
        self._voxels_CZYX = normalise(self._seen.image_czyx, volume.low, volume.high)
        is_segmenter = version.question == "segment"
        chosen = members or version.members
        pass_of = partial(Pass, embed=self._can_tell_unlike, min_occupancy=version.pool.min_occupancy)
        if is_segmenter:
            way = Way(predictor, window_shape(volume, version.pool, predictor.card), version.overlap, chosen)
            self.passes = [pass_of(item, way) for item in _items(self._voxels_CZYX, volume)]
            return
        starts, shape = _places(volume, version)
        self.passes = [pass_of(self._voxels_CZYX, Way(predictor, shape, members=chosen), starts_zyx=starts)]

    def answer(self, beside: Sequence["Question"] = ()) -> Answer:
        """The answer, once every pass is done; raises what went wrong with one.

        With other versions ``beside``, that were asked of the same image, it is the mean of what all say.
        """
        said = [one.said() for one in (self, *beside)]
        probs, apart = said[0].probs, said[0].disagreement
        if beside:
            class_axis = 1 if probs.ndim == 2 else 0
            mean = with_disagreement(np.stack([np.moveaxis(one.probs, class_axis, 0) for one in said]))
            probs, apart = np.moveaxis(mean[:-1], 0, class_axis), float(mean[-1].mean())
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
            all(one.is_calibrated for one in said),
            self._unlike_share(said[0].seen),
            tuple(found for one in said for found in one.seen),
            tuple(one.version for one in beside),
        )

    def said(self) -> "Said":
        """What this version alone says, once every pass is done."""
        found = tuple(one.done.result() for one in self.passes)
        probs = found[0].probs if self.version.question == "classify" else _along_z([f.probs for f in found])
        if self._calibration is not None:
            probs = self._calibration.probabilities(probs, class_axis=1 if probs.ndim == 2 else 0).astype(np.float32)
        apart = None if found[0].disagreement is None else float(np.mean([f.disagreement.mean() for f in found]))  # type: ignore[union-attr]
        is_calibrated = self._calibration is not None and self._calibration.record.temperature is not None
        return Said(probs, apart, is_calibrated, found)

    @property
    def grey_levels_CZYX(self) -> Floats:
        """The whole image as the network sees it."""
        return self._voxels_CZYX

    @property
    def _can_tell_unlike(self) -> bool:
        return self._calibration is not None and self._calibration.familiar is not None

    def _unlike_share(self, found: Sequence[Answered]) -> float | None:
        rows = [one.embeddings_ND for one in found if one.embeddings_ND is not None]
        if self._calibration is None or not rows:
            return None
        if self._calibration.record.window_shape_zyx != self.passes[0].window_shape_zyx:
            return None  # embeddings of windows of another shape lie elsewhere
        far_N = self._calibration.is_unlike(np.concatenate(rows))
        return None if far_N is None else float(far_N.mean())


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
