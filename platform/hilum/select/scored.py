"""The pool as a sampler sees it: open candidates with what the model says of each, and what is labelled already.

Shape letters: N = open candidates, L = labelled candidates, M = members, V = views, C = classes,
D = embedding.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.errors import DataError, RecipeError, unknown_name

Floats = npt.NDArray[np.float32]
HalfOrFloats = npt.NDArray[np.float16] | npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Strings = npt.NDArray[np.str_]
_Columns = dict[str, npt.NDArray[Any]]

UNKNOWN = -1
"""The class of a candidate of which no model and no person has spoken."""
_ROWS_AT_ONCE = 65_536


class ScoredPool:
    """Candidates that may still be asked about, sorted by candidate id, and the labelled ones beside them.

    Higher scores mean ask sooner. Anything that is not finite is refused here, so that no
    sampler ever meets it: one NaN embedding would be the farthest point of every pool.
    ``labelled_fractions`` (L, C) is each class's share of the answered voxels; of an item
    with one class, 1 in that class. ``member_probs`` (N, M, C), ``view_embedding`` (N, V, D) and ``foreground`` (N,)
    are there when the score run has them.
    ``weight`` (N), from 1, is how many candidates each row stands for where the rows are core-sets.
    Nothing of it changes; `after` makes another, which copies a column only when somebody reads it.
    """

    def __init__(
        self,
        candidate_ids: Strings,
        *,
        scores: Mapping[str, Floats] | None = None,
        predicted_class: Ints | None = None,
        class_fractions: Floats | None = None,
        embedding: HalfOrFloats | None = None,
        labelled_fractions: Floats | None = None,
        labelled_embedding: HalfOrFloats | None = None,
        member_probs: HalfOrFloats | None = None,
        view_embedding: HalfOrFloats | None = None,
        foreground: Floats | None = None,
        weight: Ints | None = None,
    ) -> None:
        num = len(candidate_ids)
        if np.any(candidate_ids[1:] <= candidate_ids[:-1]):
            raise DataError("candidate_ids must be sorted and distinct; sort the rows by candidate id first.")
        self._score_names = tuple(scores or ())
        self._whole: _Columns = {
            "candidate_ids": candidate_ids,
            "predicted_class": _given(predicted_class, np.full(num, UNKNOWN, np.int64)),
            "class_fractions": _wide(class_fractions, num),
            "embedding": _wide(embedding, num),
            **({} if member_probs is None else {"member_probs": member_probs}),
            **({} if view_embedding is None else {"view_embedding": view_embedding}),
            **({} if foreground is None else {"foreground": foreground}),
            **({} if weight is None else {"weight": weight}),
            **{_score_column(name): values for name, values in (scores or {}).items()},
        }
        self._rows: Ints | None = None
        self._taken: _Columns = {}
        self.labelled_fractions = _given(labelled_fractions, np.empty((0, 0), np.float32))
        self.labelled_embedding = _wide_as(labelled_embedding, self.embedding)
        self._check()

    @property
    def num(self) -> int:
        return len(self._whole["candidate_ids"]) if self._rows is None else len(self._rows)

    @property
    def num_classes(self) -> int:
        """Classes the model tells apart; 0 without a model."""
        return int(self._whole["class_fractions"].shape[1])

    @property
    def candidate_ids(self) -> Strings:
        return self._column("candidate_ids")

    @property
    def predicted_class(self) -> Ints:
        """(N,), `UNKNOWN` where nobody has spoken."""
        return self._column("predicted_class")

    @property
    def class_fractions(self) -> Floats:
        """(N, C), the mean probability of each class."""
        return self._column("class_fractions")

    @property
    def embedding(self) -> HalfOrFloats:
        """(N, D), as wide as the model makes it; D is 0 when nothing is embedded."""
        return self._column("embedding")

    @property
    def member_probs(self) -> HalfOrFloats | None:
        """(N, M, C), every member's probability of each class; None where the score run did not keep it."""
        return self._column("member_probs") if "member_probs" in self._whole else None

    @property
    def view_embedding(self) -> HalfOrFloats | None:
        """(N, V, D), the embedding of every view; None where the score run did not keep it."""
        return self._column("view_embedding") if "view_embedding" in self._whole else None

    @property
    def foreground(self) -> Floats | None:
        """(N,), the share of each that is foreground by what the recipe named; None where it named nothing."""
        return self._column("foreground") if "foreground" in self._whole else None

    @property
    def weight(self) -> Ints | None:
        """(N,), how many candidates each row stands for; None where each stands for itself."""
        return self._column("weight") if "weight" in self._whole else None

    @property
    def scores(self) -> dict[str, Floats]:
        """Every scorer's values, by its name."""
        return {name: self._column(_score_column(name)) for name in self._score_names}

    def score(self, name: str) -> Floats:
        """One scorer's values, or a RecipeError that lists the scorers of this run."""
        if name not in self._score_names:
            raise RecipeError(unknown_name("score", name, self._score_names))
        return self._column(_score_column(name))

    def after(self, picked: Ints, dropped: Ints) -> "ScoredPool":
        """The pool once ``picked`` are being asked about and ``dropped`` may no longer be."""
        left = np.ones(self.num, bool)
        left[picked] = False
        left[dropped] = False
        picked_in_whole = picked if self._rows is None else self._rows[picked]
        embedding = self._whole["embedding"][picked_in_whole]
        before = self.labelled_embedding if len(self.labelled_embedding) else embedding[:0]
        num_classes = max(self.num_classes, self.labelled_fractions.shape[1])
        answered = _one_hot(self._whole["predicted_class"][picked_in_whole], num_classes)
        # What is left of a checked pool needs no second look.
        another = copy(self)
        another._taken = {}
        another._rows = np.flatnonzero(left) if self._rows is None else self._rows[left]
        another.labelled_fractions = np.concatenate([_widened(self.labelled_fractions, num_classes), answered])
        another.labelled_embedding = np.concatenate([before, embedding])
        return another

    def with_scores(self, scores: Mapping[str, Floats]) -> "ScoredPool":
        """The same candidates, judged by other values."""
        return ScoredPool(
            self.candidate_ids,
            scores=scores,
            predicted_class=self.predicted_class,
            class_fractions=self.class_fractions,
            embedding=self.embedding,
            labelled_fractions=self.labelled_fractions,
            labelled_embedding=self.labelled_embedding,
            member_probs=self.member_probs,
            view_embedding=self.view_embedding,
            foreground=self.foreground,
            weight=self.weight,
        )

    def _column(self, name: str) -> npt.NDArray[Any]:
        if self._rows is None:
            return self._whole[name]
        if name not in self._taken:
            self._taken[name] = self._whole[name][self._rows]
        return self._taken[name]

    def _check(self) -> None:
        for name, values in self._whole.items():
            if len(values) != self.num:
                what = name.removeprefix(_score_column(""))
                raise DataError(f"'{what}' has {len(values)} rows for {self.num} candidates; give one row each.")
        for values in self.scores.values():
            _require_finite("scores", values)
        for name in ("class_fractions", "embedding", "labelled_embedding"):
            _require_finite(name, getattr(self, name))
        for name in ("member_probs", "view_embedding", "foreground"):
            if name in self._whole:
                _require_finite(name, getattr(self, name))


def _score_column(name: str) -> str:
    return f"score {name}"


def _given(values: Any, otherwise: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``values``, where there are any."""
    return otherwise if values is None or not len(values) else values


def _wide(values: Any, num: int) -> npt.NDArray[Any]:
    """(``num``, as wide as ``values``), where there is nothing in them."""
    width = 0 if values is None else values.shape[1]
    return _given(values, np.empty((num, width), np.float32))


def _wide_as(labelled: Any, embedding: HalfOrFloats) -> npt.NDArray[Any]:
    labelled = np.empty((0, 0), np.float32) if labelled is None else labelled
    if labelled.shape[1] == embedding.shape[1] or labelled.size:
        return np.asarray(labelled)
    return np.empty((len(labelled), embedding.shape[1]), np.float32)


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
    for first_row in range(0, len(values), _ROWS_AT_ONCE):
        finite = np.isfinite(values[first_row : first_row + _ROWS_AT_ONCE])
        if finite.all():
            continue
        row, *rest = (int(i) for i in np.argwhere(~finite)[0])
        first = (first_row + row, *rest)
        raise DataError(f"{what} must be finite; {what}[{', '.join(map(str, first))}] is {values[first]}")
