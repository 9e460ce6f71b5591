"""How the greedy loops of this package become machine code.

Kernels are compiled on their first call and kept beside the source (or in the user's cache
folder). Where neither can be written they are compiled again in every process.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])

# Sums may be regrouped, or no distance is vectorised. NaN and infinity keep their meaning.
_SUMS_MAY_BE_REGROUPED = {"reassoc", "contract", "nsz", "arcp"}


def compiled(function: F) -> F:
    """``function`` as a single-threaded machine-code kernel: its result does not depend on the cores."""
    try:
        kernel: F = njit(cache=True, nogil=True, fastmath=_SUMS_MAY_BE_REGROUPED)(function)
    except RuntimeError:  # numba: no folder to cache in
        kernel = njit(nogil=True, fastmath=_SUMS_MAY_BE_REGROUPED)(function)
    return kernel
