"""Rows of a pool and of its scores, as arrays: which may still be asked about, and where they are."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hilum.core.asking import Annotation
from hilum.core.geometry import Patch
from hilum.core.imaging import Volume
from hilum.select.overlap import Boxes
from hilum.store.columns import matrix, numbered, strings


def pool_rows_of(pool: pa.Table, ids: npt.NDArray[np.str_]) -> pa.Table:
    """The pool's rows of the candidates that were scored, in their order: those in quarantine were not."""
    # Both are sorted by candidate id.
    return pool.take(np.searchsorted(strings(pool["candidate_id"]), ids))


def boxes_of(
    rows: pa.Table, *, min_slices_apart: int | None = None, volumes: Mapping[str, Volume] | None = None
) -> Boxes:
    """The places of a pool's rows. Slices are kept ``min_slices_apart`` item by item of their ``volumes``."""
    volume_ids, codes = numbered(rows["volume_id"])
    depths = [volumes[one].item_shape_zyx[0] for one in volume_ids] if volumes else None
    return Boxes(
        volume_ids,
        codes,
        matrix(rows["start_zyx"]),
        matrix(rows["shape_zyx"]),
        min_slices_apart=min_slices_apart or 1,
        item_depths_V=None if depths is None else np.array(depths, np.int64),
    )


def unanswered(
    rows: pa.Table, answers: Sequence[Annotation], *, boxes: Callable[[pa.Table], Boxes] = boxes_of
) -> npt.NDArray[np.bool_]:
    """Which rows of a pool touch nothing answered: share no voxel with it, and lie far enough from its slices."""
    is_open = np.ones(rows.num_rows, bool)
    places = boxes(rows) if answers else None
    for answer in answers:
        assert places is not None
        is_open[places.overlapping(answer.patch)] = False
    return is_open


def are_declined(rows: pa.Table, declined: Sequence[Patch]) -> npt.NDArray[np.bool_]:
    """Which rows of a pool people looked at and would not answer. What overlaps them may still be asked about."""
    ids = pa.array([patch.candidate_id for patch in declined], pa.string())
    return np.asarray(pc.is_in(rows["candidate_id"], value_set=ids), dtype=np.bool_)
