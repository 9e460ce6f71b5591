"""Squared distances to the nearest centre that are brought up to date only where it matters.

A distance that has not met the newest centres can only be too long. So the farthest row is found
without looking again at those whose old distance is shorter already, and a row drawn by its old
distance is kept with the chance that the new one leaves it: exactly the draw that all new
distances would give (rejection, as in https://arxiv.org/abs/2012.11891), at a small part of their
cost. Where neither saves anything, every row meets every centre once, as it would have anyway.

Shape letters: N = rows, B = blocks of rows, C = centres, D = embedding, K = classes.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hilum.select.compiled import compiled
from hilum.select.scored import Floats, Ints

Distances = npt.NDArray[np.float64]
CatchUp = Callable[[int, int, Distances, Ints], None]
"""Bring rows ``start`` to ``stop`` up to date: their distances, and how many centres each has met."""

_PICKED = -1.0
_BLOCK = 256
_TRIES = 48
"""So many draws are turned down before all distances are brought up to date."""


class Farthest:
    """The row farthest from all ``centres_CD``, to which every row that is found is added."""

    def __init__(self, points_ND: Floats, centres_CD: Floats, *, num: int) -> None:
        self._points_ND = points_ND
        self._centres_CD = np.concatenate([centres_CD, np.empty((num, points_ND.shape[1]), np.float32)])
        self._num_centres = len(centres_CD)
        self._nearest_N = np.full(len(points_ND), np.inf)
        self._met_N = np.zeros(len(points_ND), np.int64)
        self._highest_B = np.full(-(-len(points_ND) // _BLOCK), np.inf)
        if len(centres_CD):
            catch_up(points_ND, self._centres_CD, 1, 0, len(points_ND), self._nearest_N, self._met_N)
            for block in range(len(self._highest_B)):
                self._highest_B[block] = self._nearest_N[block * _BLOCK : (block + 1) * _BLOCK].max()

    def take(self, row: int | None = None) -> int:
        """Pick ``row``, or the farthest, the lower of equals; the next pick is far from it too."""
        if row is None:
            row = _farthest(
                self._points_ND, self._centres_CD, self._num_centres, self._nearest_N, self._met_N, self._highest_B
            )
        self._nearest_N[row] = _PICKED
        self._centres_CD[self._num_centres] = self._points_ND[row]
        self._num_centres += 1
        return row


class FarDraw:
    """Rows drawn in proportion to their squared distance from the nearest centre, each once."""

    def __init__(self, num: int, catch_up: CatchUp) -> None:
        self._catch_up = catch_up
        self._nearest_N = np.full(num, np.inf)
        self._met_N = np.zeros(num, np.int64)
        self._sum_B = np.full(-(-num // _BLOCK), np.inf)

    def take(self, row: int) -> None:
        """A row that is picked is not drawn again."""
        self._nearest_N[row] = _PICKED
        self._sum_up(row, row + 1)

    def refresh(self, start: int = 0, stop: int | None = None) -> None:
        """Bring rows up to date, all if none are named."""
        stop = len(self._nearest_N) if stop is None else stop
        self._catch_up(start, stop, self._nearest_N, self._met_N)
        self._sum_up(start, stop)

    def row(self, rng: np.random.Generator) -> int:
        """The next row; evenly among the open ones when all distances are 0 or none is known."""
        for _ in range(_TRIES):
            row, before = self._by_known_distance(rng)
            if not np.isfinite(before) or before <= 0:
                break
            self.refresh(row, row + 1)
            if rng.random() * before < self._nearest_N[row]:
                return row
        self.refresh()
        return self._by_known_distance(rng)[0]

    def _by_known_distance(self, rng: np.random.Generator) -> tuple[int, float]:
        row = _row_at(self._nearest_N, self._sum_B, rng.random())
        return row, float(self._nearest_N[row])

    def _sum_up(self, start: int, stop: int) -> None:
        _sum_up(self._nearest_N, start // _BLOCK, -(-stop // _BLOCK), self._sum_B)


@compiled
def catch_up(  # noqa: PLR0917 (a kernel takes arrays)
    points_ND: Floats,
    centres_CD: Floats,
    num_centres: int,
    start: int,
    stop: int,
    nearest_N: Distances,
    met_N: Ints,
) -> None:
    """Let rows ``start`` to ``stop`` meet the first ``num_centres`` centres they have not met."""
    for n in range(start, stop):
        if nearest_N[n] < 0.0:
            continue
        for c in range(met_N[n], num_centres):
            distance = np.float32(0.0)
            for d in range(points_ND.shape[1]):
                difference = points_ND[n, d] - centres_CD[c, d]
                distance += difference * difference
            nearest_N[n] = min(nearest_N[n], distance)
        met_N[n] = num_centres


@compiled
def catch_up_by_gradient(  # noqa: PLR0917 (a kernel takes arrays)
    error_NK: Floats,
    embedding_ND: Floats,
    lengths_N: Floats,
    centres_C: Ints,
    num_centres: int,
    start: int,
    stop: int,
    nearest_N: Distances,
    met_N: Ints,
) -> None:
    """The same for gradients error ⊗ embedding of length ``lengths_N``; centres are rows.

    Their inner product is the product of the two inner products.
    """
    for n in range(start, stop):
        if nearest_N[n] < 0.0:
            continue
        for c in range(met_N[n], num_centres):
            centre = centres_C[c]
            error, embedding = np.float32(0.0), np.float32(0.0)
            for k in range(error_NK.shape[1]):
                error += error_NK[n, k] * error_NK[centre, k]
            for d in range(embedding_ND.shape[1]):
                embedding += embedding_ND[n, d] * embedding_ND[centre, d]
            apart = lengths_N[n] * lengths_N[n] + lengths_N[centre] * lengths_N[centre]
            distance = apart - np.float32(2.0) * error * embedding
            nearest_N[n] = min(nearest_N[n], max(distance, np.float32(0.0)))
        met_N[n] = num_centres


@compiled
def _farthest(  # noqa: PLR0917 (a kernel takes arrays)
    points_ND: Floats, centres_CD: Floats, num_centres: int, nearest_N: Distances, met_N: Ints, highest_B: Distances
) -> int:
    """The farthest row, the lower of equals. Rows that cannot be it stay as they are."""
    first = int(highest_B.argmax()) * _BLOCK
    row = int(first + nearest_N[first : first + _BLOCK].argmax())
    # Whoever seemed farthest is most likely still far: few others have to be looked at again.
    catch_up(points_ND, centres_CD, num_centres, row, row + 1, nearest_N, met_N)
    longest = nearest_N[row]
    for block in range(len(highest_B)):
        if highest_B[block] < longest:
            continue
        highest = -1.0
        for n in range(block * _BLOCK, min((block + 1) * _BLOCK, len(nearest_N))):
            if nearest_N[n] > longest or (nearest_N[n] == longest and n < row):
                catch_up(points_ND, centres_CD, num_centres, n, n + 1, nearest_N, met_N)
                if nearest_N[n] > longest or (nearest_N[n] == longest and n < row):
                    row, longest = n, nearest_N[n]
            highest = max(highest, nearest_N[n])
        highest_B[block] = highest
    return row


@compiled
def _sum_up(nearest_N: Distances, first_block: int, stop_block: int, sum_B: Distances) -> None:
    for block in range(first_block, stop_block):
        total = 0.0
        for n in range(block * _BLOCK, min((block + 1) * _BLOCK, len(nearest_N))):
            total += max(nearest_N[n], 0.0)
        sum_B[block] = total


@compiled
def _row_at(nearest_N: Distances, sum_B: Distances, share: float) -> int:
    """The open row that brings the sum of distances above ``share`` of it; where that is 0 or unknown, any alike."""
    total = sum_B.sum()
    if total == 0.0 or not np.isfinite(total):
        wanted = share * np.count_nonzero(nearest_N != _PICKED)
        for n in range(len(nearest_N)):
            wanted -= nearest_N[n] != _PICKED
            if wanted < 0.0:
                return n
    wanted, row = share * total, 0
    for block in range(len(sum_B)):
        if wanted >= sum_B[block] and block < len(sum_B) - 1:
            wanted -= sum_B[block]
            continue
        for n in range(block * _BLOCK, min((block + 1) * _BLOCK, len(nearest_N))):
            if nearest_N[n] <= 0.0:
                continue
            row = n
            wanted -= nearest_N[n]
            if wanted < 0.0:
                return row
    return row
