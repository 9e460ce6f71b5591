"""What a network is familiar with: a Gaussian around its embeddings, and how far from it an image is.

Lee et al. 2018, https://arxiv.org/abs/1807.03888, without their class conditionals: one Gaussian for all, because a
patch of voxels has no one class. Shape letters: N = images, D = embedding.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular
from sklearn.covariance import ledoit_wolf

from hilum.core.errors import RecipeError

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]

_FLOOR = 1e-6
"""Share of the mean variance that no direction falls below: float32 cannot tell less."""


@dataclass(frozen=True, eq=False)
class Familiar:
    """Where embeddings of known images lie: their mean and shrunk covariance."""

    mean: Doubles
    covariance: Doubles

    def distance(self, embeddings: Floats) -> Doubles:
        """The Mahalanobis distance, at least 0, of every embedding (N, D), or of the one that is given (D)."""
        if embeddings.shape[-1] != len(self.mean):
            raise RecipeError(
                f"These embeddings have {embeddings.shape[-1]} numbers, those that were kept {len(self.mean)}: they "
                "are another network's."
            )
        away_ND = np.atleast_2d(np.asarray(embeddings, np.float64)) - self.mean
        whitened_DN = solve_triangular(self._root_DD, away_ND.T, lower=True)
        distances_N: Doubles = np.sqrt((whitened_DN**2).sum(axis=0))
        return distances_N.reshape(embeddings.shape[:-1])

    @cached_property
    def _root_DD(self) -> Doubles:
        root_DD: Doubles = np.linalg.cholesky(self.covariance).astype(np.float64)
        return root_DD


def familiar_with(embeddings_ND: Floats) -> Familiar | str:
    """The Gaussian of these embeddings, its covariance shrunk as Ledoit and Wolf 2004 do, or why there is none.

    There may be fewer embeddings than they have numbers (https://doi.org/10.1016/S0047-259X(03)00096-4).
    """
    if len(embeddings_ND) < 2:
        return f"a spread needs at least two patches, and there are {len(embeddings_ND)}"
    known_ND = embeddings_ND.astype(np.float64)
    covariance_DD, _ = ledoit_wolf(known_ND)
    variance = float(np.trace(covariance_DD)) / len(covariance_DD)
    if variance <= (_FLOOR * float(np.abs(known_ND).max())) ** 2:
        return "the network embeds every patch alike"
    return Familiar(known_ND.mean(axis=0), covariance_DD + _FLOOR * variance * np.eye(len(covariance_DD)))
