"""Rows of a pool and of its scores, as arrays: which may still be asked about, and where they are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hilum.core.asking import Annotation
from hilum.select.overlap import Boxes


def pool_rows_of(pool: pa.Table, ids: npt.NDArray[np.str_]) -> pa.Table:
    """The pool's rows of the candidates that were scored, in their order: those in quarantine were not."""
    # Both are sorted by candidate id.
    return pool.take(np.searchsorted(np.array(pool["candidate_id"].to_pylist(), np.str_), ids))


def unanswered(rows: pa.Table, answers: Sequence[Annotation]) -> npt.NDArray[np.bool_]:
    """Which rows of a pool share no voxel with anything answered."""
    boxes, is_open = boxes_of(rows), np.ones(rows.num_rows, bool)
    for answer in answers:
        is_open[boxes.overlapping(answer.patch)] = False
    return is_open


def boxes_of(rows: pa.Table) -> Boxes:
    return Boxes(rows["volume_id"].to_pylist(), fixed_lists(rows, "start_zyx"), fixed_lists(rows, "shape_zyx"))


def fixed_lists(rows: pa.Table, name: str) -> npt.NDArray[np.int64]:
    flat = rows[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.int64).reshape(rows.num_rows, 3)


def matrix(table: pa.Table, name: str) -> npt.NDArray[Any]:
    flat = np.asarray(table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False))
    return flat.reshape(table.num_rows, -1) if flat.size else np.empty((table.num_rows, 0), np.float32)
