"""Patches that share voxels, or lie few slices apart: nobody is asked about the same place twice.

Shape letters: N = candidates, V = volumes.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hilum.core.geometry import Patch
from hilum.select.scored import Ints


class Boxes:
    """The places of all candidates. Looking one up costs what lies about it, not what lies in its volume.

    Each volume is cut into cells of the size of its largest candidate, and rows are sorted by
    the cell that they start in: whoever touches a box starts in one of few runs of cells.
    ``codes_N`` says which of ``volume_ids`` a candidate is of.

    Two patches touch where they share a voxel. Thin ones (`thin_axis`) also touch what lies fewer than
    ``min_slices_apart`` slices beside them: 1 lets neighbours be. Items of a stack, ``item_depths_V`` slices each, know
    nothing of each other.
    """

    def __init__(
        self,
        volume_ids: Sequence[str],
        codes_N: npt.NDArray[np.integer],
        starts_N3: npt.NDArray[np.integer],
        shapes_N3: npt.NDArray[np.integer],
        *,
        min_slices_apart: int = 1,
        item_depths_V: npt.NDArray[np.integer] | None = None,
    ) -> None:
        self._margin = min_slices_apart - 1
        self._item_depths_V = item_depths_V
        self._codes_N = np.asarray(codes_N, np.int64)
        self._starts_N3 = np.asarray(starts_N3, np.int32).reshape(-1, 3)
        self._stops_N3 = self._starts_N3 + np.asarray(shapes_N3, np.int32).reshape(-1, 3)
        self._volumes = {volume_id: code for code, volume_id in enumerate(volume_ids)}
        self._cell_V3 = np.ones((len(volume_ids), 3), np.int64)
        np.maximum.at(self._cell_V3, self._codes_N, self._stops_N3 - self._starts_N3)
        cells_N3 = self._starts_N3 // self._cell_V3[self._codes_N]
        self._num_cells = cells_N3.max(axis=0, initial=0) + 1
        keys_N = self._key(self._codes_N, *cells_N3.T)
        self._order_N = np.argsort(keys_N, kind="stable")
        self._keys_N = keys_N[self._order_N]

    @classmethod
    def of(cls, patches: Sequence[Patch]) -> "Boxes":
        names, codes = np.unique(np.array([p.volume_id for p in patches], np.str_), return_inverse=True)
        starts = np.array([p.start_zyx for p in patches], np.int64)
        shapes = np.array([p.shape_zyx for p in patches], np.int64)
        return cls(names.tolist(), codes, starts, shapes)

    def overlapping(self, patch: Patch) -> Ints:
        """Rows that touch ``patch``, in ascending order."""
        if patch.volume_id not in self._volumes:
            return np.empty(0, np.int64)
        return self._touching(self._volumes[patch.volume_id], np.array(patch.start_zyx), np.array(patch.stop_zyx))

    def neighbours(self, row: int) -> Ints:
        """Rows that touch ``row``, itself included, in ascending order."""
        return self._touching(int(self._codes_N[row]), self._starts_N3[row], self._stops_N3[row])

    def _touching(self, volume: int, start: npt.NDArray[np.integer], stop: npt.NDArray[np.integer]) -> Ints:
        if self._margin:
            start, stop = self._widened(volume, start, stop)
        cell = self._cell_V3[volume]
        low = np.maximum((start - cell + 1) // cell, 0)
        high = np.minimum((stop - 1) // cell, self._num_cells - 1)
        if (high < low).any():
            return np.empty(0, np.int64)
        z, y = (grid.ravel() for grid in np.mgrid[low[0] : high[0] + 1, low[1] : high[1] + 1])
        begins = np.searchsorted(self._keys_N, self._key(volume, z, y, low[2]), side="left")
        ends = np.searchsorted(self._keys_N, self._key(volume, z, y, high[2]), side="right")
        runs = [self._order_N[begin:end] for begin, end in zip(begins, ends, strict=True) if begin < end]
        rows = np.concatenate(runs) if runs else np.empty(0, np.int64)
        touching = ((self._starts_N3[rows] < stop) & (start < self._stops_N3[rows])).all(axis=1)
        return np.sort(rows[touching])

    def _widened(
        self, volume: int, start: npt.NDArray[np.integer], stop: npt.NDArray[np.integer]
    ) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]:
        """The box with the slices around it that are too near, of its own item."""
        axis = thin_axis((stop - start).tolist())
        if axis is None:
            return start, stop
        margin = self._margin * np.eye(3, dtype=np.int64)[axis]
        low, high = start - margin, stop + margin
        if axis == 0 and self._item_depths_V is not None:
            depth = int(self._item_depths_V[volume])
            first = int(start[0]) // depth * depth
            low[0], high[0] = max(low[0], first), min(high[0], first + depth)
        return low, high

    def _key(self, volume: Ints | int, z: Ints, y: Ints, x: Ints | int) -> Ints:
        """A number for each cell that grows along x within a row of cells."""
        _, num_y, num_x = self._num_cells
        keys: Ints = ((volume * self._num_cells[0] + z) * num_y + y) * num_x + x
        return keys


def thin_axis(shape_zyx: Sequence[int]) -> int | None:
    """The axis along which a patch is thinner than along both others; None where there is no such axis.

    >>> thin_axis((1, 96, 96)), thin_axis((64, 8, 64)), thin_axis((32, 32, 32))
    (0, 1, None)
    """
    thinnest, second, _ = sorted(shape_zyx)
    return list(shape_zyx).index(thinnest) if thinnest < second else None
