"""The pool as a sampler sees it: open candidates with what the model says of each, and what is labelled already.

Shape letters: N = open candidates, L = labelled candidates, M = members, C = classes, D = embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hilum.core.errors import DataError, RecipeError, unknown_name

Floats = npt.NDArray[np.float32]
HalfOrFloats = npt.NDArray[np.float16] | npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Strings = npt.NDArray[np.str_]

UNKNOWN = -1
"""The class of a candidate of which no model and no person has spoken."""


@dataclass(frozen=True)
class ScoredPool:
    """Candidates that may still be asked about, sorted by candidate id, and the labelled ones beside them.

    Higher scores mean ask sooner. Anything that is not finite is refused here, so that no
    sampler ever meets it: one NaN embedding would be the farthest point of every pool.
    ``labelled_fractions`` (L, C) is each class's share of the answered voxels; of an item
    with one class, 1 in that class. ``member_probs`` (N, M, C) is there when the score run kept it.
    ``weight`` (N), from 1, is how many candidates each row stands for where the rows are core-sets.
    """

    candidate_ids: Strings
    scores: Mapping[str, Floats] = field(default_factory=dict)
    predicted_class: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    class_fractions: Floats = field(default_factory=lambda: np.empty((0, 0), np.float32))
    embedding: HalfOrFloats = field(default_factory=lambda: np.empty((0, 0), np.float32))
    labelled_fractions: Floats = field(default_factory=lambda: np.empty((0, 0), np.float32))
    labelled_embedding: HalfOrFloats = field(default_factory=lambda: np.empty((0, 0), np.float32))
    member_probs: HalfOrFloats | None = None
    weight: Ints | None = None

    def __post_init__(self) -> None:
        self._fill_what_was_not_given()
        ids = self.candidate_ids
        if np.any(ids[1:] <= ids[:-1]):
            raise DataError("candidate_ids must be sorted and distinct; sort the rows by candidate id first.")
        rows = {
            "predicted_class": self.predicted_class,
            "class_fractions": self.class_fractions,
            "embedding": self.embedding,
            **self.scores,
            **({} if self.member_probs is None else {"member_probs": self.member_probs}),
            **({} if self.weight is None else {"weight": self.weight}),
        }
        for name, values in rows.items():
            if len(values) != self.num:
                raise DataError(f"'{name}' has {len(values)} rows for {self.num} candidates; give one row each.")
        for values in self.scores.values():
            _require_finite("scores", values)
        _require_finite("class_fractions", self.class_fractions)
        _require_finite("embedding", self.embedding)
        _require_finite("labelled_embedding", self.labelled_embedding)
        if self.member_probs is not None:
            _require_finite("member_probs", self.member_probs)

    @property
    def num(self) -> int:
        return len(self.candidate_ids)

    @property
    def num_classes(self) -> int:
        """Classes the model tells apart; 0 without a model."""
        return int(self.class_fractions.shape[1])

    def score(self, name: str) -> Floats:
        """One scorer's values, or a RecipeError that lists the scorers of this run."""
        if name not in self.scores:
            raise RecipeError(unknown_name("score", name, self.scores))
        return self.scores[name]

    def after(self, picked: Ints, dropped: Ints) -> "ScoredPool":
        """The pool once ``picked`` are being asked about and ``dropped`` may no longer be."""
        left = np.ones(self.num, bool)
        left[picked] = False
        left[dropped] = False
        embedding = self.embedding[picked]
        before = self.labelled_embedding if len(self.labelled_embedding) else embedding[:0]
        answered = _one_hot(self.predicted_class[picked], max(self.num_classes, self.labelled_fractions.shape[1]))
        return ScoredPool(
            candidate_ids=self.candidate_ids[left],
            scores={name: values[left] for name, values in self.scores.items()},
            predicted_class=self.predicted_class[left],
            class_fractions=self.class_fractions[left],
            embedding=self.embedding[left],
            labelled_fractions=np.concatenate([_widened(self.labelled_fractions, answered.shape[1]), answered]),
            labelled_embedding=np.concatenate([before, embedding]),
            member_probs=None if self.member_probs is None else self.member_probs[left],
            weight=None if self.weight is None else self.weight[left],
        )

    def _fill_what_was_not_given(self) -> None:
        if self.num and not len(self.predicted_class):
            object.__setattr__(self, "predicted_class", np.full(self.num, UNKNOWN, np.int64))
        for name in ("class_fractions", "embedding"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.empty((self.num, getattr(self, name).shape[1]), np.float32))
        if self.labelled_embedding.shape[1] != self.embedding.shape[1] and not self.labelled_embedding.size:
            empty = np.empty((len(self.labelled_embedding), self.embedding.shape[1]), np.float32)
            object.__setattr__(self, "labelled_embedding", empty)


def _one_hot(classes: Ints, num_classes: int) -> Floats:
    """(…, num_classes), 1 at each class; all 0 for one that is unknown."""
    hot: Floats = (classes[:, None] == np.arange(num_classes)).astype(np.float32)
    return hot


def _widened(fractions_LC: Floats, num_classes: int) -> Floats:
    return np.pad(fractions_LC, ((0, 0), (0, num_classes - fractions_LC.shape[1])))


def how_many(scored: ScoredPool, num: int) -> int:
    """``num``, or the whole pool when it is smaller."""
    if num < 0:
        raise RecipeError(f"Cannot ask about {num} candidates; give 0 or more.")
    return min(num, scored.num)


def _require_finite(what: str, values: npt.NDArray[np.floating]) -> None:
    finite = np.isfinite(values)
    if finite.all():
        return
    first = tuple(int(i) for i in np.argwhere(~finite)[0])
    raise DataError(f"{what} must be finite; {what}[{', '.join(map(str, first))}] is {values[first]}")
