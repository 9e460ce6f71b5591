"""How the loops of this package that numpy cannot say become machine code.

Kernels are compiled on their first call and kept beside the source (or in the user's cache
folder). Where neither can be written they are compiled again in every process. They hold no
lock of Python's, run on one thread and regroup no sums: what they give is the same everywhere.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """``function`` as a machine-code kernel."""
    try:
        kernel: F = njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba: no folder to cache in
        kernel = njit(nogil=True)(function)
    return kernel
