"""Where voxels are: grids, patches and tilings.

Array axes are Z, Y, X, always in this order. World coordinates are millimetres in the
patient's RAS+ frame (x to the right, y to the front, z to the head), as in NIfTI.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hilum.core.errors import DataError, RecipeError
from hilum.core.ids import candidate_id

Zyx = tuple[int, int, int]
IDENTITY_DIRECTION = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


@dataclass(frozen=True)
class Grid:
    """A regular lattice of voxels.

    ``direction`` has one row per world axis (x, y, z) and one column per array axis
    (z, y, x): column k is the unit vector along array axis k.
    """

    shape_zyx: Zyx
    spacing_mm_zyx: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin_mm_xyz: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[tuple[float, float, float], ...] = IDENTITY_DIRECTION

    def __post_init__(self) -> None:
        if len(self.shape_zyx) != 3 or min(self.shape_zyx) < 1:
            raise DataError(f"A grid needs three positive sizes (Z, Y, X); given {self.shape_zyx}.")
        if not all(math.isfinite(s) and s > 0 for s in self.spacing_mm_zyx):
            raise DataError(f"Voxel spacing must be finite and positive (mm); given {self.spacing_mm_zyx}.")
        if not all(math.isfinite(o) for o in self.origin_mm_xyz):
            raise DataError(f"The origin must be finite (mm); given {self.origin_mm_xyz}.")
        determinant = float(np.linalg.det(np.asarray(self.direction, dtype=float)))
        if not math.isfinite(determinant) or abs(determinant) < 1e-3:
            raise DataError("The direction matrix is singular or not finite: the voxels' place in space is unknown.")

    def index_to_world(self, index_zyx: Sequence[float]) -> npt.NDArray[np.float64]:
        """World coordinates (x, y, z) in mm of a (possibly fractional) voxel index."""
        scaled = np.asarray(index_zyx, dtype=float) * np.asarray(self.spacing_mm_zyx)
        world: npt.NDArray[np.float64] = np.asarray(self.origin_mm_xyz) + np.asarray(self.direction) @ scaled
        return world

    def world_to_index(self, world_mm_xyz: Sequence[float]) -> npt.NDArray[np.float64]:
        """The (fractional) voxel index (z, y, x) of a place in the world (x, y, z) in mm."""
        from_origin = np.asarray(world_mm_xyz, dtype=float) - np.asarray(self.origin_mm_xyz)
        along = np.linalg.solve(np.asarray(self.direction, dtype=float), from_origin)
        index: npt.NDArray[np.float64] = along / np.asarray(self.spacing_mm_zyx)
        return index

    def apart_mm(self, other: "Grid") -> float:
        """How far the two grids lie apart at the corner where they do most, along one world axis (mm)."""
        corners = itertools.product(*[(0, n - 1) for n in self.shape_zyx])
        return max(float(np.abs(self.index_to_world(c) - other.index_to_world(c)).max()) for c in corners)

    def anatomical_axes(self) -> tuple[tuple[int, int], ...]:
        """For the patient's x, y and z: the nearest array axis (of Z, Y, X), and 1 if it runs along, −1 if against."""
        direction = np.asarray(self.direction, dtype=float)
        best = max(
            itertools.permutations(range(3)), key=lambda p: sum(abs(direction[world, p[world]]) for world in range(3))
        )
        return tuple((axis, 1 if direction[world, axis] > 0 else -1) for world, axis in enumerate(best))

    def cropped(self, start_zyx: Zyx, shape_zyx: Zyx) -> "Grid":
        """The grid of a patch: same lattice, its own origin."""
        x, y, z = (float(v) for v in self.index_to_world(start_zyx))
        return Grid(shape_zyx, self.spacing_mm_zyx, (x, y, z), self.direction)


@dataclass(frozen=True, order=True)
class Patch:
    """A box of voxels in one volume: a whole 2D image, a frame, a slice or a 3D block."""

    volume_id: str
    start_zyx: Zyx
    shape_zyx: Zyx
    candidate_id: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "candidate_id", candidate_id(self.volume_id, self.start_zyx, self.shape_zyx))

    @property
    def stop_zyx(self) -> Zyx:
        z, y, x = (a + n for a, n in zip(self.start_zyx, self.shape_zyx, strict=True))
        return z, y, x

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        z, y, x = (slice(a, b) for a, b in zip(self.start_zyx, self.stop_zyx, strict=True))
        return z, y, x

    def overlaps(self, other: "Patch") -> bool:
        """True when the two boxes share at least one voxel."""
        return self.volume_id == other.volume_id and all(
            a < d and c < b
            for a, b, c, d in zip(self.start_zyx, self.stop_zyx, other.start_zyx, other.stop_zyx, strict=True)
        )


def tile(shape_zyx: Zyx, patch_shape_zyx: Zyx, stride_zyx: Zyx) -> list[Zyx]:
    """Starts of patches that cover ``shape_zyx``, the last one on each axis flush with the end.

    Raises RecipeError when a patch does not fit or a stride would leave gaps.
    """
    for axis, size, patch, stride in zip("ZYX", shape_zyx, patch_shape_zyx, stride_zyx, strict=True):
        if not 1 <= patch <= size:
            raise RecipeError(f"A patch of {patch} voxels does not fit axis {axis} of {size}; give 1 to {size}.")
        if not 1 <= stride <= patch:
            raise RecipeError(f"Stride {stride} on axis {axis} must be 1 to the patch's {patch}, or voxels are missed.")
    axes = [_starts(s, p, t) for s, p, t in zip(shape_zyx, patch_shape_zyx, stride_zyx, strict=True)]
    return [(z, y, x) for z, y, x in itertools.product(*axes)]


def _starts(size: int, patch: int, stride: int) -> list[int]:
    starts = list(range(0, size - patch + 1, stride))
    if starts[-1] != size - patch:
        starts.append(size - patch)
    return starts
