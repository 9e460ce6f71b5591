"""Rows of a pool and of its scores, as arrays: which may still be asked about, and where they are."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hilum.core.asking import Annotation
from hilum.core.geometry import Patch
from hilum.select.overlap import Boxes
from hilum.store.columns import matrix, numbered, strings


def pool_rows_of(pool: pa.Table, ids: npt.NDArray[np.str_]) -> pa.Table:
    """The pool's rows of the candidates that were scored, in their order: those in quarantine were not."""
    # Both are sorted by candidate id.
    return pool.take(np.searchsorted(strings(pool["candidate_id"]), ids))


def unanswered(rows: pa.Table, answers: Sequence[Annotation], declined: Sequence[Patch] = ()) -> npt.NDArray[np.bool_]:
    """Which rows of a pool share no voxel with anything answered, and were not declined."""
    is_open = np.ones(rows.num_rows, bool)
    if declined:
        gone = pa.array([patch.candidate_id for patch in declined], pa.string())
        is_open &= ~np.asarray(pc.is_in(rows["candidate_id"], value_set=gone))
    boxes = boxes_of(rows) if answers else None
    for answer in answers:
        assert boxes is not None
        is_open[boxes.overlapping(answer.patch)] = False
    return is_open


def boxes_of(rows: pa.Table) -> Boxes:
    """The places of a pool's rows."""
    return Boxes(*numbered(rows["volume_id"]), matrix(rows["start_zyx"]), matrix(rows["shape_zyx"]))
