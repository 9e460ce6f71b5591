"""One image on its way through a network: its windows, and what was said of those that were seen.

Windows that hold nothing but the lowest grey level are answered once for all of them. Shape letters: M = members,
C = channels in and classes out, D = embedding, Z, Y, X = space.
"""

import math
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.candidates import as_image, from_image
from hilum.core.geometry import Zyx
from hilum.core.imaging import BACKGROUND_SHARE
from hilum.core.recipes import Choice
from hilum.nn.infer import Blend
from hilum.nn.predictor import SINGLE, Predictor

Floats = npt.NDArray[np.float32]

_TINY = 1e-12


@dataclass(frozen=True)
class Way:
    """How an image is answered: by which network, by which of its members, window by window."""

    predictor: Predictor
    window_shape_zyx: Zyx
    overlap: float = 0.5
    members: Choice = SINGLE


@dataclass(frozen=True)
class Answered:
    """What a network says of one image. ``probs`` are (W, C) of a classifier, a row a window, and (C, Z, Y, X) else.

    ``disagreement`` is the mutual information of its members (nats), one number a window or a voxel; None of a single
    one. The rest is of the N windows that hold enough to be looked at: where the network puts each, where that was
    asked for, how sure its likeliest class is (of voxels the mean), and how much of it is not the first class.
    """

    probs: Floats
    disagreement: Floats | None
    embeddings_ND: Floats | None  # noqa: N815 (shape letters)
    confidences_N: Floats  # noqa: N815
    foreground_N: Floats  # noqa: N815
    num_windows: int
    num_blank: int


class Pass:
    """One image and its windows that are still to be seen. Used by one thread at a time, but for ``done``.

    A segmenter's windows cover the image; a classifier's begin at ``starts_zyx`` and are answered one by one.
    """

    def __init__(
        self,
        image_CZYX: Floats,
        way: Way,
        *,
        embed: bool = False,
        starts_zyx: Sequence[Zyx] = ((0, 0, 0),),
        min_occupancy: float = 0.0,
    ) -> None:
        """``min_occupancy``: a window of which a smaller share is above the background is answered, not looked at."""
        self.way, self.embeds = way, embed
        self.done: Future[Answered] = Future()
        self._image_CZYX = image_CZYX
        self._embeddings: list[Floats] = []
        self._looks: list[tuple[float, float]] = []
        self._min_occupancy = min_occupancy
        self._rows: dict[Zyx, Floats] = {}
        self._blend = None
        if way.predictor.card["question"] == "segment":
            self._blend = Blend(image_CZYX.shape[1:], way.window_shape_zyx, way.overlap)
        self._starts = list(starts_zyx) if self._blend is None else self._blend.starts
        self.window_shape_zyx = way.window_shape_zyx if self._blend is None else self._blend.window_shape_zyx
        self._blank = [start for start in self._starts if not self._voxels(start).any()]
        # One blank window is seen, and speaks for the others.
        self._pattern = self._blank[0] if self._blank else None
        silent = set(self._blank[1:])
        self._waiting = deque(start for start in self._starts if start not in silent)
        self._num_to_see = len(self._waiting)
        self._num_seen = 0

    @property
    def num_channels(self) -> int:
        return len(self._image_CZYX)

    @property
    def num_windows(self) -> int:
        return len(self._starts)

    @property
    def progress(self) -> float:
        """The share of its windows that were seen, 0 to 1."""
        return self._num_seen / self._num_to_see

    def next_window(self) -> tuple[Zyx, Floats] | None:
        """A window that is still to be seen: where it begins, and its voxels as the network takes them."""
        if not self._waiting:
            return None
        start = self._waiting.popleft()
        return start, as_image(self._voxels(start))

    def take(self, start_zyx: Zyx, probs_MC: Floats, embedding_D: Floats | None) -> bool:
        """Take in what was said of a window; whether it was the last. Not finite numbers fail this image alone."""
        mean_C = probs_MC[0] if len(probs_MC) == 1 else probs_MC.mean(axis=0)
        likeliest = mean_C.max(axis=0)
        confidence = float(likeliest.mean())
        if not math.isfinite(confidence):
            raise FloatingPointError("the network answered what is no number")
        self._num_seen += 1
        if start_zyx != self._pattern and self._is_occupied(start_zyx):
            num_foreground = np.count_nonzero(mean_C[0] < likeliest)
            self._looks.append((confidence, num_foreground / likeliest.size))
            if embedding_D is not None:
                self._embeddings.append(embedding_D)
        said = with_disagreement(probs_MC)
        for place in self._blank if start_zyx == self._pattern else [start_zyx]:
            if self._blend is None:
                self._rows[place] = said
            else:
                self._blend.add(place, from_image(said, self.window_shape_zyx))
        return self._num_seen == self._num_to_see

    def answered(self) -> Answered:
        """What was said, once all windows were taken in."""
        if self._blend is None:
            said = np.stack([self._rows[start] for start in self._starts], axis=1)
        else:
            said = self._blend.mean()
        probs, disagreement = said, None
        if self.way.members.kind != "single":
            probs, disagreement = said[:-1], said[-1]
        rows = probs.T if self._blend is None else probs
        looks_N2 = np.array(self._looks, np.float32).reshape(-1, 2)
        return Answered(
            rows,
            disagreement,
            np.stack(self._embeddings) if self._embeddings else None,
            looks_N2[:, 0],
            looks_N2[:, 1],
            self.num_windows,
            len(self._blank),
        )

    def _is_occupied(self, start_zyx: Zyx) -> bool:
        if not self._min_occupancy:
            return True
        return bool((self._voxels(start_zyx) > BACKGROUND_SHARE).mean() >= self._min_occupancy)

    def _voxels(self, start_zyx: Zyx) -> Floats:
        inside = tuple(slice(a, a + n) for a, n in zip(start_zyx, self.window_shape_zyx, strict=True))
        voxels: Floats = self._image_CZYX[(slice(None), *inside)]
        return voxels


def with_disagreement(probs_MC: Floats) -> Floats:
    """The members' mean, and behind its classes, where there are several members, their mutual information (nats)."""
    if len(probs_MC) == 1:
        alone: Floats = probs_MC[0]
        return alone
    mean_C: npt.NDArray[Any] = probs_MC.mean(axis=0)
    information = entropy(mean_C) - np.mean([entropy(member_C) for member_C in probs_MC], axis=0)
    said: Floats = np.concatenate([mean_C, np.maximum(information, 0)[None]]).astype(np.float32)
    return said


def entropy(probs_C: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Shannon's entropy over the first axis, in nats; 0 for a sure answer, log C for none."""
    spread: npt.NDArray[np.float32] = -(probs_C * np.log(np.maximum(probs_C, _TINY))).sum(axis=0)
    return spread
