"""Not asking the same thing twice in one batch: a pick blocks its nearest neighbours.

Shape letters: N = open candidates, D = embedding.
"""

import numpy as np

from hilum.select.scored import Floats, HalfOrFloats, Ints


class Thinning:
    """Candidates that are still far enough from every pick of this batch.

    Each pick blocks the ``num_blocked`` candidates nearest to it in direction (cosine) of
    the embedding. With 0 nothing is ever blocked but the pick itself.
    """

    def __init__(self, embedding_ND: HalfOrFloats, num_blocked: int) -> None:
        self._num_blocked = num_blocked if embedding_ND.shape[1] else 0
        self._directions_ND = _directions(embedding_ND) if self._num_blocked else None
        self._blocked_N = np.zeros(len(embedding_ND), bool)
        self.picks: list[int] = []

    def take(self, row: int) -> bool:
        """Pick ``row`` unless it is blocked; says whether it was picked."""
        if self._blocked_N[row]:
            return False
        self.picks.append(row)
        self._blocked_N[row] = True
        if self._directions_ND is not None:
            likeness_N = self._directions_ND @ self._directions_ND[row]
            nearest = np.argpartition(-likeness_N, min(self._num_blocked, len(likeness_N) - 1))
            self._blocked_N[nearest[: self._num_blocked]] = True
        return True

    def fill(self, rows: Ints, num: int) -> None:
        """Pick from ``rows`` in order until there are ``num`` picks; neighbours only when nobody else is left."""
        for row in rows:
            if len(self.picks) < num:
                self.take(int(row))
        left = rows[~np.isin(rows, self.picks)][: num - len(self.picks)]
        self.picks += [int(row) for row in left]


def _directions(embedding_ND: HalfOrFloats) -> Floats:
    points_ND = embedding_ND.astype(np.float32)
    directions_ND: Floats = points_ND / np.maximum(np.linalg.norm(points_ND, axis=1, keepdims=True), 1e-12)
    return directions_ND
