"""Patches that share voxels: nobody is asked about the same place twice."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hilum.core.geometry import Patch
from hilum.select.scored import Ints


class Boxes:
    """The places of all candidates, row by row, looked up volume by volume."""

    def __init__(
        self, volume_ids: Sequence[str], starts_zyx: npt.NDArray[np.integer], shapes_zyx: npt.NDArray[np.integer]
    ) -> None:
        self._starts = np.asarray(starts_zyx, np.int64).reshape(-1, 3)
        self._stops = self._starts + np.asarray(shapes_zyx, np.int64).reshape(-1, 3)
        self._volume_ids = np.asarray(volume_ids, dtype=np.str_)
        names, codes = np.unique(self._volume_ids, return_inverse=True)
        order = np.argsort(codes, kind="stable")
        cuts = np.searchsorted(codes[order], np.arange(len(names) + 1))
        self._rows = {str(name): order[cuts[i] : cuts[i + 1]] for i, name in enumerate(names)}

    @classmethod
    def of(cls, patches: Sequence[Patch]) -> "Boxes":
        starts = np.array([p.start_zyx for p in patches], np.int64)
        shapes = np.array([p.shape_zyx for p in patches], np.int64)
        return cls([p.volume_id for p in patches], starts, shapes)

    def overlapping(self, patch: Patch) -> Ints:
        """Rows that share a voxel with ``patch``, in ascending order."""
        return self._touching(patch.volume_id, np.array(patch.start_zyx), np.array(patch.stop_zyx))

    def neighbours(self, row: int) -> Ints:
        """Rows that share a voxel with ``row``, itself included, in ascending order."""
        return self._touching(str(self._volume_ids[row]), self._starts[row], self._stops[row])

    def _touching(self, volume_id: str, start: npt.NDArray[np.int64], stop: npt.NDArray[np.int64]) -> Ints:
        rows = self._rows.get(volume_id, np.empty(0, np.int64))
        touching = ((self._starts[rows] < stop) & (start < self._stops[rows])).all(axis=1)
        return rows[touching].astype(np.int64)
