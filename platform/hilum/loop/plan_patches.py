"""How large a patch may be, and how often it can be halved. Pure; Z, Y, X throughout."""

from collections.abc import Callable
from dataclasses import dataclass

from hilum.core.errors import RecipeError
from hilum.core.geometry import Zyx

MOST_POOLINGS = 4
_LEAST_LEFT = 4
_LEAST_SIZE = 8


@dataclass(frozen=True)
class Fitted:
    """A patch that fits, the poolings it allows, and the bytes that a step with two of them needs."""

    patch_zyx: Zyx
    depth: int
    num_bytes: int


def poolings_of(patch_zyx: Zyx) -> int:
    """As many halvings as leave four voxels of the shortest axis (nnU-Net's rule), one to four."""
    shortest = min(size for size in patch_zyx if size > 1 or max(patch_zyx) == 1)
    return next((d for d in range(MOST_POOLINGS, 1, -1) if shortest // 2**d >= _LEAST_LEFT), 1)


def fitted_patch(
    limit_zyx: Zyx,
    spacing_mm_zyx: tuple[float, float, float],
    memory_bytes: int,
    needs: Callable[[Zyx, int], int],
) -> Fitted:
    """The largest patch within ``limit_zyx`` whose step fits: the axis longest in millimetres gives way first."""
    patch = limit_zyx
    while True:
        depth = poolings_of(patch)
        patch = _rounded(patch, 2**depth)
        num_bytes = needs(patch, depth)
        if num_bytes <= memory_bytes:
            return Fitted(patch, depth, num_bytes)
        smaller = _smaller(patch, spacing_mm_zyx, 2**depth)
        if smaller is None:
            raise RecipeError(
                f"A training step needs {num_bytes / 2**20:.0f} MiB even with patches of {list(patch)} voxels; "
                f"there are {memory_bytes / 2**20:.0f} MiB. Give more: --memory 4GiB."
            )
        patch = smaller


def _rounded(patch: Zyx, multiple: int) -> Zyx:
    """Down to multiples of what the poolings divide by; an axis that is shorter stays as it is."""
    z, y, x = (size // multiple * multiple or size for size in patch)
    return z, y, x


def _smaller(patch: Zyx, spacing_mm_zyx: tuple[float, float, float], multiple: int) -> Zyx | None:
    can = [axis for axis in range(3) if patch[axis] - multiple >= min(_LEAST_SIZE, patch[axis])]
    if not can:
        return None
    longest = max(can, key=lambda axis: (patch[axis] * spacing_mm_zyx[axis], axis))
    sizes = list(patch)
    sizes[longest] -= multiple
    return sizes[0], sizes[1], sizes[2]
