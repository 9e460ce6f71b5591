"""Which page of a task shows which plane of a patch, and which of its pixels are which voxels.

A task shows a block of the volume, the patch and a margin around it, as pages along one array axis. `Pages` is
that way of showing: which array axis runs through the pages, down and across them, each along (+1) or against (−1)
its own direction, and how many pixels tall and wide a voxel is. Every step has an exact inverse.

Voxels outside the patch are context: they are shown, and answers there are not read. A voxel is answered when at
least half of its pixels are.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hilum.adapters.label_studio.brush_rle import MAX_PIXELS, Mask
from hilum.core.errors import DataError, RecipeError
from hilum.core.geometry import Patch, Zyx
from hilum.core.imaging import Volume

Plane = Literal["axial", "coronal", "sagittal"]
Run = tuple[int, int]
"""An array axis (0, 1, 2 of Z, Y, X), and +1 where it is walked along, −1 where against."""

MAX_PAGES = 64
"""Label Studio keeps every page's regions in the browser: beyond this it becomes slow."""

MAX_SCALE = 16
TARGET_SIDE_PIXELS = 512

_X, _Y, _Z = 0, 1, 2
_PLANES: dict[Plane, tuple[int, int, int]] = {
    "axial": (_Z, _Y, _X),
    "coronal": (_Y, _Z, _X),
    "sagittal": (_X, _Z, _Y),
}
"""The world axes that run through, down and across the pages."""


@dataclass(frozen=True)
class Pages:
    """How a block of voxels is shown. ``scale_yx``: the pixels that one voxel is tall and wide."""

    patch: Patch
    shown_start_zyx: Zyx
    shown_shape_zyx: Zyx
    through: Run
    down: Run
    across: Run
    scale_yx: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        runs = (self.through, self.down, self.across)
        if sorted(axis for axis, _ in runs) != [0, 1, 2] or any(step not in {-1, 1} for _, step in runs):
            raise DataError(f"Pages run through, down and across one array axis each, by +1 or −1; given {runs}.")
        if not all(1 <= scale <= MAX_SCALE for scale in self.scale_yx):
            raise DataError(f"A voxel is shown 1 to {MAX_SCALE} pixels tall and wide; given {self.scale_yx}.")
        inside = zip(self.patch.start_zyx, self.patch.stop_zyx, self.shown_start_zyx, self.shown.stop_zyx, strict=True)
        if min(self.patch.shape_zyx) < 1 or not all(low <= a and b <= high for a, b, low, high in inside):
            raise DataError(f"What is shown ({self.shown}) does not contain the patch that is asked about.")
        if self.num_pages > MAX_PAGES:
            raise RecipeError(
                f"A task would have {self.num_pages} pages; {MAX_PAGES} is the most that a browser bears. "
                "Ask about thinner patches, along another plane or with a smaller margin."
            )
        if math.prod(self.shape_yx) > MAX_PIXELS:
            raise RecipeError(f"A page would have {self.shape_yx} pixels; allowed are {MAX_PIXELS} in all.")

    @property
    def shown(self) -> Patch:
        """The block to read from the volume."""
        return Patch(self.patch.volume_id, self.shown_start_zyx, self.shown_shape_zyx)

    @property
    def num_pages(self) -> int:
        return self.shown_shape_zyx[self.through[0]]

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Pixels of a page: rows, columns."""
        rows, columns = self.shown_shape_zyx[self.down[0]], self.shown_shape_zyx[self.across[0]]
        return rows * self.scale_yx[0], columns * self.scale_yx[1]

    def plane(self, page: int) -> int | None:
        """The index, in the patch along the axis through the pages, of what a page shows; None for context."""
        start, stop = self._asked(self.through)
        at = self._along(self.through, page)
        return at - start if start <= at < stop else None

    def page(self, plane: int) -> int:
        """The page that shows a plane of the patch."""
        return self._along(self.through, self._asked(self.through)[0] + plane)

    def voxel(self, page: int, row: int, column: int) -> Zyx:
        """The voxel (of the volume) that a pixel shows, in the patch or in the context."""
        if not (0 <= page < self.num_pages and 0 <= row < self.shape_yx[0] and 0 <= column < self.shape_yx[1]):
            raise DataError(f"Page {page} has no pixel ({row}, {column}).")
        index = [0, 0, 0]
        places = ((self.through, page), (self.down, row // self.scale_yx[0]), (self.across, column // self.scale_yx[1]))
        for run, at in places:
            index[run[0]] = self.shown_start_zyx[run[0]] + self._along(run, at)
        return index[0], index[1], index[2]

    def pixels(self, voxel_zyx: Zyx) -> tuple[int, slice, slice]:
        """The page, rows and columns that show a voxel of the volume."""
        within = [v - s for v, s in zip(voxel_zyx, self.shown_start_zyx, strict=True)]
        if not all(0 <= w < n for w, n in zip(within, self.shown_shape_zyx, strict=True)):
            raise DataError(f"Voxel {voxel_zyx} is not shown.")
        page, row, column = (self._along(run, within[run[0]]) for run in (self.through, self.down, self.across))
        tall, wide = self.scale_yx
        return page, slice(row * tall, (row + 1) * tall), slice(column * wide, (column + 1) * wide)

    def asked_box(self) -> tuple[slice, slice]:
        """The rows and columns of every page that lie in the patch: draw a frame here."""
        rows, columns = self._asked_voxels(self.down), self._asked_voxels(self.across)
        tall, wide = self.scale_yx
        return slice(rows.start * tall, rows.stop * tall), slice(columns.start * wide, columns.stop * wide)

    def picture(self, shown_ZYX: npt.NDArray[Any], page: int) -> npt.NDArray[Any]:
        """A page of the block that is shown; axes before Z, Y, X (channels) stay first."""
        if shown_ZYX.shape[-3:] != self.shown_shape_zyx:
            raise DataError(f"Shown are {self.shown_shape_zyx} voxels (Z, Y, X); given {shown_ZYX.shape[-3:]}.")
        plane = np.take(shown_ZYX, self._along(self.through, page), axis=self.through[0] - 3)
        return self._scaled(self._turned(plane))

    def page_of_map(self, map_ZYX: npt.NDArray[Any], page: int, *, fill: int) -> npt.NDArray[Any]:
        """A page of an array of the patch's shape; ``fill`` in the context."""
        if map_ZYX.shape != self.patch.shape_zyx:
            raise DataError(f"The patch has {self.patch.shape_zyx} voxels (Z, Y, X); given {map_ZYX.shape}.")
        voxels = np.full([self.shown_shape_zyx[run[0]] for run in (self.down, self.across)], fill, map_ZYX.dtype)
        plane = self.plane(page)
        if plane is not None:
            turned = self._turned(np.take(map_ZYX, plane, axis=self.through[0]))
            voxels[self._asked_voxels(self.down), self._asked_voxels(self.across)] = turned
        return self._scaled(voxels)

    def plane_of_mask(self, mask_YX: Mask) -> Mask:
        """The voxels of the patch that a mask on one of its pages covers, in the array's own axes.

        The mask has the page's shape; a voxel is covered when at least half of its pixels are.
        """
        if mask_YX.shape != self.shape_yx:
            raise DataError(f"A page has {self.shape_yx} pixels (rows, columns); given {mask_YX.shape}.")
        tall, wide = self.scale_yx
        rows, columns = self.asked_box()
        asked = mask_YX[rows, columns]
        if tall * wide > 1:
            blocks = asked.reshape(asked.shape[0] // tall, tall, asked.shape[1] // wide, wide)
            asked = 2 * np.count_nonzero(blocks, axis=(1, 3)) >= tall * wide
        # Flips undo themselves, and so does a transpose.
        flipped: Mask = np.flip(asked, self._flips(0))
        return flipped.T if self.down[0] > self.across[0] else flipped

    def _turned(self, plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A plane in the array's axes as it hangs: the last two axes run down and across."""
        hung = np.swapaxes(plane, -1, -2) if self.down[0] > self.across[0] else plane
        turned: npt.NDArray[Any] = np.flip(hung, self._flips(-2))
        return turned

    def _flips(self, first: int) -> tuple[int, ...]:
        """The axes, the first of which runs down, that are walked against."""
        return tuple(first + k for k, run in enumerate((self.down, self.across)) if run[1] < 0)

    def _scaled(self, voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        tall, wide = self.scale_yx
        return np.ascontiguousarray(voxels.repeat(tall, axis=-2).repeat(wide, axis=-1))

    def _along(self, run: Run, at: int) -> int:
        """From a place in the pages to one in the block along an axis, or back."""
        return at if run[1] > 0 else self.shown_shape_zyx[run[0]] - 1 - at

    def _asked(self, run: Run) -> tuple[int, int]:
        """Where the patch begins and ends in the block, along an array axis."""
        start = self.patch.start_zyx[run[0]] - self.shown_start_zyx[run[0]]
        return start, start + self.patch.shape_zyx[run[0]]

    def _asked_voxels(self, run: Run) -> slice:
        """Where the patch begins and ends on the pages, in voxels."""
        start, stop = self._asked(run)
        size = self.shown_shape_zyx[run[0]]
        return slice(start, stop) if run[1] > 0 else slice(size - stop, size - start)


def hang(
    volume: Volume,
    patch: Patch,
    *,
    plane: Plane | None = None,
    margin_zyx: Zyx = (0, 0, 0),
    target_side: int = TARGET_SIDE_PIXELS,
) -> Pages:
    """Pages on which a radiologist sees a patch upright, with ``margin_zyx`` voxels of context where there are any.

    Axial, coronal and sagittal pages have the head, the front or the patient's right first, at the top and on the
    left (sagittal: head at the top, front on the left). Without ``plane``: a patch that is one voxel thick is shown
    across that axis, any other one axially. Flat images are shown as they are stored. Voxels are enlarged by whole
    factors until the longer side has about ``target_side`` pixels, taller or wider where they are further apart.
    """
    if min(margin_zyx) < 0:
        raise RecipeError(f"A margin is 0 voxels or more along Z, Y and X; given {margin_zyx}.")
    item_start = volume.item_index(patch) * volume.item_shape_zyx[0]
    low = (item_start, 0, 0)
    high = (item_start + volume.item_shape_zyx[0], *volume.item_shape_zyx[1:])
    start = [max(a - m, b) for a, m, b in zip(patch.start_zyx, margin_zyx, low, strict=True)]
    stop = [min(a + m, b) for a, m, b in zip(patch.stop_zyx, margin_zyx, high, strict=True)]
    shown_shape = (stop[0] - start[0], stop[1] - start[1], stop[2] - start[2])
    through, down, across = _runs(volume, patch, plane)
    spacing = volume.grid.spacing_mm_zyx
    scale = _scale((shown_shape[down[0]], shown_shape[across[0]]), (spacing[down[0]], spacing[across[0]]), target_side)
    return Pages(patch, (start[0], start[1], start[2]), shown_shape, through, down, across, scale)


def _runs(volume: Volume, patch: Patch, plane: Plane | None) -> tuple[Run, Run, Run]:
    if volume.item_shape_zyx[0] == 1:
        return (0, 1), (1, 1), (2, 1)
    axes = volume.grid.anatomical_axes()
    if plane is None:
        thin = [name for name, (through, _, _) in _PLANES.items() if patch.shape_zyx[axes[through][0]] == 1]
        plane = thin[0] if thin else "axial"
    through, down, across = _PLANES[plane]
    # World axes grow to the right, the front and the head: against them, what comes first is first.
    runs = tuple((axis, -sign) for axis, sign in (axes[through], axes[down], axes[across]))
    return runs[0], runs[1], runs[2]


def _scale(shape: tuple[int, int], spacing_mm: tuple[float, float], target: int) -> tuple[int, int]:
    """Whole factors that bring the longer side to about ``target`` pixels, in nearly true proportions."""
    apart = [mm / min(spacing_mm) for mm in spacing_mm]
    base = max(1, int(target / max(n * a for n, a in zip(shape, apart, strict=True))))
    longest = math.isqrt(MAX_PIXELS)
    tall, wide = (max(1, min(round(base * a), MAX_SCALE, longest // n)) for n, a in zip(shape, apart, strict=True))
    return tall, wide
